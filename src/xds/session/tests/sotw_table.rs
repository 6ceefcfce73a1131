use super::*;

#[test]
fn the_first_request_is_answered_once_and_an_ack_with_nothing() {
    let mut talk = sotw("ca1", "id1");
    assert_eq!(talk.says(&subscribe(&[MESH_CA])), ["send ca1"]);
    let ack = ack(talk.last(), &[MESH_CA]);
    assert_eq!(talk.says(&ack), ["ack ca1"]);
    assert!(talk.says(&ack).is_empty(), "a repeated ACK is no news");
    assert!(talk.says(&ack).is_empty());
}

#[test]
fn both_names_on_one_stream_are_two_responses_with_a_nonce_each() {
    let mut talk = sotw("ca1", "id1");
    assert_eq!(talk.says(&subscribe(BOTH)), ["send ca1", "await"]);
    let first = ack(talk.last(), BOTH);
    assert_eq!(talk.says(&first), ["ack ca1", "send id1"]);
    let second = ack(talk.last(), BOTH);
    assert_ne!(first.response_nonce, second.response_nonce);
    assert_eq!(talk.says(&second), ["ack id1"]);
}

#[test]
fn one_name_on_each_of_two_streams() {
    let mut one = sotw("ca1", "id1");
    let mut two = sotw("ca1", "id1");
    assert_eq!(one.says(&subscribe(&[MESH_CA])), ["send ca1"]);
    assert_eq!(two.says(&subscribe(&[IDENTITY_CERT])), ["send id1"]);
    assert_eq!(one.says(&ack(&one.last().clone(), &[MESH_CA])), ["ack ca1"]);
    let answer = ack(two.last(), &[IDENTITY_CERT]);
    assert_eq!(two.says(&answer), ["ack id1"]);
    assert_eq!(two.sees(secrets("ca1", "id2")), ["send id2"]);
    assert!(one.sees(secrets("ca1", "id2")).is_empty());
}

#[test]
fn a_silent_proxy_is_sent_the_rest_all_the_same() {
    let mut talk = sotw("ca1", "id1");
    assert_eq!(talk.says(&subscribe(BOTH)), ["send ca1", "await"]);
    talk.session.on_silence();
    assert_eq!(talk.events(), ["send id1"]);
    let (first, second) = (talk.sent[0].clone(), talk.sent[1].clone());
    assert_eq!(talk.says(&ack(&first, BOTH)), ["ack ca1"]);
    assert_eq!(talk.says(&ack(&second, BOTH)), ["ack id1"]);
    assert!(
        !second.version.contains(&first.version),
        "a version must not claim what was not accepted when it was sent"
    );
}

#[test]
fn a_nack_is_an_error_detail_whatever_the_version_says() {
    let mut talk = sotw("ca1", "");
    talk.says(&subscribe(&[MESH_CA]));
    let sent = talk.last().clone();
    // The version of the rejected response itself.
    let answer = nack(&sent, &sent.version, &[MESH_CA]);
    assert_eq!(talk.says(&answer), ["nack ca1: bad"]);
}

#[test]
fn an_ack_has_to_name_the_version_that_was_sent_under_its_nonce() {
    let mut talk = sotw("ca1", "");
    talk.says(&subscribe(&[MESH_CA]));
    let mut answer = ack(talk.last(), &[MESH_CA]);
    answer.version_info = "something else".to_owned();
    assert!(talk.says(&answer).is_empty());
    assert_eq!(
        talk.says(&ack(&talk.last().clone(), &[MESH_CA])),
        ["ack ca1"]
    );
}

#[test]
fn after_a_nack_the_same_bytes_are_not_sent_but_different_ones_are() {
    let mut talk = sotw("ca1", "");
    talk.says(&subscribe(&[MESH_CA]));
    let refused = nack(&talk.last().clone(), "", &[MESH_CA]);
    assert_eq!(talk.says(&refused), ["nack ca1: bad"]);
    assert!(talk.says(&refused).is_empty());
    assert!(talk.sees(secrets("ca1", "id1")).is_empty());
    assert_eq!(talk.sees(secrets("ca2", "")), ["send ca2"]);
    assert_eq!(
        talk.says(&ack(&talk.last().clone(), &[MESH_CA])),
        ["ack ca2"]
    );
    assert_eq!(
        talk.sees(secrets("ca1", "")),
        ["send ca1"],
        "other bytes came between"
    );
}

#[test]
fn a_request_that_repeats_the_nonce_of_a_nack_is_no_ack() {
    let mut talk = sotw("ca1", "id1");
    talk.says(&subscribe(&[MESH_CA]));
    let sent = talk.last().clone();
    talk.says(&nack(&sent, "", &[MESH_CA]));
    // A changed subscription carries the last nonce without the error.
    let mut changed = ack(&sent, BOTH);
    changed.version_info = String::new();
    assert_eq!(talk.says(&changed), ["send id1"]);
    assert!(talk.says(&ack(&sent, BOTH)).is_empty());
}

