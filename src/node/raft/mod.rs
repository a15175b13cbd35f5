//! The shell of consensus: one task that owns [`swarm_core::consensus::Consensus`] and the state machine, and one
//! thread that owns the database, so that an fsync never holds up a heartbeat.
//!
//! Called by: the manager role, which hands in a [`StateMachine`], carries [`Outgoing`] messages to other managers
//! and feeds theirs into [`Handle::step`]. Others hold a clonable [`Handle`].
//! Never: looks into entries, knows addresses, or acknowledges what is not on the disks of a majority.
//!
//! A node becomes a member by [`bootstrap`] (first of a new group) or [`join`] (empty, filled by the leader after
//! [`Handle::add_learner`]), and takes part from [`start`] on, at each start of the process.

mod disk;
mod handle;
mod shell;
#[cfg(test)]
mod tests;

pub use handle::{Handle, LeaderState, ProposeError, RaftStatus, ReadError};

use crate::storage::{DataKey, Identity, RaftStorage, StorageError};
use bytes::Bytes;
use std::path::Path;
use swarm_core::NodeId;
use swarm_core::consensus::{self, ConsensusError, Stop};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// What the log is applied to. Lives in the task; must be fast and the same on every member.
pub trait StateMachine: Send + 'static {
    /// What a proposer gets back.
    type Reply: Send + 'static;

    /// Applies one committed entry. An error stops the node: it means that going on would make it differ from the
    /// others (an entry of a kind this version does not know).
    fn apply(&mut self, index: u64, term: u64, data: &Bytes) -> Result<Self::Reply, ApplyError>;

    /// Captures the state as it is now, quickly; the closure makes the bytes later, on another thread. At most
    /// `SNAPSHOT_BYTES_MAX`.
    fn snapshot(&self) -> Box<dyn FnOnce() -> Bytes + Send>;

    /// Replaces the state by that of a snapshot which covers the log up to `index`.
    fn restore(&mut self, index: u64, state: &Bytes) -> Result<(), ApplyError>;
}

/// The state machine cannot go on.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ApplyError(pub String);

/// A message for another manager. Losing it is allowed; report what is known with [`Handle::report_unreachable`] and,
/// if `snapshot`, always with [`Handle::report_snapshot`].
#[derive(Debug)]
pub struct Outgoing {
    pub to: NodeId,
    pub raft_id: u64,
    /// At most `consensus::limits::MESSAGE_BYTES_MAX`, opaque; for [`Handle::step`] of the receiver.
    pub bytes: Bytes,
    pub snapshot: bool,
}

/// Why a member has ended, or never began.
#[derive(Debug, thiserror::Error)]
pub enum RaftError {
    /// Nothing that was not on disk has been acknowledged.
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Consensus(#[from] ConsensusError),
    #[error(transparent)]
    Stopped(#[from] Stop),
    #[error("log entry {index} cannot be applied: {reason}")]
    Apply { index: u64, reason: ApplyError },
    #[error("a snapshot that covers the log up to entry {index} cannot be restored: {reason}")]
    Restore { index: u64, reason: ApplyError },
    #[error("this node and the other managers disagree about the log: raft gave up; restart the daemon")]
    Panicked,
    #[error("the thread of the raft database ended unexpectedly; restart the daemon")]
    DiskThread,
}

/// A running member.
pub struct Running<R> {
    pub handle: Handle<R>,
    /// Ends when the member does: `Ok` after [`Handle::shutdown`] or when all handles are gone.
    pub ended: JoinHandle<Result<(), RaftError>>,
}

/// A raft id for a node that is about to be added: never zero, and random so that none is used twice.
pub fn fresh_raft_id() -> u64 {
    rand::random_range(1..=u64::MAX)
}

/// Writes the database of the first manager of a new cluster, with the state machine's state as its beginning.
pub fn bootstrap<S: StateMachine>(
    path: &Path,
    key: &DataKey,
    identity: Identity,
    state_machine: &S,
) -> Result<(), RaftError> {
    let first = consensus::bootstrap(identity.raft_id, identity.node, state_machine.snapshot()());
    Ok(RaftStorage::create(path, key, identity, Some(&first))?)
}

/// Writes the database of a manager that joins a cluster: empty.
pub fn join(path: &Path, key: &DataKey, identity: Identity) -> Result<(), RaftError> {
    Ok(RaftStorage::create(path, key, identity, None)?)
}

/// Opens the database, restores `state_machine` from it (done when this returns), and takes part. A group of one leads at once.
/// `outgoing` is never waited for: what does not fit is lost, as on a network.
pub async fn start<S: StateMachine>(
    path: &Path,
    key: &DataKey,
    state_machine: S,
    outgoing: mpsc::Sender<Outgoing>,
) -> Result<Running<S::Reply>, RaftError> {
    let (path, key) = (path.to_owned(), key.clone());
    let opened = tokio::task::spawn_blocking(move || RaftStorage::open(&path, &key)).await;
    let (storage, identity, recovered) = opened.map_err(|_| RaftError::DiskThread)??;
    shell::spawn(storage, identity, recovered, state_machine, outgoing).await
}
