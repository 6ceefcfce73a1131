//! Dataplane tokens: what is accepted and what is not.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use proptest::prelude::*;
use serde_json::{Value, json};
use windlass::model::{DataplaneId, PrivateKey, Timestamp};
use windlass::store::Store as _;
use windlass::store::encryption::Vault;
use windlass::store::memory::MemoryStore;
use windlass::token::{
    Claims, DEFAULT_VALIDITY, IssueError, Keyring, KeyringError, MAX_VALIDITY, VerifyError,
};
use zeroize::Zeroizing;

const KEY: &str = include_str!("../data/ca/rsa2048.pkcs8");
const OTHER_KEY: &str = include_str!("../data/ca/rsa4096.pkcs1");
const EC_KEY: &str = include_str!("../data/ca/p256.pkcs8");
/// The certificate of [`KEY`], for its public half.
const CERTIFICATE: &str = include_str!("../data/ca/rsa2048.crt");

fn key(pem: &str) -> PrivateKey {
    PrivateKey::new(Zeroizing::new(pem.to_owned()))
}

fn keyring() -> Keyring {
    Keyring::from_keys(&[(1, key(KEY))]).unwrap()
}

fn dataplane() -> DataplaneId {
    DataplaneId {
        mesh: "default".parse().unwrap(),
        name: "dp-echo-1".parse().unwrap(),
    }
}

fn now() -> Timestamp {
    "2026-01-31T12:00:00.250Z".parse().unwrap()
}

