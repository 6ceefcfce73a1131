//! Requests to the API server: one at a time limit, one way to fail, and what
//! each answer says about whether the server can be reached.

use std::fmt::{self, Debug};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use kube::api::{
    Api, DeleteParams, ListParams, ObjectMeta, PartialObjectMeta, PostParams, Preconditions,
};
use kube::{Client, Resource};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::names::{MANAGED_BY, MANAGER, PART};
use crate::clock;
use crate::store::{Reach, StoreError};

/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it may take to reach the server.
pub(super) const CONNECT: Duration = Duration::from_secs(5);
/// How many objects one page of a list holds.
const PAGE: u32 = 500;
/// How many requests are under way at once for one task.
pub(super) const AT_ONCE: usize = 32;

/// The API server and the namespace in it that is the control plane's.
#[derive(Clone)]
pub(super) struct Cluster {
    client: Client,
    namespace: Arc<str>,
    at: Arc<str>,
    reach: watch::Sender<Reach>,
    closed: CancellationToken,
    random: Arc<Mutex<StdRng>>,
}

/// What is being done, for errors.
#[derive(Debug, Clone, Copy)]
pub(super) struct Doing {
    pub(super) action: &'static str,
    pub(super) verb: &'static str,
}

/// A request that did not do what it was to do.
#[derive(Debug)]
pub(super) enum Fault {
    /// There is no such object.
    Missing,
    /// The object is another than the one that was read, or there is one already.
    Conflict,
    /// The server says no, or there is no telling whether it was done.
    Failed(StoreError),
}

impl Fault {
    /// The fault as the store's own error, where no other meaning is expected.
    pub(super) fn into_error(self, cluster: &Cluster, action: &'static str) -> StoreError {
        match self {
            Self::Failed(error) => error,
            Self::Missing => cluster.failed(action, "the object is gone"),
            Self::Conflict => cluster.failed(action, "the object keeps being written by others"),
        }
    }
}

impl Cluster {
    pub(super) fn new(client: Client, namespace: &str, server: &str) -> Self {
        Self {
            client,
            namespace: namespace.into(),
            at: format!("namespace {namespace} of {server}").into(),
            reach: watch::Sender::default(),
            closed: CancellationToken::new(),
            random: Arc::new(Mutex::new(StdRng::from_os_rng())),
        }
    }

    pub(super) fn client(&self) -> Client {
        self.client.clone()
    }

    pub(super) fn namespace(&self) -> &str {
        &self.namespace
    }

    pub(super) fn at(&self) -> &str {
        &self.at
    }

    pub(super) fn reach(&self) -> watch::Receiver<Reach> {
        self.reach.subscribe()
    }

    /// Cancelled once the store is closed.
    pub(super) fn closed(&self) -> &CancellationToken {
        &self.closed
    }

    /// The objects of a type in the control plane's namespace.
    pub(super) fn own<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// A name that no other write has: objects of two attempts never meet.
    pub(super) fn nonce(&self) -> String {
        format!("{:016x}", self.random().random::<u64>())
    }

    /// A part of `most`, so that those who met do not meet again.
    pub(super) fn jitter(&self, most: Duration) -> Duration {
        most.mul_f64(self.random().random_range(0.2..1.0))
    }

