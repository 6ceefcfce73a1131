//! The stored mesh and rows of evidence as the model has them, and the real
//! ones that they stand for.

use std::sync::{Arc, LazyLock};

use crate::ca;
use crate::model::{
    Acknowledgement, Authority, AuthorityOrigin, AuthorityState, CaSpec, DataplaneId, Evidence,
    Generation, Marks, MeshState, Mtls, Offline, Origin, Part, Phase, Posture, Progress,
    ProxyEvidence, Resource, Rules, SealedKey, StoredResource, Strategy, Timestamp, Transition,
};
use crate::store::Operation;
use crate::transition::{Key, Move};

/// How many authorities the model knows.
pub(super) const SLOTS: usize = 4;
/// How many proxies it knows at most.
pub(super) const PROXIES: usize = 3;

const NOW: i64 = 1_800_000_000;

pub(super) fn now() -> Timestamp {
    Timestamp::from_unix_seconds(NOW)
}

/// A CA that a commit asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Ca {
    Builtin,
    SecondBuiltin,
    X,
    Y,
}

/// What a commit asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Wants {
    pub(super) enabled: bool,
    pub(super) ca: Ca,
    pub(super) disable_first: bool,
    /// Whether proxies that are away for long are passed over.
    pub(super) ignores: bool,
}

/// An authority of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Slot {
    Absent,
    Staged,
    Prepared,
    Active,
    Retiring,
    Revoked,
}

/// The stored mesh. Of marks only comparisons with the present ones matter:
/// these are always 1 here, and whatever is older is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Stored {
    pub(super) posture: Posture,
    pub(super) drained: bool,
    /// Whether the phase that it is in is one of the posture.
    pub(super) unconfirmed: bool,
    pub(super) slots: [Slot; SLOTS],
    pub(super) wants: Wants,
}

impl Stored {
    pub(super) fn bundle(&self) -> u8 {
        let trusted = |slot: &Slot| matches!(slot, Slot::Prepared | Slot::Active | Slot::Retiring);
        self.mask(trusted)
    }

    pub(super) fn mask(&self, is: impl Fn(&Slot) -> bool) -> u8 {
        let all = self.slots.iter().enumerate();
        all.filter(|(_, slot)| is(slot))
            .fold(0, |mask, (index, _)| mask | 1 << index)
    }

    /// 1 more than the slot of the active authority; 0 where none is.
    pub(super) fn issuer(&self) -> u8 {
        let active = self.slots.iter().position(|slot| *slot == Slot::Active);
        active.map_or(0, |index| u8::try_from(index + 1).unwrap())
    }

    pub(super) fn has(&self, slot: Slot) -> bool {
        self.slots.contains(&slot)
    }
}

/// What the evidence says of one proxy.
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is known or not, independently"
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(super) struct Row {
    /// Whether there is evidence of it at all.
    pub(super) known: bool,
    pub(super) connected: bool,
    /// Whether it is away for longer than `offline: ignore` waits.
    pub(super) long: bool,
    /// Whether it was handed a leaf that has not ended.
    pub(super) holds: bool,
    /// Whether it asks for secrets; it always asks for the rest.
    pub(super) asks: bool,
    /// The parts that it acknowledged at the present mark.
    pub(super) acked: u8,
    /// The parts that it is offered at the present mark.
    pub(super) offered: u8,
    /// Whether the time of the drain is over.
    pub(super) over: bool,
    /// Whose leaf it acknowledged last, if that has not ended; 0 where none.
    pub(super) issuer: u8,
}

pub(super) type Rows = [Row; PROXIES];

pub(super) const fn bit(part: Part) -> u8 {
    1 << part as u8
}

pub(super) struct World {
    pub(super) authorities: [Authority; SLOTS],
    provided: [Arc<StoredResource>; 2],
    dataplanes: [Arc<StoredResource>; PROXIES],
    ids: [DataplaneId; PROXIES],
}

