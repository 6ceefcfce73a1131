//! What the replica that reconciles does for the store: it makes the custom
//! resources show what the ledger holds, carries over what others write to
//! them, and sweeps up what interrupted writes have left.
//!
//! For every resource there are three versions: what the ledger holds, what its
//! object says, and what the object was last made to say (the tree that the
//! head calls `shown`). Where the ledger differs from what was shown, the object
//! is brought up to date. Where it does not, whoever made the object differ is
//! someone else.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kube::runtime::watcher::{self, Event};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::follow::follow;
use super::form::{self, ObjectId};
use super::ledger::{Head, read_head};
use super::objects::{Objects, no_crd};
use super::tree::Tree;
use super::{KubernetesStore, sweep};
use crate::model::{Digest, Kind, MeshName, ResourceKey};
use crate::store::StoreError;

mod adopt;
mod crds;
mod show;
mod status;

/// How long to wait after something happened: more follows.
const SETTLE: Duration = Duration::from_millis(30);
/// How long at most until all is looked at again.
const LOOK: Duration = Duration::from_secs(5);
/// How long to wait after a failure.
const BACKOFF: Duration = Duration::from_secs(2);
/// How often a round follows another at once, where there is more to do.
const ROUNDS: u32 = 20;
/// How many events are heard before they are looked at.
const EVENTS: usize = 1_000;

type Heard = (Kind, Event<kube::api::DynamicObject>);

/// By kind, what tells its definition from any other.
type Crds = BTreeMap<String, String>;

/// What came of looking at everything once.
enum Round {
    /// All is as it should be.
    Done,
    /// There is more to do.
    More,
    /// The objects that were seen are those of definitions that are gone.
    Outdated,
}

/// Takes care of the custom resources.
struct Steward {
    store: KubernetesStore,
    objects: Objects,
    /// Objects that were refused, as they were then.
    refused: BTreeMap<ObjectId, Refused>,
    /// Trees of meshes as they were shown last.
    shown: BTreeMap<MeshName, Arc<Tree>>,
    /// The definitions that objects are shown as, by kind; `None` where they
    /// are to be looked at.
    crds: Option<Crds>,
    /// The definitions that were there before the objects were listed; `None`
    /// where some were not.
    listed_as: Option<Crds>,
    /// Meshes whose objects are another control plane's, and whose.
    left_alone: BTreeMap<MeshName, String>,
    /// Resources whose objects have no place, and what is there.
    held: BTreeMap<ResourceKey, ObjectId>,
    status: status::Board,
    sweep: sweep::Sweep,
}

/// That an object was refused: it is looked at again once it, or its mesh, is
/// another.
#[derive(Debug, PartialEq, Eq)]
struct Refused {
    version_of_content: (String, i64),
    mesh: crate::model::Generation,
}

/// What is to be done about a mesh.
pub(super) struct Situation {
    pub(super) mesh: MeshName,
    /// What the ledger holds of it.
    pub(super) now: Arc<Tree>,
    /// What its objects were last made to say.
    pub(super) shown: Arc<Tree>,
}

impl Situation {
    fn is_settled(&self) -> bool {
        self.now.root == self.shown.root
    }

    fn digests(&self, key: &ResourceKey) -> (Option<Digest>, Option<Digest>) {
        let of = |tree: &Tree| tree.state.resources.get(key).map(|stored| stored.digest);
        (of(&self.now), of(&self.shown))
    }
}

impl KubernetesStore {
    /// Takes care of the store until leadership is lost or released.
    pub(super) fn take_care(&self, lost: CancellationToken, released: CancellationToken) {
        let closed = self.cluster.closed().clone();
        let steward = Steward {
            store: self.clone(),
            objects: Objects::default(),
            refused: BTreeMap::new(),
            shown: BTreeMap::new(),
            crds: None,
            listed_as: None,
            left_alone: BTreeMap::new(),
            held: BTreeMap::new(),
            status: status::Board::default(),
            sweep: sweep::Sweep::default(),
        };
        self.tasks.spawn(async move {
            tokio::select! {
                () = steward.run() => {}
                () = lost.cancelled() => {}
                () = released.cancelled() => {}
                () = closed.cancelled() => {}
            }
        });
    }
}

impl Steward {
    async fn run(mut self) {
        // Where they cannot be known yet, all is listed again once they are.
        self.listed_as = self.store.crds().await.ok();
        let (mut events, mut _watches) = self.watches();
        let mut news = self.store.news.subscribe();
        news.mark_changed();
        let mut complaint: Option<String> = None;
        loop {
            // Whatever happened while the last round went on is looked at now.
            tokio::select! {
                heard = events.recv() => {
                    let Some(heard) = heard else { return };
                    self.hear(heard);
                    let settled = Instant::now() + SETTLE;
                    while let Ok(Some(heard)) = tokio::time::timeout_at(settled, events.recv()).await {
                        self.hear(heard);
                    }
                }
                changed = news.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                () = sleep(LOOK) => {}
            }
            news.mark_unchanged();
            while let Ok(heard) = events.try_recv() {
                self.hear(heard);
            }
            if !self.objects.are_complete() {
                continue;
            }
            for _ in 0..ROUNDS {
                match self.round().await {
                    Ok(Round::More) => complaint = None,
                    Ok(Round::Done) => {
                        complaint = None;
                        break;
                    }
                    Ok(Round::Outdated) => {
                        (events, _watches) = self.watches();
                        break;
                    }
                    Err(error) => {
                        let error = crate::telemetry::chain(&error).to_string();
                        if complaint.as_ref() != Some(&error) {
                            warn!(error, "custom resources are not up to date");
                            complaint = Some(error);
                        }
                        let _ = timeout(self.store.cluster.jitter(BACKOFF), news.changed()).await;
                        news.mark_changed();
                        break;
                    }
                }
                while let Ok(heard) = events.try_recv() {
                    self.hear(heard);
                }
            }
        }
    }

