//! A proxy: what it uses, what is on its way to it, and what is known of it.

use super::judge::Fault;
use super::world::{Row, Slot, Stored, bit};
use crate::model::{Accepts, Opens, Part};

/// By [`Part`], something to be given to a proxy; 0 is nothing. A bundle is a
/// mask of slots and a leaf 1 more than a slot.
pub(super) type Contents = [u8; 4];

pub(super) const PLAIN: u8 = 1;
pub(super) const BOTH: u8 = 2;
pub(super) const MTLS: u8 = 3;
/// Inbounds whose connections an earlier filter chain has accepted.
const OLD_CHAIN: u8 = 4;

const BUNDLE: usize = Part::Bundle as usize;
const LEAF: usize = Part::Leaf as usize;
const INBOUNDS: usize = Part::Inbounds as usize;
const OUTBOUNDS: usize = Part::Outbounds as usize;
const SECRETS: u8 = bit(Part::Bundle) | bit(Part::Leaf);
const CONFIGURATION: u8 = bit(Part::Inbounds) | bit(Part::Outbounds);

/// What the mesh gives everyone now.
pub(super) fn contents(stored: &Stored) -> Contents {
    let given = |content| {
        if stored.posture.has_identities() {
            content
        } else {
            0
        }
    };
    [
        given(stored.bundle()),
        given(stored.issuer()),
        match stored.posture.accepts() {
            Accepts::Plaintext => PLAIN,
            Accepts::Both => BOTH,
            Accepts::Mtls => MTLS,
        },
        match stored.posture.opens() {
            Opens::Plaintext => PLAIN,
            Opens::Mtls => MTLS,
        },
    ]
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(super) enum Life {
    /// It has never connected.
    #[default]
    Never,
    Connected,
    /// It goes on with what it has.
    Away,
}

/// One proxy. It is a client and a server of every other one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(super) struct Proxy {
    /// Whether it asks for secrets from the beginning; others do once a
    /// listener or a cluster names them.
    pub(super) eager: bool,
    pub(super) life: Life,
    /// Whether its connections must not fail: since it had all that it asked
    /// for, until it is away without a leaf that has not ended.
    pub(super) counts: bool,
    /// Whether it was given up and goes on with what it had: it counts again
    /// once it has answered to all that it is sent.
    behind: bool,
    /// What it was configured with last.
    uses: Contents,
    /// What its inbounds accept and its outbounds open. Differs while a
    /// listener or a cluster waits for the secrets that it names.
    live: [u8; 2],
    /// What was sent last, or will be where it asks.
    sent: Contents,
    /// Whether that is of the present mark.
    current: u8,
    /// Whether it has not answered to it yet.
    flight: u8,
    /// What it rejected, of the present mark.
    rejected: u8,
    /// The authorities of the connections that it has accepted.
    connections: u8,
    /// Of those that end when the time of the drain is over.
    draining: u8,
    /// What is known of it in memory.
    pub(super) board: Row,
    /// What the store knows.
    pub(super) stored: Row,
}

impl Proxy {
    /// One that has never connected.
    pub(super) fn unknown(eager: bool) -> Self {
        Self {
            eager,
            ..Self::default()
        }
    }

    /// One that has what the mesh gives.
    pub(super) fn settled(eager: bool, stored: &Stored) -> Self {
        let mut proxy = Self::unknown(eager);
        proxy.connect(contents(stored), Fault::None);
        for _ in 0..2 {
            for part in Part::ALL {
                if proxy.takes(part) {
                    proxy.deliver(part, stored, Fault::None);
                }
            }
        }
        for part in Part::ALL {
            proxy.feed(part, stored);
        }
        proxy.flush();
        proxy
    }

    pub(super) fn accepts(&self) -> u8 {
        self.live[0] & !OLD_CHAIN
    }

    pub(super) fn opens(&self) -> u8 {
        self.live[1]
    }

    /// Whether it uses plaintext, or may once it has what is sent to it.
    pub(super) fn may_be_plain(&self) -> bool {
        let inbounds = [self.live[0], self.uses[INBOUNDS], self.sent[INBOUNDS]];
        let outbounds = [self.live[1], self.uses[OUTBOUNDS], self.sent[OUTBOUNDS]];
        let plain = |content: &u8| !matches!(content & !OLD_CHAIN, 0 | MTLS);
        (self.counts || self.life == Life::Connected)
            && inbounds.iter().chain(&outbounds).any(plain)
    }

    fn asks(&self, part: Part) -> bool {
        bit(part) & CONFIGURATION != 0 || self.board.asks
    }

    /// Whether `self` as a client and `server` understand each other, and by
    /// which authorities.
    pub(super) fn reaches(&self, server: &Self) -> Result<u8, ()> {
        if self.opens() == PLAIN {
            return if server.accepts() == MTLS {
                Err(())
            } else {
                Ok(0)
            };
        }
        let trusts = |one: &Self, other: &Self| {
            let issuer = other.uses[LEAF].checked_sub(1);
            issuer.is_some_and(|slot| one.uses[BUNDLE] & 1 << slot != 0)
        };
        let secured = server.accepts() >= BOTH && trusts(self, server) && trusts(server, self);
        let mask = |one: &Self| 1 << (one.uses[LEAF] - 1);
        if secured {
            Ok(mask(self) | mask(server))
        } else {
            Err(())
        }
    }

