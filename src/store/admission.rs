//! What no writer may do to a mesh, whoever it is.
//!
//! [`admit`] is pure. Every store calls it inside the transaction of a write,
//! so that neither a planner with a bug nor a stale leader breaks a mesh.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{MeshWrite, Operation};
use crate::ca::CertificateInfo;
use crate::model::{
    Authority, AuthorityId, AuthorityOrigin, AuthorityState, CaSpec, DataplaneId, Evidence,
    Generation, Kind, MeshState, Posture, Progress, Resource, ResourceKey, ResourceName, SealedKey,
    StoredResource, Strategy, Timestamp, Transition, connected,
};
use crate::transition::{Key, Move, Situation, Witness};

pub use refusal::Refusal;

mod refusal;
#[cfg(test)]
mod tests;

/// Applies `write` to `current` and returns the mesh as it will be, its
/// generation not set yet, in a store that was not written before. A mesh without
/// resources is gone: it comes back as [`MeshState::absent`].
///
/// `evidence` is what the proxies of this mesh have acknowledged; it is looked
/// at only where [`needs_evidence`] says so.
///
/// # Errors
///
/// Fails with the first thing that no writer may do.
pub fn admit(
    current: &MeshState,
    write: &MeshWrite,
    evidence: &Evidence,
    now: Timestamp,
) -> Result<MeshState, Refusal> {
    let admitted = decide(current, write, evidence, Generation(0), now)?;
    Ok(admitted.next)
}

/// Whether [`admit`] looks at the evidence for this write.
#[must_use]
pub fn needs_evidence(write: &MeshWrite) -> bool {
    write.operations.iter().any(|operation| match operation {
        Operation::MoveAuthority(..) | Operation::Secure(_) | Operation::Drain => true,
        Operation::DeleteResource(key) => key.kind == Kind::Mesh,
        _ => false,
    })
}

/// A write that may be done.
#[derive(Debug)]
pub(super) struct Admitted<'a> {
    /// The mesh as it will be, its generation not set yet.
    pub(super) next: MeshState,
    /// The keys of the authorities that are new in it.
    pub(super) keys: BTreeMap<AuthorityId, &'a SealedKey>,
}

/// [`admit`], for stores that are at this generation: with the keys that come to
/// be kept.
pub(super) fn decide<'a>(
    current: &MeshState,
    write: &'a MeshWrite,
    evidence: &Evidence,
    store: Generation,
    now: Timestamp,
) -> Result<Admitted<'a>, Refusal> {
    let mut next = MeshState {
        name: write.mesh.clone(),
        ..current.clone()
    };
    if current.mesh().is_none() {
        // What was acknowledged of another mesh of this name proves nothing.
        next.progress = Progress::born_in(store);
    }
    let mut draft = Draft {
        before: current,
        situation: Situation::of(&next),
        next,
        keys: BTreeMap::new(),
        opens: None,
        evidence,
        approved: approved(current.progress.transition.as_ref()),
        now,
    };
    for operation in &write.operations {
        draft.perform(operation)?;
    }
    if draft.next.resources.is_empty() {
        nobody_left_behind(current, evidence)?;
        if let Some(&id) = draft.keys.keys().next() {
            return Err(Refusal::AuthorityWithoutMesh {
                id,
                mesh: write.mesh.clone(),
            });
        }
        return Ok(Admitted {
            next: MeshState::absent(write.mesh.clone()),
            keys: draft.keys,
        });
    }
    let opens = draft.opens;
    let admitted = draft.settle();
    whole(&admitted.next)?;
    signed_as_chosen(current, &admitted.next)?;
    if let Some((to, active)) = opens {
        announced(&admitted.next, to, active)?;
    }
    Ok(admitted)
}

/// A write that is being judged, one operation after the other.
struct Draft<'a, 'e> {
    before: &'e MeshState,
    situation: Situation,
    next: MeshState,
    keys: BTreeMap<AuthorityId, &'a SealedKey>,
    /// The posture that is gone back to, towards plaintext, and the authority
    /// that signs by then.
    opens: Option<(Posture, Option<AuthorityId>)>,
    evidence: &'e Evidence,
    /// Whom someone said to go on without. The write that ends a transition is
    /// still a part of it.
    approved: BTreeSet<ResourceName>,
    now: Timestamp,
}