fn part(token: &str, index: usize) -> Value {
    let part = token.split('.').nth(index).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// Claims that are accepted, to be spoilt one by one.
fn good() -> Value {
    let now = now().unix_seconds();
    json!({
        "name": "dp-echo-1", "mesh": "default", "iss": "windlass", "aud": "windlass",
        "iat": now, "exp": now + 60, "jti": "0123456789abcdef0123456789abcdef",
    })
}

fn rs256() -> Header {
    let mut header = Header::new(Algorithm::RS256);
    header.kid = Some("1".to_owned());
    header
}

fn forge(header: &Header, claims: &Value) -> String {
    let key = EncodingKey::from_rsa_pem(KEY.as_bytes()).unwrap();
    jsonwebtoken::encode(header, claims, &key).unwrap()
}

fn refused(token: &str) -> String {
    let error = keyring().verify(token, now()).unwrap_err();
    let text = format!("{error} {error:?}");
    for part in token.split('.').filter(|part| part.len() > 8) {
        assert!(!text.contains(part), "the token is in {text}");
    }
    text
}

#[test]
fn a_token_has_the_pinned_header_and_claims() {
    let keyring = keyring();
    let token = keyring
        .issue(&dataplane(), DEFAULT_VALIDITY, now())
        .unwrap();
    assert_eq!(
        part(&token, 0),
        json!({"typ": "JWT", "alg": "RS256", "kid": "1"})
    );
    let mut claims = part(&token, 1);
    let jti = claims.as_object_mut().unwrap().remove("jti").unwrap();
    assert_eq!(jti.as_str().unwrap().len(), 32);
    assert_eq!(
        claims,
        json!({
            "name": "dp-echo-1", "mesh": "default", "iss": "windlass", "aud": "windlass",
            "iat": now().unix_seconds(), "exp": now().unix_seconds() + 30 * 24 * 3600,
        })
    );
    assert_eq!(
        keyring.verify(&token, now()).unwrap(),
        Claims {
            dataplane: dataplane(),
            issued_at: "2026-01-31T12:00:00Z".parse().unwrap(),
            expires_at: "2026-03-02T12:00:00Z".parse().unwrap(),
            token_id: jti.as_str().unwrap().to_owned(),
        }
    );
    let second = keyring
        .issue(&dataplane(), DEFAULT_VALIDITY, now())
        .unwrap();
    assert_ne!(part(&second, 1)["jti"], jti);
}

#[test]
fn a_token_ends_to_the_second_by_the_time_that_is_passed_in() {
    let keyring = keyring();
    let token = keyring
        .issue(&dataplane(), Duration::from_mins(1), now())
        .unwrap();
    let end: Timestamp = "2026-01-31T12:01:00Z".parse().unwrap();
    keyring
        .verify(&token, end - Duration::from_millis(1))
        .unwrap();
    assert_eq!(
        keyring.verify(&token, end),
        Err(VerifyError::Expired { at: end })
    );
    assert_eq!(
        VerifyError::Expired { at: end }.to_string(),
        "the token expired at 2026-01-31T12:01:00Z"
    );
}

#[test]
fn the_validity_has_bounds() {
    let keyring = keyring();
    for bad in [
        Duration::ZERO,
        MAX_VALIDITY + Duration::from_millis(1),
        Duration::MAX,
    ] {
        let error = keyring.issue(&dataplane(), bad, now()).unwrap_err();
        assert!(matches!(error, IssueError::Validity), "{bad:?}: {error}");
    }
    for good in [Duration::from_nanos(1), MAX_VALIDITY] {
        let token = keyring.issue(&dataplane(), good, now()).unwrap();
        keyring.verify(&token, now()).unwrap();
    }
}

#[test]
fn spoilt_claims_are_refused() {
    assert_eq!(
        keyring()
            .verify(&forge(&rs256(), &good()), now())
            .unwrap()
            .dataplane,
        dataplane(),
        "what is spoilt below must be good to begin with"
    );
    let future = now().unix_seconds() + 61;
    for (claim, bad, problem) in [
        ("iss", json!("kuma"), "another issuer"),
        ("iss", json!(["windlass"]), "cannot be read"),
        ("aud", json!("kuma"), "another audience"),
        ("aud", json!(["windlass", "kuma"]), "cannot be read"),
        ("iat", json!(future), "issued in the future"),
        ("iat", json!("now"), "cannot be read"),
        ("exp", json!(1.5), "cannot be read"),
        ("exp", json!("never"), "cannot be read"),
        ("exp", json!(-1), "expired"),
        ("exp", json!(0), "expired"),
        ("name", json!(""), "names no dataplane"),
        ("name", json!("DP"), "names no dataplane"),
        ("name", json!(7), "cannot be read"),
        ("mesh", json!("a.b"), "names no dataplane"),
        ("mesh", json!("../x"), "names no dataplane"),
        ("jti", json!(""), "id is not one"),
        ("jti", json!("x".repeat(32)), "id is not one"),
    ] {
        let mut claims = good();
        claims[claim] = bad.clone();
        let text = refused(&forge(&rs256(), &claims));
        assert!(text.contains(problem), "{claim}: {bad}: {text}");
    }
    for claim in ["iss", "aud", "iat", "exp", "name", "mesh", "jti"] {
        for null in [false, true] {
            let mut claims = good();
            if null {
                claims[claim] = Value::Null;
            } else {
                claims.as_object_mut().unwrap().remove(claim);
            }
            let text = refused(&forge(&rs256(), &claims));
            assert!(text.contains("cannot be read"), "{claim}: {text}");
        }
    }
}

#[test]
fn a_token_that_was_issued_a_minute_ahead_is_still_accepted() {
    let mut claims = good();
    claims["iat"] = json!(now().unix_seconds() + 60);
    keyring().verify(&forge(&rs256(), &claims), now()).unwrap();
}

#[test]
fn only_rs256_is_accepted() {
    let encoded = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    for alg in ["none", "None", "NONE", ""] {
        let header = json!({"alg": alg, "typ": "JWT", "kid": "1"});
        for signature in ["", "AAAA"] {
            let token = format!("{}.{}.{signature}", encoded(&header), encoded(&good()));
            assert!(refused(&token).contains("not a JWT"), "{alg}");
        }
    }
    // The public key as the secret of an HMAC, in each form an attacker has it.
    let (_, pem) = x509_parser::pem::parse_x509_pem(CERTIFICATE.as_bytes()).unwrap();
    let certificate = pem.parse_x509().unwrap();
    let public = certificate.public_key();
    for secret in [
        CERTIFICATE.as_bytes(),
        public.raw,
        &public.subject_public_key.data,
    ] {
        for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            let mut header = Header::new(algorithm);
            header.kid = Some("1".to_owned());
            let key = EncodingKey::from_secret(secret);
            let token = jsonwebtoken::encode(&header, &good(), &key).unwrap();
            assert!(refused(&token).contains("not RS256"));
            // The same signature under a header that says RS256.
            let (_, rest) = token.split_once('.').unwrap();
            let renamed = encoded(&json!({"alg": "RS256", "typ": "JWT", "kid": "1"}));
            assert!(refused(&format!("{renamed}.{rest}")).contains("signature is wrong"));
        }
    }
    for algorithm in [Algorithm::RS384, Algorithm::RS512, Algorithm::PS256] {
        let mut header = rs256();
        header.alg = algorithm;
        assert!(refused(&forge(&header, &good())).contains("not RS256"));
    }
}

