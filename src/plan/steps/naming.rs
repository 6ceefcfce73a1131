//! Gives the moves of a transition the names that people know.

use std::collections::BTreeSet;

use crate::ca::{CertificateInfo, Issuing};
use crate::model::{
    Authority, AuthorityOrigin, AuthorityState, Dataplane, DataplaneId, MeshState, Posture,
    ResourceName, Timestamp, Transition,
};
use crate::plan::{Action, AuthorityRef, Reissue};
use crate::transition::{BuiltinEnd, Goal, Key, Move};

pub(super) struct Naming<'a> {
    pub(super) after: &'a MeshState,
    /// What was wanted until now.
    pub(super) before: Option<&'a Goal>,
    pub(super) goal: &'a Goal,
    pub(super) issuing: Issuing,
}

impl Naming<'_> {
    /// The move as an action, made while connections are secured like `posture`.
    pub(super) fn action(&self, step: Move, posture: Posture) -> Action {
        match step {
            Move::Stage(Key::Builtin(ordinal)) => Action::CreateAuthority { ordinal },
            Move::Stage(key) => match self.goal.provided.get(&key) {
                Some(provided) => Action::StageAuthority {
                    name: provided.name.clone(),
                    certificate: provided.certificate.clone(),
                },
                // A provided authority that is wanted is one of the goal's.
                None => Action::Confirm,
            },
            Move::Prepare(key) => Action::PrepareAuthority(self.reference(key)),
            Move::Activate(key) => Action::ActivateAuthority {
                certificate: self.described(key),
                authority: self.reference(key),
                reissue: self.reissue(posture.has_identities()),
            },
            Move::Retire(key) => Action::RetireAuthority(self.reference(key)),
            Move::Drain => Action::DrainConnections,
            Move::Withdraw(key) => Action::WithdrawAuthority(self.reference(key)),
            Move::Revoke(key) => Action::RevokeAuthority(self.reference(key)),
            Move::Secure(to) => Action::Secure {
                from: posture,
                to,
                reissue: self.reissue(to.has_identities() && !posture.has_identities()),
            },
            Move::Confirm => Action::Confirm,
        }
    }

    fn stored(&self, key: Key) -> Option<&Authority> {
        let mut all = self.after.authorities.values();
        all.find(|authority| Key::of(authority) == key)
    }

    fn reference(&self, key: Key) -> AuthorityRef {
        let id = match key {
            Key::Builtin(ordinal) => return AuthorityRef::Builtin(ordinal),
            Key::Provided(id) => id,
        };
        let wanted = self.goal.provided.get(&key).map(|it| it.name.clone());
        let stored = || match &self.stored(key)?.origin {
            AuthorityOrigin::Provided { name } => Some(name.clone()),
            AuthorityOrigin::Builtin { .. } => None,
        };
        match wanted.or_else(stored) {
            Some(name) => AuthorityRef::Provided { name, id },
            // A provided authority that is moved is stored or wanted.
            None => AuthorityRef::Builtin(0),
        }
    }

    /// What the certificate says; nothing where this plan stages or makes it,
    /// which says it there.
    fn described(&self, key: Key) -> Option<CertificateInfo> {
        let stored = self.stored(key)?;
        if matches!(stored.state, AuthorityState::Revoked { .. }) {
            return None;
        }
        CertificateInfo::from_pem(&stored.certificate).ok()
    }

    fn reissue(&self, wanted: bool) -> Reissue {
        let dataplanes = self.after.dataplanes().filter(|_| wanted);
        Reissue {
            dataplanes: dataplanes.map(Dataplane::id).collect::<Vec<DataplaneId>>(),
            rate: self.issuing.reissue_rate,
        }
    }

    /// What the mesh has, in words.
    pub(super) fn present(&self, current: &MeshState) -> String {
        let signs = current.active_authority().map(Key::of);
        match signs.filter(|_| current.progress.posture != Posture::Plaintext) {
            Some(key) => self.name(key),
            None => "plaintext".to_owned(),
        }
    }

    /// What the mesh is to have, in words.
    pub(super) fn future(&self) -> String {
        if self.goal.enabled {
            self.name(self.goal.target)
        } else {
            "plaintext".to_owned()
        }
    }

    /// Whom someone said to go on without on the way to this goal.
    pub(super) fn approved(&self, transition: &Transition) -> BTreeSet<ResourceName> {
        // Another certificate may have come under the same name.
        let same_root = self.before.is_some_and(|it| it.target == self.goal.target);
        if same_root || !self.goal.enabled {
            transition.approved_for(&self.future()).clone()
        } else {
            BTreeSet::new()
        }
    }

    /// The end of the builtin authority that signs, where another one is to
    /// sign because of it.
    pub(super) fn replaces(&self, current: &MeshState, now: Timestamp) -> Option<Timestamp> {
        let signs = current.active_authority()?;
        let is_another = Key::of(signs) != self.goal.target;
        let is_builtin = |key| matches!(key, Key::Builtin(_));
        let ends = BuiltinEnd::of(signs, self.issuing).is_some_and(|it| it.rotate_at <= now);
        (ends && is_another && is_builtin(Key::of(signs)) && is_builtin(self.goal.target))
            .then_some(signs.not_after)
    }

    fn name(&self, key: Key) -> String {
        match self.reference(key) {
            AuthorityRef::Builtin(ordinal) => format!("builtin authority {ordinal}"),
            AuthorityRef::Provided { name, .. } => format!("provided authority {name}"),
        }
    }
}