#[test]
fn a_nack_of_one_secret_does_not_keep_the_other_from_being_sent() {
    let mut talk = sotw("ca1", "id1");
    talk.says(&subscribe(BOTH));
    let refused = nack(&talk.last().clone(), "", BOTH);
    assert_eq!(talk.says(&refused), ["nack ca1: bad", "send id1"]);
    assert!(
        !talk.last().version.contains(&talk.sent[0].version),
        "what was rejected is not claimed"
    );
}

#[test]
fn a_stale_nonce_changes_no_subscription_and_gets_no_answer() {
    let mut talk = sotw("ca1", "id1");
    talk.says(&subscribe(&[MESH_CA]));
    let old = talk.last().clone();
    talk.says(&ack(&old, &[MESH_CA]));
    assert_eq!(talk.sees(secrets("ca2", "id1")), ["send ca2"]);
    assert!(talk.says(&ack(&old, BOTH)).is_empty());
    let mut unknown = ack(&old, BOTH);
    for nonce in ["0", "99", "x", "01"] {
        unknown.response_nonce = nonce.to_owned();
        assert!(talk.says(&unknown).is_empty(), "{nonce}");
    }
    let current = ack(&talk.last().clone(), BOTH);
    assert_eq!(talk.says(&current), ["ack ca2", "send id1"]);
}

#[test]
fn an_added_name_is_sent_alone_and_a_removed_one_gets_no_answer() {
    let mut talk = sotw("ca1", "id1");
    talk.says(&subscribe(&[MESH_CA]));
    let first = talk.last().clone();
    talk.says(&ack(&first, &[MESH_CA]));
    assert_eq!(talk.says(&ack(&first, BOTH)), ["send id1"]);
    let second = talk.last().clone();
    assert_eq!(talk.says(&ack(&second, BOTH)), ["ack id1"]);
    assert!(talk.says(&ack(&second, &[MESH_CA])).is_empty());
    assert!(talk.sees(secrets("ca1", "id2")).is_empty());
    assert_eq!(
        talk.says(&ack(&second, BOTH)),
        ["send id2"],
        "what comes back is sent again"
    );
}

#[test]
fn a_name_that_comes_back_is_sent_even_if_unchanged() {
    let mut talk = sotw("ca1", "id1");
    talk.says(&subscribe(&[MESH_CA]));
    let first = talk.last().clone();
    talk.says(&ack(&first, &[MESH_CA]));
    assert!(talk.says(&ack(&first, &[])).is_empty());
    assert_eq!(talk.says(&ack(&first, &[MESH_CA])), ["send ca1"]);
}

#[test]
fn a_second_request_before_the_first_response_adds_its_names() {
    let mut talk = sotw("ca1", "id1");
    talk.session
        .on_request(ResourceType::Secret, &subscribe(&[IDENTITY_CERT]));
    assert_eq!(talk.says(&subscribe(BOTH)), ["send ca1", "await"]);
    let answer = ack(&talk.last().clone(), BOTH);
    assert_eq!(talk.says(&answer), ["ack ca1", "send id1"]);
}

#[test]
fn unknown_names_get_no_answer_until_they_exist() {
    let mut talk = sotw("ca1", "");
    assert!(
        talk.says(&subscribe(&["default", IDENTITY_CERT]))
            .is_empty()
    );
    assert!(talk.events().is_empty());
    assert_eq!(talk.sees(secrets("ca1", "id1")), ["send id1"]);
}

#[test]
fn a_secret_that_vanishes_is_not_mentioned_and_not_sent_again_unchanged() {
    let mut talk = sotw("ca1", "");
    talk.says(&subscribe(&[MESH_CA]));
    talk.says(&ack(&talk.last().clone(), &[MESH_CA]));
    assert!(talk.sees(secrets("", "")).is_empty());
    assert!(talk.sees(secrets("ca1", "")).is_empty());
    assert_eq!(talk.sees(secrets("ca2", "")), ["send ca2"]);
}

#[test]
fn only_the_newest_of_several_changes_is_sent() {
    let mut talk = sotw("ca1", "id1");
    talk.says(&subscribe(&[MESH_CA]));
    assert_eq!(talk.sees(secrets("ca2", "id1")), ["await"]);
    assert_eq!(talk.sees(secrets("ca3", "id1")), ["await"]);
    let answer = ack(&talk.last().clone(), &[MESH_CA]);
    assert_eq!(talk.says(&answer), ["ack ca1", "send ca3"]);
}

#[test]
fn a_name_dropped_and_taken_back_while_a_response_is_under_way_is_sent_again() {
    let mut talk = sotw("ca1", "id1");
    talk.says(&subscribe(BOTH));
    let first = talk.last().clone();
    assert_eq!(talk.says(&ack(&first, BOTH)), ["ack ca1", "send id1"]);
    // Written before `id1` came, so with the nonce of `ca1`.
    assert!(talk.says(&ack(&first, &[IDENTITY_CERT])).is_empty());
    assert!(talk.says(&ack(&first, BOTH)).is_empty());
    let second = ack(&talk.last().clone(), BOTH);
    assert_eq!(talk.says(&second), ["ack id1", "send ca1"]);
}
