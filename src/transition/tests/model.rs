//! The machine, checked exhaustively: the real [`crate::transition`] and the
//! real [`crate::store::admission`] take a mesh through every interleaving of
//! what may happen to it and its proxies, within the bounds of each run.
//!
//! Proxies are servers and clients of each other, and use what they are given
//! in any order, late, or never. What they have acknowledged is known in memory
//! and, later, in the store; a crash loses the difference. Marks are only ever
//! compared with the present ones, so older ones are alike. An acknowledgement
//! that is late but not lost is one after which the machine takes its time.
//! States that differ only in which proxy is which are one.
//!
//! Explored are, with two proxies: commits and reverts with anything that goes
//! wrong to proxies; crashes with commits, with reverts and after a rejection, these
//! two of proxies that ask for secrets from the beginning; a
//! Dataplane that is deleted and comes back; `offline: ignore`. With three:
//! commits and reverts with one thing that goes wrong, and one that joins two
//! where nothing does. Not explored are approvals (an approved proxy is one that
//! is away for long, as far as the machine goes), crashes beside what proxies do
//! other than rejecting, roots that end, several replicas (the evidence that they
//! share is one here), and what becomes of a proxy between being given up, by
//! its deletion or by `offline: ignore`, and having all again: nothing is promised.
//!
//! What the machine takes for granted of the server of xDS is a [`Fault`] too,
//! each with a test that the model finds it: that a connection is on record
//! before anything is given on it, that nothing is given that is older than the
//! store was then, and that a proxy that drops a secret has to acknowledge it
//! anew.
//!
//! `WINDLASS_MODEL=commits=3,troubles=2` runs all with other bounds: they are
//! `proxies`, `joining`, `eager`, `commits`, `troubles`, `lags`, `crashes` (1:
//! nothing else goes wrong, 2: but a rejection before), `deletes` and `rogue`, each a number.

mod judge;
mod past;
mod proxy;
mod runs;
mod world;

use std::cell::RefCell;
use std::collections::HashMap;

use stateright::{Model, Property};

use self::judge::{Fault, Outcome, Planned};
use self::proxy::{Contents, Life, MTLS, PLAIN, Proxy, contents};
use self::world::{Ca, PROXIES, Rows, Slot, Stored, Wants};
use crate::model::{Part, Posture};
use crate::transition::Move;

