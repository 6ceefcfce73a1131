//! How the mTLS of a mesh stands between what it was and what it is to be.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    Generation, HumanDuration, Offline, Phase, ResourceName, Revision, Strategy, Timestamp,
    TransitionSettings,
};

/// How the connections of a mesh are secured: from nothing to mTLS and back,
/// one posture after the other, so that at every moment those who open
/// connections are understood by those who accept them.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "camelCase")]
pub enum Posture {
    /// Plaintext; proxies are given no secrets.
    #[default]
    Plaintext,
    /// Plaintext; proxies are given their certificates and whom to trust.
    Identified,
    /// Inbounds accept plaintext and mTLS, outbounds open plaintext.
    Permissive,
    /// Inbounds accept plaintext and mTLS, outbounds open mTLS.
    Encrypting,
    /// Inbounds accept mTLS only.
    Strict,
}

/// What the inbounds of a mesh accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Accepts {
    /// Plaintext, from anyone.
    Plaintext,
    /// Plaintext from anyone, and what [`Accepts::Mtls`] accepts.
    Both,
    /// TLS with a certificate of the mesh, where a permission says so.
    Mtls,
}

/// What the outbounds of a mesh open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Opens {
    /// Plaintext.
    Plaintext,
    /// TLS to exactly the service that it names.
    Mtls,
}

impl Posture {
    /// Every posture, from plaintext to mTLS.
    pub const ALL: [Self; 5] = [
        Self::Plaintext,
        Self::Identified,
        Self::Permissive,
        Self::Encrypting,
        Self::Strict,
    ];

    /// The posture's name, as in the status.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::Identified => "identified",
            Self::Permissive => "permissive",
            Self::Encrypting => "encrypting",
            Self::Strict => "strict",
        }
    }

    /// What inbounds accept.
    #[must_use]
    pub fn accepts(self) -> Accepts {
        match self {
            Self::Plaintext | Self::Identified => Accepts::Plaintext,
            Self::Permissive | Self::Encrypting => Accepts::Both,
            Self::Strict => Accepts::Mtls,
        }
    }

    /// What outbounds open.
    #[must_use]
    pub fn opens(self) -> Opens {
        match self {
            Self::Plaintext | Self::Identified | Self::Permissive => Opens::Plaintext,
            Self::Encrypting | Self::Strict => Opens::Mtls,
        }
    }

    /// Whether proxies are given a certificate and whom to trust.
    #[must_use]
    pub fn has_identities(self) -> bool {
        self != Self::Plaintext
    }

    /// The next posture on the way to `to`; `None` where that is this one.
    #[must_use]
    pub fn towards(self, to: Self) -> Option<Self> {
        let here = self as usize;
        let there = match self.cmp(&to) {
            std::cmp::Ordering::Less => here + 1,
            std::cmp::Ordering::Equal => return None,
            std::cmp::Ordering::Greater => here - 1,
        };
        Self::ALL.get(there).copied()
    }
}

impl fmt::Display for Posture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What proxies are told in four parts that change at different times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Part {
    /// Whom to trust: the secret `mesh_ca`.
    Bundle,
    /// Who they are: the secret `identity_cert`.
    Leaf,
    /// What their inbounds accept: their listeners.
    Inbounds,
    /// What their outbounds open: their clusters.
    Outbounds,
}

impl Part {
    /// Every part.
    pub const ALL: [Self; 4] = [Self::Bundle, Self::Leaf, Self::Inbounds, Self::Outbounds];

    /// The part in words.
    #[must_use]
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Bundle => "the trust bundle",
            Self::Leaf => "a leaf of the signing authority",
            Self::Inbounds => "what its inbounds accept",
            Self::Outbounds => "what its outbounds open",
        }
    }

    /// The part in words, where several proxies have it.
    #[must_use]
    pub fn of_several(self) -> &'static str {
        match self {
            Self::Inbounds => "what their inbounds accept",
            Self::Outbounds => "what their outbounds open",
            part => part.in_words(),
        }
    }
}

/// From what to what a transition goes, in words: one that is reverted goes back.
#[must_use]
pub fn way(from: &str, to: &str) -> String {
    if from == to {
        format!("back to {to}")
    } else {
        format!("from {from} to {to}")
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Bundle => "bundle",
            Self::Leaf => "leaf",
            Self::Inbounds => "inbounds",
            Self::Outbounds => "outbounds",
        })
    }
}

/// By part, how often it has changed for all of a mesh: rises, never falls, not
/// even where the mesh is deleted and another one of its name is created.
/// A proxy that acknowledged a mark uses nothing older, however often a part
/// went back and forth. Digests could not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Marks {
    /// Of [`Part::Bundle`].
    pub bundle: u64,
    /// Of [`Part::Leaf`].
    pub leaf: u64,
    /// Of [`Part::Inbounds`].
    pub inbounds: u64,
    /// Of [`Part::Outbounds`].
    pub outbounds: u64,
}

