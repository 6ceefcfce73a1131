//! What a proxy answers, and what waits for it.

use super::{Age, Answer, Ledger, State};
use crate::xds::resource::ResourceType;
use crate::xds::session::Verdict;

impl Ledger {
    pub(in crate::xds::session) fn age(&self, nonce: &str) -> Age {
        if nonce.is_empty() {
            // It was written before the first response came.
            return Age::Newest;
        }
        match nonce.parse::<u64>() {
            Ok(0) | Err(_) => Age::Unknown,
            Ok(number) if number < self.newest => Age::Stale,
            Ok(number) if number == self.newest => Age::Newest,
            Ok(_) => Age::Unknown,
        }
    }

    /// Whether something still waits for an answer of the proxy.
    pub(in crate::xds::session) fn awaits(&self) -> bool {
        self.flights.iter().any(|flight| !flight.overdue)
    }

    /// Lets nothing wait any longer for what has been sent.
    pub(in crate::xds::session) fn on_silence(&mut self) {
        for flight in &mut self.flights {
            flight.overdue = true;
        }
    }

    /// Matches an answer to the response it is about. `version` is what an
    /// acceptance has to name.
    pub(in crate::xds::session) fn judge(
        &mut self,
        nonce: &str,
        version: Option<&str>,
        rejection: Option<&str>,
    ) -> Option<Verdict> {
        let nonce: u64 = nonce.parse().ok()?;
        let index = self.flights.iter().position(|it| it.nonce == nonce)?;
        if rejection.is_none() && version.is_some_and(|it| it != self.flights[index].version) {
            return None;
        }
        let flight = self.flights.remove(index);
        self.refused = rejection.is_some();
        self.judge_taken(flight.nonce, rejection.is_some());
        let mut judged = Vec::new();
        for holding in self.holdings.values_mut() {
            if let State::Sent { nonce, answer, .. } = &mut holding.state
                && *nonce == flight.nonce
                && *answer == Answer::Awaited
            {
                *answer = Answer::Accepted;
                judged.push(holding);
            }
        }
        let superseded = judged.len() < flight.count;
        let mut resources = Vec::with_capacity(judged.len());
        for holding in judged {
            if let State::Sent {
                resource, answer, ..
            } = &mut holding.state
            {
                resources.push(resource.clone());
                if rejection.is_some() && superseded {
                    holding.state = State::Claimed(None);
                } else if rejection.is_some() {
                    *answer = match flight.count {
                        1 => Answer::Rejected,
                        _ => Answer::Tainted,
                    };
                }
            }
        }
        let kind = self.kind;
        if kind == ResourceType::Secret && resources.is_empty() {
            // It was dropped meanwhile.
            return None;
        }
        Some(match rejection {
            Some(message) => Verdict::Rejected {
                kind,
                version: flight.version,
                resources,
                message: message.to_owned(),
            },
            None => Verdict::Accepted {
                kind,
                version: self.held_version(),
                resources,
            },
        })
    }

    /// A removal that was rejected is due again after the next response; at
    /// once where that went out before the answer came.
    fn judge_taken(&mut self, flight: u64, rejected: bool) {
        let is_newest = flight == self.newest;
        self.holdings.retain(|_, holding| {
            if let State::Taken { nonce, answer } = &mut holding.state
                && *nonce == flight
            {
                if rejected && is_newest {
                    *answer = Answer::Rejected;
                    return true;
                } else if rejected {
                    holding.state = State::Claimed(None);
                    return true;
                }
                holding.state = State::Absent;
                return holding.named;
            }
            true
        });
    }
}
