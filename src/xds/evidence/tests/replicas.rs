//! Several replicas that share a store, and a proxy that moves between them.

use proptest::prelude::*;

use super::*;
use crate::model::{Current, Marks, Part};
use crate::xds::fixtures::store_of_web;

mod absent;

/// Replicas on one store.
struct Site {
    store: MemoryStore,
    boards: Vec<Arc<EvidenceBoard>>,
}

impl Site {
    async fn of(replicas: usize) -> Self {
        let store = store_of_web().await;
        let boards = (0..replicas).map(fresh).collect();
        Self { store, boards }
    }

    /// Everyone records what it knows, and takes in what others recorded.
    async fn exchange(&self) {
        for board in &self.boards {
            board.flush(&self.store).await.unwrap();
        }
        for board in &self.boards {
            board.pull(&self.store, at(9)).await.unwrap();
        }
    }

    /// The proxy comes to a replica, which records it.
    async fn connect(&self, replica: usize) -> Connection {
        let board = &self.boards[replica];
        let stream = connect(board, dataplane("web"), at(1));
        board.pull(&self.store, at(1)).await.unwrap();
        board.flush(&self.store).await.unwrap();
        stream
    }

    async fn stored(&self) -> Arc<ProxyEvidence> {
        let evidence = self.store.evidence().await.unwrap();
        evidence[&dataplane("web")].clone()
    }

    async fn records(&self) -> Vec<Arc<ProxyEvidence>> {
        let all = self.store.evidence_since(EvidenceMark(0)).await.unwrap();
        all.records
    }
}

fn name(replica: usize) -> String {
    format!("cp-{replica}")
}

fn fresh(replica: usize) -> Arc<EvidenceBoard> {
    let nothing = EvidenceChanges::default();
    EvidenceBoard::restore(nothing, &name(replica), DAY, at(0)).into()
}

/// The stream asks for a part and proves it under that mark.
fn prove(stream: &mut Connection, part: Part, mark: u64) {
    stream.asks([part].into_iter().collect(), at(2));
    stream.proves(part, mark, at(2));
}

fn mark(known: &ProxyEvidence, part: Part) -> Option<u64> {
    known.acknowledged.get(&part).map(|it| it.mark)
}

#[tokio::test]
async fn a_proxy_that_moves_takes_what_is_known_of_it_along() {
    let site = Site::of(2).await;
    let mut stream = site.connect(0).await;
    prove(&mut stream, Part::Bundle, 7);
    stream.rejected(&ca("bad"), "no", at(3));
    drop(stream);
    site.exchange().await;
    let stream = site.connect(1).await;
    let own = site.boards[1].lock()[&dataplane("web")].evidence.clone();
    assert_eq!(mark(&own, Part::Bundle), Some(7));
    assert_eq!(own.asks, [Part::Bundle].into());
    assert_eq!(own.replica.as_deref(), Some("cp-1"));
    assert!(
        !stream.accepted(&ca("bad"), at(4)),
        "it was rejected elsewhere"
    );

    // What it knows is all that is known; the first one need not keep it.
    site.exchange().await;
    assert_eq!(site.records().await.len(), 2);
    site.boards[0].tidy(&site.store).await.unwrap();
    assert_eq!(site.records().await.len(), 1);
    assert!(site.boards[0].lock().is_empty());
    assert_eq!(
        site.boards[0].of(&dataplane("web")),
        Some(site.stored().await)
    );
}

#[tokio::test]
async fn a_replica_that_notices_late_that_a_proxy_has_left_holds_nothing_back() {
    let site = Site::of(2).await;
    let mut first = site.connect(0).await;
    prove(&mut first, Part::Bundle, 7);
    site.exchange().await;
    // Nobody has told the first one that the connection is broken.
    let mut second = site.connect(1).await;
    assert!(
        second.distrusted().contains("mesh_ca"),
        "who knows what it was sent"
    );
    prove(&mut second, Part::Bundle, 8);
    site.exchange().await;
    let known = site.stored().await;
    assert_eq!(mark(&known, Part::Bundle), Some(7), "both have it");
    prove(&mut first, Part::Leaf, 3);
    drop(first);
    site.exchange().await;
    site.exchange().await;
    let known = site.stored().await;
    assert_eq!(mark(&known, Part::Bundle), Some(8));
    assert_eq!(mark(&known, Part::Leaf), Some(3), "it may still use that");
    assert_eq!(known.asks, [Part::Bundle, Part::Leaf].into());
    for board in &site.boards {
        assert_eq!(*board.of(&dataplane("web")).unwrap(), *known);
    }
}

#[tokio::test]
async fn who_comes_while_others_are_welcomed_is_recorded_and_not_let_in_yet() {
    let site = Site::of(1).await;
    let board = &site.boards[0];
    let first = connect(board, dataplane("web"), at(1));
    let arrivals = board.arrivals();
    drop(first);
    let again = connect(board, dataplane("web"), at(2));
    let nobody = Arrivals::default();
    for welcomed in [&arrivals, &nobody] {
        let recorded = board.record(false, &site.store, Some(welcomed));
        recorded.await.unwrap();
        assert_eq!(site.records().await.len(), 1);
        assert_eq!(again.on_record(), None, "nobody looked who else knows it");
    }
    let arrivals = board.arrivals();
    let recorded = board.record(false, &site.store, Some(&arrivals));
    recorded.await.unwrap();
    assert!(again.on_record().is_some());
    assert!(board.arrivals().is_empty());
}

