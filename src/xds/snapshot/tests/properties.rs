//! Advancing step by step is the same as compiling anew, and nobody is
//! touched whose view stays.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::model::ResourceName;
use crate::xds::fixtures::changes::{DATAPLANES, change, mesh};

fn views(mesh: &mut MeshView) -> Vec<(ResourceName, Option<View>)> {
    let names: [ResourceName; 4] = DATAPLANES.map(|name| name.parse().unwrap());
    names.map(|name| (name.clone(), mesh.proxy(&name))).into()
}

fn is_same(a: Option<&View>, b: Option<&View>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a.is_same(b),
        (None, None) => true,
        _ => false,
    }
}

proptest! {
    #[test]
    fn a_view_that_advances_equals_one_made_from_scratch(
        steps in prop::collection::vec(prop::collection::vec(change(), 1..4), 1..12),
        looks in any::<u64>(),
    ) {
        let mut state = mesh(Posture::Strict);
        let mut view = MeshView::of(&Arc::new(state.clone()));
        let mut before = views(&mut view);
        let mut touched = Touched::Only(BTreeSet::new());
        for (step, changes) in steps.iter().enumerate() {
            for change in changes {
                change.apply(&mut state);
            }
            let next = Arc::new(state.clone());
            match (&mut touched, view.advance(&next)) {
                (Touched::Only(names), Touched::Only(more)) => names.extend(more),
                (touched, _) => *touched = Touched::Everyone,
            }
            // What nobody asked for between two steps must not matter.
            if looks >> step & 1 == 1 {
                continue;
            }
            let mut scratch = MeshView::of(&next);
            let (after, expected) = (views(&mut view), views(&mut scratch));
            for ((name, view), (_, expected)) in after.iter().zip(&expected) {
                prop_assert!(is_same(view.as_ref(), expected.as_ref()), "{name}: {view:#?} is not {expected:#?}");
            }
            prop_assert_eq!(view.shape(), scratch.shape());
            if let Touched::Only(names) = &touched {
                for ((name, old), (_, new)) in before.iter().zip(&after) {
                    let same = is_same(old.as_ref(), new.as_ref());
                    prop_assert!(same || names.contains(name), "{name} is missing in {names:?}");
                }
            }
            touched = Touched::Only(BTreeSet::new());
            before = after;
        }
    }
}
