//! Two control planes in one cluster.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value, json};
use windlass::model::{CaSpec, DesiredResource, Kind, Resource, ResourceKey, StoredResource};
use windlass::store::kubernetes::KubernetesStore;
use windlass::store::{Adopter, NotAdopted, Store};

use super::custom_resources::of_git;
use super::{AsItIs, Site, eventually};
use crate::store_contract::kubernetes::create_namespace;
use crate::store_contract::samples::{
    change, dataplane, delete, mesh, mesh_with, permission, put, sealed,
};

const OURS: &str = "windlass-system";
const THEIRS: &str = "another-system";

/// All objects, with what whoever writes to them changes.
fn objects(site: &Site) -> Option<Vec<Value>> {
    let all = site.get(&["meshes,trafficpermissions,dataplanes", "-A"])?;
    let all = all["items"].as_array()?.iter().map(|object| {
        let mut meta = object["metadata"].clone();
        for often in ["resourceVersion", "managedFields"] {
            meta.as_object_mut().expect("metadata").remove(often);
        }
        meta
    });
    Some(all.collect())
}

/// The control plane that has an object.
fn owner(site: &Site, what: &[&str]) -> Option<String> {
    let object = site.get(what)?;
    let labels = &object["metadata"]["labels"];
    labels["windlass.io/control-plane"]
        .as_str()
        .map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_control_planes_leave_alone_what_is_the_others() {
    let site = Site::new().await;
    let client = site.cluster.client().await;
    create_namespace(&client, THEIRS).await;
    let ours = Arc::clone(&site.store);
    let theirs = Arc::new(KubernetesStore::new(client, THEIRS, "the same cluster"));
    theirs.adopt_with(Arc::new(AsItIs(Arc::clone(&theirs))));
    // Both lead: each has a Lease of its own.
    let _we_lead = site.lead().await;
    let _they_lead = theirs.lead("a").await.unwrap();
    ours.put_secret_if_absent("token/1", &sealed("ours"))
        .await
        .unwrap();
    assert_eq!(theirs.secrets("").await.unwrap(), []);

    let all = vec![of_git(mesh("demo")), put(permission("demo", "p"))];
    change(&*ours, "demo", all).await.unwrap();
    let demo = ["mesh", "demo"];
    eventually("the mesh is shown", async || {
        owner(&site, &demo).filter(|owner| owner == OURS)
    })
    .await;
    // The name of a Mesh is taken; what belongs to theirs is not shown either.
    let all = vec![of_git(mesh("demo")), put(dataplane("demo", "dp"))];
    change(&*theirs, "demo", all).await.unwrap();
    let all = vec![put(mesh("else")), put(permission("else", "p"))];
    change(&*theirs, "else", all).await.unwrap();
    eventually("what is theirs is shown", async || {
        owner(&site, &["trafficpermission", "p", "-n", THEIRS]).filter(|owner| owner == THEIRS)
    })
    .await;
    eventually("what is ours is shown", async || {
        owner(&site, &["trafficpermission", "p", "-n", OURS]).filter(|owner| owner == OURS)
    })
    .await;

    // What is nobody's is taken over by one of them, dependents as their mesh.
    let applied = |resource: Resource| windlass::manifest::to_kubernetes(&resource).to_string();
    let shop = applied(mesh("shop"));
    let web = applied(dataplane("shop", "web"));
    site.cluster.apply(&shop).unwrap();
    site.cluster.apply(&web).unwrap();
    let shops = eventually("one has it", async || {
        let owner = owner(&site, &["mesh", "shop"])?;
        let of_web = self::owner(&site, &["dataplane", "web", "-n", "prod"])?;
        (owner == of_web).then_some(owner)
    })
    .await;
    let (has, has_not) = if shops == OURS {
        (&ours, &theirs)
    } else {
        (&theirs, &ours)
    };
    let current = has.load().await.unwrap();
    assert_eq!(current.meshes["shop"].resources.len(), 2);
    let before = (
        objects(&site).unwrap(),
        ours.load().await.unwrap(),
        theirs.load().await.unwrap(),
    );
    assert!(!has_not.load().await.unwrap().meshes.contains_key("shop"));
    assert_eq!(before.0.len(), 6, "{:#?}", before.0);

    // Each looks at all of it again, and changes nothing.
    change(&*ours, "m-1", vec![put(mesh("m-1"))]).await.unwrap();
    change(&*theirs, "m-2", vec![put(mesh("m-2"))])
        .await
        .unwrap();
    eventually("both have looked", async || {
        owner(&site, &["mesh", "m-1"]).and(owner(&site, &["mesh", "m-2"]))
    })
    .await;
    let is_marker = |object: &Value| {
        let name = object["name"].as_str().unwrap_or_default();
        name.starts_with("m-")
    };
    let mut after = objects(&site).unwrap();
    after.retain(|object| !is_marker(object));
    assert_eq!(after, before.0);
    let same = |before: &windlass::model::Current, after: &windlass::model::Current| {
        before
            .meshes
            .iter()
            .all(|(name, mesh)| after.meshes.get(name) == Some(mesh))
    };
    assert!(same(&before.1, &ours.load().await.unwrap()));
    assert!(same(&before.2, &theirs.load().await.unwrap()));

    // Once the name is free, theirs is shown.
    let gone = vec![
        delete("demo", Kind::TrafficPermission, "p"),
        delete("demo", Kind::Mesh, "demo"),
    ];
    change(&*ours, "demo", gone).await.unwrap();
    eventually("theirs is shown", async || {
        let dataplane = owner(&site, &["dataplane", "dp", "-n", "prod"])?;
        (owner(&site, &demo)? == THEIRS && dataplane == THEIRS).then_some(())
    })
    .await;
    let stored: &StoredResource = &theirs.load().await.unwrap().meshes["demo"].resources
        [&windlass::model::ResourceKey::mesh(&"demo".parse().unwrap())];
    assert_eq!(stored.resource, mesh("demo"));
}

/// Takes nothing over yet.
#[derive(Debug)]
struct NotYet;

#[async_trait]
impl Adopter for NotYet {
    async fn adopt(
        &self,
        _: &ResourceKey,
        _: Option<Arc<DesiredResource>>,
    ) -> Result<(), NotAdopted> {
        Err(NotAdopted::Later("not yet".to_owned()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_claims_a_mesh_takes_nothing_out_of_it() {
    let site = Site::new().await;
    site.store.adopt_with(Arc::new(NotYet));
    let _leads = site.store.lead("a").await.unwrap();
    let strict = put(mesh_with("demo", true, CaSpec::default()));
    change(&*site.store, "demo", vec![strict]).await.unwrap();
    let demo = ["mesh", "demo"];
    eventually("it is shown", async || owner(&site, &demo)).await;

    // As `kubectl replace` of a file does it that has no labels.
    let patch = r#"{"metadata": {"labels": null}, "spec": {"mtls": {"transition": {"strategy": "forbid"}}}}"#;
    site.cluster
        .run(&["patch", "mesh", "demo", "--type=merge", "-p", patch]);
    eventually("it is claimed", async || owner(&site, &demo)).await;
    let claimed = site.get(&demo).unwrap();
    let wanted = json!({"enabled": true, "transition": {"strategy": "forbid"}});
    assert_eq!(claimed["spec"]["mtls"], wanted);
}
