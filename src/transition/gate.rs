//! Gates: what proxies have to have acknowledged, and who has not.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use super::{Key, Move};
use crate::model::{
    AuthorityId, DataplaneId, Evidence, Marks, MeshState, Offline, Part, ProxyEvidence,
    ResourceName, Role, Rules, Timestamp,
};

/// How long Envoy keeps the connections of a replaced filter chain by itself
/// (its command line, `--drain-time-s`).
pub const DEFAULT_DRAIN: Duration = Duration::from_mins(10);

/// The longest that a proxy may be away before `offline: ignore` passes over
/// it: one that loses its stream, or the control plane that is started again,
/// is not away, and Envoy tries again within that. Shorter where `ackTimeout` is,
/// of a proxy that Windlass configures.
pub const OFFLINE_GRACE: Duration = Duration::from_secs(30);

/// The least of it: the Envoys of `dp run` come back within three seconds.
const SHORTEST_OFFLINE_GRACE: Duration = Duration::from_secs(5);

/// What every proxy that may hold something has to have acknowledged at its
/// present mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Gate {
    /// The parts.
    pub parts: &'static [Part],
    /// Whether the time that its replaced filter chains keep their connections
    /// has to be over, too.
    pub drained: bool,
}

impl Gate {
    /// Nothing is waited for.
    pub const OPEN: Self = Self::of(&[]);
    /// Everyone trusts what is trusted now.
    pub const BUNDLE: Self = Self::of(&[Part::Bundle]);
    /// Everyone has a leaf of the authority that signs.
    pub const LEAF: Self = Self::of(&[Part::Leaf]);
    /// Everyone accepts what is accepted now.
    pub const INBOUNDS: Self = Self::of(&[Part::Inbounds]);
    /// Everyone opens what is opened now.
    pub const OUTBOUNDS: Self = Self::of(&[Part::Outbounds]);
    /// Everyone trusts and has a leaf.
    pub const IDENTITIES: Self = Self::of(&[Part::Bundle, Part::Leaf]);
    /// Everyone accepts and opens what is accepted and opened now.
    pub const CONFIGURED: Self = Self::of(&[Part::Inbounds, Part::Outbounds]);
    /// Everyone has all.
    pub const SECURED: Self = Self::of(&Part::ALL);
    /// Everyone has a leaf of the authority that signs, and no connection that
    /// was opened with an earlier one.
    pub const DRAINED: Self = Self {
        parts: &[Part::Leaf, Part::Inbounds],
        drained: true,
    };

    const fn of(parts: &'static [Part]) -> Self {
        Self {
            parts,
            drained: false,
        }
    }

    /// Whether nothing is waited for.
    #[must_use]
    pub fn is_open(self) -> bool {
        self.parts.is_empty()
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.drained {
            return f.write_str("every earlier connection to end");
        }
        f.write_str("every proxy to acknowledge ")?;
        for (index, part) in self.parts.iter().enumerate() {
            let comma = match index {
                0 => "",
                _ if index + 1 == self.parts.len() => " and ",
                _ => ", ",
            };
            write!(f, "{comma}{}", part.in_words())?;
        }
        Ok(())
    }
}

/// A proxy that a gate waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Awaited {
    /// Which.
    pub dataplane: DataplaneId,
    /// Why.
    pub reason: Reason,
}

/// Why a gate waits for a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// It has not answered yet.
    Unacknowledged(Part),
    /// It rejected what it was sent.
    Rejected {
        /// What.
        part: Part,
        /// Its own words.
        message: String,
    },
    /// It is connected and asks for a certificate, but never for whom to
    /// trust: nothing can prove that it trusts the right ones.
    NeverAsked(Part),
    /// It is not connected, and may hold a certificate.
    Away {
        /// Since when.
        since: Timestamp,
        /// Until when it may hold one.
        until: Timestamp,
    },
    /// Connections that it accepted before are yet to end.
    Draining {
        /// When they do.
        until: Timestamp,
    },
    /// It holds a leaf of an authority that is to be dropped.
    Holding {
        /// When that ends, where it is known.
        until: Option<Timestamp>,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unacknowledged(part) => {
                write!(f, "has not acknowledged {} yet", part.in_words())
            }
            Self::Rejected { part, message } => {
                write!(f, "rejected {}: {message}", part.in_words())
            }
            Self::NeverAsked(part) => write!(f, "never asked for {}", part.in_words()),
            Self::Away { since, until } => write!(
                f,
                "is not connected since {since}, and may hold a certificate until {until}"
            ),
            Self::Draining { until } => {
                write!(f, "keeps earlier connections until {until}")
            }
            Self::Holding { .. } => {
                f.write_str("holds a leaf of an authority that is to be dropped")
            }
        }
    }
}