impl Marks {
    /// The mark of a part.
    #[must_use]
    pub fn of(&self, part: Part) -> u64 {
        match part {
            Part::Bundle => self.bundle,
            Part::Leaf => self.leaf,
            Part::Inbounds => self.inbounds,
            Part::Outbounds => self.outbounds,
        }
    }

    /// The mark of a part, to change it.
    pub fn of_mut(&mut self, part: Part) -> &mut u64 {
        match part {
            Part::Bundle => &mut self.bundle,
            Part::Leaf => &mut self.leaf,
            Part::Inbounds => &mut self.inbounds,
            Part::Outbounds => &mut self.outbounds,
        }
    }
}

/// How the mTLS of a mesh stands. Kept with the mesh, so that a transition
/// goes on after a crash from nothing but the store and the evidence.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// How connections are secured now.
    pub posture: Posture,
    /// How often each part has changed.
    #[serde(default)]
    pub marks: Marks,
    /// The mark of [`Part::Leaf`] under which connections were last made to
    /// end, so that none is left that was authenticated under an older one.
    #[serde(default)]
    pub drained: u64,
    /// How often Dataplanes of the mesh were deleted: whoever sees it rise may
    /// have missed that one was deleted and is back.
    #[serde(default)]
    pub deletions: u64,
    /// How transitions are carried out: what the mesh says, completed by the
    /// repository's policy.
    #[serde(default)]
    pub rules: Rules,
    /// The transition that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transition: Option<Transition>,
}

impl Progress {
    /// That of a mesh that is created in a store of this generation. What it counts
    /// begins above all that one of its name had before, for no write raises it by
    /// as much.
    #[must_use]
    pub fn born_in(store: Generation) -> Self {
        let first = store.0 << 16;
        Self {
            marks: Marks {
                bundle: first,
                leaf: first,
                inbounds: first,
                outbounds: first,
            },
            drained: first,
            deletions: first,
            ..Self::default()
        }
    }
}

/// [`TransitionSettings`] without a gap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rules {
    /// How a change of CA is carried out.
    pub strategy: Strategy,
    /// How long a gate waits before the transition is stalled.
    pub ack_timeout: HumanDuration,
    /// What a gate does about proxies that are known but not connected.
    pub offline: Offline,
    /// The phase to stop before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Phase>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            strategy: Strategy::Rolling,
            ack_timeout: HumanDuration::from(Duration::from_mins(5)),
            offline: Offline::Block,
            hold: None,
        }
    }
}

impl Rules {
    /// The rules that settings make with the defaults.
    #[must_use]
    pub fn of(settings: &TransitionSettings) -> Self {
        let default = Self::default();
        Self {
            strategy: settings.strategy.unwrap_or(default.strategy),
            ack_timeout: settings.ack_timeout.unwrap_or(default.ack_timeout),
            offline: settings.offline.unwrap_or(default.offline),
            hold: settings.hold,
        }
    }
}

/// A transition that runs: what people want to know of it. What comes next
/// follows from the mesh, never from this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Transition {
    /// What the mesh had when it began, in words.
    pub from: String,
    /// What it is to have, in words.
    pub to: String,
    /// The revision that asked for it last; `None` for a call of the API and
    /// for what Windlass does by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<Revision>,
    /// When it began.
    pub started: Timestamp,
    /// The phase that it is in: the one of the last step.
    pub phase: Phase,
    /// Since when it is in that phase.
    pub since: Timestamp,
    /// Since when inbounds accept plaintext that are to require mTLS before
    /// and after: the plaintext window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plaintext_since: Option<Timestamp>,
    /// The dataplanes that someone said to go on without.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub approved: BTreeSet<ResourceName>,
}

impl Transition {
    /// The dataplanes that someone said to go on without on the way to `to`:
    /// an approval is for one goal.
    #[must_use]
    pub fn approved_for(&self, to: &str) -> &BTreeSet<ResourceName> {
        static NOBODY: BTreeSet<ResourceName> = BTreeSet::new();
        if self.to == to {
            &self.approved
        } else {
            &NOBODY
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_posture_after_the_other_and_never_what_nobody_understands() {
        let mut posture = Posture::Plaintext;
        let mut path = vec![posture];
        while let Some(next) = posture.towards(Posture::Strict) {
            path.push(next);
            posture = next;
        }
        assert_eq!(path, Posture::ALL);
        while let Some(next) = posture.towards(Posture::Plaintext) {
            path.push(next);
            posture = next;
        }
        assert_eq!(path.len(), 9);
        // While one proxy is a posture ahead of another, they understand each other.
        for pair in path.windows(2) {
            for (opens, accepts) in [(pair[0], pair[1]), (pair[1], pair[0])] {
                let understood = match opens.opens() {
                    Opens::Plaintext => accepts.accepts() != Accepts::Mtls,
                    Opens::Mtls => accepts.accepts() != Accepts::Plaintext,
                };
                assert!(understood, "{opens:?} to {accepts:?}");
            }
        }
    }
}
