//! What only the Postgres store has: a server, the way to it, and replicas.

mod certificates;
mod connect;
mod cut;
mod outage;
mod replicas;
mod schema;
mod start;
