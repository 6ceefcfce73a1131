//! The Git repository as a source: reading, fetching, watching.

mod fetch;
mod history;
mod read;
mod refuse;
mod repo;
mod watch;
