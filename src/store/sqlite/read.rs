//! Reads of SQLite.

use sqlx::SqliteConnection;

use super::Place;
use crate::model::{
    Evidence, Generation, HistoryEntry, MeshName, MeshState, SealedKey, SourceName, SourceStatus,
    Timestamp, combine,
};
use crate::store::rows::{self, EvidenceRow, ResourceRow, to_generation, to_integer};
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
    rows::to_meshes(
        place,
        rows.map_err(|error| place.failed("read the meshes", error))?,
    )
}

/// All of a mesh.
pub(super) async fn mesh(
    place: &Place,
    connection: &mut SqliteConnection,
    name: &MeshName,
    generation: Generation,
) -> Result<MeshState, StoreError> {
    let resources: Result<Vec<ResourceRow>, _> =
        sqlx::query_as("SELECT kind, name, digest, origin, universal FROM resource WHERE mesh = ?")
            .bind(name.as_str())
            .fetch_all(&mut *connection)
            .await;
    let resources = resources.map_err(|error| place.failed("read resources", error))?;
    let authorities: Result<Vec<(String, String)>, _> =
        sqlx::query_as("SELECT id, document FROM authority WHERE mesh = ?")
            .bind(name.as_str())
            .fetch_all(&mut *connection)
            .await;
    let authorities = authorities.map_err(|error| place.failed("read authorities", error))?;
    let progress: Result<Option<(Option<String>,)>, _> =
        sqlx::query_as("SELECT progress FROM mesh WHERE name = ?")
            .bind(name.as_str())
            .fetch_optional(connection)
            .await;
    let progress = progress.map_err(|error| place.failed("read a mesh", error))?;
    let progress = progress.and_then(|(progress,)| progress);
    rows::to_mesh(
        place,
        (name, generation),
        resources,
        authorities,
        progress.as_deref(),
    )
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
    Ok(combine(rows::to_records(place, rows)?))
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
            .bind(to_integer(since.0))
            .fetch_all(connection)
            .await
            .map_err(failed)?;
    Ok(EvidenceChanges {
        mark: EvidenceMark(to_generation(place, mark)?.0),
        records: rows::to_records(place, rows)?,
    })
}

/// Everything that is sealed.
pub(super) async fn sealed(
    place: &Place,
    connection: &mut SqliteConnection,
) -> Result<Vec<(SealedPlace, SealedKey)>, StoreError> {
    let failed = |error| place.failed("read what is sealed", error);
    let keys = sqlx::query_as(
        "SELECT mesh, id, key FROM authority WHERE key IS NOT NULL ORDER BY mesh, id",
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(failed)?;
    let secrets = sqlx::query_as("SELECT name, value FROM secret ORDER BY name")
        .fetch_all(connection)
        .await
        .map_err(failed)?;
    rows::to_sealed(place, keys, secrets)
}

/// The replicas, with how long ago they announced themselves.
pub(super) async fn replicas(
    place: &Place,
    connection: &mut SqliteConnection,
    now: Timestamp,
) -> Result<Vec<Announced>, StoreError> {
    let rows = sqlx::query_as("SELECT name, ? - seen, document FROM replica ORDER BY name")
        .bind(now.unix_milliseconds())
        .fetch_all(connection)
        .await;
    rows::to_replicas(
        place,
        rows.map_err(|error| place.failed("read the replicas", error))?,
    )
}

/// The newest `limit` entries of the history below `before`, newest first.
pub(super) async fn history(
    place: &Place,
    connection: &mut SqliteConnection,
    before: Option<Generation>,
    limit: usize,
) -> Result<Vec<HistoryEntry>, StoreError> {
    let rows = sqlx::query_as(
        "SELECT generation, document FROM history WHERE generation < ? \
         ORDER BY generation DESC LIMIT ?",
    )
    .bind(before.map_or(i64::MAX, |before| to_integer(before.0)))
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch_all(connection)
    .await;
    rows::to_history(
        place,
        rows.map_err(|error| place.failed("read the history", error))?,
    )
}

/// How far a source has come.
pub(super) async fn source_status(
    place: &Place,
    connection: &mut SqliteConnection,
    source: &SourceName,
) -> Result<Option<SourceStatus>, StoreError> {
    let row = sqlx::query_as("SELECT document FROM source WHERE name = ?")
        .bind(source.as_str())
        .fetch_optional(connection)
        .await;
    let row = row.map_err(|error| place.failed("read the state of a source", error))?;
    rows::to_source_status(place, source, row)
}
