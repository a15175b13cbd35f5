//! Room for a task that fits nowhere: which tasks of lower priority have to go for it (beyond the Engine API, off unless
//! the cluster is set to).
//!
//! Of one node, and only where it then fits: one task if one is enough, else none that is superfluous; the lowest
//! priorities and the youngest first. The room is kept for the task until what is in it has stopped, so that nothing
//! that comes after it takes it meanwhile. It stops nothing itself: that is the plan's business.

use super::demand::Demand;
use super::filter;
use super::nodes::NodeInfo;
use super::table::NodeTable;
use crate::model::{RestartCondition, Service, ServiceMode, Task, TaskState};
use crate::store::View;
use crate::{NodeId, TaskId, WallTime};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Tasks that get room made for them in one pass at most: each looks at all nodes.
const EVICTIONS_MAX: usize = 16;

/// Tasks that go so that another one fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Eviction {
    /// For whom.
    pub task: TaskId,
    pub node: NodeId,
    pub victims: Vec<TaskId>,
}

/// Makes room during one pass.
pub(super) struct Room<'a> {
    view: &'a View,
    /// Of the board.
    stopping: &'a BTreeMap<TaskId, Arc<Task>>,
    now: WallTime,
    /// Read when it is first needed.
    known: Option<Known<'a>>,
    pub evictions: Vec<Eviction>,
}

struct Known<'a> {
    /// Lowest priority of any service: who has no more takes nobody's place.
    least: i32,
    /// Tasks by node that hold something there and are about to stop.
    stopping: BTreeMap<NodeId, Vec<&'a Arc<Task>>>,
    evicted: BTreeSet<TaskId>,
}

/// What a task has to lose: its own priority, or the one its service is set to now and would start it again with. Who
/// waits counts with its own alone, by which it has its turn: a task of a priority that is being changed neither takes
/// the place of others in vain nor gives its own to one it would come before.
fn priority(view: &View, task: &Task) -> i32 {
    let own = task.spec.placement.priority;
    view.service(task.service).map_or(own, |service| service.spec.task.placement.priority.max(own))
}

/// It was told to stop and will, as far as can be told: longer than a node that is sound needs is not waited.
fn will_stop(task: &Task, now: WallTime) -> bool {
    let (patience, told) = (task.spec.container.stop_patience(), task.meta.updated.wall);
    // What lies in the future by more than that is of a clock that was set back.
    now.since(told) < patience && told.since(now) <= patience
}

pub(super) fn holds(task: &Task) -> bool {
    task.occupies_node() && task.status.state >= TaskState::Assigned
}

/// Tasks of the service can be stopped and started again without harm. Those of a job would begin anew, and what is
/// not to be restarted has said so.
fn can_give_way(service: &Service) -> bool {
    let goes_on = match service.spec.mode {
        ServiceMode::Replicated { .. } | ServiceMode::Global => true,
        ServiceMode::ReplicatedJob { .. } | ServiceMode::GlobalJob => false,
    };
    goes_on && !service.removing && service.spec.task.restart.condition != RestartCondition::None
}

impl<'a> Known<'a> {
    fn of(view: &'a View, all: &'a BTreeMap<TaskId, Arc<Task>>, now: WallTime) -> Self {
        let least = view.services().map(|service| service.spec.task.placement.priority).min().unwrap_or(0);
        let mut stopping: BTreeMap<NodeId, Vec<&Arc<Task>>> = BTreeMap::new();
        for task in all.values().filter(|task| will_stop(task, now)) {
            if let Some(node) = task.node {
                stopping.entry(node).or_default().push(task);
            }
        }
        Self { least, stopping, evicted: BTreeSet::new() }
    }
}

impl<'a> Room<'a> {
    /// `None` where the cluster leaves every task its place.
    pub fn of(view: &'a View, stopping: &'a BTreeMap<TaskId, Arc<Task>>, now: WallTime) -> Option<Self> {
        let wanted = view.cluster().is_some_and(|cluster| cluster.spec.preemption);
        wanted.then(|| Self { view, stopping, now, known: None, evictions: Vec::new() })
    }

    /// The node on which room is made, or was begun to be made, for a task that fits nowhere now.
    pub fn make(&mut self, nodes: &NodeTable, demand: &Demand, task: &Task) -> Option<NodeId> {
        let view = self.view;
        let known = self.known.get_or_insert_with(|| Known::of(view, self.stopping, self.now));
        let wanted = task.spec.placement.priority;
        if wanted <= known.least {
            return None;
        }
        let allowed = |id: NodeId| demand.task.node.is_none_or(|bound| bound == id);
        for id in known.stopping.keys().copied().filter(|id| allowed(*id)) {
            if nodes.get(id).is_some_and(|info| filter::accepts(demand, &known.after_stops(info))) {
                return Some(id);
            }
        }
        if self.evictions.len() >= EVICTIONS_MAX {
            return None;
        }
        let possible = nodes.all().filter(|info| allowed(info.id()) && filter::could_accept(demand, info));
        let found = possible.filter_map(|info| Some((info.id(), known.victims(view, info, demand, wanted)?)));
        let (node, victims) = found.min_by_key(|(id, victims)| {
            let worst = victims.iter().map(|victim| priority(view, victim)).max();
            let oldest = victims.iter().map(|victim| victim.meta.created.index).min();
            (victims.len(), worst, Reverse(oldest), *id)
        })?;
        known.evicted.extend(victims.iter().map(|victim| victim.id));
        known.stopping.entry(node).or_default().extend(victims.iter().copied());
        let victims = victims.iter().map(|victim| victim.id).collect();
        self.evictions.push(Eviction { task: task.id, node, victims });
        Some(node)
    }
}

impl<'a> Known<'a> {
    /// The node once all has stopped that is about to.
    fn after_stops(&self, info: &NodeInfo) -> NodeInfo {
        let mut after = info.clone();
        self.stopping.get(&info.id()).into_iter().flatten().for_each(|task| after.release(task));
        after
    }

    /// Which tasks of the node have to go for the task to fit there; `None` when it would not even without all that may.
    fn victims(&self, view: &'a View, info: &NodeInfo, demand: &Demand, wanted: i32) -> Option<Vec<&'a Arc<Task>>> {
        let may_go = |task: &&Arc<Task>| {
            holds(task)
                && task.is_wanted()
                && task.service != demand.task.service
                && !self.evicted.contains(&task.id)
                && priority(view, task) < wanted
                && view.service(task.service).is_some_and(|service| can_give_way(service))
        };
        let mut lower: Vec<&Arc<Task>> = view.tasks_of_node(info.id()).filter(may_go).collect();
        if lower.is_empty() {
            return None;
        }
        let before = self.after_stops(info);
        let mut after = before.clone();
        lower.iter().for_each(|task| after.release(task));
        if !filter::accepts(demand, &after) {
            return None;
        }
        // Who is worth most is given its place back first, if the task fits all the same.
        lower.sort_by_key(|task| (Reverse(priority(view, task)), task.meta.created.index, task.id));
        let mut victims = Vec::new();
        for task in &lower {
            after.hold(task);
            if !filter::accepts(demand, &after) {
                after.release(task);
                victims.push(*task);
            }
        }
        let enough_alone = |task: &&Arc<Task>| {
            let mut after = before.clone();
            after.release(task);
            filter::accepts(demand, &after)
        };
        match lower.iter().rev().copied().find(|task| victims.len() > 1 && enough_alone(task)) {
            Some(one) => Some(vec![one]),
            None => Some(victims),
        }
    }
}
