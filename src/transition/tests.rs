mod model;

use std::collections::BTreeMap;

use super::*;
use crate::ca::Issuing;
use crate::model::{
    AuthorityId, Digest, Evidence, Marks, MeshState, Phase, Posture, Rules, Strategy, Timestamp,
};

const OLD: Key = Key::Builtin(1);

fn new() -> Key {
    Key::Provided(AuthorityId(Digest::of(b"new")))
}

fn strict() -> Situation {
    Situation {
        posture: Posture::Strict,
        marks: Marks::default(),
        drained: 0,
        authorities: BTreeMap::from([(OLD, Standing::Active)]),
        unconfirmed: false,
    }
}

fn goal(enabled: bool, target: Key, strategy: Strategy) -> Goal {
    Goal {
        enabled,
        target,
        may_sign: true,
        strategy,
        provided: BTreeMap::new(),
    }
}

/// Goes to the end where nobody is to be waited for.
fn alone(situation: &Situation, goal: &Goal) -> Course {
    let witness = Witness {
        mesh: &MeshState::absent("demo".parse().unwrap()),
        evidence: &Evidence::new(),
        rules: &Rules::default(),
        approved: None,
        now: Timestamp::from_unix_seconds(0),
    };
    course(situation, goal, &witness)
}

fn phases(course: &Course) -> Vec<Phase> {
    course.stages.iter().map(|(stage, _)| stage.phase).collect()
}

fn gates(course: &Course) -> Vec<Gate> {
    course.stages.iter().map(|(stage, _)| stage.gate).collect()
}

#[test]
fn a_rolling_change_trusts_both_before_the_new_one_signs_and_drops_the_old_one_last() {
    let course = alone(&strict(), &goal(true, new(), Strategy::Rolling));
    let moves: Vec<_> = course
        .stages
        .iter()
        .map(|(it, _)| it.moves.clone())
        .collect();
    assert_eq!(
        moves,
        [
            vec![Move::Stage(new())],
            vec![Move::Prepare(new())],
            vec![Move::Retire(OLD), Move::Activate(new())],
            vec![Move::Drain],
            vec![Move::Withdraw(OLD)],
            vec![Move::Revoke(OLD)],
        ]
    );
    assert_eq!(
        gates(&course),
        [
            Gate::OPEN,
            Gate::OPEN,
            Gate::BUNDLE,
            Gate::LEAF,
            Gate::DRAINED,
            Gate::BUNDLE
        ]
    );
    assert_eq!(course.due, 6, "nobody is to be waited for");
}

#[test]
fn enabling_and_disabling_go_through_every_posture() {
    use Phase::{Decrypt, Disarm, Done, Encrypt, Forget, Identify, Permit, Require};
    let enabled = alone(&strict(), &goal(false, OLD, Strategy::Rolling));
    assert_eq!(phases(&enabled), [Permit, Decrypt, Disarm, Forget, Done]);
    let off = Situation {
        posture: Posture::Plaintext,
        ..strict()
    };
    let disabled = alone(&off, &goal(true, OLD, Strategy::Rolling));
    assert_eq!(
        phases(&disabled),
        [Identify, Permit, Encrypt, Require, Done]
    );
}

#[test]
fn disable_first_changes_the_authority_in_plaintext_only() {
    let course = alone(&strict(), &goal(true, new(), Strategy::DisableFirst));
    let mut situation = strict();
    for (stage, _) in &course.stages {
        for step in &stage.moves {
            if matches!(step, Move::Activate(_) | Move::Prepare(_)) {
                assert_eq!(situation.posture, Posture::Plaintext);
            }
            situation.make(*step);
        }
    }
    assert_eq!(situation.posture, Posture::Strict);
    assert_eq!(situation.active(), Some(new()));
    assert_eq!(situation.authorities.len(), 1, "the old one is gone");
}

#[test]
fn a_builtin_authority_is_replaced_before_its_end() {
    use crate::model::{Mesh, Mtls, Origin, Resource, StoredResource};
    let created = Timestamp::from_unix_seconds(1_800_000_000);
    let name = "demo".parse().unwrap();
    let (mut authority, _) = crate::ca::create_builtin(&name, 1, created).unwrap();
    authority.state = crate::model::AuthorityState::Active;
    let mut mesh = MeshState::absent(name.clone());
    let resource = Resource::Mesh(Mesh {
        name,
        mtls: Mtls {
            enabled: true,
            ..Mtls::default()
        },
    });
    mesh.resources.insert(
        resource.key(),
        StoredResource::new(resource, Origin::Api {}).into(),
    );
    let end = authority.not_after;
    mesh.authorities.insert(authority.id, authority);
    let target = |now| Goal::of(&mesh, Issuing::default(), now).unwrap().target;
    let day = std::time::Duration::from_hours(24);
    assert_eq!(target(created), Key::Builtin(1));
    assert_eq!(target(end - day * 31), Key::Builtin(1));
    assert_eq!(target(end - day * 29), Key::Builtin(2));
    // Nobody has announced that it would be done in plaintext.
    mesh.progress.rules.strategy = Strategy::DisableFirst;
    let goal = Goal::of(&mesh, Issuing::default(), end - day * 29).unwrap();
    assert_eq!(goal.strategy, Strategy::Rolling);
}

#[test]
fn a_builtin_authority_that_ends_is_replaced_without_plaintext_that_nobody_asked_for() {
    use crate::model::{CaSpec, Mesh, Mtls, Origin, Resource, StoredResource};
    let created = Timestamp::from_unix_seconds(1_800_000_000);
    let name: crate::model::MeshName = "demo".parse().unwrap();
    let (mut authority, _) = crate::ca::create_builtin(&name, 1, created).unwrap();
    authority.state = crate::model::AuthorityState::Active;
    let mut mesh = MeshState::absent(name.clone());
    mesh.progress.posture = Posture::Strict;
    mesh.progress.rules.strategy = Strategy::DisableFirst;
    let end = authority.not_after;
    mesh.authorities.insert(authority.id, authority);
    let posture = |mesh: &MeshState, now| {
        let goal = Goal::of(mesh, Issuing::default(), now).unwrap();
        goal.posture(&Situation::of(mesh))
    };
    let asks_for = |mesh: &mut MeshState, ordinal| {
        let resource = Resource::Mesh(Mesh {
            name: name.clone(),
            mtls: Mtls {
                enabled: true,
                ca: CaSpec::Builtin { ordinal },
                ..Mtls::default()
            },
        });
        let stored = StoredResource::new(resource, Origin::Api {});
        mesh.resources.insert(stored.resource.key(), stored.into());
    };
    let near = end - std::time::Duration::from_hours(24 * 29);
    asks_for(&mut mesh, None);
    assert_eq!(posture(&mesh, created), Posture::Strict);
    assert_eq!(posture(&mesh, near), Posture::Strict);
    // A commit that asks for another one has it as its strategy says.
    asks_for(&mut mesh, Some(2));
    assert_eq!(posture(&mesh, created), Posture::Plaintext);
}
