//! Tasks that ended or lost their node, and what takes their place.

use super::Plan;
use super::backoff;
use super::job;
use super::moves;
use super::once;
use super::slots::{Ground, Slot, SlotKey};
use super::task::{can_be_made, create, desire, end, successor};
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
        RestartCondition::Any => task.job_iteration.is_none() || task.status.state != TaskState::Complete,
    };
    if !wanted || policy.max_attempts == 0 {
        return wanted;
    }
    if policy.window.is_zero() {
        return task.restarts.total < policy.max_attempts;
    }
    let ended = task.ended.unwrap_or(task.meta.updated.wall);
    let lately = task.restarts.attempts.iter().filter(|at| ended.since(**at) < policy.window).count();
    lately < attempts_kept(policy)
}

/// How many attempts have to be known to tell whether there may be another one. Without a window their number is all
/// that counts, without a limit nothing does.
fn attempts_kept(policy: &RestartPolicy) -> usize {
    match policy.window.is_zero() {
        true => 0,
        false => usize::try_from(policy.max_attempts).unwrap_or(usize::MAX).min(WINDOW_ATTEMPTS_MAX),
    }
}

/// The slot had its run: nothing is wanted any more and nothing follows. A rollback runs again what ended
/// before it, so that it always comes to what it goes back to.
pub(super) fn is_finished(view: &View, service: &Service, slot: &Slot) -> bool {
    let Some(newest) = slot.newest().filter(|_| !slot.has_wanted()) else {
        return false;
    };
    if job::is_done(slot) {
        return true;
    }
    let rollback = service.update_status.as_ref().filter(|status| status.state == UpdateState::RollbackStarted);
    let before_rollback = rollback.is_some_and(|status| ended_before(newest, status));
    !before_rollback && !may_restart(policy(view, service, newest), newest)
}

/// By their places in the log: two leaders' clocks tell nothing of what came first.
fn ended_before(task: &Task, status: &UpdateStatus) -> bool {
    match (task.ended, task.ended_index, status.started_index) {
        (None, _, _) => true,
        // Stored before their places were kept.
        (Some(ended), 0, _) | (Some(ended), _, 0) => ended < status.started,
        (Some(_), ended, started) => ended < started,
    }
}

/// What a task stands on.
pub(super) fn ground(view: &View, service: &Service, task: &Task) -> Ground {
    let Some(id) = task.node else { return Ground::Firm };
    let Some(node) = view.node(id) else { return Ground::Gone };
    match (node.status.state, must_leave(view, service, task, node)) {
        (NodeState::Down, _) => Ground::Down,
        (NodeState::Unknown | NodeState::Ready | NodeState::Disconnected, true) => Ground::Leaving,
        (NodeState::Unknown | NodeState::Ready | NodeState::Disconnected, false) => Ground::Firm,
    }
}

/// The node is being emptied, or no longer one the task may be on.
fn must_leave(view: &View, service: &Service, task: &Task, node: &Node) -> bool {
    let placement = match is_current(view, service, task) {
        true => &service.spec.task.placement,
        false => &task.spec.placement,
    };
    node.spec.availability == Availability::Drain || !scheduler::fits(placement, node)
}

/// Why a task is lost to its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    Ended,
    Node(Ground),
}