impl<'a> Draft<'a, '_> {
    fn perform(&mut self, operation: &'a Operation) -> Result<(), Refusal> {
        match operation {
            Operation::PutResource(stored) => self.put(stored),
            Operation::DeleteResource(key) => {
                self.own(key)?;
                let deleted = self.next.resources.remove(key);
                let is_dataplane = deleted.is_some() && key.kind == Kind::Dataplane;
                self.next.progress.deletions += u64::from(is_dataplane);
                Ok(())
            }
            Operation::AddAuthority(authority, key) => self.add(authority, key),
            Operation::MoveAuthority(id, to) => self.advance(*id, *to),
            Operation::ForgetAuthority(id) => self.forget(*id),
            Operation::Secure(posture) => self.secure(*posture),
            // No connection is older than the last drain.
            Operation::Drain if self.situation.is_drained() => Ok(()),
            Operation::Drain => self.make(Move::Drain),
            Operation::Note(rules, transition) => {
                self.next.progress.rules = rules.clone();
                if let Some(noted) = transition.as_deref() {
                    let before = self.next.progress.transition.as_ref();
                    let kept = before.map(|it| it.approved_for(&noted.to).clone());
                    self.approved = kept.unwrap_or_default();
                    self.approved.extend(noted.approved.iter().cloned());
                }
                self.next.progress.transition = transition.as_deref().cloned();
                Ok(())
            }
        }
    }

    /// Makes a move that is legal and of which all is proven that it needs.
    fn make(&mut self, step: Move) -> Result<(), Refusal> {
        let gate = self.situation.gate(step)?;
        let awaited = self.witness().awaited(gate, &self.situation.marks);
        if !awaited.is_empty() {
            return Err(Refusal::Unproven { gate, awaited });
        }
        self.situation.make(step);
        Ok(())
    }

    /// A mesh that is new has no connections: it starts as it is to be.
    fn secure(&mut self, to: Posture) -> Result<(), Refusal> {
        if self.situation.posture == to {
            return Ok(());
        }
        if self.before.mesh().is_some() {
            if to < self.situation.posture {
                let active = self.next.active_authority().map(|it| it.id);
                self.opens = Some((to, active));
            }
            return self.make(Move::Secure(to));
        }
        if to.has_identities() && self.situation.active().is_none() {
            return Err(Refusal::NoActiveAuthority);
        }
        self.situation.make(Move::Secure(to));
        Ok(())
    }

    /// The mesh with what the moves have made of it.
    fn settle(self) -> Admitted<'a> {
        let mut next = self.next;
        next.progress.posture = self.situation.posture;
        next.progress.marks = self.situation.marks;
        next.progress.drained = self.situation.drained;
        Admitted {
            next,
            keys: self.keys,
        }
    }

    fn own(&self, key: &ResourceKey) -> Result<(), Refusal> {
        if key.mesh == self.next.name {
            return Ok(());
        }
        Err(Refusal::ForeignResource {
            resource: key.clone(),
            mesh: self.next.name.clone(),
        })
    }

    fn put(&mut self, stored: &StoredResource) -> Result<(), Refusal> {
        let key = stored.resource.key();
        self.own(&key)?;
        let is_known = |state: &MeshState| state.resources.contains_key(&key);
        if key.kind == Kind::Dataplane && is_known(self.before) && !is_known(&self.next) {
            // Nobody would have waited for it in between.
            return Err(Refusal::WrittenAgain { resource: key });
        }
        let mut stored = stored.clone();
        if let Resource::ProvidedCa(ca) = &mut stored.resource {
            // The key is kept with the authority, sealed to the store's own identity.
            ca.key.clear();
        }
        if self.next.resources.get(&key).map(|old| &**old) != Some(&stored) {
            self.next.resources.insert(key, Arc::new(stored));
        }
        Ok(())
    }

    fn add(&mut self, authority: &'a Authority, key: &'a SealedKey) -> Result<(), Refusal> {
        let id = authority.id;
        if authority.mesh != self.next.name {
            return Err(Refusal::ForeignAuthority {
                id,
                owner: authority.mesh.clone(),
                mesh: self.next.name.clone(),
            });
        }
        if authority.state != AuthorityState::Staged {
            return Err(Refusal::NotStaged {
                id,
                state: authority.state,
            });
        }
        match self.next.authorities.get(&id).map(|known| known.state) {
            Some(AuthorityState::Revoked { .. }) => Err(Refusal::AlreadyRevoked { id }),
            Some(_) => Ok(()),
            None => {
                self.make(Move::Stage(Key::of(authority)))?;
                self.next.authorities.insert(id, authority.clone());
                self.keys.insert(id, key);
                Ok(())
            }
        }
    }

    fn advance(&mut self, id: AuthorityId, to: AuthorityState) -> Result<(), Refusal> {
        let authority = self.next.authorities.get(&id);
        let authority = authority.ok_or(Refusal::UnknownAuthority { id })?;
        let (from, key) = (authority.state, Key::of(authority));
        if from.name() == to.name() {
            return Ok(());
        }
        let state = from
            .become_next(to)
            .map_err(|illegal| Refusal::IllegalMove { id, illegal })?;
        match to {
            AuthorityState::Prepared => self.make(Move::Prepare(key))?,
            AuthorityState::Active => {
                self.can_sign(id)?;
                self.make(Move::Activate(key))?;
            }
            AuthorityState::Retiring { .. } => self.make(Move::Retire(key))?,
            AuthorityState::Staged => self.withdraw(id, key)?,
            AuthorityState::Revoked { .. } => {
                if from.is_trusted() {
                    self.withdraw(id, key)?;
                }
                self.make(Move::Revoke(key))?;
                self.keys.remove(&id);
            }
        }
        if let Some(authority) = self.next.authorities.get_mut(&id) {
            authority.state = state;
        }
        Ok(())
    }

    /// No authority comes to sign that is not valid: no leaf could be issued.
    fn can_sign(&self, id: AuthorityId) -> Result<(), Refusal> {
        let authority = self.next.authorities.get(&id);
        match authority.filter(|it| !it.is_valid(self.now)) {
            None => Ok(()),
            Some(it) => Err(Refusal::OutsideValidity {
                id,
                origin: it.origin.clone(),
                from: it.not_before,
                until: it.not_after,
                now: self.now,
            }),
        }
    }

    fn withdraw(&mut self, id: AuthorityId, key: Key) -> Result<(), Refusal> {
        self.nobody_cut_off(id)?;
        self.make(Move::Withdraw(key))
    }

    /// While connections are secured, no authority leaves the trust bundle that
    /// a proxy's unexpired leaf needs, whatever else is said about it.
    fn nobody_cut_off(&self, id: AuthorityId) -> Result<(), Refusal> {
        if self.situation.posture == Posture::Plaintext {
            return Ok(());
        }
        let witness = self.witness();
        let holders = witness.holders(id);
        let dataplanes: Vec<DataplaneId> = holders.map(|it| it.dataplane.clone()).collect();
        if dataplanes.is_empty() {
            return Ok(());
        }
        Err(Refusal::StillInUse { id, dataplanes })
    }

    fn witness(&self) -> Witness<'_> {
        let progress = &self.next.progress;
        Witness {
            mesh: &self.next,
            evidence: self.evidence,
            rules: &progress.rules,
            approved: Some(&self.approved),
            now: self.now,
        }
    }

    fn forget(&mut self, id: AuthorityId) -> Result<(), Refusal> {
        match self.next.authorities.get(&id).map(|known| known.state) {
            None => Ok(()),
            Some(AuthorityState::Revoked { .. }) => {
                self.next.authorities.remove(&id);
                Ok(())
            }
            Some(state) => Err(Refusal::NotRevoked { id, state }),
        }
    }
}

