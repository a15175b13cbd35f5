//! Placing waiting tasks, one after the other, in their turn.

use super::board::Board;
use super::demand::Demand;
use super::filter;
use super::nodes::NodeInfo;
use super::preempt::{Eviction, Room};
use super::spread::{Found, Tree};
use super::stuck::Stuck;
use super::table::NodeTable;
use super::tally::{NO_NODE, Tally};
use crate::model::{Task, TaskOrigin, TaskStatus};
use crate::store::{Change, View};
use crate::{NodeId, WallTime};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// What the API shows of a task that got a node.
const ASSIGNED_MESSAGE: &str = "scheduler assigned task to node";

/// Amounts in the reason of a task that waits are brought up to date this often at most.
const AMOUNTS_EVERY: Duration = Duration::from_secs(30);

/// Gives waiting tasks their nodes, at most `limit` changes; what finds none gets the reason, once. `board`
/// is at `view`, and counts what was placed until it goes on. What has to stop for tasks of higher priority is
/// added to `evictions`.
pub fn place(
    view: &View,
    board: &mut Board,
    now: WallTime,
    limit: usize,
    evictions: &mut Vec<Eviction>,
) -> Vec<Change> {
    debug_assert_eq!(view.index(), board.index(), "the board is at the view");
    let Board { nodes, waiting, stopping, stuck, .. } = board;
    // What an earlier call came to was not written.
    nodes.settle();
    let binpack = view.cluster().is_some_and(|cluster| cluster.spec.binpack);
    let mut room = Room::of(view, stopping, now);
    let mut changes = Vec::new();
    let mut waiting = waiting.values().peekable();
    let mut is_whole = true;
    'all: while let Some(first) = waiting.next() {
        let mut run = Run::of(nodes, stuck, first, binpack, now);
        let mut next = Some(first);
        while let Some(task) = next {
            if changes.len() >= limit {
                is_whole = false;
                break 'all;
            }
            changes.extend(run.place(nodes, stuck, task, room.as_mut()));
            next = waiting.next_if(|other| is_alike(first, other));
        }
    }
    if is_whole {
        stuck.tidy(nodes);
    }
    evictions.extend(room.into_iter().flat_map(|room| room.evictions));
    changes
}

/// Whether a node takes a task as things are.
pub fn takes(info: &NodeInfo, task: &Task) -> bool {
    Demand::of(task, false).is_ok_and(|demand| filter::accepts(&demand, info))
}

/// Both ask the same of any node.
pub(super) fn is_alike(one: &Task, other: &Task) -> bool {
    let same_spec = || Arc::ptr_eq(&one.spec, &other.spec) || one.spec == other.spec;
    one.service == other.service
        && one.node.is_none()
        && other.node.is_none()
        && one.host_ports == other.host_ports
        && same_spec()
}

/// Tasks that are alike, each placed on what the ones before it left.
struct Run<'a> {
    demand: Result<Demand<'a>, String>,
    now: WallTime,
    avoided: BTreeSet<NodeId>,
    /// Of the nodes that are looked at now: first the others, then the avoided.
    tree: Option<Tree>,
    tried_avoided: bool,
    /// Why nothing is left; stays so.
    reason: Option<String>,
    /// No room can be made either.
    is_hopeless: bool,
}

impl<'a> Run<'a> {
    fn of(nodes: &mut NodeTable, stuck: &mut Stuck, first: &'a Task, binpack: bool, now: WallTime) -> Self {
        // Of a task that is bound the only node there is for it is asked.
        let is_bound = first.node.is_some();
        let demand = Demand::of(first, binpack);
        let known = demand.as_ref().ok().filter(|_| !is_bound);
        let reason = known.and_then(|demand| stuck.reason(nodes, first, demand));
        let avoided = match is_bound || reason.is_some() {
            true => BTreeSet::new(),
            false => nodes.avoided(first.service, now),
        };
        Self { demand, now, avoided, tree: None, tried_avoided: false, reason, is_hopeless: false }
    }

