//! What a new stream makes of what the proxy says that it holds.

use super::*;

/// Both secrets, sent and accepted. Returns the version that the proxy ends up with.
fn version_after_both() -> String {
    let mut talk = sotw("ca1", "id1");
    talk.says(&subscribe(BOTH));
    talk.says(&ack(&talk.last().clone(), BOTH));
    let last = talk.last().clone();
    assert_eq!(talk.says(&ack(&last, BOTH)), ["ack id1"]);
    last.version
}

fn reconnect(version: &str) -> DiscoveryRequest {
    DiscoveryRequest {
        version_info: version.to_owned(),
        ..subscribe(BOTH)
    }
}

#[test]
fn what_the_proxy_holds_is_not_sent_again_and_is_an_ack() {
    let version = version_after_both();
    let mut talk = sotw("ca1", "id1");
    assert_eq!(talk.says(&reconnect(&version)), ["holds ca1", "holds id1"]);
    assert!(talk.events().is_empty());
}

#[test]
fn only_what_changed_meanwhile_is_sent() {
    let version = version_after_both();
    let mut talk = sotw("ca2", "id1");
    assert_eq!(talk.says(&reconnect(&version)), ["holds id1", "send ca2"]);
    let version = talk.last().version.clone();
    let mut again = sotw("ca2", "id1");
    assert_eq!(
        again.says(&reconnect(&version)),
        ["holds ca2", "holds id1"],
        "the new version claims the one that was held"
    );
}

#[test]
fn after_a_nack_the_version_claims_only_what_was_accepted() {
    let mut talk = sotw("ca1", "id1");
    talk.says(&subscribe(BOTH));
    talk.says(&nack(&talk.last().clone(), "", BOTH));
    let accepted = talk.last().clone();
    assert_eq!(talk.says(&ack(&accepted, BOTH)), ["ack id1"]);
    let mut again = sotw("ca1", "id1");
    assert_eq!(
        again.says(&reconnect(&accepted.version)),
        ["holds id1", "send ca1"]
    );
}

#[test]
fn what_was_not_answered_is_sent_again() {
    let mut talk = sotw("ca1", "id1");
    talk.says(&subscribe(BOTH));
    talk.session.on_silence();
    talk.events();
    let second = talk.last().version.clone();
    let mut again = sotw("ca1", "id1");
    assert_eq!(again.says(&reconnect(&second)), ["holds id1", "send ca1"]);
}

#[test]
fn a_name_that_the_first_request_lacks_is_sent_whatever_its_version_claims() {
    let version = version_after_both();
    let mut talk = sotw("ca1", "id1");
    let mut first = reconnect(&version);
    first.resource_names = names(&[MESH_CA]);
    assert_eq!(talk.says(&first), ["holds ca1"]);
    assert_eq!(talk.says(&subscribe(BOTH)), ["send id1"]);
}

#[test]
fn garbage_for_a_version_claims_nothing() {
    for version in [
        "",
        "1",
        ",,",
        "sha256:",
        "sha256:zz,",
        &"x,".repeat(100_000),
    ] {
        let mut talk = sotw("ca1", "");
        assert_eq!(talk.says(&reconnect(version)), ["send ca1"]);
    }
}

#[test]
fn of_what_it_rejected_last_the_proxy_is_not_believed_to_hold_an_older_version() {
    let version = version_after_both();
    let distrusted = BTreeSet::from([MESH_CA.to_owned()]);
    let session = Session::new(distrusted.clone());
    let mut talk = Talk::<Sotw>::new(session, secrets("ca1", "id1"));
    assert_eq!(talk.says(&reconnect(&version)), ["holds id1", "send ca1"]);

    let snapshot = secrets("ca1", "id1");
    let mut first = delta_subscribe(BOTH);
    for resource in snapshot.of(ResourceType::Secret) {
        let version = resource.version.to_string();
        first
            .initial_resource_versions
            .insert(resource.name.to_string(), version);
    }
    let mut talk = Talk::<Delta>::new(Session::new(distrusted), snapshot);
    assert_eq!(talk.says(&first), ["holds id1", "send ca1"]);
}

#[test]
fn what_is_in_doubt_no_longer_when_it_is_confirmed_is_not_sent() {
    let distrusted = BTreeSet::from([MESH_CA.to_owned()]);
    let snapshot = secrets("ca1", "id1");
    let mut session = Session::<Sotw>::new(distrusted.clone());
    let request = reconnect(&version_after_both());
    session.on_request(ResourceType::Secret, &request);
    session.believe(MESH_CA);
    let mut talk = Talk::new(session, snapshot.clone());
    assert_eq!(talk.events(), ["holds ca1", "holds id1"]);

    let mut first = delta_subscribe(BOTH);
    for resource in snapshot.of(ResourceType::Secret) {
        let version = resource.version.to_string();
        let versions = &mut first.initial_resource_versions;
        versions.insert(resource.name.to_string(), version);
    }
    let mut session = Session::<Delta>::new(distrusted);
    session.on_request(ResourceType::Secret, &first);
    session.believe(MESH_CA);
    let mut talk = Talk::new(session, snapshot);
    assert_eq!(talk.events(), ["holds ca1", "holds id1"]);
}

#[test]
fn what_is_held_is_confirmed_when_it_comes_into_being() {
    let version = version_after_both();
    let mut talk = sotw("", "");
    assert!(talk.says(&reconnect(&version)).is_empty());
    assert_eq!(talk.sees(secrets("ca1", "")), ["holds ca1"]);
    assert_eq!(talk.sees(secrets("ca1", "id2")), ["send id2"]);
}
