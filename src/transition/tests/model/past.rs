//! What runs have to come past.

use stateright::Property;

use super::Run;
use super::world::Slot;
use crate::model::Posture;

/// What a run has to come past, so that it is known to have looked.
pub(super) fn milestones() -> Vec<Property<Run>> {
    vec![
        Property::<Run>::sometimes("two are trusted", |_, state| {
            state.stored.has(Slot::Prepared)
        }),
        Property::<Run>::sometimes("one retires", |_, state| state.stored.has(Slot::Retiring)),
        Property::<Run>::sometimes("connections were drained", |_, state| {
            state.stored.has(Slot::Retiring) && state.stored.drained
        }),
        Property::<Run>::sometimes("a key is destroyed", |_, state| {
            state.stored.has(Slot::Revoked)
        }),
    ]
}

/// So do runs that go through plaintext.
pub(super) fn postures() -> Vec<Property<Run>> {
    let at = Property::<Run>::sometimes;
    vec![
        at("identified", |_, it| {
            it.stored.posture == Posture::Identified
        }),
        at("permissive", |_, it| {
            it.stored.posture == Posture::Permissive
        }),
        at("encrypting", |_, it| {
            it.stored.posture == Posture::Encrypting
        }),
        at("strict", |_, it| it.stored.posture == Posture::Strict),
    ]
}