#[tokio::test]
async fn a_dead_replica_is_spoken_for_and_corrects_that_when_it_is_back() {
    let site = Site::of(2).await;
    let mut stream = site.connect(0).await;
    prove(&mut stream, Part::Bundle, 7);
    site.exchange().await;
    let is_dead = |name: &str| name == "cp-0";
    let nothing = Current::default();
    let leader = &site.boards[1];
    let bury = || leader.bury(&site.store, is_dead, &nothing, at(100));
    bury().await.unwrap();
    let known = site.stored().await;
    assert_eq!((known.connected_since, known.left), (None, Some(at(100))));
    assert_eq!(known.held_until, Some(at(100) + DAY));
    assert!(known.doubted.contains("mesh_ca"));
    assert_eq!(leader.of(&dataplane("web")), Some(known.clone()));
    bury().await.unwrap();
    assert_eq!(site.stored().await, known, "once is enough");

    site.exchange().await;
    site.exchange().await;
    let known = site.stored().await;
    assert_eq!(known.connected_since, Some(at(1)));
    assert!(known.doubted.is_empty(), "it knows better");

    // It was forgotten altogether.
    let place = [(dataplane("web"), Arc::from("cp-0"))];
    site.store.forget_evidence(&place).await.unwrap();
    site.boards[0].reload(&site.store, at(9)).await.unwrap();
    site.exchange().await;
    assert_eq!(site.stored().await.connected_since, Some(at(1)));
    leader.reload(&site.store, at(9)).await.unwrap();
    assert_eq!(leader.of(&dataplane("web")), Some(site.stored().await));
    drop(stream);
}

#[tokio::test]
async fn what_a_dead_replica_knew_goes_once_another_knows_it_all() {
    let site = Site::of(2).await;
    let mut stream = site.connect(0).await;
    prove(&mut stream, Part::Bundle, 7);
    site.exchange().await;
    let (dead, leader) = (fresh(0), &site.boards[1]);
    let is_dead = |name: &str| name == "cp-0";
    let nothing = Current::default();
    for _ in 0..2 {
        leader
            .bury(&site.store, is_dead, &nothing, at(100))
            .await
            .unwrap();
    }
    assert_eq!(site.records().await.len(), 1, "nobody else knows it");
    let here = site.connect(1).await;
    assert_eq!(site.records().await.len(), 2);
    leader
        .bury(&site.store, is_dead, &nothing, at(100))
        .await
        .unwrap();
    assert_eq!(site.records().await.len(), 1);
    let known = site.stored().await;
    assert_eq!(mark(&known, Part::Bundle), Some(7));
    assert_eq!(known.held_until, Some(at(100) + DAY));
    drop((stream, here, dead));
}

#[tokio::test]
async fn one_replica_knows_what_it_always_did() {
    let site = Site::of(1).await;
    let mut stream = site.connect(0).await;
    prove(&mut stream, Part::Bundle, 1);
    site.exchange().await;
    site.boards[0].tidy(&site.store).await.unwrap();
    site.boards[0].reload(&site.store, at(9)).await.unwrap();
    let entries = site.boards[0].lock();
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[&dataplane("web")].unsaved, Unsaved::Nothing);
}

/// What happens to one proxy with one stream at a time, on three replicas.
#[derive(Debug, Clone)]
enum Event {
    /// The mesh goes on by a mark.
    Step,
    /// The proxy comes to a replica. The stream that it had breaks, and who had
    /// it notices that then, or later.
    Move {
        to: usize,
        noticed: bool,
    },
    /// The stream is sent what is current, and the proxy answers.
    Serve,
    /// It is sent a leaf that lives so long.
    Leaf(i64),
    /// A replica notices that streams are broken.
    Notice(usize),
    Flush(usize),
    Pull(usize),
    Tidy(usize),
    /// A replica dies, is spoken for by another one and starts again.
    Kill {
        which: usize,
        by: usize,
    },
}

fn event() -> impl Strategy<Value = Event> {
    let replica = 0..3_usize;
    prop_oneof![
        2 => Just(Event::Step),
        3 => (replica.clone(), any::<bool>()).prop_map(|(to, noticed)| Event::Move { to, noticed }),
        6 => Just(Event::Serve),
        3 => (10..90_i64).prop_map(Event::Leaf),
        2 => replica.clone().prop_map(Event::Notice),
        3 => replica.clone().prop_map(Event::Flush),
        3 => replica.clone().prop_map(Event::Pull),
        1 => replica.clone().prop_map(Event::Tidy),
        1 => (replica.clone(), 1..3_usize).prop_map(|(which, by)| Event::Kill {
            which, by: (which + by) % 3
        }),
    ]
}

