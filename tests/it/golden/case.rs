//! What a golden case says beside its two states: how far a change had come
//! that was committed between them, and what proxies have acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use windlass::ca::{self, CertificateInfo, Issuing};
use windlass::model::{
    Acknowledgement, Authority, AuthorityId, AuthorityOrigin, AuthorityState, Current, DataplaneId,
    Digest, Evidence, Generation, MeshState, Nack, Part, Posture, ProxyEvidence, Resource,
    ResourceName, SpkiId, Timestamp, Transition,
};
use windlass::plan::{self, Circumstances};
use windlass::transition::{Goal, Key, Move, Situation, Stage, next};

use super::{REVISION, manifest, now};

/// `case.yaml`. Without it the current state is reached, and no proxy known.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Case {
    /// Whether current is a revision and no store: `plan --base`.
    pub(super) base: bool,
    /// How many stages are done of the change from the folder `current` to the
    /// folder `between`, which was committed half an hour ago.
    stages: Option<usize>,
    /// When the builtin authority ends; it began ten years before.
    builtin_ends: Option<Timestamp>,
    /// The dataplanes that someone said to go on without.
    approved: BTreeSet<ResourceName>,
    /// What is known of the proxies, by dataplane.
    proxies: BTreeMap<ResourceName, Proxy>,
}

/// A proxy. Without more it is connected, asks for all, and has acknowledged all.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Proxy {
    /// What it asks for, where that is not all.
    asks: Option<BTreeSet<Part>>,
    /// The parts that it acknowledged before they changed last.
    behind: BTreeSet<Part>,
    /// When it left.
    left: Option<Timestamp>,
    /// Until when it may hold a leaf.
    held_until: Option<Timestamp>,
    /// When it acknowledged.
    at: Option<Timestamp>,
    /// How long it keeps the connections of replaced listeners.
    drain_seconds: Option<u32>,
    /// What it rejected last, and its words.
    rejected: Option<(String, String)>,
}

fn started() -> Timestamp {
    now() - Duration::from_mins(30)
}

impl Case {
    pub(super) fn read(folder: &Path) -> Self {
        let text = fs::read_to_string(folder.join("case.yaml"));
        text.map_or_else(
            |_| Self::default(),
            |text| {
                serde_yaml::from_str(&text)
                    .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            },
        )
    }

    /// What the store holds.
    pub(super) fn current(&self, folder: &Path) -> Current {
        let mut current = plan::baseline(manifest(&folder.join("current")).desired());
        for mesh in current.meshes.values_mut() {
            let mesh = Arc::make_mut(mesh);
            if let Some(end) = self.builtin_ends {
                let builtin = mesh.authorities.values_mut();
                for authority in builtin.filter(|it| it.certificate.is_empty()) {
                    authority.certificate = Arc::from("a certificate");
                    authority.not_before = end - Duration::from_hours(10 * 365 * 24);
                    authority.not_after = end;
                }
            }
        }
        if let Some(stages) = self.stages {
            self.go_on(&mut current, folder, stages);
        }
        current
    }

    /// Writes what `between` holds, and does so many stages of what follows.
    fn go_on(&self, current: &mut Current, folder: &Path, stages: usize) {
        let between = manifest(&folder.join("between"));
        let evidence = Evidence::new();
        let given = Circumstances {
            evidence: &evidence,
            issuing: Issuing::default(),
            now: started(),
        };
        let plan = plan::plan(current, between.desired(), given);
        let outlook = plan.meshes[0].outlook.clone().expect("a transition");
        let written = plan::baseline(between.desired());
        current.generation = Generation(7);
        for mesh in current.meshes.values_mut() {
            let mesh = Arc::make_mut(mesh);
            let was_strict = mesh.progress.posture == Posture::Strict;
            mesh.resources = written.meshes[&mesh.name].resources.clone();
            mesh.progress.rules = written.meshes[&mesh.name].progress.rules.clone();
            let mut phase = None;
            for _ in 0..stages {
                let goal = Goal::of(mesh, Issuing::default(), started()).unwrap();
                let stage = next(&Situation::of(mesh), &goal).expect("another stage");
                phase = Some(stage.phase);
                make(mesh, &stage, phase, &outlook);
            }
            let enabled = mesh.mesh().unwrap().mtls.enabled;
            let opened = enabled && was_strict && mesh.progress.posture < Posture::Strict;
            let transition = mesh.progress.transition.as_mut().unwrap();
            assert_eq!(Some(transition.phase), phase);
            transition.plaintext_since = opened.then(started);
            transition.approved.clone_from(&self.approved);
        }
    }