#[test]
fn a_token_is_verified_with_the_key_that_it_names_and_no_other() {
    let both = Keyring::from_keys(&[(1, key(KEY)), (2, key(OTHER_KEY))]).unwrap();
    let mut header = rs256();
    header.kid = Some("2".to_owned());
    let token = forge(&header, &good());
    let error = both.verify(&token, now()).unwrap_err();
    assert!(error.to_string().contains("signature is wrong"), "{error}");
    for (kid, problem) in [
        (Some("2"), "does not have"),
        (Some("01"), "does not have"),
        (Some("+1"), "does not have"),
        (Some("../1"), "does not have"),
        (Some(""), "does not have"),
        (None, "does not name its key"),
    ] {
        header.kid = kid.map(str::to_owned);
        let text = refused(&forge(&header, &good()));
        assert!(text.contains(problem), "{kid:?}: {text}");
    }
    let mut header = rs256();
    header.crit = Some(vec!["exp".to_owned()]);
    assert!(refused(&forge(&header, &good())).contains("critical"));
    // A key that the token brings along is not looked at.
    let mut header = rs256();
    header.jku = Some("http://127.0.0.1:1/keys".to_owned());
    keyring().verify(&forge(&header, &good()), now()).unwrap();
}

#[test]
fn the_newest_key_signs_by_number_and_all_verify() {
    let old = Keyring::from_keys(&[(9, key(KEY))]).unwrap();
    let both = Keyring::from_keys(&[(10, key(OTHER_KEY)), (9, key(KEY))]).unwrap();
    let of_old = old.issue(&dataplane(), DEFAULT_VALIDITY, now()).unwrap();
    let of_new = both.issue(&dataplane(), DEFAULT_VALIDITY, now()).unwrap();
    assert_eq!(part(&of_new, 0)["kid"], "10");
    both.verify(&of_old, now()).unwrap();
    both.verify(&of_new, now()).unwrap();
    old.verify(&of_new, now()).unwrap_err();
}

#[test]
fn what_is_no_token_is_refused() {
    let token = forge(&rs256(), &good());
    let (signed, signature) = token.rsplit_once('.').unwrap();
    for bad in [
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        "a.b.c".to_owned(),
        signed.to_owned(),
        format!("{signed}."),
        format!("{token}.x"),
        format!(" {token}"),
        format!("{token}\n"),
        format!("{token}="),
        format!("{signed}.{}", &signature[..signature.len() - 4]),
    ] {
        refused(&bad);
    }
    // The last character holds four bits that belong to no byte.
    let (start, last) = token.split_at(token.len() - 1);
    for c in ('A'..='Z').chain('a'..='z').chain('0'..='9') {
        if last != c.to_string() {
            refused(&format!("{start}{c}"));
        }
    }
    let mut claims = good();
    claims["pad"] = json!("x".repeat(8 * 1024));
    assert!(refused(&forge(&rs256(), &claims)).contains("longer than 8 KiB"));
}

#[test]
fn only_rsa_keys_of_at_least_2048_bits_sign() {
    for bad in [
        EC_KEY,
        include_str!("../data/ca/rsa1024.pkcs8"),
        CERTIFICATE,
        "",
    ] {
        let error = Keyring::from_keys(&[(1, key(bad))]).unwrap_err();
        assert!(matches!(error, KeyringError::Key { .. }), "{error}");
    }
    assert!(matches!(Keyring::from_keys(&[]), Err(KeyringError::Empty)));
}

#[test]
fn a_keyring_does_not_print_its_keys() {
    let printed = format!("{:#?}", keyring());
    assert_eq!(
        printed,
        "Keyring {\n    keys: [\n        1,\n    ],\n    revoked: 0,\n    ..\n}"
    );
}

#[tokio::test]
async fn the_first_key_is_made_once_and_kept_sealed() {
    let (store, vault) = (MemoryStore::new(), Vault::ephemeral());
    let (one, two) = tokio::join!(
        Keyring::load_or_create(&store, &vault),
        Keyring::load_or_create(&store, &vault),
    );
    let token = one
        .unwrap()
        .issue(&dataplane(), DEFAULT_VALIDITY, now())
        .unwrap();
    two.unwrap().verify(&token, now()).unwrap();
    let later = Keyring::load_or_create(&store, &vault).await.unwrap();
    later.verify(&token, now()).unwrap();

    let secrets = store.secrets("token-signing-key/").await.unwrap();
    let [(name, sealed)] = secrets.as_slice() else {
        panic!("{secrets:?}");
    };
    assert_eq!(name, "token-signing-key/1");
    assert!(sealed.0.starts_with(b"age-encryption.org/v1"));
    let key = vault.unseal(sealed).unwrap();
    assert!(key.expose().starts_with("-----BEGIN PRIVATE KEY-----\n"));

    let stranger = Keyring::load_or_create(&store, &Vault::ephemeral()).await;
    assert!(
        matches!(stranger, Err(KeyringError::Vault(_))),
        "{stranger:?}"
    );
}

