//! The client of the raft task: clonable, for any thread.

use crate::storage::Identity;
use bytes::Bytes;
use std::time::Duration;
use swarm_core::NodeId;
use swarm_core::consensus::{Change, Dropped, Members, Status};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};

/// How long a write may take until its proposer is told that the outcome is unknown. An election (2 s) and a slow disk
/// fit in.
pub const PROPOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a linearizable read may wait for a leader to confirm it.
pub const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a membership change may wait for an earlier one.
pub const CHANGE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a learner may take to catch up: a snapshot of the largest size over a slow link.
pub const PROMOTE_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a leader may take to hand over; raft gives up after an election timeout (1 s).
pub const TRANSFER_TIMEOUT: Duration = Duration::from_secs(3);

/// Why a write or a membership change has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Not done. Ask the leader; none is known during an election.
    #[error("this manager does not lead the cluster")]
    NotLeader { leader: Option<NodeId> },
    /// Not done.
    #[error(transparent)]
    Dropped(Dropped),
    /// Not done.
    #[error("this node takes no part in managing the cluster any more")]
    Stopped,
    /// It may still be done, or may have been.
    #[error("no majority of the managers answered within {} s; the write may still happen", after.as_secs())]
    Timeout { after: Duration },
    /// It may have been done: the node stopped, or was overtaken by a snapshot.
    #[error("the outcome of the write is unknown; look before trying again")]
    Unknown,
}

impl ProposeError {
    /// Whether it may have been done. If not, it certainly was not, and trying again is safe.
    pub fn outcome_unknown(&self) -> bool {
        match self {
            Self::Timeout { .. } | Self::Unknown => true,
            Self::NotLeader { .. } | Self::Dropped(_) | Self::Stopped => false,
        }
    }
}

impl From<Dropped> for ProposeError {
    fn from(dropped: Dropped) -> Self {
        match dropped {
            Dropped::NotLeader { leader } => Self::NotLeader { leader },
            other => Self::Dropped(other),
        }
    }
}

/// Why a linearizable read is not possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    #[error("no leader confirmed the read in time: the managers have lost their majority")]
    NoQuorum,
    #[error("too many reads are waiting; try again")]
    Overloaded,
    #[error("this node takes no part in managing the cluster any more")]
    Stopped,
}

/// Who leads, as this node knows it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeaderState {
    pub leader: Option<NodeId>,
    /// Of this node.
    pub raft_id: u64,
    pub term: u64,
    /// This node leads and its state machine has everything of earlier terms: leader loops may run, and every write
    /// they make goes through [`Handle::propose_in_term`] with this term.
    pub is_leader: bool,
}

/// A look at the member.
#[derive(Debug, Clone)]
pub struct RaftStatus {
    pub consensus: Status,
    /// Batches written to disk since the start, each with one fsync.
    pub disk_batches: u64,
}

pub(super) type Answer<T> = oneshot::Sender<Result<T, ProposeError>>;

pub(super) enum Command<R> {
    Propose { data: Bytes, term: Option<u64>, answer: Answer<R> },
    Read { deadline: Instant, answer: oneshot::Sender<Result<u64, ReadError>> },
    Change { change: Change, deadline: Instant, answer: Answer<u64> },
    TransferLeader { to: Option<u64> },
    Campaign,
    Unreachable { raft_id: u64 },
    SnapshotSent { raft_id: u64, ok: bool },
    Status { answer: oneshot::Sender<RaftStatus> },
    Shutdown,
}

/// See the module.
pub struct Handle<R> {
    pub(super) commands: mpsc::Sender<Command<R>>,
    pub(super) inbox: mpsc::Sender<(NodeId, Bytes)>,
    pub(super) leader: watch::Receiver<LeaderState>,
    pub(super) members: watch::Receiver<Members>,
    pub(super) identity: Identity,
}

impl<R> Clone for Handle<R> {
    fn clone(&self) -> Self {
        Self {
            commands: self.commands.clone(),
            inbox: self.inbox.clone(),
            leader: self.leader.clone(),
            members: self.members.clone(),
            identity: self.identity,
        }
    }
}

