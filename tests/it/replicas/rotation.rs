//! The CA of a mesh changes under load, with proxies on both of two replicas.

on_two_replicas! {
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
    an_envoy_that_rejects_a_listener_keeps_the_old_root:
        rotation::rejects::an_envoy_that_rejects_a_listener_keeps_the_old_root_trusted;
    a_proxy_that_stands_still_is_waited_for:
        rotation::stalls::a_stopped_proxy_is_waited_for_and_named_until_it_goes_on;
    a_proxy_that_is_gone_is_waited_for:
        rotation::stalls::a_proxy_that_is_gone_is_waited_for_until_the_policy_says_to_ignore_it;
    a_proxy_that_is_gone_may_be_left_behind:
        rotation::stalls::a_proxy_that_is_gone_is_left_behind_by_an_approval_that_names_it;
    the_replica_that_reconciles_may_die_between_any_two_phases:
        rotation::crashes::the_daemon_may_die_between_any_two_phases;
    the_replica_that_reconciles_may_die_again_and_again:
        rotation::crashes::the_daemon_may_die_again_and_again_in_the_middle_of_anything;
}
