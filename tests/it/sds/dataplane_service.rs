//! The calls of `dp run`: is the token good, and the next one.

use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::Node;
use tokio::net::TcpListener;
use tokio_stream::Stream;
use tonic::Code;
use tonic::codegen::http::uri::PathAndQuery;
use windlass::clock;
use windlass::dataplane::control::{ControlError, ControlPlane, RenewedToken};
use windlass::model::{DataplaneId, Timestamp};
use windlass::token::{Claims, Keyring};

use super::harness::{DEADLINE, Site};
use super::proxy::{MESH_CA, authorized, id, subscribe, with_node};

const HOUR: Duration = Duration::from_hours(1);

impl Site {
    async fn control(&self) -> ControlPlane {
        let address = format!("localhost:{}", self.address.port());
        ControlPlane::connect(&address, self.ca_pem.as_bytes())
            .await
            .unwrap()
    }

    /// A token of `web` that is valid for an hour, `age` of which is over.
    fn aged(&self, age: Duration) -> String {
        self.keyring
            .issue(&id("web"), HOUR, clock::now() - age)
            .unwrap()
    }

    fn claims(&self, token: &str) -> Claims {
        self.keyring.verify(token, clock::now()).unwrap()
    }

    async fn revoke(&self, token_id: &str) {
        self.keyring
            .revoke(token_id, &*self.store, &self.vault)
            .await
            .unwrap();
    }
}

const HALF: Duration = Duration::from_mins(30);

#[tokio::test]
async fn a_good_token_is_told_its_end() {
    let site = Site::start().await;
    let token = site.token("web");
    let end = site.control().await.check("demo.web", &token).await;
    assert_eq!(end.unwrap(), site.claims(&token).expires_at);
}

#[tokio::test]
async fn a_renewed_token_is_valid_as_long_as_the_first_and_opens_a_stream() {
    let site = Site::start().await;
    let old = site.aged(HALF);
    let mut control = site.control().await;
    let renewed = control.renew("demo.web", &old).await.unwrap();
    let (before, after) = (site.claims(&old), site.claims(renewed.token.expose()));
    assert_eq!(after.expires_at, renewed.expires_at);
    assert_eq!(after.expires_at.since(after.issued_at), HOUR);
    assert!(after.expires_at.since(before.expires_at) >= HALF);
    assert_eq!(after.dataplane, before.dataplane);

    let token = Some(renewed.token.expose().to_owned());
    let first = with_node("web", subscribe(&[MESH_CA]));
    site.sotw_with(token, first).await.accept().await;
}

#[tokio::test]
async fn a_renewed_token_is_signed_with_the_newest_key() {
    let site = Site::start().await;
    let old = site.aged(HALF);
    let before = Keyring::load_or_create(&*site.store, &site.vault)
        .await
        .unwrap();
    site.keyring
        .rotate(&*site.store, &site.vault)
        .await
        .unwrap();
    let renewed = site.control().await.renew("demo.web", &old).await.unwrap();
    assert!(before.verify(&old, clock::now()).is_ok());
    let unknown = before.verify(renewed.token.expose(), clock::now());
    assert!(unknown.is_err(), "{unknown:?}");
}

#[tokio::test]
async fn a_young_token_is_given_back() {
    let site = Site::start().await;
    let young = site.aged(Duration::from_mins(19));
    let mut control = site.control().await;
    // As often as one likes: it costs no signature.
    for _ in 0..3 {
        let renewed = control.renew("demo.web", &young).await.unwrap();
        assert_eq!(renewed.token.expose(), young);
        assert_eq!(renewed.expires_at, site.claims(&young).expires_at);
    }
}

#[tokio::test]
async fn revoking_the_first_token_ends_what_was_renewed_from_it() {
    let site = Site::start().await;
    let old = site.aged(HALF);
    let first_id = site.claims(&old).token_id;
    let mut control = site.control().await;
    let renewed = control.renew("demo.web", &old).await.unwrap();
    let token = renewed.token.expose();
    let first = with_node("web", subscribe(&[MESH_CA]));
    let mut stream = site.sotw_with(Some(token.to_owned()), first).await;
    stream.accept().await;

    site.revoke(&first_id).await;
    assert_eq!(stream.end().await.code(), Code::Unauthenticated);
    for token in [&*old, token] {
        let refused = control.renew("demo.web", token).await.unwrap_err();
        let ControlError::Unauthenticated(words) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(words, "the token was revoked");
    }
}

