//! Authorities, their keys, and what admission refuses in a store's own words.

use std::time::Duration;

use windlass::clock;
use windlass::model::{Generation, Kind, Marks, Part, Posture, ProxyEvidence, Rules};
use windlass::store::admission::Refusal;
use windlass::store::{Operation, Store, WriteError, Written};

use super::samples::*;

fn refusal(result: Result<Written, WriteError>) -> Refusal {
    match result {
        Err(WriteError::Refused { source, .. }) => source,
        other => panic!("{other:?}"),
    }
}

pub(super) async fn a_revoked_authority_loses_its_key<S: Store>(make: impl AsyncFn() -> S) {
    let store = make().await;
    assert_eq!(store.authority_key(&id("root")).await.unwrap(), None);
    let operations = vec![put(mesh("demo")), add("demo", "root"), add("demo", "spare")];
    change(&store, "demo", operations).await.unwrap();
    for state in [PREPARED, ACTIVE, retiring()] {
        change(&store, "demo", vec![advance("root", state)])
            .await
            .unwrap();
        let kept = store.authority_key(&id("root")).await.unwrap();
        assert_eq!(kept, Some(sealed("root")), "{state}");
    }
    let written = change(&store, "demo", vec![advance("root", revoked())])
        .await
        .unwrap();
    assert_eq!(store.authority_key(&id("root")).await.unwrap(), None);
    assert_eq!(
        store.authority_key(&id("spare")).await.unwrap(),
        Some(sealed("spare"))
    );
    let mesh = written.mesh.unwrap();
    assert_eq!(mesh.authorities[&id("root")].state, revoked());
    assert_eq!(store.load().await.unwrap().meshes["demo"], mesh);
    // Nothing brings it back.
    let again = change(&store, "demo", vec![add("demo", "root")]).await;
    assert!(matches!(refusal(again), Refusal::AlreadyRevoked { .. }));
}

pub(super) async fn a_forgotten_authority_can_be_added_again<S: Store>(make: impl AsyncFn() -> S) {
    let store = make().await;
    change(&store, "demo", vec![put(mesh("demo")), add("demo", "root")])
        .await
        .unwrap();
    let early = change(&store, "demo", vec![Operation::ForgetAuthority(id("root"))]).await;
    assert!(matches!(refusal(early), Refusal::NotRevoked { .. }));

    let revoke_and_forget = vec![
        advance("root", revoked()),
        Operation::ForgetAuthority(id("root")),
    ];
    let written = change(&store, "demo", revoke_and_forget.clone())
        .await
        .unwrap();
    assert!(written.mesh.unwrap().authorities.is_empty());
    assert_eq!(store.authority_key(&id("root")).await.unwrap(), None);

    change(&store, "demo", vec![add("demo", "root")])
        .await
        .unwrap();
    // Exchanged in one write: it ends with the new key.
    let mut exchange = revoke_and_forget;
    let new = Operation::AddAuthority(authority("demo", "root"), sealed("anew"));
    exchange.push(new);
    change(&store, "demo", exchange).await.unwrap();
    assert_eq!(
        store.authority_key(&id("root")).await.unwrap(),
        Some(sealed("anew"))
    );
}

pub(super) async fn a_mesh_goes_with_its_authorities_keys_and_evidence<S: Store>(
    make: impl AsyncFn() -> S,
) {
    let store = make().await;
    create_secure(&store, "demo").await;
    let evidence = holds_leaf("demo", "dp-1", "builtin");
    store.record_evidence(&[evidence]).await.unwrap();
    let deletion = vec![
        delete("demo", Kind::Dataplane, "dp-1"),
        delete("demo", Kind::Dataplane, "dp-2"),
        delete("demo", Kind::Mesh, "demo"),
    ];
    let here = connected("dp-1", &Part::ALL, &Marks::default());
    let gone = ProxyEvidence {
        connected_since: None,
        ..here.clone()
    };
    store.record_evidence(&[here.into()]).await.unwrap();
    let refused = refusal(change(&store, "demo", deletion.clone()).await);
    let expected = Refusal::DataplanesConnected {
        mesh: "demo".parse().unwrap(),
        dataplanes: vec![dataplane_id("demo", "dp-1")],
    };
    assert_eq!(refused, expected);
    assert!(store.authority_key(&id("builtin")).await.unwrap().is_some());

    store.record_evidence(&[gone.into()]).await.unwrap();
    let written = change(&store, "demo", deletion).await.unwrap();
    assert!(written.mesh.is_none());
    assert_eq!(store.authority_key(&id("builtin")).await.unwrap(), None);
    assert!(store.evidence().await.unwrap().is_empty());

    // What comes after it starts from nothing.
    let anew = write(
        "demo",
        Generation(0),
        vec![put(mesh("demo")), put(dataplane("demo", "dp-1"))],
    );
    let mesh = store.write(&anew).await.unwrap().mesh.unwrap();
    assert!(mesh.authorities.is_empty());
    assert!(store.evidence().await.unwrap().is_empty());
}

