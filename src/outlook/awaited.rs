//! Why a gate waits for a proxy, since when, and what to do about it.

use std::fmt;

use super::Scene;
use crate::model::{AuthorityOrigin, DataplaneId, Part, Timestamp};
use crate::transition::{Awaited, Reason};

/// A proxy that a gate waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwaitedProxy {
    /// Which.
    pub dataplane: DataplaneId,
    /// Why.
    pub why: Why,
    /// Since when.
    pub since: Timestamp,
    /// When that ends by itself, if nothing happens.
    pub until: Option<Timestamp>,
}

/// Why a gate waits for a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// It is connected and has not answered.
    Silent(Part),
    /// It is not given its new leaf yet: leaves are reissued one after the other.
    Queued,
    /// It is given no new leaf: the authority that is to sign it is not valid.
    Unissued {
        /// Which authority.
        by: AuthorityOrigin,
        /// From when on it is valid.
        from: Timestamp,
        /// Until when.
        until: Timestamp,
    },
    /// It rejected what it was sent.
    Rejected {
        /// What.
        part: Part,
        /// Envoy's own words.
        message: String,
    },
    /// It never asked for what would prove it.
    NeverAsked(Part),
    /// It is not connected, and may hold a certificate.
    Away,
    /// Connections that it accepted before are yet to end.
    Draining,
    /// It holds a leaf of an authority that is to be dropped.
    Holding,
}

impl Scene<'_> {
    /// `None` for a proxy that nothing is known of.
    pub(super) fn awaited(&self, awaited: Awaited) -> Option<AwaitedProxy> {
        let proxy = self.witness.evidence.get(&awaited.dataplane)?;
        // Before it was connected, it could not answer.
        let connected = proxy.connected_since.unwrap_or(self.since).max(self.since);
        let (why, since, until) = match awaited.reason {
            Reason::Unacknowledged(Part::Leaf) if proxy.offered.leaf < self.marks.leaf => {
                (self.unissued().unwrap_or(Why::Queued), connected, None)
            }
            Reason::Unacknowledged(part) => (Why::Silent(part), connected, None),
            Reason::Rejected { part, message } => {
                let at = proxy.last_nack.as_ref().map(|nack| nack.at);
                let since = at.unwrap_or(connected);
                (Why::Rejected { part, message }, since, None)
            }
            Reason::NeverAsked(part) => (Why::NeverAsked(part), connected, None),
            Reason::Away { since, until } => (Why::Away, since, Some(until)),
            Reason::Draining { until } => {
                let known = proxy.acknowledged.get(&Part::Inbounds);
                let since = known.map_or(connected, |known| known.at);
                (Why::Draining, since, Some(until))
            }
            Reason::Holding { until } => (Why::Holding, connected, until),
        };
        Some(AwaitedProxy {
            dataplane: awaited.dataplane,
            why,
            since,
            until,
        })
    }

    /// Why nobody is given a new leaf; `None` where the authority that signs is valid.
    fn unissued(&self) -> Option<Why> {
        let signs = self.witness.mesh.active_authority()?;
        (!signs.is_valid(self.witness.now)).then(|| Why::Unissued {
            by: signs.origin.clone(),
            from: signs.not_before,
            until: signs.not_after,
        })
    }
}

impl Why {
    /// The reason in one word, as in the status.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Silent(_) => "silent",
            Self::Queued => "queued",
            Self::Unissued { .. } => "unissued",
            Self::Rejected { .. } => "rejected",
            Self::NeverAsked(_) => "neverAsked",
            Self::Away => "away",
            Self::Draining => "draining",
            Self::Holding => "holding",
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent(part) => {
                write!(f, "connected, and has not acknowledged {}", part.in_words())
            }
            Self::Queued => f.write_str("its new leaf is not issued yet"),
            Self::Unissued { by, from, until } => write!(
                f,
                "its new leaf cannot be issued: the {by} is valid from {from} until {until} only"
            ),
            Self::Rejected { part, message } => {
                write!(f, "rejected {}: {message}", part.in_words())
            }
            Self::NeverAsked(part) => {
                write!(f, "connected, and never asked for {}", part.in_words())
            }
            Self::Away => f.write_str("not connected, and may hold a certificate"),
            Self::Draining => f.write_str("earlier connections are yet to end"),
            Self::Holding => f.write_str("holds a leaf of the authority that is to be dropped"),
        }
    }
}

impl AwaitedProxy {
    /// What to do about it; `None` where it ends by itself.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let DataplaneId { mesh, name } = &self.dataplane;
        let approve =
            format!("`windlass transition approve {mesh} --dataplane {name}` goes on without it");
        Some(match &self.why {
            Why::Queued | Why::Draining => return None,
            Why::Unissued { .. } => "another authority has to sign: provide a root that is valid, or go back to the one before".to_owned(),
            Why::Silent(_) => format!(
                "it may hang: look at its log and whether its admin server answers, or start it again; {approve}"
            ),
            Why::Rejected { .. } => format!(
                "look for the cause in Envoy's words; it is asked again when what it is given changes, \
                 and when it is started again; {approve}"
            ),
            Why::NeverAsked(_) => format!(
                "its configuration does not validate peers: its TLS contexts have to take `mesh_ca` over SDS; {approve}"
            ),
            Why::Holding => format!(
                "start it again: it is given another leaf when it comes back; {approve}"
            ),
            Why::Away => format!(
                "start it, or delete its Dataplane if it does not come back, or set \
                 `mtls.transition.offline: ignore`; {approve}"
            ),
        })
    }
}
