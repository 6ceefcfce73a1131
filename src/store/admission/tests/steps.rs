//! Which steps are legal from where, and who has to have acknowledged what.

use std::collections::BTreeSet;

use super::*;
use crate::model::{
    Acknowledgement, HumanDuration, Marks, Offline, Part, Phase, Progress, Rules, Strategy,
    Transition,
};
use crate::transition::Gate;

const STAGED: AuthorityState = AuthorityState::Staged;

/// A mesh as it might stand: `builtin-1` in a state, `builtin-2` active where
/// one has to be.
fn standing(state: Option<AuthorityState>, posture: Posture) -> MeshState {
    let mut mesh = secure("builtin-1", builtin());
    mesh.authorities.clear();
    let mut put = |name: &str, state| {
        let authority = authority(name, state);
        mesh.authorities.insert(authority.id, authority);
    };
    if let Some(state) = state {
        put("builtin-1", state);
    }
    if state != Some(ACTIVE) {
        put("builtin-2", ACTIVE);
    }
    mesh.progress = Progress {
        posture,
        marks: Marks {
            bundle: 5,
            leaf: 4,
            inbounds: 3,
            outbounds: 2,
        },
        drained: 4,
        ..Progress::default()
    };
    mesh
}

fn proxy_id(name: &str) -> DataplaneId {
    DataplaneId {
        mesh: "demo".parse().unwrap(),
        name: name.parse().unwrap(),
    }
}

/// A connected proxy that has acknowledged some parts as they are in [`standing`].
fn proxy(parts: &[Part]) -> ProxyEvidence {
    let mut proxy = ProxyEvidence::none(proxy_id("dp"), now());
    let marks = standing(None, Posture::Strict).progress.marks;
    let acked = parts.iter().map(|part| {
        let (mark, at) = (marks.of(*part), now());
        (*part, Acknowledgement { mark, at })
    });
    proxy.acknowledged = acked.collect();
    proxy.connected_since = Some(now());
    proxy.asks = Part::ALL.into();
    proxy.offered = marks;
    proxy
}

fn of(proxy: ProxyEvidence) -> Evidence {
    Evidence::from([(proxy.dataplane.clone(), proxy.into())])
}

/// What the present state of `builtin-1` may become, whoever has acknowledged what.
fn becomes(from: Option<AuthorityState>) -> Vec<AuthorityState> {
    match from {
        // It cannot be active beside another one, so that is looked at apart.
        None | Some(AuthorityState::Revoked { .. }) => vec![],
        Some(AuthorityState::Staged) => vec![PREPARED, revoked()],
        Some(AuthorityState::Prepared | AuthorityState::Retiring { .. }) => {
            vec![ACTIVE, STAGED, revoked()]
        }
        Some(AuthorityState::Active) => vec![retiring()],
    }
}

#[test]
fn every_move_of_an_authority_is_legal_from_some_states_only() {
    let states = [STAGED, PREPARED, ACTIVE, retiring(), revoked()];
    let from = states.map(Some).into_iter().chain([None]);
    for (from, posture) in from.flat_map(|it| Posture::ALL.map(|posture| (it, posture))) {
        for to in states {
            let here = standing(from, posture);
            let mut operations = vec![advance("builtin-1", to)];
            if to == ACTIVE && from != Some(ACTIVE) {
                operations.insert(0, advance("builtin-2", retiring()));
            }
            if from == Some(ACTIVE) && to == retiring() {
                operations.extend(activate("builtin-2"));
            }
            let result = try_on(&here, &Evidence::new(), operations);
            let stays = from.is_some_and(|from| from.name() == to.name());
            let legal = stays || becomes(from).contains(&to);
            assert_eq!(
                result.is_ok(),
                legal,
                "{from:?} -> {to:?} while {posture:?}: {result:?}"
            );
        }
    }
}

