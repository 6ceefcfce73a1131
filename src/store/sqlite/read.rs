//! Rows to values.

use sqlx::SqliteConnection;

use std::sync::Arc;
use std::time::Duration;

use super::Place;
use crate::model::{
    Authority, Evidence, Generation, HistoryEntry, MeshName, MeshState, Posture, Progress,
    ProxyEvidence, Resource, ResourceKey, SealedKey, SourceName, SourceStatus, StoredResource,
    Timestamp, combine,
};
use crate::store::{Announced, EvidenceChanges, EvidenceMark, SealedPlace, StoreError};

/// The store's generation.
pub(super) async fn generation(
    place: &Place,
    connection: &mut SqliteConnection,
) -> Result<Generation, StoreError> {
    let row: Result<(i64,), _> = sqlx::query_as("SELECT generation FROM store")
        .fetch_one(connection)
        .await;
    let (generation,) = row.map_err(|error| place.failed("read the generation", error))?;
    to_generation(place, generation)
}

/// The generation of a mesh; 0 where it is absent.
pub(super) async fn mesh_generation(
    place: &Place,
    connection: &mut SqliteConnection,
    mesh: &MeshName,
) -> Result<Generation, StoreError> {
    let row: Result<Option<(i64,)>, _> =
        sqlx::query_as("SELECT generation FROM mesh WHERE name = ?")
            .bind(mesh.as_str())
            .fetch_optional(connection)
            .await;
    let row = row.map_err(|error| place.failed("read a mesh", error))?;
    to_generation(place, row.map_or(0, |(generation,)| generation))
}

/// The meshes with their generations, in the order of names.
pub(super) async fn meshes(
    place: &Place,
    connection: &mut SqliteConnection,
) -> Result<Vec<(MeshName, Generation)>, StoreError> {
    let rows: Result<Vec<(String, i64)>, _> =
        sqlx::query_as("SELECT name, generation FROM mesh ORDER BY name")
            .fetch_all(connection)
            .await;
    let rows = rows.map_err(|error| place.failed("read the meshes", error))?;
    rows.into_iter()
        .map(|(name, generation)| {
            let mesh = name
                .parse()
                .map_err(|error| place.corrupt(format!("a mesh named {name:?}"), error))?;
            Ok((mesh, to_generation(place, generation)?))
        })
        .collect()
}

/// All of a mesh.
pub(super) async fn mesh(
    place: &Place,
    connection: &mut SqliteConnection,
    name: &MeshName,
    generation: Generation,
) -> Result<MeshState, StoreError> {
    let mut state = MeshState {
        generation,
        ..MeshState::absent(name.clone())
    };
    let rows: Result<Vec<ResourceRow>, _> =
        sqlx::query_as("SELECT kind, name, digest, origin, universal FROM resource WHERE mesh = ?")
            .bind(name.as_str())
            .fetch_all(&mut *connection)
            .await;
    for row in rows.map_err(|error| place.failed("read resources", error))? {
        let (key, stored) = row.to_resource(place, name)?;
        state.resources.insert(key, Arc::new(stored));
    }
    let rows: Result<Vec<(String, String)>, _> =
        sqlx::query_as("SELECT id, document FROM authority WHERE mesh = ?")
            .bind(name.as_str())
            .fetch_all(&mut *connection)
            .await;
    for (id, document) in rows.map_err(|error| place.failed("read authorities", error))? {
        let authority: Authority =
            place.decode(|| format!("authority {id} of mesh {name}"), &document)?;
        state.authorities.insert(authority.id, authority);
    }
    let progress = progress(place, connection, name).await?;
    state.progress = progress.unwrap_or_else(|| stands_as_it_says(&state));
    Ok(state)
}

