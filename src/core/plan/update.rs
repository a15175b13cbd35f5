//! Rolling updates and rollbacks: slot by slot from what is there to what the service asks for now.
//!
//! Progress is not remembered beside the tasks: which slots are done, on their way or still to come is
//! read from the tasks each time. Only what tasks cannot tell is kept in the service's `UpdateStatus`.

use super::Plan;
use super::canary;
use super::given_up::{ended_for_good, left_behind};
use super::moves;
use super::restart::is_finished;
use super::slots::{Slot, SlotKey};
use super::task::{create, desire, fresh};
use super::version::is_current;
use crate::WallTime;
use crate::model::*;
use crate::scheduler;
use crate::store::{Change, View};
use rand::RngCore;
use std::sync::Arc;
use std::time::Duration;

/// The settings that hold now: the rollback's while going back.
fn config(service: &Service) -> UpdateConfig {
    let config = if is_rollback(service) { &service.spec.rollback } else { &service.spec.update };
    config.clone().unwrap_or_default()
}

fn is_rollback(service: &Service) -> bool {
    service.update_status.as_ref().is_some_and(|status| match status.state {
        UpdateState::RollbackStarted | UpdateState::RollbackPaused => true,
        UpdateState::Updating | UpdateState::Paused | UpdateState::Completed | UpdateState::RollbackCompleted => false,
    })
}

/// The status of the update to the current spec; `None` when none was begun.
fn status(service: &Service) -> Option<&UpdateStatus> {
    service.update_status.as_ref().filter(|status| status.spec_version == service.spec_version)
}

fn is_going_on(state: UpdateState) -> bool {
    match state {
        UpdateState::Updating | UpdateState::RollbackStarted => true,
        UpdateState::Paused | UpdateState::Completed | UpdateState::RollbackPaused | UpdateState::RollbackCompleted => {
            false
        }
    }
}

/// Slots are being replaced: not paused, not over.
pub(super) fn is_under_way(service: &Service) -> bool {
    status(service).is_some_and(|status| is_going_on(status.state))
}

fn is_over(state: UpdateState) -> bool {
    !is_going_on(state) && !is_paused(state)
}

fn reopened(state: UpdateState) -> UpdateState {
    match state {
        UpdateState::RollbackStarted | UpdateState::RollbackPaused | UpdateState::RollbackCompleted => {
            UpdateState::RollbackStarted
        }
        UpdateState::Updating | UpdateState::Paused | UpdateState::Completed => UpdateState::Updating,
    }
}

fn is_paused(state: UpdateState) -> bool {
    match state {
        UpdateState::Paused | UpdateState::RollbackPaused => true,
        UpdateState::Updating
        | UpdateState::Completed
        | UpdateState::RollbackStarted
        | UpdateState::RollbackCompleted => false,
    }
}

/// Counts the failures of tasks an update brought in, and says what follows from them. Canaries are watched for as long
/// as they wait, and the ratio is taken of them.
pub(super) struct Failures {
    status: Option<UpdateStatus>,
    config: UpdateConfig,
    canaries: Option<u64>,
    rollback: Option<Change>,
}

impl Failures {
    pub fn of(service: &Service) -> Self {
        let status = status(service).filter(|status| is_going_on(status.state)).cloned();
        Self { status, config: config(service), canaries: service.canaries(), rollback: None }
    }

