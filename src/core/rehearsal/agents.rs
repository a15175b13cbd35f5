//! Agents to whom nothing goes wrong.

use crate::model::*;
use crate::store::{Change, View};
use crate::{ServiceId, WallTime};
use std::collections::BTreeSet;

/// What the agents of nodes that answer would report of the tasks of `services`: started, stopped, completed.
pub(super) fn reports(view: &View, services: &BTreeSet<ServiceId>, now: WallTime) -> Vec<Change> {
    let tasks = services.iter().flat_map(|service| view.tasks_of_service(*service));
    let answers = |task: &Task| {
        let node = task.node.and_then(|node| view.node(node));
        node.is_some_and(|node| node.status.state == NodeState::Ready)
    };
    let report = |task: &Task| {
        let status = next(view, task)?;
        Some(Change::TaskStatus { task: task.id, status: TaskStatus { timestamp: now, ..status } })
    };
    tasks.filter(|task| answers(task)).filter_map(|task| report(task)).collect()
}

fn next(view: &View, task: &Task) -> Option<TaskStatus> {
    let state = task.status.state;
    if state < TaskState::Assigned || state.is_terminal() {
        return None;
    }
    let become_ = |state: TaskState| {
        let message = state.as_str().to_owned();
        Some(TaskStatus { state, message, err: String::new(), container: well(task), ..task.status.clone() })
    };
    if !task.is_wanted() {
        return become_(TaskState::Shutdown);
    }
    let is_job = view.service(task.service).is_some_and(|service| service.spec.mode.is_job());
    // One state after the other, so that what stops has stopped before what takes its place is up.
    match state {
        TaskState::Running if is_job => become_(TaskState::Complete),
        TaskState::Running if task.is_up() => None,
        TaskState::Running | TaskState::Starting => become_(TaskState::Running),
        TaskState::Ready if task.desired < TaskState::Running => None,
        TaskState::Ready => become_(TaskState::Running),
        TaskState::Preparing => become_(TaskState::Ready),
        TaskState::Assigned | TaskState::Accepted => become_(TaskState::Preparing),
        TaskState::New
        | TaskState::Pending
        | TaskState::Complete
        | TaskState::Shutdown
        | TaskState::Failed
        | TaskState::Rejected
        | TaskState::Remove
        | TaskState::Orphaned => None,
    }
}

/// Its container as it is, healthy and ready.
fn well(task: &Task) -> Option<ContainerStatus> {
    let container = task.status.container.clone()?;
    let health = match container.health {
        Health::None => Health::None,
        Health::Starting | Health::Healthy | Health::Unhealthy => Health::Healthy,
    };
    Some(ContainerStatus { health, ready: container.ready.map(|_| true), ..container })
}