async fn progress(
    place: &Place,
    connection: &mut SqliteConnection,
    name: &MeshName,
) -> Result<Option<Progress>, StoreError> {
    let row: Result<Option<(Option<String>,)>, _> =
        sqlx::query_as("SELECT progress FROM mesh WHERE name = ?")
            .bind(name.as_str())
            .fetch_optional(connection)
            .await;
    let row = row.map_err(|error| place.failed("read a mesh", error))?;
    let document = row.and_then(|(progress,)| progress);
    document
        .map(|document| place.decode(|| format!("progress of mesh {name}"), &document))
        .transpose()
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

#[derive(sqlx::FromRow)]
struct ResourceRow {
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

/// The evidence of a mesh, or of all.
pub(super) async fn evidence(
    place: &Place,
    connection: &mut SqliteConnection,
    mesh: Option<&MeshName>,
) -> Result<Evidence, StoreError> {
    let query = match mesh {
        Some(mesh) => sqlx::query_as("SELECT mesh, name, document FROM evidence WHERE mesh = ?")
            .bind(mesh.as_str()),
        None => sqlx::query_as("SELECT mesh, name, document FROM evidence"),
    };
    let rows: Result<Vec<EvidenceRow>, _> = query.fetch_all(connection).await;
    let rows = rows.map_err(|error| place.failed("read evidence", error))?;
    Ok(combine(records(place, rows)?))
}

/// What was recorded after `since`.
pub(super) async fn evidence_since(
    place: &Place,
    connection: &mut SqliteConnection,
    since: EvidenceMark,
) -> Result<EvidenceChanges, StoreError> {
    let failed = |error| place.failed("read evidence", error);
    let (mark,): (i64,) = sqlx::query_as("SELECT evidence FROM store")
        .fetch_one(&mut *connection)
        .await
        .map_err(failed)?;
    let rows: Vec<EvidenceRow> =
        sqlx::query_as("SELECT mesh, name, document FROM evidence WHERE mark > ?")
            .bind(i64::try_from(since.0).unwrap_or(i64::MAX))
            .fetch_all(connection)
            .await
            .map_err(failed)?;
    Ok(EvidenceChanges {
        mark: EvidenceMark(to_generation(place, mark)?.0),
        records: records(place, rows)?,
    })
}

/// Mesh, name and document.
type EvidenceRow = (String, String, String);

fn records(place: &Place, rows: Vec<EvidenceRow>) -> Result<Vec<Arc<ProxyEvidence>>, StoreError> {
    rows.into_iter()
        .map(|(mesh, name, document)| {
            let what = || format!("evidence of dataplane {mesh}/{name}");
            place.decode(what, &document).map(Arc::new)
        })
        .collect()
}

/// Everything that is sealed.
pub(super) async fn sealed(
    place: &Place,
    connection: &mut SqliteConnection,
) -> Result<Vec<(SealedPlace, SealedKey)>, StoreError> {
    let failed = |error| place.failed("read what is sealed", error);
    let keys: Vec<(String, String, Vec<u8>)> = sqlx::query_as(
        "SELECT mesh, id, key FROM authority WHERE key IS NOT NULL ORDER BY mesh, id",
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(failed)?;
    let mut all = Vec::with_capacity(keys.len());
    for (mesh, id, key) in keys {
        let what = || format!("authority {id} of mesh {mesh}");
        let sealed = SealedPlace::Authority {
            mesh: mesh.parse().map_err(|error| place.corrupt(what(), error))?,
            id: id.parse().map_err(|error| place.corrupt(what(), error))?,
        };
        all.push((sealed, SealedKey(key)));
    }
    let secrets: Vec<(String, Vec<u8>)> =
        sqlx::query_as("SELECT name, value FROM secret ORDER BY name")
            .fetch_all(connection)
            .await
            .map_err(failed)?;
    let secrets = secrets.into_iter();
    all.extend(secrets.map(|(name, value)| (SealedPlace::Secret(name), SealedKey(value))));
    Ok(all)
}

/// The replicas, with how long ago they announced themselves.
pub(super) async fn replicas(
    place: &Place,
    connection: &mut SqliteConnection,
    now: Timestamp,
) -> Result<Vec<Announced>, StoreError> {
    let rows: Result<Vec<(String, i64, String)>, _> =
        sqlx::query_as("SELECT name, seen, document FROM replica ORDER BY name")
            .fetch_all(connection)
            .await;
    rows.map_err(|error| place.failed("read the replicas", error))?
        .into_iter()
        .map(|(name, seen, document)| {
            let ago = now.unix_milliseconds().saturating_sub(seen);
            Ok(Announced {
                replica: place.decode(|| format!("replica {name}"), &document)?,
                ago: Duration::from_millis(u64::try_from(ago).unwrap_or_default()),
            })
        })
        .collect()
}

/// The newest `limit` entries of the history below `before`, newest first.
pub(super) async fn history(
    place: &Place,
    connection: &mut SqliteConnection,
    before: Option<Generation>,
    limit: usize,
) -> Result<Vec<HistoryEntry>, StoreError> {
    let integer = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let rows: Result<Vec<(i64, String)>, _> = sqlx::query_as(
        "SELECT generation, document FROM history WHERE generation < ? \
         ORDER BY generation DESC LIMIT ?",
    )
    .bind(before.map_or(i64::MAX, |before| integer(before.0)))
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch_all(connection)
    .await;
    rows.map_err(|error| place.failed("read the history", error))?
        .into_iter()
        .map(|(generation, document)| {
            place.decode(|| format!("history of generation {generation}"), &document)
        })
        .collect()
}

/// How far a source has come.
pub(super) async fn source_status(
    place: &Place,
    connection: &mut SqliteConnection,
    source: &SourceName,
) -> Result<Option<SourceStatus>, StoreError> {
    let row: Result<Option<(String,)>, _> =
        sqlx::query_as("SELECT document FROM source WHERE name = ?")
            .bind(source.as_str())
            .fetch_optional(connection)
            .await;
    row.map_err(|error| place.failed("read the state of a source", error))?
        .map(|(document,)| place.decode(|| format!("state of source {source}"), &document))
        .transpose()
}

fn to_generation(place: &Place, number: i64) -> Result<Generation, StoreError> {
    u64::try_from(number)
        .map(Generation)
        .map_err(|error| place.corrupt("a negative generation".to_owned(), error))
}
