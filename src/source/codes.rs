//! The codes of this module's diagnostics, `WL06xx`.

/// The key of a ProvidedCa is not an age file in armor.
pub const NOT_ARMOR: &str = "WL0601";
/// There is no identity to open sealed keys with.
pub const NO_IDENTITY: &str = "WL0602";
/// None of the configured identities opens the key.
pub const NO_MATCH: &str = "WL0603";
/// The sealed key was altered or cut off after it was sealed.
pub const TAMPERED: &str = "WL0604";
/// What was sealed is not a private key in PEM.
pub const NOT_A_KEY: &str = "WL0605";
/// The key is sealed with a passphrase.
pub const PASSPHRASE: &str = "WL0606";
/// The sealed key is too large.
pub const SEALED_TOO_LARGE: &str = "WL0607";
