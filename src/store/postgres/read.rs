//! Reads of Postgres.

use sqlx::PgConnection;

use crate::model::{
    Evidence, Generation, HistoryEntry, MeshName, MeshState, SealedKey, SourceName, SourceStatus,
    combine,
};
use crate::store::place::Place;
use crate::store::rows::{self, EvidenceRow, ResourceRow, to_generation, to_integer};
use crate::store::{Announced, EvidenceChanges, EvidenceMark, SealedPlace, StoreError};

/// The store's generation.
pub(super) async fn generation(
    place: &Place,
    connection: &mut PgConnection,
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
    connection: &mut PgConnection,
    mesh: &MeshName,
) -> Result<Generation, StoreError> {
    let row: Result<Option<(i64,)>, _> =
        sqlx::query_as("SELECT generation FROM mesh WHERE name = $1")
            .bind(mesh.as_str())
            .fetch_optional(connection)
            .await;
    let row = row.map_err(|error| place.failed("read a mesh", error))?;
    to_generation(place, row.map_or(0, |(generation,)| generation))
}

/// The meshes with their generations, in the order of names.
pub(super) async fn meshes(
    place: &Place,
    connection: &mut PgConnection,
) -> Result<Vec<(MeshName, Generation)>, StoreError> {
    let rows = sqlx::query_as("SELECT name, generation FROM mesh ORDER BY name")
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
    connection: &mut PgConnection,
    name: &MeshName,
    generation: Generation,
) -> Result<MeshState, StoreError> {
    let failed = |error| place.failed("read a mesh", error);
    let resources: Vec<ResourceRow> = sqlx::query_as(
        "SELECT kind, name, digest, origin, universal FROM resource WHERE mesh = $1",
    )
    .bind(name.as_str())
    .fetch_all(&mut *connection)
    .await
    .map_err(failed)?;
    let authorities = sqlx::query_as("SELECT id, document FROM authority WHERE mesh = $1")
        .bind(name.as_str())
        .fetch_all(&mut *connection)
        .await
        .map_err(failed)?;
    let progress: Option<(String,)> = sqlx::query_as("SELECT progress FROM mesh WHERE name = $1")
        .bind(name.as_str())
        .fetch_optional(connection)
        .await
        .map_err(failed)?;
    let progress = progress.as_ref().map(|(progress,)| progress.as_str());
    rows::to_mesh(place, (name, generation), resources, authorities, progress)
}

/// The evidence of a mesh, or of all.
pub(super) async fn evidence(
    place: &Place,
    connection: &mut PgConnection,
    mesh: Option<&MeshName>,
) -> Result<Evidence, StoreError> {
    let query = match mesh {
        Some(mesh) => sqlx::query_as("SELECT mesh, name, document FROM evidence WHERE mesh = $1")
            .bind(mesh.as_str()),
        None => sqlx::query_as("SELECT mesh, name, document FROM evidence"),
    };
    let rows = query.fetch_all(connection).await;
    let rows = rows.map_err(|error| place.failed("read evidence", error))?;
    Ok(combine(rows::to_records(place, rows)?))
}

/// What was recorded after `since`.
pub(super) async fn evidence_since(
    place: &Place,
    connection: &mut PgConnection,
    since: EvidenceMark,
) -> Result<EvidenceChanges, StoreError> {
    let failed = |error| place.failed("read evidence", error);
    let (mark,): (i64,) = sqlx::query_as("SELECT evidence FROM store")
        .fetch_one(&mut *connection)
        .await
        .map_err(failed)?;
    let rows: Vec<EvidenceRow> =
        sqlx::query_as("SELECT mesh, name, document FROM evidence WHERE mark > $1")
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
    connection: &mut PgConnection,
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

/// The replicas, with how long ago they announced themselves by the server's clock.
pub(super) async fn replicas(
    place: &Place,
    connection: &mut PgConnection,
) -> Result<Vec<Announced>, StoreError> {
    let rows = sqlx::query_as(
        "SELECT name, (extract(epoch FROM clock_timestamp() - seen) * 1000)::bigint, document \
         FROM replica ORDER BY name",
    )
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
    connection: &mut PgConnection,
    before: Option<Generation>,
    limit: usize,
) -> Result<Vec<HistoryEntry>, StoreError> {
    let rows = sqlx::query_as(
        "SELECT generation, document FROM history WHERE generation < $1 \
         ORDER BY generation DESC LIMIT $2",
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
    connection: &mut PgConnection,
    source: &SourceName,
) -> Result<Option<SourceStatus>, StoreError> {
    let row = sqlx::query_as("SELECT document FROM source WHERE name = $1")
        .bind(source.as_str())
        .fetch_optional(connection)
        .await;
    let row = row.map_err(|error| place.failed("read the state of a source", error))?;
    rows::to_source_status(place, source, row)
}
