//! What the open streams of one proxy have shown, and what follows for the
//! proxy. Pure.
//!
//! A proxy that asks for a part on several streams uses what each of them gave
//! it, so it has acknowledged what all of them prove. Also what one gave it that
//! has ended, until a later one takes its place: an earlier one may have broken
//! unnoticed.

use std::time::Duration;

use super::record::{self, Unsaved};
use crate::model::{Acknowledgement, Marks, Part, ProxyEvidence, Timestamp};

/// Some of the parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Parts([bool; Part::ALL.len()]);

impl Parts {
    fn has(self, part: Part) -> bool {
        self.0[part as usize]
    }

    pub(super) fn set(&mut self, part: Part, has: bool) {
        self.0[part as usize] = has;
    }

    fn iter(self) -> impl Iterator<Item = Part> {
        Part::ALL.into_iter().filter(move |part| self.has(*part))
    }
}

impl FromIterator<Part> for Parts {
    fn from_iter<I: IntoIterator<Item = Part>>(parts: I) -> Self {
        let mut all = Self::default();
        for part in parts {
            all.set(part, true);
        }
        all
    }
}

/// What one stream has shown.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shown {
    pub(super) id: u64,
    /// What it subscribes to.
    pub(super) asks: Parts,
    /// By part, the newest mark that it proved.
    pub(super) proven: [Option<u64>; Part::ALL.len()],
    /// It is told nothing older.
    pub(super) offered: Marks,
    /// What was sent and has no answer.
    pub(super) unanswered: Parts,
    /// Its dataplane was deleted.
    is_forgotten: bool,
}

impl Shown {
    pub(super) fn new(id: u64, offered: Marks) -> Self {
        Self {
            id,
            asks: Parts::default(),
            proven: [None; Part::ALL.len()],
            offered,
            unanswered: Parts::default(),
            is_forgotten: false,
        }
    }

    /// Forgets what was proven of any other part.
    pub(super) fn forget_proofs_beyond(&mut self, parts: Parts) {
        for part in Part::ALL.into_iter().filter(|part| !parts.has(*part)) {
            self.proven[part as usize] = None;
        }
    }

    /// Whether it has proven a part at this mark or a later one.
    pub(super) fn has_proven(&self, part: Part, mark: u64) -> bool {
        self.proven[part as usize].is_some_and(|proven| proven >= mark)
    }
}

/// The open streams of one proxy.
#[derive(Debug, Default)]
pub(super) struct Streams {
    open: Vec<Shown>,
    last_id: u64,
    /// By part, the last stream that asked for it and has ended.
    ended: [u64; Part::ALL.len()],
    /// What it asked for on streams that ended, and may ask for again. A proxy
    /// that comes back asks for one thing after the other, and what it has not
    /// asked for yet it may still use.
    inherited: Parts,
    /// Since when something is inherited.
    inherited_since: Option<Timestamp>,
}

impl Streams {
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// A stream of the proxy begins.
    pub(super) fn begin(&mut self, evidence: &ProxyEvidence, now: Timestamp) -> Shown {
        if self.open.is_empty() {
            self.inherited = evidence.asks.iter().copied().collect();
            self.inherited_since = Some(now);
        }
        self.last_id += 1;
        let shown = Shown::new(self.last_id, evidence.offered);
        // Most proxies have one.
        self.open.reserve_exact(1);
        self.open.push(shown);
        shown
    }

    /// A stream ends.
    pub(super) fn end(&mut self, id: u64, evidence: &mut ProxyEvidence, now: Timestamp) {
        let Some(index) = self.open.iter().position(|it| it.id == id) else {
            return;
        };
        let ended = self.open.swap_remove(index);
        for part in ended.unanswered.iter() {
            record::doubt(evidence, part);
        }
        for part in ended.asks.iter() {
            let last = &mut self.ended[part as usize];
            *last = ended.id.max(*last);
            if self.asking(part).next().is_none() {
                self.inherited.set(part, true);
                self.inherited_since = Some(now);
            }
        }
        for part in Part::ALL {
            self.acknowledge(part, evidence, now);
        }
        self.offer(evidence);
    }

    /// Whether an open stream asks for a part.
    pub(super) fn asks(&self, part: Part) -> bool {
        self.asking(part).next().is_some()
    }

    /// Notes that the proxy may still use a part that another replica gave it.
    pub(super) fn inherit(&mut self, part: Part, now: Timestamp) {
        self.inherited.set(part, true);
        self.inherited_since = Some(now);
    }

