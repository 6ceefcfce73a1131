//! `FetchSecrets`: one request, one response with all that was asked for.

use envoy_types::pb::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use tonic::{Request, Status};

use super::protocol::{Service, Sotw};
use super::{FIRST_MESSAGE, Xds, auth, stream};
use crate::clock;
use crate::model::Digest;
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
    let feed = tokio::select! {
        () = xds.shutdown.cancelled() => return Err(stream::stopping()),
        feed = tokio::time::timeout(FIRST_MESSAGE, ready) => match feed {
            Ok(Ok(feed)) => feed.clone(),
            _ => return Err(Status::unavailable("the secrets are not ready; try again")),
        },
    };
    let Feed::Ready(snapshot) = feed else {
        return Err(stream::deleted(&dataplane));
    };
    let names = &request.resource_names;
    let resources: Vec<_> = snapshot
        .of(ResourceType::Secret)
        .iter()
        .filter(|resource| names.iter().any(|name| **name == *resource.name))
        .collect();
    let mut connection = (xds.evidence).connect(dataplane, credential.expires_at(), clock::now());
    let on_record = async {
        let mut written = connection.written();
        while !connection.is_on_record() && written.changed().await.is_ok() {}
    };
    // Out of reach, the store holds nothing up.
    let _ = tokio::time::timeout(stream::RECORDING, on_record).await;
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
