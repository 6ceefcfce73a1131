//! One proxy's snapshot: its view with a leaf that is kept fresh.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::{Feed, Target, acknowledged_leaf};
use crate::ca::{Leaf, Signer};
use crate::clock;
use crate::model::{DataplaneId, Timestamp};
use crate::xds::evidence::EvidenceBoard;
use crate::xds::leaf::{CurrentLeaf, LeafCache};
use crate::xds::resource::Resource;
use crate::xds::snapshot::{LeafSpec, TrustBundle, View};

/// How long to wait after a leaf could not be issued; doubles up to the longest.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_mins(1);
/// The longest sleep: the clock may be set meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_hours(1);

pub(super) struct Feeder {
    pub(super) dataplane: DataplaneId,
    pub(super) target: watch::Receiver<Target>,
    pub(super) out: watch::Sender<Feed>,
    pub(super) leaves: Arc<LeafCache>,
    pub(super) evidence: Arc<EvidenceBoard>,
}

/// The leaf that was issued last.
struct Last {
    spec: LeafSpec,
    leaf: Arc<Leaf>,
    resource: Arc<Resource>,
    renew_at: Timestamp,
}

impl Last {
    fn new(spec: LeafSpec, current: CurrentLeaf) -> Self {
        Self {
            spec,
            resource: Arc::new(Resource::identity_cert(current.leaf.clone())),
            leaf: current.leaf,
            renew_at: current.renew_at,
        }
    }
}

/// The turn of a proxy that needs another leaf and can do with its last one.
type Turn = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Feeder {
    /// Publishes until the dataplane or the last stream is gone.
    pub(super) async fn run(mut self) {
        let mut retry = FIRST_RETRY;
        let mut last: Option<Last> = None;
        let mut turn: Option<Turn> = None;
        let mut has_turn = false;
        loop {
            let target = self.target.borrow_and_update().clone();
            let Target::Serve { view, signer } = target else {
                self.leaves.forget(&self.dataplane);
                self.out.send_replace(Feed::Gone);
                return;
            };
            let signer = signer.as_ref();
            if last.is_none() {
                last = self.held();
            }
            // It has a newer one of another replica, and nobody waits for it
            // to give the older one up again. That is better than none, though,
            // where none can be issued here.
            let known = acknowledged_leaf(&self.evidence, &self.dataplane);
            let may_wait = |last: &&Last| known <= Some(last.spec.mark);
            let can_do = last.as_ref().filter(may_wait);
            let until = can_wait(&view, signer, can_do, clock::now());
            let wake_at = if let (Some(until), false) = (until, has_turn) {
                turn.get_or_insert_with(|| Box::pin(self.leaves.turn()));
                Some(until)
            } else {
                turn = None;
                if until.is_some() {
                    // Nothing else waits while the leaf is made.
                    self.publish(&view, last.as_ref());
                }
                match self.fresh_leaf(&view, signer, &mut last).await {
                    Ok(renew_at) => {
                        retry = FIRST_RETRY;
                        renew_at
                    }
                    Err(error) => {
                        tracing::error!(
                            dataplane = %self.dataplane,
                            error = &error as &dyn std::error::Error,
                            retry_seconds = retry.as_secs(),
                            "no new leaf; what was last issued stays"
                        );
                        let wake_at = clock::now() + retry;
                        retry = (retry * 2).min(LONGEST_RETRY);
                        Some(wake_at)
                    }
                }
            };
            if self.target.has_changed().is_ok_and(|changed| changed) {
                // It was superseded while the leaf was made.
                has_turn = false;
                continue;
            }
            self.publish(&view, last.as_ref());
            has_turn = tokio::select! {
                changed = self.target.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    false
                }
                () = sleep_until(wake_at) => false,
                () = its_turn(turn.as_mut()) => true,
            };
        }
    }

    /// The leaf that the proxy was given when it was here before.
    fn held(&self) -> Option<Last> {
        let (spec, current) = self.leaves.held(&self.dataplane, clock::now())?;
        Some(Last::new(spec, current))
    }

    /// Puts the leaf that fits the view into `last`, which keeps the one
    /// before where there is none. Returns when to look again.
    async fn fresh_leaf(
        &self,
        view: &View,
        signer: Option<&Arc<Signer>>,
        last: &mut Option<Last>,
    ) -> Result<Option<Timestamp>, crate::xds::leaf::LeafError> {
        let (Some(spec), Some(signer)) = (&view.leaf, signer) else {
            return Ok(None);
        };
        let now = clock::now();
        let current = self
            .leaves
            .current(&self.dataplane, spec, signer, now)
            .await?;
        let renew_at = current.renew_at;
        if last
            .as_ref()
            .is_none_or(|last| !Arc::ptr_eq(&last.leaf, &current.leaf))
        {
            *last = Some(Last::new(spec.clone(), current));
        }
        Ok(Some(renew_at))
    }

    fn publish(&self, view: &View, last: Option<&Last>) {
        let usable = last.filter(|last| is_usable(view, last));
        let snapshot =
            view.with_identity(usable.map(|last| (last.resource.clone(), last.spec.mark)));
        self.out.send_if_modified(|feed| {
            if matches!(feed, Feed::Ready(old) if old.is_same(&snapshot)) {
                return false;
            }
            *feed = Feed::Ready(Arc::new(snapshot));
            true
        });
    }
}