/// What is known of the proxies of a mesh, and what counts as proven by it.
#[derive(Debug, Clone, Copy)]
pub struct Witness<'a> {
    /// The mesh: proxies of which it has no Dataplane hold nothing up.
    pub mesh: &'a MeshState,
    /// What proxies have acknowledged; other meshes' may be among it.
    pub evidence: &'a Evidence,
    /// What the mesh does about proxies that are away.
    pub rules: &'a Rules,
    /// The dataplanes that someone said to go on without.
    pub approved: Option<&'a BTreeSet<ResourceName>>,
    /// The present.
    pub now: Timestamp,
}

impl Witness<'_> {
    /// Who has yet to acknowledge what the gate asks for, where the mesh's
    /// parts are at `marks`; in the order of names. Nobody is: it is open.
    #[must_use]
    pub fn awaited(&self, gate: Gate, marks: &Marks) -> Vec<Awaited> {
        if gate.is_open() {
            return Vec::new();
        }
        let proxies = self.evidence.values();
        let of_mesh = proxies.filter(|proxy| proxy.dataplane.mesh == self.mesh.name);
        of_mesh
            .filter(|proxy| !self.is_passed_over(proxy))
            .filter_map(|proxy| {
                let reason = self.reason(proxy, gate, marks)?;
                let dataplane = proxy.dataplane.clone();
                Some(Awaited { dataplane, reason })
            })
            .collect()
    }

    /// The proxies that hold an unexpired leaf of this authority, whatever they
    /// have acknowledged, in the order of names: it stays trusted for them.
    pub fn holders(&self, id: AuthorityId) -> impl Iterator<Item = &ProxyEvidence> {
        let proxies = self.evidence.values().map(|proxy| &**proxy);
        proxies
            .filter(move |proxy| proxy.leaf_issuer == Some(id))
            .filter(|proxy| proxy.leaf_not_after.is_none_or(|end| end > self.now))
            // Who is here and does not ask for leaves has dropped the one that it had.
            .filter(|proxy| proxy.connected_since.is_none() || proxy.asks.contains(&Part::Leaf))
            .filter(|proxy| !self.is_passed_over(proxy))
            .filter(|proxy| proxy.dataplane.mesh == self.mesh.name)
            .filter(|proxy| self.mesh.dataplane(&proxy.dataplane.name).is_some())
    }

    /// Who holds a leaf of an authority that these moves drop; in the order of names.
    pub(super) fn holding(&self, moves: &[Move]) -> Vec<Awaited> {
        let dropped = moves.iter().filter_map(|step| match step {
            Move::Withdraw(key) => Some(*key),
            _ => None,
        });
        let authorities = || self.mesh.authorities.values();
        let dropped = dropped.filter_map(|key| authorities().find(|it| Key::of(it) == key));
        let holders = dropped.flat_map(|authority| self.holders(authority.id));
        let mut holding: Vec<Awaited> = holders
            .map(|proxy| Awaited {
                dataplane: proxy.dataplane.clone(),
                reason: Reason::Holding {
                    until: proxy.leaf_not_after,
                },
            })
            .collect();
        holding.sort_by(|one, other| one.dataplane.cmp(&other.dataplane));
        holding
    }

    /// The proxies that use certificates and that Windlass does not configure,
    /// in the order of names: connections that they accepted it cannot end, so
    /// they outlive the root that authenticated them.
    #[must_use]
    pub fn undrained(&self) -> Vec<DataplaneId> {
        let uses =
            |proxy: &ProxyEvidence| proxy.asks.contains(&Part::Leaf) && !is_configured(proxy);
        self.known(uses)
    }

    /// The proxies that no gate waits for though they may hold a certificate,
    /// since they are away or someone said so; in the order of names.
    #[must_use]
    pub fn passed_over(&self) -> Vec<DataplaneId> {
        self.known(|proxy| self.is_passed_over(proxy))
    }

    /// The proxies of the mesh that may hold something, as far as they are `wanted`.
    fn known(&self, wanted: impl Fn(&ProxyEvidence) -> bool) -> Vec<DataplaneId> {
        let proxies = self.evidence.values().filter(|proxy| {
            proxy.dataplane.mesh == self.mesh.name
                && self.mesh.dataplane(&proxy.dataplane.name).is_some()
                && (proxy.connected_since.is_some() || proxy.may_hold_until() > Some(self.now))
                && wanted(proxy)
        });
        proxies.map(|proxy| proxy.dataplane.clone()).collect()
    }

    /// Whether nothing is waited for from a proxy, whatever it holds.
    #[must_use]
    pub fn is_passed_over(&self, proxy: &ProxyEvidence) -> bool {
        let name = &proxy.dataplane.name;
        self.approved.is_some_and(|names| names.contains(name))
            || (self.rules.offline == Offline::Ignore && self.is_away_for_long(proxy))
    }

    fn is_away_for_long(&self, proxy: &ProxyEvidence) -> bool {
        let grace = if is_configured(proxy) {
            let (least, most) = (SHORTEST_OFFLINE_GRACE, OFFLINE_GRACE);
            self.rules.ack_timeout.0.clamp(least, most)
        } else {
            OFFLINE_GRACE
        };
        // It could not come back to a control plane that was away itself.
        let since = proxy.away_since();
        since.is_some_and(|since| since + grace <= self.now)
    }

    fn reason(&self, proxy: &ProxyEvidence, gate: Gate, marks: &Marks) -> Option<Reason> {
        let dataplane = self.mesh.dataplane(&proxy.dataplane.name)?;
        if proxy.connected_since.is_none()
            && proxy.may_hold_until().is_none_or(|end| end <= self.now)
        {
            return None;
        }
        let missing = gate.parts.iter().find_map(|part| {
            let mark = marks.of(*part);
            (!proxy.has_acknowledged(*part, mark)).then(|| unproven(proxy, *part, mark))?
        });
        if missing.is_some() || !gate.drained {
            return missing;
        }
        let accepts = matches!(&dataplane.networking.role, Role::Inbound(all) if !all.is_empty());
        let known = proxy.acknowledged.get(&Part::Inbounds);
        let until = known.filter(|_| accepts)?.at + drain_time(proxy);
        (until > self.now).then_some(Reason::Draining { until })
    }
}

