//! Tasks that wait prepared: for their restart delay, for the task before them to stop, or for the last iteration of
//! their job.

use super::Plan;
use super::restart::policy;
use super::slots::Slot;
use super::task::desire;
use super::{backoff, job, once};
use crate::WallTime;
use crate::model::{NodeState, Service, Task, TaskState};
use crate::store::View;
use std::sync::Arc;

/// What a prepared task waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    /// The delay of its restart policy.
    Delay,
    /// This task of its slot, which was told to stop.
    Stopping(Arc<Task>),
}

pub(super) fn start(view: &View, service: &Service, now: WallTime, plan: &mut Plan) {
    for slot in plan.slots(view, service).values() {
        for task in slot.wanted().filter(|task| task.desired < TaskState::Running) {
            if once::not_over(view, service, task).is_some() {
                // What it waits for will be a change.
            } else if let Some((until, _)) = hold(view, service, slot, task, now) {
                plan.wake(until);
            } else if !plan.is_full() {
                plan.add(vec![desire(task, TaskState::Running)]);
            }
        }
    }
}

/// What keeps it from starting longest, and until when at the latest; `None` when it may start.
pub(super) fn hold(
    view: &View,
    service: &Service,
    slot: &Slot,
    task: &Task,
    now: WallTime,
) -> Option<(WallTime, Hold)> {
    let longest = backoff::longest(policy(view, service, task));
    // A delay longer than the policy's comes from a clock that was set back.
    let due = task.start_after.filter(|due| due.since(now) <= longest);
    let before = slot.tasks.iter().filter(|other| other.id != task.id && is_stopping(view, other));
    let stopping = before.chain(job::in_the_way(view, service));
    let stops = stopping.map(|other| {
        let patience = other.spec.container.stop_patience();
        // Later only by the clock of another leader, or one that was set back: what stops is waited for all the same.
        let until = (task.meta.created.wall + patience).min(now + patience);
        (until, Hold::Stopping(Arc::clone(other)))
    });
    stops.chain(due.map(|due| (due, Hold::Delay))).filter(|(until, _)| *until > now).max_by_key(|(until, _)| *until)
}

/// It was told to stop and a node that answers still has it.
pub(super) fn is_stopping(view: &View, task: &Task) -> bool {
    let node = task.node.and_then(|node| view.node(node));
    !task.is_wanted()
        && task.status.state >= TaskState::Assigned
        && !task.status.state.is_terminal()
        && node.is_some_and(|node| node.status.state != NodeState::Down)
}
