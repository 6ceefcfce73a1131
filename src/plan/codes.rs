//! The codes of the diagnostics that planning itself makes.

/// The CA would change while mTLS is enabled.
pub const CA_CHANGE_FORBIDDEN: &str = "WL0701";
/// The source holds nothing.
pub const EMPTY_SOURCE: &str = "WL0702";
/// The revision deletes more than the policy allows.
pub const BUDGET_EXCEEDED: &str = "WL0703";
/// The policy wants an approval for a deletion.
pub const NEEDS_APPROVAL: &str = "WL0704";
/// A mesh with connected dataplanes would be deleted.
pub const DATAPLANES_CONNECTED: &str = "WL0705";
/// A resource belongs to someone else.
pub const OWNED_BY_OTHERS: &str = "WL0706";
/// A stored resource was changed behind the source's back.
pub const DRIFTED: &str = "WL0707";
/// A provided authority would come to sign that ends too soon to be replaced in time.
pub const ROOT_TOO_SHORT: &str = "WL0708";