/// Until when a proxy can do with its last leaf, where it needs another one:
/// while that is as good as a new one to everyone that it meets. A first leaf,
/// one that is due to be renewed, another identity and an issuer that nobody
/// trusts any more cannot wait.
fn can_wait(
    view: &View,
    signer: Option<&Arc<Signer>>,
    last: Option<&Last>,
    now: Timestamp,
) -> Option<Timestamp> {
    let (Some(spec), Some(_), Some(last)) = (&view.leaf, signer, last) else {
        return None;
    };
    let is_another = last.spec != *spec;
    (is_another && is_usable(view, last) && now < last.renew_at).then_some(last.renew_at)
}

/// Whether a leaf may be served: it names who the proxy is now, and others
/// trust who signed it.
fn is_usable(view: &View, last: &Last) -> bool {
    let named = view.leaf.as_ref().map(|wanted| &wanted.identity);
    let trusted = |bundle: &TrustBundle| bundle.authorities.contains(&last.leaf.issuer);
    named == Some(&last.spec.identity) && view.bundle().is_some_and(trusted)
}

async fn its_turn(turn: Option<&mut Turn>) {
    match turn {
        Some(turn) => turn.await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(at: Option<Timestamp>) {
    match at {
        Some(at) => tokio::time::sleep(at.since(clock::now()).min(LONGEST_SLEEP)).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ca::{self, LeafKey, LeafRequest};
    use crate::model::{AuthorityState, MeshState, SpiffeId};

    #[test]
    fn a_leaf_that_is_due_to_be_renewed_does_not_wait() {
        let now = clock::now();
        let mut mesh = MeshState::absent("demo".parse().unwrap());
        let (mut authority, key) = ca::create_builtin(&mesh.name, 1, now).unwrap();
        authority.state = AuthorityState::Active;
        let signer = Arc::new(Signer::new(&authority, &key).unwrap());
        mesh.authorities.insert(authority.id, authority);
        let identity = SpiffeId {
            mesh: mesh.name.clone(),
            service: "web".parse().unwrap(),
        };
        let request = LeafRequest {
            identity: identity.clone(),
            lifetime: Duration::from_hours(1),
            key: LeafKey::EcP256,
        };
        let leaf = Arc::new(ca::issue(&request, &signer, now).unwrap());
        let spec = |mark| LeafSpec {
            identity: identity.clone(),
            issuer: leaf.issuer,
            mark,
        };
        let renew_at = now + Duration::from_mins(30);
        let current = CurrentLeaf {
            leaf: leaf.clone(),
            renew_at,
        };
        let last = Last::new(spec(0), current);
        let bundle = TrustBundle::of(&mesh).unwrap();
        let view = |mark| View {
            mesh_ca: Some(Arc::new(Resource::mesh_ca(Arc::new(bundle.clone())))),
            leaf: Some(spec(mark)),
            ..View::default()
        };
        let wait = |mark, now| can_wait(&view(mark), Some(&signer), Some(&last), now);
        assert_eq!(wait(1, now), Some(renew_at));
        assert_eq!(wait(1, renew_at), None);
        assert_eq!(wait(0, now), None, "it needs no other");
        assert_eq!(can_wait(&view(1), None, Some(&last), now), None);
        assert_eq!(can_wait(&view(1), Some(&signer), None, now), None);
    }
}
