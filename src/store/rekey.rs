//! Sealing everything that a store holds anew, to the identity that seals now.
//!
//! The control plane goes on meanwhile. What it seals while this runs is sealed
//! to the new identity already, and what it opens is sealed to one that it has:
//! replicas tell which identities they hold, and where one does not have the
//! new one in the first place, nothing is begun.

use std::time::Duration;

use super::encryption::{Vault, VaultError};
use super::{SealedPlace, Store, StoreError};

/// A replica that has not announced itself for longer than this runs no longer.
const ALIVE: Duration = Duration::from_secs(15);

/// How often it is looked again for what was sealed meanwhile.
const PASSES: u32 = 3;

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rekeyed {
    /// How many keys and secrets were sealed anew.
    pub resealed: usize,
    /// How many were sealed to the new identity already.
    pub kept: usize,
}

/// Why not everything is sealed to the new identity. What was sealed anew until
/// then stays so, and opens: it is safe to go on later.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RekeyError {
    /// Some replica could not open what would be sealed anew, or still seals to
    /// another identity.
    #[error(
        "the replicas {} do not seal to {recipient} yet",
        replicas.join(", ")
    )]
    NotEverywhere {
        /// The new identity's public half.
        recipient: String,
        /// Which, in the order of their names.
        replicas: Vec<String>,
    },
    /// There is no identity to seal to.
    #[error("there is no identity to seal to: `store.encryption.none` is set")]
    NoIdentity,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is stored at some place cannot be opened or sealed.
    #[error("{} cannot be sealed anew", in_words(place))]
    Vault {
        /// Where.
        place: SealedPlace,
        /// Why.
        source: Box<VaultError>,
    },
}

/// Seals anew what is not sealed to the first identity of `vault`. Done twice,
/// it finds nothing to do.
///
/// # Errors
///
/// Fails where a replica that lives does not seal to that identity yet, where
/// something cannot be opened, and where the store fails.
pub async fn rekey(store: &dyn Store, vault: &Vault) -> Result<Rekeyed, RekeyError> {
    let recipient = vault.recipients().into_iter().next();
    let recipient = recipient.ok_or(RekeyError::NoIdentity)?;
    let replicas = store.replicas().await?;
    let behind = replicas
        .into_iter()
        .filter(|it| it.ago < ALIVE && it.replica.recipients.first() != Some(&recipient));
    let behind: Vec<String> = behind.map(|it| it.replica.name.to_string()).collect();
    if !behind.is_empty() {
        return Err(RekeyError::NotEverywhere {
            recipient,
            replicas: behind,
        });
    }
    let mut done = reseal(store, vault).await?;
    // What was being sealed when the identities changed may have come since.
    for _ in 0..PASSES {
        let again = reseal(store, vault).await?;
        done.resealed += again.resealed;
        if again.resealed == 0 {
            break;
        }
    }
    Ok(done)
}

/// Looks once at everything that is sealed.
async fn reseal(store: &dyn Store, vault: &Vault) -> Result<Rekeyed, RekeyError> {
    let mut done = Rekeyed::default();
    for (place, sealed) in store.sealed().await? {
        if vault.is_up_to_date(&sealed) {
            done.kept += 1;
            continue;
        }
        let anew = vault.unseal(&sealed).and_then(|key| vault.seal(&key));
        let anew = anew.map_err(|source| RekeyError::Vault {
            place: place.clone(),
            source: source.into(),
        })?;
        // Whatever took its place meanwhile, or took it away, is as it should be.
        if store.reseal(&place, &sealed, &anew).await? {
            done.resealed += 1;
        }
    }
    Ok(done)
}

fn in_words(place: &SealedPlace) -> String {
    match place {
        SealedPlace::Authority { mesh, id } => {
            format!("the key of authority {id} of mesh {mesh}")
        }
        SealedPlace::Secret(name) => format!("the secret {name}"),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    use age::secrecy::ExposeSecret as _;
    use zeroize::Zeroizing;

    use super::*;
    use crate::clock;
    use crate::model::PrivateKey;
    use crate::store::Replica;
    use crate::store::memory::MemoryStore;

    fn identity() -> String {
        let identity = age::x25519::Identity::generate().to_string();
        identity.expose_secret().to_owned()
    }

    fn keep(path: &Path, identities: &[&str]) {
        std::fs::write(path, identities.join("\n")).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn secret(text: &str) -> PrivateKey {
        PrivateKey::new(Zeroizing::new(text.to_owned()))
    }

    async fn announce(store: &MemoryStore, vault: &Vault) {
        let replica = Replica {
            name: "cp-1".into(),
            run: "1".into(),
            since: clock::now(),
            recipients: vault.recipients(),
            leads: true,
        };
        store.announce(&replica).await.unwrap();
    }

    #[tokio::test]
    async fn an_identity_is_changed_while_a_control_plane_runs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity.txt");
        let (old, new) = (identity(), identity());
        keep(&path, &[&old]);
        let (running, store) = (Vault::open(&path).unwrap(), MemoryStore::new());
        for name in ["token/1", "token/2"] {
            let sealed = running.seal(&secret(name)).unwrap();
            store.put_secret_if_absent(name, &sealed).await.unwrap();
        }
        announce(&store, &running).await;

        // The new one seals here, and the control plane does not know of it yet.
        keep(&path, &[&new, &old]);
        let vault = Vault::open(&path).unwrap();
        let refused = rekey(&store, &vault).await.unwrap_err();
        let message = refused.to_string();
        assert!(
            matches!(refused, RekeyError::NotEverywhere { ref replicas, .. } if replicas == &["cp-1"]),
            "{refused:?}"
        );
        assert!(message.contains(&vault.recipients()[0]), "{message}");

        assert!(running.refresh().unwrap());
        assert!(!running.refresh().unwrap(), "nothing changed");
        announce(&store, &running).await;
        let done = rekey(&store, &vault).await.unwrap();
        assert_eq!((done.resealed, done.kept), (2, 0));
        let again = rekey(&store, &vault).await.unwrap();
        assert_eq!((again.resealed, again.kept), (0, 2));

        // The old one is needed no longer, and opens nothing.
        keep(&path, &[&new]);
        assert!(running.refresh().unwrap());
        let former = folder.path().join("former.txt");
        keep(&former, &[&old]);
        let former = Vault::open(&former).unwrap();
        for (name, sealed) in store.secrets("").await.unwrap() {
            assert_eq!(running.unseal(&sealed).unwrap().expose(), name);
            assert!(former.unseal(&sealed).is_err());
        }
    }

    #[tokio::test]
    async fn what_no_identity_opens_is_named_and_left() {
        let store = MemoryStore::new();
        let foreign = Vault::ephemeral().seal(&secret("whose?")).unwrap();
        store
            .put_secret_if_absent("xds-ca", &foreign)
            .await
            .unwrap();
        let refused = rekey(&store, &Vault::ephemeral()).await.unwrap_err();
        assert!(
            refused.to_string().contains("the secret xds-ca"),
            "{refused}"
        );
        assert_eq!(store.secrets("").await.unwrap()[0].1, foreign);
    }
}
