//! The certificates of provided CAs, on two replicas that share a Postgres or a
//! Kubernetes cluster.

use crate::api::certificates::{
    a_certificate_goes_once_its_mesh_does_not_ask_for_it_and_may_come_back as a_certificate_goes,
    one_replica_adds_and_the_other_lists_and_deletes as the_other_deletes,
    the_documented_workflow_leads_from_builtin_to_a_leaf_of_the_root_that_was_added as the_workflow,
};
use crate::support::Cluster;

#[test]
fn one_of_two_on_postgres_adds_and_the_other_lists_and_deletes() {
    Cluster::of(2).run(the_other_deletes);
}

#[test]
fn one_of_two_in_kubernetes_adds_and_the_other_lists_and_deletes() {
    Cluster::in_kubernetes(2).run(the_other_deletes);
}

#[test]
fn the_documented_workflow_leads_to_a_leaf_on_postgres() {
    Cluster::of(2).run(the_workflow);
}

#[test]
fn the_documented_workflow_leads_to_a_leaf_in_kubernetes() {
    Cluster::in_kubernetes(2).run(the_workflow);
}

#[test]
fn a_certificate_goes_and_may_come_back_on_postgres() {
    Cluster::of(2).run(a_certificate_goes);
}

#[test]
fn a_certificate_goes_and_may_come_back_in_kubernetes() {
    Cluster::in_kubernetes(2).run(a_certificate_goes);
}