#[tokio::test]
async fn tokens_are_signed_for_one_dataplane_once_a_second_at_most() {
    let site = Site::start().await;
    let old = site.aged(HALF);
    let mut control = site.control().await;
    let began = tokio::time::Instant::now();
    let mut signed = 0;
    for _ in 0..20 {
        match control.renew("demo.web", &old).await {
            Ok(_) => signed += 1,
            Err(error) => {
                assert!(error.is_transient(), "{error:?}");
                let ControlError::Refused { code, .. } = error else {
                    panic!("{error:?}");
                };
                assert_eq!(code, Code::ResourceExhausted);
            }
        }
    }
    let seconds = began.elapsed().as_secs();
    assert!(signed <= 1 + seconds, "{signed} in {seconds} s");
    // Nobody else is held up by it.
    let old = site
        .keyring
        .issue(&id("backend"), HOUR, clock::now() - HALF)
        .unwrap();
    control.renew("demo.backend", &old).await.unwrap();
}

type Answers = [Result<(), ControlError>; 2];

async fn both(control: &mut ControlPlane, node_id: &str, token: &str) -> Answers {
    [
        control.check(node_id, token).await.map(|_: Timestamp| ()),
        control
            .renew(node_id, token)
            .await
            .map(|_: RenewedToken| ()),
    ]
}

#[tokio::test]
async fn a_token_that_is_none_expired_or_revoked_is_not_renewed() {
    let site = Site::start().await;
    let revoked = site.aged(HALF);
    site.revoke(&site.claims(&revoked).token_id).await;
    let expired = site.aged(HOUR);
    let foreign = Site::start().await.aged(HALF);
    let mut control = site.control().await;
    for (token, words) in [
        ("", "not a JWT"),
        ("nonsense\r\nx", "characters"),
        (&*expired, "expired at"),
        (&*revoked, "revoked"),
        (&*foreign, "signature is wrong"),
    ] {
        for answer in both(&mut control, "demo.web", token).await {
            let error = answer.unwrap_err();
            assert!(
                matches!(&error, ControlError::Unauthenticated(said) if said.contains(words)),
                "{error:?}"
            );
            assert!(!error.is_transient());
        }
    }
}