/// What a run looks at.
#[derive(Debug, Clone)]
struct Run {
    /// How many proxies are there from the start, and how many join.
    proxies: usize,
    joining: usize,
    /// How many of them ask for secrets from the beginning.
    eager: usize,
    /// How it starts, and what may be committed.
    starts: Vec<Wants>,
    wants: Vec<Wants>,
    commits: u8,
    /// How often something goes wrong.
    troubles: u8,
    /// Whether the store may know less than the memory, which a crash loses.
    lags: bool,
    wrong: Wrong,
    /// Whether Dataplanes are deleted, too.
    deletes: bool,
    /// Whether someone writes whatever admission lets pass.
    rogue: bool,
    fault: Fault,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrong {
    Anything,
    Crashes,
    CrashesAfterRejections,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Broken {
    /// Connections of an authority were not drained before it was withdrawn.
    Lingering,
    /// The store refused what was planned with fresh evidence.
    Refused,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct State {
    stored: Stored,
    /// What was given before the last write, where that matters.
    before: Option<Contents>,
    proxies: [Proxy; PROXIES],
    /// Whether plaintext was announced, and not all of it is gone.
    announced: bool,
    commits: u8,
    troubles: u8,
    broken: Option<Broken>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Act {
    /// The leader does what is due.
    Lead,
    /// Another leader that has read something older tries its next stage.
    PressOn,
    /// Someone writes what admission lets pass.
    Rogue(usize),
    Commit(usize),
    Deliver(usize, Part),
    Feed(usize, Part),
    DrainIsOver(usize),
    Connect(usize),
    Flush,
    Expire(usize),
    StayAway(usize),
    // What goes wrong.
    Delete(usize),
    Reject(usize, Part),
    LoseAck(usize, Part),
    Leave(usize),
    Restart(usize),
    Crash,
}

impl State {
    fn rows(&self, run: &Run, stored: bool) -> Rows {
        let mut rows = Rows::default();
        for (row, proxy) in rows.iter_mut().zip(&self.proxies) {
            let known = if stored { proxy.stored } else { proxy.board };
            *row = proxy.seen(known, &self.stored, run.fault);
        }
        rows
    }

    fn take(&mut self, outcome: &Outcome, run: &Run) {
        let posture = self.stored.posture;
        for step in &outcome.moves {
            let withdrawn = matches!(step, Move::Withdraw(_)) && posture != Posture::Plaintext;
            let gone = self.stored.bundle() & !outcome.stored.bundle();
            let gone = gone & self.stored.mask(|slot| *slot == Slot::Retiring);
            let lingers = |it: &Proxy| it.counts && it.connections().0 & gone != 0;
            if withdrawn && self.proxies.iter().any(lingers) {
                self.broken = Some(Broken::Lingering);
            }
        }
        if run.fault == Fault::Behind {
            self.before = Some(contents(&self.stored));
        }
        self.stored = outcome.stored;
        let drains = outcome.moves.contains(&Move::Drain);
        for proxy in &mut self.proxies {
            if proxy.life != Life::Never {
                proxy.raise(outcome.raised, drains, &self.stored);
            }
        }
    }

    fn lead(&mut self, run: &Run) -> bool {
        self.proxies.iter_mut().for_each(Proxy::flush);
        let rows = self.rows(run, true);
        match &*judge::plan(&self.stored, &rows, run.fault) {
            Planned::There | Planned::Waits => return false,
            // What someone else did may be undone a little later only.
            Planned::Refused if run.rogue => return false,
            Planned::Refused => self.broken = Some(Broken::Refused),
            Planned::Does(outcome) => self.take(outcome, run),
        }
        true
    }

    fn connect(&mut self, index: usize, run: &Run) {
        let contents = self.before.unwrap_or_else(|| contents(&self.stored));
        self.proxies[index].connect(contents, run.fault);
    }

    /// What follows by itself, and the same state for what cannot be told apart.
    fn settle(&mut self, run: &Run) {
        for client in 0..PROXIES {
            for server in (0..PROXIES).filter(|server| *server != client) {
                let (one, other) = (self.proxies[client], &mut self.proxies[server]);
                if one.counts
                    && other.counts
                    && let Ok(authorities) = one.reaches(other)
                {
                    other.accepted(authorities);
                }
            }
        }
        for proxy in &mut self.proxies {
            proxy.forget(&self.stored);
            if !run.lags {
                proxy.flush();
            }
        }
        if self.stored.posture == Posture::Strict
            && !self.proxies.iter().any(Proxy::may_be_plain)
            && judge::goal(&self.stored) == Some(Posture::Strict)
        {
            self.announced = false;
        }
        self.proxies.sort_unstable();
    }

    fn pairs(&self) -> impl Iterator<Item = (&Proxy, &Proxy)> {
        let counting = || self.proxies.iter().enumerate().filter(|(_, it)| it.counts);
        counting().flat_map(move |(client, one)| {
            let others = counting().filter(move |(server, _)| *server != client);
            others.map(move |(_, other)| (one, other))
        })
    }

    /// Whether the goal is reached when everyone does as told from now on.
    fn ends_well(&self, run: &Run) -> bool {
        let mut state = *self;
        state.troubles = 0;
        state.commits = 0;
        for _ in 0..40 {
            state.cooperate(run);
            if let Some(known) = ENDS.with_borrow(|ends| ends.get(&state).copied()) {
                ENDS.with_borrow_mut(|ends| ends.insert(*self, known));
                return known;
            }
            let rows = state.rows(run, true);
            if *judge::plan(&state.stored, &rows, run.fault) == Planned::There {
                ENDS.with_borrow_mut(|ends| ends.insert(state, true));
                return true;
            }
            if !state.lead(run) {
                break;
            }
            if state.broken.is_some() {
                return true;
            }
        }
        false
    }

    fn cooperate(&mut self, run: &Run) {
        for index in 0..PROXIES {
            let proxy = &mut self.proxies[index];
            if proxy.life == Life::Never {
                continue;
            }
            if proxy.life == Life::Connected {
                proxy.leave();
            }
            self.before = None;
            self.connect(index, run);
            let proxy = &mut self.proxies[index];
            for _ in 0..3 {
                for part in Part::ALL {
                    if proxy.lags(part) {
                        proxy.feed(part, &self.stored);
                    }
                    if proxy.takes(part) {
                        proxy.deliver(part, &self.stored, run.fault);
                    }
                }
            }
            if proxy.drains() {
                proxy.drained();
            }
            proxy.flush();
        }
        self.settle(run);
    }
}

thread_local! {
    static ENDS: RefCell<HashMap<State, bool>> = RefCell::default();
}

impl Model for Run {
    type State = State;
    type Action = Act;

    fn init_states(&self) -> Vec<State> {
        let starts = self.starts.iter().map(|wants| {
            let stored = Stored {
                posture: if wants.enabled {
                    Posture::Strict
                } else {
                    Posture::Plaintext
                },
                drained: true,
                unconfirmed: false,
                slots: [Slot::Active, Slot::Absent, Slot::Absent, Slot::Absent],
                wants: *wants,
            };
            let proxies = std::array::from_fn(|index| {
                let eager = index < self.eager;
                if index < self.proxies {
                    Proxy::settled(eager, &stored)
                } else {
                    Proxy::unknown(eager)
                }
            });
            let mut state = State {
                stored,
                before: None,
                proxies,
                announced: !wants.enabled,
                commits: self.commits,
                troubles: self.troubles,
                broken: None,
            };
            state.settle(self);
            state
        });
        starts.collect()
    }

    fn actions(&self, state: &State, actions: &mut Vec<Act>) {
        if state.broken.is_some() {
            return;
        }
        actions.push(Act::Lead);
        if self.lags {
            actions.extend([Act::PressOn, Act::Flush]);
        }
        if self.rogue {
            let allowed = judge::allowed(&state.stored, &state.rows(self, true), self.fault);
            actions.extend((0..allowed.len()).map(Act::Rogue));
        }
        if state.commits > 0 {
            actions.extend((0..self.wants.len()).map(Act::Commit));
        }
        let wrong = state.troubles > 0;
        // The last thing that goes wrong.
        let after = self.wrong != Wrong::CrashesAfterRejections || state.troubles == 1;
        if wrong && self.lags && after {
            actions.push(Act::Crash);
        }
        let rejects = match self.wrong {
            Wrong::Anything => wrong,
            Wrong::Crashes => false,
            Wrong::CrashesAfterRejections => state.troubles > 1,
        };
        let wrong = wrong && self.wrong == Wrong::Anything;
        let mut joins = state.proxies.iter().filter(|it| it.life == Life::Never);
        let may_join = joins.clone().count() > PROXIES - self.proxies - self.joining;
        for (index, proxy) in state.proxies.iter().enumerate() {
            if wrong && self.deletes && proxy.board.known {
                actions.push(Act::Delete(index));
            }
            match proxy.life {
                // Of those that are alike, one.
                Life::Never => {
                    if may_join && joins.next().is_some_and(|it| std::ptr::eq(it, proxy)) {
                        actions.push(Act::Connect(index));
                    }
                    continue;
                }
                Life::Away => {
                    actions.push(Act::Connect(index));
                    if proxy.board.holds {
                        actions.push(Act::Expire(index));
                    }
                    if state.stored.wants.ignores && proxy.board.holds && !proxy.board.long {
                        actions.push(Act::StayAway(index));
                    }
                }
                Life::Connected if wrong => {
                    actions.push(Act::Leave(index));
                    actions.push(Act::Restart(index));
                }
                Life::Connected => {}
            }
            if proxy.drains() && state.stored.drained && state.stored.has(Slot::Retiring) {
                actions.push(Act::DrainIsOver(index));
            }
            for part in Part::ALL {
                if proxy.takes(part) {
                    actions.push(Act::Deliver(index, part));
                    if rejects {
                        actions.push(Act::Reject(index, part));
                    }
                    if wrong {
                        actions.push(Act::LoseAck(index, part));
                    }
                }
                if proxy.lags(part) {
                    actions.push(Act::Feed(index, part));
                }
            }
        }
    }

    fn next_state(&self, before: &State, act: Act) -> Option<State> {
        let mut state = *before;
        match act {
            Act::Lead => {
                if !state.lead(self) {
                    return None;
                }
            }
            Act::PressOn => {
                let rows = state.rows(self, true);
                let outcome = judge::press_on(&state.stored, &rows, self.fault)?;
                state.take(&outcome, self);
            }
            Act::Rogue(index) => {
                let rows = state.rows(self, true);
                let allowed = judge::allowed(&state.stored, &rows, self.fault);
                state.take(&allowed[index], self);
            }
            Act::Commit(index) => {
                state.commits -= 1;
                state.stored.wants = self.wants[index];
                let goal = judge::goal(&state.stored)?;
                state.announced |= goal == Posture::Plaintext;
            }
            Act::Deliver(index, part) => {
                state.proxies[index].deliver(part, &state.stored, self.fault);
            }
            Act::Feed(index, part) => state.proxies[index].feed(part, &state.stored),
            Act::DrainIsOver(index) => state.proxies[index].drained(),
            Act::Connect(index) => state.connect(index, self),
            Act::Flush => state.proxies.iter_mut().for_each(Proxy::flush),
            Act::Expire(index) => state.proxies[index].expires(),
            Act::StayAway(index) => state.proxies[index].stays_away(),
            Act::Delete(index) => {
                state.troubles -= 1;
                state.proxies[index].deleted();
            }
            Act::Reject(index, part) => {
                state.troubles -= 1;
                state.proxies[index].reject(part, &state.stored, self.fault);
            }
            Act::LoseAck(index, part) => {
                state.troubles -= 1;
                state.proxies[index].apply(part, self.fault);
                state.proxies[index].leave();
            }
            Act::Leave(index) => {
                state.troubles -= 1;
                state.proxies[index].leave();
            }
            Act::Restart(index) => {
                state.troubles -= 1;
                state.proxies[index].leave();
                state.proxies[index].restart();
                state.connect(index, self);
            }
            Act::Crash => {
                state.troubles -= 1;
                let known = state.proxies.iter_mut();
                known
                    .filter(|it| it.life != Life::Never)
                    .for_each(Proxy::crash);
            }
        }
        state.settle(self);
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::<Self>::always("whoever counts reaches whoever counts", |_, state| {
                state
                    .pairs()
                    .all(|(client, server)| client.reaches(server).is_ok())
            }),
            Property::<Self>::always("no plaintext that was not announced", |_, state| {
                let plain = |it: &Proxy| it.counts && (it.opens() == PLAIN || it.accepts() != MTLS);
                state.announced || !state.proxies.iter().any(plain)
            }),
            Property::<Self>::always("no connection outlives its authority", |_, state| {
                let trusted = state.stored.bundle();
                let outlives = |it: &Proxy| it.counts && it.connections().1 & !trusted != 0;
                state.broken != Some(Broken::Lingering) && !state.proxies.iter().any(outlives)
            }),
            Property::<Self>::always("the store admits what is planned", |_, state| {
                state.broken != Some(Broken::Refused)
            }),
            Property::<Self>::always("the goal can still be reached", |run, state| {
                state.broken.is_some() || state.ends_well(run)
            }),
        ];
        let changes = |wants: &Wants| wants.ca != Ca::Builtin;
        if self.fault == Fault::None && self.wants.iter().any(changes) {
            properties.extend(past::milestones());
        }
        let opens = |wants: &Wants| !wants.enabled || wants.disable_first;
        if self.fault == Fault::None && self.wants.iter().any(opens) {
            properties.extend(past::postures());
        }
        properties
    }
}
