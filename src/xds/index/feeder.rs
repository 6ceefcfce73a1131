//! One proxy's snapshot: its view with a leaf that is kept fresh.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::{Feed, Target};
use crate::ca::{Leaf, Signer};
use crate::clock;
use crate::model::{DataplaneId, Timestamp};
use crate::xds::leaf::LeafCache;
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
}

/// The leaf that was issued last.
struct Last {
    spec: LeafSpec,
    leaf: Arc<Leaf>,
    resource: Arc<Resource>,
}

impl Feeder {
    /// Publishes until the dataplane or the last stream is gone.
    pub(super) async fn run(mut self) {
        let mut retry = FIRST_RETRY;
        let mut last: Option<Last> = None;
        loop {
            let target = self.target.borrow_and_update().clone();
            let Target::Serve { view, signer } = target else {
                self.leaves.forget(&self.dataplane);
                self.out.send_replace(Feed::Gone);
                return;
            };
            let wake_at = match self.fresh_leaf(&view, signer.as_ref(), &mut last).await {
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
            };
            if self.target.has_changed().is_ok_and(|changed| changed) {
                // It was superseded while the leaf was made.
                continue;
            }
            self.publish(&view, last.as_ref());
            tokio::select! {
                changed = self.target.changed() => if changed.is_err() { return },
                () = sleep_until(wake_at) => {}
            }
        }
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
        if last
            .as_ref()
            .is_none_or(|last| !Arc::ptr_eq(&last.leaf, &current.leaf))
        {
            *last = Some(Last {
                spec: spec.clone(),
                resource: Arc::new(Resource::identity_cert(current.leaf.clone())),
                leaf: current.leaf,
            });
        }
        Ok(Some(current.renew_at))
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

/// Whether a leaf may be served: it names who the proxy is now, and others
/// trust who signed it.
fn is_usable(view: &View, last: &Last) -> bool {
    let named = view.leaf.as_ref().map(|wanted| &wanted.identity);
    let trusted = |bundle: &TrustBundle| bundle.authorities.contains(&last.leaf.issuer);
    named == Some(&last.spec.identity) && view.bundle().is_some_and(trusted)
}

async fn sleep_until(at: Option<Timestamp>) {
    match at {
        Some(at) => tokio::time::sleep(at.since(clock::now()).min(LONGEST_SLEEP)).await,
        None => std::future::pending().await,
    }
}