/// The proxy as it really is.
struct World {
    site: Site,
    mark: u64,
    /// What it uses, and until when it holds a leaf.
    uses: Option<u64>,
    holds: Option<i64>,
    stream: Option<(usize, Connection)>,
    broken: Vec<(usize, Connection)>,
}

impl World {
    async fn happens(&mut self, event: Event) {
        match event {
            Event::Step => self.mark += 1,
            Event::Move { to, noticed } => {
                let before = self.stream.take().filter(|_| !noticed);
                self.broken.extend(before);
                self.stream = Some((to, self.site.connect(to).await));
            }
            Event::Serve => {
                if let Some((_, stream)) = &mut self.stream {
                    let (part, mark) = (Part::Bundle, self.mark);
                    let marks = Marks {
                        bundle: mark,
                        ..Marks::default()
                    };
                    stream.offered(marks, at(2));
                    let asked = [part, Part::Leaf];
                    stream.asks(asked.into_iter().collect(), at(2));
                    self.uses = Some(mark);
                    stream.proves(part, mark, at(2));
                }
            }
            Event::Leaf(end) => {
                if let Some((_, stream)) = &mut self.stream {
                    let leaf = crate::ca::Leaf {
                        not_after: at(end),
                        ..Arc::into_inner(leaf("a")).unwrap()
                    };
                    let leaf = Resource::identity_cert(leaf.into());
                    stream.sends(leaf.kind, &[leaf.into()], at(1));
                    self.holds = self.holds.max(Some(end));
                }
            }
            Event::Notice(replica) => self.broken.retain(|(of, _)| *of != replica),
            Event::Flush(it) => self.site.boards[it].flush(&self.site.store).await.unwrap(),
            Event::Pull(it) => self.site.boards[it]
                .pull(&self.site.store, at(3))
                .await
                .unwrap(),
            Event::Tidy(it) => self.site.boards[it].tidy(&self.site.store).await.unwrap(),
            Event::Kill { which, by } => {
                let mut streams: Vec<_> = self.broken.drain(..).chain(self.stream.take()).collect();
                let dead = std::mem::replace(&mut self.site.boards[which], fresh(which));
                self.stream = None;
                for (of, stream) in streams.drain(..) {
                    if of != which {
                        self.broken.push((of, stream));
                    }
                }
                drop(dead);
                let (store, by) = (&self.site.store, &self.site.boards[by]);
                by.pull(store, at(3)).await.unwrap();
                let is_dead = |it: &str| it == name(which);
                by.bury(store, is_dead, &Current::default(), at(3))
                    .await
                    .unwrap();
                let known = store.evidence_since(EvidenceMark(0)).await.unwrap();
                let board = EvidenceBoard::restore(known, &name(which), DAY, at(3));
                self.site.boards[which] = board.into();
            }
        }
    }

    /// Whatever the store says is true.
    async fn check(&self) -> Result<(), TestCaseError> {
        let all = self.site.store.evidence().await.unwrap();
        let known = all.get(&dataplane("web"));
        let proven = known.and_then(|it| mark(it, Part::Bundle));
        prop_assert!(
            proven <= self.uses,
            "{proven:?} is proven, {:?} is used",
            self.uses
        );
        if let Some(end) = self.holds {
            let held = known
                .is_some_and(|it| it.connected_since.is_some() || it.held_until >= Some(at(end)));
            prop_assert!(held, "it holds a leaf until {end}: {known:#?}");
        }
        Ok(())
    }

    /// In the end everyone knows the same, and what is current is proven.
    async fn settle(&mut self) -> Result<(), TestCaseError> {
        self.broken.clear();
        self.happens(Event::Move {
            to: 0,
            noticed: true,
        })
        .await;
        for _ in 0..3 {
            self.happens(Event::Serve).await;
            self.site.exchange().await;
        }
        // What was forgotten is no news.
        for board in &self.site.boards {
            board.reload(&self.site.store, at(3)).await.unwrap();
        }
        let known = self.site.stored().await;
        prop_assert_eq!(
            mark(&known, Part::Bundle),
            Some(self.mark),
            "{:#?}",
            self.site.records().await
        );
        for board in &self.site.boards {
            let seen = board.of(&dataplane("web"));
            let others = board.others().of(&dataplane("web")).to_vec();
            let own = board
                .lock()
                .get(&dataplane("web"))
                .map(|it| it.evidence.clone());
            prop_assert_eq!(seen, Some(known.clone()), "{:#?} {:#?}", own, others);
        }
        for board in &self.site.boards {
            board.tidy(&self.site.store).await.unwrap();
        }
        prop_assert_eq!(self.site.records().await.len(), 1);
        Ok(())
    }
}

proptest! {
    #[test]
    fn replicas_never_say_more_than_is_true_and_agree_in_the_end(
        events in proptest::collection::vec(event(), 1..60)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut world = World {
                site: Site::of(3).await,
                mark: 1, uses: None, holds: None, stream: None, broken: Vec::new(),
            };
            for event in events {
                world.happens(event).await;
                world.check().await?;
            }
            world.settle().await
        })?;
    }
}
