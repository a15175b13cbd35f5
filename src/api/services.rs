//! `/services`.

use crate::call::{Call, Outcome, created, empty, ok};
use crate::compat::{Answer, Request};
use crate::error::ApiError;
use crate::filters::Filters;
use crate::json::{Fields, keep_extension, read_service_spec, write_service};
use crate::ports::{LogSelector, SubmitError};
use crate::routes::unknown_below;
use crate::{logs, lookup, rehearsals, versions};
use axum::http::StatusCode;
use std::collections::BTreeSet;
use swarm_core::model::{Service, ServiceMode, TaskState};
use swarm_core::store::{Conflict, Txn, View};
use swarm_core::{Sensitive, ServiceId, WallTime, control};

const FILTERS: [&str; 5] = ["id", "label", "mode", "name", "runtime"];

/// Tries of a write that does not depend on what the user saw, when others write the same object at
/// the same time; beyond it something writes without pause.
const WRITE_TRIES: usize = 8;

pub async fn route(call: Call, method: &str, rest: &[&str]) -> Outcome {
    match (method, rest) {
        ("GET", []) => list(call).await,
        ("POST", ["create"]) => create(call).await,
        ("GET", [name]) => inspect(call, name).await,
        ("POST", [name, "update"]) => update(call, name).await,
        ("GET", [name, "history"]) => versions::history(call, name).await,
        ("POST", [name, "promote"]) => versions::promote(call, name).await,
        ("DELETE", [name]) => remove(call, name).await,
        ("GET", [name, "logs"]) => service_logs(call, name).await,
        _ => Err(unknown_below(method, "services", rest)),
    }
}

/// Decides on a fresh snapshot and commits; when someone else wrote the object in between, decides again.
pub async fn decide_and_submit(
    call: &Call,
    decide: impl Fn(&View, WallTime) -> Result<Txn, ApiError>,
) -> Result<(), ApiError> {
    let mut last = None;
    for _ in 0..WRITE_TRIES {
        let view = call.view().await?;
        let txn = decide(&view, call.ports.cluster.now())?;
        if txn.changes.is_empty() {
            return Ok(());
        }
        match call.ports.cluster.submit(txn).await {
            Ok(()) => return Ok(()),
            Err(error @ SubmitError::Conflict(Conflict::OutOfSequence { .. })) => last = Some(error),
            Err(error) => return Err(error.into()),
        }
    }
    Err(last.map_or_else(|| ApiError::unavailable("no attempt was made"), ApiError::from))
}

fn mode_name(mode: &ServiceMode) -> &'static str {
    match mode {
        ServiceMode::Replicated { .. } => "replicated",
        ServiceMode::Global => "global",
        ServiceMode::ReplicatedJob { .. } => "replicated-job",
        ServiceMode::GlobalJob => "global-job",
    }
}

async fn list(call: Call) -> Outcome {
    let filters = Filters::read(&call.query, &FILTERS)?;
    filters.words("mode", &["replicated", "global", "replicated-job", "global-job"])?;
    let view = call.view().await?;
    // Older clients do not know the parameter.
    let status = call.version.has(41) && call.query.strict_flag("status")?;
    let now = call.ports.cluster.now();
    let services = view.services().filter(|service| {
        !service.removing
            && filters.any("id", |id| service.id.to_string().starts_with(id))
            && filters.any("name", |name| service.spec.name.starts_with(name))
            && filters.any("mode", |mode| mode_name(&service.spec.mode) == mode)
            && filters.any("runtime", |runtime| runtime == "container")
            && filters.labels("label", &service.spec.labels)
    });
    let written = services.map(|service| {
        let fields = write_service(service, &view, now);
        let counts = status.then(|| service_status(service, &view));
        call.write(Answer::Service, fields.opt("ServiceStatus", counts))
    });
    ok(written.collect::<Vec<_>>())
}

/// API `ServiceStatus`: how many tasks run, should run, and have completed.
fn service_status(service: &Service, view: &View) -> Fields {
    let (mut running, mut wanted) = (0u64, 0u64);
    let mut completed = BTreeSet::new();
    let iteration = service.job.map(|job| job.iteration);
    for task in view.tasks_of_service(service.id) {
        let state = task.status.state;
        if iteration.is_some() && task.job_iteration != iteration {
            continue;
        }
        running += u64::from(task.desired == TaskState::Running && state == TaskState::Running);
        wanted += u64::from(task.is_wanted() && !(iteration.is_some() && state == TaskState::Complete));
        if state == TaskState::Complete {
            // One that was thought lost with its node may have completed beside the one that took over: one run.
            completed.insert((task.slot, task.node.filter(|_| task.slot == 0)));
        }
    }
    let wanted = match &service.spec.mode {
        ServiceMode::Replicated { .. } => service.wanted_replicas().unwrap_or(wanted),
        ServiceMode::ReplicatedJob { max_concurrent, .. } => *max_concurrent,
        ServiceMode::Global | ServiceMode::GlobalJob => wanted,
    };
    let completed = if service.job.is_some() { completed.len() } else { 0 };
    let counts = Fields::new().set("RunningTasks", running).set("DesiredTasks", wanted);
    counts.set("CompletedTasks", completed)
}

