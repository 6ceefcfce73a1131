//! How a transition of a mesh stands, for people: where it is, whom it waits
//! for and why, and when it goes on. Nothing is decided by it.

use std::time::Duration;

pub use awaited::{AwaitedProxy, Why};
pub use blocked::Obstacle;
pub use recorded::{Recorded, recorded};

use crate::ca::Issuing;
use crate::model::{
    Marks, MeshState, Part, Phase, Posture, ProxyEvidence, Revision, Rules, Strategy, Timestamp,
    Transition,
};
use crate::plan::{self, Circumstances, Risk};
use crate::transition::{Gate, Goal, Situation, Waiting, Witness, course};

mod awaited;
mod blocked;
mod recorded;
#[cfg(test)]
mod tests;

/// How a transition stands that runs, or is about to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outlook {
    /// What the mesh has noted of it.
    pub transition: Transition,
    /// How it is carried out.
    pub rules: Rules,
    /// How another authority comes to sign: what the rules say, unless none of
    /// the mesh's resources asks for it.
    pub strategy: Strategy,
    /// What it waits for; `None` while it goes on.
    pub waiting: Option<Waits>,
    /// Why it does not go on, whatever it waits for.
    pub blocked: Option<Obstacle>,
    /// How long inbounds have accepted plaintext that require mTLS before and
    /// after; `None` where they never did.
    pub plaintext: Option<Duration>,
}

/// A gate that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waits {
    /// What the machine says of it.
    pub gate: Gate,
    /// The phase that begins when it opens.
    pub before: Phase,
    /// Whether someone said to stop here, by `hold`.
    pub held: bool,
    /// The proxies that are waited for, in the order of their names.
    pub awaited: Vec<AwaitedProxy>,
    /// How many proxies it looks at.
    pub proxies: usize,
    /// Where it waits for leaves: how many are acknowledged, and of how many.
    pub leaves: Option<(usize, usize)>,
    /// When it opens, where that can be told.
    pub eta: Option<Timestamp>,
    /// Since when it waits longer than it should.
    pub stalled_since: Option<Timestamp>,
}

/// A step that is yet to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remaining {
    /// What is done.
    pub summary: String,
    /// What is waited for before.
    pub waits_for: Option<String>,
    /// What it may cost.
    pub risk: Risk,
}

impl Outlook {
    /// The transition of a mesh that runs or, where none does and its resources
    /// ask for one that has to wait, is about to.
    #[must_use]
    pub fn of(mesh: &MeshState, given: Circumstances<'_>) -> Option<Self> {
        if let Some(running) = Self::running(mesh, given) {
            return Some(running);
        }
        let begun = plan::advance(mesh, given)?.progress.transition?;
        Some(Self::from(mesh, begun, given))
    }

    /// The transition of a mesh that runs.
    #[must_use]
    pub fn running(mesh: &MeshState, given: Circumstances<'_>) -> Option<Self> {
        let transition = mesh.progress.transition.clone()?;
        Some(Self::from(mesh, transition, given))
    }

    fn from(mesh: &MeshState, transition: Transition, given: Circumstances<'_>) -> Self {
        let rules = &mesh.progress.rules;
        let witness = Witness {
            mesh,
            evidence: given.evidence,
            rules,
            approved: Some(&transition.approved),
            now: given.now,
        };
        let goal = Goal::of(mesh, given.issuing, given.now);
        let strategy = goal.as_ref().map_or(rules.strategy, |goal| goal.strategy);
        let waiting = goal.and_then(|goal| {
            let course = course(&Situation::of(mesh), &goal, &witness);
            // What is due is done in a moment; the gate after it begins to wait then.
            let waiting = course.waiting.filter(|_| course.due == 0)?;
            let scene = Scene {
                witness: &witness,
                marks: mesh.progress.marks,
                since: transition.since,
                issuing: given.issuing,
            };
            Some(scene.waits(waiting))
        });
        let plaintext = plaintext(&transition, &witness);
        Self {
            rules: rules.clone(),
            strategy,
            waiting,
            blocked: Obstacle::of(mesh, &transition, given),
            plaintext,
            transition,
        }
    }

    /// Since when it stands still though someone should act.
    #[must_use]
    pub fn stalled_since(&self) -> Option<Timestamp> {
        let blocked = self.blocked.as_ref().map(|it| it.since);
        let waits = self.waiting.as_ref().and_then(|it| it.stalled_since);
        [blocked, waits].into_iter().flatten().min()
    }

