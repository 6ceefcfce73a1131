//! The CA and mTLS state machine: from how a mesh stands to what it is to be.
//!
//! Level-triggered and pure. [`next`] says what comes next from a
//! [`Situation`] towards a [`Goal`]; nothing remembers a position. [`course`]
//! asks it again and again until nothing is left to do: that is the plan, and
//! the stages in front whose [`Gate`]s are open are what may be done now.
//!
//! What a [`Move`] needs is said in one place, [`Situation::gate`]. The
//! planner waits for it, and the store's admission refuses what comes without,
//! from whomever it comes.

mod course;
mod gate;
mod goal;
mod next;
mod passed;
mod situation;
#[cfg(test)]
mod tests;

pub use course::{Course, Waiting, course};
pub use gate::{Awaited, DEFAULT_DRAIN, Gate, OFFLINE_GRACE, Reason, Witness};
pub use goal::{BuiltinEnd, Goal, Provided};
pub use next::{Stage, next};
pub use passed::passed;
pub use situation::{Illegal, Key, Move, Situation, Standing};
