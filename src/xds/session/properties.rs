//! A proxy that asks for secrets, a session and an unreliable network between
//! them, in any order. The other types are in [`super::wide_properties`].
//!
//! Whatever happens, what the session says about the proxy is true, it sends
//! no more than changed, and in the end the proxy holds what is newest.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use envoy_types::pb::google::rpc::Status;
use proptest::prelude::*;

use super::{Delta, Next, Response, Session, Sotw, Variant, Verdict};
use crate::xds::fixtures::secrets;
use crate::xds::resource::{Body, IDENTITY_CERT, MESH_CA, Resource, ResourceType};
use crate::xds::snapshot::Snapshot;

const NAMES: [&str; 2] = [MESH_CA, IDENTITY_CERT];
/// The content that the proxy rejects; 0 is a secret that does not exist.
const BAD: u8 = 3;

/// The name of a secret, for as long as the test lasts.
fn named(resource: &Resource) -> &'static str {
    let is_it = |name: &&&'static str| **name == &*resource.name;
    NAMES.iter().find(is_it).unwrap()
}

#[derive(Debug, Clone)]
enum Event {
    Change(usize, u8),
    Subscribe(usize),
    Unsubscribe(usize),
    /// The session does one thing.
    Work,
    Silence,
    RequestArrives,
    ResponseArrives,
    Reconnect,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        2 => (0..2usize, 0..=BAD + 1).prop_map(|(name, content)| Event::Change(name, content)),
        1 => (0..2usize).prop_map(Event::Subscribe),
        1 => (0..2usize).prop_map(Event::Unsubscribe),
        4 => Just(Event::Work),
        1 => Just(Event::Silence),
        4 => Just(Event::RequestArrives),
        4 => Just(Event::ResponseArrives),
        1 => Just(Event::Reconnect),
    ]
}

/// How a proxy speaks a variant of the protocol.
trait Dialect: Variant {
    fn first(proxy: &Proxy) -> Self::Request;
    fn answer(proxy: &Proxy, response: &Response, accepted: bool) -> Self::Request;
    fn subscription(proxy: &Proxy, added: &[&str], removed: &[&str]) -> Self::Request;
}

#[derive(Debug, Default)]
struct Proxy {
    names: BTreeSet<&'static str>,
    held: BTreeMap<&'static str, (u8, String)>,
    last_received: BTreeMap<&'static str, u8>,
    /// State of the world: what was accepted last, and the newest nonce.
    version: String,
    nonce: String,
    /// A name was dropped since: the version says more than is held.
    stale_version: bool,
}

fn content(resource: &Resource) -> u8 {
    let text = match &resource.body {
        Body::TrustBundle(bundle) => bundle.pem.to_string(),
        Body::Identity(leaf) => leaf.certificate.to_string(),
        Body::Encoded(bytes) => String::from_utf8_lossy(bytes).into_owned(),
    };
    text.parse().unwrap()
}

fn names(proxy: &Proxy) -> Vec<String> {
    proxy.names.iter().map(|&name| name.to_owned()).collect()
}

fn rejection(accepted: bool) -> Option<Status> {
    (!accepted).then(Status::default)
}

impl Dialect for Sotw {
    fn first(proxy: &Proxy) -> DiscoveryRequest {
        Self::subscription(proxy, &[], &[])
    }

    fn answer(proxy: &Proxy, response: &Response, accepted: bool) -> DiscoveryRequest {
        DiscoveryRequest {
            response_nonce: response.nonce.clone(),
            error_detail: rejection(accepted),
            ..Self::subscription(proxy, &[], &[])
        }
    }

    fn subscription(proxy: &Proxy, _: &[&str], _: &[&str]) -> DiscoveryRequest {
        DiscoveryRequest {
            version_info: proxy.version.clone(),
            response_nonce: proxy.nonce.clone(),
            resource_names: names(proxy),
            ..DiscoveryRequest::default()
        }
    }
}

impl Dialect for Delta {
    fn first(proxy: &Proxy) -> DeltaDiscoveryRequest {
        let held = proxy.held.iter();
        DeltaDiscoveryRequest {
            resource_names_subscribe: names(proxy),
            initial_resource_versions: held
                .map(|(name, (_, version))| ((*name).to_owned(), version.clone()))
                .collect(),
            ..DeltaDiscoveryRequest::default()
        }
    }

    fn answer(_: &Proxy, response: &Response, accepted: bool) -> DeltaDiscoveryRequest {
        DeltaDiscoveryRequest {
            response_nonce: response.nonce.clone(),
            error_detail: rejection(accepted),
            ..DeltaDiscoveryRequest::default()
        }
    }

    fn subscription(_: &Proxy, added: &[&str], removed: &[&str]) -> DeltaDiscoveryRequest {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        DeltaDiscoveryRequest {
            resource_names_subscribe: owned(added),
            resource_names_unsubscribe: owned(removed),
            ..DeltaDiscoveryRequest::default()
        }
    }
}

struct World<S: Dialect> {
    proxy: Proxy,
    session: Session<S>,
    contents: [u8; 2],
    requests: VecDeque<S::Request>,
    responses: VecDeque<Response>,
    /// What the proxy held when the stream began.
    held_at_first: BTreeMap<&'static str, u8>,
    /// The nonces of this stream that the proxy accepted or rejected.
    answers: BTreeMap<(&'static str, u8), BTreeSet<bool>>,
    distrusted: BTreeSet<String>,
    sent: usize,
    allowed: usize,
}

impl<S: Dialect> World<S> {
    fn new() -> Self {
        let mut world = Self {
            proxy: Proxy::default(),
            session: Session::new(BTreeSet::new()),
            contents: [1, 1],
            requests: VecDeque::new(),
            responses: VecDeque::new(),
            held_at_first: BTreeMap::new(),
            answers: BTreeMap::new(),
            distrusted: BTreeSet::new(),
            sent: 0,
            allowed: 0,
        };
        world.reconnect();
        world
    }

