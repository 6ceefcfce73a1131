//! What one daemon does, two replicas do, on a Postgres that they share and
//! behind one address that leads to each in turn.

mod moving;

on_two_replicas! {
    envoy_follows_the_mesh:
        envoy::envoy_gets_its_certificate_and_follows_the_mesh_from_builtin_over_disabled_to_provided;
    envoy_gets_a_leaf_of_a_sealed_root:
        envoy::envoy_gets_a_certificate_of_a_provided_root_whose_key_is_sealed;
    envoy_gets_a_new_leaf_in_time:
        envoy::envoy_gets_a_new_leaf_of_the_same_root_when_half_of_its_life_is_over;
    envoy_comes_back_to_replicas_that_were_killed:
        envoy::envoy_comes_back_to_a_daemon_that_was_killed_and_gets_only_what_it_lacks;
    envoy_takes_leaves_of_every_kind_of_root:
        envoy_roots::envoy_takes_the_leaves_of_every_kind_of_provided_root;
    envoy_takes_leaves_with_rsa_keys: envoy_roots::envoy_takes_leaves_with_rsa_keys;
    envoy_accepts_everything_over_delta: mesh::acceptance::envoy_accepts_everything_over_delta;
    envoy_accepts_everything_over_state_of_the_world:
        mesh::acceptance::envoy_accepts_everything_over_state_of_the_world;
    both_ends_prove_who_they_are: mesh::identity::both_ends_prove_who_they_are_on_the_wire;
    strangers_are_refused: mesh::identity::strangers_are_refused_before_the_service_notices;
    no_session_is_resumed:
        mesh::identity::no_session_is_resumed_past_a_permission_that_is_withdrawn;
    web_reaches_only_what_a_commit_allows:
        mesh::policy::web_reaches_backend_and_redis_only_while_a_commit_allows_it;
    a_permission_with_a_star_is_for_all:
        mesh::policy::a_permission_with_a_star_is_for_every_service_of_the_mesh;
    two_meshes_do_not_mix: mesh::policy::two_meshes_with_the_same_service_names_do_not_mix;
    a_listener_that_is_rejected_is_told:
        mesh::rejection::a_listener_that_envoy_cannot_make_is_told_in_its_own_words_until_it_can;
    a_change_is_sent_only_to_whom_it_concerns:
        mesh::sent::a_change_is_sent_only_to_whom_it_concerns;
    who_comes_back_over_delta_is_sent_only_a_new_leaf:
        mesh::sent::who_comes_back_over_delta_is_sent_only_a_new_leaf;
    who_comes_back_over_state_of_the_world_is_sent_only_a_new_leaf:
        mesh::sent::who_comes_back_over_state_of_the_world_is_sent_only_a_new_leaf;
    an_open_connection_outlives_a_proxy_that_stops:
        mesh::stopping::an_open_connection_of_the_mesh_goes_on_while_its_proxy_takes_no_new_ones;
    a_service_that_stops_can_still_call_others:
        mesh::stopping::a_service_that_finishes_its_work_can_still_call_others;
    mtls_goes_off_and_on_again: mesh::switching::mtls_goes_off_and_on_again_by_commits;
    a_root_whose_key_cannot_be_opened_does_not_sign:
        rotation::unusable::a_root_whose_key_cannot_be_opened_does_not_come_to_sign;
    no_secret_is_anywhere_but_in_the_token_file:
        dp::envoy_connects_and_no_secret_is_anywhere_but_in_the_token_file;
    a_token_is_renewed_in_time:
        dp::the_token_is_renewed_before_it_ends_and_the_same_envoy_goes_on;
    envoy_finds_replicas_that_were_away:
        dp::envoy_finds_a_control_plane_that_was_away_within_seconds;
    envoy_ends_with_its_dp_run: dp::envoy_ends_with_a_dp_run_that_is_killed;
    envoy_is_started_with_what_any_replica_answers:
        dp::envoy_is_started_with_what_the_control_plane_answers;
    open_connections_may_end: dp::drain::open_connections_may_end_and_no_new_ones_are_taken;
    connections_that_stay_are_cut_off:
        dp::drain::connections_that_stay_are_cut_off_when_the_drain_time_is_over;
    a_second_signal_does_not_wait: dp::drain::a_second_signal_does_not_wait_for_open_connections;
    a_dataplane_that_git_does_not_hold_is_let_in:
        dp::register::a_dataplane_that_git_does_not_hold_is_registered_and_let_in;
    a_dataplane_that_git_holds_has_to_be_the_same:
        dp::register::a_dataplane_that_git_holds_has_to_be_the_same;
    what_is_wrong_with_a_file_is_shown_in_its_place:
        dp::register::what_is_wrong_with_the_file_is_shown_in_its_place;
    another_server_is_told_apart:
        dp::refusals::another_server_at_the_address_of_the_control_plane_is_told_apart;
    a_token_that_will_not_do_is_refused: dp::refusals::a_token_that_will_not_do_is_refused_with_why;
    what_is_not_known_is_refused:
        dp::refusals::a_mesh_or_a_dataplane_that_is_not_known_is_refused_with_what_to_do;
    replicas_that_the_pinned_ca_does_not_prove_are_refused:
        dp::refusals::a_control_plane_that_the_pinned_ca_does_not_prove_is_refused;
    a_token_file_that_others_can_read_is_warned_of:
        dp::refusals::a_token_file_that_others_can_read_is_warned_of;
}
