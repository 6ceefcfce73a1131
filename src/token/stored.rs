//! The keyring's secrets in the store.
