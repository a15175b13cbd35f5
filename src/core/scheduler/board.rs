//! What placing looks at: the nodes, and the tasks that wait for one, in their turn.

use super::preempt::holds;
use super::stuck::Stuck;
use super::table::NodeTable;
use crate::model::{Task, TaskState};
use crate::store::{Delta, View};
use crate::{ServiceId, TaskId};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The most important first; then first made, first served; those of one service made at once by their slot.
type Turn = (Reverse<i32>, u64, ServiceId, u64, TaskId);

/// Follows from a snapshot alone, however it got there: by [`Board::of`] or by [`Board::follow`].
#[derive(Clone, Debug, Default)]
pub struct Board {
    /// Log index of the snapshot.
    index: u64,
    pub(super) nodes: NodeTable,
    pub(super) waiting: BTreeMap<Turn, Arc<Task>>,
    /// Told to stop, and still holding something of their nodes.
    pub(super) stopping: BTreeMap<TaskId, Arc<Task>>,
    /// What was found out of those that wait; it spares work and changes nothing.
    pub(super) stuck: Stuck,
}

impl PartialEq for Board {
    fn eq(&self, other: &Self) -> bool {
        (self.index, &self.nodes, &self.waiting, &self.stopping)
            == (other.index, &other.nodes, &other.waiting, &other.stopping)
    }
}

impl Eq for Board {}

fn turn(task: &Task) -> Turn {
    (Reverse(task.spec.placement.priority), task.meta.created.index, task.service, task.slot, task.id)
}

fn waits(task: &Task) -> bool {
    task.status.state == TaskState::Pending && task.is_wanted()
}

fn stops(task: &Task) -> bool {
    !task.is_wanted() && holds(task)
}

impl Board {
    /// The board of a snapshot.
    pub fn of(view: &View) -> Self {
        let mut board = Self::default();
        board.follow(&Delta::between(&View::default(), view), view);
        board
    }

    /// Goes on to `view`, which differs by `delta` from where the board was.
    pub fn follow(&mut self, delta: &Delta, view: &View) {
        self.index = view.index();
        self.nodes.follow(delta, view);
        for task in &delta.tasks {
            if let Some(old) = task.old.as_ref().filter(|task| waits(task)) {
                self.waiting.remove(&turn(old));
            }
            if let Some(new) = task.new.as_ref().filter(|task| waits(task)) {
                self.waiting.insert(turn(new), Arc::clone(new));
            }
            if let Some(old) = task.old.as_ref().filter(|task| stops(task)) {
                self.stopping.remove(&old.id);
            }
            if let Some(new) = task.new.as_ref().filter(|task| stops(task)) {
                self.stopping.insert(new.id, Arc::clone(new));
            }
        }
    }

    /// Log index of the snapshot it is at.
    pub fn index(&self) -> u64 {
        self.index
    }

    pub fn nodes(&self) -> &NodeTable {
        &self.nodes
    }
}