pub(super) static WORLD: LazyLock<World> = LazyLock::new(|| {
    let mesh = "demo".parse().unwrap();
    let stored = |resource| Arc::new(StoredResource::new(resource, Origin::Api {}));
    let made = [1, 2, 3, 4].map(|n| ca::create_builtin(&mesh, n, now()).unwrap().0);
    let [first, second, x, y] = made;
    let builtin = |authority: Authority| Authority {
        // It does not end in the model.
        certificate: "".into(),
        ..authority
    };
    let provided = |authority: Authority, name: &str| {
        let name: crate::model::ResourceName = name.parse().unwrap();
        let resource = stored(Resource::ProvidedCa(crate::model::ProvidedCa {
            mesh: mesh.clone(),
            name: name.clone(),
            cert: authority.certificate.to_string(),
            key: String::new(),
        }));
        let origin = AuthorityOrigin::Provided { name };
        (
            Authority {
                origin,
                ..authority
            },
            resource,
        )
    };
    let (x, x_resource) = provided(x, "x");
    let (y, y_resource) = provided(y, "y");
    let names = ["dp-0", "dp-1", "dp-2"];
    World {
        authorities: [builtin(first), builtin(second), x, y],
        provided: [x_resource, y_resource],
        dataplanes: names.map(|name| {
            let value = serde_json::json!({
                "type": "Dataplane", "mesh": "demo", "name": name,
                "networking": {
                    "address": "127.0.0.1",
                    "inbound": [{"port": 80, "tags": {"service": "web"}}],
                },
            });
            stored(serde_json::from_value(value).unwrap())
        }),
        ids: names.map(|name| DataplaneId {
            mesh: mesh.clone(),
            name: name.parse().unwrap(),
        }),
    }
});

impl Wants {
    fn ca(self) -> CaSpec {
        let name = |name: &str| CaSpec::Provided {
            name: Some(name.parse().unwrap()),
        };
        match self.ca {
            Ca::Builtin => CaSpec::Builtin { ordinal: None },
            Ca::SecondBuiltin => CaSpec::Builtin { ordinal: Some(2) },
            Ca::X => name("x"),
            Ca::Y => name("y"),
        }
    }

    fn rules(self) -> Rules {
        Rules {
            strategy: if self.disable_first {
                Strategy::DisableFirst
            } else {
                Strategy::Rolling
            },
            offline: if self.ignores {
                Offline::Ignore
            } else {
                Offline::Block
            },
            ..Rules::default()
        }
    }
}

fn state_of(slot: Slot) -> Option<AuthorityState> {
    Some(match slot {
        Slot::Absent => return None,
        Slot::Staged => AuthorityState::Staged,
        Slot::Prepared => AuthorityState::Prepared,
        Slot::Active => AuthorityState::Active,
        Slot::Retiring => AuthorityState::Retiring { since: now() },
        Slot::Revoked => AuthorityState::Revoked { at: now() },
    })
}

pub(super) fn mesh_state(stored: &Stored) -> MeshState {
    let world = &*WORLD;
    let mut mesh = MeshState::absent("demo".parse().unwrap());
    mesh.generation = Generation(1);
    let resource = Resource::Mesh(crate::model::Mesh {
        name: mesh.name.clone(),
        mtls: Mtls {
            enabled: stored.wants.enabled,
            ca: stored.wants.ca(),
            transition: None,
        },
    });
    let resource = Arc::new(StoredResource::new(resource, Origin::Api {}));
    let provided = [Ca::X, Ca::Y].into_iter().zip(&world.provided);
    let provided = provided.filter(|(ca, _)| *ca == stored.wants.ca);
    let resources = std::iter::once(&resource)
        .chain(provided.map(|(_, resource)| resource))
        .chain(&world.dataplanes);
    mesh.resources = resources
        .map(|it| (it.resource.key(), it.clone()))
        .collect();
    for (slot, authority) in stored.slots.iter().zip(&world.authorities) {
        if let Some(state) = state_of(*slot) {
            let authority = authority.clone();
            let authority = Authority { state, ..authority };
            mesh.authorities.insert(authority.id, authority);
        }
    }
    mesh.progress = Progress {
        posture: stored.posture,
        marks: Marks {
            bundle: 1,
            leaf: 1,
            inbounds: 1,
            outbounds: 1,
        },
        drained: stored.drained.into(),
        deletions: 0,
        rules: stored.wants.rules(),
        transition: stored.unconfirmed.then(|| transition(Phase::Require)),
    };
    mesh
}

