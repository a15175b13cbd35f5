//! Tasks that ended or lost their node, and what takes their place.

use super::Plan;
use super::slots::{Ground, Slot, SlotKey, slots};
use super::task::{create, desire, end, successor};
use super::update::Failures;
use super::version::is_current;
use crate::WallTime;
use crate::model::*;
use crate::scheduler;
use crate::store::View;
use rand::RngCore;
use std::sync::Arc;

/// The policy for a task: the service's, unless the task is still what an earlier spec asked for.
pub(super) fn policy<'a>(view: &View, service: &'a Service, task: &'a Task) -> &'a RestartPolicy {
    if is_current(view, service, task) { &service.spec.task.restart } else { &task.spec.restart }
}

/// Whether a task that ended is to be followed by another. Attempts count up to when it ended, so the
/// answer does not change later.
pub(super) fn may_restart(policy: &RestartPolicy, task: &Task) -> bool {
    let wanted = match policy.condition {
        RestartCondition::None => false,
        RestartCondition::OnFailure => task.status.state != TaskState::Complete,
        RestartCondition::Any => true,
    };
    if !wanted || policy.max_attempts == 0 {
        return wanted;
    }
    if policy.window.is_zero() {
        return task.restarts.total < policy.max_attempts;
    }
    let ended = task.ended.unwrap_or(task.meta.updated.wall);
    let lately = task.restarts.attempts.iter().filter(|at| ended.since(**at) < policy.window).count();
    u64::try_from(lately).unwrap_or(u64::MAX) < policy.max_attempts
}

/// The slot had its run: nothing is wanted any more and nothing follows. A rollback runs again what ended
/// before it, so that it always comes to what it goes back to.
pub(super) fn is_finished(view: &View, service: &Service, slot: &Slot) -> bool {
    let Some(newest) = slot.newest().filter(|_| !slot.has_wanted()) else {
        return false;
    };
    let rollback = service.update_status.as_ref().filter(|status| status.state == UpdateState::RollbackStarted);
    let before_rollback = rollback.is_some_and(|status| newest.ended.is_none_or(|ended| ended < status.started));
    !before_rollback && !may_restart(policy(view, service, newest), newest)
}

/// What a task stands on.
pub(super) fn ground(view: &View, service: &Service, task: &Task) -> Ground {
    let Some(id) = task.node else { return Ground::Firm };
    let Some(node) = view.node(id) else { return Ground::Gone };
    if node.status.state == NodeState::Down {
        return Ground::Down;
    }
    let placement = match is_current(view, service, task) {
        true => &service.spec.task.placement,
        false => &task.spec.placement,
    };
    match node.spec.availability {
        Availability::Drain => Ground::Leaving,
        Availability::Active | Availability::Pause if scheduler::fits(placement, node) => Ground::Firm,
        Availability::Active | Availability::Pause => Ground::Leaving,
    }
}

/// Why a task is lost to its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    Ended,
    Node(Ground),
}

pub(super) fn restart<R: RngCore>(view: &View, service: &Service, now: WallTime, rng: &mut R, plan: &mut Plan) {
    let mut failures = Failures::of(service);
    for (key, slot) in slots(view, service) {
        if plan.is_full() {
            return;
        }
        restart_slot(view, service, key, &slot, now, rng, &mut failures, plan);
        if let Some(rollback) = failures.take_rollback() {
            plan.add(vec![rollback]);
            return;
        }
    }
}

