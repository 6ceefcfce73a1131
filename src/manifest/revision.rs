//! All files of one revision, and what changes from one revision to the next.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::document::ParsedResource;
use super::load::Load;
use super::node::Position;
use super::{ParsedFile, codes, policy};
use crate::model::{
    Desired, DesiredMesh, Diagnostic, Location, MeshName, RepositoryPolicy, ResourceKey, Revision,
    SourceName,
};

/// The most errors about resources that are defined twice that are listed.
const MAX_DUPLICATES: usize = 10_000;

/// The files of one revision. An update costs what the file holds, not what
/// the repository does.
///
/// A resource with violations is in [`Manifest::desired`] as far as it could
/// be read, so that the rest of its mesh can be judged; its mesh is held back.
#[derive(Debug, Clone)]
pub struct Manifest {
    desired: Desired,
    files: BTreeMap<Arc<str>, ParsedFile>,
    refused: BTreeMap<Arc<str>, Diagnostic>,
    /// Every place that defines a resource, in order: the first one counts.
    claims: BTreeMap<ResourceKey, BTreeSet<(Arc<str>, usize)>>,
    /// The resources with several claims.
    duplicates: BTreeSet<ResourceKey>,
    /// The files with diagnostics.
    faulty: BTreeSet<Arc<str>>,
    /// How many errors hold back each mesh.
    errors: BTreeMap<MeshName, usize>,
    /// How many errors hold back the commit.
    commit_errors: usize,
    changed: BTreeSet<MeshName>,
    load: Load,
    /// Why the files hold too much together, at the first that does not fit.
    full: Option<Diagnostic>,
}

impl Manifest {
    /// A revision without files.
    #[must_use]
    pub fn new(source: SourceName) -> Self {
        Self {
            desired: Desired::empty(source),
            files: BTreeMap::new(),
            refused: BTreeMap::new(),
            claims: BTreeMap::new(),
            duplicates: BTreeSet::new(),
            faulty: BTreeSet::new(),
            errors: BTreeMap::new(),
            commit_errors: 0,
            changed: BTreeSet::new(),
            load: Load::default(),
            full: None,
        }
    }

    /// Puts what `path` holds now in place of what it held before; `None`
    /// where the file is gone. The file that makes the revision too large holds
    /// back the commit.
    pub fn update(&mut self, path: &Arc<str>, file: Option<ParsedFile>) {
        let mut touched = BTreeSet::new();
        self.clear(path, &mut touched);
        if let Some(file) = file.filter(|file| self.has_room(path, file)) {
            self.load = self.load + Load::of(&file);
            for diagnostic in &file.diagnostics {
                self.count(diagnostic);
            }
            for (index, resource) in file.resources.iter().enumerate() {
                let claims = self.claims.entry(resource.key.clone()).or_default();
                claims.insert((path.clone(), index));
                touched.insert(resource.key.clone());
            }
            if !file.diagnostics.is_empty() {
                self.faulty.insert(path.clone());
            }
            self.files.insert(path.clone(), file);
        }
        for key in touched {
            self.settle(&key);
        }
        if &**path == policy::PATH {
            self.set_policy();
        }
    }

    /// Takes note of a file that could not be read at all; an update of the
    /// same path clears it.
    pub fn refuse(&mut self, path: &Arc<str>, mut diagnostic: Diagnostic) {
        self.update(path, None);
        if diagnostic.file.is_empty() {
            diagnostic.file = path.clone();
        }
        self.count(&diagnostic);
        self.refused.insert(path.clone(), diagnostic);
    }

