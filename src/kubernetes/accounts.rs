//! Who the holder of a ServiceAccountToken is, by the word of the API server.
//!
//! A token is reviewed (`TokenReview`) for one audience, so that a token that
//! was made for another program opens nothing here. Results are kept briefly.
//! While the API server is away, what it said before counts a while longer,
//! but never past the end of the token.

mod cache;
mod claims;
mod review;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::clock;
use crate::model::{ResourceName, Timestamp};
use crate::token::MAX_TOKEN;
use cache::{Cache, Key};
use claims::Claims;

pub use claims::{is_of_windlass, subject};

/// How many tokens are reviewed at the same time.
const REVIEWS: usize = 16;
/// How long a review may take, its turn included.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How often a stream has its token reviewed, in times that a result is kept.
const STREAM: u32 = 5;

/// The holder of a token that the API server vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceAccount {
    /// The namespace that it lives in.
    pub namespace: ResourceName,
    /// Its name there.
    pub name: Arc<str>,
    /// When the token ends.
    pub expires_at: Timestamp,
}

impl fmt::Display for ServiceAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A token that opens nothing. None of its bytes are in the message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotProven {
    /// It is not accepted.
    #[error("the ServiceAccountToken is not accepted: {0}")]
    Refused(Arc<str>),
    /// It has ended.
    #[error("the ServiceAccountToken expired at {at}")]
    Expired {
        /// When.
        at: Timestamp,
    },
    /// Nobody can say now.
    #[error("the ServiceAccountToken cannot be reviewed now: {0}")]
    Unavailable(&'static str),
}

/// What the API server says about a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the token is good.
    pub authenticated: bool,
    /// The audiences out of those asked for that it is meant for.
    pub audiences: Vec<String>,
    /// Whose it is, such as `system:serviceaccount:default:web`.
    pub username: String,
}