impl<R: Send + 'static> Handle<R> {
    /// Has `data` replicated and applied; the result is the state machine's. Only the leader takes it.
    pub async fn propose(&self, data: Bytes) -> Result<R, ProposeError> {
        self.propose_any(data, None).await
    }

    /// The same, only in this term of this node's leadership: what a leader decided must not be written by its
    /// successor's rules.
    pub async fn propose_in_term(&self, term: u64, data: Bytes) -> Result<R, ProposeError> {
        self.propose_any(data, Some(term)).await
    }

    async fn propose_any(&self, data: Bytes, term: Option<u64>) -> Result<R, ProposeError> {
        let (answer, result) = oneshot::channel();
        self.ask(Command::Propose { data, term, answer }, result, PROPOSE_TIMEOUT).await
    }

    /// Sends a command and waits for its answer, `patience` in all.
    async fn ask<T>(
        &self,
        command: Command<R>,
        answer: oneshot::Receiver<Result<T, ProposeError>>,
        patience: Duration,
    ) -> Result<T, ProposeError> {
        let end = Instant::now() + patience;
        match timeout(patience, self.commands.reserve()).await {
            Ok(Ok(place)) => place.send(command),
            Ok(Err(_)) => return Err(ProposeError::Stopped),
            Err(_) => return Err(ProposeError::Dropped(Dropped::Overloaded)),
        }
        match tokio::time::timeout_at(end, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(ProposeError::Unknown),
            Err(_) => Err(ProposeError::Timeout { after: patience }),
        }
    }

    /// Waits until this node has applied everything that was committed before the call, at any manager; the state
    /// machine's state is linearizable then. Returns the index read at.
    pub async fn read_index(&self) -> Result<u64, ReadError> {
        let deadline = Instant::now() + READ_TIMEOUT;
        let (answer, result) = oneshot::channel();
        match tokio::time::timeout_at(deadline, self.commands.send(Command::Read { deadline, answer })).await {
            Ok(Ok(())) => result.await.unwrap_or(Err(ReadError::Stopped)),
            Ok(Err(_)) => Err(ReadError::Stopped),
            Err(_) => Err(ReadError::Overloaded),
        }
    }

    async fn change(&self, change: Change, patience: Duration) -> Result<u64, ProposeError> {
        let (answer, result) = oneshot::channel();
        let deadline = Instant::now() + patience;
        self.ask(Command::Change { change, deadline, answer }, result, patience + PROPOSE_TIMEOUT).await
    }

    /// Adds a node without a vote. `raft_id` from [`super::fresh_raft_id`]; the node has [`super::join`]ed with it.
    /// Returns the index of the change. Only the leader takes it, as the following.
    pub async fn add_learner(&self, raft_id: u64, node: NodeId) -> Result<u64, ProposeError> {
        self.change(Change::AddLearner { raft_id, node }, CHANGE_TIMEOUT).await
    }

    /// Gives a learner its vote once it has caught up, within [`PROMOTE_TIMEOUT`].
    pub async fn promote(&self, raft_id: u64) -> Result<u64, ProposeError> {
        self.change(Change::Promote { raft_id }, PROMOTE_TIMEOUT).await
    }

    /// Removes a member, which then stops. Refused when the others would have no majority. A leader asked to remove
    /// itself hands over and answers `NotLeader` with its successor.
    pub async fn remove(&self, raft_id: u64) -> Result<u64, ProposeError> {
        self.change(Change::Remove { raft_id }, CHANGE_TIMEOUT).await
    }

    /// Hands leadership to a member, or to the best one. Returns when this node leads no more.
    pub async fn transfer_leader(&self, to: Option<u64>) -> Result<(), ProposeError> {
        let mut leader = self.leader.clone();
        if !leader.borrow().is_leader {
            let leader = leader.borrow().leader;
            return Err(ProposeError::NotLeader { leader });
        }
        self.commands.send(Command::TransferLeader { to }).await.map_err(|_| ProposeError::Stopped)?;
        match timeout(TRANSFER_TIMEOUT, leader.wait_for(|state| !state.is_leader)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(ProposeError::Stopped),
            Err(_) => Err(ProposeError::Timeout { after: TRANSFER_TIMEOUT }),
        }
    }

    /// Asks for an election now.
    pub async fn campaign(&self) -> Result<(), ProposeError> {
        self.commands.send(Command::Campaign).await.map_err(|_| ProposeError::Stopped)
    }

    /// Feeds in a message of another manager, as the transport has authenticated it. Never waits: what does not fit
    /// is lost, which raft tolerates.
    pub fn step(&self, from: NodeId, bytes: Bytes) {
        if self.inbox.try_send((from, bytes)).is_err() {
            tracing::debug!("raft: a message from node {from} was dropped, the inbox is full or closed");
        }
    }

    /// A message could not be delivered. Never waits.
    pub fn report_unreachable(&self, raft_id: u64) {
        // Losing the report costs a retry later, no more.
        let _ = self.commands.try_send(Command::Unreachable { raft_id });
    }

    /// A snapshot was delivered, or was not. Never waits.
    pub fn report_snapshot(&self, raft_id: u64, ok: bool) {
        // A lost report is made up for by a timeout in consensus.
        let _ = self.commands.try_send(Command::SnapshotSent { raft_id, ok });
    }

    /// Who leads; changes are seen by waiting on it. When the member ends, nobody does.
    pub fn leader(&self) -> watch::Receiver<LeaderState> {
        self.leader.clone()
    }

    /// Who takes part, as of the last applied change.
    pub fn members(&self) -> watch::Receiver<Members> {
        self.members.clone()
    }

    /// Of this member.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Progress and reachability of all members; complete on the leader. `None` when the member has ended.
    pub async fn status(&self) -> Option<RaftStatus> {
        let (answer, status) = oneshot::channel();
        self.commands.send(Command::Status { answer }).await.ok()?;
        status.await.ok()
    }

    /// Ends the member; its database is closed when `Running::ended` is done. To leave without an election, hand
    /// leadership over first.
    pub async fn shutdown(&self) {
        // Ended already is what is asked for.
        let _ = self.commands.send(Command::Shutdown).await;
    }
}
