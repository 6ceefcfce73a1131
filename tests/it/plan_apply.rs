//! The planner, the executor and a store together: whatever commits come, in
//! whatever order, a plan that is not blocked is accepted by the store, leaves
//! nothing to do, and a plan that is blocked leaves everything as it is.

mod acknowledged;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use proptest::prelude::*;
use windlass::apply::{Applier, OpenedKeys};
use windlass::ca::CertificateInfo;
use windlass::ca::Issuing;
use windlass::manifest;
use windlass::model::{
    AuthorityOrigin, AuthorityState, Current, Desired, Evidence, MeshState, PrivateKey, Timestamp,
};
use windlass::plan::Circumstances;
use windlass::plan::{self, Blocked};
use windlass::store::Store;
use windlass::store::encryption::Vault;
use windlass::store::memory::MemoryStore;

use super::support::MeshCa;

const REVISION: &str = "main@sha1:0123456789abcdef0123456789abcdef01234567";

/// One commit: what it says of the one mesh.
#[derive(Debug, Clone)]
pub(super) struct Commit {
    pub(super) mesh: bool,
    enabled: bool,
    /// `None` is builtin, else the index of the root.
    ca: Option<usize>,
    roots: [bool; 2],
    permissions: [bool; 3],
    dataplanes: [bool; 3],
}

/// Any commit.
pub(super) fn commit() -> impl Strategy<Value = Commit> {
    let one = (
        prop::bool::weighted(0.9),
        any::<bool>(),
        prop::option::of(0..2_usize),
        any::<[bool; 2]>(),
        any::<[bool; 3]>(),
        any::<[bool; 3]>(),
    );
    one.prop_map(|(mesh, enabled, ca, mut roots, permissions, dataplanes)| {
        if let Some(root) = ca {
            roots[root] = true;
        }
        Commit {
            mesh,
            enabled,
            ca,
            roots,
            permissions,
            dataplanes,
        }
    })
}

/// The roots, made once: their documents and, by id, some key.
static ROOTS: LazyLock<(Vec<String>, OpenedKeys)> = LazyLock::new(|| {
    let documents: Vec<String> = (0..2)
        .map(|n| MeshCa::for_mesh("demo").document("demo", &format!("root-{n}")))
        .collect();
    let key = || PrivateKey::new(zeroize::Zeroizing::new("some key".to_owned()));
    let keys = documents.iter().map(|document| {
        let manifest = manifest::parse(
            &[(Arc::from("ca.yaml"), document.clone().into_bytes())],
            "default".parse().unwrap(),
        );
        let mesh = manifest.desired().meshes.values().next().unwrap().clone();
        let (ca, _) = mesh.provided_cas().next().unwrap();
        (CertificateInfo::from_pem(&ca.cert).unwrap().id, key())
    });
    let keys = keys.collect();
    (documents, keys)
});

pub(super) fn desired(commit: &Commit) -> Desired {
    // Never an empty source: that is a case of its own.
    let mut files = vec![(
        "other.yaml".to_owned(),
        "type: Mesh\nname: other\n".to_owned(),
    )];
    if commit.mesh {
        let ca = match commit.ca {
            None => "{builtin: {}}".to_owned(),
            Some(root) => format!("{{provided: {{name: root-{root}}}}}"),
        };
        let enabled = commit.enabled;
        let mesh = format!("type: Mesh\nname: demo\nmtls: {{enabled: {enabled}, ca: {ca}}}\n");
        files.push(("mesh.yaml".to_owned(), mesh));
        for (n, document) in ROOTS.0.iter().enumerate().filter(|(n, _)| commit.roots[*n]) {
            files.push((format!("root-{n}.yaml"), document.clone()));
        }
        for n in (0..3).filter(|n| commit.permissions[*n]) {
            let text = format!(
                "type: TrafficPermission\nmesh: demo\nname: p-{n}\n\
                 sources: [{{match: {{service: a-{n}}}}}]\ndestinations: [{{match: {{service: '*'}}}}]\n"
            );
            files.push((format!("p-{n}.yaml"), text));
        }
        for n in (0..3).filter(|n| commit.dataplanes[*n]) {
            let text = format!(
                "type: Dataplane\nmesh: demo\nname: dp-{n}\nnetworking:\n  address: 127.0.0.1\n  \
                 inbound: [{{port: 80, tags: {{service: a-{n}}}}}]\n"
            );
            files.push((format!("dp-{n}.yaml"), text));
        }
    }
    let files: Vec<(Arc<str>, Vec<u8>)> = files
        .into_iter()
        .map(|(name, text)| (Arc::from(name), text.into_bytes()))
        .collect();
    let mut manifest = manifest::parse(&files, "default".parse().unwrap());
    manifest.set_revision(Some(REVISION.parse().unwrap()));
    assert_eq!(manifest.diagnostics(), []);
    manifest.desired().clone()
}