    /// Lists the objects of all kinds and follows them from there.
    fn watches(&self) -> (mpsc::Receiver<Heard>, Aborted) {
        let (sender, events) = mpsc::channel(EVENTS);
        let watches = form::KINDS.iter();
        let watches =
            watches.map(|kind| tokio::spawn(watch(self.store.clone(), *kind, sender.clone())));
        (events, Aborted(watches.collect()))
    }

    fn hear(&mut self, (kind, event): Heard) {
        let home = self.store.cluster.namespace();
        self.objects.hear(kind, event, home);
    }

    /// Looks at everything once.
    async fn round(&mut self) -> Result<Round, StoreError> {
        if !self.know_crds().await? {
            self.objects = Objects::default();
            return Ok(Round::Outdated);
        }
        let head = read_head(&self.store.cluster, "look at the store")
            .await?
            .head;
        let mut meshes = self.objects.meshes();
        meshes.extend(head.meshes.keys().cloned());
        meshes.extend(head.gone.keys().cloned());
        self.shown.retain(|mesh, _| meshes.contains(mesh));
        self.left_alone.retain(|mesh, _| meshes.contains(mesh));
        self.held.retain(|key, _| meshes.contains(&key.mesh));
        let (mut failure, mut is_done) = (None, true);
        for mesh in meshes {
            if self.is_left_alone(&head, &mesh) {
                continue;
            }
            let Some(situation) = self.situation(&head, mesh).await? else {
                return Ok(Round::More);
            };
            if !situation.is_settled() {
                match self.show(&situation).await {
                    Ok(more) => {
                        is_done &= !more;
                        continue;
                    }
                    // One resource does not hold up the others.
                    Err(error) => failure = Some(error),
                }
            }
            // An adoption changes the ledger: all is looked at again.
            if self.adopt(&situation).await? {
                return Ok(Round::More);
            }
        }
        self.tell_status(&head).await?;
        self.sweep.sweep(&self.store).await?;
        let round = if is_done { Round::Done } else { Round::More };
        failure.map_or(Ok(round), Err)
    }

    /// Whether the objects of a mesh are another control plane's. Where both have
    /// a mesh of that name, it is said once.
    fn is_left_alone(&mut self, head: &Head, mesh: &MeshName) -> bool {
        let home = self.store.cluster.namespace();
        let Some(owner) = self.objects.other_owner(mesh, home) else {
            self.left_alone.remove(mesh);
            return false;
        };
        if head.meshes.contains_key(mesh) && self.left_alone.get(mesh).is_none_or(|it| it != owner)
        {
            warn!(
                %mesh, owner,
                "the custom resources of this mesh are those of the control plane in namespace \
                 {owner}, and are left alone; give one of the two meshes another name"
            );
            self.left_alone.insert(mesh.clone(), owner.to_owned());
        }
        true
    }

    /// What the ledger holds of a mesh, and what was shown of it; `None` where
    /// the ledger has moved on.
    async fn situation(
        &mut self,
        head: &Head,
        mesh: MeshName,
    ) -> Result<Option<Situation>, StoreError> {
        let Some(now) = self.store.tree_at(head, &mesh).await? else {
            return Ok(None);
        };
        let entry = head.meshes.get(&mesh);
        let root = entry
            .and_then(|entry| entry.shown.as_ref())
            .or_else(|| head.gone.get(&mesh));
        let known = self.shown.get(&mesh);
        let shown = match root {
            None => Arc::new(Tree::absent(mesh.clone())),
            Some(root) if now.root.as_ref() == Some(root) => Arc::clone(&now),
            Some(root) => {
                if let Some(known) = known.filter(|tree| tree.root.as_ref() == Some(root)) {
                    Arc::clone(known)
                } else {
                    let cluster = &self.store.cluster;
                    let none = crate::model::Generation(0);
                    let read = super::tree::read(cluster, &mesh, none, root, Some(&now));
                    match read.await? {
                        Some(tree) => Arc::new(tree),
                        None => return Ok(None),
                    }
                }
            }
        };
        self.shown.insert(mesh.clone(), Arc::clone(&shown));
        Ok(Some(Situation { mesh, now, shown }))
    }
}

/// Follows the objects of a kind, in every namespace.
async fn watch(store: KubernetesStore, kind: Kind, sender: mpsc::Sender<Heard>) {
    let api = store.cluster.objects(kind, None);
    let explain = move |error: &watcher::Error| is_unknown(error).then(|| no_crd(kind));
    let hear = |event| {
        let sender = sender.clone();
        async move { sender.send((kind, event)).await.is_ok() }
    };
    let (cluster, what) = (store.cluster.clone(), kind.to_string());
    let config = watcher::Config::default();
    follow(cluster, what, api, config, explain, hear).await;
}

/// Whether the API server does not know the kind.
fn is_unknown(error: &watcher::Error) -> bool {
    let (watcher::Error::InitialListFailed(error) | watcher::Error::WatchStartFailed(error)) =
        error
    else {
        return false;
    };
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// Tasks that end with this.
struct Aborted(Vec<tokio::task::JoinHandle<()>>);

impl Drop for Aborted {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
}
