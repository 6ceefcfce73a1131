//! Opening: connections and the schema.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::error::DatabaseError;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgSslMode};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, PgPool};

use super::bridge::Bridge;
use super::settings::{Password, PostgresConfig};
use super::{LOCK_CLASS, place};
use crate::clock::jittered;
use crate::store::StoreError;
use crate::store::place::Place;
use crate::telemetry;

/// The schemas, oldest first. `windlass_schema` counts those that are in place.
const MIGRATIONS: [&str; 1] = [include_str!("../migrations/postgres/0001_first.sql")];
/// The advisory lock of whoever brings the schema up to date, beside the
/// schema's name.
const MIGRATING: i32 = LOCK_CLASS + 1;
/// How long whoever brings the schema up to date is waited for.
const MIGRATION: &str = "SET LOCAL lock_timeout = '5min'; SET LOCAL statement_timeout = '5min'";

/// What every connection is set to, where the server knows of it. What a
/// replica that stands still holds is taken from it before others give up.
const SESSION: &str = "\
    SELECT set_config(name, value, false) FROM (VALUES \
        ('statement_timeout', '25s'), \
        ('lock_timeout', '20s'), \
        ('idle_in_transaction_session_timeout', '10s'), \
        ('tcp_keepalives_idle', '3'), \
        ('tcp_keepalives_interval', '1'), \
        ('tcp_keepalives_count', '3'), \
        ('tcp_user_timeout', '6000'), \
        ('client_min_messages', 'warning') \
    ) AS wanted (name, value) JOIN pg_settings USING (name)";
/// Has the server end what nobody waits for any more. Not every system can.
const WATCH_CLIENT: &str = "SET client_connection_check_interval = '2s'";

/// What an opened store is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Reading alone: nothing is made or brought up to date.
    Read,
    /// Reading and writing.
    Write,
}

/// Makes connections.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    pub(super) place: Place,
    pub(super) config: Arc<PostgresConfig>,
    options: Options,
    access: Access,
    _bridge: Arc<Bridge>,
}

/// The driver's options, which would print the password.
#[derive(Clone)]
struct Options(PgConnectOptions);

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Options")
    }
}

impl Connector {
    /// For that server.
    pub(super) fn new(config: &PostgresConfig, access: Access) -> Result<Self, StoreError> {
        let place = place::of(config);
        let config = Arc::new(config.clone());
        let bridge = Bridge::open(&config).map_err(|error| StoreError::Unreachable {
            at: place.as_str().to_owned(),
            problem: "no socket can be made inside this process".to_owned(),
            source: Some(error.into()),
        })?;
        let options = PgConnectOptions::new_without_pgpass()
            // Variables of the driver's own may name files for TLS, and the mode.
            .ssl_mode(PgSslMode::Disable)
            .socket(bridge.folder())
            .port(config.port)
            .username(&config.user)
            .password(&password(&place, &config.password)?)
            .database(&config.db_name)
            .application_name("windlass")
            .disable_statement_logging();
        Ok(Self {
            place,
            config,
            options: Options(options),
            access,
            _bridge: Arc::new(bridge),
        })
    }

    /// One connection of that name, outside of all pools.
    pub(super) async fn connect(&self, name: &str) -> Result<PgConnection, sqlx::Error> {
        let connecting = async {
            let options = self.options.0.clone().application_name(name);
            let mut connection = options.connect().await?;
            set_up(&mut connection, self.access).await?;
            Ok(connection)
        };
        tokio::time::timeout(self.limit(), connecting)
            .await
            .unwrap_or(Err(sqlx::Error::PoolTimedOut))
    }

    /// How long a connection may take until it can be used: a little more than
    /// the bridge waits for the server, which tells why there is none.
    pub(super) fn limit(&self) -> Duration {
        self.config.connection_timeout + Duration::from_secs(1)
    }

    /// A pool of connections of that name.
    pub(super) fn pool(&self, name: &str, connections: u32) -> PgPool {
        let access = self.access;
        PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(self.limit())
            .after_connect(move |connection, _| Box::pin(set_up(connection, access)))
            .connect_lazy_with(self.options.0.clone().application_name(name))
    }

    /// Checks whose database it is, and brings its schema up to date where it
    /// may. A server that starts is waited for.
    pub(super) async fn prepare(&self, patience: Duration) -> Result<(), StoreError> {
        let action = "open the database";
        let until = Instant::now() + patience;
        let (mut wait, longest) = (Duration::from_millis(200), Duration::from_secs(2));
        let mut is_told = false;
        let mut connection = loop {
            let error = match self.connect("windlass start").await {
                Ok(connection) => break connection,
                Err(error) => error,
            };
            if !passes(&error) || Instant::now() >= until {
                return Err(self.place.failed(action, error));
            }
            if !std::mem::replace(&mut is_told, true) {
                let error = telemetry::chain(&self.place.failed(action, error)).to_string();
                let seconds = patience.as_secs();
                tracing::warn!(error, "waiting up to {seconds} s for the store");
            }
            tokio::time::sleep(jittered(wait)).await;
            wait = (wait * 2).min(longest);
        };
        let prepared = match self.access {
            Access::Read => require_schema(&self.place, &mut connection).await,
            Access::Write => migrate(&self.place, &mut connection).await,
        };
        // It was used once; that it ends badly changes nothing.
        let _ = connection.close().await;
        prepared
    }
}

