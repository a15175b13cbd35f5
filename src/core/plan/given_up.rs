//! Slots in which nothing is tried any more, in words: what a person looks for who sees fewer tasks than were asked for,
//! or older ones.

use super::global::wants_task;
use super::job::{is_done, is_job};
use super::restart::{is_finished, may_restart, policy};
use super::slots::{Slot, SlotKey, slots};
use super::update::is_under_way;
use super::version::is_current;
use crate::model::{RestartCondition, RestartPolicy, Service, ServiceMode, Task, TaskState};
use crate::store::View;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The last task of the slot, where it is what the service asks for now and ended for good.
pub(super) fn ended_for_good<'a>(view: &View, service: &Service, slot: &'a Slot) -> Option<&'a Arc<Task>> {
    slot.newest().filter(|newest| {
        !newest.is_wanted() && is_current(view, service, newest) && !may_restart(policy(view, service, newest), newest)
    })
}

/// It keeps an older task up: of the new spec none stayed up.
pub(super) fn stays_behind<'a>(view: &View, service: &Service, slot: &'a Slot) -> Option<&'a Arc<Task>> {
    let is_old = slot.has_wanted() && slot.wanted().all(|task| !is_current(view, service, task));
    ended_for_good(view, service, slot).filter(|_| is_old)
}

/// Slots whose tasks are of the version before, though the update is over.
pub(super) fn left_behind(view: &View, service: &Service, slots: &BTreeMap<SlotKey, Slot>) -> Option<String> {
    let ended: Vec<&Arc<Task>> = slots.values().filter_map(|slot| stays_behind(view, service, slot)).collect();
    let (behind, stay) = (ended.len(), if ended.len() == 1 { "stays" } else { "stay" });
    let why = why(view, service, &ended);
    (behind > 0).then(|| format!("{behind} of {} slots {stay} at the version before: {why}", slots.len()))
}

/// Slots in which nothing runs and nothing will.
pub(super) fn given_up(view: &View, service: &Service) -> Option<String> {
    let slots = slots(view, service);
    let expected = match service.spec.mode {
        ServiceMode::Replicated { .. } => service.wanted_replicas().unwrap_or(0),
        ServiceMode::ReplicatedJob { total_completions, .. } => total_completions,
        ServiceMode::Global | ServiceMode::GlobalJob => slots.len() as u64,
    };
    let belongs = |key: SlotKey| match key {
        SlotKey::Number(_) => true,
        SlotKey::Node(id) => view.node(id).is_some_and(|node| wants_task(service, node)),
    };
    let over = slots.iter().filter(|(key, slot)| belongs(**key) && is_finished(view, service, slot) && !is_done(slot));
    let ended = over.filter_map(|(_, slot)| slot.newest());
    // An update replaces what it has not come to.
    let ended = ended.filter(|task| !is_under_way(service) || is_current(view, service, task));
    let ended: Vec<&Arc<Task>> = ended.collect();
    if ended.is_empty() {
        return None;
    }
    let what = if is_job(service) { "runs" } else { "slots" };
    let are = if ended.len() == 1 { "is" } else { "are" };
    let how = match ended.iter().all(|task| task.status.state == TaskState::Complete) {
        true => "over",
        false => "given up",
    };
    let (count, why, name) = (ended.len(), why(view, service, &ended), &service.spec.name);
    Some(format!(
        "{count} of {expected} {what} {are} {how}: {why}; run \"swarm service update --force {name}\" to start again"
    ))
}

/// Why none of the tasks is followed by another, and the last error among them.
fn why(view: &View, service: &Service, ended: &[&Arc<Task>]) -> String {
    let mut causes: BTreeMap<String, usize> = BTreeMap::new();
    for task in ended {
        *causes.entry(cause(policy(view, service, task), task)).or_default() += 1;
    }
    let several = causes.len() > 1;
    let causes = causes.into_iter().map(|(cause, count)| if several { format!("{count} {cause}") } else { cause });
    let causes = causes.collect::<Vec<String>>().join(", ");
    let failed = ended.iter().filter(|task| !task.status.err.is_empty());
    let error = failed.max_by_key(|task| (task.ended, task.id)).map(|task| &task.status.err);
    error.map_or(causes.clone(), |error| format!("{causes}; last error: {error}"))
}

fn cause(policy: &RestartPolicy, task: &Task) -> String {
    let max = policy.max_attempts;
    match (policy.condition, task.status.state == TaskState::Complete) {
        (RestartCondition::None, true) => "completed, with restart condition none".to_owned(),
        (RestartCondition::None, false) => "failed, with restart condition none".to_owned(),
        (RestartCondition::OnFailure, true) => "completed, with restart condition on-failure".to_owned(),
        (RestartCondition::OnFailure | RestartCondition::Any, _) if policy.window.is_zero() => {
            format!("attempts used up ({} of {max})", task.restarts.total)
        }
        (RestartCondition::OnFailure | RestartCondition::Any, _) => {
            format!("attempts used up ({max} within {} s)", policy.window.as_secs_f64())
        }
    }
}
