//! What an answer of a proxy changes in its evidence. Pure.

mod arrival;

use std::time::Duration;

pub(super) use self::arrival::{absorb, arrive};
use crate::model::{Marks, Nack, Part, ProxyEvidence, Timestamp};
use crate::xds::resource::{IDENTITY_CERT, MESH_CA, Proof, Resource, ResourceType};

/// The longest message of a proxy that is kept, in bytes.
pub(super) const MAX_MESSAGE: usize = 1024;
/// The longest version that is kept, in bytes; a digest has 71.
pub(super) const MAX_VERSION: usize = 128;
/// The most rejected versions that are kept of one secret.
pub(super) const MAX_REJECTED: usize = 16;

/// What of a proxy's evidence the store does not have yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Unsaved {
    /// Nothing, or only when it was seen.
    Nothing,
    /// What people look at and nothing is decided by: it may wait.
    Insight,
    /// What plans count on.
    Evidence,
}

impl Unsaved {
    /// What is missing where `saved` is stored and `now` is known.
    pub(super) fn between(saved: &ProxyEvidence, now: &ProxyEvidence) -> Self {
        let mut rest = now.clone();
        rest.seen = saved.seen;
        if rest == *saved {
            return Self::Nothing;
        }
        rest.versions.clone_from(&saved.versions);
        rest.token_expires_at = saved.token_expires_at;
        if rest == *saved {
            Self::Insight
        } else {
            Self::Evidence
        }
    }
}

/// Notes an accepted secret. Returns whether that proves anything.
pub(super) fn accept(evidence: &mut ProxyEvidence, resource: &Resource, now: Timestamp) -> bool {
    evidence.seen = now;
    let rejected = evidence.rejected.get(&*resource.name);
    if rejected.is_some_and(|versions| versions.contains(&resource.version)) {
        return false;
    }
    if evidence.doubted.remove(&*resource.name) {
        // These may be the bytes that it rejected unheard. Others will tell.
        note_rejected(evidence, resource);
        return false;
    }
    evidence.rejected.remove(&*resource.name);
    heal(evidence, &resource.name);
    let version = resource.version.to_string();
    evidence
        .versions
        .insert((*resource.name).to_owned(), version);
    match resource.proof() {
        Some(Proof::Trusts(bundle, authorities)) => {
            evidence.bundle = Some(bundle);
            evidence.trusts = authorities;
        }
        Some(Proof::Holds(issuer, not_after)) => {
            evidence.leaf_issuer = Some(issuer);
            evidence.leaf_not_after = Some(not_after);
        }
        None => {}
    }
    true
}

/// Notes a rejected secret.
pub(super) fn reject(
    evidence: &mut ProxyEvidence,
    resource: &Resource,
    message: &str,
    now: Timestamp,
) {
    note_nack(evidence, &resource.name, message, now);
    note_rejected(evidence, resource);
}

fn note_rejected(evidence: &mut ProxyEvidence, resource: &Resource) {
    let versions = evidence
        .rejected
        .entry((*resource.name).to_owned())
        .or_default();
    if !versions.contains(&resource.version) {
        if versions.len() == MAX_REJECTED {
            versions.remove(0);
        }
        versions.push(resource.version);
    }
}

/// Notes that a proxy may have rejected a part unheard.
pub(super) fn doubt(evidence: &mut ProxyEvidence, part: Part) {
    evidence.doubted.insert(name(part).to_owned());
}

/// The part that a resource belongs to.
pub(super) fn part(resource: &Resource) -> Option<Part> {
    match (resource.kind, resource.proof()) {
        (_, Some(Proof::Trusts(..))) => Some(Part::Bundle),
        (_, Some(Proof::Holds(..))) => Some(Part::Leaf),
        (kind, None) => part_of(kind),
    }
}

/// The part that a type is.
pub(super) fn part_of(kind: ResourceType) -> Option<Part> {
    match kind {
        ResourceType::Listener => Some(Part::Inbounds),
        ResourceType::Cluster => Some(Part::Outbounds),
        ResourceType::Secret | ResourceType::Endpoints | ResourceType::Route => None,
    }
}

/// The name of the secret or of the type that a part is.
pub(super) fn name(part: Part) -> &'static str {
    match part {
        Part::Bundle => MESH_CA,
        Part::Leaf => IDENTITY_CERT,
        Part::Inbounds => ResourceType::Listener.name(),
        Part::Outbounds => ResourceType::Cluster.name(),
    }
}