    /// Whether the files hold too much together. Then no resource is kept, and
    /// only a new manifest takes in files again.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.full.is_some()
    }

    /// Says which revision the files are of.
    pub fn set_revision(&mut self, revision: Option<Revision>) {
        self.desired.revision = revision;
    }

    /// The resources. A mesh that has errors of form is held back.
    #[must_use]
    pub fn desired(&self) -> &Desired {
        &self.desired
    }

    /// Everything that is wrong with the form of the files, in the order of a report.
    #[must_use]
    pub fn diagnostics(&self) -> Vec<Diagnostic> {
        let in_files = self
            .faulty
            .iter()
            .filter_map(|path| self.files.get(path))
            .flat_map(|file| file.diagnostics.iter().cloned());
        let duplicates = self
            .duplicates
            .iter()
            .flat_map(|key| self.duplicates_of(key))
            .take(MAX_DUPLICATES);
        let mut diagnostics: Vec<_> = in_files
            .chain(self.refused.values().cloned())
            .chain(duplicates)
            .chain(self.full.clone())
            .collect();
        diagnostics.sort_by(|a, b| a.order().cmp(&b.order()));
        diagnostics
    }

    /// Whether some error is not one of a single mesh.
    #[must_use]
    pub fn holds_back_commit(&self) -> bool {
        self.commit_errors > 0 || self.is_full()
    }

    /// Fills in the place of a diagnostic about a resource: that of its field,
    /// else of the nearest field around it, else of the resource.
    #[must_use]
    pub fn place(&self, diagnostic: Diagnostic) -> Diagnostic {
        let resource = diagnostic.resource.as_ref().and_then(|key| self.first(key));
        match resource {
            Some(resource) => {
                let location = resource.locate(&diagnostic.field);
                diagnostic.at(&location)
            }
            None => diagnostic,
        }
    }

    /// The meshes that were touched since this was last asked.
    pub fn take_changed_meshes(&mut self) -> BTreeSet<MeshName> {
        std::mem::take(&mut self.changed)
    }

    fn has_room(&mut self, path: &Arc<str>, file: &ParsedFile) -> bool {
        if self.is_full() {
            return false;
        }
        let Some(what) = (self.load + Load::of(file)).exceeded() else {
            return true;
        };
        // Nothing of it will be applied: only what is wrong is still of use.
        self.desired.meshes.clear();
        self.claims.clear();
        self.duplicates.clear();
        self.files.retain(|_, file| {
            file.resources = Vec::new();
            !file.diagnostics.is_empty()
        });
        let message = format!("up to this file the source holds {what}; the rest is not read");
        let place = super::document::location(path, Position::START);
        let diagnostic = Diagnostic::error(codes::TOO_MUCH_TOGETHER, message).at(&place);
        let hint = "mend the other errors, or keep less below the source's path";
        self.full = Some(diagnostic.hint(hint));
        false
    }

    fn clear(&mut self, path: &Arc<str>, touched: &mut BTreeSet<ResourceKey>) {
        if let Some(refused) = self.refused.remove(path) {
            self.discount(&refused);
        }
        let Some(file) = self.files.remove(path) else {
            return;
        };
        self.load = self.load - Load::of(&file);
        self.faulty.remove(path);
        for diagnostic in &file.diagnostics {
            self.discount(diagnostic);
        }
        for (index, resource) in file.resources.into_iter().enumerate() {
            if let Some(claims) = self.claims.get_mut(&resource.key) {
                claims.remove(&(path.clone(), index));
            }
            touched.insert(resource.key);
        }
    }

    /// Brings `desired` in line with the claims of one resource.
    fn settle(&mut self, key: &ResourceKey) {
        let claims = self.claims.get(key).map_or(0, BTreeSet::len);
        if claims == 0 {
            self.claims.remove(key);
        }
        if claims > 1 && self.duplicates.insert(key.clone()) {
            self.hold_back(&key.mesh);
        } else if claims <= 1 && self.duplicates.remove(key) {
            self.release(&key.mesh);
        }
        self.changed.insert(key.mesh.clone());
        let resource = self.first(key).and_then(|first| first.desired.clone());
        let meshes = &mut self.desired.meshes;
        if let Some(resource) = resource {
            let mesh = meshes.entry(key.mesh.clone()).or_insert_with(|| {
                Arc::new(DesiredMesh {
                    name: key.mesh.clone(),
                    resources: BTreeMap::new(),
                })
            });
            Arc::make_mut(mesh).resources.insert(key.clone(), resource);
        } else if let Some(mesh) = meshes.get_mut(&key.mesh)
            && mesh.resources.contains_key(key)
        {
            let mesh = Arc::make_mut(mesh);
            mesh.resources.remove(key);
            if mesh.resources.is_empty() {
                meshes.remove(&key.mesh);
            }
        }
    }

    /// The definition of a resource that counts.
    fn first(&self, key: &ResourceKey) -> Option<&ParsedResource> {
        let (path, index) = self.claims.get(key)?.first()?;
        self.files.get(path)?.resources.get(*index)
    }

    fn duplicates_of(&self, key: &ResourceKey) -> Vec<Diagnostic> {
        let claims = self.claims.get(key).into_iter().flatten();
        let mut places = claims
            .filter_map(|(path, index)| self.files.get(path)?.resources.get(*index))
            .map(|resource| &resource.location);
        let Some(first) = places.next() else {
            return Vec::new();
        };
        let message = format!(
            "{key} is defined twice, first at {}:{}",
            first.file, first.line
        );
        let duplicate = |location: &Location| {
            Diagnostic::error(codes::DUPLICATE_RESOURCE, message.clone())
                .on_resource(key)
                .at(location)
                .hint("remove or rename one of them")
        };
        places.map(duplicate).collect()
    }

    fn set_policy(&mut self) {
        let file = self.files.get(policy::PATH);
        let policy: RepositoryPolicy = file
            .and_then(|file| file.policy.clone())
            .unwrap_or_default();
        if self.desired.policy != policy {
            self.desired.policy = policy;
            self.changed.extend(self.desired.meshes.keys().cloned());
        }
    }

    fn count(&mut self, diagnostic: &Diagnostic) {
        match &diagnostic.mesh {
            _ if !diagnostic.is_error() => {}
            Some(mesh) => self.hold_back(mesh),
            None => self.commit_errors += 1,
        }
    }

    fn discount(&mut self, diagnostic: &Diagnostic) {
        match &diagnostic.mesh {
            _ if !diagnostic.is_error() => {}
            Some(mesh) => self.release(mesh),
            None => self.commit_errors -= 1,
        }
    }

    fn hold_back(&mut self, mesh: &MeshName) {
        *self.errors.entry(mesh.clone()).or_default() += 1;
        self.changed.insert(mesh.clone());
        self.desired.held_back.insert(mesh.clone());
    }

    fn release(&mut self, mesh: &MeshName) {
        self.changed.insert(mesh.clone());
        if let Some(errors) = self.errors.get_mut(mesh) {
            *errors -= 1;
            if *errors == 0 {
                self.errors.remove(mesh);
                self.desired.held_back.remove(mesh);
            }
        }
    }
}

impl ParsedResource {
    /// The place of a field, or of the nearest one around it.
    fn locate(&self, field: &str) -> Location {
        let mut field = field;
        loop {
            if let Some((_, position)) = self.places.iter().find(|(path, _)| **path == *field) {
                return super::document::location(&self.location.file, *position);
            }
            // `a.b[0]["c.d"]` loses `["c.d"]`, then `[0]`, then `.b`.
            let cut = if field.ends_with("\"]") {
                field.rfind("[\"")
            } else {
                field.rfind(['.', '['])
            };
            match cut {
                Some(end) => field = &field[..end],
                None => return self.location.clone(),
            }
        }
    }
}
