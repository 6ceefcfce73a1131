//! Values to rows, inside a transaction that someone else commits.

use std::sync::Arc;

use sqlx::{QueryBuilder, SqliteConnection};

use super::Place;
use crate::model::{
    Authority, Generation, HistoryEntry, MeshName, Progress, ProxyEvidence, SealedKey,
    SourceStatus, Timestamp,
};
use crate::store::difference::{Difference, KeyChange};
use crate::store::rows::to_integer;
use crate::store::{Replica, SealedPlace, StoreError};

/// How many rows one statement writes: enough to make its cost vanish, far
/// below the 32,766 parameters that SQLite takes.
const ROWS: usize = 500;

/// Raises the store's generation.
pub(super) async fn next_generation(
    place: &Place,
    connection: &mut SqliteConnection,
) -> Result<Generation, StoreError> {
    const ACTION: &str = "raise the generation";
    sqlx::query("UPDATE store SET generation = generation + 1")
        .execute(&mut *connection)
        .await
        .map_err(|error| place.failed(ACTION, error))?;
    super::read::generation(place, connection).await
}

/// The rows of one mesh.
pub(super) struct Rows<'a> {
    place: &'a Place,
    connection: &'a mut SqliteConnection,
    mesh: &'a MeshName,
}

impl<'a> Rows<'a> {
    pub(super) fn new(
        place: &'a Place,
        connection: &'a mut SqliteConnection,
        mesh: &'a MeshName,
    ) -> Self {
        Self {
            place,
            connection,
            mesh,
        }
    }