    /// Places one more of them; `None` when the task says already why it has to wait.
    fn place(
        &mut self,
        nodes: &mut NodeTable,
        stuck: &mut Stuck,
        task: &Arc<Task>,
        room: Option<&mut Room>,
    ) -> Option<Change> {
        match self.find(nodes, stuck, task) {
            Ok(found) => {
                let task = with_units(nodes, found.node, task);
                nodes.add(found.node, &task);
                if let (Some(tree), Ok(demand)) = (&mut self.tree, &self.demand) {
                    tree.placed(nodes, demand, found);
                }
                Some(Change::TaskAssigned {
                    task: task.id,
                    node: Some(found.node),
                    message: ASSIGNED_MESSAGE.to_owned(),
                    reason: String::new(),
                    resources: task.assigned_resources.clone(),
                })
            }
            Err(reason) => {
                let reason = room.and_then(|room| self.make_room(nodes, task, room)).unwrap_or(reason);
                explained(task, reason, self.now)
            }
        }
    }

    /// Keeps the room on a node that is made for a task, and says where.
    fn make_room(&mut self, nodes: &mut NodeTable, task: &Arc<Task>, room: &mut Room) -> Option<String> {
        // One that only evens nodes out has a place to stay; nobody else gives theirs for it.
        let stays = task.node.is_some() && task.origin == TaskOrigin::Move;
        let is_hopeless = stays || self.is_hopeless && task.node.is_none();
        let demand = self.demand.as_ref().ok().filter(|_| !is_hopeless)?;
        let Some(node) = room.make(nodes, demand, task) else {
            self.is_hopeless = true;
            return None;
        };
        let name = nodes.get(node).map(|info| info.node.display_name()).unwrap_or_default();
        nodes.add(node, task);
        Some(format!("waits for tasks to stop on {name}"))
    }

    fn find(&mut self, nodes: &mut NodeTable, stuck: &mut Stuck, task: &Arc<Task>) -> Result<Found, String> {
        let demand = self.demand.as_ref().map_err(Clone::clone)?;
        if let Some(id) = demand.task.node {
            let fits = nodes.get(id).is_some_and(|info| filter::accepts(demand, info));
            return if fits { Ok(Found::bound(id)) } else { Err(why_none(nodes, demand)) };
        }
        if let Some(reason) = &self.reason {
            return Err(reason.clone());
        }
        loop {
            let tree = self.tree.get_or_insert_with(|| Tree::new(nodes, demand, &self.avoided));
            if let Some(found) = tree.best() {
                return Ok(found);
            }
            if self.tried_avoided || self.avoided.is_empty() {
                let reason = stuck.remember(nodes, task, demand);
                self.reason = Some(reason.clone());
                return Err(reason);
            }
            self.tried_avoided = true;
            *tree = Tree::of_avoided(nodes, demand, &self.avoided);
        }
    }
}

/// The task with the units of named resources it gets on the node.
pub(super) fn with_units(nodes: &NodeTable, node: NodeId, task: &Arc<Task>) -> Arc<Task> {
    let wants = &task.spec.resources.reservations;
    let units = nodes.get(node).map(|info| info.units_for(wants)).unwrap_or_default();
    if units.is_empty() {
        return Arc::clone(task);
    }
    Arc::new(Task { assigned_resources: units, ..(**task).clone() })
}

/// The change that tells why a task waits; `None` when it says so already.
fn explained(task: &Task, reason: String, now: WallTime) -> Option<Change> {
    let mut reason = match task.preempted_by.as_str() {
        "" => reason,
        by => format!("preempted by {by}; {reason}"),
    };
    // It names what the user wrote, which may be of any length.
    TaskStatus::cut(&mut reason);
    let told = Change::TaskAssigned {
        task: task.id,
        node: None,
        message: task.status.message.clone(),
        reason: reason.clone(),
        resources: BTreeMap::new(),
    };
    (reason != task.status.err && !is_told_again_soon(task, &reason, now)).then_some(told)
}

/// The task says the same but for amounts, and does so since lately. Each task that ends changes what is free: it would
/// be a write for every task that waits.
fn is_told_again_soon(task: &Task, reason: &str, now: WallTime) -> bool {
    let written = task.meta.updated.wall;
    let lately = now.since(written) < AMOUNTS_EVERY && written.since(now) <= AMOUNTS_EVERY;
    let words =
        |text: &str| -> String { text.replace(" and less", "").chars().filter(|c| c.is_alphabetic()).collect() };
    lately && reason.contains(NO_NODE) && words(reason) == words(&task.status.err)
}

/// Why no node takes a task, in words: what each filter left out, each node counted under the first.
pub(super) fn why_none(nodes: &NodeTable, demand: &Demand) -> String {
    match demand.task.node {
        Some(bound) => Tally::of(nodes.get(bound).into_iter(), demand).words(demand),
        None => Tally::of(nodes.all(), demand).words(demand),
    }
}
