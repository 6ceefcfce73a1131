//! The Git repository: clone, fetch, watch, read; and the sealed keys in it.
