//! What is known about a name, and about a response that is under way.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::model::Digest;
use crate::xds::resource::Resource;

/// What the control plane knows about a name that the proxy subscribes to.
#[derive(Debug)]
pub(in crate::xds::session) struct Holding {
    /// Whether the proxy named it, beside a wildcard that it may have.
    pub(in crate::xds::session) named: bool,
    pub(in crate::xds::session) state: State,
}

impl Holding {
    pub(super) fn is_tainted(&self) -> bool {
        matches!(
            self.state,
            State::Sent {
                answer: Answer::Tainted,
                ..
            }
        )
    }
}

#[derive(Debug)]
pub(in crate::xds::session) enum State {
    /// The proxy needs it, or needs to know that there is none.
    Needed,
    /// The proxy says that it holds something from an earlier stream.
    Claimed(Option<Digest>),
    /// It was sent.
    Sent {
        resource: Arc<Resource>,
        nonce: u64,
        answer: Answer,
    },
    /// It was taken back.
    Taken { nonce: u64, answer: Answer },
    /// The proxy knows that there is none.
    Absent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::xds::session) enum Answer {
    Awaited,
    Accepted,
    /// It was rejected alone.
    Rejected,
    /// It was rejected together with others, one of which may have been the
    /// bad one. It goes along with the next response, at the latest when one
    /// of the others is gone.
    Tainted,
}

/// What a proxy is not believed to hold.
#[derive(Debug)]
pub enum Distrusted {
    /// These.
    Names(BTreeSet<String>),
    /// Anything.
    All,
}

impl Default for Distrusted {
    fn default() -> Self {
        Self::Names(BTreeSet::new())
    }
}

impl Distrusted {
    /// Of one it is known now that it is to be believed.
    pub(in crate::xds::session) fn lift(&mut self, name: &str) {
        if let Self::Names(names) = self {
            names.remove(name);
        }
    }

    pub(in crate::xds::session) fn holds(&self, name: &str) -> bool {
        match self {
            Self::Names(names) => names.contains(name),
            Self::All => true,
        }
    }
}

/// A response that waits for its answer.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) nonce: u64,
    pub(super) version: String,
    /// How many resources are in it.
    pub(super) count: usize,
    /// Nothing waits for the answer any longer.
    pub(super) overdue: bool,
}

/// What a response is to hold.
#[derive(Debug, Default)]
pub struct Draft {
    pub(in crate::xds::session) resources: Vec<Arc<Resource>>,
    pub(in crate::xds::session) removed: Vec<Arc<str>>,
    /// It is all that the proxy will hold.
    pub(in crate::xds::session) whole: bool,
}

/// How a nonce relates to the responses of its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::xds::session) enum Age {
    /// It is of the newest response.
    Newest,
    /// It is of an older one: the proxy had not seen the newest yet.
    Stale,
    /// No response had it.
    Unknown,
}
