//! The Git repository: clone, fetch, watch, read; and the sealed keys in it.

pub mod codes;
pub mod decryption;
