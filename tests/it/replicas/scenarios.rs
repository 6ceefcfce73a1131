//! What one daemon does, two replicas do, on a Postgres that they share and
//! behind one address that leads to each in turn.

use crate::support::Cluster;

macro_rules! on_two_replicas {
    ($($name:ident: $($scenario:ident)::+;)*) => {
        $(
            #[test]
            fn $name() {
                Cluster::of(2).run(crate::$($scenario)::+);
            }
        )*
    };
}

on_two_replicas! {
    envoy_follows_the_mesh:
        envoy::envoy_gets_its_certificate_and_follows_the_mesh_from_builtin_over_disabled_to_provided;
    envoy_gets_a_leaf_of_a_sealed_root:
        envoy::envoy_gets_a_certificate_of_a_provided_root_whose_key_is_sealed;
    envoy_gets_a_new_leaf_in_time:
        envoy::envoy_gets_a_new_leaf_of_the_same_root_when_half_of_its_life_is_over;
    web_reaches_only_what_a_commit_allows:
        mesh::policy::web_reaches_backend_and_redis_only_while_a_commit_allows_it;
    two_meshes_do_not_mix: mesh::policy::two_meshes_with_the_same_service_names_do_not_mix;
    both_ends_prove_who_they_are: mesh::identity::both_ends_prove_who_they_are_on_the_wire;
    strangers_are_refused: mesh::identity::strangers_are_refused_before_the_service_notices;
    mtls_goes_off_and_on_again: mesh::switching::mtls_goes_off_and_on_again_by_commits;
    a_listener_that_is_rejected_is_told:
        mesh::rejection::a_listener_that_envoy_cannot_make_is_told_in_its_own_words_until_it_can;
    a_root_after_the_other_loses_no_connection:
        rotation::rolling::a_root_after_the_other_loses_no_connection_and_shows_no_plaintext;
    disable_first_loses_no_connection:
        rotation::disable_first::disable_first_announces_its_plaintext_and_loses_no_connection;
    a_revert_in_any_phase_loses_no_connection:
        rotation::reverts::a_commit_that_is_reverted_in_any_phase_goes_back_without_a_loss;
    a_proxy_may_join_in_any_phase:
        rotation::joining::a_proxy_that_joins_in_any_phase_reaches_the_others_from_its_first_connection;
    a_proxy_that_rejects_a_root_is_waited_for:
        rotation::rejects::a_proxy_that_rejects_the_second_root_keeps_the_first_one_signing;
    a_proxy_that_stands_still_is_waited_for:
        rotation::stalls::a_stopped_proxy_is_waited_for_and_named_until_it_goes_on;
    the_replica_that_reconciles_may_die_between_any_two_phases:
        rotation::crashes::the_daemon_may_die_between_any_two_phases;
}
