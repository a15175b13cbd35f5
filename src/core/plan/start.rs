//! Tasks that wait prepared: for their restart delay, or for the task before them to stop.

use super::Plan;
use super::restart::policy;
use super::slots::{Slot, slots};
use super::task::desire;
use crate::WallTime;
use crate::model::{NodeState, Service, Task, TaskState};
use crate::store::View;
use std::time::Duration;

/// Beyond its grace period a task gets this long to stop before its successor starts anyway: a node that
/// cannot kill a process for a minute is broken, not slow.
const STOP_SLACK: Duration = Duration::from_secs(60);

pub(super) fn start(view: &View, service: &Service, now: WallTime, plan: &mut Plan) {
    for slot in slots(view, service).into_values() {
        for task in slot.wanted().filter(|task| task.desired < TaskState::Running) {
            let due = starts_at(view, service, &slot, task, now);
            if due > now {
                plan.wake(due);
            } else if !plan.is_full() {
                plan.add(vec![desire(task, TaskState::Running)]);
            }
        }
    }
}

/// When it may start at the latest, as things stand.
fn starts_at(view: &View, service: &Service, slot: &Slot, task: &Task, now: WallTime) -> WallTime {
    let delay = policy(view, service, task).delay;
    // A delay longer than the policy's comes from a clock that was set back.
    let after_delay = task.start_after.filter(|due| due.since(now) <= delay).unwrap_or(now);
    let stopping = slot.tasks.iter().filter(|other| other.id != task.id && is_stopping(view, other));
    let after_stops = stopping.map(|other| {
        let patience = other.spec.container.stop_grace() + STOP_SLACK;
        let until = task.meta.created.wall + patience;
        if until.since(now) <= patience { until } else { now }
    });
    after_stops.chain([after_delay]).max().unwrap_or(now)
}

/// It was told to stop and a node that answers still has it.
fn is_stopping(view: &View, task: &Task) -> bool {
    let node = task.node.and_then(|node| view.node(node));
    !task.is_wanted()
        && task.status.state >= TaskState::Assigned
        && !task.status.state.is_terminal()
        && node.is_some_and(|node| node.status.state != NodeState::Down)
}