#[test]
fn no_posture_is_skipped_and_none_gone_back_to_unannounced() {
    for (from, to) in Posture::ALL
        .into_iter()
        .flat_map(|from| Posture::ALL.map(|to| (from, to)))
    {
        let mut here = standing(Some(ACTIVE), from);
        let secure = || [Operation::Secure(to)];
        let is_next = from == to || from.towards(to) == Some(to);
        let result = try_on(&here, &Evidence::new(), secure());
        assert_eq!(result.is_ok(), is_next && to >= from, "{from:?} -> {to:?}");
        // In the strategy, no more than in the others, unless the authority is to change.
        here.progress.rules.strategy = Strategy::DisableFirst;
        let result = try_on(&here, &Evidence::new(), secure());
        assert_eq!(result.is_ok(), is_next && to >= from, "{from:?} -> {to:?}");
        let another = CaSpec::Builtin { ordinal: Some(2) };
        let changes = [mesh(true, another), Operation::Secure(to)];
        let result = try_on(&here, &Evidence::new(), changes);
        assert_eq!(result.is_ok(), is_next, "{from:?} -> {to:?}: {result:?}");
        let disabled = [mesh(false, builtin()), Operation::Secure(to)];
        here.progress.rules.strategy = Strategy::Rolling;
        let result = try_on(&here, &Evidence::new(), disabled);
        assert_eq!(result.is_ok(), is_next, "{from:?} -> {to:?}: {result:?}");
    }
}

#[test]
fn an_authority_leaves_the_bundle_only_once_its_connections_were_drained() {
    let mut here = standing(Some(retiring()), Posture::Strict);
    let withdraw = || [advance("builtin-1", STAGED)];
    assert!(try_on(&here, &Evidence::new(), withdraw()).is_ok());
    here.progress.drained = 3;
    let refused = try_on(&here, &Evidence::new(), withdraw());
    assert!(matches!(refused, Err(Refusal::Illegal(_))), "{refused:?}");
    let drained = [Operation::Drain].into_iter().chain(withdraw());
    assert!(try_on(&here, &Evidence::new(), drained).is_ok());
}

#[test]
fn a_gate_is_closed_until_everyone_has_acknowledged_its_parts() {
    let rotating = || standing(Some(PREPARED), Posture::Strict);
    let hand_over = || {
        vec![
            advance("builtin-2", retiring()),
            advance("builtin-1", ACTIVE),
        ]
    };
    let late = Part::ALL;
    let cases: Vec<(&str, MeshState, Vec<Operation>, Gate)> = vec![
        ("activate", rotating(), hand_over(), Gate::BUNDLE),
        ("drain", rotating(), vec![Operation::Drain], Gate::LEAF),
        (
            "withdraw",
            standing(Some(retiring()), Posture::Strict),
            vec![advance("builtin-1", STAGED)],
            Gate::DRAINED,
        ),
        (
            "revoke",
            standing(Some(STAGED), Posture::Strict),
            vec![advance("builtin-1", revoked())],
            Gate::BUNDLE,
        ),
        (
            "permit",
            standing(Some(ACTIVE), Posture::Identified),
            vec![Operation::Secure(Posture::Permissive)],
            Gate::IDENTITIES,
        ),
        (
            "encrypt",
            standing(Some(ACTIVE), Posture::Permissive),
            vec![Operation::Secure(Posture::Encrypting)],
            Gate::SECURED,
        ),
        (
            "require",
            standing(Some(ACTIVE), Posture::Encrypting),
            vec![Operation::Secure(Posture::Strict)],
            Gate::SECURED,
        ),
    ];
    for (case, here, operations, gate) in cases {
        let mut here = here;
        if operations == [Operation::Drain] {
            here.progress.drained = 3;
        }
        let tried = |proxy| try_on(&here, &of(proxy), operations.clone());
        let mut all = proxy(&late);
        all.drain_seconds = Some(0);
        assert!(tried(all.clone()).is_ok(), "{case}");
        for part in gate.parts {
            let mut lacks = all.clone();
            lacks.acknowledged.remove(part);
            let Err(refusal @ Refusal::Unproven { .. }) = tried(lacks.clone()) else {
                panic!("{case} without {part}");
            };
            let text = refusal.to_string();
            assert!(text.contains("demo/dp has yet to"), "{text}");
            // An earlier mark is none.
            let mark = here.progress.marks.of(*part) - 1;
            let earlier = Acknowledgement { mark, at: now() };
            lacks.acknowledged.insert(*part, earlier);
            assert!(tried(lacks.clone()).is_err(), "{case}: earlier {part}");
            // Who is away and may hold a leaf is waited for; else nobody is.
            lacks.connected_since = None;
            lacks.left = Some(now());
            lacks.held_until = Some(now() + HOUR);
            assert!(tried(lacks.clone()).is_err(), "{case}: away without {part}");
            lacks.held_until = Some(now());
            assert!(tried(lacks.clone()).is_ok(), "{case}: its leaf has ended");
        }
    }
}

