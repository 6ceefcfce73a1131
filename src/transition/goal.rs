//! What the mTLS of a mesh is to be: what its stored resources ask for.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Key, Situation, Standing};
use crate::ca::{CertificateInfo, Issuing};
use crate::model::{
    Authority, AuthorityOrigin, AuthorityState, CaSpec, MeshState, Posture, Resource, ResourceName,
    Strategy, Timestamp,
};

/// How long before its end a builtin authority is replaced, where its life is
/// long enough and leaves are short enough.
const ROTATE_BEFORE: Duration = Duration::from_hours(30 * 24);

/// A provided authority as the mesh's ProvidedCa has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provided {
    /// The name of the ProvidedCa.
    pub name: ResourceName,
    /// What its certificate says.
    pub certificate: CertificateInfo,
}

/// What the mTLS of a mesh is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Goal {
    /// Whether connections are to be mTLS.
    pub enabled: bool,
    /// The authority that is to sign.
    pub target: Key,
    /// Whether it may come to sign now. In a mesh that is disabled, one that is
    /// not valid does not: nobody needs it, and the store would refuse it.
    pub may_sign: bool,
    /// How another authority comes to sign.
    pub strategy: Strategy,
    /// The provided authorities of the mesh: they are kept, staged at least.
    pub provided: BTreeMap<Key, Provided>,
}

impl Goal {
    /// What the resources of `mesh` ask for; `None` without a Mesh resource,
    /// and where it names no CA that is there.
    #[must_use]
    pub fn of(mesh: &MeshState, issuing: Issuing, now: Timestamp) -> Option<Self> {
        let wanted = &mesh.mesh()?.mtls;
        let provided = provided(mesh);
        let target = match &wanted.ca {
            CaSpec::Provided { name: Some(name) } => {
                let mut all = provided.iter();
                all.find(|(_, provided)| provided.name == *name)?.0
            }
            CaSpec::Provided { name: None } => {
                let first = provided.first()?.0;
                let is_only = provided.iter().all(|(key, _)| *key == first);
                Some(first).filter(|_| is_only)?
            }
            CaSpec::Builtin { ordinal } => builtin(mesh, ordinal.unwrap_or(0), issuing, now),
        };
        let strategy = if ends_by_itself(mesh, &wanted.ca, target) {
            Strategy::Rolling
        } else {
            mesh.progress.rules.strategy
        };
        let mut named = provided.iter().filter(|(key, _)| *key == target);
        let is_valid = named.all(|(_, it)| it.certificate.is_valid(now));
        Some(Self {
            enabled: wanted.enabled,
            target,
            may_sign: wanted.enabled || is_valid,
            strategy,
            provided: provided.into_iter().collect(),
        })
    }

    /// The posture to go to now: in the strategy `disableFirst` an authority
    /// changes in plaintext.
    #[must_use]
    pub fn posture(&self, situation: &Situation) -> Posture {
        let active = situation.active();
        let changes = active.is_some_and(|active| active != self.target);
        if !self.enabled || (changes && self.strategy == Strategy::DisableFirst) {
            Posture::Plaintext
        } else {
            Posture::Strict
        }
    }

    /// Whether an authority is kept though it does not sign.
    pub(super) fn keeps(&self, key: Key) -> bool {
        key == self.target || self.provided.contains_key(&key)
    }
}

/// Whether the authority changes though no commit asks for it: no plan told
/// anyone of a time in plaintext.
fn ends_by_itself(mesh: &MeshState, wanted: &CaSpec, target: Key) -> bool {
    let (CaSpec::Builtin { ordinal: least }, Some(active)) = (wanted, mesh.active_authority())
    else {
        return false;
    };
    let will_do = |ordinal| ordinal >= least.unwrap_or(0);
    matches!(active.origin, AuthorityOrigin::Builtin { ordinal } if will_do(ordinal))
        && Key::of(active) != target
}

/// Each ProvidedCa, by its name; two may hold the same certificate.
fn provided(mesh: &MeshState) -> Vec<(Key, Provided)> {
    let resources = mesh.resources.values();
    let provided = resources.filter_map(|stored| match &stored.resource {
        Resource::ProvidedCa(ca) => Some(ca),
        _ => None,
    });
    provided
        .filter_map(|ca| {
            let certificate = CertificateInfo::from_pem(&ca.cert).ok()?;
            let name = ca.name.clone();
            Some((
                Key::Provided(certificate.id),
                Provided { name, certificate },
            ))
        })
        .collect()
}

/// The builtin authority that is to sign: the one that does, if it will do, or
/// the newest that will, or a new one.
fn builtin(mesh: &MeshState, least: u32, issuing: Issuing, now: Timestamp) -> Key {
    let ordinals = || {
        let authorities = mesh.authorities.values();
        authorities.filter_map(|authority| match authority.origin {
            AuthorityOrigin::Builtin { ordinal } => Some((ordinal, authority)),
            AuthorityOrigin::Provided { .. } => None,
        })
    };
    let will_do = |&(ordinal, authority): &(u32, &Authority)| {
        ordinal >= least
            && Standing::of(authority.state).is_some()
            && BuiltinEnd::of(authority, issuing).is_none_or(|end| now < end.rotate_at)
    };
    let usable = || ordinals().filter(will_do);
    let signs = usable().find(|(_, it)| it.state == AuthorityState::Active);
    let chosen = signs.or_else(|| usable().max_by_key(|(ordinal, _)| *ordinal));
    Key::Builtin(chosen.map_or_else(
        || {
            let newest = ordinals().map(|(ordinal, _)| ordinal).max().unwrap_or(0);
            least.max(newest + 1)
        },
        |(ordinal, _)| ordinal,
    ))
}

/// When a builtin authority ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuiltinEnd {
    /// When it is replaced.
    pub rotate_at: Timestamp,
}

impl BuiltinEnd {
    /// `None` where `authority` only stands for one that a store has.
    #[must_use]
    pub fn of(authority: &Authority, issuing: Issuing) -> Option<Self> {
        if authority.certificate.is_empty() {
            return None;
        }
        let life = authority.not_after.since(authority.not_before);
        // A rotation takes no longer than leaves live.
        let margin = ROTATE_BEFORE.max(issuing.leaf_lifetime * 2).min(life / 2);
        Some(Self {
            rotate_at: authority.not_after - margin,
        })
    }
}