#[tokio::test]
async fn a_new_key_signs_once_others_have_seen_it_and_the_old_one_still_verifies() {
    let (store, vault) = (MemoryStore::new(), Vault::ephemeral());
    let here = Keyring::load_or_create(&store, &vault).await.unwrap();
    let there = Keyring::load_or_create(&store, &vault).await.unwrap();
    let old = here.issue(&dataplane(), DEFAULT_VALIDITY, now()).unwrap();

    let changes = there.changes();
    here.rotate(&store, &vault).await.unwrap();
    let new = here.issue(&dataplane(), DEFAULT_VALIDITY, now()).unwrap();
    assert_eq!(part(&new, 0)["kid"], "2");
    here.verify(&old, now()).unwrap();

    there.verify(&new, now()).unwrap_err();
    assert!(!changes.has_changed().unwrap());
    there.refresh(&store, &vault).await.unwrap();
    assert!(changes.has_changed().unwrap());
    there.verify(&new, now()).unwrap();
}

#[tokio::test]
async fn a_revoked_token_is_refused_everywhere_and_for_good() {
    let (store, vault) = (MemoryStore::new(), Vault::ephemeral());
    let here = Keyring::load_or_create(&store, &vault).await.unwrap();
    let there = Keyring::load_or_create(&store, &vault).await.unwrap();
    let token = here.issue(&dataplane(), DEFAULT_VALIDITY, now()).unwrap();
    let other = here.issue(&dataplane(), DEFAULT_VALIDITY, now()).unwrap();
    let id = here.verify(&token, now()).unwrap().token_id;
    assert!(!here.revoked(&id));

    let changes = there.changes();
    for _ in 0..2 {
        here.revoke(&id, &store, &vault).await.unwrap();
        there.refresh(&store, &vault).await.unwrap();
    }
    assert_eq!(*changes.borrow(), 1, "the second time nothing changed");
    let later = Keyring::load_or_create(&store, &vault).await.unwrap();
    for keyring in [&here, &there, &later] {
        assert!(keyring.revoked(&id));
        assert_eq!(keyring.verify(&token, now()), Err(VerifyError::Revoked));
        keyring.verify(&other, now()).unwrap();
    }
    for bad in ["", "../x", &id.to_uppercase(), &format!("{id}0")] {
        let error = here.revoke(bad, &store, &vault).await.unwrap_err();
        assert!(matches!(error, KeyringError::TokenId), "{bad:?}: {error}");
    }
}

#[tokio::test]
async fn what_was_known_stays_when_the_keys_are_gone_or_cannot_be_opened() {
    let (store, vault) = (MemoryStore::new(), Vault::ephemeral());
    let keyring = Keyring::load_or_create(&store, &vault).await.unwrap();
    let token = keyring
        .issue(&dataplane(), DEFAULT_VALIDITY, now())
        .unwrap();

    let foreign = Vault::ephemeral().seal(&key(KEY)).unwrap();
    store
        .put_secret_if_absent("token-signing-key/2", &foreign)
        .await
        .unwrap();
    let error = keyring.refresh(&store, &vault).await.unwrap_err();
    assert!(matches!(error, KeyringError::Vault(_)), "{error}");
    keyring.verify(&token, now()).unwrap();

    for id in ["1", "2"] {
        store
            .delete_secret(&format!("token-signing-key/{id}"))
            .await
            .unwrap();
    }
    let error = keyring.refresh(&store, &vault).await.unwrap_err();
    assert!(matches!(error, KeyringError::Empty), "{error}");
    keyring.verify(&token, now()).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_changed_character_is_never_accepted(position in 0..1000usize, new in "[a-zA-Z0-9_.-]") {
        let keyring = keyring();
        let token = keyring.issue(&dataplane(), DEFAULT_VALIDITY, now()).unwrap();
        let position = position % token.len();
        prop_assume!(token[position..=position] != new);
        let mut changed = token.clone();
        changed.replace_range(position..=position, &new);
        prop_assert!(keyring.verify(&changed, now()).is_err());
    }

    #[test]
    fn no_text_panics(text in "[a-zA-Z0-9_=.-]{0,200}|.*") {
        prop_assert!(keyring().verify(&text, now()).is_err());
    }

    #[test]
    fn issued_tokens_are_accepted_until_they_end(
        mesh in "[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?",
        name in "[a-z0-9]([a-z0-9._-]{0,250}[a-z0-9])?",
        seconds in 1..300_000_000u64,
    ) {
        let keyring = keyring();
        let dataplane = DataplaneId { mesh: mesh.parse().unwrap(), name: name.parse().unwrap() };
        let token = keyring.issue(&dataplane, Duration::from_secs(seconds), now()).unwrap();
        let claims = keyring.verify(&token, now()).unwrap();
        prop_assert_eq!(&claims.dataplane, &dataplane);
        let before = claims.expires_at - Duration::from_millis(1);
        prop_assert!(keyring.verify(&token, before).is_ok());
        prop_assert!(keyring.verify(&token, claims.expires_at).is_err());
    }
}