/// No verdict.
#[derive(Debug, thiserror::Error)]
#[error("the API server reviewed no token")]
pub struct ReviewFailed(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Who has tokens reviewed.
#[async_trait]
pub trait Reviewer: fmt::Debug + Send + Sync {
    /// Asks whether a token is good for an audience.
    ///
    /// # Errors
    ///
    /// Fails where there is no answer.
    async fn review(&self, token: &str, audience: &str) -> Result<Verdict, ReviewFailed>;
}

/// Who is let in by a ServiceAccountToken.
#[derive(Debug)]
pub struct ServiceAccounts {
    reviewer: Arc<dyn Reviewer>,
    audience: String,
    namespace: ResourceName,
    keep: Duration,
    cache: Mutex<Cache>,
    turns: Semaphore,
}

impl ServiceAccounts {
    /// Takes tokens that are meant for `audience`. Dataplanes that name no
    /// namespace live in `namespace`. Results are kept for `keep`.
    #[must_use]
    pub fn new(
        reviewer: Arc<dyn Reviewer>,
        audience: &str,
        namespace: ResourceName,
        keep: Duration,
    ) -> Self {
        Self {
            reviewer,
            audience: audience.to_owned(),
            namespace,
            keep,
            cache: Mutex::new(Cache::new(keep)),
            turns: Semaphore::new(REVIEWS),
        }
    }

    /// The same, asking the API server that `client` talks to.
    #[must_use]
    pub fn in_cluster(
        client: kube::Client,
        audience: &str,
        namespace: ResourceName,
        keep: Duration,
    ) -> Self {
        Self::new(
            Arc::new(review::ApiServer(client)),
            audience,
            namespace,
            keep,
        )
    }

    /// The namespace of dataplanes that name none.
    #[must_use]
    pub fn namespace(&self) -> &ResourceName {
        &self.namespace
    }

    /// Says whose a token is.
    ///
    /// # Errors
    ///
    /// Fails where the token is not good, or nobody can say so.
    pub async fn verify(&self, token: &str) -> Result<ServiceAccount, NotProven> {
        let claims = self.plausible(token)?;
        let key = Key::of(token);
        if let Some(known) = self.cache().fresh(&key, clock::now()) {
            return known;
        }
        let asked = timeout(TIMEOUT, self.ask(token, &key, &claims)).await;
        let problem = match asked {
            Ok(Ok(verdict)) => return verdict,
            Ok(Err(error)) => crate::telemetry::chain(&error).to_string(),
            Err(_) => format!("no answer within {} s", TIMEOUT.as_secs()),
        };
        // What was good a moment ago is the best that anyone can know.
        if let Some(account) = self.cache().stale(&key, clock::now()) {
            return Ok(account);
        }
        tracing::warn!(error = %problem, "a ServiceAccountToken could not be reviewed");
        Err(NotProven::Unavailable("the Kubernetes API does not answer"))
    }

    /// Resolves once a token that was good no longer is. A token that nobody can
    /// review stays good until it ends.
    pub async fn until_refused(&self, token: &str, account: &ServiceAccount) -> NotProven {
        let key = Key::of(token);
        loop {
            // Spread over a fifth, so that streams that came together part.
            let pause = self.keep * STREAM;
            tokio::time::sleep(pause.mul_f64(1.0 + key.fraction() / 5.0)).await;
            match self.verify(token).await {
                Ok(same) if same == *account => {}
                Err(NotProven::Unavailable(_)) => {}
                Ok(_) => return NotProven::Refused("it is someone else's now".into()),
                Err(refused) => return refused,
            }
        }
    }

    /// What a token says, where that is not plainly wrong: nobody makes the API
    /// server review garbage.
    fn plausible(&self, token: &str) -> Result<Claims, NotProven> {
        let refused = |problem: &str| NotProven::Refused(problem.into());
        if token.len() > MAX_TOKEN {
            return Err(refused("it is longer than 8 KiB"));
        }
        let claims = Claims::peek(token).ok_or_else(|| refused("it is not a JWT that ends"))?;
        if !claims.audiences.contains(&self.audience) {
            let audience = &self.audience;
            return Err(refused(&format!("it is not meant for audience {audience}")));
        }
        let at = claims.expires_at;
        if at <= clock::now() {
            return Err(NotProven::Expired { at });
        }
        Ok(claims)
    }

    /// Has a token reviewed, and remembers the answer.
    async fn ask(
        &self,
        token: &str,
        key: &Key,
        claims: &Claims,
    ) -> Result<Result<ServiceAccount, NotProven>, ReviewFailed> {
        let closed = |error: tokio::sync::AcquireError| ReviewFailed(error.into());
        let _turn = self.turns.acquire().await.map_err(closed)?;
        // Streams of one proxy come together.
        if let Some(known) = self.cache().fresh(key, clock::now()) {
            return Ok(known);
        }
        let verdict = self.reviewer.review(token, &self.audience).await?;
        let result = self.judge(&verdict, claims.expires_at);
        self.cache().put(key.clone(), result.clone(), clock::now());
        Ok(result)
    }

    fn judge(&self, verdict: &Verdict, expires_at: Timestamp) -> Result<ServiceAccount, NotProven> {
        let refused = |problem: &str| NotProven::Refused(problem.into());
        if !verdict.authenticated {
            return Err(refused("the Kubernetes API does not know it"));
        }
        // An API server that knows nothing of audiences says nothing of them.
        if !verdict.audiences.contains(&self.audience) {
            let audience = &self.audience;
            return Err(refused(&format!("it is not meant for audience {audience}")));
        }
        let account = verdict.username.strip_prefix("system:serviceaccount:");
        let account = account.and_then(|account| account.split_once(':'));
        let (namespace, name) = account.ok_or_else(|| refused("it is of no service account"))?;
        Ok(ServiceAccount {
            namespace: namespace
                .parse()
                .map_err(|_| refused("its namespace has no good name"))?,
            name: name.into(),
            expires_at,
        })
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
