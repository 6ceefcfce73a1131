//! Secrets: the keys of authorities, and what else is sealed.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;

use super::KubernetesStore;
use super::cluster::{Cluster, Fault};
use super::ledger::Head;
use super::names::{self, MESH, NAME, annotation, hashed, part};
use crate::model::{AuthorityId, MeshName, SealedKey};
use crate::store::{SealedPlace, StoreError};

/// The type of a Secret with the key of an authority.
const AUTHORITY_KEY: &str = "windlass.io/authority-key";
/// The type of a Secret with anything else.
const SECRET: &str = "windlass.io/secret";
/// Where the sealed bytes stand.
const KEY: &str = "sealed";

fn secret(meta: kube::api::ObjectMeta, type_: &str, sealed: &SealedKey) -> Secret {
    Secret {
        metadata: meta,
        type_: Some(type_.to_owned()),
        data: Some(BTreeMap::from([(
            KEY.to_owned(),
            ByteString(sealed.0.clone()),
        )])),
        ..Secret::default()
    }
}

fn sealed_of(secret: &Secret) -> SealedKey {
    let data = secret.data.as_ref();
    let bytes = data.and_then(|data| data.get(KEY));
    SealedKey(bytes.map(|bytes| bytes.0.clone()).unwrap_or_default())
}

/// The Secret with an authority's key.
pub(super) fn authority_key(
    name: &str,
    mesh: &MeshName,
    id: AuthorityId,
    key: &SealedKey,
) -> Secret {
    let id = id.to_string();
    let annotations = [(MESH, mesh.as_str()), (NAME, &id)];
    let meta = names::meta(name, part::AUTHORITY_KEY, &annotations);
    secret(meta, AUTHORITY_KEY, key)
}

/// Creates a Secret whose name nobody used before.
pub(super) async fn create(
    cluster: &Cluster,
    action: &'static str,
    secret: &Secret,
) -> Result<(), StoreError> {
    match cluster.create(action, secret).await {
        Ok(_) | Err(Fault::Conflict) => Ok(()),
        Err(fault) => Err(fault.into_error(cluster, action)),
    }
}

impl KubernetesStore {
    pub(super) async fn key_of(&self, id: &AuthorityId) -> Result<Option<SealedKey>, StoreError> {
        const ACTION: &str = "read a key";
        let mut reading = self.reading(ACTION);
        loop {
            let head = reading.head().await?;
            let Some(trees) = self.trees(&head).await? else {
                continue;
            };
            let name = trees.iter().find_map(|tree| tree.keys.get(id));
            let Some(name) = name else {
                return Ok(None);
            };
            // Where it is gone, the ledger has moved on.
            if let Some(secret) = self.cluster.get::<Secret>(ACTION, name).await? {
                return Ok(Some(sealed_of(&secret)));
            }
        }
    }

    pub(super) async fn keep_secret(
        &self,
        name: &str,
        sealed: &SealedKey,
    ) -> Result<SealedKey, StoreError> {
        const ACTION: &str = "keep a secret";
        let object = hashed("secret", &[name]);
        let meta = names::meta(&object, part::SECRET, &[(NAME, name)]);
        let new = secret(meta, SECRET, sealed);
        loop {
            match self.cluster.create(ACTION, &new).await {
                Ok(_) => return Ok(sealed.clone()),
                Err(Fault::Conflict) => {}
                Err(fault) => return Err(fault.into_error(&self.cluster, ACTION)),
            }
            if let Some(kept) = self.cluster.get::<Secret>(ACTION, &object).await? {
                return Ok(sealed_of(&kept));
            }
            // Forgotten in between: the next one is the first.
        }
    }

    pub(super) async fn find_secrets(
        &self,
        prefix: &str,
    ) -> Result<Vec<(String, SealedKey)>, StoreError> {
        let secrets = self.cluster.list::<Secret>("read secrets", part::SECRET);
        let mut found: Vec<(String, SealedKey)> = (secrets.await?.iter())
            .map(|secret| {
                let name = annotation(&secret.metadata, NAME).to_owned();
                (name, sealed_of(secret))
            })
            .filter(|(name, _)| name.starts_with(prefix))
            .collect();
        found.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(found)
    }

    pub(super) async fn forget_secret(&self, name: &str) -> Result<(), StoreError> {
        let object = hashed("secret", &[name]);
        self.cluster
            .delete::<Secret>("forget a secret", &object)
            .await
    }

    /// The keys of all authorities; `None` where the ledger has moved on.
    async fn sealed_keys(
        &self,
        head: &Head,
    ) -> Result<Option<Vec<(SealedPlace, SealedKey)>>, StoreError> {
        let Some(trees) = self.trees(head).await? else {
            return Ok(None);
        };
        let secrets = self
            .cluster
            .list::<Secret>("read what is sealed", part::AUTHORITY_KEY);
        let secrets: BTreeMap<String, SealedKey> = (secrets.await?.into_iter())
            .map(|secret| {
                let sealed = sealed_of(&secret);
                (secret.metadata.name.unwrap_or_default(), sealed)
            })
            .collect();
        let mut keys = Vec::new();
        for tree in &trees {
            for (id, name) in &tree.keys {
                let Some(sealed) = secrets.get(name) else {
                    return Ok(None);
                };
                let mesh = tree.state.name.clone();
                keys.push((SealedPlace::Authority { mesh, id: *id }, sealed.clone()));
            }
        }
        Ok(Some(keys))
    }

    pub(super) async fn all_sealed(&self) -> Result<Vec<(SealedPlace, SealedKey)>, StoreError> {
        const ACTION: &str = "read what is sealed";
        let mut reading = self.reading(ACTION);
        let mut all = loop {
            let head = reading.head().await?;
            if let Some(keys) = self.sealed_keys(&head).await? {
                break keys;
            }
        };
        let secrets = self.find_secrets("").await?.into_iter();
        all.extend(secrets.map(|(name, sealed)| (SealedPlace::Secret(name), sealed)));
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(all)
    }

    /// No generation rises, and the ledger stays: it names the Secret only.
    pub(super) async fn seal_anew(
        &self,
        place: &SealedPlace,
        from: &SealedKey,
        to: &SealedKey,
    ) -> Result<bool, StoreError> {
        const ACTION: &str = "seal a key anew";
        let name = match place {
            SealedPlace::Secret(name) => Some(hashed("secret", &[name])),
            SealedPlace::Authority { mesh, id } => {
                let tree = self.tree_of(ACTION, mesh).await?;
                tree.and_then(|tree| tree.keys.get(id).cloned())
            }
        };
        let Some(name) = name else {
            return Ok(false);
        };
        for number in 0..super::MAX_CONFLICTS {
            let Some(mut secret) = self.cluster.get::<Secret>(ACTION, &name).await? else {
                return Ok(false);
            };
            let found = sealed_of(&secret);
            if found != *from {
                // The answer to an earlier try may have been lost.
                return Ok(number > 0 && found == *to);
            }
            secret.metadata.managed_fields = None;
            let data = secret.data.get_or_insert_default();
            data.insert(KEY.to_owned(), ByteString(to.0.clone()));
            match self.cluster.replace(ACTION, &secret).await {
                Ok(_) => return Ok(true),
                Err(Fault::Missing) => return Ok(false),
                // Perhaps only a label changed: what it holds decides.
                Err(Fault::Conflict) => {}
                Err(fault) => return Err(fault.into_error(&self.cluster, ACTION)),
            }
        }
        Err(Fault::Conflict.into_error(&self.cluster, ACTION))
    }
}
