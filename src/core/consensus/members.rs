//! Who takes part: raft id to node, and the raft ids that were taken away.
//! Part of the replicated state (it changes only when a membership entry is applied), so every member has the same.

use super::limits::REMOVED_IDS_MAX;
use crate::ids::NodeId;
use std::collections::{BTreeMap, VecDeque};

/// The members of the consensus group. A raft id stands for one period of membership of a node and is never
/// used again; a node that is removed and added again gets another one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Members {
    by_raft_id: BTreeMap<u64, NodeId>,
    removed: VecDeque<u64>,
}

impl Members {
    /// Raft id and node, in the order of raft ids.
    pub fn iter(&self) -> impl Iterator<Item = (u64, NodeId)> + '_ {
        self.by_raft_id.iter().map(|(id, node)| (*id, *node))
    }

    /// The node behind a raft id.
    pub fn node(&self, raft_id: u64) -> Option<NodeId> {
        self.by_raft_id.get(&raft_id).copied()
    }

    /// The raft id of a node that is a member now.
    pub fn raft_id(&self, node: NodeId) -> Option<u64> {
        self.iter().find_map(|(id, member)| (member == node).then_some(id))
    }

    /// Number of members, learners included.
    pub fn len(&self) -> usize {
        self.by_raft_id.len()
    }

    /// Whether nobody is a member yet: a node that has joined and heard nothing from its leader.
    pub fn is_empty(&self) -> bool {
        self.by_raft_id.is_empty()
    }

    /// Whether this raft id belonged to a member that was removed.
    pub fn was_removed(&self, raft_id: u64) -> bool {
        self.removed.contains(&raft_id)
    }

    pub(super) fn insert(&mut self, raft_id: u64, node: NodeId) {
        self.by_raft_id.insert(raft_id, node);
    }

    pub(super) fn remove(&mut self, raft_id: u64) {
        self.by_raft_id.remove(&raft_id);
        self.note_removed(raft_id);
    }

    pub(super) fn note_removed(&mut self, raft_id: u64) {
        if self.removed.contains(&raft_id) {
            return;
        }
        if self.removed.len() == REMOVED_IDS_MAX {
            self.removed.pop_front();
        }
        self.removed.push_back(raft_id);
    }

    pub(super) fn removed(&self) -> impl Iterator<Item = u64> + '_ {
        self.removed.iter().copied()
    }
}