    fn random(&self) -> std::sync::MutexGuard<'_, StdRng> {
        self.random.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn failed(
        &self,
        action: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> StoreError {
        StoreError::Database {
            action,
            at: self.at.to_string(),
            source: source.into(),
        }
    }

    pub(super) fn corrupt(
        &self,
        what: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> StoreError {
        StoreError::Corrupt {
            what: what.into(),
            at: self.at.to_string(),
            source: source.into(),
        }
    }

    /// Sends one request, and learns from the answer.
    pub(super) async fn ask<T>(
        &self,
        doing: Doing,
        kind: &str,
        request: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, Fault> {
        let Doing { action, verb } = doing;
        let answer = tokio::select! {
            biased;
            () = self.closed.cancelled() => {
                return Err(Fault::Failed(self.failed(action, "the store is closed")));
            }
            answer = tokio::time::timeout(PATIENCE, request) => answer,
        };
        let error = match answer {
            Ok(Ok(value)) => {
                self.answers();
                return Ok(value);
            }
            Ok(Err(error)) => error,
            Err(_) => {
                let why = format!("no answer within {} seconds", PATIENCE.as_secs());
                self.lost(&why);
                return Err(Fault::Failed(self.failed(action, why)));
            }
        };
        let kube::Error::Api(status) = &error else {
            self.lost(&root_of(&error));
            return Err(Fault::Failed(self.failed(action, error)));
        };
        if status.code >= 500 && !is_of_a_webhook(&status.message) {
            self.lost(&status.message);
        } else {
            self.answers();
        }
        Err(match status.code {
            404 => Fault::Missing,
            409 => Fault::Conflict,
            401 | 403 if is_for_want_of_a_namespace(&status.message) => {
                Fault::Failed(self.failed(action, error))
            }
            401 | 403 => Fault::Failed(StoreError::Forbidden {
                action,
                at: self.at.to_string(),
                verb,
                resource: kind.to_owned(),
                source: error.into(),
            }),
            _ => Fault::Failed(self.failed(action, error)),
        })
    }

    fn answers(&self) {
        self.reach.send_if_modified(|reach| {
            let was_lost = *reach != Reach::Answers;
            *reach = Reach::Answers;
            was_lost
        });
    }

    fn lost(&self, why: &str) {
        self.reach.send_if_modified(|reach| {
            let answered = *reach == Reach::Answers;
            if answered {
                *reach = Reach::Lost {
                    since: clock::now(),
                    why: why.into(),
                };
            }
            answered
        });
    }

    /// The object of that name.
    pub(super) async fn get<K: Kept>(
        &self,
        action: &'static str,
        name: &str,
    ) -> Result<Option<K>, StoreError> {
        let api = self.own::<K>();
        let doing = Doing {
            action,
            verb: "get",
        };
        match self.ask(doing, &K::plural(&()), api.get(name)).await {
            Ok(object) => Ok(Some(object)),
            Err(Fault::Missing) => Ok(None),
            Err(fault) => Err(fault.into_error(self, action)),
        }
    }

    /// Makes an object that is not there yet.
    pub(super) async fn create<K: Kept>(
        &self,
        action: &'static str,
        object: &K,
    ) -> Result<K, Fault> {
        let api = self.own::<K>();
        let doing = Doing {
            action,
            verb: "create",
        };
        let parameters = parameters();
        let created = api.create(&parameters, object);
        self.ask(doing, &K::plural(&()), created)
            .await
            .map_err(|fault| match fault {
                // Nothing but the namespace can be missing.
                Fault::Missing => Fault::Failed(StoreError::NoNamespace {
                    at: self.at.to_string(),
                    namespace: self.namespace.to_string(),
                }),
                fault => fault,
            })
    }

    /// Puts an object in the place of the one with its `resourceVersion`.
    pub(super) async fn replace<K: Kept>(
        &self,
        action: &'static str,
        object: &K,
    ) -> Result<K, Fault> {
        let api = self.own::<K>();
        let doing = Doing {
            action,
            verb: "update",
        };
        let name = object.meta().name.clone().unwrap_or_default();
        let parameters = parameters();
        let replaced = api.replace(&name, &parameters, object);
        self.ask(doing, &K::plural(&()), replaced).await
    }

    /// Creates an object, or replaces the one that it was read from.
    pub(super) async fn put<K: Kept>(&self, action: &'static str, object: &K) -> Result<K, Fault> {
        if object.meta().resource_version.is_some() {
            self.replace(action, object).await
        } else {
            self.create(action, object).await
        }
    }

    /// Deletes an object; one that is gone is deleted.
    pub(super) async fn delete<K: Kept>(
        &self,
        action: &'static str,
        name: &str,
    ) -> Result<(), StoreError> {
        let api = self.own::<K>();
        let doing = Doing {
            action,
            verb: "delete",
        };
        let parameters = DeleteParams::default();
        let deleted = api.delete(name, &parameters);
        match self.ask(doing, &K::plural(&()), deleted).await {
            Ok(_) | Err(Fault::Missing) => Ok(()),
            Err(fault) => Err(fault.into_error(self, action)),
        }
    }

    /// Deletes exactly the object that was read; whether it was still there.
    pub(super) async fn delete_read<K: Kept>(
        &self,
        action: &'static str,
        read: &ObjectMeta,
    ) -> Result<bool, StoreError> {
        let api = self.own::<K>();
        let doing = Doing {
            action,
            verb: "delete",
        };
        let parameters = DeleteParams::default().preconditions(Preconditions {
            resource_version: read.resource_version.clone(),
            uid: read.uid.clone(),
        });
        let name = read.name.as_deref().unwrap_or_default();
        let deleted = api.delete(name, &parameters);
        match self.ask(doing, &K::plural(&()), deleted).await {
            Ok(_) => Ok(true),
            Err(Fault::Missing | Fault::Conflict) => Ok(false),
            Err(fault) => Err(fault.into_error(self, action)),
        }
    }

    /// All objects with this label's value, in one consistent list.
    pub(super) async fn list<K: Kept>(
        &self,
        action: &'static str,
        part: &str,
    ) -> Result<Vec<K>, StoreError> {
        let api = self.own::<K>();
        self.pages(action, &K::plural(&()), part, |parameters| {
            let api = api.clone();
            async move { api.list(&parameters).await }
        })
        .await
    }

    /// The same without what the objects hold.
    pub(super) async fn list_metadata<K: Kept>(
        &self,
        action: &'static str,
        part: &str,
    ) -> Result<Vec<PartialObjectMeta<K>>, StoreError> {
        let api = self.own::<K>();
        self.pages(action, &K::plural(&()), part, |parameters| {
            let api = api.clone();
            async move { api.list_metadata(&parameters).await }
        })
        .await
    }

    /// Reads a list page by page. A list that takes so long that the server
    /// forgets where it began is begun anew.
    async fn pages<K: Clone, F>(
        &self,
        action: &'static str,
        kind: &str,
        part: &str,
        fetch: impl Fn(ListParams) -> F,
    ) -> Result<Vec<K>, StoreError>
    where
        F: Future<Output = Result<kube::api::ObjectList<K>, kube::Error>>,
    {
        let doing = Doing {
            action,
            verb: "list",
        };
        let first = ListParams::default()
            .labels(&format!("{MANAGED_BY}={MANAGER},{PART}={part}"))
            .limit(PAGE);
        let (mut parameters, mut found) = (first.clone(), Vec::new());
        loop {
            let page = fetch(parameters.clone());
            let page = match self.ask(doing, kind, page).await {
                Ok(page) => page,
                Err(Fault::Failed(error)) if is_expired(&error) => {
                    found.clear();
                    parameters = first.clone();
                    continue;
                }
                Err(fault) => return Err(fault.into_error(self, action)),
            };
            found.extend(page.items);
            match page.metadata.continue_ {
                Some(token) if !token.is_empty() => {
                    parameters = first.clone().continue_token(&token);
                }
                _ => return Ok(found),
            }
        }
    }
}

impl Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.at)
    }
}

