//! Transitions of meshes: how they stand, and going on without proxies.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ApiContext;
use super::error::{ApiError, Cause};
use super::form;
use super::guard::Local;
use super::resources::{find_mesh, mesh_not_found};
use super::write::refusal;
use super::writer::NotApproved;
use crate::clock;
use crate::model::{
    DataplaneId, HumanDuration, MeshName, MeshState, Part, Phase, ResourceName, Revision, Strategy,
    Timestamp,
};
use crate::outlook::{self, AwaitedProxy, Obstacle, Outlook, Waits, Why};
use crate::plan::{self, Circumstances, Risk};

const APPROVE: &str = "Could not approve";
/// The largest request to approve, in bytes: some thousand names.
const MAX_APPROVAL: usize = 1024 * 1024;
/// The most names that a sentence lists.
const MAX_NAMES: usize = 5;

/// A transition that runs, or is about to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TransitionStatus {
    /// From what.
    pub from: String,
    /// To what.
    pub to: String,
    /// How.
    pub strategy: Strategy,
    /// Where it is.
    pub phase: Phase,
    /// Since when it is there.
    pub since: Timestamp,
    /// The dataplanes that the gate waits for, as `<mesh>/<name>`.
    pub awaiting: Vec<String>,
    /// Whether the gate waits longer than it should.
    pub stalled: bool,
    /// Since when it does.
    pub stalled_since: Option<Timestamp>,
    /// Whether it stopped before a phase because the mesh's `hold` says so.
    pub held: bool,
    /// When it began.
    pub started: Timestamp,
    /// The revision that asked for it last; absent for a call of the API and
    /// for what Windlass does by itself.
    pub revision: Option<Revision>,
    /// What it waits for; absent while it goes on.
    pub gate: Option<GateStatus>,
    /// Why it does not go on, whatever it waits for.
    pub blocked: Option<BlockedStatus>,
    /// Why it waits for each of `awaiting`, in the same order.
    pub awaited: Vec<AwaitedStatus>,
    /// The dataplanes that it goes on without because someone said so.
    pub approved: Vec<String>,
    /// How long inbounds have accepted plaintext that require mTLS before and
    /// after, in seconds.
    pub plaintext: Option<HumanDuration>,
    /// The steps to the end.
    pub steps: Vec<RemainingStep>,
}

/// Why a transition does not go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockedStatus {
    /// The reason in one word, as in a condition.
    pub reason: String,
    /// The reason in words.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

/// What a transition waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GateStatus {
    /// The phase that begins when it opens.
    pub before: Phase,
    /// In words.
    pub waits_for: String,
    /// How many proxies it looks at.
    pub proxies: usize,
    /// How many of them it waits for no longer.
    pub done: usize,
    /// The leaves, where it waits for them.
    pub leaves: Option<LeavesStatus>,
    /// When it opens, where that can be told.
    pub eta: Option<Timestamp>,
}

/// How many leaves of a new authority proxies have acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeavesStatus {
    /// So many.
    pub acknowledged: usize,
    /// Of so many.
    pub all: usize,
}

/// A proxy that a gate waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AwaitedStatus {
    /// Its dataplane.
    pub dataplane: ResourceName,
    /// `silent`, `queued`, `unissued`, `rejected`, `neverAsked`, `away`,
    /// `draining` or `holding`.
    pub reason: String,
    /// What it has yet to acknowledge, where that is why.
    pub part: Option<Part>,
    /// The reason in words, Envoy's own among them.
    pub message: String,
    /// Since when.
    pub since: Timestamp,
    /// When that ends by itself.
    pub until: Option<Timestamp>,
    /// What to do about it.
    pub hint: Option<String>,
}

/// A step that is yet to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RemainingStep {
    /// What is done.
    pub summary: String,
    /// What is waited for before.
    pub waits_for: Option<String>,
    /// What it may cost.
    pub risk: Risk,
}

/// What was approved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// The dataplanes that the transition goes on without now, as `<mesh>/<name>`.
    pub approved: Vec<String>,
    /// What keeps it from going on all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// The request as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ApproveForm {
    #[serde(default)]
    dataplanes: Value,
}

pub(super) fn routes() -> Router<ApiContext> {
    Router::new()
        .route("/meshes/{mesh}/transition", get(show))
        .route("/meshes/{mesh}/transition/approve", post(approve))
        .layer(DefaultBodyLimit::max(MAX_APPROVAL))
}

async fn show(
    State(ctx): State<ApiContext>,
    Path(mesh): Path<String>,
) -> Result<Json<Option<TransitionStatus>>, ApiError> {
    let state = find_mesh(&ctx, &mesh).ok_or_else(mesh_not_found)?;
    let evidence = (ctx.evidence)();
    let given = Circumstances {
        evidence: &evidence,
        issuing: ctx.writer.issuing(),
        now: clock::now(),
    };
    Ok(Json(TransitionStatus::of(&state, given)))
}

