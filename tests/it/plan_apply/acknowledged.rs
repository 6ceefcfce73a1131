//! The same with proxies that acknowledge what they are given in any order,
//! or do not: whatever is committed meanwhile, they go on to understand each
//! other, what is planned is admitted, and in the end all is as committed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use windlass::clock;
use windlass::model::{
    Accepts, Acknowledgement, AuthorityId, DataplaneId, Nack, Opens, Part, Posture, ProxyEvidence,
};

use super::*;

const PROXIES: usize = 3;
const DAY: Duration = Duration::from_hours(24);

#[derive(Debug, Clone)]
enum Event {
    Commit(Commit),
    Connect(usize),
    Acknowledge(usize, Part),
    Reject(usize, Part),
    Leave(usize),
    GoOn,
}

fn event() -> impl Strategy<Value = Event> {
    let part = || prop::sample::select(Part::ALL.to_vec());
    prop_oneof![
        2 => commit().prop_map(|commit| Event::Commit(Commit {
            // Mostly it goes on as it was.
            mesh: commit.mesh || commit.enabled,
            ..commit
        })),
        3 => (0..PROXIES).prop_map(Event::Connect),
        12 => (0..PROXIES, part()).prop_map(|(proxy, part)| Event::Acknowledge(proxy, part)),
        1 => (0..PROXIES, part()).prop_map(|(proxy, part)| Event::Reject(proxy, part)),
        1 => (0..PROXIES).prop_map(Event::Leave),
        6 => Just(Event::GoOn),
    ]
}

/// A proxy that has connected, with what it uses.
#[derive(Debug, Clone)]
struct Proxy {
    evidence: ProxyEvidence,
    trusts: BTreeSet<AuthorityId>,
    leaf: Option<AuthorityId>,
    accepts: Option<Accepts>,
    opens: Option<Opens>,
    /// The parts that it has been given on this connection.
    has: BTreeSet<Part>,
    /// Whether it was given all since it connected without a leaf.
    counts: bool,
}

impl Proxy {
    fn plaintext(&self) -> bool {
        if !self.counts && self.evidence.connected_since.is_none() {
            return false;
        }
        self.accepts.is_some_and(|it| it != Accepts::Mtls) || self.opens == Some(Opens::Plaintext)
    }

    fn reaches(&self, server: &Self) -> bool {
        let trusts = |one: &Self, other: &Self| {
            let leaf = other.leaf.as_ref();
            leaf.is_some_and(|leaf| one.trusts.contains(leaf))
        };
        match (self.opens, server.accepts) {
            (Some(Opens::Plaintext), Some(accepts)) => accepts != Accepts::Mtls,
            (Some(Opens::Mtls), Some(accepts)) => {
                accepts != Accepts::Plaintext && trusts(self, server) && trusts(server, self)
            }
            _ => false,
        }
    }
}

struct Site {
    store: MemoryStore,
    vault: Vault,
    desired: Option<Desired>,
    proxies: BTreeMap<usize, Proxy>,
    announced: bool,
}

impl Site {
    async fn demo(&self) -> Option<Arc<MeshState>> {
        let current = self.store.load().await.unwrap();
        current.meshes.get("demo").cloned()
    }

    async fn happens(&mut self, event: &Event) {
        match event {
            Event::Commit(commit) => self.commit(commit).await,
            Event::GoOn => drop(self.go_on().await),
            Event::Connect(number) => self.connect(*number).await,
            Event::Acknowledge(number, part) => self.acknowledge(*number, *part).await,
            Event::Reject(number, part) => {
                if let Some(proxy) = self.proxies.get_mut(number) {
                    proxy.evidence.last_nack = Some(Nack {
                        at: clock::now(),
                        resource: part.to_string(),
                        message: "no".to_owned(),
                    });
                    self.record(*number).await;
                }
            }
            Event::Leave(number) => self.leave(*number).await,
        }
        self.check().await;
    }