    /// What the store knows of the proxies.
    pub(super) fn evidence(&self, current: &Current) -> Evidence {
        let mesh = current.meshes.values().next();
        let proxies = self.proxies.iter().map(|(name, proxy)| {
            let mesh = mesh.expect("a mesh");
            let id = DataplaneId {
                mesh: mesh.name.clone(),
                name: name.clone(),
            };
            (id.clone(), Arc::new(proxy.evidence(id, mesh)))
        });
        proxies.collect()
    }
}

impl Proxy {
    fn evidence(&self, id: DataplaneId, mesh: &MeshState) -> ProxyEvidence {
        let at = self.at.unwrap_or(started());
        let marks = mesh.progress.marks;
        let asks = self.asks.clone().unwrap_or(Part::ALL.into());
        let mut proxy = ProxyEvidence::none(id, at);
        for part in &asks {
            let behind = u64::from(self.behind.contains(part));
            let Some(mark) = marks.of(*part).checked_sub(behind) else {
                continue;
            };
            proxy
                .acknowledged
                .insert(*part, Acknowledgement { mark, at });
        }
        proxy.asks = asks;
        proxy.offered = marks;
        proxy.left = self.left;
        proxy.held_until = self.held_until;
        if self.left.is_none() {
            proxy.connected_since = Some(started());
        }
        proxy.drain_seconds = self.drain_seconds;
        proxy.last_nack = self.rejected.clone().map(|(resource, message)| Nack {
            at,
            resource,
            message,
        });
        proxy
    }
}

/// Makes the moves of a stage in the mesh as the store would.
fn make(
    mesh: &mut MeshState,
    stage: &Stage,
    phase: Option<windlass::model::Phase>,
    outlook: &plan::Outlook,
) {
    let mut situation = Situation::of(mesh);
    for step in &stage.moves {
        situation.make(*step);
        let (key, standing) = match *step {
            Move::Stage(key) => {
                let authority = staged(mesh, key);
                mesh.authorities.insert(authority.id, authority);
                continue;
            }
            Move::Prepare(key) => (key, AuthorityState::Prepared),
            Move::Activate(key) => (key, AuthorityState::Active),
            Move::Retire(key) => (key, AuthorityState::Retiring { since: started() }),
            Move::Withdraw(key) => (key, AuthorityState::Staged),
            Move::Revoke(key) => (key, AuthorityState::Revoked { at: started() }),
            Move::Drain | Move::Secure(_) | Move::Confirm => continue,
        };
        let mut authorities = mesh.authorities.values_mut();
        let authority = authorities.find(|it| Key::of(it) == key).unwrap();
        authority.state = standing;
    }
    mesh.progress.posture = situation.posture;
    mesh.progress.marks = situation.marks;
    mesh.progress.drained = situation.drained;
    mesh.progress.transition = Some(Transition {
        from: outlook.from.clone(),
        to: outlook.to.clone(),
        revision: Some(REVISION.parse().unwrap()),
        started: started(),
        phase: phase.unwrap(),
        since: started(),
        plaintext_since: None,
        approved: BTreeSet::new(),
    });
}

fn staged(mesh: &MeshState, key: Key) -> Authority {
    let ordinal = match key {
        Key::Builtin(ordinal) => ordinal,
        Key::Provided(id) => {
            let provided = mesh.resources.values().find_map(|stored| {
                let Resource::ProvidedCa(ca) = &stored.resource else {
                    return None;
                };
                let found = CertificateInfo::from_pem(&ca.cert).unwrap().id == id;
                found.then(|| ca::provided(ca).unwrap())
            });
            return provided.unwrap();
        }
    };
    let digest = Digest::of(format!("builtin authority {ordinal}").as_bytes());
    let epoch = Timestamp::from_unix_seconds(0);
    Authority {
        id: AuthorityId(digest),
        spki: SpkiId(digest),
        mesh: mesh.name.clone(),
        origin: AuthorityOrigin::Builtin { ordinal },
        certificate: Arc::from(""),
        subject: String::new(),
        not_before: epoch,
        not_after: epoch,
        state: AuthorityState::Staged,
    }
}
