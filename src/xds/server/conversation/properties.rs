//! A proxy that uses what it is told, as Envoy does, a network that loses what
//! is under way, and contents that go back and forth under rising marks.
//!
//! Whatever happens: of a part that the board says was acknowledged at a mark,
//! the proxy uses nothing that was not told under that mark or a later one.

mod proxy;

use std::collections::VecDeque;

use proptest::prelude::*;
use tokio::runtime::Runtime;

use self::proxy::{Dialect, Proxy};
use super::*;
use crate::model::{Evidence, Marks, ProxyEvidence};
use crate::store::Store as _;
use crate::store::memory::MemoryStore;
use crate::xds::evidence::EvidenceBoard;
use crate::xds::fixtures::{at, bundle, dataplane, leaf, store_of_web};
use crate::xds::resource::{IDENTITY_CERT, MESH_CA};
use crate::xds::session::{Delta, Sotw};
use crate::xds::snapshot::View;

const CDS: ResourceType = ResourceType::Cluster;
const LDS: ResourceType = ResourceType::Listener;
const SDS: ResourceType = ResourceType::Secret;
const NAMES: [&str; 2] = ["a", "b"];
/// The content that the proxy rejects; 0 does not exist.
const BAD: u8 = 3;

#[derive(Debug, Clone)]
enum Event {
    /// Something of a part has another content, under another mark or not.
    Change(Part, usize, u8, bool),
    /// The streams see what there is now.
    Publish,
    Subscribe(usize),
    Unsubscribe(usize),
    /// The stream does one thing.
    Work,
    Silence,
    RequestArrives,
    ResponseArrives,
    /// The stream breaks. The server may notice later.
    Reconnect {
        noticed: bool,
    },
    /// The server notices that an earlier stream broke.
    Notice,
    /// The proxy is started anew.
    Restart,
    Flush,
    /// The control plane is killed.
    Crash,
}

fn event() -> impl Strategy<Value = Event> {
    let part = prop::sample::select(&Part::ALL[..]);
    prop_oneof![
        3 => Just(Event::Change(Part::Bundle, 0, BAD, true)),
        4 => (part, 0..2_usize, 0..=BAD, any::<bool>())
            .prop_map(|(part, name, content, raises)| Event::Change(part, name, content, raises)),
        3 => Just(Event::Publish),
        1 => (0..2_usize).prop_map(Event::Subscribe),
        1 => (0..2_usize).prop_map(Event::Unsubscribe),
        8 => Just(Event::Work),
        1 => Just(Event::Silence),
        8 => Just(Event::RequestArrives),
        8 => Just(Event::ResponseArrives),
        1 => any::<bool>().prop_map(|noticed| Event::Reconnect { noticed }),
        1 => Just(Event::Notice),
        1 => Just(Event::Restart),
        1 => Just(Event::Flush),
        1 => Just(Event::Crash),
    ]
}

/// What is to be served.
#[derive(Debug, Clone)]
struct Contents {
    /// Those of bundle and leaf have no other name.
    parts: [[u8; 2]; 4],
    marks: Marks,
    /// Each control plane issues leaves of its own.
    incarnation: u32,
}

impl Contents {
    fn snapshot(&self) -> Arc<Snapshot> {
        let all = |part: Part, kind| -> Arc<[Arc<Resource>]> {
            let there = NAMES.into_iter().zip(self.parts[part as usize]);
            there
                .filter(|(_, content)| *content != 0)
                .map(|(name, content)| {
                    Resource::encoded(kind, name, content.to_string().into_bytes().into()).into()
                })
                .collect()
        };
        let [trusted, _] = self.parts[Part::Bundle as usize];
        let [held, _] = self.parts[Part::Leaf as usize];
        let own = format!("{held} of {}", self.incarnation);
        let identity = (held != 0).then(|| Resource::identity_cert(leaf(&own)).into());
        let view = View {
            mesh_ca: (trusted != 0).then(|| Resource::mesh_ca(bundle(&trusted.to_string())).into()),
            leaf: None,
            clusters: all(Part::Outbounds, CDS),
            endpoints: Arc::default(),
            listeners: all(Part::Inbounds, LDS),
            marks: self.marks,
        };
        view.with_identity(identity.map(|it| (it, self.marks.leaf)))
            .into()
    }
}

struct World<'a, V: Dialect> {
    runtime: &'a Runtime,
    store: MemoryStore,
    board: Arc<EvidenceBoard>,
    stream: Option<Conversation<V>>,
    /// Those that broke and the server does not know it.
    broken: Vec<Conversation<V>>,
    proxy: Proxy,
    requests: VecDeque<(ResourceType, V::Request)>,
    responses: VecDeque<Response>,
    contents: Contents,
    /// All that was ever told.
    told: Vec<Arc<Snapshot>>,
}