/// Plans and applies; returns the meshes that were blocked.
pub(super) async fn reconcile(
    store: &MemoryStore,
    vault: &Vault,
    desired: &Desired,
) -> Vec<Blocked> {
    let now = Timestamp::from_unix_seconds(1_780_000_000);
    let before = store.load().await.unwrap();
    let plan = plan::plan(
        &before,
        desired,
        Circumstances {
            evidence: &Evidence::new(),
            issuing: Issuing::default(),
            now,
        },
    );
    let mut blocked = plan.blocked.clone();
    for mesh in &plan.meshes {
        if mesh.is_blocked() {
            blocked.extend(mesh.blocked.iter().cloned());
            continue;
        }
        let absent = Arc::new(MeshState::absent(mesh.mesh.clone()));
        let state = before.meshes.get(&mesh.mesh).unwrap_or(&absent);
        let applier = Applier {
            evidence: &Evidence::new(),
            store,
            vault,
            keys: &ROOTS.1,
            now,
        };
        if let Err(error) = applier.apply(mesh, state, desired).await {
            panic!("{}\n{plan:#?}", windlass::telemetry::chain(&error));
        }
    }
    let after = store.load().await.unwrap();
    let again = plan::plan(
        &after,
        desired,
        Circumstances {
            evidence: &Evidence::new(),
            issuing: Issuing::default(),
            now,
        },
    );
    if blocked.is_empty() {
        assert!(!again.has_changes(), "something is left to do: {again:#?}");
        assert!(
            again.meshes.is_empty(),
            "something is left to do: {again:#?}"
        );
    } else {
        assert_eq!(after.meshes.get("demo"), before.meshes.get("demo"));
    }
    blocked
}

fn check(current: &Current, commit: &Commit) {
    let Some(demo) = current.meshes.get("demo") else {
        assert!(!commit.mesh);
        return;
    };
    let mut states = BTreeMap::<&str, usize>::new();
    for authority in demo.authorities.values() {
        *states.entry(authority.state.name()).or_default() += 1;
        assert_ne!(authority.state.name(), "prepared");
        assert_ne!(authority.state.name(), "retiring");
    }
    assert_eq!(states.get("active"), Some(&1), "{states:?}");
    let active = demo.active_authority().unwrap();
    match (&active.origin, commit.ca) {
        (AuthorityOrigin::Builtin { .. }, None) => {}
        (AuthorityOrigin::Provided { name }, Some(root)) => {
            assert_eq!(name.as_str(), format!("root-{root}"));
        }
        other => panic!("another authority than the one that is asked for: {other:?}"),
    }
    let roots = commit.roots.iter().filter(|wanted| **wanted).count();
    let known = demo.authorities.values().filter(|authority| {
        let revoked = matches!(authority.state, AuthorityState::Revoked { .. });
        matches!(authority.origin, AuthorityOrigin::Provided { .. }) && !revoked
    });
    assert_eq!(
        known.count(),
        roots,
        "every root in Git is staged or active, and no other"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_is_committed_is_reached_or_refused_whole(commits in prop::collection::vec(commit(), 1..12)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let store = MemoryStore::new();
            let vault = Vault::ephemeral();
            for commit in &commits {
                let blocked = reconcile(&store, &vault, &desired(commit)).await;
                let current = store.load().await.unwrap();
                if blocked.is_empty() {
                    check(&current, commit);
                } else {
                    assert_eq!(blocked, [Blocked::CaChangeForbidden]);
                }
            }
        });
    }
}
