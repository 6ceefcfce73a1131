//! The definitions of the custom resources. Where one is deleted, all its
//! objects go with it: that is nobody's wish to delete the resources.

use kube::api::{Api, DynamicObject};
use kube::core::{ApiResource, GroupVersionKind};
use tracing::warn;

use super::{Crds, Steward};
use crate::model::Kind;
use crate::store::StoreError;
use crate::store::kubernetes::KubernetesStore;
use crate::store::kubernetes::cluster::{Doing, Fault};
use crate::store::kubernetes::form;
use crate::store::kubernetes::ledger::read_head;
use crate::store::kubernetes::objects::no_crd;

const ACTION: &str = "look at the CRDs";

impl Steward {
    /// Makes sure that what was shown was shown as objects of the definitions
    /// that are there now; whether the objects that were seen are of these. Where
    /// they are not, all have to be listed anew: one that is gone with its
    /// definition would seem to be shown, and then to be deleted by someone.
    pub(super) async fn know_crds(&mut self) -> Result<bool, StoreError> {
        if self.crds.is_some() {
            return Ok(true);
        }
        let found = self.store.crds().await?;
        if self.listed_as.as_ref() != Some(&found) {
            self.listed_as = Some(found);
            return Ok(false);
        }
        for _ in 0..super::super::MAX_CONFLICTS {
            let read = read_head(&self.store.cluster, ACTION).await?;
            if read.head.crds == found {
                self.crds = Some(found);
                return Ok(true);
            }
            let mut next = read.head.clone();
            if !next.crds.is_empty() {
                warn!("the CRDs are others than before: all resources are shown anew");
            }
            next.crds.clone_from(&found);
            for entry in next.meshes.values_mut() {
                entry.shown = None;
            }
            match read.replace(&self.store.cluster, ACTION, &next).await {
                Ok(()) | Err(Fault::Conflict) => {}
                Err(fault) => return Err(fault.into_error(&self.store.cluster, ACTION)),
            }
        }
        Err(Fault::Conflict.into_error(&self.store.cluster, ACTION))
    }

    /// Whether the definition of a kind is the one that objects were shown as.
    pub(super) async fn crds_are_the_same(&mut self, kind: Kind) -> Result<bool, StoreError> {
        let known = self.crds.as_ref().and_then(|all| all.get(kind.as_str()));
        let now = self.store.crd(kind).await?;
        let is_same = known.is_some() && known == now.as_ref();
        if !is_same {
            self.crds = None;
        }
        Ok(is_same)
    }
}

impl KubernetesStore {
    /// The definitions of all kinds.
    pub(super) async fn crds(&self) -> Result<Crds, StoreError> {
        let mut found = Crds::new();
        for kind in form::KINDS {
            let crd = self.crd(kind).await?;
            let crd = crd.ok_or_else(|| self.cluster.failed(ACTION, no_crd(kind)))?;
            found.insert(kind.as_str().to_owned(), crd);
        }
        Ok(found)
    }

    /// What tells the definition of a kind from any other; `None` where there
    /// is none, or it is about to go.
    async fn crd(&self, kind: Kind) -> Result<Option<String>, StoreError> {
        let crds = ApiResource::from_gvk_with_plural(
            &GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition"),
            "customresourcedefinitions",
        );
        let api: Api<DynamicObject> = Api::all_with(self.cluster.client(), &crds);
        let name = format!("{}.kuma.io", form::api_resource(kind).plural);
        let doing = Doing {
            action: ACTION,
            verb: "get",
        };
        match self.cluster.ask(doing, &crds.plural, api.get(&name)).await {
            Ok(crd) if crd.metadata.deletion_timestamp.is_some() => Ok(None),
            Ok(crd) => Ok(crd.metadata.uid),
            Err(Fault::Missing) => Ok(None),
            Err(fault) => Err(fault.into_error(&self.cluster, ACTION)),
        }
    }
}