    async fn commit(&mut self, commit: &Commit) {
        let desired = desired(commit);
        // Nothing is deleted that is connected.
        for number in (0..PROXIES).filter(|it| !commit.mesh || !commit.dataplanes[*it]) {
            self.leave(number).await;
        }
        let before = self.store.load().await.unwrap();
        let evidence = self.store.evidence().await.unwrap();
        let given = |evidence| Circumstances {
            evidence,
            issuing: Issuing::default(),
            now: clock::now(),
        };
        let plan = plan::plan(&before, &desired, given(&evidence));
        assert!(plan.blocked.is_empty(), "{:?}", plan.blocked);
        for mesh in &plan.meshes {
            assert!(!mesh.is_blocked(), "{:?}", mesh.blocked);
            let absent = Arc::new(MeshState::absent(mesh.mesh.clone()));
            let state = before.meshes.get(&mesh.mesh).unwrap_or(&absent);
            self.apply(mesh, state, &desired).await;
        }
        let demo = self.demo().await;
        let known = |number: &usize| {
            let demo = demo.as_ref();
            demo.is_some_and(|demo| demo.dataplane(&id(*number).name).is_some())
        };
        self.proxies.retain(|number, _| known(number));
        self.announced |= !commit.enabled || !before.meshes.contains_key("demo");
        self.desired = Some(desired);

        // What is done once is not done twice.
        let after = self.store.load().await.unwrap();
        let evidence = self.store.evidence().await.unwrap();
        let again = plan::plan(&after, self.desired.as_ref().unwrap(), given(&evidence));
        for mesh in &again.meshes {
            assert!(mesh.changes.is_empty(), "{:#?}", mesh.changes);
            assert_eq!(mesh.due, 0, "{:#?}", mesh.steps);
        }
    }

    async fn apply(&self, plan: &plan::MeshPlan, state: &MeshState, desired: &Desired) {
        let evidence = self.store.evidence().await.unwrap();
        let applier = Applier {
            evidence: &evidence,
            store: &self.store,
            vault: &self.vault,
            keys: &ROOTS.1,
            evidence: &evidence,
            now: clock::now(),
        };
        if let Err(error) = applier.apply(plan, state, desired).await {
            panic!("{}\n{plan:#?}", windlass::telemetry::chain(&error));
        }
    }

    /// Does what is due; returns whether nothing is left to do.
    async fn go_on(&mut self) -> bool {
        for _ in 0..64 {
            let Some(demo) = self.demo().await else {
                return true;
            };
            let evidence = self.store.evidence().await.unwrap();
            let given = Circumstances {
                evidence: &evidence,
                issuing: Issuing::default(),
                now: clock::now(),
            };
            let Some(plan) = plan::advance(&demo, given) else {
                return true;
            };
            if !plan.is_due(&demo) {
                return false;
            }
            let desired = self.desired.clone().unwrap();
            self.apply(&plan, &demo, &desired).await;
        }
        panic!("it goes on for ever");
    }

    async fn connect(&mut self, number: usize) {
        let Some(demo) = self.demo().await else {
            return;
        };
        if demo.dataplane(&id(number).name).is_none() {
            return;
        }
        let now = clock::now();
        let proxy = self.proxies.entry(number).or_insert_with(|| Proxy {
            evidence: ProxyEvidence {
                asks: Part::ALL.into(),
                drain_seconds: Some(0),
                ..ProxyEvidence::none(id(number), now)
            },
            trusts: BTreeSet::new(),
            leaf: None,
            accepts: None,
            opens: None,
            has: BTreeSet::new(),
            counts: false,
        });
        if proxy.evidence.connected_since.is_none() {
            proxy.evidence.connected_since = Some(now);
            proxy.evidence.left = None;
            if !proxy.counts {
                proxy.has.clear();
                (proxy.accepts, proxy.opens) = (None, None);
            }
        }
        proxy.evidence.offered = demo.progress.marks;
        self.record(number).await;
    }

