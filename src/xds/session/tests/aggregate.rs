//! A proxy with several types on one stream, in few words.

use std::collections::BTreeMap;

use super::*;
use crate::xds::fixtures::{bundle, leaf};

pub(super) const CDS: ResourceType = ResourceType::Cluster;
pub(super) const EDS: ResourceType = ResourceType::Endpoints;
pub(super) const LDS: ResourceType = ResourceType::Listener;
pub(super) const RDS: ResourceType = ResourceType::Route;
pub(super) const SDS: ResourceType = ResourceType::Secret;

/// A snapshot: `c:a1` is the cluster `a` with content `c:a1`, likewise `e`
/// endpoints and `l` a listener; `ca1` and `id1` are secrets.
pub(super) fn world(words: &str) -> Snapshot {
    let resource = |word: &str| {
        let kind = match word.split_once(':') {
            Some(("c", _)) => CDS,
            Some(("e", _)) => EDS,
            Some(_) => LDS,
            None if word.starts_with("ca") => return Resource::mesh_ca(bundle(word)),
            None => return Resource::identity_cert(leaf(word)),
        };
        let name = word[2..].trim_end_matches(|c: char| c.is_ascii_digit());
        Resource::encoded(kind, name, word.as_bytes().into())
    };
    Snapshot::new(words.split_whitespace().map(resource))
}

/// The version of a type as a whole.
pub(super) fn version(kind: ResourceType, words: &str) -> String {
    let snapshot = world(words);
    let resources = snapshot.of(kind).iter();
    let by_name: BTreeMap<_, _> = resources.map(|it| (&*it.name, it.version)).collect();
    crate::xds::resource::version_of_all(by_name).to_string()
}

/// What to do with the newest response of a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Ack,
    Nack,
}

impl<V: Variant<Request: Typed>> Talk<V> {
    pub(super) fn last_of(&self, kind: ResourceType) -> &Response {
        let mut sent = self.sent.iter().rev();
        sent.find(|response| response.kind == kind)
            .unwrap_or_else(|| panic!("no {kind} was sent"))
    }

    pub(super) fn is_silent(&mut self) -> Vec<String> {
        self.session.on_silence();
        self.events()
    }
}

/// A state-of-the-world proxy.
pub(super) struct Whole {
    pub(super) talk: Talk<Sotw>,
    /// Names, and the accepted version.
    said: BTreeMap<ResourceType, (Vec<String>, String)>,
}

impl Whole {
    pub(super) fn new(words: &str) -> Self {
        Self {
            talk: Talk::new(Session::new(BTreeSet::new()), world(words)),
            said: BTreeMap::new(),
        }
    }

    /// The first request of a type on a stream after another.
    pub(super) fn returns(
        &mut self,
        kind: ResourceType,
        names: &[&str],
        version: &str,
    ) -> Vec<String> {
        self.said.insert(kind, (Vec::new(), version.to_owned()));
        self.wants(kind, names)
    }

    /// Subscribes to these names, and no other.
    pub(super) fn wants(&mut self, kind: ResourceType, names: &[&str]) -> Vec<String> {
        let newest = self.talk.sent.iter().rev().find(|it| it.kind == kind);
        let nonce = newest.map(|response| response.nonce.clone());
        let said = self.said.entry(kind).or_default();
        said.0 = super::names(names);
        let request = DiscoveryRequest {
            version_info: said.1.clone(),
            resource_names: said.0.clone(),
            type_url: kind.type_url().to_owned(),
            response_nonce: nonce.unwrap_or_default(),
            ..DiscoveryRequest::default()
        };
        self.talk.says(&request)
    }

    pub(super) fn answers(&mut self, kind: ResourceType, answer: Answer) -> Vec<String> {
        let response = self.talk.last_of(kind).clone();
        self.answers_to(&response, answer)
    }

    pub(super) fn answers_to(&mut self, response: &Response, answer: Answer) -> Vec<String> {
        let said = self.said.entry(response.kind).or_default();
        if answer == Answer::Ack {
            said.1.clone_from(&response.version);
        }
        let request = DiscoveryRequest {
            version_info: said.1.clone(),
            resource_names: said.0.clone(),
            type_url: response.kind.type_url().to_owned(),
            response_nonce: response.nonce.clone(),
            error_detail: (answer == Answer::Nack).then(|| error("bad")),
            ..DiscoveryRequest::default()
        };
        self.talk.says(&request)
    }

    pub(super) fn acks(&mut self, kind: ResourceType) -> Vec<String> {
        self.answers(kind, Answer::Ack)
    }

    pub(super) fn nacks(&mut self, kind: ResourceType) -> Vec<String> {
        self.answers(kind, Answer::Nack)
    }

    pub(super) fn sees(&mut self, words: &str) -> Vec<String> {
        self.talk.sees(world(words))
    }
}

/// An incremental proxy.
pub(super) struct Parts {
    pub(super) talk: Talk<Delta>,
}

impl Parts {
    pub(super) fn new(words: &str) -> Self {
        let talk = Talk::new(Session::new(BTreeSet::new()), world(words));
        Self { talk }
    }

    /// The first request of a type on a stream after another, with what it holds.
    pub(super) fn returns(
        &mut self,
        kind: ResourceType,
        names: &[&str],
        held: &str,
    ) -> Vec<String> {
        let held = world(held);
        let held = held.of(kind).iter();
        let request = DeltaDiscoveryRequest {
            type_url: kind.type_url().to_owned(),
            initial_resource_versions: held
                .map(|it| (it.name.to_string(), it.version.to_string()))
                .collect(),
            ..delta_subscribe(names)
        };
        self.talk.says(&request)
    }

    pub(super) fn wants(&mut self, kind: ResourceType, names: &[&str]) -> Vec<String> {
        self.changes(kind, names, &[])
    }

    pub(super) fn drops(&mut self, kind: ResourceType, names: &[&str]) -> Vec<String> {
        self.changes(kind, &[], names)
    }

    pub(super) fn changes(
        &mut self,
        kind: ResourceType,
        added: &[&str],
        removed: &[&str],
    ) -> Vec<String> {
        let request = DeltaDiscoveryRequest {
            type_url: kind.type_url().to_owned(),
            resource_names_unsubscribe: super::names(removed),
            ..delta_subscribe(added)
        };
        self.talk.says(&request)
    }

    pub(super) fn answers_to(&mut self, response: &Response, answer: Answer) -> Vec<String> {
        let request = DeltaDiscoveryRequest {
            type_url: response.kind.type_url().to_owned(),
            error_detail: (answer == Answer::Nack).then(|| error("bad")),
            ..delta_ack(response)
        };
        self.talk.says(&request)
    }

    pub(super) fn acks(&mut self, kind: ResourceType) -> Vec<String> {
        let response = self.talk.last_of(kind).clone();
        self.answers_to(&response, Answer::Ack)
    }

    pub(super) fn nacks(&mut self, kind: ResourceType) -> Vec<String> {
        let response = self.talk.last_of(kind).clone();
        self.answers_to(&response, Answer::Nack)
    }

    pub(super) fn sees(&mut self, words: &str) -> Vec<String> {
        self.talk.sees(world(words))
    }
}
