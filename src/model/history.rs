//! What has happened: the audit history and the state of the sources.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Condition, Diagnostic, HumanDuration, MeshName, Part, Phase, ResourceName, Revision,
    SourceName, Timestamp,
};

/// The most proxies that [`HistoryEntry::shortened`] keeps of one list.
const FEW: usize = 5;

/// One line of the audit history: what was done to a mesh, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryEntry {
    /// When.
    pub at: Timestamp,
    /// The store's generation after it.
    pub generation: super::Generation,
    /// The mesh.
    pub mesh: MeshName,
    /// The revision that asked for it; `None` for a call of the API.
    pub revision: Option<Revision>,
    /// What was done, one line a step, as in the plan.
    pub steps: Vec<String>,
    /// The gates that had opened for it, with who opened them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gates: Vec<PassedGate>,
    /// The transition that came to its end with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<EndedTransition>,
}

/// A gate that opened: why the next phase could begin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PassedGate {
    /// The phase that began with it.
    pub phase: Phase,
    /// What was waited for, in words.
    pub waited_for: String,
    /// Since when.
    pub since: Timestamp,
    /// By part, who acknowledged it.
    pub acknowledged: Vec<AcknowledgedPart>,
    /// How many proxies were gone on without.
    #[serde(default)]
    pub without: usize,
    /// Which, in the order of their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passed_over: Vec<PassedOver>,
}

/// Who acknowledged a part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AcknowledgedPart {
    /// What.
    pub part: Part,
    /// How many proxies did.
    pub proxies: usize,
    /// Which, the last one last.
    pub by: Vec<AcknowledgedBy>,
}

/// A proxy that acknowledged something.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AcknowledgedBy {
    /// When.
    pub at: Timestamp,
    /// Its dataplane.
    pub dataplane: ResourceName,
}

/// A proxy that a gate was passed without.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PassedOver {
    /// Its dataplane.
    pub dataplane: ResourceName,
    /// Why.
    pub why: PassedOverBecause,
}

/// Why a gate does not wait for a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PassedOverBecause {
    /// Someone said to go on without it.
    Approved,
    /// It is not connected, and the mesh says `offline: ignore`.
    Offline,
    /// It is not connected, and what it may hold has ended.
    Expired,
}

/// How long a transition took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndedTransition {
    /// What the mesh had before, in words.
    pub from: String,
    /// What it has now, in words.
    pub to: String,
    /// When it began.
    pub started: Timestamp,
    /// How long it took.
    pub took: HumanDuration,
    /// How long inbounds accepted plaintext that require mTLS before and
    /// after; `None` where they never did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plaintext: Option<HumanDuration>,
}

impl HistoryEntry {
    /// The same with no more than a few proxies in each list, the last ones to
    /// acknowledge; the counts stay.
    #[must_use]
    pub fn shortened(mut self) -> Self {
        for gate in &mut self.gates {
            gate.passed_over.truncate(FEW);
            for part in &mut gate.acknowledged {
                let many = part.by.len().saturating_sub(FEW);
                part.by.drain(..many);
            }
        }
        self
    }
}

impl PassedOverBecause {
    /// The reason in words.
    #[must_use]
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::Offline => "offline and ignored",
            Self::Expired => "its certificate has ended",
        }
    }
}

/// What the store remembers of a source between two runs of the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceStatus {
    /// The source.
    pub source: SourceName,
    /// The last revision that was accepted and written.
    pub applied: Option<Revision>,
    /// How it stands, by the replica that reconciles: what the others show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standing: Option<Box<Standing>>,
}

/// How a source stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Standing {
    /// The branch; empty until it is known.
    pub branch: String,
    /// The revision that was looked at last.
    pub attempted: Option<Revision>,
    /// How it stands now.
    pub conditions: Vec<Condition>,
    /// What is wrong with the attempted revision.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diagnostics: Vec<Diagnostic>,
    /// How each mesh stands that is not simply as the revision wants it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub meshes: BTreeMap<MeshName, Vec<Condition>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_of_a_source_of_an_earlier_version_still_reads() {
        let status: SourceStatus =
            serde_json::from_str(r#"{"source": "default", "applied": null}"#).unwrap();
        assert_eq!((status.applied, status.standing), (None, None));
    }

    #[test]
    fn an_entry_of_an_earlier_version_still_reads() {
        let entry: HistoryEntry = serde_json::from_str(
            r#"{"at": "2026-01-31T12:00:00Z", "generation": 7, "mesh": "demo", "revision": null,
                "steps": ["enable mTLS"]}"#,
        )
        .unwrap();
        assert_eq!((entry.gates, entry.ended), (Vec::new(), None));
    }

    #[test]
    fn a_shortened_entry_keeps_the_counts_and_the_last_to_acknowledge() {
        let name = |number: usize| format!("dp-{number}").parse::<ResourceName>().unwrap();
        let by = (0..100).map(|number| AcknowledgedBy {
            at: Timestamp::from_unix_seconds(i64::try_from(number).unwrap()),
            dataplane: name(number),
        });
        let over = (0..10).map(|number| PassedOver {
            dataplane: name(number),
            why: PassedOverBecause::Approved,
        });
        let entry = HistoryEntry {
            at: Timestamp::from_unix_seconds(0),
            generation: super::super::Generation(1),
            mesh: "demo".parse().unwrap(),
            revision: None,
            steps: Vec::new(),
            gates: vec![PassedGate {
                phase: Phase::Activate,
                waited_for: "every proxy".to_owned(),
                since: Timestamp::from_unix_seconds(0),
                acknowledged: vec![AcknowledgedPart {
                    part: Part::Bundle,
                    proxies: 100,
                    by: by.collect(),
                }],
                without: 10,
                passed_over: over.collect(),
            }],
            ended: None,
        };
        let gate = &entry.shortened().gates[0];
        let part = &gate.acknowledged[0];
        assert_eq!((part.proxies, part.by.len()), (100, FEW));
        assert_eq!(part.by[FEW - 1].dataplane, name(99));
        assert_eq!((gate.without, gate.passed_over.len()), (10, FEW));
    }
}
