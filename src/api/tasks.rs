//! `/tasks`.

use crate::call::{Call, Outcome, ok};
use crate::compat::Answer;
use crate::error::ApiError;
use crate::filters::Filters;
use crate::json::{Shared, desired_word, write_task};
use crate::ports::LogSelector;
use crate::routes::unknown_below;
use crate::{logs, lookup};
use std::collections::BTreeSet;
use swarm_core::model::{Task, TaskState};
use swarm_core::store::View;
use swarm_core::{NodeId, ServiceId};

const FILTERS: [&str; 8] = ["id", "label", "name", "node", "service", "desired-state", "runtime", "_up-to-date"];

pub async fn route(call: Call, method: &str, rest: &[&str]) -> Outcome {
    match (method, rest) {
        ("GET", []) => list(call).await,
        ("GET", [id]) => inspect(call, id).await,
        ("GET", [id, "logs"]) => task_logs(call, id).await,
        _ => Err(unknown_below(method, "tasks", rest)),
    }
}

/// Services and nodes a list is narrowed to; `None` is all.
struct Narrowed {
    services: Option<BTreeSet<ServiceId>>,
    nodes: Option<BTreeSet<NodeId>>,
}

fn narrow(call: &Call, view: &View, filters: &Filters) -> Result<Narrowed, ApiError> {
    let services = filters.values("service").iter().map(|name| lookup::service(view, name).map(|s| s.id));
    let services = services.collect::<Result<BTreeSet<_>, _>>()?;
    let mut nodes = BTreeSet::new();
    for name in filters.values("node") {
        let own = call.ports.cluster.status().node.filter(|_| name == "self");
        nodes.insert(match own {
            Some(id) => id,
            None => lookup::node(view, name)?.id,
        });
    }
    let some = |empty: bool| !empty;
    Ok(Narrowed {
        services: some(services.is_empty()).then_some(services),
        nodes: some(nodes.is_empty()).then_some(nodes),
    })
}

fn up_to_date(task: &Task, view: &View) -> bool {
    view.service(task.service).is_some_and(|service| {
        task.spec_version == service.spec_version && task.job_iteration == service.job.map(|job| job.iteration)
    })
}

async fn list(call: Call) -> Outcome {
    let filters = Filters::read(&call.query, &FILTERS)?;
    filters.words("desired-state", &["running", "shutdown", "accepted", "ready", "complete", "remove"])?;
    let wanted_up_to_date = filters.flag("_up-to-date")?;
    let view = call.view().await?;
    let narrowed = narrow(&call, &view, &filters)?;
    let tasks = view.tasks().filter(|task| {
        narrowed.services.as_ref().is_none_or(|services| services.contains(&task.service))
            && narrowed.nodes.as_ref().is_none_or(|nodes| task.node.is_some_and(|node| nodes.contains(&node)))
            && filters.any("id", |id| task.id.to_string().starts_with(id))
            && filters.any("name", |name| task.name().starts_with(name))
            && filters.any("desired-state", |state| desired_is(task, state))
            && filters.any("runtime", |runtime| runtime == "container")
            && filters.labels("label", &task.service_labels)
            && wanted_up_to_date.is_none_or(|wanted| up_to_date(task, &view) == wanted)
    });
    let now = call.ports.cluster.now();
    let mut shared = Shared::default();
    let written = tasks.map(|task| call.write(Answer::Task, write_task(task, &view, now, &mut shared)));
    ok(written.collect::<Vec<_>>())
}

/// A task that waits for its restart delay (`ready`) is one that is wanted to run; `running` also finds a job's.
fn desired_is(task: &Task, state: &str) -> bool {
    desired_word(task) == state || (state == "running" && matches!(task.desired, TaskState::Ready | TaskState::Running))
}

async fn inspect(call: Call, id: &str) -> Outcome {
    let view = call.view().await?;
    let (task, now) = (lookup::task(&view, id)?, call.ports.cluster.now());
    let task = write_task(task, &view, now, &mut Shared::default());
    ok(call.write(Answer::Task, task))
}

async fn task_logs(call: Call, id: &str) -> Outcome {
    let view = call.view().await?;
    let task = lookup::task(&view, id)?;
    logs::answer(&call, LogSelector::Task(task.id), task.spec.container.tty).await
}
