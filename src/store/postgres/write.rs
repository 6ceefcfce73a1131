//! Values to rows, inside a transaction that someone else commits.

use std::collections::BTreeMap;
use std::sync::Arc;

use sqlx::PgConnection;

use super::topic::Topic;
use crate::model::{
    Authority, DataplaneId, Generation, HistoryEntry, MeshName, Progress, ProxyEvidence, SealedKey,
};
use crate::store::difference::{Difference, KeyChange};
use crate::store::place::Place;
use crate::store::rows::to_integer;
use crate::store::{SealedPlace, StoreError};

/// How many rows one statement writes: enough to make its cost vanish, and few
/// enough to hold their text in memory twice.
const ROWS: usize = 2_000;

/// Raises what `topic` counts, and tells those who listen once this is
/// committed. It waits for all writes before, and those after wait for this one.
pub(super) async fn raise(
    place: &Place,
    connection: &mut PgConnection,
    topic: Topic,
) -> Result<i64, StoreError> {
    let raised: Result<(i64,), _> = sqlx::query_as(topic.raise()).fetch_one(connection).await;
    let (count,) = raised.map_err(|error| place.failed("take the turn to write", error))?;
    Ok(count)
}

/// The rows of one mesh.
pub(super) struct Rows<'a> {
    pub(super) place: &'a Place,
    pub(super) connection: &'a mut PgConnection,
    pub(super) mesh: &'a MeshName,
}

impl Rows<'_> {
    /// Writes what differs, and the mesh's generation.
    pub(super) async fn write(
        &mut self,
        generation: Generation,
        progress: &Progress,
        difference: &Difference<'_>,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO mesh (name, generation, progress) VALUES ($1, $2, $3) \
             ON CONFLICT (name) DO UPDATE SET \
             generation = excluded.generation, progress = excluded.progress",
        )
        .bind(self.mesh.as_str())
        .bind(to_integer(generation.0))
        .bind(self.place.encode(progress)?)
        .execute(&mut *self.connection)
        .await
        .map_err(|error| self.place.failed("write a mesh", error))?;
        self.delete_resources(difference).await?;
        self.put_resources(difference).await?;
        if !difference.forgotten.is_empty() {
            let ids: Vec<_> = difference
                .forgotten
                .iter()
                .map(ToString::to_string)
                .collect();
            sqlx::query("DELETE FROM authority WHERE mesh = $1 AND id = ANY ($2)")
                .bind(self.mesh.as_str())
                .bind(ids)
                .execute(&mut *self.connection)
                .await
                .map_err(|error| self.place.failed("forget an authority", error))?;
        }
        for (authority, key) in &difference.authorities {
            self.put_authority(authority, *key).await?;
        }
        Ok(())
    }

    /// Deletes the mesh with all that belongs to it.
    pub(super) async fn delete_all(&mut self) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM mesh WHERE name = $1")
            .bind(self.mesh.as_str())
            .execute(&mut *self.connection)
            .await
            .map_err(|error| self.place.failed("delete a mesh", error))?;
        Ok(())
    }

    async fn delete_resources(&mut self, difference: &Difference<'_>) -> Result<(), StoreError> {
        for keys in difference.deleted.chunks(ROWS) {
            let kinds: Vec<_> = keys.iter().map(|key| key.kind.as_str()).collect();
            let names: Vec<_> = keys.iter().map(|key| key.name.as_str()).collect();
            sqlx::query(
                "DELETE FROM resource USING unnest($2::text[], $3::text[]) AS gone (kind, name) \
                 WHERE resource.mesh = $1 AND resource.kind = gone.kind AND resource.name = gone.name",
            )
            .bind(self.mesh.as_str())
            .bind(kinds)
            .bind(names)
            .execute(&mut *self.connection)
            .await
            .map_err(|error| self.place.failed("delete resources", error))?;
        }
        Ok(())
    }

    async fn put_resources(&mut self, difference: &Difference<'_>) -> Result<(), StoreError> {
        for resources in difference.put.chunks(ROWS) {
            let of = || resources.iter().map(|(_, stored)| stored);
            let kinds: Vec<_> = resources.iter().map(|(key, _)| key.kind.as_str()).collect();
            let names: Vec<_> = resources.iter().map(|(key, _)| key.name.as_str()).collect();
            let digests: Vec<_> = of().map(|stored| stored.digest.to_string()).collect();
            let origins = of().map(|stored| self.place.encode(&stored.origin));
            let origins = origins.collect::<Result<Vec<_>, _>>()?;
            let texts = of().map(|stored| stored.resource.to_universal().to_string());
            sqlx::query(
                "INSERT INTO resource (mesh, kind, name, digest, origin, universal) \
                 SELECT $1, * FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[]) \
                 ON CONFLICT (mesh, kind, name) DO UPDATE SET digest = excluded.digest, \
                 origin = excluded.origin, universal = excluded.universal",
            )
            .bind(self.mesh.as_str())
            .bind(kinds)
            .bind(names)
            .bind(digests)
            .bind(origins)
            .bind(texts.collect::<Vec<_>>())
            .execute(&mut *self.connection)
            .await
            .map_err(|error| self.place.failed("write resources", error))?;
        }
        Ok(())
    }

    async fn put_authority(
        &mut self,
        authority: &Authority,
        key: KeyChange<'_>,
    ) -> Result<(), StoreError> {
        let query = match key {
            KeyChange::Keep => {
                sqlx::query("UPDATE authority SET document = $3 WHERE mesh = $1 AND id = $2")
            }
            KeyChange::Put(_) | KeyChange::Destroy => sqlx::query(
                "INSERT INTO authority (mesh, id, document, key) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (mesh, id) DO UPDATE SET \
                 document = excluded.document, key = excluded.key",
            ),
        };
        let query = query
            .bind(self.mesh.as_str())
            .bind(authority.id.to_string())
            .bind(self.place.encode(authority)?);
        let query = match key {
            KeyChange::Keep => query,
            KeyChange::Put(key) => query.bind(Some(&*key.0)),
            KeyChange::Destroy => query.bind(None::<&[u8]>),
        };
        query
            .execute(&mut *self.connection)
            .await
            .map_err(|error| self.place.failed("write an authority", error))?;
        Ok(())
    }

    /// Appends a line to the history.
    pub(super) async fn append_history(
        &mut self,
        entry: Option<HistoryEntry>,
    ) -> Result<(), StoreError> {
        let Some(entry) = entry else { return Ok(()) };
        sqlx::query("INSERT INTO history (generation, document) VALUES ($1, $2)")
            .bind(to_integer(entry.generation.0))
            .bind(self.place.encode(&entry)?)
            .execute(&mut *self.connection)
            .await
            .map_err(|error| self.place.failed("append to the history", error))?;
        Ok(())
    }
}

