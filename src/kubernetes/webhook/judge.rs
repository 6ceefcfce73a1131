//! What may be written to custom resources.

use std::sync::Arc;
use std::time::Duration;

use kube::api::DynamicObject;
use kube::core::admission::{AdmissionRequest, Operation};
use tokio::time::{Instant, sleep};

use super::answer::Verdict;
use crate::api::{Cause, Judgement, Writer};
use crate::model::{Current, Kind, ResourceKey, StoredResource};
use crate::plan::Call;
use crate::store::StoreError;
use crate::store::kubernetes::{Connection, Submitted, mesh_owner};

/// The largest resource, in bytes of JSON without its metadata.
const MAX_RESOURCE: usize = 256 * 1024;
/// How long to wait for what was written a moment before: a Mesh and its
/// dependents often come in one file.
const ARRIVAL: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(100);
/// How long to ask whose a mesh is.
const LOOKUP: Duration = Duration::from_secs(2);

type Request = AdmissionRequest<DynamicObject>;

/// Judges what others write.
pub(super) struct Judge {
    writer: Arc<Writer>,
    /// The namespace of the control plane.
    home: String,
    /// The user name of Windlass itself.
    own: Option<String>,
    cluster: kube::Client,
}

impl Judge {
    pub(super) fn new(writer: Arc<Writer>, cluster: &Connection) -> Self {
        Self {
            writer,
            home: cluster.namespace.clone(),
            own: cluster.account.clone(),
            cluster: cluster.client.clone(),
        }
    }

    /// Judges a change.
    ///
    /// # Errors
    ///
    /// Fails where the store does not say what it holds.
    pub(super) async fn judge(&self, request: &Request) -> Result<Verdict, StoreError> {
        let is_own = self.own.is_some() && request.user_info.username == self.own;
        let Some(kind) = kind(request).filter(|_| !is_own) else {
            return Ok(Verdict::Allowed);
        };
        let read = |object: &DynamicObject| Submitted::read(kind, object, &self.home);
        let before = request.old_object.as_ref().map(read);
        let is_other = |object: &Submitted| object.is_of_another() || object.is_ending();
        if before.as_ref().is_some_and(is_other) {
            return Ok(Verdict::Allowed);
        }
        let verdict = match (&request.operation, &request.object) {
            (Operation::Create | Operation::Update, Some(object)) => {
                if let Some(problem) = too_large(object) {
                    return Ok(problem);
                }
                self.write(before.as_ref(), &read(object)).await?
            }
            (Operation::Delete, _) => match &before {
                Some(before) => self.delete(before).await?,
                None => Verdict::Allowed,
            },
            _ => Verdict::Allowed,
        };
        if verdict != Verdict::Allowed {
            tracing::info!(
                operation = ?request.operation, %kind, name = request.name,
                namespace = request.namespace, "a change of a custom resource was refused"
            );
        }
        Ok(verdict)
    }

    async fn write(
        &self,
        before: Option<&Submitted>,
        object: &Submitted,
    ) -> Result<Verdict, StoreError> {
        if object.is_of_another() && before.is_none() {
            return Ok(Verdict::Allowed);
        }
        let current = self.writer.current().await?;
        let old = before.and_then(|before| Some((before, before.key()?)));
        // What takes the name or the mark of what it was is no change of it.
        if let Some((before, key)) = old
            && (object.key() != Some(key) || object.is_of_another())
        {
            let gone = self.delete_at(&current, before, key).await?;
            if gone != Verdict::Allowed || object.is_of_another() {
                return Ok(gone);
            }
        }
        if self.is_of_a_mesh_of_another(object).await {
            return Ok(Verdict::Allowed);
        }
        if !object.wrong().is_empty() {
            return Ok(Verdict::Invalid(
                object.wrong().iter().map(|line| cause(line)).collect(),
            ));
        }
        let Some(key) = object.key() else {
            return Ok(Verdict::Allowed);
        };
        let stored = stored(&current, key);
        if let Some(stored) = stored {
            if object.shows(stored) {
                return Ok(Verdict::Allowed);
            }
            if let Some(namespace) = object.elsewhere(stored) {
                return Ok(Verdict::Forbidden(format!(
                    "{key} is in namespace {namespace} already"
                )));
            }
        }
        let call = Call {
            resource: key.clone(),
            after: object.content(stored),
        };
        self.call(current.clone(), &call).await
    }

