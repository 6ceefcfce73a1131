//! Which proxies a gate looks at, and what one that opened leaves for the audit history.

use super::{Gate, Witness};
use crate::model::{
    AcknowledgedBy, AcknowledgedPart, Marks, MeshState, Offline, PassedGate, PassedOver,
    PassedOverBecause, Phase, ProxyEvidence, Rules, Timestamp,
};

impl<'a> Witness<'a> {
    /// The proxies of the mesh's Dataplanes, in the order of their names.
    pub fn proxies(&self) -> impl Iterator<Item = &'a ProxyEvidence> + use<'a> {
        let mesh: &'a MeshState = self.mesh;
        let proxies = self.evidence.values().map(|proxy| &**proxy);
        let of_mesh = proxies.filter(|proxy| proxy.dataplane.mesh == mesh.name);
        of_mesh.filter(|proxy| mesh.dataplane(&proxy.dataplane.name).is_some())
    }

    /// Whether a gate may have to wait for a proxy of the mesh: it is connected
    /// or may hold a leaf, and is not passed over.
    #[must_use]
    pub fn counts(&self, proxy: &ProxyEvidence) -> bool {
        let may_hold = proxy.may_hold_until().is_some_and(|end| end > self.now);
        (proxy.connected_since.is_some() || may_hold) && !self.is_passed_over(proxy)
    }
}

/// What is to be remembered of a gate that is open: who acknowledged what it
/// asks for where the mesh's parts are at `marks`, and who was passed over.
/// `phase` is the one that begins, `since` when the gate began to wait.
#[must_use]
pub fn passed(
    gate: Gate,
    marks: &Marks,
    phase: Phase,
    since: Timestamp,
    witness: &Witness<'_>,
) -> PassedGate {
    let acknowledged = gate.parts.iter().map(|part| {
        let proxies = witness.proxies();
        let known = proxies.filter(|proxy| proxy.has_acknowledged(*part, marks.of(*part)));
        let mut by: Vec<_> = known
            .filter_map(|proxy| {
                let at = proxy.acknowledged.get(part)?.at;
                let dataplane = proxy.dataplane.name.clone();
                Some(AcknowledgedBy { at, dataplane })
            })
            .collect();
        by.sort_unstable();
        AcknowledgedPart {
            part: *part,
            proxies: by.len(),
            by,
        }
    });
    let passed_over = passed_over(gate, marks, witness);
    PassedGate {
        phase,
        waited_for: gate.to_string(),
        since,
        acknowledged: acknowledged.collect(),
        without: passed_over.len(),
        passed_over,
    }
}

/// Who would be waited for if nobody were passed over, and whose leaves have ended.
fn passed_over(gate: Gate, marks: &Marks, witness: &Witness<'_>) -> Vec<PassedOver> {
    let rules = Rules {
        offline: Offline::Block,
        ..witness.rules.clone()
    };
    let strict = Witness {
        rules: &rules,
        approved: None,
        ..*witness
    };
    let is_approved = |proxy: &ProxyEvidence| {
        witness
            .approved
            .is_some_and(|it| it.contains(&proxy.dataplane.name))
    };
    let awaited = strict.awaited(gate, marks).into_iter();
    let proxies = awaited.filter_map(|it| witness.evidence.get(&it.dataplane));
    let ignored = proxies.filter(|proxy| witness.is_passed_over(proxy));
    let ignored = ignored.map(|proxy| PassedOver {
        dataplane: proxy.dataplane.name.clone(),
        why: if is_approved(proxy) {
            PassedOverBecause::Approved
        } else {
            PassedOverBecause::Offline
        },
    });
    let lacks = |proxy: &&ProxyEvidence| {
        let mut parts = gate.parts.iter();
        parts.any(|part| !proxy.has_acknowledged(*part, marks.of(*part)))
    };
    let expired = witness.proxies().filter(lacks);
    let expired = expired.filter(|proxy| {
        proxy.connected_since.is_none()
            && proxy.may_hold_until().is_some_and(|end| end <= witness.now)
    });
    let expired = expired.map(|proxy| PassedOver {
        dataplane: proxy.dataplane.name.clone(),
        why: PassedOverBecause::Expired,
    });
    let mut all: Vec<PassedOver> = ignored.chain(expired).collect();
    all.sort_by(|one, other| one.dataplane.cmp(&other.dataplane));
    all
}