/// Whether it is only that the server does not answer yet.
fn passes(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(DatabaseError::code);
    matches!(code.as_deref(), Some(super::bridge::NOT_NOW | "57P03"))
}

fn password(place: &Place, password: &Password) -> Result<String, StoreError> {
    match password {
        // Not what a variable of the driver's own says.
        Password::None => Ok(String::new()),
        Password::Value(value) => Ok(value.expose().to_owned()),
        Password::File(path) => {
            let text = std::fs::read_to_string(path);
            let text = text.map_err(|error| StoreError::Unreachable {
                at: place.as_str().to_owned(),
                problem: format!(
                    "store.postgres.passwordFile `{}` cannot be read",
                    path.display()
                ),
                source: Some(error.into()),
            })?;
            let text = zeroize::Zeroizing::new(text);
            Ok(text.lines().next().unwrap_or_default().to_owned())
        }
    }
}

async fn set_up(connection: &mut PgConnection, access: Access) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(SESSION).execute(&mut *connection).await?;
    if access == Access::Read {
        sqlx::raw_sql("SET default_transaction_read_only = on")
            .execute(&mut *connection)
            .await?;
    }
    match sqlx::raw_sql(WATCH_CLIENT).execute(connection).await {
        Ok(_) | Err(sqlx::Error::Database(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

async fn migrate(place: &Place, connection: &mut PgConnection) -> Result<(), StoreError> {
    let failed = |error| place.failed("bring the schema up to date", error);
    // Before anything is locked in what may be someone else's.
    if schema(place, connection).await? == newest() {
        return Ok(());
    }
    let mut transaction = connection.begin().await.map_err(failed)?;
    sqlx::raw_sql(MIGRATION)
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
    sqlx::query("SELECT pg_advisory_xact_lock($1, hashtext(current_schema()))")
        .bind(MIGRATING)
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
    // Again, under the lock: another replica may have been faster.
    let found = schema(place, &mut transaction).await?;
    let skipped = usize::try_from(found).unwrap_or_default();
    for migration in MIGRATIONS.into_iter().skip(skipped) {
        sqlx::raw_sql(migration)
            .execute(&mut *transaction)
            .await
            .map_err(failed)?;
    }
    sqlx::query(
        "INSERT INTO windlass_schema (id, version) VALUES (1, $1) \
         ON CONFLICT (id) DO UPDATE SET version = excluded.version",
    )
    .bind(newest())
    .execute(&mut *transaction)
    .await
    .map_err(failed)?;
    transaction.commit().await.map_err(failed)
}

/// Fails where the schema is not the newest one.
async fn require_schema(place: &Place, connection: &mut PgConnection) -> Result<(), StoreError> {
    let (found, known) = (schema(place, connection).await?, newest());
    if found == known {
        return Ok(());
    }
    Err(StoreError::Older {
        at: place.as_str().to_owned(),
        found,
        known,
    })
}

/// The newest schema.
fn newest() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// How many migrations are in place. Fails on what is not Windlass's, or newer,
/// or cannot keep every text.
async fn schema(place: &Place, connection: &mut PgConnection) -> Result<i64, StoreError> {
    let failed = |error| place.failed("read the schema", error);
    let at = || place.as_str().to_owned();
    let (encoding, current, is_ours, others): (String, Option<String>, bool, i64) = sqlx::query_as(
        "SELECT current_setting('server_encoding'), current_schema()::text, \
             to_regclass(quote_ident(current_schema()) || '.windlass_schema') IS NOT NULL, \
             (SELECT count(*) FROM pg_class WHERE relnamespace = \
                 (SELECT oid FROM pg_namespace WHERE nspname = current_schema()) \
                 AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND NOT EXISTS (SELECT 1 FROM pg_depend \
                 WHERE classid = 'pg_class'::regclass AND objid = pg_class.oid AND deptype = 'e'))",
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(failed)?;
    let unfit = |problem: String| StoreError::Unfit { at: at(), problem };
    if encoding != "UTF8" {
        return Err(unfit(format!(
            "has the encoding {encoding}, in which not every name can be kept; create it with \
             ENCODING 'UTF8'"
        )));
    }
    if current.is_none() {
        return Err(unfit(
            "has no schema that its role's search_path names; create one, or see the role's search_path"
                .to_owned(),
        ));
    }
    if !is_ours {
        return match others {
            0 => Ok(0),
            _ => Err(StoreError::Foreign { at: at() }),
        };
    }
    let (found,): (i64,) = sqlx::query_as("SELECT version FROM windlass_schema")
        .fetch_one(connection)
        .await
        .map_err(failed)?;
    let known = newest();
    if found > known {
        return Err(StoreError::Newer {
            at: at(),
            found,
            known,
        });
    }
    Ok(found)
}
