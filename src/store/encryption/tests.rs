use std::os::unix::fs::PermissionsExt;

use super::*;

fn secret(text: &str) -> PrivateKey {
    PrivateKey::new(Zeroizing::new(text.to_owned()))
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn what_is_sealed_opens_and_shows_nothing_of_itself() {
    let vault = Vault::ephemeral();
    let sealed = vault.seal(&secret("TOP SECRET")).unwrap();
    assert!(sealed.0.starts_with(b"age-encryption.org/v1\n"));
    assert!(!sealed.0.windows(10).any(|bytes| bytes == b"TOP SECRET"));
    assert_eq!(vault.unseal(&sealed).unwrap().expose(), "TOP SECRET");
    assert_ne!(vault.seal(&secret("TOP SECRET")).unwrap(), sealed);
}

#[test]
fn a_vault_does_not_print_its_identity() {
    let vault = Vault::ephemeral();
    assert!(!format!("{vault:?}{vault:#?}").contains("AGE-SECRET-KEY"));
}

#[test]
fn another_identity_is_told_from_damage() {
    let vault = Vault::ephemeral();
    let sealed = vault.seal(&secret("TOP SECRET")).unwrap();
    let error = Vault::ephemeral().unseal(&sealed).unwrap_err();
    assert!(
        matches!(error, VaultError::WrongIdentity { .. }),
        "{error:?}"
    );

    // In the payload, behind the header that names the recipient.
    let mut flipped = sealed.clone();
    *flipped.0.last_mut().unwrap() ^= 1;
    let mut cut = sealed.clone();
    cut.0.truncate(sealed.0.len() - 5);
    for broken in [flipped, cut, SealedKey(Vec::new()), SealedKey(vec![7; 100])] {
        let error = vault.unseal(&broken).unwrap_err();
        assert!(matches!(error, VaultError::Damaged { .. }), "{error:?}");
    }
}

#[test]
fn no_byte_can_be_changed_unseen() {
    let vault = Vault::ephemeral();
    let sealed = vault.seal(&secret("TOP SECRET")).unwrap();
    for place in 0..sealed.0.len() {
        let mut broken = sealed.clone();
        broken.0[place] ^= 0x20;
        assert!(vault.unseal(&broken).is_err(), "byte {place}");
    }
}

#[test]
fn an_identity_is_made_once_for_its_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state/keys/identity.txt");
    assert!(matches!(
        Vault::open(&path).unwrap_err(),
        VaultError::Read { source, .. } if source.kind() == io::ErrorKind::NotFound
    ));
    let sealed = Vault::open_or_create(&path)
        .unwrap()
        .seal(&secret("TOP SECRET"))
        .unwrap();
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    for again in [Vault::open_or_create(&path), Vault::open(&path)] {
        assert_eq!(
            again.unwrap().unseal(&sealed).unwrap().expose(),
            "TOP SECRET"
        );
    }
}