    pub(super) fn accepted(&mut self, authorities: u8) {
        self.connections |= authorities;
    }

    /// Keeps of the connections what may still matter.
    pub(super) fn forget(&mut self, stored: &Stored) {
        if !stored.has(Slot::Retiring) {
            self.draining = 0;
        }
        let there = stored.mask(|slot| !matches!(slot, Slot::Absent | Slot::Revoked));
        self.connections &= there;
        self.draining &= there;
    }

    /// The authorities of the connections that it has, and of those alone that
    /// are not about to end.
    pub(super) fn connections(&self) -> (u8, u8) {
        (self.connections | self.draining, self.connections)
    }

    pub(super) fn connect(&mut self, contents: Contents, fault: Fault) {
        if !self.counts && !self.behind {
            self.restart();
        }
        self.life = Life::Connected;
        let row = &mut self.board;
        row.known = true;
        row.connected = true;
        row.long = false;
        row.asks |= self.eager;
        self.sent = contents;
        self.current = CONFIGURATION | SECRETS;
        if fault == Fault::Behind {
            self.current = 0;
        }
        row.offered = self.current & SECRETS;
        self.rejected = 0;
        self.flight = 0;
        for part in Part::ALL {
            self.send(part);
        }
        if fault != Fault::RecordedWithLeaf {
            self.flush();
        }
    }

    /// Sends what it has not, where it asks for it.
    fn send(&mut self, part: Part) {
        let content = self.sent[part as usize];
        let is_known = self.board.acked & bit(part) != 0;
        let has = is_known && self.uses[part as usize] == content;
        if self.asks(part) && content != 0 && !has {
            self.flight |= bit(part);
            if part == Part::Leaf {
                // Before it is handed a leaf, that is on record.
                self.board.holds = true;
                if self.stored.known {
                    self.stored.holds = true;
                    self.stored.connected = true;
                    self.stored.asks = true;
                } else {
                    self.flush();
                }
            }
        }
    }

    /// Whether something is on its way to it that it may answer to.
    pub(super) fn takes(&self, part: Part) -> bool {
        self.life == Life::Connected && self.flight & !self.rejected & bit(part) != 0
    }

    /// Whether what is sent is not the present.
    pub(super) fn lags(&self, part: Part) -> bool {
        self.life == Life::Connected && self.current & bit(part) == 0
    }

    /// What is sent becomes the present.
    pub(super) fn feed(&mut self, part: Part, stored: &Stored) {
        self.sent[part as usize] = contents(stored)[part as usize];
        self.current |= bit(part);
        self.rejected &= !bit(part);
        self.board.offered |= bit(part) & SECRETS;
        self.flight &= !bit(part);
        self.send(part);
    }

    /// It uses what was sent.
    pub(super) fn apply(&mut self, part: Part, fault: Fault) {
        self.uses[part as usize] = self.sent[part as usize];
        self.warm(fault);
    }

    /// It uses what was sent, and says so.
    pub(super) fn deliver(&mut self, part: Part, stored: &Stored, fault: Fault) {
        self.apply(part, fault);
        if part == Part::Leaf {
            self.board.issuer = self.uses[LEAF];
        }
        self.answered(part, stored);
        if self.life == Life::Connected && self.has_all() {
            self.counts = true;
            self.behind = false;
        }
    }

    fn answered(&mut self, part: Part, stored: &Stored) {
        self.flight &= !bit(part);
        if !self.asks(part) {
            // It dropped it at once.
        } else if self.current & bit(part) == 0 {
            self.feed(part, stored);
        } else if self.board.acked & bit(part) == 0 {
            self.board.acked |= bit(part);
            if part == Part::Inbounds {
                self.board.over = false;
            }
        }
    }

    /// It keeps what it has, and says so.
    pub(super) fn reject(&mut self, part: Part, stored: &Stored, fault: Fault) {
        if fault == Fault::RejectedCounts {
            return self.answered(part, stored);
        }
        if self.current & bit(part) == 0 {
            self.feed(part, stored);
        } else {
            self.rejected |= bit(part);
        }
    }

    fn has_all(&self) -> bool {
        let secrets = !self.board.asks || self.sent[LEAF] == 0 || self.has_secrets();
        let live = self.live[0] == self.uses[INBOUNDS] && self.live[1] == self.uses[OUTBOUNDS];
        let is_abreast =
            !self.behind || self.flight == 0 && self.current == CONFIGURATION | SECRETS;
        secrets && live && !self.live.contains(&0) && is_abreast
    }

    fn has_secrets(&self) -> bool {
        self.uses[BUNDLE] != 0 && self.uses[LEAF] != 0
    }

