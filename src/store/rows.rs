//! Rows to values, the same in every database that has rows.

use std::sync::Arc;
use std::time::Duration;

use super::place::Place;
use super::{Announced, SealedPlace, StoreError};
use crate::model::{
    Authority, Generation, HistoryEntry, MeshName, MeshState, Posture, Progress, ProxyEvidence,
    Resource, ResourceKey, SealedKey, SourceName, SourceStatus, StoredResource,
};

/// A generation, or a mark.
pub(super) fn to_generation(place: &Place, number: i64) -> Result<Generation, StoreError> {
    u64::try_from(number)
        .map(Generation)
        .map_err(|error| place.corrupt("a negative generation".to_owned(), error))
}

/// The number that a database keeps.
pub(super) fn to_integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Meshes with their generations.
pub(super) fn to_meshes(
    place: &Place,
    rows: Vec<(String, i64)>,
) -> Result<Vec<(MeshName, Generation)>, StoreError> {
    rows.into_iter()
        .map(|(name, generation)| {
            let mesh = name
                .parse()
                .map_err(|error| place.corrupt(format!("a mesh named {name:?}"), error))?;
            Ok((mesh, to_generation(place, generation)?))
        })
        .collect()
}

/// A resource.
#[derive(sqlx::FromRow)]
pub(super) struct ResourceRow {
    kind: String,
    name: String,
    digest: String,
    origin: String,
    universal: String,
}

impl ResourceRow {
    fn to_resource(
        &self,
        place: &Place,
        mesh: &MeshName,
    ) -> Result<(ResourceKey, StoredResource), StoreError> {
        let what = || format!("{} {} of mesh {mesh}", self.kind, self.name);
        let resource: Resource = place.decode(what, &self.universal)?;
        let key = resource.key();
        if key.mesh != *mesh || key.kind.as_str() != self.kind || key.name.as_str() != self.name {
            return Err(place.corrupt(what(), format!("it holds {key} instead")));
        }
        let digest = self.digest.parse();
        let stored = StoredResource {
            resource,
            digest: digest.map_err(|error| place.corrupt(what(), error))?,
            origin: place.decode(what, &self.origin)?,
        };
        Ok((key, stored))
    }
}

/// A mesh of its rows: the resources, the authorities with their ids, and how it
/// stands, where that was noted.
pub(super) fn to_mesh(
    place: &Place,
    (name, generation): (&MeshName, Generation),
    resources: Vec<ResourceRow>,
    authorities: Vec<(String, String)>,
    progress: Option<&str>,
) -> Result<MeshState, StoreError> {
    let mut state = MeshState {
        generation,
        ..MeshState::absent(name.clone())
    };
    for row in resources {
        let (key, stored) = row.to_resource(place, name)?;
        state.resources.insert(key, Arc::new(stored));
    }
    for (id, document) in authorities {
        let what = || format!("authority {id} of mesh {name}");
        let authority: Authority = place.decode(what, &document)?;
        state.authorities.insert(authority.id, authority);
    }
    state.progress = match progress {
        Some(document) => place.decode(|| format!("progress of mesh {name}"), document)?,
        None => stands_as_it_says(&state),
    };
    Ok(state)
}

/// A mesh that was written before meshes noted how they stand.
fn stands_as_it_says(state: &MeshState) -> Progress {
    let enabled = state.mesh().is_some_and(|mesh| mesh.mtls.enabled);
    Progress {
        posture: if enabled {
            Posture::Strict
        } else {
            Posture::Plaintext
        },
        ..Progress::default()
    }
}

/// Mesh, name and document.
pub(super) type EvidenceRow = (String, String, String);

/// What replicas know of proxies.
pub(super) fn to_records(
    place: &Place,
    rows: Vec<EvidenceRow>,
) -> Result<Vec<Arc<ProxyEvidence>>, StoreError> {
    rows.into_iter()
        .map(|(mesh, name, document)| {
            let what = || format!("evidence of dataplane {mesh}/{name}");
            place.decode(what, &document).map(Arc::new)
        })
        .collect()
}

/// Everything that is sealed, of the keys (mesh, id and key) and the secrets.
pub(super) fn to_sealed(
    place: &Place,
    keys: Vec<(String, String, Vec<u8>)>,
    secrets: Vec<(String, Vec<u8>)>,
) -> Result<Vec<(SealedPlace, SealedKey)>, StoreError> {
    let mut all = Vec::with_capacity(keys.len() + secrets.len());
    for (mesh, id, key) in keys {
        let what = || format!("authority {id} of mesh {mesh}");
        let sealed = SealedPlace::Authority {
            mesh: mesh.parse().map_err(|error| place.corrupt(what(), error))?,
            id: id.parse().map_err(|error| place.corrupt(what(), error))?,
        };
        all.push((sealed, SealedKey(key)));
    }
    let secrets = secrets.into_iter();
    all.extend(secrets.map(|(name, value)| (SealedPlace::Secret(name), SealedKey(value))));
    Ok(all)
}

/// Replicas: name, how many milliseconds ago it announced itself, and document.
pub(super) fn to_replicas(
    place: &Place,
    rows: Vec<(String, i64, String)>,
) -> Result<Vec<Announced>, StoreError> {
    rows.into_iter()
        .map(|(name, ago, document)| {
            Ok(Announced {
                replica: place.decode(|| format!("replica {name}"), &document)?,
                ago: Duration::from_millis(u64::try_from(ago).unwrap_or_default()),
            })
        })
        .collect()
}

/// Entries of the history.
pub(super) fn to_history(
    place: &Place,
    rows: Vec<(i64, String)>,
) -> Result<Vec<HistoryEntry>, StoreError> {
    rows.into_iter()
        .map(|(generation, document)| {
            place.decode(|| format!("history of generation {generation}"), &document)
        })
        .collect()
}

/// How far a source has come.
pub(super) fn to_source_status(
    place: &Place,
    source: &SourceName,
    row: Option<(String,)>,
) -> Result<Option<SourceStatus>, StoreError> {
    row.map(|(document,)| place.decode(|| format!("state of source {source}"), &document))
        .transpose()
}