// `Local` comes first: nobody else's body is read.
async fn approve(
    _: Local,
    State(ctx): State<ApiContext>,
    Path(mesh): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Approval>, ApiError> {
    let body = form::body(APPROVE, body)?;
    let mesh: MeshName = mesh.parse().map_err(|_| ApiError::not_found(APPROVE))?;
    let names = parse(&body).map_err(|causes| ApiError::invalid(APPROVE, causes))?;
    let approved = ctx.writer.approve(mesh.clone(), names.clone()).await;
    let held = approved.map_err(not_approved)?;
    Ok(Json(Approval {
        approved: names
            .into_iter()
            .map(|name| dataplane(&mesh, name).to_string())
            .collect(),
        hint: held.map(|phase| lift(&mesh, phase)),
    }))
}

fn dataplane(mesh: &MeshName, name: ResourceName) -> DataplaneId {
    let mesh = mesh.clone();
    DataplaneId { mesh, name }
}

fn lift(mesh: &MeshName, phase: Phase) -> String {
    format!(
        "mesh {mesh} is held before {phase}: that ends when `mtls.transition.hold` is removed, and \
         no approval lifts it"
    )
}

fn parse(body: &[u8]) -> Result<Vec<ResourceName>, Vec<Cause>> {
    let form: ApproveForm = form::read(body)?;
    let Value::Array(list) = &form.dataplanes else {
        let problem = match form.dataplanes {
            Value::Null => "cannot be empty",
            _ => "must be a list of names",
        };
        return Err(vec![Cause::new("dataplanes", problem)]);
    };
    let mut causes = Vec::new();
    let names = list.iter().enumerate();
    let names: Vec<ResourceName> = names
        .filter_map(|(index, name)| form::name(name, &format!("dataplanes[{index}]"), &mut causes))
        .collect();
    if list.is_empty() {
        causes.push(Cause::new("dataplanes", "cannot be empty"));
    }
    if causes.is_empty() {
        Ok(names)
    } else {
        Err(causes)
    }
}

fn not_approved(problem: NotApproved) -> ApiError {
    let details = problem.to_string();
    let conflict = || ApiError::new(StatusCode::CONFLICT, APPROVE, details.clone());
    match problem {
        NotApproved::NoMesh => ApiError::not_found(APPROVE),
        NotApproved::NoTransition { .. } => conflict(),
        NotApproved::NotAwaited {
            mesh,
            names,
            awaited,
            held,
        } => {
            let who = if awaited.is_empty() {
                "nobody is awaited now".to_owned()
            } else {
                format!("awaited now: {}", list(&awaited))
            };
            let held = held.map(|phase| lift(&mesh, phase));
            let details = [Some(who), held].into_iter().flatten();
            let details = details.collect::<Vec<_>>().join("; ");
            let causes = names.into_iter().map(|(index, name)| {
                let problem = format!("{} is not awaited", dataplane(&mesh, name));
                Cause::new(&format!("dataplanes[{index}]"), problem)
            });
            ApiError::new(StatusCode::CONFLICT, APPROVE, details).because(causes.collect())
        }
        NotApproved::Write(problem) => refusal(APPROVE, problem),
    }
}

/// Names on one line, the first few.
fn list(names: &[String]) -> String {
    let few = names.iter().take(MAX_NAMES).map(String::as_str);
    let few = few.collect::<Vec<_>>().join(", ");
    match names.len().checked_sub(MAX_NAMES) {
        Some(more @ 1..) => format!("{few} and {more} more"),
        _ => few,
    }
}

impl TransitionStatus {
    /// The transition of a mesh that runs or is about to.
    pub(super) fn of(mesh: &MeshState, given: Circumstances<'_>) -> Option<Self> {
        let outlook = Outlook::of(mesh, given)?;
        let steps = outlook::remaining(mesh, given).into_iter();
        let ids = |names: &mut dyn Iterator<Item = &ResourceName>| {
            names
                .map(|name| dataplane(&mesh.name, name.clone()).to_string())
                .collect()
        };
        let awaited = outlook.awaited();
        Some(Self {
            strategy: outlook.strategy,
            awaiting: ids(&mut awaited.iter().map(|it| &it.dataplane.name)),
            stalled: outlook.stalled_since().is_some(),
            stalled_since: outlook.stalled_since(),
            held: outlook.is_held(),
            gate: (outlook.waiting.as_ref()).map(|it| GateStatus::of(it, outlook.rules.hold)),
            blocked: outlook.blocked.as_ref().map(BlockedStatus::of),
            awaited: awaited.iter().map(AwaitedStatus::of).collect(),
            approved: ids(&mut outlook.transition.approved.iter()),
            plaintext: outlook.plaintext.map(HumanDuration),
            steps: steps
                .map(|step| RemainingStep {
                    summary: step.summary,
                    waits_for: step.waits_for,
                    risk: step.risk,
                })
                .collect(),
            from: outlook.transition.from,
            to: outlook.transition.to,
            phase: outlook.transition.phase,
            since: outlook.transition.since,
            started: outlook.transition.started,
            revision: outlook.transition.revision,
        })
    }
}

impl BlockedStatus {
    fn of(obstacle: &Obstacle) -> Self {
        Self {
            reason: obstacle.why.reason().to_owned(),
            message: obstacle.to_string(),
            hint: obstacle.hint().to_owned(),
        }
    }
}

impl GateStatus {
    fn of(waits: &Waits, hold: Option<Phase>) -> Self {
        Self {
            before: waits.before,
            waits_for: plan::gate_in_words(hold.filter(|_| waits.held), waits.gate)
                .unwrap_or_default(),
            proxies: waits.proxies,
            done: waits.proxies - waits.awaited.len(),
            leaves: waits
                .leaves
                .map(|(acknowledged, all)| LeavesStatus { acknowledged, all }),
            eta: waits.eta,
        }
    }
}

impl AwaitedStatus {
    fn of(awaited: &AwaitedProxy) -> Self {
        let part = match &awaited.why {
            Why::Silent(part) | Why::NeverAsked(part) | Why::Rejected { part, .. } => Some(*part),
            Why::Queued | Why::Unissued { .. } => Some(Part::Leaf),
            Why::Away | Why::Draining | Why::Holding => None,
        };
        Self {
            dataplane: awaited.dataplane.name.clone(),
            reason: awaited.why.name().to_owned(),
            part,
            message: awaited.why.to_string(),
            since: awaited.since,
            until: awaited.until,
            hint: awaited.hint(),
        }
    }
}