#[test]
fn no_authority_comes_to_sign_that_is_not_valid() {
    let second = Duration::from_secs(1);
    let hour = (now(), now() + HOUR);
    let cases = [
        (hour, true),
        ((now(), now() + second), true),
        ((now(), now()), false),
        ((now() + second, now() + HOUR), false),
    ];
    let from = [PREPARED, retiring()];
    let from = from.map(|from| [Posture::Strict, Posture::Plaintext].map(|it| (from, it)));
    for (from, posture) in from.into_iter().flatten() {
        for ((not_before, not_after), admitted) in cases {
            let mut here = standing(Some(from), posture);
            let authority = here.authorities.get_mut(&id("builtin-1")).unwrap();
            (authority.not_before, authority.not_after) = (not_before, not_after);
            let hand_over = [
                advance("builtin-2", retiring()),
                advance("builtin-1", ACTIVE),
            ];
            let result = try_on(&here, &Evidence::new(), hand_over);
            assert_eq!(result.is_ok(), admitted, "{from:?}: {result:?}");
            if let Err(refusal) = result {
                assert!(matches!(refusal, Refusal::OutsideValidity { .. }));
            }
        }
    }
}

#[test]
fn the_time_of_the_drain_is_waited_for() {
    let here = standing(Some(retiring()), Posture::Strict);
    let mut slow = proxy(&Part::ALL);
    slow.drain_seconds = Some(60);
    let withdraw = || [advance("builtin-1", STAGED)];
    // Without inbounds it has accepted no connection.
    assert!(try_on(&here, &of(slow.clone()), withdraw()).is_ok());
    let mut here = here;
    let listens = serde_json::json!({
        "type": "Dataplane", "mesh": "demo", "name": "dp",
        "networking": {"address": "127.0.0.1", "inbound": [{"port": 80, "tags": {"service": "a"}}]},
    });
    let listens: Resource = serde_json::from_value(listens).unwrap();
    let stored = StoredResource::new(listens, Origin::Api {});
    here.resources.insert(stored.resource.key(), stored.into());
    let refused = try_on(&here, &of(slow.clone()), withdraw());
    assert!(
        matches!(refused, Err(Refusal::Unproven { .. })),
        "{refused:?}"
    );
    let since = now() - Duration::from_mins(1);
    slow.acknowledged.get_mut(&Part::Inbounds).unwrap().at = since;
    assert!(try_on(&here, &of(slow), withdraw()).is_ok());
}

#[test]
fn no_authority_leaves_the_bundle_that_a_leaf_needs() {
    let here = standing(Some(retiring()), Posture::Strict);
    // It says that it has all, and holds the leaf that it acknowledged last.
    let holds = |issuer: &str, end| {
        let mut proxy = proxy(&Part::ALL);
        proxy.leaf_issuer = Some(id(issuer));
        proxy.leaf_not_after = end;
        proxy.drain_seconds = Some(0);
        proxy
    };
    let late = Some(now() + HOUR);
    let drops = |connected: bool| {
        let mut proxy = holds("builtin-1", late);
        proxy.asks = [Part::Inbounds, Part::Outbounds].into();
        proxy.connected_since = connected.then(now);
        proxy
    };
    let withdraw = [advance("builtin-1", STAGED)];
    let revoke = [advance("builtin-1", revoked())];
    let leave = [
        delete(Kind::Dataplane, "dp"),
        advance("builtin-1", revoked()),
    ];
    let cases: [(&str, ProxyEvidence, &[Operation], bool); 8] = [
        ("dropped", drops(true), &withdraw, true),
        ("dropped, and away", drops(false), &withdraw, false),
        ("withdrawn", holds("builtin-1", late), &withdraw, false),
        ("revoked", holds("builtin-1", late), &revoke, false),
        ("of unknown end", holds("builtin-1", None), &withdraw, false),
        ("expired", holds("builtin-1", Some(now())), &withdraw, true),
        ("of another", holds("builtin-2", late), &withdraw, true),
        ("deleted", holds("builtin-1", late), &leave, true),
    ];
    for (case, proxy, operations, admitted) in cases {
        let result = try_on(&here, &of(proxy), operations.to_vec());
        assert_eq!(result.is_ok(), admitted, "{case}: {result:?}");
        if let Err(refusal) = result {
            let dataplanes = vec![proxy_id("dp")];
            let id = id("builtin-1");
            assert_eq!(refusal, Refusal::StillInUse { id, dataplanes }, "{case}");
        }
    }
}

