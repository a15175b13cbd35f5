//! Placing as it is defined: one task after the other, each on the smallest of all nodes that fit, looked
//! at one by one. What the quick way must come to.

use super::FAILURES_TO_AVOID;
use super::board::Board;
use super::demand::Demand;
use super::filter;
use super::nodes::NodeInfo;
use super::place::why_none;
use super::score::Score;
use crate::model::{Task, TaskState};
use crate::store::View;
use crate::{NodeId, TaskId, WallTime};
use std::time::Duration;

/// The node of each waiting task in turn, or why there is none.
pub fn place_all(view: &View, now: WallTime) -> Vec<(TaskId, Result<NodeId, String>)> {
    let mut board = Board::of(view);
    let waiting: Vec<_> = board.waiting.values().cloned().collect();
    let mut outcome = Vec::new();
    for task in waiting {
        let found = place_one(view, &board, &task, now);
        if let Ok(node) = found {
            board.nodes.add(node, &task);
        }
        outcome.push((task.id, found));
    }
    outcome
}

/// The best node for `task`, or why there is none.
pub fn place_one(view: &View, board: &Board, task: &Task, now: WallTime) -> Result<NodeId, String> {
    let demand = Demand::of(task, view.cluster().is_some_and(|cluster| cluster.spec.binpack))?;
    let candidates = board.nodes.all().filter(|info| task.node.is_none_or(|bound| bound == info.id()));
    let fitting = candidates.filter(|info| filter::accepts(&demand, info));
    let best = fitting.min_by_key(|info| rank(view, board, &demand, info, now));
    best.map(NodeInfo::id).ok_or_else(|| why_none(&board.nodes, &demand))
}

/// Order of preference, smallest first: few recent failures, an even spread over the wanted labels, the score.
fn rank(view: &View, board: &Board, demand: &Demand, info: &NodeInfo, now: WallTime) -> (bool, Vec<u32>, Score) {
    let service = demand.task.service;
    let branch = |depth: usize| -> u32 {
        let keys = &demand.spread[..depth];
        let alike = |other: &&NodeInfo| keys.iter().all(|key| key.value(&other.node) == key.value(&info.node));
        board.nodes.all().filter(alike).map(|other| other.of_service(service)).sum()
    };
    let failures: u32 = view.tasks_of_node(info.id()).map(|task| weight(task, demand, now)).sum();
    let branches = (1..=demand.spread.len()).map(branch).collect();
    (failures >= FAILURES_TO_AVOID, branches, Score::of(info, demand))
}

fn weight(task: &Task, demand: &Demand, now: WallTime) -> u32 {
    let lately = task.ended.is_some_and(|ended| now.since(ended) < Duration::from_secs(300));
    if task.service != demand.task.service || !lately {
        return 0;
    }
    let is = |state| u32::from(task.status.state == state);
    is(TaskState::Rejected) * FAILURES_TO_AVOID + is(TaskState::Failed)
}
