//! Global services: one task on every node that fits.

use super::Plan;
use super::restart::is_finished;
use super::slots::{Slot, SlotKey};
use super::task::{added, create, desire};
use crate::model::{Availability, Node, NodeState, Service, TaskState};
use crate::scheduler;
use crate::store::View;
use rand::RngCore;
use std::collections::BTreeMap;

/// The node is to have a task of the service, if it has none.
pub(super) fn wants_task(service: &Service, node: &Node) -> bool {
    node.status.state == NodeState::Ready
        && node.spec.availability == Availability::Active
        && scheduler::fits(&service.spec.task.placement, node)
}

pub(super) fn scale<R: RngCore>(view: &View, service: &Service, rng: &mut R, plan: &mut Plan) {
    let slots = plan.slots(view, service);
    for node in view.nodes().filter(|node| wants_task(service, node)) {
        let key = SlotKey::Node(node.id);
        let occupied = slots.get(&key).is_some_and(|slot| slot.has_wanted() || is_finished(view, service, slot));
        if !occupied {
            let mut new = added(view, service, key, rng);
            // Beside canaries it is what the service was before, which may not belong on this node.
            if !scheduler::fits(&new.spec.placement, node) {
                continue;
            }
            if slots.get(&key).is_some_and(|slot| slot.is_stopping(view)) {
                new.desired = TaskState::Ready;
            }
            plan.add(vec![create(new)]);
        }
        if plan.is_full() {
            return;
        }
    }
    forget_gone_nodes(view, &slots, plan);
}

/// Nodes that were removed do not come back.
pub(super) fn forget_gone_nodes(view: &View, slots: &BTreeMap<SlotKey, Slot>, plan: &mut Plan) {
    let gone = slots.iter().filter(|(key, slot)| match key {
        SlotKey::Node(node) => view.node(*node).is_none() && !slot.has_wanted(),
        SlotKey::Number(_) => false,
    });
    for (_, slot) in gone {
        plan.add(slot.tasks.iter().map(|task| desire(task, TaskState::Remove)).collect());
        if plan.is_full() {
            return;
        }
    }
}
