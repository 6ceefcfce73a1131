//! What the server's codes mean.

use std::borrow::Cow;
use std::io;

use sqlx::error::DatabaseError;

use super::bridge::{NOT_NOW, NOT_SO};
use super::settings::PostgresConfig;
use crate::store::StoreError;
use crate::store::place::Place;

/// The database of that configuration.
pub(super) fn of(config: &PostgresConfig) -> Place {
    let (user, db_name, mode) = (&config.user, &config.db_name, config.tls.mode);
    let host = if config.host.contains(':') {
        format!("[{}]", config.host)
    } else {
        config.host.clone()
    };
    let port = config.port;
    let at = format!("postgres://{user}@{host}:{port}/{db_name} (TLS mode `{mode}`)");
    Place::new(at, failed)
}

/// What Postgres could not do.
fn failed(at: String, action: &'static str, error: sqlx::Error) -> StoreError {
    let code = error.as_database_error().and_then(DatabaseError::code);
    let code = code.map(Cow::into_owned);
    if let Some(problem) = unreachable(&error) {
        // Of Windlass's own words all are in the problem already.
        let is_own = matches!(code.as_deref(), Some(NOT_NOW | NOT_SO));
        return StoreError::Unreachable {
            at,
            problem,
            source: (!is_own).then(|| error.into()),
        };
    }
    let source = error.into();
    match code.as_deref() {
        // serialization_failure, deadlock_detected, lock_not_available
        Some("40001" | "40P01" | "55P03") => StoreError::Contended { action, at, source },
        // disk_full
        Some("53100") => StoreError::Full { action, at, source },
        // data_corrupted, index_corrupted
        Some("XX001" | "XX002") => StoreError::Damaged { at, source },
        // insufficient_privilege, read_only_sql_transaction
        Some("42501" | "25006") => StoreError::Denied { action, at, source },
        _ => StoreError::Database { action, at, source },
    }
}

/// Why there is no connection, and how to mend it, where that is what failed.
/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>
fn unreachable(error: &sqlx::Error) -> Option<String> {
    let error = match error {
        sqlx::Error::Io(error) => return Some(broken(error)),
        sqlx::Error::PoolTimedOut => {
            let problem = "no connection was to be had in time; the server is silent, or all of \
                store.postgres.maxOpenConnections are in use";
            return Some(problem.to_owned());
        }
        sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => {
            return Some("the connection broke".to_owned());
        }
        sqlx::Error::Database(error) => error,
        _ => return None,
    };
    let code = error.code()?;
    let problem = match &*code {
        NOT_NOW | NOT_SO => error.message(),
        "28P01" => "the server refuses the password; check store.postgres.user and password",
        "28000" => unauthorized(error.message()),
        "3D000" => "there is no such database; create it, or set store.postgres.dbName",
        "53300" => {
            "the server has too many connections; lower store.postgres.maxOpenConnections, or raise \
             the server's `max_connections`"
        }
        "57P01" | "57P02" | "57P03" | "57P05" => "the server starts, stops or ended the connection",
        // idle_in_transaction_session_timeout
        "25P03" => "the server ended a transaction that stood still",
        code if code.starts_with("08") => "the connection broke",
        _ => return None,
    };
    Some(problem.to_owned())
}

fn broken(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "the connection broke".to_owned(),
        _ => "the connection failed".to_owned(),
    }
}

/// What `invalid_authorization_specification` is about: the server has one code
/// for all of it.
fn unauthorized(message: &str) -> &'static str {
    if message.contains("no encryption") {
        "the server takes no unencrypted connection from here; set store.postgres.tls.mode to \
         `verifyFull`, or see its pg_hba.conf"
    } else if message.contains("valid client certificate") {
        "the server asks for a client certificate; set store.postgres.tls.certPath and keyPath"
    } else if message.contains("certificate authentication failed") {
        "the client certificate is another role's; see store.postgres.tls.certPath and the server's \
         pg_ident.conf"
    } else {
        "the server does not let this role in so; check store.postgres.user and its pg_hba.conf"
    }
}
