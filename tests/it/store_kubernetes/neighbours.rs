//! Two control planes in one cluster.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value, json};
use windlass::model::{CaSpec, DesiredResource, Kind, Resource, ResourceKey, StoredResource};
use windlass::store::kubernetes::KubernetesStore;
use windlass::store::{Adopter, NotAdopted, Store};

use super::custom_resources::of_git;
use super::{AsItIs, Site, eventually};
use crate::store_contract::kubernetes::{NAMESPACE, create_namespace};
use crate::store_contract::samples::{
    change, dataplane, delete, key, mesh, mesh_with, permission, put, sealed,
};
use crate::support::gap::Gap;

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dependent_that_another_one_has_taken_is_kept_and_left_alone() {
    let site = Site::new().await;
    let _leads = site.lead().await;
    let names = ["first", "taken"];
    let all = names.map(|name| put(dataplane("demo", name)));
    let all = all.into_iter().chain([put(mesh("demo"))]).collect();
    change(&*site.store, "demo", all).await.unwrap();
    let taken = ["dataplane", "taken", "-n", "prod"];
    eventually("both are shown", async || {
        owner(&site, &["dataplane", "first", "-n", "prod"]).and(owner(&site, &taken))
    })
    .await;

    let label = format!("windlass.io/control-plane={THEIRS}");
    let relabel = [&["label"][..], &taken, &[&label, "--overwrite"]].concat();
    site.cluster.run(&relabel);
    // Of several that are gone, the last goes first.
    site.cluster
        .run(&["delete", "dataplane", "first", "-n", "prod"]);
    let has = async |name: &str| {
        let current = site.store.load().await.unwrap();
        let key = key("demo", Kind::Dataplane, name);
        current.meshes["demo"].resources.contains_key(&key)
    };
    eventually("what someone deleted is gone", async || {
        (!has("first").await).then_some(())
    })
    .await;
    assert!(has("taken").await, "nobody deleted it");
    assert_eq!(owner(&site, &taken).as_deref(), Some(THEIRS));
    let dataplanes = site.get(&["dataplanes", "-A"]).unwrap();
    assert_eq!(dataplanes["items"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_that_was_not_heard_of_yet_is_not_written_over() {
    let site = Site::new().await;
    let (client, gap) = Gap::before(site.cluster.client().await);
    let store = Arc::new(KubernetesStore::new(client, NAMESPACE, "the other side"));
    store.adopt_with(Arc::new(AsItIs(Arc::clone(&store))));
    let _leads = store.lead("a").await.unwrap();
    change(&*site.store, "demo", vec![put(mesh("demo"))])
        .await
        .unwrap();
    eventually("it leads", async || owner(&site, &["mesh", "demo"])).await;

    gap.cut();
    let mut theirs = windlass::manifest::to_kubernetes(&dataplane("else", "dp"));
    theirs["metadata"]["labels"] = json!({"windlass.io/control-plane": THEIRS});
    site.cluster.apply(&theirs.to_string()).unwrap();
    let plain = ["dataplane", "dp", "-n", "prod"];
    let before = site.get(&plain).unwrap();
    change(&*site.store, "demo", vec![put(dataplane("demo", "dp"))])
        .await
        .unwrap();
    let shown = async || {
        let all = site.get(&["dataplanes", "-A"])?;
        let all = all["items"].as_array()?;
        let ours = all.iter().find(|it| it["mesh"] == "demo")?;
        ours["metadata"]["name"].as_str().map(str::to_owned)
    };
    let at = eventually("ours is shown", shown).await;
    assert_eq!(at, "demo.dp");
    assert_eq!(site.get(&plain).unwrap(), before);
}
