//! New tasks.

use super::job;
use super::slots::SlotKey;
use super::version::{host_ports, is_current};
use crate::model::*;
use crate::store::{Change, Object, View};
use crate::{TaskId, WallTime};
use rand::RngCore;
use std::sync::Arc;

/// What the API shows of a task that was just made.
const CREATED_MESSAGE: &str = "created";

/// A task for `slot` as the service wants it now.
pub(super) fn fresh<R: RngCore>(
    service: &Service,
    slot: SlotKey,
    origin: TaskOrigin,
    desired: TaskState,
    rng: &mut R,
) -> Task {
    let (number, node) = match slot {
        SlotKey::Number(number) => (number, None),
        SlotKey::Node(node) => (0, Some(node)),
    };
    Task {
        node,
        spec_version: service.spec_version,
        service_name: service.spec.name.clone(),
        service_labels: service.spec.labels.clone(),
        status: TaskStatus { message: CREATED_MESSAGE.to_owned(), ..TaskStatus::default() },
        desired,
        host_ports: host_ports(&service.spec),
        origin,
        job_iteration: job::iteration(service),
        ..Task::new(TaskId::random(rng), service.id, number, Arc::new(service.spec.task.clone()))
    }
}

/// A task for a slot that is added. While an update waits for its canaries it is what ran before, as the slots around it.
pub(super) fn added<R: RngCore>(view: &View, service: &Service, slot: SlotKey, rng: &mut R) -> Task {
    let mut new = fresh(service, slot, TaskOrigin::Scale, TaskState::Running, rng);
    let before = service.previous_spec.as_ref().filter(|_| service.canaries().is_some());
    if let Some(before) = before.filter(|before| view.missing(&before.task).is_none()) {
        new.spec = Arc::new(before.task.clone());
        new.spec_version = service.previous_spec_version;
        new.host_ports = host_ports(before);
    }
    new
}

/// A task that takes the place of `old`. While a rolling update has not reached the slot it stays what
/// it was, so that a crash neither jumps the queue nor brings back a version an update stopped at;
/// unless what it was made from is no longer there.
pub(super) fn successor<R: RngCore>(view: &View, service: &Service, slot: SlotKey, old: &Task, rng: &mut R) -> Task {
    let mut new = fresh(service, slot, TaskOrigin::Restart, TaskState::Ready, rng);
    if !is_current(view, service, old) && can_be_made(view, &old.spec) {
        new.spec = Arc::clone(&old.spec);
        new.spec_version = old.spec_version;
        new.host_ports = old.host_ports.clone();
    }
    new
}

/// All it refers to is still there.
pub(super) fn can_be_made(view: &View, spec: &TaskSpec) -> bool {
    spec.networks.iter().all(|network| view.network(network.target).is_some())
        && spec.container.contents().all(|(content, version)| view.has_content(content, version))
}

pub(super) fn create(mut task: Task) -> Change {
    if task.spec.at_most_one.is_some() {
        // Let through when all others are over: see `once`.
        task.desired = task.desired.min(TaskState::Ready);
    }
    Change::Create(Object::Task(Arc::new(task)))
}

pub(super) fn desire(task: &Task, desired: TaskState) -> Change {
    Change::TaskDesired { task: task.id, desired }
}

/// A status written by the leader, for a task no node has or whose node is gone.
pub(super) fn end(task: &Task, state: TaskState, message: &str, err: &str, now: WallTime) -> Change {
    let status =
        TaskStatus { state, timestamp: now, message: message.to_owned(), err: err.to_owned(), ..task.status.clone() };
    Change::TaskStatus { task: task.id, status }
}
