//! A custom resource that someone is about to write, as the store would read it.

use std::sync::Arc;

use kube::Client;
use kube::api::{Api, DynamicObject};

use super::form::{self, Seen};
use crate::model::{DesiredResource, Kind, MeshName, ResourceKey, StoredResource};

/// The namespace of the control plane that has a mesh, by the label of its Mesh.
///
/// # Errors
///
/// Fails where the API server does not say.
pub async fn mesh_owner(client: &Client, mesh: &MeshName) -> Result<Option<String>, kube::Error> {
    let resource = form::api_resource(Kind::Mesh);
    let meshes: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    let found = meshes
        .get_metadata_opt(&form::mesh_place(mesh).name)
        .await?;
    let labels = found.and_then(|found| found.metadata.labels);
    Ok(labels.and_then(|mut labels| labels.remove(form::CONTROL_PLANE)))
}

/// An object that the API server is asked to take, or to let go of.
#[derive(Debug)]
pub struct Submitted {
    seen: Seen,
    home: String,
}

impl Submitted {
    /// Reads an object for the control plane in the namespace `home`.
    #[must_use]
    pub fn read(kind: Kind, object: &DynamicObject, home: &str) -> Self {
        Self {
            seen: Seen::read(kind, object, home),
            home: home.to_owned(),
        }
    }

    /// Which resource it is, where its names say so.
    #[must_use]
    pub fn key(&self) -> Option<&ResourceKey> {
        self.seen.key.as_ref()
    }

    /// What is wrong with what it says by itself, a line each.
    #[must_use]
    pub fn wrong(&self) -> &[String] {
        match &self.seen.content {
            Ok(_) => &[],
            Err(wrong) => wrong,
        }
    }

    /// What it says, as the store would keep it where it holds `before`.
    #[must_use]
    pub fn content(&self, before: Option<&StoredResource>) -> Option<Arc<DesiredResource>> {
        self.seen.adopted(before, &self.home)
    }

    /// Whether it is of another control plane.
    #[must_use]
    pub fn is_of_another(&self) -> bool {
        self.seen.is_of_another(&self.home)
    }

    /// Whether nothing says which control plane it is of.
    #[must_use]
    pub fn is_of_nobody(&self) -> bool {
        self.seen.control_plane.is_empty()
    }

    /// Whether it is about to go, and waits for finalizers only.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.seen.is_ending
    }

    /// Whether it is as Windlass itself shows what the store holds.
    #[must_use]
    pub fn shows(&self, stored: &StoredResource) -> bool {
        self.seen.says(stored) && self.seen.is_marked(stored, &self.home)
    }

    /// The namespace that the resource is shown in, where that is another one.
    #[must_use]
    pub fn elsewhere(&self, stored: &StoredResource) -> Option<String> {
        let place = form::place(stored, &self.home);
        (place.namespace != self.seen.id.namespace).then_some(place.namespace)
    }
}