    /// Whether an object belongs to a mesh that another control plane has: that one
    /// judges it. Where the API server does not say, it is judged here.
    async fn is_of_a_mesh_of_another(&self, object: &Submitted) -> bool {
        let key = object.key().filter(|key| key.kind != Kind::Mesh);
        let Some(key) = key.filter(|_| object.is_of_nobody()) else {
            return false;
        };
        let owner = mesh_owner(&self.cluster, &key.mesh);
        let owner = tokio::time::timeout(LOOKUP, owner).await;
        let owner = owner.ok().and_then(Result::ok).flatten();
        owner.is_some_and(|owner| owner != self.home)
    }

    async fn delete(&self, object: &Submitted) -> Result<Verdict, StoreError> {
        let current = self.writer.current().await?;
        match object.key() {
            Some(key) => self.delete_at(&current, object, key).await,
            None => Ok(Verdict::Allowed),
        }
    }

    async fn delete_at(
        &self,
        current: &Arc<Current>,
        object: &Submitted,
        key: &ResourceKey,
    ) -> Result<Verdict, StoreError> {
        // What the store does not hold, or shows elsewhere, may go.
        let stored = stored(current, key);
        if stored.is_none_or(|stored| object.elsewhere(stored).is_some()) {
            return Ok(Verdict::Allowed);
        }
        let call = Call {
            resource: key.clone(),
            after: None,
        };
        self.call(current.clone(), &call).await
    }

    /// Judges a call, and waits a moment where that may change it.
    async fn call(&self, mut current: Arc<Current>, call: &Call) -> Result<Verdict, StoreError> {
        let deadline = Instant::now() + ARRIVAL;
        loop {
            let reason = match self.writer.judge(&current, call) {
                Judgement::Fine => return Ok(Verdict::Allowed),
                Judgement::Invalid(found) => return Ok(Verdict::Invalid(found)),
                Judgement::Refused(reason) => return Ok(Verdict::Forbidden(reason)),
                Judgement::NotYet(reason) => reason,
            };
            if Instant::now() >= deadline {
                return Ok(Verdict::Forbidden(reason));
            }
            sleep(LOOK).await;
            current = self.writer.current().await?;
        }
    }
}

fn kind(request: &Request) -> Option<Kind> {
    let is_ours = request.kind.group == "kuma.io" && request.sub_resource.is_none();
    let kind: Kind = request.kind.kind.parse().ok()?;
    (is_ours && kind != Kind::ProvidedCa).then_some(kind)
}

fn stored<'a>(current: &'a Current, key: &ResourceKey) -> Option<&'a StoredResource> {
    let mesh = current.meshes.get(&key.mesh)?;
    mesh.resources.get(key).map(Arc::as_ref)
}

fn too_large(object: &DynamicObject) -> Option<Verdict> {
    let size = object.data.to_string().len();
    let limit = MAX_RESOURCE / 1024;
    (size > MAX_RESOURCE)
        .then(|| Verdict::Forbidden(format!("the resource is larger than {limit} KiB")))
}

/// A line of the form `field: message` in its parts.
fn cause(line: &str) -> Cause {
    match line.split_once(": ") {
        Some((field, message)) if !field.contains(' ') => Cause {
            field: field.to_owned(),
            message: message.to_owned(),
        },
        _ => Cause {
            field: ".".to_owned(),
            message: line.to_owned(),
        },
    }
}
