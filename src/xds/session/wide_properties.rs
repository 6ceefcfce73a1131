//! A proxy that asks for everything on one stream, and an unreliable network.
//!
//! The proxy is Envoy in small: it asks for the endpoints of the clusters it
//! has, a cluster that changed lacks them until they come again, though it does
//! not ask for them and says that it holds them, and until then it says nothing
//! about clusters, not on the next stream either. Whatever
//! happens, nothing waits for ever, no cluster waits for endpoints that there
//! are, it ends with what is newest, no listener comes before what it uses, and
//! no cluster goes while a listener uses it.

mod proxy;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;

use self::proxy::{Dialect, Proxy, content};
use super::{Delta, Next, Response, Session, Sotw, Verdict};
use crate::xds::resource::{Resource, ResourceType};
use crate::xds::snapshot::Snapshot;

const CDS: ResourceType = ResourceType::Cluster;
const EDS: ResourceType = ResourceType::Endpoints;
const LDS: ResourceType = ResourceType::Listener;
/// What the proxy asks for, in its order.
const KINDS: [ResourceType; 4] = [CDS, EDS, LDS, ResourceType::Secret];
const CLUSTERS: [&str; 3] = ["a", "b", "c"];
/// The content that the proxy rejects; 0 does not exist.
const BAD: u8 = 3;

#[derive(Debug, Clone)]
enum Event {
    Cluster(usize, u8),
    Endpoints(usize, u8),
    Listener(u8),
    Secret(u8),
    /// The session does one thing.
    Work,
    Silence,
    RequestArrives,
    ResponseArrives,
    Reconnect,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        2 => (0..3usize, 0..=BAD + 1).prop_map(|(name, content)| Event::Cluster(name, content)),
        1 => (0..3usize, 1..=BAD + 1).prop_map(|(name, content)| Event::Endpoints(name, content)),
        1 => (0..=BAD + 1).prop_map(Event::Listener),
        1 => (0..=BAD + 1).prop_map(Event::Secret),
        6 => Just(Event::Work),
        1 => Just(Event::Silence),
        6 => Just(Event::RequestArrives),
        6 => Just(Event::ResponseArrives),
        1 => Just(Event::Reconnect),
    ]
}

/// What is to be served: a listener that uses every cluster there is.
#[derive(Debug, Clone)]
struct Contents {
    clusters: [u8; 3],
    endpoints: [u8; 3],
    listener: u8,
    secret: u8,
}

impl Contents {
    fn clusters(&self) -> impl Iterator<Item = (usize, &'static str)> {
        let there = CLUSTERS.into_iter().enumerate();
        there.filter(|(index, _)| self.clusters[*index] != 0)
    }

    fn snapshot(&self) -> Snapshot {
        let resource = |kind, name: &str, content: u8, uses: &str| {
            let bytes = format!("{content} {uses}").into_bytes();
            (content != 0).then(|| Resource::encoded(kind, name, bytes.into()))
        };
        let uses: String = self.clusters().map(|(_, name)| name).collect();
        let mut all = vec![
            resource(LDS, "in", self.listener, &uses),
            resource(ResourceType::Secret, "s", self.secret, ""),
        ];
        for (index, name) in self.clusters() {
            all.push(resource(CDS, name, self.clusters[index], ""));
            all.push(resource(EDS, name, self.endpoints[index], ""));
        }
        Snapshot::new(all.into_iter().flatten())
    }

    fn mend(&mut self) {
        let all = self.clusters.iter_mut().chain(&mut self.endpoints);
        for content in all.chain([&mut self.listener, &mut self.secret]) {
            if *content == BAD {
                *content += 1;
            }
        }
    }
}

struct World<V: Dialect> {
    proxy: Proxy,
    session: Session<V>,
    contents: Contents,
    requests: VecDeque<(ResourceType, V::Request)>,
    responses: VecDeque<Response>,
    /// What the proxy says about clusters once none is warming.
    withheld: Vec<V::Request>,
    /// Nobody gave up waiting, and the proxy rejected no cluster and no endpoints.
    is_orderly: bool,
    has_reconnected: bool,
    sent: usize,
    allowed: usize,
}

