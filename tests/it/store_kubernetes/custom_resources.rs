//! Custom resources show what is stored, and what others write to them is taken
//! over, put back or refused.

use serde_json::json;
use windlass::model::{Kind, Origin, StoredResource};
use windlass::store::{Operation, Store};

use super::{Site, eventually};
use crate::store_contract::samples::{
    change, create_secure, dataplane, delete, history, key, mesh, permission, put,
};

const PERMISSION: &str = r"
apiVersion: kuma.io/v1alpha1
kind: TrafficPermission
mesh: demo
metadata: {name: everyone, namespace: prod}
spec:
  sources: [{match: {service: '*'}}]
  destinations: [{match: {service: '*'}}]
";

const MESH: &str = r"
apiVersion: kuma.io/v1alpha1
kind: Mesh
metadata: {name: demo}
spec: {mtls: {enabled: false}}
";

/// A resource that a file in Git holds.
pub(super) fn of_git(resource: windlass::model::Resource) -> Operation {
    let origin = Origin::Source {
        source: "default".parse().unwrap(),
        file: "demo/mesh.yaml".into(),
        revision: history("").revision.unwrap(),
    };
    Operation::PutResource(StoredResource::new(resource, origin))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_stored_is_shown_and_followed() {
    let site = Site::new().await;
    let store = &*site.store;
    // What was written before anyone leads is shown, too.
    create_secure(store, "demo").await;
    let other = vec![put(mesh("my_mesh")), put(permission("my_mesh", "p"))];
    change(store, "my_mesh", other).await.unwrap();
    let more = vec![
        of_git(permission("demo", "p")),
        put(permission("demo", "q_1")),
    ];
    change(store, "demo", more).await.unwrap();
    let _leads = site.lead().await;
    eventually("all objects are there", async || {
        let all = site.get(&["meshes,trafficpermissions,dataplanes", "-A"])?;
        (all["items"].as_array()?.len() == 7).then_some(())
    })
    .await;
    let shown = site.get(&["dataplane", "dp-1", "-n", "prod"]).unwrap();
    assert_eq!(shown["mesh"], json!("demo"));
    assert_eq!(
        shown["spec"]["networking"]["inbound"][0]["port"],
        json!(8080)
    );
    let labels = &shown["metadata"]["labels"];
    assert_eq!(
        labels["windlass.io/control-plane"],
        json!("windlass-system")
    );
    // Two meshes have a permission of one name in one namespace.
    let namespace = ["-n", "windlass-system"];
    let names = [
        ["trafficpermission", "p"],
        ["trafficpermission", "my_mesh.p"],
    ];
    let mut meshes: Vec<_> = names
        .iter()
        .filter_map(|name| site.get(&[&name[..], &namespace].concat()))
        .map(|it| it["mesh"].as_str().unwrap().to_owned())
        .collect();
    meshes.sort();
    assert!(
        meshes.len() == 1 || meshes == ["demo", "my_mesh"],
        "{meshes:?}"
    );
    let status = eventually("the mesh has a status", async || {
        let mesh = site.get(&["mesh", "demo"])?;
        mesh["status"]["posture"].as_str().map(str::to_owned)
    });
    assert_eq!(status.await, "strict");
    let table = site.cluster.run(&["get", "mesh", "demo"]);
    assert!(
        table.contains("POSTURE") && table.contains("builtin"),
        "{table}"
    );

    let gone = vec![
        delete("demo", Kind::Dataplane, "dp-1"),
        delete("demo", Kind::TrafficPermission, "p"),
    ];
    change(store, "demo", gone).await.unwrap();
    let gone = ["p", "my_mesh.p"].map(|name| delete("my_mesh", Kind::TrafficPermission, name));
    let gone = gone
        .into_iter()
        .chain([delete("my_mesh", Kind::Mesh, "my_mesh")]);
    change(store, "my_mesh", gone.collect()).await.unwrap();
    eventually("their objects are gone", async || {
        let all = site.get(&["meshes,trafficpermissions,dataplanes", "-A"])?;
        (all["items"].as_array()?.len() == 3).then_some(())
    })
    .await;
    assert_eq!(
        store.load().await.unwrap().meshes["demo"].resources.len(),
        3
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_someone_applies_is_taken_over() {
    let site = Site::new().await;
    let store = &*site.store;
    let _leads = site.lead().await;
    site.cluster
        .apply(&format!("{PERMISSION}---{MESH}"))
        .unwrap();
    let everyone = key("demo", Kind::TrafficPermission, "everyone");
    eventually("both are stored", async || {
        let current = store.load().await.unwrap();
        let mesh = current.meshes.get("demo")?;
        mesh.resources.get(&everyone).map(drop)
    })
    .await;
    eventually("they are Windlass's from now on", async || {
        let object = site.get(&["trafficpermission", "everyone", "-n", "prod"])?;
        object["metadata"]["labels"]["windlass.io/control-plane"]
            .as_str()
            .map(drop)
    })
    .await;

    let accepted = async || {
        let object = site.get(&["trafficpermission", "everyone", "-n", "prod"])?;
        let condition = &object["status"]["conditions"][0];
        let is_seen = condition["observedGeneration"] == object["metadata"]["generation"];
        (is_seen && condition["type"] == "Accepted" && condition["status"] == "True").then_some(())
    };
    eventually("its status says that it is accepted", &accepted).await;

    let changed = PERMISSION.replacen("'*'", "web", 1);
    site.cluster.apply(&changed).unwrap();
    eventually("its status says that the change is", &accepted).await;
    eventually("the change is stored", async || {
        let current = store.load().await.unwrap();
        let stored = current.meshes["demo"].resources[&everyone].clone();
        assert_eq!(stored.origin, Origin::Api {});
        let says = stored.resource.to_universal().to_string();
        says.contains("web").then_some(())
    })
    .await;
    // What Windlass writes then wins over what was applied.
    let stored = put(permission("demo", "other"));
    change(store, "demo", vec![stored]).await.unwrap();
    eventually("it is shown", async || {
        site.get(&["trafficpermission", "other", "-n", "windlass-system"])
    })
    .await;

    site.cluster
        .run(&["delete", "trafficpermission", "everyone", "-n", "prod"]);
    eventually("it is gone from the store", async || {
        let current = store.load().await.unwrap();
        (!current.meshes["demo"].resources.contains_key(&everyone)).then_some(())
    })
    .await;
    // A mesh that resources belong to does not go.
    site.cluster.run(&["delete", "mesh", "demo"]);
    eventually("the mesh is back", async || site.get(&["mesh", "demo"])).await;
    assert!(store.load().await.unwrap().meshes.contains_key("demo"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_git_owns_is_put_back() {
    let site = Site::new().await;
    let store = &*site.store;
    let _leads = site.lead().await;
    let all = vec![of_git(mesh("demo")), of_git(dataplane("demo", "dp"))];
    change(store, "demo", all).await.unwrap();
    let dataplane = ["dataplane", "dp", "-n", "prod"];
    eventually("it is shown", async || site.get(&dataplane)).await;
    let before = store.load().await.unwrap();

    let patch = r#"{"spec": {"networking": {"address": "10.9.9.9", "inbound": [], "gateway": {"tags": {"service": "x"}}}}}"#;
    let patched = [
        "patch",
        "dataplane",
        "dp",
        "-n",
        "prod",
        "--type=merge",
        "-p",
        patch,
    ];
    site.cluster.run(&patched);
    eventually("the change is put back", async || {
        let object = site.get(&dataplane)?;
        let networking = &object["spec"]["networking"];
        let is_back = networking["address"] == json!("10.0.0.1") && networking["gateway"].is_null();
        is_back.then_some(())
    })
    .await;
    site.cluster
        .run(&["delete", "dataplane", "dp", "-n", "prod"]);
    eventually("it comes back", async || site.get(&dataplane)).await;
    site.cluster.run(&["delete", "mesh", "demo"]);
    eventually("the mesh comes back", async || site.get(&["mesh", "demo"])).await;
    assert_eq!(store.load().await.unwrap().meshes, before.meshes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_breaks_a_rule_is_not_taken_over_and_its_status_says_why() {
    let site = Site::new().await;
    let store = &*site.store;
    let _leads = site.lead().await;
    change(store, "demo", vec![put(mesh("demo"))])
        .await
        .unwrap();
    let wrong = PERMISSION.replace(
        "destinations: [{match: {service: '*'}}]",
        "destinations: []",
    );
    let wrong = wrong.replacen("sources:", "surces: []\n  sources:", 1);
    site.cluster.apply(&wrong).map_or_else(
        // kubectl itself may know that there is no such field.
        |_| {
            let wrong = wrong.replace("surces: []\n  ", "");
            drop(site.cluster.apply(&wrong).unwrap());
        },
        drop,
    );
    let stranger = MESH.replace("demo", "other").replace(
        "enabled: false",
        "enabled: false, ca: {builtin: {}, provided: {}}",
    );
    site.cluster.apply(&stranger).unwrap();
    let why = |what: &'static [&'static str]| {
        let site = &site;
        async move {
            eventually("its status says why", async || {
                let object = site.get(what)?;
                let condition = &object["status"]["conditions"][0];
                let is_refused = condition["status"] == json!("False");
                is_refused.then(|| condition["message"].as_str().unwrap().to_owned())
            })
            .await
        }
    };
    let message = why(&["trafficpermission", "everyone", "-n", "prod"]).await;
    assert!(
        message.contains("destinations: must have at least one element"),
        "{message}"
    );
    let message = why(&["mesh", "other"]).await;
    assert!(message.contains("exactly one of"), "{message}");
    let current = store.load().await.unwrap();
    assert_eq!(current.meshes.len(), 1);
    assert_eq!(current.meshes["demo"].resources.len(), 1);

    // Mended, it is taken.
    site.cluster.apply(PERMISSION).unwrap();
    eventually("it is taken over", async || {
        let current = store.load().await.unwrap();
        (current.meshes["demo"].resources.len() == 2).then_some(())
    })
    .await;
    eventually("its status says so", async || {
        let object = site.get(&["trafficpermission", "everyone", "-n", "prod"])?;
        let status = &object["status"]["conditions"][0]["status"];
        (*status == json!("True")).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_deletes_the_crds_deletes_no_resource() {
    let site = Site::new().await;
    let store = &*site.store;
    create_secure(store, "demo").await;
    let leads = site.lead().await;
    let shown = async || site.get(&["dataplane", "dp-2", "-n", "prod"]);
    eventually("it is shown", shown).await;
    let before = store.load().await.unwrap();
    let crds = [
        "meshes.kuma.io",
        "trafficpermissions.kuma.io",
        "dataplanes.kuma.io",
    ];
    site.cluster.run(&[&["delete", "crd"][..], &crds].concat());
    site.create_crds();
    eventually("it is shown again", shown).await;
    assert_eq!(store.load().await.unwrap(), before);

    // Nor while nobody looks.
    drop(leads);
    site.cluster.run(&[&["delete", "crd"][..], &crds].concat());
    site.create_crds();
    let _leads = site.store.lead("b").await.unwrap();
    eventually("it is shown once more", shown).await;
    assert_eq!(store.load().await.unwrap(), before);
}