/// Types of objects that the store keeps in its namespace.
pub(super) trait Kept:
    Resource<Scope = NamespaceResourceScope, DynamicType = ()>
    + Clone
    + Debug
    + Serialize
    + DeserializeOwned
    + Send
    + 'static
{
}

impl<K> Kept for K where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned
        + Send
        + 'static
{
}

/// Does `work` for every item, a few at once; the first that fails ends it.
pub(super) async fn for_each<I, T, F>(
    items: impl IntoIterator<Item = I>,
    work: impl Fn(I) -> F,
) -> Result<Vec<T>, StoreError>
where
    F: Future<Output = Result<T, StoreError>> + Send + 'static,
    T: Send + 'static,
{
    let mut results = Vec::new();
    let mut tasks = JoinSet::new();
    let mut items = items.into_iter();
    loop {
        while tasks.len() < AT_ONCE
            && let Some(item) = items.next()
        {
            tasks.spawn(work(item));
        }
        match tasks.join_next().await {
            None => return Ok(results),
            Some(Ok(result)) => results.push(result?),
            Some(Err(panicked)) if panicked.is_panic() => {
                std::panic::resume_unwind(panicked.into_panic());
            }
            // The runtime goes down: nobody waits for the rest.
            Some(Err(_)) => {}
        }
    }
}

fn parameters() -> PostParams {
    PostParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PostParams::default()
    }
}

/// Whether a list has to be begun anew (410).
fn is_expired(error: &StoreError) -> bool {
    let StoreError::Database { source, .. } = error else {
        return false;
    };
    matches!(source.downcast_ref(), Some(kube::Error::Api(status)) if status.code == 410)
}

/// The server answers, but a webhook does not: nobody judges until a pod is ready.
fn is_of_a_webhook(message: &str) -> bool {
    message.contains("failed calling webhook")
}

/// The server refuses to create in a namespace that ends.
fn is_for_want_of_a_namespace(message: &str) -> bool {
    message.contains("because it is being terminated")
}

/// The innermost cause, which says most.
fn root_of(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
