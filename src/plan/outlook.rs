//! What a transition means as a whole, to those who review it.

use std::num::NonZeroU32;

use super::{Action, Step};
use crate::model::{DataplaneId, Phase, Posture, Progress, Strategy, Timestamp};

/// What a transition means as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outlook {
    /// What the mesh had when it began, in words.
    pub from: String,
    /// What it is to have, in words.
    pub to: String,
    /// How another authority comes to sign.
    pub strategy: Strategy,
    /// The phase that it stops before.
    pub hold: Option<Phase>,
    /// When traffic may be plaintext.
    pub plaintext: Option<Window>,
    /// The proxies whose connections Windlass cannot end: it gives them
    /// certificates, and does not configure them.
    pub undrained: Vec<DataplaneId>,
    /// The proxies that may hold a certificate and that nothing waits for.
    pub passed_over: Vec<DataplaneId>,
    /// The end of the builtin authority that Windlass replaces by itself.
    pub replaces: Option<Timestamp>,
}

/// When traffic may be plaintext that was not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The number of the step that opens it; `None` where it is open.
    pub opens: Option<u32>,
    /// Since when it is open.
    pub since: Option<Timestamp>,
    /// The number of the step that closes it; `None` where it stays open.
    pub closes: Option<u32>,
}

impl Window {
    /// The window that steps open, or close that a transition has opened.
    pub(super) fn of(steps: &[Step], current: &Progress) -> Option<Self> {
        let number_of = |wanted: &dyn Fn(Posture, Posture) -> bool| {
            let secured = steps.iter().filter_map(|step| match step.action {
                Action::Secure { from, to, .. } => Some((step.number, from, to)),
                _ => None,
            });
            let mut found = secured.filter(|(_, from, to)| wanted(*from, *to));
            found.next().map(|(number, _, _)| number)
        };
        let opens = number_of(&|from, to| from > to && to >= Posture::Permissive);
        let closes = number_of(&|from, to| from < to && to == Posture::Strict);
        let since = current
            .transition
            .as_ref()
            .and_then(|it| it.plaintext_since);
        let is_open = current.posture != Posture::Strict && since.is_some();
        (opens.is_some() || is_open).then_some(Self {
            opens: opens.filter(|_| !is_open),
            since: since.filter(|_| is_open),
            closes,
        })
    }
}

/// The leaves that a step has issued, and how fast.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reissue {
    /// The dataplanes that get one.
    pub dataplanes: Vec<DataplaneId>,
    /// The most that are issued in a second.
    pub rate: NonZeroU32,
}

impl Reissue {
    /// How long that takes at most, in seconds, where every proxy is connected.
    #[must_use]
    pub fn seconds(&self) -> u64 {
        let leaves = u64::try_from(self.dataplanes.len()).unwrap_or(u64::MAX);
        leaves.div_ceil(u64::from(self.rate.get()))
    }
}