    /// Writes what differs, and the mesh's generation.
    pub(super) async fn write(
        &mut self,
        generation: Generation,
        progress: &Progress,
        difference: &Difference<'_>,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO mesh (name, generation, progress) VALUES (?, ?, ?) \
             ON CONFLICT DO UPDATE SET \
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
        for id in &difference.forgotten {
            sqlx::query("DELETE FROM authority WHERE mesh = ? AND id = ?")
                .bind(self.mesh.as_str())
                .bind(id.to_string())
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
        sqlx::query("DELETE FROM mesh WHERE name = ?")
            .bind(self.mesh.as_str())
            .execute(&mut *self.connection)
            .await
            .map_err(|error| self.place.failed("delete a mesh", error))?;
        Ok(())
    }

    async fn delete_resources(&mut self, difference: &Difference<'_>) -> Result<(), StoreError> {
        for keys in difference.deleted.chunks(ROWS) {
            let mut query = QueryBuilder::new("DELETE FROM resource WHERE mesh = ");
            query.push_bind(self.mesh.as_str().to_owned());
            query.push(" AND (kind, name) IN (");
            query.push_values(keys, |mut row, key| {
                row.push_bind(key.kind.as_str())
                    .push_bind(key.name.as_str().to_owned());
            });
            query.push(")");
            query
                .build()
                .execute(&mut *self.connection)
                .await
                .map_err(|error| self.place.failed("delete resources", error))?;
        }
        Ok(())
    }

    async fn put_resources(&mut self, difference: &Difference<'_>) -> Result<(), StoreError> {
        for resources in difference.put.chunks(ROWS) {
            let mut rows = Vec::with_capacity(resources.len());
            for (key, stored) in resources {
                let origin = self.place.encode(&stored.origin)?;
                rows.push((key, stored, origin));
            }
            let mut query = QueryBuilder::new(
                "INSERT INTO resource (mesh, kind, name, digest, origin, universal) ",
            );
            query.push_values(rows, |mut row, (key, stored, origin)| {
                row.push_bind(self.mesh.as_str().to_owned())
                    .push_bind(key.kind.as_str())
                    .push_bind(key.name.as_str().to_owned())
                    .push_bind(stored.digest.to_string())
                    .push_bind(origin)
                    .push_bind(stored.resource.to_universal().to_string());
            });
            query.push(
                " ON CONFLICT DO UPDATE SET digest = excluded.digest, \
                 origin = excluded.origin, universal = excluded.universal",
            );
            query
                .build()
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
                sqlx::query("UPDATE authority SET document = ?3 WHERE mesh = ?1 AND id = ?2")
            }
            KeyChange::Put(_) | KeyChange::Destroy => sqlx::query(
                "INSERT INTO authority (mesh, id, document, key) VALUES (?, ?, ?, ?) \
                 ON CONFLICT DO UPDATE SET document = excluded.document, key = excluded.key",
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
        sqlx::query("INSERT INTO history (generation, document) VALUES (?, ?)")
            .bind(to_integer(entry.generation.0))
            .bind(self.place.encode(&entry)?)
            .execute(&mut *self.connection)
            .await
            .map_err(|error| self.place.failed("append to the history", error))?;
        Ok(())
    }
}

/// Keeps evidence, of Dataplanes that exist.
pub(super) async fn evidence(
    place: &Place,
    connection: &mut SqliteConnection,
    evidence: &[Arc<ProxyEvidence>],
) -> Result<(), StoreError> {
    let (mark,): (i64,) =
        sqlx::query_as("UPDATE store SET evidence = evidence + 1 RETURNING evidence")
            .fetch_one(&mut *connection)
            .await
            .map_err(|error| place.failed("record evidence", error))?;
    for proxies in evidence.chunks(ROWS) {
        let mut rows = Vec::with_capacity(proxies.len());
        for proxy in proxies {
            let replica = proxy.replica.as_deref().unwrap_or_default();
            rows.push((&proxy.dataplane, replica, place.encode(&**proxy)?));
        }
        let mut query = QueryBuilder::new(
            "INSERT INTO evidence (mesh, name, replica, mark, document) \
             SELECT column1, column2, column3, column4, column5 FROM (",
        );
        query.push_values(rows, |mut row, (dataplane, replica, document)| {
            row.push_bind(dataplane.mesh.as_str())
                .push_bind(dataplane.name.as_str())
                .push_bind(replica)
                .push_bind(mark)
                .push_bind(document);
        });
        query.push(
            ") WHERE EXISTS (SELECT 1 FROM resource \
             WHERE mesh = column1 AND kind = 'Dataplane' AND name = column2) \
             ON CONFLICT DO UPDATE SET mark = excluded.mark, document = excluded.document",
        );
        query
            .build()
            .execute(&mut *connection)
            .await
            .map_err(|error| place.failed("record evidence", error))?;
    }
    Ok(())
}

/// Keeps a secret unless there is one of that name.
pub(super) async fn secret(
    connection: &mut SqliteConnection,
    name: &str,
    secret: &SealedKey,
) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO secret (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING")
        .bind(name)
        .bind(&*secret.0)
        .execute(connection)
        .await
        .map(drop)
}

/// Puts what is sealed anew in the place of what was there.
pub(super) async fn reseal(
    place: &Place,
    connection: &mut SqliteConnection,
    sealed: &SealedPlace,
    from: &SealedKey,
    to: &SealedKey,
) -> Result<bool, StoreError> {
    let query = match sealed {
        SealedPlace::Authority { mesh, id } => {
            sqlx::query("UPDATE authority SET key = ? WHERE mesh = ? AND id = ? AND key = ?")
                .bind(&*to.0)
                .bind(mesh.as_str())
                .bind(id.to_string())
        }
        SealedPlace::Secret(name) => {
            sqlx::query("UPDATE secret SET value = ? WHERE name = ? AND value = ?")
                .bind(&*to.0)
                .bind(name)
        }
    };
    let done = query.bind(&*from.0).execute(connection).await;
    let done = done.map_err(|error| place.failed("seal a key anew", error))?;
    Ok(done.rows_affected() > 0)
}

/// Keeps that a replica lives.
pub(super) async fn replica(
    place: &Place,
    connection: &mut SqliteConnection,
    replica: &Replica,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO replica (name, seen, document) VALUES (?, ?, ?) \
         ON CONFLICT DO UPDATE SET seen = excluded.seen, document = excluded.document",
    )
    .bind(&*replica.name)
    .bind(now.unix_milliseconds())
    .bind(place.encode(replica)?)
    .execute(connection)
    .await
    .map_err(|error| place.failed("announce a replica", error))?;
    Ok(())
}

/// Keeps how far a source has come.
pub(super) async fn source_status(
    place: &Place,
    connection: &mut SqliteConnection,
    status: &SourceStatus,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO source (name, document) VALUES (?, ?) \
         ON CONFLICT DO UPDATE SET document = excluded.document",
    )
    .bind(status.source.as_str())
    .bind(place.encode(status)?)
    .execute(connection)
    .await
    .map_err(|error| place.failed("keep the state of a source", error))?;
    Ok(())
}
