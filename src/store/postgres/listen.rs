//! One connection that listens: what changed, and whether the server answers.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgListener;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::open::Connector;
use super::topic::{CHANNEL, Topic};
use crate::clock;
use crate::clock::jittered;
use crate::store::{News, Reach, StoreError};
use crate::telemetry;

/// How often what is counted is looked at, should a notification be lost; and
/// whether the server answers.
const POLL: Duration = Duration::from_secs(5);
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(3);
/// How long is waited between two tries to connect, at first and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
const ACTION: &str = "listen for changes";

/// What is told, and to whom.
#[derive(Debug)]
pub(super) struct Ears {
    pub(super) news: watch::Sender<News>,
    pub(super) reach: watch::Sender<Reach>,
    /// Asks for a look at the server now.
    pub(super) look: Notify,
}

impl Ears {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            news: watch::Sender::default(),
            reach: watch::Sender::default(),
            look: Notify::new(),
        })
    }

    /// Whether the server did not answer when it was asked last.
    pub(super) fn is_lost(&self) -> bool {
        matches!(*self.reach.borrow(), Reach::Lost { .. })
    }

    /// The server cannot be reached.
    pub(super) fn lose(&self, error: &StoreError) {
        let why = telemetry::chain(error).to_string();
        let is_new = self.reach.send_if_modified(|reach| {
            if matches!(reach, Reach::Lost { .. }) {
                return false;
            }
            *reach = Reach::Lost {
                since: clock::now(),
                why: why.as_str().into(),
            };
            true
        });
        if is_new {
            // Whoever follows `reach` says so aloud, once.
            tracing::debug!(error = %why, "the store is out of reach");
        }
    }

    fn find(&self) {
        let is_new = self.reach.send_if_modified(|reach| {
            let was_lost = matches!(reach, Reach::Lost { .. });
            *reach = Reach::Answers;
            was_lost
        });
        if is_new {
            tracing::debug!("the store answers again");
        }
    }

    fn tell(&self, topics: &[Topic]) {
        self.news.send_modify(|news| {
            for topic in topics {
                topic.tell(news);
            }
        });
    }
}

/// Listens for good; connects again where the connection is lost.
pub(super) async fn run(connector: Connector, ears: Arc<Ears>) {
    let mut wait = BACKOFF.0;
    loop {
        match listener(&connector).await {
            Ok(mut listener) => {
                wait = BACKOFF.0;
                let error = listen(&mut listener, &ears).await;
                let error = connector.place.failed(ACTION, error);
                tracing::debug!(error = %telemetry::chain(&error), "no longer listens");
            }
            Err(error) => {
                ears.lose(&connector.place.failed(ACTION, error));
                // Asked for or not: many that ask do not make it answer.
                tokio::time::sleep(jittered(wait)).await;
                wait = (wait * 2).min(BACKOFF.1);
            }
        }
    }
}

async fn listener(connector: &Connector) -> Result<PgListener, sqlx::Error> {
    let connecting = async {
        let pool = connector.pool("windlass listen", 1);
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.eager_reconnect(false);
        listener.listen(CHANNEL).await?;
        Ok(listener)
    };
    tokio::time::timeout(connector.limit(), connecting)
        .await
        .unwrap_or(Err(sqlx::Error::PoolTimedOut))
}

/// Listens until the connection is lost.
async fn listen(listener: &mut PgListener, ears: &Ears) -> sqlx::Error {
    let mut seen = match counts(listener).await {
        Ok(counts) => counts,
        Err(error) => return error,
    };
    ears.find();
    // What came while nobody listened.
    ears.tell(&Topic::ALL);
    let mut next = Instant::now() + jittered(POLL);
    loop {
        let heard = tokio::select! {
            heard = listener.try_recv() => ControlFlow::Break(heard),
            () = tokio::time::sleep_until(next) => ControlFlow::Continue(()),
            () = ears.look.notified() => ControlFlow::Continue(()),
        };
        match heard {
            ControlFlow::Break(Ok(Some(notification))) => {
                let mut topics = Topic::ALL.into_iter();
                let topic = topics.find(|topic| topic.as_str() == notification.payload());
                match topic {
                    Some(topic) => ears.tell(&[topic]),
                    // A newer version's.
                    None => ears.tell(&Topic::ALL),
                }
            }
            ControlFlow::Break(Ok(None)) => {
                return std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into();
            }
            ControlFlow::Break(Err(error)) => return error,
            ControlFlow::Continue(()) => {
                let now = match counts(listener).await {
                    Ok(counts) => counts,
                    Err(error) => return error,
                };
                ears.find();
                let moved = Topic::ALL.into_iter().zip(now.iter().zip(&seen));
                let moved = moved.filter(|(_, (now, seen))| now != seen);
                let moved: Vec<_> = moved.map(|(topic, _)| topic).collect();
                if !moved.is_empty() {
                    ears.tell(&moved);
                }
                seen = now;
                next = Instant::now() + jittered(POLL);
            }
        }
    }
}

/// What the store counts, by topic.
async fn counts(listener: &mut PgListener) -> Result<[i64; 5], sqlx::Error> {
    let row = sqlx::query_as("SELECT generation, evidence, secrets, sources, sync FROM store")
        .fetch_one(listener);
    let row = tokio::time::timeout(ANSWER, row).await;
    let row: (i64, i64, i64, i64, i64) = row.unwrap_or(Err(sqlx::Error::PoolTimedOut))?;
    Ok([row.0, row.1, row.2, row.3, row.4])
}