    /// Notes that `task` ended by itself. Called once per task: in the same transaction the task stops
    /// being wanted.
    pub fn note(&mut self, view: &View, service: &Service, task: &Task, now: WallTime, changes: &mut Vec<Change>) {
        let Some(status) = self.status.as_mut().filter(|status| is_going_on(status.state)) else { return };
        let ended = task.ended.unwrap_or(now);
        let monitored =
            self.canaries.is_some() || task.up_since.is_none_or(|up| is_within(up, ended, self.config.monitor));
        if task.origin != TaskOrigin::Update || !monitored || !is_current(view, service, task) {
            return;
        }
        status.failures += 1;
        let slots = self.canaries.map_or(status.slots, |canaries| canaries.min(status.slots));
        let ratio = status.failures as f32 / slots.max(1) as f32;
        let rolling_back = status.state == UpdateState::RollbackStarted;
        if ratio > self.config.max_failure_ratio {
            let lacking = service.previous_spec.as_ref().map(|previous| view.missing(&previous.task));
            match (self.config.failure_action, rolling_back, lacking) {
                (FailureAction::Continue, _, _) => {}
                (FailureAction::Rollback, false, Some(None)) => {
                    let message = format!("update rolled back due to failure or early termination of task {}", task.id);
                    let failed_version = service.spec_version;
                    self.rollback = Some(Change::ServiceRollback { service: service.id, failed_version, message });
                }
                (action @ (FailureAction::Pause | FailureAction::Rollback), rolling_back, lacking) => {
                    let what = if rolling_back { "rollback" } else { "update" };
                    status.state = if rolling_back { UpdateState::RollbackPaused } else { UpdateState::Paused };
                    status.message = format!("{what} paused due to failure or early termination of task {}", task.id);
                    let lacking = lacking.flatten().filter(|_| action == FailureAction::Rollback && !rolling_back);
                    if let Some(lacking) = lacking {
                        status.message += &format!("; it can not be rolled back: {lacking} is gone");
                    }
                }
            }
        }
        changes.push(Change::ServiceUpdateStatus { service: service.id, status: status.clone() });
    }

    /// It came to going back to the previous spec.
    pub fn calls_for_rollback(&self) -> bool {
        self.rollback.is_some()
    }

    /// The change that goes back to the previous spec, when it came to that.
    pub fn take_rollback(&mut self) -> Option<Change> {
        self.rollback.take()
    }
}

/// `ended` before `up` is the clock of another leader: nobody can tell, and nothing is held against the update.
fn is_within(up: WallTime, ended: WallTime, monitor: Duration) -> bool {
    ended >= up && ended.since(up) <= monitor
}

/// It was not up yet, or runs and is not ready any more: an update that went on would take its bad version everywhere.
fn is_awaited(task: &Task) -> bool {
    task.up_since.is_none() || task.status.state == TaskState::Running && !task.is_up()
}

/// The update to the current spec made it. A rollback also waits for what fills the slots of the tasks
/// that failed.
fn is_brought_in(service: &Service, task: &Task) -> bool {
    let refills = |status: &UpdateStatus| {
        let since = match status.started_index {
            0 => task.meta.created.wall >= status.started,
            started => task.meta.created.index >= started,
        };
        status.state == UpdateState::RollbackStarted && since
    };
    task.spec_version == service.spec_version
        && match task.origin {
            TaskOrigin::Update => true,
            TaskOrigin::Scale => status(service).is_some_and(refills),
            TaskOrigin::Restart | TaskOrigin::Move => false,
        }
}

/// How far a slot is.
pub(super) struct Progress<'a> {
    key: SlotKey,
    slot: &'a Slot,
    /// Wanted tasks that are what the service asks for.
    current: Vec<&'a Arc<Task>>,
    /// Wanted tasks that are not.
    outdated: Vec<&'a Arc<Task>>,
    /// Has to be replaced and nothing was begun.
    pub is_waiting: bool,
    /// Of a global service, on a node it is no longer wanted on: it is stopped, and nothing follows.
    pub is_leaving: bool,
    /// Brought in by the update and not up yet.
    is_coming_up: bool,
    /// The update's task came up, or ended, then.
    settled: Option<WallTime>,
}

impl<'a> Progress<'a> {
    fn of(view: &View, service: &Service, key: SlotKey, slot: &'a Slot) -> Self {
        let (current, outdated): (Vec<_>, Vec<_>) = slot.wanted().partition(|task| is_current(view, service, task));
        let over_and_outdated =
            is_finished(view, service, slot) && slot.newest().is_some_and(|newest| !is_current(view, service, newest));
        // What it had of the new spec ended for good: the old stays, rather than the new being tried for ever.
        let given_up = ended_for_good(view, service, slot).is_some();
        let brought = slot.tasks.iter().filter(|task| is_brought_in(service, task));
        let is_leaving = match key {
            SlotKey::Number(_) => false,
            SlotKey::Node(id) => view.node(id).is_some_and(|node| !scheduler::fits(&service.spec.task.placement, node)),
        };
        let over_and_outdated = over_and_outdated && !is_leaving;
        Self {
            key,
            slot,
            is_leaving,
            is_waiting: current.is_empty() && !given_up && (!outdated.is_empty() || over_and_outdated),
            is_coming_up: current.iter().any(|task| is_brought_in(service, task) && is_awaited(task)),
            settled: brought.filter_map(|task| task.up_since.or(task.ended)).max(),
            current,
            outdated,
        }
    }

