use super::*;

#[test]
fn each_name_is_one_response_and_an_ack_gets_none() {
    let mut talk = delta("ca1", "id1");
    assert_eq!(talk.says(&delta_subscribe(BOTH)), ["send ca1", "send id1"]);
    let (first, second) = (talk.sent[0].clone(), talk.sent[1].clone());
    assert_eq!(talk.says(&delta_ack(&second)), ["ack id1"]);
    assert_eq!(talk.says(&delta_ack(&first)), ["ack ca1"]);
    assert!(talk.says(&delta_ack(&first)).is_empty());
    assert!(talk.says(&DeltaDiscoveryRequest::default()).is_empty());
}

#[test]
fn only_what_changed_is_sent() {
    let mut talk = delta("ca1", "id1");
    talk.says(&delta_subscribe(BOTH));
    assert_eq!(talk.sees(secrets("ca1", "id2")), ["send id2"]);
    assert!(talk.sees(secrets("ca1", "id2")).is_empty());
}

#[test]
fn a_nack_is_not_followed_by_the_same_bytes() {
    let mut talk = delta("ca1", "");
    talk.says(&delta_subscribe(&[MESH_CA]));
    let refused = delta_nack(talk.last());
    assert_eq!(talk.says(&refused), ["nack ca1: bad"]);
    assert!(talk.says(&refused).is_empty());
    assert!(talk.says(&delta_ack(&talk.last().clone())).is_empty());
    assert_eq!(talk.sees(secrets("ca2", "")), ["send ca2"]);
}

#[test]
fn initial_versions_are_honoured_in_the_first_request_only() {
    let held = secrets("ca1", "id1");
    let mut first = delta_subscribe(BOTH);
    let version = |index: usize| held.of(ResourceType::Secret)[index].version.to_string();
    first
        .initial_resource_versions
        .insert(MESH_CA.to_owned(), version(0));
    first
        .initial_resource_versions
        .insert(IDENTITY_CERT.to_owned(), "older".to_owned());
    let mut talk = delta("ca1", "id1");
    assert_eq!(talk.says(&first), ["holds ca1", "send id1"]);
    assert_eq!(talk.says(&first), ["send ca1", "send id1"]);
}

#[test]
fn a_name_subscribed_again_is_sent_again() {
    let mut talk = delta("ca1", "id1");
    talk.says(&delta_subscribe(&[MESH_CA]));
    talk.says(&delta_ack(&talk.last().clone()));
    assert_eq!(talk.says(&delta_subscribe(&[MESH_CA])), ["send ca1"]);
    assert_ne!(talk.sent[0].nonce, talk.sent[1].nonce);
}

#[test]
fn an_unsubscribed_name_is_not_sent_until_it_comes_back() {
    let mut talk = delta("ca1", "id1");
    talk.says(&delta_subscribe(BOTH));
    let leave = DeltaDiscoveryRequest {
        resource_names_unsubscribe: names(&[MESH_CA, "unknown"]),
        ..DeltaDiscoveryRequest::default()
    };
    assert!(talk.says(&leave).is_empty());
    assert!(talk.sees(secrets("ca2", "id1")).is_empty());
    assert_eq!(talk.says(&delta_subscribe(&[MESH_CA])), ["send ca2"]);
}

#[test]
fn an_answer_that_also_changes_the_subscription_does_both() {
    let mut talk = delta("ca1", "id1");
    talk.says(&delta_subscribe(&[MESH_CA]));
    let mut answer = delta_ack(talk.last());
    answer.resource_names_subscribe = names(&[IDENTITY_CERT]);
    assert_eq!(talk.says(&answer), ["ack ca1", "send id1"]);
}

#[test]
fn unknown_names_and_vanished_secrets_get_no_answer() {
    let mut talk = delta("ca1", "");
    assert!(
        talk.says(&delta_subscribe(&["*", "default", IDENTITY_CERT]))
            .is_empty()
    );
    assert_eq!(talk.sees(secrets("ca1", "id1")), ["send id1"]);
    assert!(talk.sees(secrets("", "")).is_empty());
    assert!(talk.sees(secrets("ca1", "id1")).is_empty());
}
