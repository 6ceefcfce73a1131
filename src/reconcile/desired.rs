//! Gathering the desired state: a revision read, parsed, checked, its keys
//! opened. Blocking; the loop calls it off the async threads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::keys::SealedKeys;
use crate::apply::OpenedKeys;
use crate::check::{self, Rules};
use crate::manifest::{self, Manifest};
use crate::model::{
    Desired, Diagnostic, MeshName, RepositoryPolicy, Revision, SourceName, Timestamp,
};
use crate::source::decryption::Identities;
use crate::source::{Content, Repository, Snapshot, SourceError};

/// How long a verdict about certificates holds: they age.
const RECHECK_AFTER: Duration = Duration::from_mins(10);

/// What a revision holds, kept between revisions so that only what changed is
/// read, parsed and checked again.
#[derive(Debug)]
pub struct DesiredState {
    manifest: Manifest,
    snapshot: Option<Snapshot>,
    /// Whether sealed keys are opened and compared with their certificates.
    keys: Option<SealedKeys>,
    leaf_lifetime: Duration,
    findings: BTreeMap<MeshName, Vec<Diagnostic>>,
    checked: Option<Timestamp>,
}

/// What loading a revision did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Touched {
    /// These meshes may differ from before.
    Meshes(BTreeSet<MeshName>),
    /// Every mesh may: the first revision, or another repository policy.
    Everything,
}

impl DesiredState {
    /// Nothing yet. Without `identities`, sealed keys are left sealed.
    #[must_use]
    pub fn new(
        source: SourceName,
        identities: Option<Identities>,
        leaf_lifetime: Duration,
    ) -> Self {
        Self {
            manifest: Manifest::new(source),
            snapshot: None,
            keys: identities.map(SealedKeys::new),
            leaf_lifetime,
            findings: BTreeMap::new(),
            checked: None,
        }
    }

    /// Loads `revision` in place of what was loaded before.
    ///
    /// # Errors
    ///
    /// Fails when the repository cannot be read; what was loaded stays.
    pub fn load(
        &mut self,
        repository: &Repository,
        revision: &Revision,
        now: Timestamp,
    ) -> Result<Touched, SourceError> {
        // A manifest that left files out cannot follow changes.
        let known = self.snapshot.as_ref().filter(|_| !self.manifest.is_full());
        let first = known.is_none();
        let policy = self.policy();
        let (snapshot, changes) = repository.read(revision, known)?;
        if first {
            let source = self.manifest.desired().source.clone();
            self.manifest = Manifest::new(source);
            self.findings.clear();
        }
        for change in changes {
            if self.manifest.is_full() {
                break;
            }
            match change.content {
                Content::Removed => self.manifest.update(&change.path, None),
                Content::Refused(diagnostic) => self.manifest.refuse(&change.path, diagnostic),
                Content::Bytes(bytes) => {
                    let file = manifest::parse_file(&change.path, &bytes);
                    self.manifest.update(&change.path, Some(file));
                }
            }
        }
        self.snapshot = Some(snapshot);
        self.manifest.set_revision(Some(revision.clone()));
        let touched = self.manifest.take_changed_meshes();
        self.check(&touched, now);
        Ok(if first || policy != self.policy() {
            Touched::Everything
        } else {
            Touched::Meshes(touched)
        })
    }

    /// Judges `touched` again, and everything when the last time is long ago.
    fn check(&mut self, touched: &BTreeSet<MeshName>, now: Timestamp) {
        if self.manifest.is_full() {
            // What was left out may be what is missed.
            self.findings.clear();
            return;
        }
        let rules = Rules {
            now,
            leaf_lifetime: self.leaf_lifetime,
        };
        let desired = self.manifest.desired();
        let stale = self
            .checked
            .is_none_or(|then| now.since(then) > RECHECK_AFTER);
        if stale {
            self.checked = Some(now);
            self.findings.clear();
        }
        let names: Vec<&MeshName> = if stale {
            desired.meshes.keys().collect()
        } else {
            touched.iter().collect()
        };
        for name in names {
            self.findings.remove(name);
            let Some(mesh) = desired.meshes.get(name) else {
                continue;
            };
            let mut findings = check::placed(&self.manifest, name, &rules);
            if let Some(keys) = &mut self.keys {
                let of_keys = keys.verify(mesh).into_iter();
                findings.extend(of_keys.map(|found| self.manifest.place(found)));
            }
            if !findings.is_empty() {
                self.findings.insert(name.clone(), findings);
            }
        }
    }