    /// The update has reached it, whatever became of it.
    pub fn is_reached(&self, spec_version: u64) -> bool {
        !self.is_waiting && self.slot.tasks.iter().any(|task| task.spec_version == spec_version)
    }

    /// What it has is new, and up.
    pub fn is_up(&self) -> bool {
        self.outdated.is_empty() && self.current.iter().any(|task| task.is_up())
    }

    fn is_pair(&self) -> bool {
        !self.current.is_empty() && !self.outdated.is_empty()
    }

    /// Counts against the parallelism: on its way, or within the delay after. Says until when.
    fn is_busy(&self, config: &UpdateConfig, now: WallTime, plan: &mut Plan) -> bool {
        if self.is_waiting {
            return false;
        }
        if self.is_pair() || self.is_coming_up {
            return true;
        }
        let free_at = self.settled.map(|settled| settled + config.delay);
        match free_at.filter(|at| *at > now && at.since(now) <= config.delay) {
            Some(at) => {
                plan.wake(at);
                true
            }
            None => false,
        }
    }

    /// Those that lose nothing first, those without a place last, then by slot.
    fn turn(&self) -> (u8, SlotKey) {
        let placed = self.outdated.iter().any(|task| task.status.state >= TaskState::Assigned);
        let up = self.outdated.iter().any(|task| task.is_up());
        match (up, placed || self.outdated.is_empty()) {
            (true, _) => (1, self.key),
            (false, true) => (0, self.key),
            (false, false) => (2, self.key),
        }
    }
}

pub(super) fn update<R: RngCore>(view: &View, service: &Service, now: WallTime, rng: &mut R, plan: &mut Plan) {
    let slots = plan.slots(view, service);
    let reachable = slots.iter().filter(|(key, _)| can_be_updated(view, **key));
    let progress: Vec<Progress> = reachable.map(|(key, slot)| Progress::of(view, service, *key, slot)).collect();
    for pair in &progress {
        finish(view, service, pair, plan);
    }
    let dirty = progress.iter().filter(|slot| slot.is_waiting || slot.is_pair()).count() as u64;
    let status = status(service).cloned();
    if status.as_ref().is_some_and(|status| is_paused(status.state)) {
        return;
    }
    // Of a global service: on nodes that are away.
    let away = slots.iter().filter(|(key, _)| !can_be_updated(view, **key));
    let away: Vec<Progress> = away.map(|(key, slot)| Progress::of(view, service, *key, slot)).collect();
    let held_back = service.canaries().is_some() && away.iter().any(|slot| slot.is_waiting);
    if dirty > 0 || held_back {
        let mut begun = begin(status.as_ref(), service, dirty, now);
        let reach = canary::reach(service, &mut begun, (&progress, &away), |slot| is_lost(view, slot.key), now, plan);
        if status.as_ref() != Some(&begun) {
            plan.add(vec![Change::ServiceUpdateStatus { service: service.id, status: begun }]);
        }
        advance(service, progress, reach, now, rng, plan);
    } else if let Some(status) = status.filter(|status| is_going_on(status.state)) {
        let behind = left_behind(view, service, &slots);
        complete(service, status, &progress, behind, now, plan);
    }
}

/// Nobody can tell how the tasks of a global service are there.
fn is_lost(view: &View, key: SlotKey) -> bool {
    match key {
        SlotKey::Number(_) => false,
        SlotKey::Node(node) => view.node(node).is_none_or(|node| node.status.state != NodeState::Ready),
    }
}

/// Tasks of global services on nodes that are away or take nothing new wait until the node is back.
fn can_be_updated(view: &View, key: SlotKey) -> bool {
    match key {
        SlotKey::Number(_) => true,
        SlotKey::Node(node) => view.node(node).is_some_and(|node| {
            node.status.state == NodeState::Ready && node.spec.availability == Availability::Active
        }),
    }
}

