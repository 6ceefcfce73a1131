//! `FetchSecrets`: one request, one response with all that was asked for.

use envoy_types::pb::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use tokio::sync::watch;
use tonic::{Request, Status};

use super::protocol::{Service, Sotw};
use super::{FIRST_MESSAGE, Xds, auth, stream};
use crate::clock;
use crate::model::{DataplaneId, Digest, Marks};
use crate::xds::evidence::Connection;
use crate::xds::index::Feed;
use crate::xds::resource::ResourceType;
use crate::xds::to_envoy::pack;

/// Answers one fetch. It is no evidence that the proxy uses anything: nothing
/// acknowledges it. But whoever fetched a leaf may hold it.
pub(super) async fn run(
    xds: &Xds,
    request: Request<DiscoveryRequest>,
) -> Result<DiscoveryResponse, Status> {
    let credential = xds.authenticate(request.metadata()).await?;
    let request = request.into_inner();
    Service::Secrets.check::<Sotw>(&request)?;
    let accounts = xds.accounts.as_deref();
    let dataplane = auth::authorize(&credential, request.node.as_ref(), &xds.index, accounts)?;
    let subscription = xds
        .index
        .subscribe(&dataplane)
        .map_err(|error| Status::not_found(error.to_string()))?;
    let mut feed = subscription.feed();
    let ready = feed.wait_for(|feed| !matches!(feed, Feed::Pending));
    tokio::select! {
        () = xds.shutdown.cancelled() => return Err(stream::stopping()),
        ready = tokio::time::timeout(FIRST_MESSAGE, ready) => match ready {
            Ok(Ok(_)) => {}
            _ => return Err(Status::unavailable("the secrets are not ready; try again")),
        },
    }
    let id = dataplane.clone();
    let mut connection = (xds.evidence).connect(id, credential.expires_at(), clock::now());
    recorded(xds, &dataplane, &connection, &mut feed).await;
    let Feed::Ready(snapshot) = feed.borrow().clone() else {
        return Err(stream::deleted(&dataplane));
    };
    let names = &request.resource_names;
    let resources: Vec<_> = snapshot
        .of(ResourceType::Secret)
        .iter()
        .filter(|resource| names.iter().any(|name| **name == *resource.name))
        .collect();
    let given: Vec<_> = resources.iter().map(|it| (*it).clone()).collect();
    connection.sends(ResourceType::Secret, &given, clock::now());
    connection.answers(ResourceType::Secret, &given, clock::now());
    let versions = resources
        .iter()
        .map(|resource| resource.version.as_bytes().as_slice());
    Ok(DiscoveryResponse {
        version_info: Digest::of_parts(versions).to_string(),
        resources: resources.iter().map(|resource| pack(resource)).collect(),
        type_url: ResourceType::Secret.type_url().to_owned(),
        ..DiscoveryResponse::default()
    })
}

/// Waits until the store knows that the proxy is connected, and then until what
/// it held by that time is served. Out of reach, neither holds anything up.
async fn recorded(
    xds: &Xds,
    dataplane: &DataplaneId,
    connection: &Connection,
    feed: &mut watch::Receiver<Feed>,
) {
    let mut written = connection.written();
    let on_record = async {
        loop {
            if let Some(generation) = connection.on_record() {
                return Some(generation);
            }
            written.changed().await.ok()?;
        }
    };
    let Ok(Some(generation)) = tokio::time::timeout(stream::RECORDING, on_record).await else {
        return;
    };
    let mut published = xds.index.published();
    let followed = async {
        loop {
            let told = match &*feed.borrow_and_update() {
                Feed::Ready(snapshot) => snapshot.marks(),
                Feed::Pending => Marks::default(),
                Feed::Gone => return,
            };
            if xds.index.has_reached(generation, dataplane, told) {
                return;
            }
            let changed = tokio::select! {
                changed = feed.changed() => changed,
                changed = published.changed() => changed,
            };
            if changed.is_err() {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(stream::FOLLOWING, followed).await;
}
