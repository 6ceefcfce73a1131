//! Keys at rest: sealed to an age identity.
