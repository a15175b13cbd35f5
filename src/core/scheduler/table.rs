//! What runs where: all nodes, ordered for whoever looks for the best one.
//!
//! Follows from one snapshot: [`NodeTable::of`] builds it, [`NodeTable::follow`] brings it to another one
//! at the cost of what differs, and both come to the same. Beyond the snapshot it counts what was placed
//! on it, until it goes on to the next one: what is there as it was placed stays counted.

use super::FAILURES_TO_AVOID;
use super::demand::SpreadKey;
use super::nodes::NodeInfo;
use super::shelf::Shelf;
pub(super) use super::trail::Mark;
use super::trail::Trail;
use crate::model::{Node, Task, TaskState};
use crate::store::{Changed, Delta, View};
use crate::{NodeId, ServiceId, TaskId, WallTime};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Failures longer ago than this do not count against a node.
pub const FAILURES_WINDOW: Duration = Duration::from_secs(300);
/// Ways of spreading whose order is kept; beyond them the oldest is built anew when it is asked for. Each
/// costs an entry per node and a move per placement.
const SHELVES_MAX: usize = 8;

/// A task that failed on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Failure {
    ended: WallTime,
    task: TaskId,
    node: NodeId,
    weight: u32,
}

/// All nodes, by id.
#[derive(Clone, Debug)]
pub struct NodeTable {
    nodes: BTreeMap<NodeId, NodeInfo>,
    /// Nodes with tasks of the service that are to run.
    by_service: BTreeMap<ServiceId, BTreeSet<NodeId>>,
    failures: BTreeMap<ServiceId, BTreeSet<Failure>>,
    /// The first is the one without a label.
    shelves: Vec<Shelf>,
    /// Counted on their nodes, though the snapshot does not say so.
    placed: BTreeMap<TaskId, (NodeId, Arc<Task>)>,
    trail: Trail,
}

impl Default for NodeTable {
    fn default() -> Self {
        Self {
            nodes: BTreeMap::new(),
            by_service: BTreeMap::new(),
            failures: BTreeMap::new(),
            shelves: vec![Shelf::new(Vec::new(), false)],
            placed: BTreeMap::new(),
            trail: Trail::default(),
        }
    }
}

/// The node that `task` holds something of. Tasks bound to a node that wait to be confirmed by the
/// scheduler hold nothing yet.
fn holder(task: &Task) -> Option<NodeId> {
    task.node.filter(|_| task.occupies_node() && task.status.state >= TaskState::Assigned)
}

fn failure(task: &Task) -> Option<Failure> {
    // What could not even be started may find its image or path on another node.
    let weight = match task.status.state {
        TaskState::Rejected => FAILURES_TO_AVOID,
        TaskState::Failed => 1,
        TaskState::New
        | TaskState::Pending
        | TaskState::Assigned
        | TaskState::Accepted
        | TaskState::Preparing
        | TaskState::Ready
        | TaskState::Starting
        | TaskState::Running
        | TaskState::Complete
        | TaskState::Shutdown
        | TaskState::Remove
        | TaskState::Orphaned => return None,
    };
    Some(Failure { ended: task.ended?, task: task.id, node: task.node?, weight })
}

/// Until when an ended task counts against its node; `None` when it does not.
pub fn avoided_until(task: &Task) -> Option<WallTime> {
    failure(task).map(|failure| failure.ended + FAILURES_WINDOW)
}

impl NodeTable {
    /// The table of a snapshot.
    pub fn of(view: &View) -> Self {
        let mut table = Self::default();
        table.follow(&Delta::between(&View::default(), view), view);
        table
    }