fn approved(transition: Option<&Transition>) -> BTreeSet<ResourceName> {
    transition.map(|it| it.approved.clone()).unwrap_or_default()
}

/// A mesh goes with its keys, and so only once no proxy of it is connected.
fn nobody_left_behind(current: &MeshState, evidence: &Evidence) -> Result<(), Refusal> {
    let connected = connected(evidence, &current.name);
    let dataplanes: Vec<DataplaneId> = connected
        .filter(|it| current.dataplane(&it.name).is_some())
        .cloned()
        .collect();
    if dataplanes.is_empty() {
        return Ok(());
    }
    Err(Refusal::DataplanesConnected {
        mesh: current.name.clone(),
        dataplanes,
    })
}

/// What holds in every mesh, whatever it was before.
fn whole(next: &MeshState) -> Result<(), Refusal> {
    if next.mesh().is_none() {
        return Err(Refusal::WithoutMesh {
            mesh: next.name.clone(),
            dependents: next.resources.keys().cloned().collect(),
        });
    }
    let mut active = next
        .authorities
        .values()
        .filter(|authority| authority.state == AuthorityState::Active);
    match (active.next(), active.next()) {
        (Some(first), Some(second)) => Err(Refusal::TwoActive {
            first: first.id,
            second: second.id,
        }),
        (None, _) if next.progress.posture.has_identities() => Err(Refusal::NoActiveAuthority),
        _ => Ok(()),
    }
}