impl<'a, V: Dialect> World<'a, V> {
    fn new(runtime: &'a Runtime) -> Self {
        let contents = Contents {
            parts: [[1, 0], [1, 0], [1, 1], [1, 1]],
            marks: Marks::default(),
            incarnation: 0,
        };
        let mut world = Self {
            runtime,
            store: runtime.block_on(store_of_web()),
            board: Arc::default(),
            stream: None,
            broken: Vec::new(),
            proxy: Proxy::default(),
            requests: VecDeque::new(),
            responses: VecDeque::new(),
            told: vec![contents.snapshot()],
            contents,
        };
        world.proxy.wants = [MESH_CA, IDENTITY_CERT].into();
        world.connect();
        world.drain();
        world
    }

    /// Lets everything arrive.
    fn drain(&mut self) {
        for _ in 0..1000 {
            if !(self.request_arrives() | self.response_arrives() | self.work()) {
                self.stream.as_mut().unwrap().on_silence();
                if !self.work() {
                    return;
                }
            }
        }
        panic!("it spins");
    }

    fn connect(&mut self) {
        self.requests.clear();
        self.responses.clear();
        self.proxy.begins();
        let connection = self.board.connect(dataplane("web"), at(1000), at(1));
        let mut stream = Conversation::new(connection);
        stream.on_snapshot(self.told.last().unwrap(), at(1));
        self.stream = Some(stream);
        for kind in [CDS, LDS, SDS] {
            self.requests.push_back((kind, V::first(&self.proxy, kind)));
        }
    }

    fn breaks(&mut self, is_noticed: bool) {
        let stream = self.stream.take().unwrap();
        if !is_noticed && self.broken.len() < 2 {
            self.broken.push(stream);
        }
        self.connect();
    }

    fn publish(&mut self) {
        let snapshot = self.contents.snapshot();
        for stream in self.stream.iter_mut().chain(&mut self.broken) {
            stream.on_snapshot(&snapshot, at(2));
        }
        self.told.push(snapshot);
    }

    fn flush(&self) {
        let flushed = self.board.flush(&self.store);
        self.runtime.block_on(flushed).unwrap();
    }

    fn stored(&self) -> Evidence {
        self.runtime.block_on(self.store.evidence()).unwrap()
    }

    fn crash(&mut self) {
        // What it rejected of the other types unheard is not told: a proxy
        // that claims all the rest would have to be sent everything.
        let all = |it: &Self| {
            let requests = it.requests.iter().map(|(kind, _)| *kind);
            let mut kinds = requests.chain(it.responses.iter().map(|it| it.kind));
            kinds.any(|kind| kind != SDS)
        };
        while all(self) {
            let _ = self.response_arrives() | self.request_arrives();
        }
        let known = self.board.of(&dataplane("web")).unwrap();
        let is_kept = |it: &Arc<ProxyEvidence>| {
            let of_types = |it: &ProxyEvidence| {
                let doubted = it.doubted.iter().filter(|it| **it != *MESH_CA);
                (it.refused.clone(), doubted.cloned().collect::<Vec<_>>())
            };
            of_types(it) == of_types(&known)
        };
        if !self.stored().get(&dataplane("web")).is_some_and(is_kept) {
            self.flush();
        }
        let stored = self.stored();
        self.stream = None;
        self.broken.clear();
        self.contents.incarnation += 1;
        let day = std::time::Duration::from_hours(24);
        let stored = crate::store::EvidenceChanges {
            records: stored.into_values().collect(),
            ..Default::default()
        };
        let board = EvidenceBoard::restore(stored, "", day, at(3));
        let mut mesh = crate::model::MeshState::absent("demo".parse().unwrap());
        // The store knows more than anybody was told.
        mesh.progress.marks = self.contents.marks;
        board.compare(&crate::model::Current {
            meshes: [(mesh.name.clone(), mesh.into())].into(),
            ..crate::model::Current::default()
        });
        self.board = Arc::new(board);
        self.told.push(self.contents.snapshot());
        self.connect();
    }

    /// Lets the stream do one thing. Returns whether it did something.
    fn work(&mut self) -> bool {
        let stream = self.stream.as_mut().unwrap();
        if stream.connection().on_record().is_none() {
            self.flush();
            self.stream.as_mut().unwrap().on_record();
        }
        let stream = self.stream.as_mut().unwrap();
        match stream.next(at(4)) {
            Todo::Send(response) => {
                self.responses.push_back(response);
                true
            }
            Todo::Note(_) => true,
            Todo::AwaitVerdict | Todo::Nothing => false,
        }
    }

    fn request_arrives(&mut self) -> bool {
        let Some((kind, request)) = self.requests.pop_front() else {
            return false;
        };
        let stream = self.stream.as_mut().unwrap();
        stream.on_request(kind, &request, at(5));
        true
    }