#[allow(clippy::too_many_arguments, reason = "one step of the loop above")]
fn restart_slot<R: RngCore>(
    view: &View,
    service: &Service,
    key: SlotKey,
    slot: &Slot,
    now: WallTime,
    rng: &mut R,
    failures: &mut Failures,
    plan: &mut Plan,
) {
    let mut lost: Vec<(Arc<Task>, Loss)> = Vec::new();
    let mut survivors: Vec<Arc<Task>> = Vec::new();
    for task in slot.wanted() {
        match loss(view, service, key, task) {
            Some(loss) => lost.push((Arc::clone(task), loss)),
            None => survivors.push(Arc::clone(task)),
        }
    }
    let Some((newest, loss)) = lost.last().cloned() else { return };
    if let Some(due) = retry_due(view, service, &newest, loss, now) {
        plan.wake(due);
        return;
    }
    let mut changes = Vec::new();
    for (task, loss) in &lost {
        if *loss == Loss::Node(Ground::Gone) && !task.status.state.is_terminal() {
            changes.push(end(task, TaskState::Orphaned, "orphaned", "its node was removed", now));
        }
        changes.push(desire(task, TaskState::Shutdown));
        if *loss == Loss::Ended {
            failures.note(view, service, task, now, &mut changes);
        }
    }
    if failures.calls_for_rollback() {
        // What comes next in this slot is made from the spec the service goes back to.
        plan.add(changes);
        return;
    }
    // A newer version on its way makes a successor of an older one pointless.
    let needed = survivors.is_empty()
        || is_current(view, service, &newest) && !survivors.iter().any(|task| is_current(view, service, task));
    if needed && let Some(next) = next(view, service, key, &newest, loss, now, rng) {
        changes.push(create(next));
    }
    plan.add(changes);
}

fn loss(view: &View, service: &Service, key: SlotKey, task: &Task) -> Option<Loss> {
    if task.status.state.is_terminal() {
        return Some(Loss::Ended);
    }
    match (ground(view, service, task), key) {
        (Ground::Firm, _) => None,
        // The task of a global service belongs to its node: it goes on there when the node comes back.
        (Ground::Down, SlotKey::Node(_)) => None,
        (ground @ (Ground::Down | Ground::Leaving | Ground::Gone), _) => Some(Loss::Node(ground)),
    }
}

/// A task that could not even be prepared while it waited for its restart delay is retried only when
/// that delay is over: not in a tight loop.
fn retry_due(view: &View, service: &Service, task: &Task, loss: Loss, now: WallTime) -> Option<WallTime> {
    let waits = loss == Loss::Ended && task.desired == TaskState::Ready;
    let delay = policy(view, service, task).delay;
    // A delay longer than the policy's comes from a clock that was set back.
    task.start_after.filter(|due| waits && *due > now && due.since(now) <= delay)
}

/// What takes the place of `old`, if anything does.
fn next<R: RngCore>(
    view: &View,
    service: &Service,
    key: SlotKey,
    old: &Task,
    loss: Loss,
    now: WallTime,
    rng: &mut R,
) -> Option<Task> {
    let policy = policy(view, service, old);
    match loss {
        Loss::Ended => {
            let belongs = matches!(key, SlotKey::Number(_)) || ground(view, service, old) == Ground::Firm;
            if !belongs || !may_restart(policy, old) {
                return None;
            }
            let mut new = successor(view, service, key, old, rng);
            new.start_after = Some(now + policy.delay);
            new.restarts = history(policy, old, new.spec_version, now);
            Some(new)
        }
        Loss::Node(ground) => {
            // Global services have no other node for it; what must not run twice does not.
            let started = old.status.state >= TaskState::Starting;
            if matches!(key, SlotKey::Node(_)) || policy.condition == RestartCondition::None && started {
                return None;
            }
            let mut new = successor(view, service, key, old, rng);
            new.restarts = old.restarts.clone();
            new.start_after = old.start_after.filter(|_| old.desired == TaskState::Ready);
            // What an update was bringing in is still being brought in.
            if old.up_since.is_none() {
                new.origin = old.origin;
            }
            if ground != Ground::Leaving && new.start_after.is_none() {
                new.desired = TaskState::Running;
            }
            Some(new)
        }
    }
}

/// The history a successor carries; a new version starts from nothing.
fn history(policy: &RestartPolicy, old: &Task, version: u64, now: WallTime) -> RestartHistory {
    let mut history = if old.spec_version == version { old.restarts.clone() } else { RestartHistory::default() };
    history.total += 1;
    history.attempts.push(now);
    if !policy.window.is_zero() {
        history.attempts.retain(|at| now.since(*at) < policy.window);
    }
    let keep = usize::try_from(policy.max_attempts.max(1)).unwrap_or(usize::MAX);
    let excess = history.attempts.len().saturating_sub(keep);
    history.attempts.drain(..excess);
    history
}
