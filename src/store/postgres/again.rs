//! Doing again what failed for a reason that passes.

use std::time::Duration;

use tokio::time::Instant;

use super::PostgresStore;
use crate::clock::jittered;
use crate::store::{StoreError, WriteError};

/// How long a call may take, tries and waits included.
const CALL: Duration = Duration::from_secs(30);
/// How long is waited before the next try, at first and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

/// How an error ends a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ends {
    /// For good.
    ForGood,
    /// Others wrote at the same time.
    Contended,
    /// The server could not be reached, and nothing was done.
    Undone,
    /// The connection broke, and what was done may hold.
    Uncertain,
}

/// An error that tells how it ends a try.
pub(super) trait Ending: From<StoreError> {
    /// How.
    fn ends(&self) -> Ends;
    /// The store's error, where it is one.
    fn store_error(&self) -> Option<&StoreError>;
}

impl Ending for StoreError {
    fn ends(&self) -> Ends {
        match self {
            Self::Contended { .. } => Ends::Contended,
            Self::Unreachable { .. } => Ends::Undone,
            Self::Uncertain { .. } => Ends::Uncertain,
            _ => Ends::ForGood,
        }
    }

    fn store_error(&self) -> Option<&StoreError> {
        Some(self)
    }
}

impl Ending for WriteError {
    fn ends(&self) -> Ends {
        self.store_error().map_or(Ends::ForGood, Ending::ends)
    }

    fn store_error(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error) => Some(error),
            _ => None,
        }
    }
}

/// Whether doing something twice is doing it once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Twice {
    /// It is: it is done again where nobody knows whether it was done.
    IsOnce,
    /// It is not, or is told from it.
    IsNot,
}

impl PostgresStore {
    /// Tries until it is done, for as long as making a connection may take; once
    /// where the server is known to be out of reach.
    pub(super) async fn again<T, E: Ending, F: Future<Output = Result<T, E>>>(
        &self,
        twice: Twice,
        action: &'static str,
        attempt: impl Fn() -> F,
    ) -> Result<T, E> {
        let start = Instant::now();
        let patience = self.connector.config.connection_timeout;
        let mut wait = BACKOFF.0;
        loop {
            let outcome = tokio::time::timeout_at(start + CALL, attempt()).await;
            let error = match outcome {
                Ok(Ok(done)) => return Ok(done),
                Ok(Err(error)) => error,
                Err(_) => E::from(self.silent(action)),
            };
            let may = match error.ends() {
                Ends::ForGood => return Err(error),
                Ends::Contended => start.elapsed() < CALL / 2,
                Ends::Undone => self.is_worth_another_try(start, patience),
                Ends::Uncertain => {
                    twice == Twice::IsOnce && self.is_worth_another_try(start, patience)
                }
            };
            if !may {
                if error.ends() != Ends::Contended
                    && let Some(error) = error.store_error()
                {
                    self.ears.lose(error);
                    self.ears.look.notify_one();
                }
                return Err(error);
            }
            tokio::time::sleep(jittered(wait)).await;
            wait = (wait * 2).min(BACKOFF.1);
        }
    }

    fn is_worth_another_try(&self, start: Instant, patience: Duration) -> bool {
        start.elapsed() < patience && !self.ears.is_lost() && !self.closed.is_cancelled()
    }

    /// Nobody knows what became of it.
    fn silent(&self, action: &'static str) -> StoreError {
        StoreError::Uncertain {
            action,
            at: self.connector.place.as_str().to_owned(),
            source: format!("the server is silent for {CALL:?}").into(),
        }
    }
}