/// Stops the old of a slot once the new is up, and what is twice but for what is about to take over on another node.
fn finish(view: &View, service: &Service, slot: &Progress, plan: &mut Plan) {
    let Some(keep) = slot.current.iter().max_by_key(|task| (task.is_up(), task.meta.created.index, task.id)) else {
        return;
    };
    // What is about to take over is not up: what it takes over from, should it not be up for a while, is all there is.
    let takes_over = keep.origin == TaskOrigin::Move && !keep.is_up();
    let serves = |task: &Task| takes_over && task.status.state == TaskState::Running;
    let twice = slot
        .current
        .iter()
        .filter(|task| task.id != keep.id && !serves(task) && !moves::is_moving(view, service, slot.slot, task));
    let old = slot.outdated.iter().filter(|_| keep.is_up());
    for task in twice.chain(old) {
        plan.add(vec![desire(task, TaskState::Shutdown)]);
    }
}

/// The status as it is, or of an update that begins now, its slots counted.
fn begin(status: Option<&UpdateStatus>, service: &Service, dirty: u64, now: WallTime) -> UpdateStatus {
    match status {
        None => UpdateStatus { slots: dirty, ..UpdateStatus::begun(service.spec_version, now) },
        Some(status) if is_going_on(status.state) && status.slots == 0 => {
            UpdateStatus { slots: dirty, ..status.clone() }
        }
        // There is more to replace than there seemed to be: a node is back, or is no longer one its task may be on.
        Some(status) if is_over(status.state) => UpdateStatus {
            state: reopened(status.state),
            completed: None,
            message: "update in progress again".to_owned(),
            slots: dirty,
            failures: 0,
            promoted: true,
            ..status.clone()
        },
        Some(status) => status.clone(),
    }
}

/// Replaces as many slots as may be under way at once, and at most `reach`.
fn advance<R: RngCore>(
    service: &Service,
    mut progress: Vec<Progress>,
    reach: u64,
    now: WallTime,
    rng: &mut R,
    plan: &mut Plan,
) {
    let config = config(service);
    let busy = progress.iter().filter(|slot| slot.is_busy(&config, now, plan)).count() as u64;
    let budget = match config.parallelism {
        0 => reach,
        parallelism => parallelism.saturating_sub(busy).min(reach),
    };
    // What a canary excludes is left alone until it is promoted.
    let held = service.canaries().is_some();
    progress.retain(|slot| slot.is_waiting && !(slot.is_leaving && held));
    progress.sort_by_key(Progress::turn);
    for slot in progress.into_iter().take(usize::try_from(budget).unwrap_or(usize::MAX)) {
        if plan.is_full() {
            return;
        }
        // There is nothing to keep up while the new one starts unless the old one is up.
        let once =
            service.spec.task.at_most_one.is_some() || slot.outdated.iter().any(|t| t.spec.at_most_one.is_some());
        let start_first = config.order == UpdateOrder::StartFirst
            && !once
            && !slot.is_leaving
            && slot.outdated.iter().any(|task| task.is_up());
        // Of an update that was overtaken two may be there: one is kept up.
        let keep = slot.outdated.iter().rev().find(|task| start_first && task.is_up()).map(|task| task.id);
        let stopped = slot.slot.wanted().filter(|task| Some(task.id) != keep);
        let mut changes: Vec<Change> = stopped.map(|task| desire(task, TaskState::Shutdown)).collect();
        if !slot.is_leaving {
            let desired = if start_first { TaskState::Running } else { TaskState::Ready };
            changes.push(create(fresh(service, slot.key, TaskOrigin::Update, desired, rng)));
        }
        plan.add(changes);
    }
}

/// The update is complete when everything it brought in has been watched for the monitor time. What stays `behind`, of
/// failures it was told to go on in spite of, is said.
fn complete(
    service: &Service,
    status: UpdateStatus,
    progress: &[Progress],
    behind: Option<String>,
    now: WallTime,
    plan: &mut Plan,
) {
    if progress.iter().any(|slot| slot.is_coming_up) {
        return;
    }
    let config = config(service);
    let last = progress.iter().filter_map(|slot| slot.settled).max();
    let watched_until = last.map_or(now, |last| last + config.monitor);
    if watched_until > now && watched_until.since(now) <= config.monitor {
        plan.wake(watched_until);
        return;
    }
    let (state, message) = match status.state == UpdateState::RollbackStarted {
        true => (UpdateState::RollbackCompleted, "rollback completed"),
        false => (UpdateState::Completed, "update completed"),
    };
    let message = behind.map_or(message.to_owned(), |behind| format!("{message}; {behind}"));
    let status = UpdateStatus { state, message, completed: Some(now), ..status };
    plan.add(vec![Change::ServiceUpdateStatus { service: service.id, status }]);
}
