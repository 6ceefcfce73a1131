//! Several replicas on one Postgres, behind one address: one of them reconciles,
//! all serve.
//!
//! The scenarios of one daemon run here, too, on two replicas. `scenarios` has those
//! that carry no load, and run beside other tests; `rotation` has those under load.
//! Left out are the ones that start no control plane (what `dp run` refuses by
//! itself, and Envoy's own judgement of a bootstrap), and those of a program in
//! Envoy's place and of its signals, which ask a control plane for nothing but the
//! bootstrap. What is of SQLite (`crash`) has its counterpart in `chaos`.

/// Runs scenarios of one daemon on two replicas.
macro_rules! on_two_replicas {
    ($($name:ident: $($scenario:ident)::+;)*) => {
        $(
            #[test]
            fn $name() {
                crate::support::Cluster::of(2).run(crate::$($scenario)::+);
            }
        )*
    };
}

mod certificates;
mod chaos;
mod failover;
mod outage;
mod rotation;
mod scenarios;
