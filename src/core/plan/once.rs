//! Services that are to run once at most: their next task starts when all others are over for certain.
//!
//! Every task is made to wait prepared, and `start` lets one through. What is on a lost node is over when its lease has
//! passed: that is for dispatch to say, which measures it; no clock of the plan is asked.

use crate::model::{NodeState, Service, Task, TaskState};
use crate::store::View;
use std::sync::Arc;

/// What may run still, or was let through before, of a service whose `task` is to run once at most.
pub(super) fn not_over<'a>(view: &'a View, service: &Service, task: &Task) -> Option<&'a Arc<Task>> {
    task.spec.at_most_one?;
    let age = |task: &Task| (task.meta.created.index, task.id);
    view.tasks_of_service(service.id).find(|other| {
        let comes_before = match (other.is_wanted(), other.desired) {
            (true, TaskState::Running) => true,
            (true, _) => age(other) < age(task),
            (false, _) => other.status.state >= TaskState::Assigned && !is_out_of_reach(view, other),
        };
        other.id != task.id && !other.status.state.is_terminal() && comes_before
    })
}

/// Nothing is to be learned of it any more, and it has no lease that could pass: it is not waited for.
fn is_out_of_reach(view: &View, task: &Task) -> bool {
    let node = task.node.and_then(|id| view.node(id));
    task.spec.at_most_one.is_none() && node.is_none_or(|node| node.status.state == NodeState::Down)
}

/// The leader may not call it over just because its node is lost: it may run there until its lease has passed.
pub(super) fn outlives_its_node(task: &Task) -> bool {
    crate::lease::task_over_after(task).is_some() && task.status.state >= TaskState::Assigned
}