    /// Goes on to `view`, which differs by `delta` from where it was.
    pub fn follow(&mut self, delta: &Delta, view: &View) {
        let kept = self.keep_placed(delta);
        self.settle();
        for node in &delta.nodes {
            self.change_node(node);
        }
        let arrived = |id: NodeId| {
            let found = delta.nodes.binary_search_by_key(&id, |node| node.both().map(|n| n.id).next().unwrap_or(id));
            found.is_ok_and(|at| delta.nodes[at].old.is_none())
        };
        for task in &delta.tasks {
            // The tasks of a node that has come are counted from the snapshot below.
            if let Some((id, old)) = task.old.as_ref().and_then(|old| Some((holder(old)?, old)))
                && !arrived(id)
            {
                self.edit(id, |info| info.release(old), old.service);
            }
            if let Some((id, new)) = task.new.as_ref().and_then(|new| Some((holder(new)?, new)))
                && !arrived(id)
                && !kept.contains(&new.id)
            {
                self.edit(id, |info| info.hold(new), new.service);
            }
            self.change_failure(task);
        }
        let arrived = delta.nodes.iter().filter(|node| node.old.is_none()).filter_map(|node| node.new.as_ref());
        for node in arrived {
            for task in view.tasks_of_node(node.id).filter(|task| holder(task).is_some()) {
                self.edit(node.id, |info| info.hold(task), task.service);
            }
        }
    }

    fn change_node(&mut self, node: &Changed<Node>) {
        let Some(id) = node.both().next().map(|node| node.id) else { return };
        let mut info = self.nodes.remove(&id);
        self.trail.note(id, info.as_ref());
        if let Some(info) = &info {
            self.shelves.iter_mut().for_each(|shelf| shelf.remove(info));
        }
        match (&node.new, &mut info) {
            (Some(new), Some(info)) => info.node = Arc::clone(new),
            (Some(new), None) => info = Some(NodeInfo::new(Arc::clone(new))),
            (None, Some(gone)) => {
                for service in gone.by_service.keys() {
                    forget(&mut self.by_service, *service, &id);
                }
                info = None;
            }
            (None, None) => {}
        }
        if let Some(info) = info {
            self.shelves.iter_mut().for_each(|shelf| shelf.insert(&info));
            self.nodes.insert(id, info);
        }
    }

    fn change_failure(&mut self, task: &Changed<Task>) {
        let (old, new) = (task.old.as_deref().and_then(failure), task.new.as_deref().and_then(failure));
        if let (Some(failure), Some(task)) = (old, &task.old) {
            forget(&mut self.failures, task.service, &failure);
        }
        if let (Some(failure), Some(task)) = (new, &task.new) {
            self.failures.entry(task.service).or_default().insert(failure);
        }
    }

    /// Edits what is on a node, tasks of `service`, and keeps the orders true.
    fn edit(&mut self, id: NodeId, edit: impl FnOnce(&mut NodeInfo), service: ServiceId) {
        let Some(info) = self.nodes.get_mut(&id) else { return };
        self.trail.note(id, Some(info));
        self.shelves.iter_mut().for_each(|shelf| shelf.remove(info));
        let before = info.of_service(service);
        edit(info);
        self.shelves.iter_mut().for_each(|shelf| shelf.insert(info));
        match (before, info.of_service(service)) {
            (0, 1..) => drop(self.by_service.entry(service).or_default().insert(id)),
            (1.., 0) => forget(&mut self.by_service, service, &id),
            (0, 0) | (1.., 1..) => {}
        }
    }