    /// Listeners and clusters wait for the secrets that they name; what names
    /// none lets them go.
    fn warm(&mut self, fault: Fault) {
        let secured = |content: u8| content & !OLD_CHAIN >= BOTH;
        let configured = [self.uses[INBOUNDS], self.uses[OUTBOUNDS]];
        if configured.into_iter().any(secured) && !self.board.asks {
            self.board.asks = true;
            self.send(Part::Bundle);
            self.send(Part::Leaf);
        }
        for (index, content) in configured.into_iter().enumerate() {
            if !secured(content) || self.has_secrets() {
                if index == 0 {
                    self.replace_chain(content);
                }
                self.live[index] = content;
            }
        }
        let named = configured.into_iter().chain(self.live).any(secured);
        if !self.eager && !named && self.board.asks {
            self.board.asks = false;
            self.uses[BUNDLE] = 0;
            self.uses[LEAF] = 0;
            self.flight &= !SECRETS;
            if fault != Fault::DroppedCounts {
                self.board.acked &= !SECRETS;
            }
        }
    }

    fn replace_chain(&mut self, content: u8) {
        let old = self.live[0] & OLD_CHAIN != 0 && content & OLD_CHAIN == 0;
        if old || content == PLAIN {
            self.draining |= self.connections;
            self.connections = 0;
        }
    }

    /// The marks of `raised` were raised.
    pub(super) fn raise(&mut self, raised: u8, drains: bool, stored: &Stored) {
        if drains {
            let inbounds = [
                &mut self.uses[INBOUNDS],
                &mut self.live[0],
                &mut self.sent[INBOUNDS],
            ];
            for content in inbounds.into_iter().filter(|it| **it >= BOTH) {
                *content |= OLD_CHAIN;
            }
        }
        let idle = !self.flight;
        self.current &= !raised;
        self.rejected &= !raised;
        for row in [&mut self.board, &mut self.stored] {
            row.acked &= !raised;
            row.offered &= !raised;
            row.over &= raised & bit(Part::Inbounds) == 0;
        }
        for part in Part::ALL
            .into_iter()
            .filter(|part| raised & bit(*part) != 0)
        {
            if self.life == Life::Connected && self.asks(part) && idle & bit(part) != 0 {
                self.feed(part, stored);
            }
        }
    }

    pub(super) fn leave(&mut self) {
        self.life = Life::Away;
        self.flight = 0;
        self.sent = Contents::default();
        self.current = 0;
        self.rejected = 0;
        let row = &mut self.board;
        row.connected = false;
        row.offered = 0;
        // It goes on in plaintext, and counts as long as if it held a leaf.
        row.holds |= !row.asks;
    }

    /// It is away for so long that nobody waits for it.
    pub(super) fn stays_away(&mut self) {
        for row in [&mut self.board, &mut self.stored] {
            row.long = true;
        }
        self.is_given_up();
    }

    /// Its Dataplane is deleted, and what is known of it with that. It goes on
    /// with what it has, and may come back under the same name.
    pub(super) fn deleted(&mut self) {
        if self.life == Life::Connected {
            self.leave();
        }
        (self.board, self.stored) = (Row::default(), Row::default());
        self.is_given_up();
    }

    /// Nobody promises that it reaches others, nor when its connections end.
    fn is_given_up(&mut self) {
        self.counts = false;
        self.behind = true;
        self.connections = 0;
        self.draining = 0;
    }

    /// The control plane forgets what is not in the store.
    pub(super) fn crash(&mut self) {
        self.board = self.stored;
        if self.life == Life::Connected {
            // Who was connected may hold one.
            self.board.holds |= self.board.connected;
            self.leave();
        }
        self.flush();
    }

    /// Its leaf ends while it is away.
    pub(super) fn expires(&mut self) {
        for row in [&mut self.board, &mut self.stored] {
            row.holds = false;
            row.issuer = 0;
        }
        self.counts = false;
        self.behind = false;
    }

    /// It starts with nothing.
    pub(super) fn restart(&mut self) {
        self.counts = false;
        self.behind = false;
        self.uses = Contents::default();
        self.live = [0; 2];
        self.connections = 0;
        self.draining = 0;
    }

    pub(super) fn flush(&mut self) {
        self.stored = self.board;
    }

    /// Whether its drain goes on, as far as is known.
    pub(super) fn drains(&self) -> bool {
        self.board.acked & bit(Part::Inbounds) != 0 && !self.board.over
    }

    /// The time of the drain is over.
    pub(super) fn drained(&mut self) {
        self.draining = 0;
        for row in [&mut self.board, &mut self.stored] {
            row.over = row.acked & bit(Part::Inbounds) != 0;
        }
    }

    /// What a broken machine takes for evidence.
    pub(super) fn seen(&self, row: Row, stored: &Stored, fault: Fault) -> Row {
        let mut row = row;
        match fault {
            Fault::Digests => {
                let contents = contents(stored);
                for part in Part::ALL {
                    let same = self.uses[part as usize] == contents[part as usize];
                    row.acked |= if same { bit(part) } else { 0 };
                }
            }
            Fault::AwayIsAbsent => row.known &= row.connected,
            Fault::AwayIsLong => row.long = !row.connected,
            _ => {}
        }
        row
    }
}