/// Notes what the mesh of a proxy has been told at most. Trust bundles differ
/// whenever their marks do, so a proxy that acknowledged this one was not sent
/// another since.
pub(super) fn compare(evidence: &mut ProxyEvidence, marks: Marks) -> bool {
    evidence.has_acknowledged(Part::Bundle, marks.bundle) && evidence.doubted.remove(MESH_CA)
}

/// Notes that a proxy is sent this leaf.
pub(super) fn hand_out(evidence: &mut ProxyEvidence, leaf_not_after: Timestamp) -> bool {
    let is_longer = evidence.held_until.is_none_or(|end| end < leaf_not_after);
    if is_longer {
        evidence.held_until = Some(leaf_not_after);
    }
    is_longer
}

/// Notes that the last stream has ended.
///
/// A proxy that is configured and uses no leaf goes on in plaintext: no leaf's
/// end says for how long, so it counts as long as one of `leaf_lifetime` would.
pub(super) fn leave(evidence: &mut ProxyEvidence, leaf_lifetime: Duration, now: Timestamp) {
    evidence.connected_since = None;
    evidence.left = Some(now);
    evidence.seen = now;
    evidence.held_until = evidence.held_until.max(evidence.leaf_not_after);
    let asks = |part| evidence.asks.contains(&part);
    if (asks(Part::Inbounds) || asks(Part::Outbounds)) && !asks(Part::Leaf) {
        hand_out(evidence, now + leaf_lifetime);
    }
}

/// Notes that the instance of the control plane ended that the proxy was
/// connected to, and with it what it knew. The leaves of the next one are others.
pub(super) fn orphan(evidence: &mut ProxyEvidence, leaf_lifetime: Duration, now: Timestamp) {
    let seen = evidence.seen;
    leave(evidence, leaf_lifetime, now);
    evidence.seen = seen;
    hand_out(evidence, now + leaf_lifetime);
    doubt(evidence, Part::Bundle);
}

/// Whether a proxy that may hold a leaf left before there was a control plane that
/// it could come back to.
pub(super) fn had_nowhere_before(evidence: &ProxyEvidence, since: Timestamp) -> bool {
    evidence.away_since().is_some_and(|away| away < since)
        && evidence.may_hold_until().is_some_and(|end| end > since)
}

/// Notes an acknowledged version of a type that holds no secrets.
pub(super) fn acknowledge(
    evidence: &mut ProxyEvidence,
    kind: ResourceType,
    version: &str,
    now: Timestamp,
) -> Unsaved {
    evidence.seen = now;
    let was_refused = evidence.refused.remove(kind.name());
    let was_doubted = evidence.doubted.remove(kind.name());
    let healed = heal(evidence, kind.name()) || was_refused || was_doubted;
    let version = cut(version, MAX_VERSION);
    let known = evidence.versions.get(kind.name());
    let is_new = known.is_none_or(|known| known != version);
    if is_new {
        let name = kind.name().to_owned();
        evidence.versions.insert(name, version.to_owned());
    }
    match (healed, is_new) {
        (true, _) => Unsaved::Evidence,
        (false, true) => Unsaved::Insight,
        (false, false) => Unsaved::Nothing,
    }
}

/// Notes a rejected response of a type that holds no secrets.
pub(super) fn refuse(
    evidence: &mut ProxyEvidence,
    kind: ResourceType,
    message: &str,
    now: Timestamp,
) {
    note_nack(evidence, kind.name(), message, now);
    evidence.refused.insert(kind.name().to_owned());
}

fn note_nack(evidence: &mut ProxyEvidence, resource: &str, message: &str, now: Timestamp) {
    evidence.seen = now;
    evidence.last_nack = Some(Nack {
        at: now,
        resource: resource.to_owned(),
        message: cut(message, MAX_MESSAGE).to_owned(),
    });
}

/// Forgets the last rejection if it was of `resource`. Returns whether it was.
fn heal(evidence: &mut ProxyEvidence, resource: &str) -> bool {
    let is_healed = |nack: &mut Nack| nack.resource == resource;
    evidence.last_nack.take_if(is_healed).is_some()
}

/// The start of a text, of at most `length` bytes.
fn cut(text: &str, length: usize) -> &str {
    &text[..text.floor_char_boundary(length)]
}
