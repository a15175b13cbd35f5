//! Tasks that leave their node while they serve: the new one comes up elsewhere, then the old one stops.
//!
//! Only where the service starts first when it is updated, and as many at once as an update would replace. A slot is
//! moving while it has a task made for the move that is not up and the one it takes over from; nothing else is
//! remembered.

use super::Plan;
use super::restart::{ground, policy};
use super::slots::{Ground, Slot, SlotKey};
use super::task::{create, desire, successor};
use super::update::is_under_way;
use super::version::is_current;
use crate::model::*;
use crate::store::View;
use rand::RngCore;
use std::sync::Arc;

/// Whether the tasks of a service may be there twice while they move. Global ones belong to their node, jobs would do
/// their work twice, and what is to run once at most has said so.
pub(super) fn starts_first(service: &Service) -> bool {
    let replicated = match service.spec.mode {
        ServiceMode::Replicated { .. } => true,
        ServiceMode::Global | ServiceMode::ReplicatedJob { .. } | ServiceMode::GlobalJob => false,
    };
    let order = service.spec.update.as_ref().map(|update| update.order).unwrap_or_default();
    replicated && order == UpdateOrder::StartFirst && service.spec.task.at_most_one.is_none()
}

/// Whether a task on a node it must leave goes on serving there until another has come up elsewhere.
pub(super) fn stays_until_moved(view: &View, service: &Service, task: &Task) -> bool {
    starts_first(service)
        && serves(task)
        && task.spec.at_most_one.is_none()
        && policy(view, service, task).condition != RestartCondition::None
}

/// It came up and runs. One that is not ready for a while is still all that the slot has.
fn serves(task: &Task) -> bool {
    task.is_up() || task.status.state == TaskState::Running && task.up_since.is_some()
}

/// What `mover` takes over from, as long as both are wanted.
fn moved<'a>(view: &View, service: &Service, slot: &'a Slot, mover: &Task) -> Option<&'a Arc<Task>> {
    if mover.origin != TaskOrigin::Move {
        return None;
    }
    let current = |task: &Task| is_current(view, service, task);
    let alike = |task: &Task| task.spec_version == mover.spec_version || current(task) && current(mover);
    slot.wanted().take_while(|task| task.id != mover.id).filter(|task| alike(task)).last()
}

/// Comes up to take over from a task that still serves, and is not in vain.
pub(super) fn is_moving(view: &View, service: &Service, slot: &Slot, mover: &Task) -> bool {
    moved(view, service, slot, mover)
        .is_some_and(|old| serves(old) && !mover.is_up() && !is_vain(view, service, old, mover))
}

/// The old one may stay after all, and the new one found no place yet. Where it has one, the move goes on: it may be
/// for the sake of other nodes.
fn is_vain(view: &View, service: &Service, old: &Task, mover: &Task) -> bool {
    let waits = mover.status.state < TaskState::Assigned && (mover.node.is_none() || !mover.status.err.is_empty());
    waits && ground(view, service, old) == Ground::Firm
}

/// A task that ended on its way to take over is tried again, however often: the one it takes over from must leave.
pub(super) fn is_to_be_retried(view: &View, service: &Service, slot: &Slot, mover: &Task) -> bool {
    moved(view, service, slot, mover)
        .is_some_and(|old| stays_until_moved(view, service, old) && ground(view, service, old) == Ground::Leaving)
}

pub(super) fn moves<R: RngCore>(view: &View, service: &Service, rng: &mut R, plan: &mut Plan) {
    let slots = plan.slots(view, service);
    for slot in slots.values() {
        finish(view, service, slot, plan);
    }
    if !starts_first(service) {
        return;
    }
    let moving = slots.values().filter(|slot| slot.wanted().any(|task| is_moving(view, service, slot, task)));
    let mut budget = match service.spec.update.as_ref().map(|update| update.parallelism) {
        Some(0) => u64::MAX,
        Some(parallelism) => parallelism.saturating_sub(moving.count() as u64),
        None => 0,
    };
    for (key, slot) in slots.iter() {
        if plan.is_full() || budget == 0 {
            return;
        }
        if let Some(old) = leaving(view, service, slot) {
            plan.add(vec![create(mover(view, service, *key, old, rng))]);
            budget -= 1;
        }
    }
}

/// Stops what was taken over from, and movers that are in vain.
fn finish(view: &View, service: &Service, slot: &Slot, plan: &mut Plan) {
    for mover in slot.wanted() {
        let Some(old) = moved(view, service, slot, mover) else { continue };
        if mover.is_up() {
            plan.add(vec![desire(old, TaskState::Shutdown)]);
        } else if is_vain(view, service, old, mover) {
            plan.add(vec![desire(mover, TaskState::Shutdown)]);
        }
    }
    // An update that was overtaken left two, and the one that goes on may not get to this slot for long.
    let is_leaving = |task: &Task| ground(view, service, task) == Ground::Leaving;
    let newer_serves =
        |old: &Task| slot.wanted().skip_while(|task| task.id != old.id).any(|task| task.is_up() && !is_leaving(task));
    for old in slot.wanted().filter(|old| is_leaving(old) && newer_serves(old)) {
        if stays_until_moved(view, service, old) {
            plan.add(vec![desire(old, TaskState::Shutdown)]);
        }
    }
}

/// The task of the slot that is to be moved now. While an update goes on in the slot it is left to the update.
fn leaving<'a>(view: &View, service: &Service, slot: &'a Slot) -> Option<&'a Arc<Task>> {
    let current = |task: &Task| is_current(view, service, task);
    let must_go =
        |task: &Task| ground(view, service, task) == Ground::Leaving && stays_until_moved(view, service, task);
    let old = slot.wanted().find(|task| must_go(task))?;
    let others: Vec<&Arc<Task>> = slot.wanted().filter(|task| task.id != old.id).collect();
    // One that was made from an earlier spec may be what the service asks for where it is now.
    let is_mover = |task: &Task| task.origin == TaskOrigin::Move && !task.is_up();
    let has_mover = others.iter().any(|task| is_mover(task) || current(task) == current(old));
    (!has_mover && (others.is_empty() || !is_under_way(service))).then_some(old)
}

/// A task that is to take over from `old`.
pub(super) fn mover<R: RngCore>(view: &View, service: &Service, key: SlotKey, old: &Task, rng: &mut R) -> Task {
    let mut new = successor(view, service, key, old, rng);
    new.origin = TaskOrigin::Move;
    new.desired = TaskState::Running;
    new.restarts = old.restarts.clone();
    new
}