impl<V: Dialect> World<V> {
    fn new() -> Self {
        let mut world = Self {
            proxy: Proxy::default(),
            session: Session::new(BTreeSet::new()),
            contents: Contents {
                clusters: [1, 1, 0],
                endpoints: [1, 1, 1],
                listener: 1,
                secret: 1,
            },
            requests: VecDeque::new(),
            responses: VecDeque::new(),
            withheld: Vec::new(),
            is_orderly: true,
            has_reconnected: false,
            sent: 0,
            allowed: 0,
        };
        world.connect();
        world
    }

    fn connect(&mut self) {
        self.requests.clear();
        self.responses.clear();
        self.withheld.clear();
        self.proxy.nonces.clear();
        if std::mem::take(&mut self.proxy.is_stale) {
            self.proxy.versions.remove(&EDS);
        }
        self.session = Session::new(BTreeSet::new());
        for kind in KINDS {
            // Without a cluster it does not ask for endpoints.
            if kind != EDS || !self.proxy.names(EDS).is_empty() {
                let first = V::first(&self.proxy, kind);
                self.says(kind, first);
            }
        }
        self.allowed += 8;
    }

    /// Sends a request, or keeps it while clusters warm if it is about those.
    fn says(&mut self, kind: ResourceType, answer: V::Request) {
        if kind == CDS {
            self.withheld.push(answer);
            self.release();
        } else {
            self.requests.push_back((kind, answer));
        }
    }

    fn release(&mut self) {
        if self.proxy.warming.is_empty() {
            let withheld = self.withheld.drain(..);
            self.requests.extend(withheld.map(|request| (CDS, request)));
        }
    }

    /// The proxy gives up waiting for endpoints, which is right only where
    /// there are none. Returns whether it waited.
    fn gives_up(&mut self) -> bool {
        let warming = std::mem::take(&mut self.proxy.warming);
        let starved = self.contents.clusters().find(|it| warming.contains(it.1));
        assert_eq!(starved, None, "a cluster waits for its endpoints");
        self.release();
        self.is_orderly &= warming.is_empty();
        !warming.is_empty()
    }

    /// Lets the session do one thing. Returns whether it did something.
    fn work(&mut self) -> bool {
        match self.session.next(&self.contents.snapshot()) {
            Next::Send(response) => {
                self.sent += 1;
                self.responses.push_back(response);
                true
            }
            Next::Holds(held) => {
                for resource in held.resources {
                    let mut known = self.proxy.held(held.kind);
                    let is_known = known.any(|(_, it)| it.version == resource.version);
                    // It may have been replaced meanwhile, in this stream.
                    assert!(is_known || self.sent > 0, "it does not hold {resource:?}");
                }
                true
            }
            Next::AwaitVerdict | Next::Nothing => false,
        }
    }

    fn request_arrives(&mut self) -> bool {
        let Some((kind, request)) = self.requests.pop_front() else {
            return false;
        };
        match self.session.on_request(kind, &request) {
            Some(Verdict::Rejected { resources, .. }) => {
                assert!(resources.iter().all(|it| it.kind == kind));
            }
            Some(Verdict::Accepted { resources, .. }) => {
                let is_good = |it: &std::sync::Arc<Resource>| {
                    it.kind == kind && !content(it).starts_with(char::from(b'0' + BAD))
                };
                assert!(resources.iter().all(is_good));
            }
            None => {}
        }
        true
    }

    fn response_arrives(&mut self) -> bool {
        let Some(response) = self.responses.pop_front() else {
            return false;
        };
        let kind = response.kind;
        let is_bad = |it: &std::sync::Arc<Resource>| content(it).starts_with('3');
        let accepted = !response.resources.iter().any(is_bad);
        self.proxy.nonces.insert(kind, response.nonce.clone());
        let before = self.proxy.names(EDS);
        if accepted {
            self.apply(&response);
        } else {
            self.is_orderly &= !matches!(kind, CDS | EDS);
        }
        if kind == EDS {
            // Those that were rejected end the wait too.
            for resource in &response.resources {
                self.proxy.warming.remove(&*resource.name);
            }
            self.release();
        }
        let answer = V::answer(&self.proxy, &response, accepted);
        let endpoints = V::endpoints(&self.proxy, &before).map(|request| (EDS, request));
        // Envoy says both at once, in either order.
        if response.nonce.len() % 2 == 0 {
            self.requests.extend(endpoints);
            self.says(kind, answer);
        } else {
            self.says(kind, answer);
            self.requests.extend(endpoints);
        }
        true
    }

