//! What one daemon does, two replicas do.

use crate::support::Cluster;

#[test]
fn envoy_follows_the_mesh_over_two_replicas() {
    let scenario =
        crate::envoy::envoy_gets_its_certificate_and_follows_the_mesh_from_builtin_over_disabled_to_provided;
    Cluster::of(2).run(scenario);
}

#[test]
fn web_reaches_only_what_a_commit_allows_over_two_replicas() {
    let scenario = crate::mesh::policy::web_reaches_backend_and_redis_only_while_a_commit_allows_it;
    Cluster::of(2).run(scenario);
}

#[test]
fn a_root_after_the_other_loses_no_connection_over_two_replicas() {
    let scenario =
        crate::rotation::rolling::a_root_after_the_other_loses_no_connection_and_shows_no_plaintext;
    Cluster::of(2).run(scenario);
}

#[test]
fn the_replica_that_reconciles_may_die_between_any_two_phases() {
    let scenario = crate::rotation::crashes::the_daemon_may_die_between_any_two_phases;
    Cluster::of(2).run(scenario);
}