    fn response_arrives(&mut self) -> bool {
        let Some(response) = self.responses.pop_front() else {
            return false;
        };
        let accepted = self.proxy.takes::<V>(&response);
        let answer = V::answer(&self.proxy, &response, accepted);
        self.requests.push_back((response.kind, answer));
        true
    }

    fn happens(&mut self, event: &Event) {
        match *event {
            Event::Change(part, name, content, raises) => {
                let name = if matches!(part, Part::Bundle | Part::Leaf) {
                    0
                } else {
                    name
                };
                let known = &mut self.contents.parts[part as usize][name];
                // No two bundles that follow each other have the same mark.
                let raises = raises || (part == Part::Bundle && *known != content);
                *known = content;
                *self.contents.marks.of_mut(part) += u64::from(raises);
            }
            Event::Publish => self.publish(),
            Event::Subscribe(name) => {
                let name = [MESH_CA, IDENTITY_CERT][name];
                if self.proxy.wants.insert(name) {
                    let request = V::subscription(&self.proxy, &[name], &[]);
                    self.requests.push_back((SDS, request));
                }
            }
            Event::Unsubscribe(name) => {
                let name = [MESH_CA, IDENTITY_CERT][name];
                if self.proxy.drops(name) {
                    let request = V::subscription(&self.proxy, &[], &[name]);
                    self.requests.push_back((SDS, request));
                }
            }
            Event::Work => drop(self.work()),
            Event::Silence => self.stream.as_mut().unwrap().on_silence(),
            Event::RequestArrives => drop(self.request_arrives()),
            Event::ResponseArrives => drop(self.response_arrives()),
            Event::Reconnect { noticed } => self.breaks(noticed),
            Event::Notice => drop(self.broken.pop()),
            Event::Restart => {
                self.proxy.restarts();
                self.breaks(true);
            }
            Event::Flush => self.flush(),
            Event::Crash => self.crash(),
        }
        self.check(event);
    }

    /// The proxy uses nothing older than what the board says.
    fn check(&self, after: &Event) {
        let known = self.board.of(&dataplane("web")).unwrap();
        for (part, acknowledged) in &known.acknowledged {
            let (kind, names) = match part {
                Part::Bundle => (SDS, &[MESH_CA][..]),
                Part::Leaf => (SDS, &[IDENTITY_CERT][..]),
                Part::Inbounds => (LDS, &NAMES[..]),
                Part::Outbounds => (CDS, &NAMES[..]),
            };
            let mark = acknowledged.mark;
            let newer = self.told.iter().filter(|it| it.marks().of(*part) >= mark);
            let newer: Vec<_> = newer.collect();
            assert!(!newer.is_empty(), "nothing was told under {mark}");
            for name in names {
                let used = self.proxy.used(kind, name);
                if used.is_none() && (self.proxy.has_restarted || kind == SDS) {
                    continue;
                }
                let is_it = |snapshot: &&Arc<Snapshot>| {
                    let mut all = snapshot.of(kind).iter();
                    let told = all.find(|it| *it.name == **name);
                    told.map(|it| proxy::content(it)) == used
                };
                assert!(
                    newer.iter().any(is_it),
                    "{part} {name} at {mark} is {used:?} after {after:?}"
                );
            }
        }
    }

    /// Lets everything arrive. Then all that can be is proven.
    fn settle(&mut self) {
        for content in self.contents.parts.iter_mut().flatten() {
            if *content == BAD {
                *content = 1;
            }
        }
        for part in Part::ALL {
            *self.contents.marks.of_mut(part) += 1;
        }
        self.broken.clear();
        self.publish();
        self.drain();
        self.check(&Event::Work);
        let known = self.board.of(&dataplane("web")).unwrap();
        let snapshot = self.contents.snapshot();
        for part in Part::ALL {
            let can_be = match part {
                Part::Inbounds | Part::Outbounds => true,
                Part::Bundle | Part::Leaf => {
                    let name = [MESH_CA, IDENTITY_CERT][part as usize];
                    let there = snapshot.of(SDS).iter().any(|it| *it.name == *name);
                    there && self.proxy.wants.contains(name)
                }
            };
            let mark = self.contents.marks.of(part);
            let is_proven = known.has_acknowledged(part, mark);
            assert!(is_proven || !can_be, "{part} is not proven in the end");
        }
    }
}

fn proves_nothing_but_the_truth<V: Dialect>(events: &[Event]) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let mut world = World::<V>::new(&runtime);
    for event in events {
        world.happens(event);
    }
    world.settle();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_state_of_the_world_proves_nothing_but_the_truth(
        events in prop::collection::vec(event(), 0..120)
    ) {
        proves_nothing_but_the_truth::<Sotw>(&events);
    }

    #[test]
    fn delta_proves_nothing_but_the_truth(events in prop::collection::vec(event(), 0..120)) {
        proves_nothing_but_the_truth::<Delta>(&events);
    }
}