    async fn acknowledge(&mut self, number: usize, part: Part) {
        let (Some(demo), Some(proxy)) = (self.demo().await, self.proxies.get_mut(&number)) else {
            return;
        };
        let progress = &demo.progress;
        let is_secret = matches!(part, Part::Bundle | Part::Leaf);
        if proxy.evidence.connected_since.is_none()
            || (is_secret && !progress.posture.has_identities())
        {
            return;
        }
        let now = clock::now();
        match part {
            Part::Bundle => proxy.trusts = demo.trusted_authorities().map(|it| it.id).collect(),
            Part::Leaf => {
                proxy.leaf = demo.active_authority().map(|it| it.id);
                proxy.evidence.leaf_issuer = proxy.leaf;
                proxy.evidence.leaf_not_after = Some(now + DAY);
                proxy.evidence.held_until = Some(now + DAY);
            }
            Part::Inbounds => proxy.accepts = Some(progress.posture.accepts()),
            Part::Outbounds => proxy.opens = Some(progress.posture.opens()),
        }
        let mark = progress.marks.of(part);
        if !proxy.evidence.has_acknowledged(part, mark) {
            let known = Acknowledgement { mark, at: now };
            proxy.evidence.acknowledged.insert(part, known);
        }
        proxy.has.insert(part);
        let secrets = if progress.posture.has_identities() {
            &Part::ALL[..2]
        } else {
            &[]
        };
        let wanted = [&[Part::Inbounds, Part::Outbounds], secrets].concat();
        proxy.counts |= wanted.iter().all(|part| proxy.has.contains(part));
        self.record(number).await;
    }

    async fn leave(&mut self, number: usize) {
        if let Some(proxy) = self.proxies.get_mut(&number) {
            proxy.evidence.connected_since = None;
            proxy.evidence.left = Some(clock::now());
            // Without a leaf it is not waited for.
            proxy.counts &= proxy.leaf.is_some();
            self.record(number).await;
        }
    }

    async fn record(&self, number: usize) {
        let evidence = self.proxies[&number].evidence.clone();
        self.store
            .record_evidence(&[evidence.into()])
            .await
            .unwrap();
    }

    async fn check(&mut self) {
        let counts = || self.proxies.iter().filter(|(_, proxy)| proxy.counts);
        for (client, one) in counts() {
            for (server, other) in counts().filter(|(server, _)| *server != client) {
                assert!(one.reaches(other), "{client} to {server}: {self:#?}");
            }
        }
        let demo = self.demo().await;
        let is_strict = demo.is_none_or(|it| it.progress.posture == Posture::Strict);
        let secured = !self.proxies.values().any(Proxy::plaintext);
        assert!(self.announced || (secured && is_strict), "{self:#?}");
        let desired = self.desired.as_ref();
        let mesh = desired.and_then(|it| it.meshes.get("demo")?.mesh());
        let asked = mesh.is_some_and(|mesh| mesh.mtls.enabled);
        self.announced &= !(is_strict && secured && asked);
    }

    /// From now on everyone does as told.
    async fn cooperate(&mut self, commit: &Commit) {
        for _ in 0..40 {
            for number in self.proxies.keys().copied().collect::<Vec<_>>() {
                self.happens(&Event::Connect(number)).await;
                for part in Part::ALL {
                    self.happens(&Event::Acknowledge(number, part)).await;
                }
            }
            if self.go_on().await {
                return self.arrived(commit).await;
            }
        }
        panic!("it never ends: {self:#?}");
    }

    async fn arrived(&self, commit: &Commit) {
        let current = self.store.load().await.unwrap();
        check(&current, commit);
        let Some(demo) = current.meshes.get("demo") else {
            return;
        };
        let secured = if commit.enabled {
            Posture::Strict
        } else {
            Posture::Plaintext
        };
        assert_eq!(demo.progress.posture, secured);
        assert_eq!(demo.progress.transition, None);
        for authority in demo.authorities.values() {
            let key = self.store.authority_key(&authority.id).await.unwrap();
            let revoked = matches!(authority.state, AuthorityState::Revoked { .. });
            assert_eq!(key.is_none(), revoked, "{authority:?}");
        }
    }
}

impl std::fmt::Debug for Site {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Site")
            .field("proxies", &self.proxies)
            .field("announced", &self.announced)
            .finish_non_exhaustive()
    }
}

fn id(number: usize) -> DataplaneId {
    DataplaneId {
        mesh: "demo".parse().unwrap(),
        name: format!("dp-{number}").parse().unwrap(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn whatever_proxies_acknowledge_they_understand_each_other_and_the_last_commit_is_reached(
        first in commit(),
        events in prop::collection::vec(event(), 0..60),
        last in commit(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut site = Site {
                store: MemoryStore::new(),
                vault: Vault::ephemeral(),
                desired: None,
                proxies: BTreeMap::new(),
                announced: true,
            };
            let all = [Event::Commit(first)].into_iter();
            for event in all.chain(events).chain([Event::Commit(last.clone())]) {
                site.happens(&event).await;
            }
            site.cooperate(&last).await;
        });
    }
}