    /// Judges certificates again where the last time is long ago, and returns
    /// whether that finds anything else.
    pub fn recheck(&mut self, now: Timestamp) -> bool {
        let before = self.findings.clone();
        self.check(&BTreeSet::new(), now);
        self.findings != before
    }

    /// The repository's policy in the loaded revision.
    #[must_use]
    pub fn policy(&self) -> RepositoryPolicy {
        self.manifest.desired().policy.clone()
    }

    /// What the loaded revision wants, less nothing: meshes with errors are
    /// in it, named among those that are held back.
    #[must_use]
    pub fn desired(&self) -> Desired {
        let mut desired = self.manifest.desired().clone();
        let invalid = self
            .findings
            .iter()
            .filter(|(_, found)| found.iter().any(Diagnostic::is_error));
        desired
            .held_back
            .extend(invalid.map(|(name, _)| name.clone()));
        desired
    }

    /// Whether nothing of the revision may be applied.
    #[must_use]
    pub fn holds_back_commit(&self) -> bool {
        self.manifest.holds_back_commit()
    }

    /// All that is wrong with the revision, in order.
    #[must_use]
    pub fn diagnostics(&self) -> Vec<Diagnostic> {
        let mut all = self.manifest.diagnostics();
        all.extend(self.findings.values().flatten().cloned());
        all.sort_by(|a, b| a.order().cmp(&b.order()));
        all
    }

    /// The same diagnostic at its place in the revision.
    #[must_use]
    pub fn place(&self, diagnostic: Diagnostic) -> Diagnostic {
        self.manifest.place(diagnostic)
    }

    /// The keys of the provided authorities of `meshes`.
    #[must_use]
    pub fn open_keys<'a>(&self, meshes: impl IntoIterator<Item = &'a MeshName>) -> OpenedKeys {
        let Some(keys) = &self.keys else {
            return OpenedKeys::new();
        };
        let desired = self.manifest.desired();
        meshes
            .into_iter()
            .filter_map(|name| desired.meshes.get(name))
            .flat_map(|mesh| keys.open(mesh))
            .collect()
    }
}

/// The desired state and the repository it is read from, moved to and from
/// the threads that may block.
#[derive(Debug)]
pub struct Gathering {
    /// The repository.
    pub repository: Repository,
    /// What was read.
    pub state: DesiredState,
    /// The revision that is loaded.
    pub loaded: Option<Revision>,
}

impl Gathering {
    /// Loads `revision` unless it is loaded already.
    ///
    /// # Errors
    ///
    /// Fails when the repository cannot be read.
    pub fn load(
        &mut self,
        revision: &Revision,
        now: Timestamp,
    ) -> Result<Option<Touched>, Arc<SourceError>> {
        if self.loaded.as_ref() == Some(revision) {
            return Ok(None);
        }
        let touched = self
            .state
            .load(&self.repository, revision, now)
            .map_err(Arc::new)?;
        self.loaded = Some(revision.clone());
        Ok(Some(touched))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_that_comes_near_its_end_without_a_commit_is_found() {
        let at = |text: &str| -> Timestamp { text.parse().unwrap() };
        let lifetime = Duration::from_hours(24);
        let mut state = DesiredState::new("default".parse().unwrap(), None, lifetime);
        let root = include_bytes!("../../examples-repo/payments/ca.yaml");
        let mesh = include_bytes!("../../examples-repo/payments/mesh.yaml");
        for (path, bytes) in [("ca.yaml", root.as_slice()), ("mesh.yaml", mesh)] {
            let path = Arc::from(path);
            let file = manifest::parse_file(&path, bytes);
            state.manifest.update(&path, Some(file));
        }
        let touched = state.manifest.take_changed_meshes();
        state.check(&touched, at("2026-11-01T12:00:00Z"));
        assert_eq!(state.diagnostics(), []);
        assert!(!state.recheck(at("2026-12-01T12:00:00Z")), "that is years");
        assert!(state.recheck(at("2035-12-20T12:00:00Z")));
        let found = state.diagnostics();
        assert!(found[0].message.contains("ends in"), "{found:?}");
        assert!(!state.recheck(at("2035-12-20T12:11:00Z")), "that is known");
    }
}