#[test]
fn an_identity_that_is_there_by_then_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("identity.txt");
    file::create(&path).unwrap();
    let first = std::fs::read(&path).unwrap();
    file::create(&path).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), first);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn many_at_once_get_the_same_identity_and_leave_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("identity.txt");
    let recipients: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..16)
            .map(|_| scope.spawn(|| Vault::open_or_create(&path).unwrap().recipients().remove(0)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert!(
        recipients
            .iter()
            .all(|recipient| *recipient == recipients[0])
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn what_a_killed_process_left_behind_is_swept_away() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("identity.txt");
    std::fs::write(
        folder.path().join(".identity.txt.age1xyz.new"),
        "half an iden",
    )
    .unwrap();
    Vault::open_or_create(&path).unwrap();
    std::fs::write(
        folder.path().join(".identity.txt.age1abc.new"),
        "AGE-SECRET-KEY-1",
    )
    .unwrap();
    std::fs::write(folder.path().join("unrelated.new"), "").unwrap();
    Vault::open_or_create(&path).unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn the_first_identity_seals_and_all_open() {
    let folder = tempfile::tempdir().unwrap();
    let [one, two] = ["one", "two"].map(|name| folder.path().join(name));
    let [first, second] = [&one, &two].map(|path| Vault::open_or_create(path).unwrap());
    let both = format!(
        "{}\n\n# the former one\n{}",
        std::fs::read_to_string(&two).unwrap(),
        std::fs::read_to_string(&one).unwrap()
    );
    let sealed = first.seal(&secret("TOP SECRET")).unwrap();
    std::fs::write(&one, both).unwrap();
    let anew = second.seal(&secret("ANOTHER")).unwrap();
    assert!(first.is_up_to_date(&sealed));
    // What it cannot open makes it look at its file again.
    assert_eq!(first.unseal(&anew).unwrap().expose(), "ANOTHER");
    assert_eq!(first.unseal(&sealed).unwrap().expose(), "TOP SECRET");
    assert_eq!(first.recipients()[0], second.recipients()[0]);
    assert_eq!(first.recipients().len(), 2);
    assert!(!first.is_up_to_date(&sealed));
    let next = first.seal(&secret("NEXT")).unwrap();
    assert_eq!(second.unseal(&next).unwrap().expose(), "NEXT");

    // A file that went bad takes nothing away.
    std::fs::write(&one, "nonsense").unwrap();
    assert!(first.refresh().is_err());
    assert_eq!(first.unseal(&sealed).unwrap().expose(), "TOP SECRET");
}

#[test]
fn an_identity_that_others_may_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("identity.txt");
    Vault::open_or_create(&path).unwrap();
    for bits in [0o640, 0o604, 0o620, 0o601] {
        std::fs::set_permissions(&path, PermissionsExt::from_mode(bits)).unwrap();
        let error = Vault::open_or_create(&path).unwrap_err();
        assert!(
            matches!(error, VaultError::TooOpen { mode, .. } if mode == bits),
            "{error:?}"
        );
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }
}

#[test]
fn what_is_no_identity_is_refused_and_not_replaced() {
    use age::secrecy::ExposeSecret as _;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("identity.txt");
    let good = Identity::generate().to_string();
    let good = good.expose_secret();
    for text in [
        "",
        "# only a comment\n",
        "AGE-SECRET-KEY-1XYZ",
        &format!("{good}\n{good}\n"),
        &good[..40],
    ] {
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        let error = Vault::open_or_create(&path).unwrap_err();
        assert!(
            matches!(error, VaultError::NotAnIdentity { .. }),
            "{error:?}"
        );
        assert!(!format!("{error:?} {error}").contains(&good[16..40]));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
    let error = Vault::open(folder.path()).unwrap_err();
    assert!(
        matches!(error, VaultError::NotAnIdentity { .. }),
        "{error:?}"
    );
}

#[test]
fn without_an_identity_secrets_are_kept_as_they_are() {
    let vault = Vault::none();
    let kept = vault.seal(&secret("TOP SECRET")).unwrap();
    assert_eq!(kept.0, b"TOP SECRET");
    assert_eq!(vault.unseal(&kept).unwrap().expose(), "TOP SECRET");
    let sealed = Vault::ephemeral().seal(&secret("TOP SECRET")).unwrap();
    let error = vault.unseal(&sealed).unwrap_err();
    assert!(matches!(error, VaultError::NoIdentity), "{error:?}");
    assert!(vault.is_up_to_date(&kept) && !vault.is_up_to_date(&sealed));
    // What was kept before there was an identity still opens, and is not as it should be.
    let later = Vault::ephemeral();
    assert_eq!(later.unseal(&kept).unwrap().expose(), "TOP SECRET");
    assert!(!later.is_up_to_date(&kept));
    let broken = vault.unseal(&SealedKey(vec![0xff; 3])).unwrap_err();
    assert!(matches!(broken, VaultError::Damaged { .. }), "{broken:?}");
}