/// Keeps evidence under that mark, of Dataplanes that exist.
pub(super) async fn evidence(
    place: &Place,
    connection: &mut PgConnection,
    evidence: &[Arc<ProxyEvidence>],
    mark: i64,
) -> Result<(), StoreError> {
    // One statement writes a row once: of several the last one holds.
    let mut rows = BTreeMap::new();
    for proxy in evidence {
        let replica = proxy.replica.as_deref().unwrap_or_default();
        rows.insert((&proxy.dataplane, replica), proxy);
    }
    let rows: Vec<_> = rows.into_iter().collect();
    for rows in rows.chunks(ROWS) {
        let ids = || rows.iter().map(|((id, _), _)| id);
        let meshes: Vec<_> = ids().map(|id| id.mesh.as_str()).collect();
        let names: Vec<_> = ids().map(|id| id.name.as_str()).collect();
        let replicas: Vec<_> = rows.iter().map(|((_, replica), _)| *replica).collect();
        let documents = rows.iter().map(|(_, proxy)| place.encode(&***proxy));
        sqlx::query(
            "INSERT INTO evidence (mesh, name, replica, mark, document) \
             SELECT known.mesh, known.name, known.replica, $1, known.document \
             FROM unnest($2::text[], $3::text[], $4::text[], $5::text[]) \
                 AS known (mesh, name, replica, document) \
             JOIN resource ON resource.mesh = known.mesh AND resource.kind = 'Dataplane' \
                 AND resource.name = known.name \
             ON CONFLICT (mesh, kind, name, replica) DO UPDATE SET \
             mark = excluded.mark, document = excluded.document",
        )
        .bind(mark)
        .bind(meshes)
        .bind(names)
        .bind(replicas)
        .bind(documents.collect::<Result<Vec<_>, _>>()?)
        .execute(&mut *connection)
        .await
        .map_err(|error| place.failed("record evidence", error))?;
    }
    Ok(())
}

/// Forgets what these replicas knew of these proxies.
pub(super) async fn forget_evidence(
    place: &Place,
    connection: &mut PgConnection,
    of: &[(DataplaneId, Arc<str>)],
) -> Result<(), StoreError> {
    let meshes: Vec<_> = of.iter().map(|(id, _)| id.mesh.as_str()).collect();
    let names: Vec<_> = of.iter().map(|(id, _)| id.name.as_str()).collect();
    let replicas: Vec<_> = of.iter().map(|(_, replica)| &**replica).collect();
    sqlx::query(
        "DELETE FROM evidence USING unnest($1::text[], $2::text[], $3::text[]) \
         AS gone (mesh, name, replica) WHERE evidence.mesh = gone.mesh \
         AND evidence.name = gone.name AND evidence.replica = gone.replica",
    )
    .bind(meshes)
    .bind(names)
    .bind(replicas)
    .execute(connection)
    .await
    .map_err(|error| place.failed("forget evidence", error))?;
    Ok(())
}

/// Puts what is sealed anew in the place of what was there.
pub(super) async fn reseal(
    place: &Place,
    connection: &mut PgConnection,
    sealed: &SealedPlace,
    from: &SealedKey,
    to: &SealedKey,
) -> Result<bool, StoreError> {
    let query = match sealed {
        SealedPlace::Authority { mesh, id } => {
            sqlx::query("UPDATE authority SET key = $1 WHERE key = $2 AND mesh = $3 AND id = $4")
                .bind(&*to.0)
                .bind(&*from.0)
                .bind(mesh.as_str())
                .bind(id.to_string())
        }
        SealedPlace::Secret(name) => {
            sqlx::query("UPDATE secret SET value = $1 WHERE value = $2 AND name = $3")
                .bind(&*to.0)
                .bind(&*from.0)
                .bind(name)
        }
    };
    let done = query.execute(connection).await;
    let done = done.map_err(|error| place.failed("seal a key anew", error))?;
    Ok(done.rows_affected() > 0)
}