/// Connections become plaintext only where the mesh says so: it is disabled,
/// or it asks for another authority than the one that is `active` by then, which
/// is to change in plaintext.
fn announced(next: &MeshState, to: Posture, active: Option<AuthorityId>) -> Result<(), Refusal> {
    let mtls = next.mesh().map(|mesh| &mesh.mtls);
    let Some(mtls) = mtls.filter(|mtls| mtls.enabled) else {
        return Ok(());
    };
    let in_plaintext = next.progress.rules.strategy == Strategy::DisableFirst;
    let active = active.and_then(|id| next.authorities.get(&id));
    if in_plaintext && active.is_none_or(|it| wants_another(next, &mtls.ca, it)) {
        return Ok(());
    }
    Err(Refusal::Unannounced { to })
}

/// Whether `ca` asks for another authority than this one, as far as the
/// resources can tell.
fn wants_another(state: &MeshState, ca: &CaSpec, active: &Authority) -> bool {
    match (ca, &active.origin) {
        (CaSpec::Builtin { ordinal: least }, AuthorityOrigin::Builtin { ordinal }) => {
            *ordinal < least.unwrap_or(0)
        }
        (CaSpec::Provided { name }, AuthorityOrigin::Provided { .. }) => {
            let wanted = name.as_ref().or_else(|| only_provided(state));
            let wanted = wanted.and_then(|name| certificate(state, name));
            wanted != Some(active.id)
        }
        _ => true,
    }
}

/// While mTLS is enabled, only the authority that `mtls.ca` chooses comes to sign.
fn signed_as_chosen(current: &MeshState, next: &MeshState) -> Result<(), Refusal> {
    let (Some(mesh), Some(active)) = (next.mesh(), next.active_authority()) else {
        return Ok(());
    };
    let signed = current.active_authority().map(|it| it.id) == Some(active.id);
    if !mesh.mtls.enabled || signed || chooses(next, &mesh.mtls.ca, active) {
        return Ok(());
    }
    Err(Refusal::OtherActive {
        id: active.id,
        origin: active.origin.clone(),
        ca: mesh.mtls.ca.clone(),
    })
}

/// Whether `authority` is what `ca` chooses. Where the ProvidedCa is not
/// there to be compared, its name decides.
fn chooses(state: &MeshState, ca: &CaSpec, authority: &Authority) -> bool {
    let (CaSpec::Provided { name: wanted }, AuthorityOrigin::Provided { name: origin }) =
        (ca, &authority.origin)
    else {
        return matches!(
            (ca, &authority.origin),
            (CaSpec::Builtin { .. }, AuthorityOrigin::Builtin { .. })
        );
    };
    match wanted.as_ref().or_else(|| only_provided(state)) {
        Some(name) => match certificate(state, name) {
            Some(id) => id == authority.id,
            None => name == origin,
        },
        None => true,
    }
}

/// The name of the one ProvidedCa, where there is exactly one.
fn only_provided(state: &MeshState) -> Option<&ResourceName> {
    let mut names = state
        .resources
        .keys()
        .filter(|key| key.kind == Kind::ProvidedCa)
        .map(|key| &key.name);
    names.next().filter(|_| names.next().is_none())
}

/// The id of a ProvidedCa's certificate.
fn certificate(state: &MeshState, name: &ResourceName) -> Option<AuthorityId> {
    let key = ResourceKey {
        mesh: state.name.clone(),
        kind: Kind::ProvidedCa,
        name: name.clone(),
    };
    match &state.resources.get(&key)?.resource {
        Resource::ProvidedCa(ca) => CertificateInfo::from_pem(&ca.cert).ok().map(|info| info.id),
        _ => None,
    }
}
