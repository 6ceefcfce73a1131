//! Who reconciles: a lock that a connection holds, and that ends with it.

use std::time::Duration;

use sqlx::{Connection as _, PgConnection};
use tokio_util::sync::CancellationToken;

use super::LOCK_CLASS;
use super::open::Connector;
use crate::clock::jittered;
use crate::store::Leadership;

/// How often the lock is asked for while another replica has it.
const TRY: Duration = Duration::from_millis(800);
/// How often the server is asked whether the lock is still held.
const BEAT: Duration = Duration::from_secs(1);
/// How long its answer may take: with the beat, less than the server takes to
/// notice that the connection is gone.
const ANSWER: Duration = Duration::from_secs(2);
/// How long letting go may take; the connection's end lets go as well.
const LET_GO: Duration = Duration::from_secs(2);
/// How long is waited where there is no connection, at most.
const BACKOFF: Duration = Duration::from_secs(2);

/// The server ends the connection of a leader that it does not hear, sooner
/// than that of any other, so that another can lead: one whose network is gone,
/// and one that stands still.
const SESSION: &str = "\
    SELECT set_config(name, value, false) FROM (VALUES \
        ('tcp_keepalives_idle', '2'), \
        ('tcp_keepalives_interval', '1'), \
        ('tcp_keepalives_count', '2'), \
        ('tcp_user_timeout', '4000'), \
        ('idle_session_timeout', '7s') \
    ) AS wanted (name, value) JOIN pg_settings USING (name)";

/// Waits until the lock is free, and takes it. It is lost with `closed`.
pub(super) async fn lead(
    connector: &Connector,
    replica: &str,
    closed: &CancellationToken,
) -> Leadership {
    let name = format!("windlass lead {replica}");
    let mut wait = Duration::from_millis(100);
    loop {
        // That the server cannot be reached is told by who listens.
        if let Ok(connection) = candidate(connector, &name).await {
            wait = Duration::from_millis(100);
            if let Ok(connection) = elected(connection).await {
                return hold(connection, closed);
            }
        }
        tokio::time::sleep(jittered(wait)).await;
        wait = (wait * 2).min(BACKOFF);
    }
}

async fn candidate(connector: &Connector, name: &str) -> Result<PgConnection, sqlx::Error> {
    let mut connection = connector.connect(name).await?;
    sqlx::raw_sql(SESSION).execute(&mut connection).await?;
    Ok(connection)
}

/// Asks again and again, and resolves when the connection has the lock.
async fn elected(mut connection: PgConnection) -> Result<PgConnection, sqlx::Error> {
    loop {
        let asked = sqlx::query_as("SELECT pg_try_advisory_lock($1, hashtext(current_schema()))")
            .bind(LOCK_CLASS)
            .fetch_one(&mut connection);
        let asked = tokio::time::timeout(ANSWER, asked).await;
        let (elected,): (bool,) = asked.unwrap_or(Err(sqlx::Error::PoolTimedOut))?;
        if elected {
            return Ok(connection);
        }
        tokio::time::sleep(jittered(TRY)).await;
    }
}

fn hold(mut connection: PgConnection, closed: &CancellationToken) -> Leadership {
    let lost = CancellationToken::new();
    let dropped = closed.child_token();
    let guard = dropped.clone().drop_guard();
    let ends = lost.clone().drop_guard();
    tokio::spawn(async move {
        if dropped
            .run_until_cancelled(beat(&mut connection))
            .await
            .is_none()
        {
            let letting_go = async {
                sqlx::query("SELECT pg_advisory_unlock_all()")
                    .execute(&mut connection)
                    .await?;
                connection.close().await
            };
            let _ = tokio::time::timeout(LET_GO, letting_go).await;
        }
        drop(ends);
    });
    Leadership::new(lost, guard)
}

/// Resolves when the server no longer answers on the connection that has the lock.
async fn beat(connection: &mut PgConnection) {
    loop {
        tokio::time::sleep(BEAT).await;
        match tokio::time::timeout(ANSWER, connection.ping()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
}
