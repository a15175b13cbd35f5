//! Replicated services: as many slots as asked for.

use super::Plan;
use super::restart::is_finished;
use super::slots::{Slot, SlotKey};
use super::task::{added, create, desire};
use crate::model::{Service, TaskState};
use crate::scheduler::{Candidate, rank_for_removal};
use crate::store::View;
use rand::RngCore;
use std::collections::BTreeMap;

pub(super) fn scale<R: RngCore>(view: &View, service: &Service, rng: &mut R, plan: &mut Plan) {
    let Some(replicas) = service.wanted_replicas() else { return };
    let slots = plan.slots(view, service);
    let (occupied, mut dead): (BTreeMap<SlotKey, &Slot>, BTreeMap<SlotKey, &Slot>) = slots
        .iter()
        .map(|(key, slot)| (*key, slot))
        .partition(|(_, slot)| slot.has_wanted() || is_finished(view, service, slot));
    let count = occupied.len() as u64;
    // The lowest numbers first, so that a service of three has slots one to three.
    let free = (1..).map(SlotKey::Number).filter(|key| !occupied.contains_key(key));
    for key in free.take(usize::try_from(replicas.saturating_sub(count)).unwrap_or(usize::MAX)) {
        if plan.is_full() {
            return;
        }
        dead.remove(&key);
        plan.add(vec![create(added(view, service, key, rng))]);
    }
    let excess = usize::try_from(count.saturating_sub(replicas)).unwrap_or(usize::MAX);
    let removable = occupied.iter().filter(|_| excess > 0);
    let candidates: Vec<Candidate> = removable.filter_map(|(key, slot)| candidate(*key, slot)).collect();
    let going = rank_for_removal(&candidates).into_iter().take(excess).map(SlotKey::Number);
    let going = going.filter_map(|key| occupied.get(&key)).chain(dead.values());
    for slot in going {
        if plan.is_full() {
            return;
        }
        plan.add(slot.tasks.iter().map(|task| desire(task, TaskState::Remove)).collect());
    }
}

pub(super) fn candidate(key: SlotKey, slot: &Slot) -> Option<Candidate> {
    let SlotKey::Number(number) = key else { return None };
    // What takes no traffic is missed least.
    let up = slot.wanted().find(|task| task.is_up());
    let node = up.or_else(|| slot.wanted().next_back()).and_then(|task| task.node);
    Some(Candidate { slot: number, running: up.is_some(), node })
}
