//! What runs beside an Envoy.

pub mod control;
