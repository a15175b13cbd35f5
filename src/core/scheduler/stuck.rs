//! Tasks that no node takes: remembered, so that a change elsewhere does not cost a look at every node for each of them.
//!
//! Whether a task fits on a node follows from its spec and from what is on the node. What was found for all nodes holds
//! for those that did not change since, and the others are looked at again: the outcome, and its words, are as if all of
//! them were.

use super::demand::Demand;
use super::place::is_alike;
use super::table::{Mark, NodeTable};
use super::tally::Tally;
use crate::ServiceId;
use crate::model::Task;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Kinds of tasks remembered at most: each may keep an amount per node, some 100 KiB with 10,000 nodes. The others are
/// looked at anew each time.
const KINDS_MAX: usize = 256;

type Key = (ServiceId, u64);

fn key(task: &Task) -> Key {
    (task.service, task.spec_version)
}

/// Tasks that ask the same of any node.
#[derive(Clone, Debug)]
struct Kind {
    /// One of them.
    task: Arc<Task>,
    tally: Tally,
    reason: String,
    /// Where the nodes were when they were counted.
    mark: Mark,
    #[cfg(test)]
    counted: usize,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Stuck {
    kinds: BTreeMap<Key, Kind>,
    /// Those that were asked for in this pass.
    asked: BTreeSet<Key>,
}

impl Stuck {
    /// Why no node takes tasks like `task`, as the nodes are now; `None` when one may, or nothing is known.
    pub fn reason(&mut self, nodes: &mut NodeTable, task: &Task, demand: &Demand) -> Option<String> {
        let kind = self.kinds.get_mut(&key(task))?;
        if is_alike(&kind.task, task) && kind.follow(nodes, demand) {
            self.asked.insert(key(task));
            return Some(kind.reason.clone());
        }
        self.kinds.remove(&key(task));
        None
    }

    /// No node takes tasks like `task`; says why.
    pub fn remember(&mut self, nodes: &mut NodeTable, task: &Arc<Task>, demand: &Demand) -> String {
        let tally = Tally::of(nodes.all(), demand);
        let reason = tally.words(demand);
        if self.kinds.len() < KINDS_MAX || self.kinds.contains_key(&key(task)) {
            let kind = Kind {
                task: Arc::clone(task),
                tally,
                reason: reason.clone(),
                mark: nodes.mark(),
                #[cfg(test)]
                counted: nodes.len(),
            };
            self.kinds.insert(key(task), kind);
            self.asked.insert(key(task));
        }
        reason
    }

    /// Nodes looked at for each kind.
    #[cfg(test)]
    pub fn counted(&self) -> Vec<usize> {
        self.kinds.values().map(|kind| kind.counted).collect()
    }

    /// All tasks that wait had their turn: what was not asked for waits no more.
    pub fn tidy(&mut self, nodes: &mut NodeTable) {
        let asked = std::mem::take(&mut self.asked);
        self.kinds.retain(|key, _| asked.contains(key));
        nodes.forget_before(self.kinds.values().map(|kind| kind.mark).min());
    }
}

impl Kind {
    /// Counts the nodes anew that changed; false when one of them takes the task now, or it is not known which changed.
    fn follow(&mut self, nodes: &mut NodeTable, demand: &Demand) -> bool {
        let Some(changed) = nodes.changed_since(self.mark) else { return false };
        let is_same = changed.is_empty();
        let mut is_stale = false;
        for (id, before) in changed {
            #[cfg(test)]
            (self.counted += 1);
            match self.tally.follow(demand, before, nodes.get(id)) {
                Some(other_words) => is_stale |= other_words,
                None => return false,
            }
        }
        if is_stale {
            self.reason = self.tally.words(demand);
        }
        if !is_same {
            self.mark = nodes.mark();
        }
        true
    }
}
