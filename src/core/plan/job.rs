//! Jobs: each slot runs until it has completed, once per iteration; a global job has a slot on every node that fits.
//!
//! What was done is read from the tasks: a slot with a complete task of the present iteration is never run again,
//! which is why such a task outlives every history limit. What belongs to an earlier iteration goes.

use super::Plan;
use super::global::wants_task;
use super::replicated::candidate;
use super::restart::is_finished;
use super::slots::{Slot, SlotKey, slots};
use super::start::is_stopping;
use super::task::{create, desire, fresh};
use crate::model::{Service, Task, TaskOrigin, TaskState};
use crate::scheduler::{Candidate, rank_for_removal};
use crate::store::{Change, View};
use rand::RngCore;
use std::sync::Arc;

pub(super) fn is_job(service: &Service) -> bool {
    service.spec.mode.is_job()
}

/// The iteration its tasks belong to; `None` when it is no job.
pub(super) fn iteration(service: &Service) -> Option<u64> {
    is_job(service).then(|| service.job.map_or(0, |job| job.iteration))
}

/// The slot has completed in this iteration.
pub(super) fn is_done(slot: &Slot) -> bool {
    slot.tasks.iter().any(|task| is_complete(task))
}

pub(super) fn is_complete(task: &Task) -> bool {
    task.job_iteration.is_some() && task.status.state == TaskState::Complete
}

/// Tasks of earlier iterations, those on their way out included. Costs nothing for what is no job.
fn outlived<'a>(view: &'a View, service: &Service) -> impl Iterator<Item = &'a Arc<Task>> {
    let (id, iteration) = (service.id, iteration(service));
    let tasks = iteration.into_iter().flat_map(move |_| view.tasks_of_service(id));
    tasks.filter(move |task| task.job_iteration != iteration)
}

/// Those of them that may still run: a job does not meet itself.
pub(super) fn in_the_way<'a>(view: &'a View, service: &Service) -> impl Iterator<Item = &'a Arc<Task>> {
    let at_work = |task: &Task| task.is_wanted() && task.status.state >= TaskState::Assigned;
    outlived(view, service)
        .filter(move |task| !task.status.state.is_terminal() && (at_work(task) || is_stopping(view, task)))
}

/// Takes away what earlier iterations left.
pub(super) fn retire(view: &View, service: &Service, plan: &mut Plan) {
    for task in outlived(view, service).filter(|task| task.desired < TaskState::Remove) {
        if plan.is_full() {
            return;
        }
        plan.add(vec![desire(task, TaskState::Remove)]);
    }
}

/// A slot that is done wants nothing more: one that took over from a node that was thought lost stops.
pub(super) fn settle(slot: &Slot) -> Vec<Change> {
    let over = |task: &Task| if is_complete(task) { TaskState::Complete } else { TaskState::Shutdown };
    slot.wanted().map(|task| desire(task, over(task))).collect()
}

/// Desired state of tasks made now.
fn first_state(view: &View, service: &Service) -> TaskState {
    if in_the_way(view, service).next().is_some() { TaskState::Ready } else { TaskState::Running }
}

/// As many slots at work as may be at once, until as many are done as asked for. A slot that was given up is not
/// made up for by another.
pub(super) fn scale_replicated<R: RngCore>(
    view: &View,
    service: &Service,
    max_concurrent: u64,
    total_completions: u64,
    rng: &mut R,
    plan: &mut Plan,
) {
    let mut slots = slots(view, service);
    slots.retain(|_, slot| is_done(slot) || slot.has_wanted() || is_finished(view, service, slot));
    let done = slots.values().filter(|slot| is_done(slot)).count() as u64;
    let at_work = slots.values().filter(|slot| !is_done(slot) && slot.has_wanted()).count() as u64;
    let missing = total_completions.saturating_sub(slots.len() as u64);
    let room = usize::try_from(missing.min(max_concurrent.saturating_sub(at_work))).unwrap_or(usize::MAX);
    let desired = first_state(view, service);
    let free = (1..).map(SlotKey::Number).filter(|key| !slots.contains_key(key));
    for key in free.take(room) {
        if plan.is_full() {
            return;
        }
        plan.add(vec![create(fresh(service, key, TaskOrigin::Scale, desired, rng))]);
    }
    // Fewer completions are asked for than are on their way. Fewer at once stops nothing: what was begun ends.
    let excess = at_work.saturating_sub(total_completions.saturating_sub(done));
    let candidates: Vec<Candidate> =
        slots.iter().filter(|(_, slot)| !is_done(slot)).filter_map(|(key, slot)| candidate(*key, slot)).collect();
    let going = rank_for_removal(&candidates).into_iter().take(usize::try_from(excess).unwrap_or(usize::MAX));
    for slot in going.filter_map(|number| slots.get(&SlotKey::Number(number))) {
        if plan.is_full() {
            return;
        }
        plan.add(slot.tasks.iter().map(|task| desire(task, TaskState::Remove)).collect());
    }
}

/// Once on every node that fits, also on one that joins later.
pub(super) fn scale_global<R: RngCore>(view: &View, service: &Service, rng: &mut R, plan: &mut Plan) {
    let slots = plan.slots(view, service);
    let desired = first_state(view, service);
    for node in view.nodes().filter(|node| wants_task(service, node)) {
        if plan.is_full() {
            return;
        }
        let key = SlotKey::Node(node.id);
        let begun = slots.get(&key).is_some_and(|slot| slot.has_wanted() || is_finished(view, service, slot));
        if !begun {
            let stopping = slots.get(&key).is_some_and(|slot| slot.is_stopping(view));
            let desired = if stopping { TaskState::Ready } else { desired };
            plan.add(vec![create(fresh(service, key, TaskOrigin::Scale, desired, rng))]);
        }
    }
    super::global::forget_gone_nodes(view, &slots, plan);
}
