//! REST, admin server and diagnostics.
