//! What is over: tasks nobody has, tasks of nodes that stay away, histories, services that were removed.

use super::Plan;
use super::job;
use super::once;
use super::rebalance::BUDGET_TIME;
use super::task::{desire, end};
use crate::model::{ClusterSpec, NodeState, Service, Task, TaskOrigin, TaskState};
use crate::scheduler;
use crate::store::{Change, ObjectRef, View};
use crate::{NetworkId, NodeId, ServiceId, TaskId, WallTime};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A task on a node that is down for this long counts as gone (as in Docker's swarm mode).
const ORPHANED_AFTER: Duration = Duration::from_secs(24 * 3600);

/// Tasks of a slot kept for as long as they are of use, at most, of each node: so many failures keep a service off it.
/// What fails on the next node must not make the one before it good again.
const OF_USE_OF_NODE_MAX: usize = 3;
/// On all nodes: a slot that failed so often on five of them has nowhere better to go.
const OF_USE_MAX: usize = 5 * OF_USE_OF_NODE_MAX;

/// Cleans up behind one service.
pub fn reap_service(view: &View, service: &Service, now: WallTime, plan: &mut Plan) {
    let tasks = plan.memo.tasks(view, service);
    for task in tasks.iter() {
        if plan.is_full() {
            return;
        }
        if service.removing && task.desired < TaskState::Remove {
            plan.add(vec![desire(task, TaskState::Remove)]);
        } else {
            reap_task(view, task, now, plan);
        }
    }
    if service.removing {
        remove_service(view, service, &tasks, plan);
    } else {
        trim_histories(view, service, now, plan);
    }
}

/// Cleans up the tasks of services that are gone.
pub fn reap_strays(view: &View, gone: impl IntoIterator<Item = ServiceId>, now: WallTime) -> Plan {
    let mut plan = Plan::default();
    for task in gone.into_iter().flat_map(|service| view.tasks_of_service(service)) {
        if plan.is_full() {
            break;
        }
        if task.desired < TaskState::Remove {
            plan.add(vec![desire(task, TaskState::Remove)]);
        } else {
            reap_task(view, task, now, &mut plan);
        }
    }
    plan
}

/// Takes those of the networks away whose last task has left; all of them are being removed.
pub fn reap_networks(view: &View, removing: impl IntoIterator<Item = NetworkId>) -> Plan {
    let mut plan = Plan::default();
    for network in removing {
        if !plan.is_full() && view.tasks_on_network(network).next().is_none() {
            plan.add(vec![Change::Delete(ObjectRef::Network(network))]);
        }
    }
    plan
}

/// Ends what no node can end any more, and deletes what is to be deleted and has ended.
fn reap_task(view: &View, task: &Task, now: WallTime, plan: &mut Plan) {
    if task.is_wanted() && task.node.is_none() {
        return;
    }
    if task.desired == TaskState::Remove && is_over(task) {
        plan.add(vec![Change::Delete(ObjectRef::Task(task.id))]);
    } else if task.status.state.is_terminal() {
    } else if !task.is_wanted() && task.status.state < TaskState::Assigned {
        plan.add(vec![end(task, TaskState::Shutdown, "shutdown before it was given to a node", "", now)]);
    } else if once::outlives_its_node(task) {
        // Dispatch says when it is over.
    } else if let Some(id) = task.node {
        match view.node(id) {
            None => plan.add(vec![end(task, TaskState::Orphaned, "orphaned", "its node was removed", now)]),
            Some(node) if node.status.state == NodeState::Down && task.status.state >= TaskState::Assigned => {
                let orphaned_at = node.status.since + ORPHANED_AFTER;
                if orphaned_at <= now {
                    let hours = ORPHANED_AFTER.as_secs() / 3600;
                    let err = format!("its node has been down for {hours} hours");
                    plan.add(vec![end(task, TaskState::Orphaned, "orphaned", &err, now)]);
                } else {
                    plan.wake(orphaned_at);
                }
            }
            Some(_) => {}
        }
    }
}

/// Nothing of it is left on a node.
fn is_over(task: &Task) -> bool {
    task.status.state.is_terminal() || task.status.state < TaskState::Assigned
}

/// The service goes when its tasks are gone. What is on a node that is down does not keep it: those
/// tasks stay behind, hold their addresses, and go when the node is back or given up.
fn remove_service(view: &View, service: &Service, tasks: &[Arc<Task>], plan: &mut Plan) {
    let unreachable = |task: &Task| {
        let node = task.node.and_then(|node| view.node(node));
        task.desired == TaskState::Remove && node.is_some_and(|node| node.status.state == NodeState::Down)
    };
    if tasks.iter().all(|task| unreachable(task)) {
        plan.add(vec![Change::Delete(ObjectRef::Service(service.id))]);
    }
}

/// How long an ended task is still of use to what is decided, whatever the cluster is to remember: a failure to keep
/// off the node, a move for its budget and so as not to try it again at once.
fn of_use(task: &Task) -> Option<WallTime> {
    let moved = (task.origin == TaskOrigin::Move).then(|| task.meta.created.wall + BUDGET_TIME);
    scheduler::avoided_until(task).max(moved)
}

/// Those of the ended tasks of a slot, oldest first, that are of use for longer than `now`, and until when.
fn useful(over: &[&Arc<Task>], now: WallTime) -> Vec<(TaskId, WallTime)> {
    let mut of_node: BTreeMap<Option<NodeId>, usize> = BTreeMap::new();
    let of_use = over.iter().rev().filter_map(|task| Some((task, of_use(task).filter(|until| *until > now)?)));
    let newest = of_use.filter(|(task, _)| {
        let count = of_node.entry(task.node).or_default();
        *count += 1;
        *count <= OF_USE_OF_NODE_MAX
    });
    newest.map(|(task, until)| (task.id, until)).take(OF_USE_MAX).collect()
}

/// Keeps the newest tasks of each slot, the running one among them, as many as the cluster is to remember.
fn trim_histories(view: &View, service: &Service, now: WallTime, plan: &mut Plan) {
    let limit = view.cluster().map_or(ClusterSpec::default().task_history_limit, |c| c.spec.task_history_limit);
    for slot in plan.slots(view, service).values() {
        let excess = slot.tasks.len().saturating_sub(usize::try_from(limit).unwrap_or(usize::MAX));
        // The newest tells how the slot stands, even when no history is wanted; of a job, the one that completed.
        let complete = slot.tasks.iter().rfind(|task| job::is_complete(task));
        let newest = complete.or(slot.newest()).map(|task| task.id);
        let over = slot.tasks.iter().filter(|task| !task.is_wanted() && task.status.state.is_terminal());
        let over: Vec<&Arc<Task>> = over.filter(|task| Some(task.id) != newest).collect();
        // A slot with nothing more to do needs none.
        let useful = if slot.has_wanted() { useful(&over, now) } else { Vec::new() };
        let excess = &over[..excess.min(over.len())];
        let kept: Vec<&(TaskId, WallTime)> =
            useful.iter().filter(|(id, _)| excess.iter().any(|task| task.id == *id)).collect();
        kept.iter().for_each(|(_, until)| plan.wake(*until));
        for task in excess {
            if plan.is_full() {
                return;
            }
            if !kept.iter().any(|(id, _)| *id == task.id) {
                plan.add(vec![Change::Delete(ObjectRef::Task(task.id))]);
            }
        }
    }
}