#[tokio::test]
async fn a_token_of_another_dataplane_is_denied() {
    let site = Site::start().await;
    let other_mesh = DataplaneId {
        mesh: "other".parse().unwrap(),
        name: "web".parse().unwrap(),
    };
    let other_mesh = site.keyring.issue(&other_mesh, HOUR, clock::now()).unwrap();
    let mut control = site.control().await;
    for token in [site.token("backend"), other_mesh] {
        for answer in both(&mut control, "demo.web", &token).await {
            let error = answer.unwrap_err();
            assert!(
                matches!(&error, ControlError::PermissionDenied(words) if words.contains("demo/web")),
                "{error:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_dataplane_that_is_about_to_be_known_is_waited_for() {
    let mut site = Site::start().await;
    let mut control = site.control().await;
    let token = site.token("late");
    let (mut another, the_same) = (site.control().await, token.clone());
    let known = tokio::spawn(async move {
        let known = control.check_within(DEADLINE, "demo.late", &token);
        known.await.map(drop)
    });
    // While that one asks, another is refused again and again.
    for _ in 0..10 {
        let nothing = Duration::ZERO;
        let refused = another.check_within(nothing, "demo.late", &the_same).await;
        assert!(
            matches!(refused, Err(ControlError::UnknownDataplane(_))),
            "{refused:?}"
        );
    }
    assert!(!known.is_finished(), "{:?}", known.await);
    let dataplanes = &mut site.mesh.dataplanes;
    dataplanes.insert("late".to_owned(), "late".to_owned());
    site.publish();
    known.await.unwrap().unwrap();
}

#[tokio::test]
async fn an_unknown_or_deleted_dataplane_is_not_found() {
    let mut site = Site::start().await;
    let mut control = site.control().await;
    let ghost = site.token("ghost");
    let old = site.aged(HALF);
    site.mesh.dataplanes.remove("web");
    site.publish();
    for (node_id, token) in [("demo.ghost", ghost), ("demo.web", old)] {
        for answer in both(&mut control, node_id, &token).await {
            let error = answer.unwrap_err();
            assert!(
                matches!(&error, ControlError::UnknownDataplane(words)
                    if words.contains("apply its Dataplane resource first")),
                "{error:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_node_id_that_is_none_or_too_long_is_refused() {
    let site = Site::start().await;
    let token = site.token("web");
    let mut control = site.control().await;
    for (node_id, code) in [
        (String::new(), Code::InvalidArgument),
        ("web".to_owned(), Code::InvalidArgument),
        ("x".repeat(5000), Code::OutOfRange),
    ] {
        for answer in both(&mut control, &node_id, &token).await {
            let error = answer.unwrap_err();
            assert!(
                matches!(&error, ControlError::Refused { code: said, .. } if *said == code),
                "{error:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_control_plane_that_is_not_there_is_told_from_one_that_is_not_trusted() {
    let site = Site::start().await;
    let stranger = Site::start().await;
    let address = site.address.to_string();
    let error = ControlPlane::connect(&address, stranger.ca_pem.as_bytes())
        .await
        .unwrap_err();
    assert!(matches!(error, ControlError::Untrusted { .. }), "{error:?}");
    assert!(!error.is_transient());

    // The certificate is for `localhost` and 127.0.0.1, not for this address.
    let other_name = format!("127.0.0.2:{}", site.address.port());
    let listener = TcpListener::bind(&other_name).await.unwrap();
    let target = site.address;
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let mut far = tokio::net::TcpStream::connect(target).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
        }
    });
    let error = ControlPlane::connect(&other_name, site.ca_pem.as_bytes())
        .await
        .unwrap_err();
    assert!(matches!(error, ControlError::Untrusted { .. }), "{error:?}");

    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = nobody.local_addr().unwrap().to_string();
    drop(nobody);
    let error = ControlPlane::connect(&address, site.ca_pem.as_bytes())
        .await
        .unwrap_err();
    assert!(
        matches!(error, ControlError::Unreachable { .. }),
        "{error:?}"
    );
    assert!(error.is_transient());
}

#[tokio::test]
async fn a_control_plane_that_goes_away_is_unreachable() {
    let mut site = Site::start().await;
    let token = site.token("web");
    let mut control = site.control().await;
    control.check("demo.web", &token).await.unwrap();
    site.shutdown.cancel();
    (&mut site.server).await.unwrap().unwrap();
    for answer in both(&mut control, "demo.web", &token).await {
        let error = answer.unwrap_err();
        assert!(
            matches!(error, ControlError::Unreachable { .. }),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn addresses_and_cas_that_are_none_are_said_to_be() {
    for address in [
        "", "host", "host:", ":5678", "host:x", "a b:1", "u@h:1", "h:1/x",
    ] {
        let error = ControlPlane::connect(address, b"").await.unwrap_err();
        assert!(
            matches!(error, ControlError::Address(_)),
            "{address}: {error:?}"
        );
    }
    for ca in ["", "no PEM"] {
        let error = ControlPlane::connect("[::1]:5678", ca.as_bytes())
            .await
            .unwrap_err();
        assert!(matches!(error, ControlError::Ca), "{error:?}");
    }
}

#[tokio::test]
async fn a_renewed_token_does_not_print() {
    let site = Site::start().await;
    let mut control = site.control().await;
    let renewed = control.renew("demo.web", &site.aged(HALF)).await.unwrap();
    let signature = renewed.token.expose().rsplit_once('.').unwrap().1;
    assert!(!format!("{renewed:?} {control:?}").contains(signature));
}

/// The code that ends a call whose request is that stream.
async fn code(
    site: &Site,
    path: &'static str,
    request: impl Stream<Item = Node> + Send + 'static,
) -> Code {
    let mut grpc = tonic::client::Grpc::new(site.channel().await);
    grpc.ready().await.unwrap();
    let request = authorized(request, Some(site.token("web")));
    let codec = tonic_prost::ProstCodec::<Node, Node>::default();
    let path = PathAndQuery::from_static(path);
    grpc.client_streaming(request, path, codec)
        .await
        .unwrap_err()
        .code()
}

#[tokio::test]
async fn a_request_that_does_not_come_and_an_unknown_method_are_refused() {
    let site = Site::start().await;
    let renew = "/windlass.v1.DataplaneService/RenewToken";
    let never = code(&site, renew, tokio_stream::pending());
    let never = tokio::time::timeout(DEADLINE, never).await.unwrap();
    assert_eq!(never, Code::DeadlineExceeded);
    let unknown = "/windlass.v1.DataplaneService/Revoke";
    let one = tokio_stream::iter([Node::default()]);
    assert_eq!(code(&site, unknown, one).await, Code::Unimplemented);
}
