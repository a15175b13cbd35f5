//! Leases of tasks that are to run once at most: granted to nodes that are here, and waited for of those that are lost.
//!
//! See `crate::lease` for why two such tasks never run.

use super::{Dispatch, Effects, Message, SessionId};
use crate::lease::task_over_after;
use crate::model::{NodeState, TaskState, TaskStatus};
use crate::store::Change;
use crate::{Mono, NodeId, TaskId, WallTime};
use std::collections::{BTreeMap, BTreeSet};

/// Heartbeats to be answered with a lease, and what nodes were given up.
#[derive(Debug, Default)]
pub(super) struct Leases {
    /// The last heartbeat of each session that waits for a quorum to be asked.
    waiting: BTreeMap<SessionId, u64>,
    /// Those it is being asked for.
    asked: Option<BTreeMap<SessionId, u64>>,
    /// Tasks that were decided to be over. The decision stands, written or not: their nodes are granted nothing until
    /// it is in the store.
    over: BTreeSet<TaskId>,
}

impl Dispatch {
    /// A heartbeat of a node with such tasks asks for a lease.
    pub(super) fn ask_lease(&mut self, session: SessionId, sequence: u64, out: &mut Effects) {
        let Some(node) = self.sessions.get(&session).map(|open| open.node) else { return };
        if !self.view.tasks_of_node(node).any(|task| task_over_after(task).is_some()) {
            return;
        }
        self.leases.waiting.insert(session, sequence);
        self.ask_quorum(out);
    }

    /// One question at a time; a heartbeat that comes meanwhile waits for the next.
    fn ask_quorum(&mut self, out: &mut Effects) {
        if self.leases.asked.is_none() && !self.leases.waiting.is_empty() {
            self.leases.asked = Some(std::mem::take(&mut self.leases.waiting));
            out.confirm = true;
        }
    }

    pub(super) fn confirmed(&mut self, leads: bool, out: &mut Effects) {
        let asked = self.leases.asked.take().unwrap_or_default();
        for (session, sequence) in asked.into_iter().filter(|_| leads) {
            let node = self.sessions.get(&session).map(|open| open.node);
            if node.is_some_and(|node| !self.is_given_up(node)) {
                out.sends.push((session, Message::Lease { sequence }));
            }
        }
        self.ask_quorum(out);
    }

    fn is_given_up(&self, node: NodeId) -> bool {
        self.leases.over.iter().any(|id| self.view.task(*id).is_some_and(|task| task.node == Some(node)))
    }

    /// What was decided and is in the store now, or has no task any more.
    pub(super) fn forget_over(&mut self) {
        let view = &self.view;
        self.leases.over.retain(|id| view.task(*id).is_some_and(|task| !task.status.state.is_terminal()));
    }

    /// Whether anything with a lease may still be on a node.
    pub(super) fn has_leases(&self, node: NodeId) -> bool {
        self.view.tasks_of_node(node).any(|task| task_over_after(task).is_some())
    }

    /// Of a lost node, the tasks whose lease and grace have passed for certain. Only of one that is down for all: then
    /// the plan has others in their place already.
    pub(super) fn over(&mut self, now: Mono, wall: WallTime, node: NodeId) -> Vec<Change> {
        let Some(presence) = self.nodes.get_mut(&node) else { return Vec::new() };
        let is_lost =
            presence.session.is_none() && self.view.node(node).is_none_or(|node| node.status.state == NodeState::Down);
        presence.over_at = None;
        let mut changes = Vec::new();
        for task in self.view.tasks_of_node(node) {
            let Some(after) = task_over_after(task) else { continue };
            let at = presence.lost_since + after;
            if !self.leases.over.contains(&task.id) {
                if !is_lost {
                    continue;
                }
                if at > now {
                    presence.over_at = Some(presence.over_at.map_or(at, |earlier| earlier.min(at)));
                    continue;
                }
                self.leases.over.insert(task.id);
            }
            let status = TaskStatus {
                state: TaskState::Orphaned,
                timestamp: wall,
                message: "orphaned".to_owned(),
                err: "its node is lost, and its lease has passed".to_owned(),
                ..task.status.clone()
            };
            changes.push(Change::TaskStatus { task: task.id, status });
        }
        changes
    }
}
