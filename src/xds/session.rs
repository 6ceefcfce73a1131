//! The xDS protocol of one stream and one type URL, as two pure machines:
//! [`SotwSession`] (state of the world) and [`DeltaSession`] (incremental).
//!
//! A machine is told every request and asked, whenever the stream has room,
//! what comes [`Session::next`]. So a slow proxy is not sent what has been
//! superseded meanwhile, and nothing is queued for it.
//!
//! What both do:
//!
//! - One resource per response, so that an answer says something about one
//!   resource.
//! - A resource is sent when the proxy subscribes to it or its version
//!   differs from the one that was sent last. So a rejected version is not
//!   sent again before the content changes: there is no spin, and no reissue
//!   ahead of the next renewal either.
//! - A rejection is a request with `error_detail`; versions are not compared
//!   for it. An acceptance has nonce and version of a response that waits for
//!   its answer. The first answer to a response is the one that counts.
//! - A resource that does not exist is not mentioned, and one that vanishes is
//!   not taken back: proxies withdraw nothing over SDS.
//! - What a proxy says that it holds from an earlier stream is believed when
//!   the version is the present one, except for names it rejected something
//!   of (`distrusted`): Envoy keeps rejected bytes as its newest, so those are
//!   sent again, in another edition ([`Resource::edition`]) as the stream
//!   provides.

mod delta;
#[cfg(test)]
mod properties;
mod sotw;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use delta::DeltaSession;
pub use sotw::SotwSession;

use super::resource::{Resource, ResourceType};
use super::snapshot::Snapshot;

/// The proxy's answer to a response.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// It uses the resource.
    Accepted(Arc<Resource>),
    /// It refused the resource and keeps what it had.
    Rejected {
        /// The resource.
        resource: Arc<Resource>,
        /// The proxy's words.
        message: String,
    },
}

/// A response to be sent.
#[derive(Debug, Clone)]
pub struct Response {
    /// The version of the response; of a delta response, that of its resource.
    pub version: String,
    /// Identifies the response on its stream.
    pub nonce: String,
    /// What it holds.
    pub resource: Arc<Resource>,
}

/// What is to be done next.
#[derive(Debug, Clone)]
pub enum Next {
    /// The response goes out.
    Send(Response),
    /// The proxy holds this since before the stream: an acceptance.
    Holds(Arc<Resource>),
    /// Something is to be sent once the proxy has answered, or has been silent
    /// for a while ([`Session::on_silence`]).
    AwaitVerdict,
    /// Nothing, until a request comes or the snapshot changes.
    Nothing,
}

/// The protocol's machine for one stream and one type URL.
pub trait Session {
    /// What the proxy sends.
    type Request;

    /// Takes in a request.
    fn on_request(&mut self, request: &Self::Request) -> Option<Verdict>;

    /// What is to be done now. [`Next::Send`] counts as sent.
    fn next(&mut self, snapshot: &Snapshot) -> Next;

    /// Gives up waiting for an answer before the next response.
    fn on_silence(&mut self) {}

    /// How many names the proxy subscribes to.
    fn subscribed(&self) -> usize;
}

/// What the control plane knows about a name that the proxy subscribes to.
#[derive(Debug)]
enum Holding {
    /// The proxy needs it.
    Nothing,
    /// The proxy says that it holds something from an earlier stream.
    Claimed,
    /// It was sent.
    Sent(Sent),
}

#[derive(Debug)]
struct Sent {
    resource: Arc<Resource>,
    nonce: String,
    version: String,
    answer: Answer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Awaited,
    Accepted,
    Rejected,
}

/// How a nonce relates to the responses of its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Age {
    /// It is of the newest response.
    Newest,
    /// It is of an older one: the proxy had not seen the newest yet.
    Stale,
    /// No response had it.
    Unknown,
}

/// The names that a proxy subscribes to on one stream.
#[derive(Debug, Default)]
struct Subscriptions {
    holdings: BTreeMap<String, Holding>,
    /// Names that are sent whatever the proxy claims.
    distrusted: BTreeSet<String>,
    /// The number in the newest nonce.
    sent: u64,
}

impl Subscriptions {
    fn new(distrusted: BTreeSet<String>) -> Self {
        Self {
            distrusted,
            ..Self::default()
        }
    }

    fn claim(&mut self, name: &str) {
        let holding = if self.distrusted.contains(name) {
            Holding::Nothing
        } else {
            Holding::Claimed
        };
        self.holdings.insert(name.to_owned(), holding);
    }

    fn age(&self, nonce: &str) -> Age {
        if nonce.is_empty() {
            // It was written before the first response came.
            return Age::Newest;
        }
        match nonce.parse::<u64>() {
            Ok(0) | Err(_) => Age::Unknown,
            Ok(number) if number < self.sent => Age::Stale,
            Ok(number) if number == self.sent => Age::Newest,
            Ok(_) => Age::Unknown,
        }
    }

    fn awaits_answer(&self) -> bool {
        self.holdings
            .values()
            .any(|holding| matches!(holding, Holding::Sent(sent) if sent.answer == Answer::Awaited))
    }

    /// Matches an answer to the response it is about. `version` is what an
    /// acceptance has to name.
    fn judge(
        &mut self,
        nonce: &str,
        version: Option<&str>,
        rejection: Option<&str>,
    ) -> Option<Verdict> {
        let sent = self
            .holdings
            .values_mut()
            .find_map(|holding| match holding {
                Holding::Sent(sent) if sent.answer == Answer::Awaited && sent.nonce == nonce => {
                    Some(sent)
                }
                _ => None,
            })?;
        if let Some(message) = rejection {
            sent.answer = Answer::Rejected;
            return Some(Verdict::Rejected {
                resource: sent.resource.clone(),
                message: message.to_owned(),
            });
        }
        if version.is_some_and(|version| version != sent.version) {
            return None;
        }
        sent.answer = Answer::Accepted;
        Some(Verdict::Accepted(sent.resource.clone()))
    }

    /// Settles what the proxy claims to hold: the first claim that is true, if any.
    fn confirm(
        &mut self,
        snapshot: &Snapshot,
        is_claimed: impl Fn(&Resource) -> bool,
    ) -> Option<Arc<Resource>> {
        for resource in snapshot.of(ResourceType::Secret) {
            let Some(holding @ Holding::Claimed) = self.holdings.get_mut(&*resource.name) else {
                continue;
            };
            if !is_claimed(resource) {
                *holding = Holding::Nothing;
                continue;
            }
            *holding = Holding::Sent(Sent {
                resource: resource.clone(),
                nonce: String::new(),
                version: resource.version.to_string(),
                answer: Answer::Accepted,
            });
            return Some(resource.clone());
        }
        None
    }

    /// The first resource that the proxy has not been sent in this version.
    fn due<'a>(&self, snapshot: &'a Snapshot) -> Option<&'a Arc<Resource>> {
        snapshot.of(ResourceType::Secret).iter().find(|resource| {
            match self.holdings.get(&*resource.name) {
                None => false,
                Some(Holding::Nothing | Holding::Claimed) => true,
                Some(Holding::Sent(sent)) => sent.resource.version != resource.version,
            }
        })
    }

    fn send(&mut self, resource: &Arc<Resource>, version: String) -> Response {
        self.sent += 1;
        let nonce = self.sent.to_string();
        self.holdings.insert(
            (*resource.name).to_owned(),
            Holding::Sent(Sent {
                resource: resource.clone(),
                nonce: nonce.clone(),
                version: version.clone(),
                answer: Answer::Awaited,
            }),
        );
        Response {
            version,
            nonce,
            resource: resource.clone(),
        }
    }
}