    /// Whether someone said to stop here, by `hold`.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.waiting.as_ref().is_some_and(|waits| waits.held)
    }

    /// The proxies that are waited for, in the order of their names.
    #[must_use]
    pub fn awaited(&self) -> &[AwaitedProxy] {
        let waits = self.waiting.as_ref();
        waits.map_or(&[], |waits| waits.awaited.as_slice())
    }

    /// The revision that asked for it last.
    #[must_use]
    pub fn revision(&self) -> Option<&Revision> {
        self.transition.revision.as_ref()
    }
}

/// The steps of a mesh to where its resources want it.
#[must_use]
pub fn remaining(mesh: &MeshState, given: Circumstances<'_>) -> Vec<Remaining> {
    let plan = plan::advance(mesh, given);
    let steps = plan.into_iter().flat_map(|plan| plan.steps);
    steps
        .map(|step| Remaining {
            summary: step.action.to_string(),
            waits_for: step.gate_in_words(),
            risk: step.risk,
        })
        .collect()
}

/// What a gate is judged by.
struct Scene<'a> {
    witness: &'a Witness<'a>,
    /// The marks that it asks for.
    marks: Marks,
    /// Since when it waits.
    since: Timestamp,
    issuing: Issuing,
}

impl Scene<'_> {
    fn waits(&self, waiting: Waiting) -> Waits {
        let now = self.witness.now;
        let counts = |proxy: &&ProxyEvidence| self.witness.counts(proxy);
        let proxies = self.witness.proxies().filter(counts).count();
        let leaves = waiting.gate.parts.contains(&Part::Leaf);
        let leaves = leaves.then(|| self.leaves());
        let pace = |(acknowledged, all): (usize, usize)| {
            let rate = self.issuing.reissue_rate.get();
            let left = u32::try_from(all - acknowledged).unwrap_or(u32::MAX);
            Duration::from_secs(u64::from(left.div_ceil(rate)))
        };
        // Leaves that are reissued one after the other are waited for as long as that takes.
        let all = leaves.map_or(Duration::ZERO, |(_, all)| pace((0, all)));
        let timeout = self.witness.rules.ack_timeout.0;
        let stalls = self.since + timeout + all;
        let awaited = waiting.awaited.into_iter();
        let awaited: Vec<_> = awaited.filter_map(|it| self.awaited(it)).collect();
        let runs = |it: &AwaitedProxy| matches!(it.why, Why::Draining);
        let is_stalled = !waiting.held && stalls <= now && !awaited.iter().all(runs);
        // Whoever takes longer is kept by something else.
        let in_time = leaves.filter(|_| now <= self.since + all);
        let reissued = in_time.map(|leaves| now + pace(leaves));
        let eta = awaited.iter().map(|it| match it.why {
            Why::Queued | Why::Silent(Part::Leaf) if !is_stalled => reissued,
            _ => it.until,
        });
        let eta = eta.collect::<Option<Vec<_>>>();
        Waits {
            gate: waiting.gate,
            before: waiting.phase,
            held: waiting.held,
            proxies: proxies.max(awaited.len()),
            leaves,
            eta: eta
                .filter(|_| !waiting.held)
                .and_then(|all| all.into_iter().max()),
            stalled_since: is_stalled.then_some(stalls),
            awaited,
        }
    }

    /// How many leaves of the authority that signs are acknowledged, of how many.
    fn leaves(&self) -> (usize, usize) {
        let holds =
            |proxy: &&ProxyEvidence| self.witness.counts(proxy) && proxy.asks.contains(&Part::Leaf);
        let (mut acknowledged, mut all) = (0, 0);
        for proxy in self.witness.proxies().filter(holds) {
            all += 1;
            acknowledged += usize::from(proxy.has_acknowledged(Part::Leaf, self.marks.leaf));
        }
        (acknowledged, all)
    }
}

/// How long inbounds have accepted plaintext in the window of a transition. It
/// closes when the last proxy requires mTLS.
fn plaintext(transition: &Transition, witness: &Witness<'_>) -> Option<Duration> {
    let since = transition.plaintext_since?;
    let progress = &witness.mesh.progress;
    let closed = progress.posture == Posture::Strict
        && witness.awaited(Gate::INBOUNDS, &progress.marks).is_empty();
    let until = if closed {
        let mark = progress.marks.inbounds;
        let requires = |proxy: &&ProxyEvidence| proxy.has_acknowledged(Part::Inbounds, mark);
        let proxies = witness.proxies().filter(requires);
        let last = proxies.filter_map(|proxy| Some(proxy.acknowledged.get(&Part::Inbounds)?.at));
        last.max().unwrap_or(transition.since)
    } else {
        witness.now
    };
    Some(until.since(since))
}
