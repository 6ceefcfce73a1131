//! What leaves look like is tested here.