    /// What was sent on other streams and has no answer.
    pub(super) fn unanswered(&self, id: u64) -> impl Iterator<Item = Part> {
        let others = self.open.iter().filter(move |it| it.id != id);
        others.flat_map(|it| it.unanswered.iter())
    }

    /// Replaces what a stream has shown. Returns whether something follows.
    pub(super) fn show(
        &mut self,
        shown: &Shown,
        evidence: &mut ProxyEvidence,
        now: Timestamp,
    ) -> Unsaved {
        let is_it = |it: &&mut Shown| it.id == shown.id && !it.is_forgotten;
        let Some(known) = self.open.iter_mut().find(is_it) else {
            return Unsaved::Nothing;
        };
        let asked = known.asks;
        *known = *shown;
        for part in shown.asks.iter() {
            // From now on this stream says whether it is still wanted.
            self.inherited.set(part, false);
        }
        let mut changed = self.note_asks(evidence);
        for part in asked.iter().filter(|part| !evidence.asks.contains(part)) {
            // It holds none any more. Should it ask again, it is given the present one.
            changed |= evidence.acknowledged.remove(&part).is_some();
        }
        for part in Part::ALL {
            changed |= self.acknowledge(part, evidence, now);
        }
        changed |= self.offer(evidence);
        if changed {
            Unsaved::Evidence
        } else {
            Unsaved::Nothing
        }
    }

    /// Whether it is to be believed that the proxy no longer uses what it has
    /// not asked for since it came back, `patience` ago: it holds all that
    /// would make it ask, or no leaf of it is good any longer.
    pub(super) fn may_settle(
        &self,
        patience: Duration,
        evidence: &ProxyEvidence,
        now: Timestamp,
    ) -> bool {
        let is_due = |since: Timestamp| since + patience <= now;
        if self.open.is_empty()
            || self.inherited == Parts::default()
            || !self.inherited_since.is_some_and(is_due)
        {
            return false;
        }
        let holds = |part: Part| {
            let mark = evidence.offered.of(part);
            let mut asking = self.asking(part).peekable();
            asking.peek().is_some() && asking.all(|it| it.has_proven(part, mark))
        };
        evidence.held_until.is_none_or(|end| end <= now)
            || (holds(Part::Inbounds) && holds(Part::Outbounds))
    }

    /// Believes it.
    pub(super) fn settle(&mut self, evidence: &mut ProxyEvidence) {
        self.inherited = Parts::default();
        self.note_asks(evidence);
    }

    /// Forgets what all streams have shown. They show nothing any more.
    pub(super) fn forget(&mut self) {
        for shown in &mut self.open {
            *shown = Shown::new(shown.id, Marks::default());
            shown.is_forgotten = true;
        }
        self.inherited = Parts::default();
    }

    fn asking(&self, part: Part) -> impl Iterator<Item = &Shown> {
        self.open.iter().filter(move |it| it.asks.has(part))
    }

    fn note_asks(&self, evidence: &mut ProxyEvidence) -> bool {
        let mut asks = self.inherited;
        for part in self.open.iter().flat_map(|it| it.asks.iter()) {
            asks.set(part, true);
        }
        let is_known = asks.iter().eq(evidence.asks.iter().copied());
        if !is_known {
            evidence.asks = asks.iter().collect();
        }
        !is_known
    }

    /// Notes what all streams that ask for a part prove. A mark never falls:
    /// whatever a later stream is given is no older.
    pub(super) fn acknowledge(
        &self,
        part: Part,
        evidence: &mut ProxyEvidence,
        now: Timestamp,
    ) -> bool {
        let newest = self.asking(part).map(|it| it.id).max();
        if newest <= Some(self.ended[part as usize]) {
            return false;
        }
        // `None` is the least.
        let proven = self.asking(part).map(|it| it.proven[part as usize]);
        let Some(mark) = proven.min().flatten() else {
            return false;
        };
        let is_new = !evidence.has_acknowledged(part, mark);
        if is_new {
            evidence
                .acknowledged
                .insert(part, Acknowledgement { mark, at: now });
        }
        is_new
    }

    fn offer(&self, evidence: &mut ProxyEvidence) -> bool {
        let mut is_new = false;
        for part in Part::ALL {
            let offered = self.open.iter().map(|it| it.offered.of(part)).min();
            let known = evidence.offered.of_mut(part);
            if let Some(offered) = offered
                && offered != *known
            {
                *known = offered;
                is_new = true;
            }
        }
        is_new
    }
}