    fn apply(&mut self, response: &Response) {
        let kind = response.kind;
        let names = self.proxy.names(EDS);
        self.proxy.versions.insert(kind, response.version.clone());
        let held = self.proxy.held.entry(kind).or_default();
        let before = held.clone();
        if V::is_whole(kind) {
            held.clear();
        }
        for resource in &response.resources {
            if kind == EDS && !names.contains(&resource.name.to_string()) {
                self.proxy.is_stale = true;
                continue;
            }
            held.insert(resource.name.to_string(), (**resource).clone());
        }
        for name in &response.removed {
            held.remove(&**name);
        }
        if kind == CDS {
            let same = |name: &str| {
                let versions = [&before, &*held].map(|it| it.get(name).map(|it| it.version));
                versions[0] == versions[1]
            };
            let names = before.keys().chain(held.keys());
            let changed: BTreeSet<_> = names.filter(|name| !same(name)).cloned().collect();
            let held = held.clone();
            for name in changed {
                self.proxy.warming.remove(&name);
                if held.contains_key(&name) {
                    self.proxy.warming.insert(name);
                } else {
                    let endpoints = self.proxy.held.entry(EDS).or_default();
                    self.proxy.is_stale |= endpoints.remove(&name).is_some();
                }
            }
        }
        self.check_order(kind);
    }

    /// Make before break, as far as nobody gave up.
    fn check_order(&self, kind: ResourceType) {
        if !self.is_orderly || (kind == CDS && V::FORGETS && self.has_reconnected) {
            return;
        }
        let used = self.proxy.used();
        let has = |kind, name: &str| self.proxy.held(kind).any(|(held, _)| held == name);
        if matches!(kind, CDS | LDS) {
            let missing = used.iter().find(|name| !has(CDS, name));
            assert_eq!(missing, None, "a listener has no cluster after {kind}");
        }
        if kind == LDS {
            let is_cold = |name: &str| !has(EDS, name) || self.proxy.warming.contains(name);
            let missing = used.iter().find(|name| is_cold(name));
            assert_eq!(missing, None, "a cluster has no endpoints after {kind}");
        }
    }

    fn happens(&mut self, event: &Event) {
        let before = self.contents.clone();
        match *event {
            Event::Cluster(name, content) => self.contents.clusters[name] = content,
            Event::Endpoints(name, content) => self.contents.endpoints[name] = content,
            Event::Listener(content) => self.contents.listener = content,
            Event::Secret(content) => self.contents.secret = content,
            Event::Work => drop(self.work()),
            Event::Silence => {
                self.session.on_silence();
                self.is_orderly = false;
                self.allowed += 4;
            }
            Event::RequestArrives => drop(self.request_arrives()),
            Event::ResponseArrives => drop(self.response_arrives()),
            Event::Reconnect => {
                self.has_reconnected = true;
                self.connect();
            }
        }
        if !before.snapshot().is_same(&self.contents.snapshot()) {
            // Clusters, their endpoints, listeners, and clusters again.
            self.allowed += 5;
        }
    }

    /// Lets everything arrive.
    fn settle(&mut self) {
        for _ in 0..1000 {
            let busy = self.request_arrives() | self.response_arrives() | self.work();
            if !busy && !self.gives_up() {
                let next = self.session.next(&self.contents.snapshot());
                assert!(matches!(next, Next::Nothing), "it waits for ever: {next:?}");
                return;
            }
        }
        panic!("it spins");
    }
}

fn converges<V: Dialect>(events: &[Event]) {
    let mut world = World::<V>::new();
    for event in events {
        world.happens(event);
    }
    world.settle();
    world.contents.mend();
    world.allowed += 5;
    world.settle();
    assert!(
        world.sent <= world.allowed,
        "{} responses for {} reasons",
        world.sent,
        world.allowed
    );
    let snapshot = world.contents.snapshot();
    for kind in KINDS {
        let newest = snapshot.of(kind).iter();
        let newest: BTreeMap<_, _> = newest.map(|it| (&*it.name, it.version)).collect();
        if kind == ResourceType::Secret && newest.is_empty() {
            continue;
        }
        let held = world.proxy.held(kind);
        let held: BTreeMap<_, _> = held.map(|(name, it)| (name, it.version)).collect();
        assert_eq!(held, newest, "{kind}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn state_of_the_world_converges_in_order(events in prop::collection::vec(event(), 0..120)) {
        converges::<Sotw>(&events);
    }

    #[test]
    fn delta_converges_in_order(events in prop::collection::vec(event(), 0..120)) {
        converges::<Delta>(&events);
    }
}