#[test]
fn an_active_authority_is_never_outside_the_bundle() {
    // There is no way to say it: to be active is to be trusted, and from active
    // an authority only retires, which is to be trusted.
    assert!(ACTIVE.is_trusted());
    let here = standing(Some(ACTIVE), Posture::Strict);
    for to in [STAGED, PREPARED, revoked()] {
        let refused = refusal(&here, [advance("builtin-1", to)]);
        assert!(matches!(refused, Some(Refusal::IllegalMove { .. })), "{to}");
    }
    // Nor is its key destroyed on the way through other states of one write.
    let at_once = [
        advance("builtin-1", retiring()),
        advance("builtin-1", revoked()),
    ];
    assert!(refusal(&here, at_once).is_some());
}

#[test]
fn who_is_passed_over_is_who_was_said() {
    let mut here = standing(Some(STAGED), Posture::Strict);
    here.progress.rules = Rules {
        offline: Offline::Ignore,
        ack_timeout: HumanDuration::from(Duration::from_secs(20)),
        ..Rules::default()
    };
    let revoke = || [advance("builtin-1", revoked())];
    let mut away = proxy(&[]);
    away.connected_since = None;
    away.held_until = Some(now() + HOUR);
    for (seconds, passes) in [(0, false), (19, false), (20, true)] {
        away.left = Some(now() - Duration::from_secs(seconds));
        let result = try_on(&here, &of(away.clone()), revoke());
        assert_eq!(result.is_ok(), passes, "away for {seconds} s");
        // As long as it had nowhere to come back to, it was not away.
        away.left = Some(now() - HOUR);
        away.expected_since = Some(now() - Duration::from_secs(seconds));
        let result = try_on(&here, &of(away.clone()), revoke());
        assert_eq!(result.is_ok(), passes, "expected for {seconds} s");
        away.expected_since = None;
    }
    // An Envoy of its own tries again within half a minute.
    away.asks = [Part::Bundle, Part::Leaf].into();
    for (seconds, passes) in [(29, false), (30, true)] {
        away.left = Some(now() - Duration::from_secs(seconds));
        let result = try_on(&here, &of(away.clone()), revoke());
        assert_eq!(result.is_ok(), passes, "away for {seconds} s by itself");
    }
    let connected = proxy(&[]);
    assert!(try_on(&here, &of(connected.clone()), revoke()).is_err());
    // Who was approved is, connected or not, and nobody else.
    here.progress.rules.offline = Offline::Block;
    for (approved, passes) in [("dp-2", false), ("dp", true)] {
        here.progress.transition = Some(Transition {
            from: String::new(),
            to: String::new(),
            revision: None,
            started: now(),
            phase: Phase::Retire,
            since: now(),
            plaintext_since: None,
            approved: BTreeSet::from([approved.parse().unwrap()]),
        });
        let result = try_on(&here, &of(connected.clone()), revoke());
        assert_eq!(result.is_ok(), passes, "{approved} is approved");
    }
}

#[test]
fn a_new_mesh_starts_as_it_is_to_be() {
    let new = after(secured(true));
    assert_eq!(new.progress.posture, Posture::Strict);
    assert_eq!(
        after([mesh(false, builtin())]).progress.posture,
        Posture::Plaintext
    );
    // Later it goes one posture at a time.
    let plain = after(
        [mesh(true, builtin())]
            .into_iter()
            .chain(activate("builtin-1")),
    );
    let skips = refusal(&plain, [Operation::Secure(Posture::Strict)]);
    assert!(matches!(skips, Some(Refusal::Illegal(_))), "{skips:?}");
    // Nothing signs: it stays in plaintext.
    let nobody = after([mesh(true, builtin())]);
    let refused = refusal(&nobody, [Operation::Secure(Posture::Identified)]);
    assert!(matches!(refused, Some(Refusal::Illegal(_))), "{refused:?}");
}