pub(super) async fn meshes_that_share_a_certificate_have_a_key_each<S: Store>(
    make: impl AsyncFn() -> S,
) {
    let store = make().await;
    for name in ["a", "b"] {
        let operations = vec![put(mesh(name)), add(name, "root")];
        change(&store, name, operations).await.unwrap();
    }
    change(&store, "a", vec![advance("root", revoked())])
        .await
        .unwrap();
    assert_eq!(
        store.authority_key(&id("root")).await.unwrap(),
        Some(sealed("root"))
    );
    change(&store, "b", vec![delete("b", Kind::Mesh, "b")])
        .await
        .unwrap();
    assert_eq!(store.authority_key(&id("root")).await.unwrap(), None);
}

pub(super) async fn an_authority_is_kept_while_a_proxy_holds_its_leaf<S: Store>(
    make: impl AsyncFn() -> S,
) {
    let store = make().await;
    create_secure(&store, "demo").await;
    create_secure(&store, "other").await;
    let rotate = vec![
        add("demo", "builtin-2"),
        advance("builtin-2", PREPARED),
        advance("builtin", retiring()),
        advance("builtin-2", ACTIVE),
        Operation::Drain,
    ];
    change(&store, "demo", rotate).await.unwrap();
    let evidence = [
        holds_leaf("demo", "dp-1", "builtin"),
        holds_leaf("other", "dp-1", "builtin"),
    ];
    store.record_evidence(&evidence).await.unwrap();

    let revoke = vec![advance("builtin", revoked())];
    let refused = refusal(change(&store, "demo", revoke.clone()).await);
    let dataplanes = vec![dataplane_id("demo", "dp-1")];
    assert_eq!(
        refused,
        Refusal::StillInUse {
            id: id("builtin"),
            dataplanes
        }
    );
    assert!(store.authority_key(&id("builtin")).await.unwrap().is_some());

    let expired = ProxyEvidence {
        leaf_not_after: Some(clock::now() - Duration::from_secs(1)),
        ..(*evidence[0]).clone()
    };
    store.record_evidence(&[expired.into()]).await.unwrap();
    change(&store, "demo", revoke).await.unwrap();
}

pub(super) async fn a_step_waits_for_the_evidence_in_the_store<S: Store>(
    make: impl AsyncFn() -> S,
) {
    let store = make().await;
    create_secure(&store, "demo").await;
    let prepare = vec![add("demo", "builtin-2"), advance("builtin-2", PREPARED)];
    let prepared = change(&store, "demo", prepare).await.unwrap();
    let marks = prepared.mesh.unwrap().progress.marks;
    let record = async |dataplane: &str, parts: &[Part]| {
        let evidence = connected(dataplane, parts, &marks);
        store.record_evidence(&[evidence.into()]).await.unwrap();
    };
    record("dp-1", &[Part::Bundle]).await;
    record("dp-2", &[Part::Leaf]).await;
    let before = store.load().await.unwrap();
    let hand_over = vec![
        Operation::Note(Rules::default(), Some(transition().into())),
        advance("builtin", retiring()),
        advance("builtin-2", ACTIVE),
    ];
    let refused = refusal(change(&store, "demo", hand_over.clone()).await);
    let text = refused.to_string();
    assert!(matches!(refused, Refusal::Unproven { .. }), "{refused:?}");
    assert!(text.contains("demo/dp-2 has yet to"), "{text}");
    let after = store.load().await.unwrap();
    assert_eq!(after.generation, before.generation);
    assert_eq!(after.meshes, before.meshes, "nothing of it was written");

    record("dp-2", &[Part::Bundle]).await;
    let written = change(&store, "demo", hand_over).await.unwrap();
    let progress = written.mesh.unwrap().progress.clone();
    assert_eq!(progress.marks.leaf, marks.leaf + 1);
    assert_eq!(progress.transition, Some(transition()));
}

pub(super) async fn a_mesh_does_not_become_plaintext_unannounced<S: Store>(
    make: impl AsyncFn() -> S,
) {
    let store = make().await;
    create_secure(&store, "demo").await;
    let opens = || Operation::Secure(Posture::Encrypting);
    let refused = refusal(change(&store, "demo", vec![opens()]).await);
    assert!(
        matches!(refused, Refusal::Unannounced { .. }),
        "{refused:?}"
    );
    let skips = vec![put(mesh("demo")), Operation::Secure(Posture::Plaintext)];
    let refused = refusal(change(&store, "demo", skips).await);
    assert!(matches!(refused, Refusal::Illegal(_)), "{refused:?}");
    let disable = vec![put(mesh("demo")), opens()];
    let written = change(&store, "demo", disable).await.unwrap();
    assert_eq!(written.mesh.unwrap().progress.posture, Posture::Encrypting);
}