    /// By id.
    pub fn all(&self) -> impl Iterator<Item = &NodeInfo> {
        self.nodes.values()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The node, if it is there.
    pub fn get(&self, id: NodeId) -> Option<&NodeInfo> {
        self.nodes.get(&id)
    }

    /// Nodes with tasks of the service, by id.
    pub(super) fn of_service(&self, service: ServiceId) -> impl Iterator<Item = &NodeInfo> {
        self.by_service.get(&service).into_iter().flatten().filter_map(|id| self.nodes.get(id))
    }

    /// What the nodes are now, to ask for what changed since.
    pub(super) fn mark(&mut self) -> Mark {
        self.trail.mark()
    }

    /// As [`Trail::since`].
    pub(super) fn changed_since(&self, mark: Mark) -> Option<BTreeMap<NodeId, Option<&NodeInfo>>> {
        self.trail.since(mark)
    }

    /// As [`Trail::forget_before`].
    pub(super) fn forget_before(&mut self, mark: Option<Mark>) {
        self.trail.forget_before(mark);
    }

    /// Nodes that come after all others for the service: it failed there too often lately.
    pub fn avoided(&self, service: ServiceId, now: WallTime) -> BTreeSet<NodeId> {
        let Some(failures) = self.failures.get(&service) else { return BTreeSet::new() };
        let mut weights: BTreeMap<NodeId, u32> = BTreeMap::new();
        let recent = failures.iter().rev().take_while(|failure| now.since(failure.ended) < FAILURES_WINDOW);
        for failure in recent {
            *weights.entry(failure.node).or_default() += failure.weight;
        }
        weights.into_iter().filter(|(_, weight)| *weight >= FAILURES_TO_AVOID).map(|(id, _)| id).collect()
    }

    /// When the next failure stops counting of those that keep a service off a node.
    pub fn forgiven_at(&self, now: WallTime) -> Option<WallTime> {
        let avoiding = self.failures.iter().filter(|(service, _)| !self.avoided(**service, now).is_empty());
        let ends = avoiding.flat_map(|(_, failures)| failures).map(|failure| failure.ended + FAILURES_WINDOW);
        ends.filter(|end| *end > now).min()
    }

    /// Makes sure that the order of nodes by the values of `keys` is kept; says where.
    pub(super) fn shelve(&mut self, keys: &[SpreadKey], packs: bool) -> usize {
        if let Some(at) = self.shelves.iter().position(|shelf| shelf.order() == (keys, packs)) {
            return at;
        }
        if self.shelves.len() >= SHELVES_MAX {
            self.shelves.remove(1);
        }
        let mut shelf = Shelf::new(keys.to_vec(), packs);
        self.nodes.values().for_each(|info| shelf.insert(info));
        self.shelves.push(shelf);
        self.shelves.len() - 1
    }

    pub(super) fn shelf(&self, at: usize) -> &Shelf {
        &self.shelves[at]
    }

    /// Counts `task` as placed on `node`, until the table goes on to a snapshot where it is not.
    pub fn add(&mut self, node: NodeId, task: &Arc<Task>) {
        self.edit(node, |info| info.hold(task), task.service);
        self.placed.insert(task.id, (node, Arc::clone(task)));
    }

    /// Takes back what was placed since the snapshot.
    pub fn settle(&mut self) {
        for (_, (node, task)) in std::mem::take(&mut self.placed) {
            self.edit(node, |info| info.release(&task), task.service);
        }
    }

    /// Those of the tasks placed that are where they were placed, and hold there what they were placed with.
    fn keep_placed(&mut self, delta: &Delta) -> BTreeSet<TaskId> {
        let mut kept = BTreeSet::new();
        if self.placed.is_empty() || !delta.nodes.is_empty() {
            return kept;
        }
        for (old, new) in delta.tasks.iter().filter_map(|task| Some((task.old.as_ref()?, task.new.as_ref()?))) {
            let as_placed = |(node, placed): &(NodeId, Arc<Task>)| {
                holder(old).is_none() && holder(new) == Some(*node) && holds_the_same(placed, new)
            };
            if self.placed.get(&new.id).is_some_and(as_placed) {
                self.placed.remove(&new.id);
                kept.insert(new.id);
            }
        }
        kept
    }
}

fn holds_the_same(one: &Task, other: &Task) -> bool {
    Arc::ptr_eq(&one.spec, &other.spec)
        && one.service == other.service
        && one.host_ports == other.host_ports
        && one.assigned_resources == other.assigned_resources
        && one.is_wanted() == other.is_wanted()
}

/// Takes one of a set of a map away, and the set when it is empty.
fn forget<K: Ord, V: Ord>(map: &mut BTreeMap<K, BTreeSet<V>>, key: K, value: &V) {
    if let Some(set) = map.get_mut(&key) {
        set.remove(value);
        if set.is_empty() {
            map.remove(&key);
        }
    }
}

/// The same nodes with the same on them; which orders are kept is not part of it.
impl PartialEq for NodeTable {
    fn eq(&self, other: &Self) -> bool {
        self.nodes == other.nodes
            && self.by_service == other.by_service
            && self.failures == other.failures
            && self.shelves.iter().all(|shelf| {
                let same = other.shelves.iter().find(|other| other.order() == shelf.order());
                same.is_none_or(|other| other == shelf)
            })
    }
}

impl Eq for NodeTable {}
