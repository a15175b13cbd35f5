//! Which node a waiting task goes to, and which task goes first when there are too many.
//!
//! Pure functions of one snapshot, called by the leader. Every filter can say in words why it leaves
//! a node out; a task that finds no node carries those words. It never moves a task that has a node:
//! that is the plan's business.

mod demand;
mod filter;
mod nodes;
mod removal;

pub use demand::{Demand, fits};
pub use nodes::{NodeInfo, NodeTable};
pub use removal::{Candidate, rank_for_removal};

use crate::model::{Task, TaskState};
use crate::store::{Change, View};
use crate::{NodeId, ServiceId, WallTime};
use filter::Filter;
use std::sync::Arc;

/// A node where this many tasks of a service failed lately comes after all others for that service.
const FAILURES_TO_AVOID: u32 = 3;

/// What the API shows of a task that got a node.
const ASSIGNED_MESSAGE: &str = "scheduler assigned task to node";

/// Gives waiting tasks their nodes, at most `limit` changes; what finds none gets the reason, once.
pub fn place(view: &View, now: WallTime, limit: usize) -> Vec<Change> {
    let mut waiting: Vec<&Arc<Task>> =
        view.tasks().filter(|task| task.status.state == TaskState::Pending && task.is_wanted()).collect();
    if waiting.is_empty() {
        return Vec::new();
    }
    waiting.sort_by_key(|task| (task.meta.created.index, task.service, task.slot, task.id));
    let mut nodes = NodeTable::of(view, now);
    let mut changes = Vec::new();
    for task in waiting {
        if changes.len() >= limit {
            break;
        }
        let (node, message, reason) = match place_one(&nodes, task) {
            Ok(node) => (Some(node), ASSIGNED_MESSAGE.to_owned(), String::new()),
            Err(reason) if reason == task.status.err => continue,
            Err(reason) => (None, task.status.message.clone(), reason),
        };
        if let Some(node) = node {
            nodes.add(node, task);
        }
        changes.push(Change::TaskAssigned { task: task.id, node, message, reason });
    }
    changes
}

/// The best node for `task`, or why there is none.
pub fn place_one(nodes: &NodeTable, task: &Task) -> Result<NodeId, String> {
    let demand = Demand::of(task)?;
    let candidates: Vec<&NodeInfo> =
        nodes.all().filter(|info| task.node.is_none_or(|bound| bound == info.node.id)).collect();
    let filters = Filter::ALL;
    // Which filter left a node out first.
    let verdicts: Vec<Option<Filter>> =
        candidates.iter().map(|info| filters.into_iter().find(|f| !f.accepts(&demand, info))).collect();
    let fitting = candidates.iter().zip(&verdicts).filter(|(_, verdict)| verdict.is_none()).map(|(info, _)| *info);
    let best = fitting.min_by_key(|info| rank(nodes, &demand, info));
    if let Some(best) = best {
        return Ok(best.node.id);
    }
    let mut reasons = Vec::new();
    for filter in filters {
        let rejected: Vec<&NodeInfo> =
            candidates.iter().zip(&verdicts).filter(|(_, v)| **v == Some(filter)).map(|(info, _)| *info).collect();
        if !rejected.is_empty() {
            filter.explain(&demand, &rejected, candidates.len(), &mut reasons);
        }
    }
    if candidates.is_empty() {
        let what = if task.node.is_some() { "its node is gone" } else { "the cluster has no nodes" };
        reasons.push(what.to_owned());
    }
    Err(format!("no suitable node ({})", reasons.join("; ")))
}

/// Order of preference, smallest first: few recent failures, an even spread over the wanted labels,
/// few tasks of the service, few tasks at all, little reserved, and at last the id.
fn rank(nodes: &NodeTable, demand: &Demand, info: &NodeInfo) -> (bool, Vec<u32>, u32, u32, u64, NodeId) {
    let service: ServiceId = demand.task.service;
    let branches = (1..=demand.spread.len()).map(|depth| nodes.in_branch(service, &demand.spread[..depth], info));
    (
        info.failures(service) >= FAILURES_TO_AVOID,
        branches.collect(),
        info.of_service(service),
        info.tasks(),
        info.reserved_permille(),
        info.node.id,
    )
}

#[cfg(test)]
mod tests;