/// Whether Windlass configures a proxy, as it does the Envoys of `dp run`.
fn is_configured(proxy: &ProxyEvidence) -> bool {
    proxy.asks.contains(&Part::Inbounds) || proxy.asks.contains(&Part::Outbounds)
}

/// Why it is not proven that a proxy has a part at that mark; `None` where it
/// has nothing to do with the part.
fn unproven(proxy: &ProxyEvidence, part: Part, mark: u64) -> Option<Reason> {
    let asks = |part| proxy.asks.contains(&part);
    let concerned = match part {
        Part::Bundle => asks(Part::Bundle) || asks(Part::Leaf),
        Part::Leaf => asks(Part::Leaf),
        // Whoever is configured by one is by the other, be it asked for yet or not.
        Part::Inbounds | Part::Outbounds => asks(Part::Inbounds) || asks(Part::Outbounds),
    };
    if proxy.connected_since.is_none() {
        let until = proxy.may_hold_until()?;
        let since = proxy.left.unwrap_or(proxy.seen);
        return (concerned || proxy.asks.is_empty()).then_some(Reason::Away { since, until });
    }
    if !concerned {
        // Should it ask now, it is given what it is offered.
        let is_offered = proxy.offered.of(part) >= mark;
        return (!is_offered).then_some(Reason::Unacknowledged(part));
    }
    if part == Part::Bundle && !asks(Part::Bundle) {
        return Some(Reason::NeverAsked(part));
    }
    let nack = proxy.last_nack.as_ref();
    Some(match nack.filter(|nack| nack.resource == wire_name(part)) {
        Some(nack) => Reason::Rejected {
            part,
            message: nack.message.clone(),
        },
        None => Reason::Unacknowledged(part),
    })
}

/// What a rejection calls the part.
fn wire_name(part: Part) -> &'static str {
    match part {
        Part::Bundle => "mesh_ca",
        Part::Leaf => "identity_cert",
        Part::Inbounds => "listener",
        Part::Outbounds => "cluster",
    }
}

fn drain_time(proxy: &ProxyEvidence) -> Duration {
    let seconds = proxy.drain_seconds.map(u64::from);
    seconds.map_or(DEFAULT_DRAIN, Duration::from_secs)
}
