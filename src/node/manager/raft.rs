//! The manager's use of the log: proposals that answer with their index, and members by node.

use super::machine::StoreMachine;
use crate::raft::{Handle, LeaderState, ProposeError as LogError, StateMachine};
use swarm_core::NodeId;
use tokio::sync::watch;

/// The log of this manager's store.
pub type LogHandle = Handle<<StoreMachine as StateMachine>::Reply>;

/// Why a proposal has no index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProposeError {
    /// Certainly not done.
    NotDone,
    /// May have been, or may still be, done.
    Uncertain,
}

/// A member of the group of managers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    pub raft_id: u64,
    pub node: NodeId,
    pub voter: bool,
    pub reachable: bool,
    pub leader: bool,
}

/// Client of the log; clones share it.
#[derive(Clone)]
pub struct RaftHandle {
    log: LogHandle,
}

impl RaftHandle {
    /// A client of `log`.
    pub fn new(log: LogHandle) -> Self {
        Self { log }
    }

    /// The log itself, for messages.
    pub fn log(&self) -> &LogHandle {
        &self.log
    }

    /// Who leads, and whether it is this node and ready to.
    pub fn leader(&self) -> Option<(NodeId, bool)> {
        let state = *self.log.leader().borrow();
        let own = self.log.identity().node;
        match state.leader {
            Some(node) if node == own => state.is_leader.then_some((node, true)),
            Some(node) => Some((node, false)),
            None => None,
        }
    }

    /// Changes of leadership.
    pub fn leadership(&self) -> watch::Receiver<LeaderState> {
        self.log.leader()
    }

    /// Commits an entry at this manager; its index, whatever the store made of it.
    pub async fn propose(&self, entry: Vec<u8>) -> Result<u64, ProposeError> {
        answer(self.log.propose(entry.into()).await)
    }

    /// The same, in this term only.
    pub async fn propose_in_term(&self, term: u64, entry: Vec<u8>) -> Result<u64, ProposeError> {
        answer(self.log.propose_in_term(term, entry.into()).await)
    }

    /// Resolves when everything committed before the call is applied here.
    pub async fn read_barrier(&self) -> Result<(), crate::raft::ReadError> {
        self.log.read_index().await.map(|_| ())
    }

    /// All members, as this manager knows.
    pub async fn members(&self) -> Vec<Member> {
        let Some(status) = self.log.status().await else { return Vec::new() };
        let member = |m: swarm_core::consensus::MemberStatus| Member {
            raft_id: m.raft_id,
            node: m.node,
            voter: m.voter,
            reachable: m.reachable,
            leader: m.leader,
        };
        status.consensus.members.into_iter().map(member).collect()
    }

    /// Lets a node in without a vote.
    pub async fn add_learner(&self, raft_id: u64, node: NodeId) -> Result<(), String> {
        self.log.add_learner(raft_id, node).await.map(drop).map_err(|error| error.to_string())
    }

    /// Gives a learner its vote, once it has caught up.
    pub async fn promote(&self, raft_id: u64) -> Result<(), String> {
        self.log.promote(raft_id).await.map(drop).map_err(|error| error.to_string())
    }

    /// Takes a member out.
    pub async fn remove(&self, raft_id: u64) -> Result<(), String> {
        self.log.remove(raft_id).await.map(drop).map_err(|error| error.to_string())
    }
}

fn answer(result: Result<<StoreMachine as StateMachine>::Reply, LogError>) -> Result<u64, ProposeError> {
    match result {
        Ok((index, _)) => Ok(index),
        Err(error) if error.outcome_unknown() => Err(ProposeError::Uncertain),
        Err(_) => Err(ProposeError::NotDone),
    }
}
