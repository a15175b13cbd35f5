//! Tasks that make room for one of higher priority, and what waits in their place.

use super::slots::{SlotKey, slots};
use super::task::{create, desire, successor};
use crate::model::{Task, TaskState};
use crate::scheduler::Eviction;
use crate::store::{Change, View};
use rand::RngCore;

/// Stops the victims; each is followed in its slot by a task that waits and says for whom.
pub fn evict<R: RngCore>(view: &View, eviction: &Eviction, rng: &mut R) -> Vec<Change> {
    let Some(by) = view.task(eviction.task) else { return Vec::new() };
    let by = match by.slot {
        0 => format!("{} (priority {})", by.service_name, by.spec.placement.priority),
        slot => format!("{}.{slot} (priority {})", by.service_name, by.spec.placement.priority),
    };
    let mut changes = Vec::new();
    for victim in eviction.victims.iter().filter_map(|id| view.task(*id)) {
        changes.push(desire(victim, TaskState::Shutdown));
        changes.extend(replacement(view, victim, &by, rng).map(create));
    }
    changes
}

/// `None` where the slot has another task already.
fn replacement<R: RngCore>(view: &View, victim: &Task, by: &str, rng: &mut R) -> Option<Task> {
    let service = view.service(victim.service).filter(|service| !service.removing)?;
    let slots = slots(view, service);
    let (key, _) = slots.iter().find(|(_, slot)| {
        slot.tasks.iter().any(|task| task.id == victim.id) && slot.wanted().all(|task| task.id == victim.id)
    })?;
    let mut new = successor(view, service, *key, victim, rng);
    new.restarts = victim.restarts.clone();
    new.start_after = victim.start_after.filter(|_| victim.desired == TaskState::Ready);
    // What an update was bringing in is still being brought in.
    if victim.up_since.is_none() {
        new.origin = victim.origin;
    }
    new.status.err = format!("preempted by {by}");
    new.preempted_by = by.to_owned();
    debug_assert!(matches!(key, SlotKey::Number(_)) || new.node == victim.node, "a global task stays on its node");
    Some(new)
}
