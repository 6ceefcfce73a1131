//! Keeps the token file good: asks for the next token before this one ends.

use std::convert::Infallible;
use std::time::Duration;

use rand::Rng as _;
use rand::rngs::StdRng;
use tracing::{info, warn};

use super::control::{ControlError, ControlPlane};
use super::token::{Inspected, Unfit, retry_in};
use super::token_file::{ReadError, TokenFile};
use crate::clock;
use crate::model::{DataplaneId, Timestamp};
use crate::telemetry::chain;

/// The longest time without a look at the file: someone else may have replaced it.
const LONGEST_PAUSE: Duration = Duration::from_hours(1);
/// How often to look whether someone has replaced a token that is theirs to replace.
const LOOK: Duration = Duration::from_mins(1);

/// What renews the token of one dataplane.
#[derive(Debug)]
pub struct Renewal {
    /// Whose token it is.
    pub dataplane: DataplaneId,
    /// Where the token is.
    pub file: TokenFile,
    /// Who gives the next one.
    pub control_plane: ControlPlane,
    /// Spreads many proxies over time.
    pub rng: StdRng,
}

/// Why there is no new token.
#[derive(Debug, thiserror::Error)]
enum RenewError {
    #[error("the token file cannot be used")]
    Read(#[from] ReadError),
    #[error("the token file is of no use: {0}")]
    Unfit(#[from] Unfit),
    #[error("the control plane gave no new token")]
    Control(#[from] ControlError),
    #[error("the control plane gave something that is no token")]
    NoToken,
    #[error("the control plane finds it too early for a new token: do the clocks differ?")]
    TooEarly,
    #[error("the ServiceAccountToken has ended, and the kubelet put no other in its place")]
    NotReplaced,
    #[error("the new token cannot be written to the file")]
    Write(#[source] std::io::Error),
}

impl Renewal {
    /// Renews the token again and again. Envoy goes on with what it has where
    /// that fails: its stream ends with its token.
    pub async fn keep(mut self) -> Infallible {
        let mut failures = 0;
        loop {
            let early = self.rng.random_range(0.0..1.0);
            let pause = match self.due(early) {
                Ok(due) if !due.is_zero() => due.min(LONGEST_PAUSE),
                Ok(_) => match self.renew().await {
                    Ok(()) => {
                        failures = 0;
                        continue;
                    }
                    Err(error) => self.failed(&error, &mut failures),
                },
                Err(error) => self.failed(&error, &mut failures),
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// How long the token in the file is good enough.
    fn due(&self, early: f64) -> Result<Duration, RenewError> {
        let token = Inspected::parse(self.file.read()?.token.expose())?;
        if token.is_renewed() {
            return Ok(token.renew_in(early, clock::now()));
        }
        // Envoy reads the file for every stream: there is nothing to do but to tell.
        if token.expires_at() <= clock::now() {
            return Err(RenewError::NotReplaced);
        }
        Ok(LOOK)
    }

    async fn renew(&mut self) -> Result<(), RenewError> {
        let former = self.file.read()?.token;
        let node_id = self.dataplane.node_id();
        let renewed = self.control_plane.renew(&node_id, former.expose()).await?;
        // Its clock and this one's may differ: a token that is due again at once would be a loop.
        let token = Inspected::parse(renewed.token.expose()).map_err(|_| RenewError::NoToken)?;
        let problems = token.problems(&self.dataplane, clock::now());
        if let Some(problem) = problems.into_iter().next() {
            return Err(problem.into());
        }
        if renewed.token == former || token.renew_in(1.0, clock::now()).is_zero() {
            return Err(RenewError::TooEarly);
        }
        self.file
            .replace(&renewed.token)
            .map_err(RenewError::Write)?;
        info!(
            dataplane = %self.dataplane,
            file = %self.file.path().display(),
            expires_at = %renewed.expires_at,
            "renewed the token"
        );
        Ok(())
    }

    /// Says what failed and when the token ends; returns how long to wait.
    fn failed(&self, error: &RenewError, failures: &mut u32) -> Duration {
        let ends = self.ends();
        let remaining = ends.map_or(Duration::ZERO, |ends| ends.since(clock::now()));
        let pause = retry_in(*failures, remaining);
        *failures = failures.saturating_add(1);
        let hint = match error {
            RenewError::Write(_) => {
                "let this process write to the file and its folder, or have someone else replace \
                 the file before the token ends"
            }
            RenewError::NotReplaced => {
                "mount the token as a projected volume (serviceAccountToken), which keeps it good"
            }
            RenewError::Control(error) if error.is_transient() => "it is tried again",
            _ => "`windlass generate dataplane-token` makes a new one; write it to the file",
        };
        warn!(
            dataplane = %self.dataplane,
            file = %self.file.path().display(),
            expires_at = ends.map(tracing::field::display),
            error = %chain(error),
            hint,
            "failed to renew the token"
        );
        pause
    }

    fn ends(&self) -> Option<Timestamp> {
        let content = self.file.read().ok()?;
        let token = Inspected::parse(content.token.expose()).ok()?;
        Some(token.expires_at())
    }
}