async fn create(mut call: Call) -> Outcome {
    let body = call.fitting(Request::ServiceSpec).await?;
    let auth = call.registry_auth()?;
    let view = call.view().await?;
    let mut reading = read_service_spec(body, &view)?;
    reading.spec.task.container.pull_auth = auth;
    if reading.spec.name.is_empty() {
        reading.spec.name = control::fresh_service_name(&view, call.ports.cluster.random());
    }
    let id = ServiceId(call.ports.cluster.random());
    let txn = control::create_service(&view, reading.spec, id, call.ports.cluster.now())?;
    if rehearsals::is_wanted(&call) {
        return rehearsals::answer(&call, &view, &txn).await;
    }
    call.submit(txn).await?;
    created(Fields::new().set("ID", id.to_string()).filled("Warnings", reading.warnings))
}

async fn inspect(call: Call, name: &str) -> Outcome {
    // Stored specs have their defaults filled in: it changes nothing.
    call.query.strict_flag("insertDefaults")?;
    let view = call.view().await?;
    let service = lookup::service(&view, name)?;
    ok(call.write(Answer::Service, write_service(service, &view, call.ports.cluster.now())))
}

async fn update(mut call: Call, name: &str) -> Outcome {
    let version = call.query.version()?;
    let body = call.fitting(Request::ServiceSpec).await?;
    let auth = call.registry_auth()?;
    let view = call.view().await?;
    let service = lookup::service(&view, name)?;
    let now = call.ports.cluster.now();
    match call.query.text("rollback") {
        "" | "none" if call.query.text("to").is_empty() => {}
        "" | "none" => return Err(ApiError::bad("to: only with rollback=previous")),
        "previous" => {
            let txn = match versions::revision(&call)? {
                Some(revision) => control::rollback_service_to(&view, service.id, version, revision, now)?,
                None => control::rollback_service(&view, service.id, version, now)?,
            };
            if rehearsals::is_wanted(&call) {
                return rehearsals::answer(&call, &view, &txn).await;
            }
            call.submit(txn).await?;
            return ok(Fields::new().set("Warnings", Vec::<String>::new()));
        }
        other => return Err(ApiError::bad(format!("unrecognized rollback option {other}"))),
    }
    let mut reading = read_service_spec(body, &view)?;
    reading.spec.task.container.pull_auth = match auth {
        Some(auth) => Some(auth),
        None => kept_auth(service, call.query.text("registryAuthFrom"))?,
    };
    if !reading.extended {
        keep_extension(&service.spec, &mut reading.spec);
    }
    let txn = control::update_service(&view, service.id, version, reading.spec, now)?;
    if rehearsals::is_wanted(&call) {
        return rehearsals::answer(&call, &view, &txn).await;
    }
    call.submit(txn).await?;
    ok(Fields::new().set("Warnings", reading.warnings))
}

/// Credentials are kept over an update that sends none.
fn kept_auth(service: &Service, from: &str) -> Result<Option<Sensitive<String>>, ApiError> {
    match from {
        "" | "spec" => Ok(service.spec.task.container.pull_auth.clone()),
        "previous-spec" => match &service.previous_spec {
            Some(spec) => Ok(spec.task.container.pull_auth.clone()),
            None => Err(ApiError::bad("service does not have a previous spec")),
        },
        other => Err(ApiError::bad(format!("unsupported registryAuthFrom value {other}"))),
    }
}

async fn remove(call: Call, name: &str) -> Outcome {
    if rehearsals::is_wanted(&call) {
        let view = call.view().await?;
        let service = lookup::service(&view, name)?;
        let txn = control::remove_service(&view, service.id, call.ports.cluster.now())?;
        return rehearsals::answer(&call, &view, &txn).await;
    }
    decide_and_submit(&call, |view, now| {
        let service = lookup::service(view, name)?;
        Ok(control::remove_service(view, service.id, now)?)
    })
    .await?;
    empty(StatusCode::OK)
}

async fn service_logs(call: Call, name: &str) -> Outcome {
    let view = call.view().await?;
    let service = lookup::service(&view, name)?;
    logs::answer(&call, LogSelector::Service(service.id), service.spec.task.container.tty).await
}