    fn snapshot(&self) -> Snapshot {
        let word = |content: u8| match content {
            0 => String::new(),
            content => content.to_string(),
        };
        secrets(&word(self.contents[0]), &word(self.contents[1]))
    }

    fn reconnect(&mut self) {
        self.requests.clear();
        self.responses.clear();
        self.answers.clear();
        self.proxy.nonce.clear();
        if std::mem::take(&mut self.proxy.stale_version) {
            self.proxy.version.clear();
        }
        self.held_at_first = (self.proxy.held.iter())
            .map(|(name, (content, _))| (*name, *content))
            .collect();
        self.session = Session::new(self.distrusted.clone());
        self.requests.push_back(S::first(&self.proxy));
        self.allowed += self.proxy.names.len();
    }

    /// Lets the session do one thing. Returns whether it did something.
    fn work(&mut self) -> bool {
        match self.session.next(&self.snapshot()) {
            Next::Send(response) => {
                self.sent += 1;
                self.responses.push_back(response);
                true
            }
            Next::Holds(held) => {
                let [resource] = held.resources.try_into().unwrap();
                let held = self.held_at_first.get(named(&resource));
                assert_eq!(held, Some(&content(&resource)), "it does not hold that");
                true
            }
            Next::AwaitVerdict | Next::Nothing => false,
        }
    }

    fn request_arrives(&mut self) -> bool {
        let Some(request) = self.requests.pop_front() else {
            return false;
        };
        let verdict = self.session.on_request(ResourceType::Secret, &request);
        let (resources, accepted) = match verdict {
            Some(Verdict::Accepted { resources, .. }) => (resources, true),
            Some(Verdict::Rejected { resources, .. }) => (resources, false),
            None => return true,
        };
        let [resource] = resources.try_into().unwrap();
        let answers = self.answers.get(&(named(&resource), content(&resource)));
        assert!(answers.is_some_and(|answers| answers.contains(&accepted)));
        if accepted {
            self.distrusted.remove(named(&resource));
        } else {
            self.distrusted.insert(named(&resource).to_owned());
        }
        true
    }

    fn response_arrives(&mut self) -> bool {
        let Some(response) = self.responses.pop_front() else {
            return false;
        };
        let resource = &response.resources[0];
        let (name, content) = (named(resource), content(resource));
        let accepted = content != BAD;
        self.proxy.last_received.insert(name, content);
        self.proxy.nonce.clone_from(&response.nonce);
        if accepted {
            self.proxy.version.clone_from(&response.version);
            if self.proxy.names.contains(name) {
                let version = resource.version.to_string();
                self.proxy.held.insert(name, (content, version));
            } else {
                self.proxy.stale_version = true;
            }
        }
        let answers = self.answers.entry((name, content)).or_default();
        answers.insert(accepted);
        let answer = S::answer(&self.proxy, &response, accepted);
        self.requests.push_back(answer);
        true
    }

    fn happens(&mut self, event: &Event) {
        match *event {
            Event::Change(name, content) => {
                self.allowed += usize::from(self.contents[name] != content);
                self.contents[name] = content;
            }
            Event::Subscribe(name) => {
                if self.proxy.names.insert(NAMES[name]) {
                    self.allowed += 1;
                    let request = S::subscription(&self.proxy, &[NAMES[name]], &[]);
                    self.requests.push_back(request);
                }
            }
            Event::Unsubscribe(name) => {
                if self.proxy.names.remove(NAMES[name]) {
                    self.proxy.held.remove(NAMES[name]);
                    self.proxy.stale_version = true;
                    let request = S::subscription(&self.proxy, &[], &[NAMES[name]]);
                    self.requests.push_back(request);
                }
            }
            Event::Work => drop(self.work()),
            Event::Silence => self.session.on_silence(),
            Event::RequestArrives => drop(self.request_arrives()),
            Event::ResponseArrives => drop(self.response_arrives()),
            Event::Reconnect => self.reconnect(),
        }
    }

    /// Lets everything arrive.
    fn settle(&mut self) {
        for _ in 0..1000 {
            let busy = self.request_arrives() | self.response_arrives() | self.work();
            if !busy {
                return;
            }
        }
        panic!("it spins");
    }
}

fn converges<S: Dialect>(events: &[Event]) {
    let mut world = World::<S>::new();
    for event in events {
        world.happens(event);
    }
    world.settle();
    assert!(
        world.sent <= world.allowed,
        "{} responses for {} reasons",
        world.sent,
        world.allowed
    );
    for (index, name) in NAMES.iter().enumerate() {
        let newest = world.contents[index];
        if newest == 0 || !world.proxy.names.contains(name) {
            continue;
        }
        if newest == BAD {
            assert_eq!(world.proxy.last_received.get(name), Some(&newest), "{name}");
        } else {
            let held = world.proxy.held.get(name).map(|(content, _)| content);
            assert_eq!(held, Some(&newest), "{name}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn state_of_the_world_converges_without_a_spin(events in prop::collection::vec(event(), 0..80)) {
        converges::<Sotw>(&events);
    }

    #[test]
    fn delta_converges_without_a_spin(events in prop::collection::vec(event(), 0..80)) {
        converges::<Delta>(&events);
    }
}