pub(super) fn restart<R: RngCore>(view: &View, service: &Service, now: WallTime, rng: &mut R, plan: &mut Plan) {
    let mut failures = Failures::of(service);
    for (key, slot) in plan.slots(view, service).iter() {
        if plan.is_full() {
            return;
        }
        restart_slot(view, service, *key, slot, now, rng, &mut failures, plan);
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
    if job::is_done(slot) {
        plan.add(job::settle(slot));
        return;
    }
    let mut lost: Vec<(Arc<Task>, Loss)> = Vec::new();
    let mut left: Vec<Arc<Task>> = Vec::new();
    for task in slot.wanted() {
        let loss = loss(view, service, key, task);
        match (loss, loss.and_then(|loss| retry_due(view, service, task, loss, now))) {
            (Some(_), Some(due)) => {
                plan.wake(due);
                left.push(Arc::clone(task));
            }
            (Some(loss), None) => lost.push((Arc::clone(task), loss)),
            (None, _) => left.push(Arc::clone(task)),
        }
    }
    if lost.is_empty() {
        return;
    }
    let mut changes = Vec::new();
    for (task, loss) in &lost {
        if *loss == Loss::Node(Ground::Gone) && !task.status.state.is_terminal() && !once::outlives_its_node(task) {
            changes.push(end(task, TaskState::Orphaned, "orphaned", "its node was removed", now));
        }
        changes.push(desire(task, TaskState::Shutdown));
        if *loss == Loss::Ended {
            failures.note(view, service, task, now, &mut changes);
        }
    }
    // What follows a failure that rolls the service back is made from the spec it goes back to.
    if !failures.calls_for_rollback() {
        for (task, loss) in to_replace(view, service, &lost, &left) {
            changes.extend(next(view, service, key, &task, loss, now, rng).map(create));
        }
        for (mover, _) in lost.iter().filter(|(_, loss)| *loss == Loss::Ended) {
            if moves::is_to_be_retried(view, service, slot, mover) {
                let again = again(view, service, key, mover, now, rng);
                changes.push(create(Task { origin: TaskOrigin::Move, ..again }));
            }
        }
    }
    plan.add(changes);
}

/// Of what was lost, what needs a successor. While an update starts first a slot has a task that is
/// outdated and one that is not: each is kept up for itself, until the new one is up.
fn to_replace(
    view: &View,
    service: &Service,
    lost: &[(Arc<Task>, Loss)],
    left: &[Arc<Task>],
) -> Vec<(Arc<Task>, Loss)> {
    let current = |task: &Arc<Task>| is_current(view, service, task);
    let newest_lost = |wanted: bool| lost.iter().rev().find(|(task, _)| current(task) == wanted).cloned();
    let lost_current = newest_lost(true).filter(|_| !left.iter().any(current));
    let kept = |task: &Arc<Task>| !current(task) || task.is_up();
    let lost_outdated = newest_lost(false).filter(|_| !left.iter().any(kept));
    // What can not be made again would become a second one that is not outdated.
    let has_current = lost_current.is_some() || left.iter().any(current);
    let lost_outdated = lost_outdated.filter(|(task, _)| !has_current || can_be_made(view, &task.spec));
    lost_current.into_iter().chain(lost_outdated).collect()
}

fn loss(view: &View, service: &Service, key: SlotKey, task: &Task) -> Option<Loss> {
    if task.status.state.is_terminal() {
        return Some(Loss::Ended);
    }
    match (ground(view, service, task), key) {
        (Ground::Firm, _) => None,
        (Ground::Leaving, SlotKey::Number(_)) if moves::stays_until_moved(view, service, task) => None,
        // The task of a global service belongs to its node: it goes on there when the node comes back.
        (Ground::Down, SlotKey::Node(id)) => {
            let node = view.node(id).filter(|node| must_leave(view, service, task, node));
            node.map(|_| Loss::Node(Ground::Leaving))
        }
        (ground @ (Ground::Down | Ground::Leaving | Ground::Gone), _) => Some(Loss::Node(ground)),
    }
}

/// A task that could not even be prepared while it waited for its restart delay is retried only when
/// that delay is over: not in a tight loop.
fn retry_due(view: &View, service: &Service, task: &Task, loss: Loss, now: WallTime) -> Option<WallTime> {
    let waits = loss == Loss::Ended && task.desired == TaskState::Ready;
    let longest = backoff::longest(policy(view, service, task));
    // A delay longer than the policy's comes from a clock that was set back.
    task.start_after.filter(|due| waits && *due > now && due.since(now) <= longest)
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
            Some(again(view, service, key, old, now, rng))
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
            // What an update was bringing in is still being brought in, by that update and no later one.
            if old.up_since.is_none() && old.spec_version == new.spec_version {
                new.origin = old.origin;
            }
            if ground != Ground::Leaving && new.start_after.is_none() {
                new.desired = TaskState::Running;
            }
            Some(new)
        }
    }
}

/// What follows a task that ended, after its delay.
fn again<R: RngCore>(view: &View, service: &Service, key: SlotKey, old: &Task, now: WallTime, rng: &mut R) -> Task {
    let policy = policy(view, service, old);
    let mut new = successor(view, service, key, old, rng);
    new.restarts = history(policy, old, new.spec_version, now);
    new.start_after = Some(now + backoff::delay(policy, new.restarts.in_a_row));
    new
}

/// The history a successor carries; a new version starts from nothing.
fn history(policy: &RestartPolicy, old: &Task, version: u64, now: WallTime) -> RestartHistory {
    let mut history = if old.spec_version == version { old.restarts.clone() } else { RestartHistory::default() };
    history.total += 1;
    history.in_a_row = match backoff::is_over(policy, old) {
        true => 1,
        false => history.in_a_row + 1,
    };
    history.attempts.push(now);
    history.attempts.retain(|at| now.since(*at) < policy.window);
    let excess = history.attempts.len().saturating_sub(attempts_kept(policy));
    history.attempts.drain(..excess);
    history
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ServiceId, TaskId};
    use std::time::Duration;

    /// A slot whose task failed so many times, one second apart.
    fn crash_loop(policy: &RestartPolicy, times: i64) -> Task {
        let mut task = Task::new(TaskId(1), ServiceId(1), 1, Arc::default());
        for second in 1..=times {
            task.ended = Some(WallTime(second * 1000));
            task.status.state = TaskState::Failed;
            task.restarts = history(policy, &task, task.spec_version, WallTime(second * 1000));
        }
        task
    }

    fn policy(max_attempts: u64, window_s: u64) -> RestartPolicy {
        RestartPolicy { max_attempts, window: Duration::from_secs(window_s), ..RestartPolicy::default() }
    }

    #[test]
    fn a_crash_loop_carries_the_times_of_its_restarts_only_where_a_window_and_a_limit_ask_for_them() {
        for (policy, carried) in [
            (policy(u64::MAX, 0), 0),
            (policy(5000, 0), 0),
            (policy(0, 100_000), 0),
            (policy(7, 100_000), 7),
            (policy(100, 10), 10),
            (policy(u64::MAX, 100_000), WINDOW_ATTEMPTS_MAX),
        ] {
            let task = crash_loop(&policy, 3000);
            assert_eq!(task.restarts.total, 3000);
            assert_eq!(task.restarts.attempts.len(), carried, "{policy:?}");
        }
    }

    #[test]
    fn a_limit_above_what_is_counted_within_a_window_is_kept_to_as_far_as_it_is_counted() {
        let policy = policy(u64::MAX, 100_000);
        assert!(may_restart(&policy, &crash_loop(&policy, 999)));
        assert!(!may_restart(&policy, &crash_loop(&policy, 1000)));
    }
}
