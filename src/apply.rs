//! Carries plans out; decides nothing.
