//! Several replicas on one Postgres, behind one address: one of them reconciles,
//! all serve.

mod certificates;
mod chaos;
mod failover;
mod outage;
mod scenarios;