fn transition(phase: Phase) -> Transition {
    Transition {
        from: String::new(),
        to: String::new(),
        revision: None,
        started: now(),
        phase,
        since: now(),
        plaintext_since: None,
        approved: std::collections::BTreeSet::new(),
    }
}

pub(super) fn evidence(rows: &Rows) -> Evidence {
    let known = rows.iter().zip(&WORLD.ids).filter(|(row, _)| row.known);
    known
        .map(|(row, id)| (id.clone(), Arc::new(proxy(*row, id.clone()))))
        .collect()
}

fn proxy(row: Row, id: DataplaneId) -> ProxyEvidence {
    let at = |seconds: i64| Timestamp::from_unix_seconds(NOW + seconds);
    let mut proxy = ProxyEvidence::none(id, now());
    proxy.connected_since = row.connected.then(now);
    proxy.left = (!row.connected).then(|| at(if row.long { -1000 } else { 0 }));
    proxy.drain_seconds = Some(100);
    let acked = Part::ALL
        .into_iter()
        .filter(|part| row.acked & bit(*part) != 0);
    proxy.acknowledged = acked
        .map(|part| {
            let over = part == Part::Inbounds && row.over;
            let at = at(if over { -1000 } else { 0 });
            (part, Acknowledgement { mark: 1, at })
        })
        .collect();
    let asks = |part: &Part| row.asks || matches!(part, Part::Inbounds | Part::Outbounds);
    proxy.asks = Part::ALL.into_iter().filter(asks).collect();
    for part in Part::ALL {
        *proxy.offered.of_mut(part) = (row.offered & bit(part) != 0).into();
    }
    proxy.held_until = row.holds.then(|| at(1000));
    if let Some(issuer) = row.issuer.checked_sub(1) {
        proxy.leaf_issuer = Some(WORLD.authorities[usize::from(issuer)].id);
        proxy.leaf_not_after = Some(at(1000));
    }
    proxy
}

pub(super) fn slot_of(key: Key) -> Option<usize> {
    let mut all = WORLD.authorities.iter();
    all.position(|authority| Key::of(authority) == key)
}

pub(super) fn operations(stored: &Stored, step: Move) -> Vec<Operation> {
    let id = |key| WORLD.authorities[slot_of(key).unwrap()].id;
    let advance = |key, slot| vec![Operation::MoveAuthority(id(key), state_of(slot).unwrap())];
    match step {
        Move::Stage(key) => {
            let slot = slot_of(key).unwrap();
            let forget = (stored.slots[slot] == Slot::Revoked).then(|| id(key));
            let authority = Authority {
                state: AuthorityState::Staged,
                ..WORLD.authorities[slot].clone()
            };
            let add = Operation::AddAuthority(authority, SealedKey(vec![1]));
            let forget = forget.map(Operation::ForgetAuthority);
            forget.into_iter().chain([add]).collect()
        }
        Move::Prepare(key) => advance(key, Slot::Prepared),
        Move::Activate(key) => advance(key, Slot::Active),
        Move::Retire(key) => advance(key, Slot::Retiring),
        Move::Withdraw(key) => advance(key, Slot::Staged),
        Move::Revoke(key) => advance(key, Slot::Revoked),
        Move::Drain => vec![Operation::Drain],
        Move::Secure(to) => vec![Operation::Secure(to)],
        Move::Confirm => Vec::new(),
    }
}
