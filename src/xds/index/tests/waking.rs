//! Whom a change wakes.

use proptest::prelude::*;

use super::*;
use crate::model::Posture;
use crate::xds::fixtures::changes::{Change, DATAPLANES, change, mesh};

/// What the mesh has for each dataplane, compiled anew.
fn views(state: &Arc<MeshState>) -> [Option<View>; 4] {
    let mut view = MeshView::of(state);
    DATAPLANES.map(|name| view.proxy(&name.parse().unwrap()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_proxy_is_woken_when_and_only_when_its_view_changed(
        start in prop::collection::vec(change(), 4..12),
        steps in prop::collection::vec(change(), 1..12),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let _entered = runtime.enter();
        let mut state = mesh(Posture::Strict);
        for change in &start {
            change.apply(&mut state);
        }
        let mut case = Case::of([state]);
        let mut before = views(&case.current["demo"]);
        // Feeders do not run: nobody but the index touches the targets.
        let mut proxies = DATAPLANES.map(|name| case.proxy(name));
        for step in &steps {
            case.change("demo", |mesh| step.apply(mesh));
            let after = views(&case.current["demo"]);
            for (index, name) in DATAPLANES.iter().enumerate() {
                let woken = proxies[index].as_mut().is_some_and(|(_, targets)| {
                    let woken = targets.has_changed().unwrap();
                    targets.mark_unchanged();
                    woken
                });
                let changed = match (&before[index], &after[index]) {
                    (Some(a), Some(b)) => !a.is_same(b),
                    (a, b) => a.is_some() != b.is_some(),
                };
                // One that was not there had nobody to be woken.
                prop_assert_eq!(woken, changed && before[index].is_some(), "{}", name);
                if after[index].is_some() != proxies[index].is_some() {
                    proxies[index] = case.proxy(name);
                }
            }
            before = after;
        }
    }
}

impl Case {
    fn proxy(&self, name: &str) -> Option<(Subscription, watch::Receiver<Target>)> {
        let subscription = self.index.subscribe(&id("demo", name)).ok()?;
        let targets = subscription.0.targets.subscribe();
        Some((subscription, targets))
    }
}

#[tokio::test]
async fn a_permission_wakes_those_who_offer_its_destination() {
    let mut case = Case::new();
    let web = case.stream("one", "web").await;
    let api = case.stream("one", "api").await;
    let other = case.stream("two", "web").await;
    let permission = serde_json::json!({
        "type": "TrafficPermission", "mesh": "one", "name": "all-to-web",
        "sources": [{"match": {"service": "*"}}], "destinations": [{"match": {"service": "web"}}],
    });
    case.change("one", |mesh| Change::Put(permission).apply(mesh));
    assert_eq!(
        [&web, &api, &other].map(Stream::was_woken),
        [true, false, false]
    );
}
