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

/// A symlink stands where a file or a folder of the source should.
pub const SYMLINK: &str = "WL0612";
/// A submodule lies below the path.
pub const SUBMODULE: &str = "WL0613";
/// A name is not UTF-8 or holds characters that no name should.
pub const BAD_NAME: &str = "WL0614";
/// The source holds more than Windlass reads.
pub const TOO_MANY_FILES: &str = "WL0615";
/// Folders are nested too deeply.
pub const TOO_DEEP: &str = "WL0616";
/// The commit does not hold the source's path.
pub const PATH_MISSING: &str = "WL0617";
/// The source's path is not a folder.
pub const PATH_NOT_FOLDER: &str = "WL0618";
/// A `.windlassignore` cannot be read.
pub const BAD_IGNORE_FILE: &str = "WL0619";
