//! What goes into consensus and what comes out of it.

use super::members::Members;
use crate::ids::NodeId;
use crate::time::Mono;
use bytes::Bytes;

/// Names a request of the shell; the same number comes back in its reply. Never used twice by one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// What the shell asks to have replicated.
#[derive(Debug, Clone)]
pub struct Proposal {
    pub id: RequestId,
    /// Opaque to consensus, at most `PROPOSAL_BYTES_MAX` bytes and not empty.
    pub data: Bytes,
    /// Only in this term of this node's leadership; `None`: in any.
    pub term: Option<u64>,
}

/// A change of who takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// A node receives the log without a vote. `raft_id` is fresh: not zero, never used in this cluster.
    AddLearner { raft_id: u64, node: NodeId },
    /// A learner gets a vote; waits until it has caught up.
    Promote { raft_id: u64 },
    /// A member leaves; refused when the others would have no quorum.
    Remove { raft_id: u64 },
}

impl Change {
    /// The raft id the change is about.
    pub fn raft_id(self) -> u64 {
        match self {
            Change::AddLearner { raft_id, .. } | Change::Promote { raft_id } | Change::Remove { raft_id } => raft_id,
        }
    }
}

/// Everything that can happen to consensus.
#[derive(Debug)]
pub enum Input {
    /// `TICK_MS` have passed.
    Tick,
    /// Bytes of `Send::bytes` from another member; `from` is the sender the transport has authenticated.
    Message { from: NodeId, bytes: Bytes },
    /// Replicate these, in order. Answered one by one in `Effects::replies` or through `Committed::reply_to`.
    Propose(Vec<Proposal>),
    /// A linearizable read: answered in `Effects::reads` when this node has applied all that was committed before.
    ReadIndex { id: RequestId, deadline: Mono },
    /// Change the members; waits for an earlier change and for a learner to catch up, until `deadline`.
    ProposeChange { id: RequestId, change: Change, deadline: Mono },
    /// Everything up to and including `Persist::number` is on stable storage.
    Persisted { number: u64 },
    /// The snapshot asked for in `Effects::snapshot` is on stable storage; `state` is what was stored.
    SnapshotStored { index: u64, state: Bytes },
    /// The snapshot asked for could not be taken; it is asked for again after as many entries as for a regular one.
    SnapshotFailed { index: u64 },
    /// Ask for leadership now (a group of one starts with this instead of waiting for the election timeout).
    Campaign,
    /// Hand leadership over, to the most caught-up voter if `None`. No reply: watch the role.
    TransferLeader { to: Option<u64> },
    /// The transport could not deliver to this member.
    Unreachable { raft_id: u64 },
    /// The transport has delivered a snapshot, or failed to.
    SnapshotSent { raft_id: u64, ok: bool },
}

/// What must reach stable storage, as one unit. The snapshot, if any, replaces the stored snapshot and the whole
/// log; then `append` replaces everything in the log from its first index on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Persist {
    /// Report with `Input::Persisted`; numbers grow.
    pub number: u64,
    pub hard_state: Bytes,
    pub snapshot: Option<StoredSnapshot>,
    /// Consecutive, by index.
    pub append: Vec<LogRecord>,
}

impl Persist {
    /// Joins a later batch to this one, for a storage that was busy meanwhile.
    pub fn merge(&mut self, later: Persist) {
        assert!(later.number > self.number, "batch {} after {}", later.number, self.number);
        self.number = later.number;
        self.hard_state = later.hard_state;
        if later.snapshot.is_some() {
            self.snapshot = later.snapshot;
            self.append.clear();
        }
        if let Some(first) = later.append.first() {
            let keep = self.append.partition_point(|record| record.index < first.index);
            self.append.truncate(keep);
            self.append.extend(later.append);
        }
    }
}

/// One log entry as storage sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct LogRecord {
    pub index: u64,
    pub bytes: Bytes,
}

/// A snapshot as storage sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredSnapshot {
    pub index: u64,
    /// Position and members, opaque.
    pub meta: Bytes,
    /// The state machine's bytes.
    pub state: Bytes,
    /// Where the log begins after it: the last entry cut away, opaque.
    pub floor: Bytes,
}

/// What storage held when the process started.
#[derive(Debug, Clone, Default)]
pub struct Recovered {
    /// Empty for a node that has never taken part.
    pub hard_state: Bytes,
    pub snapshot: Option<StoredSnapshot>,
    /// By index, consecutive.
    pub entries: Vec<LogRecord>,
}

/// A message for another member. Losing it is allowed.
#[derive(Debug, Clone)]
pub struct Send {
    pub to: NodeId,
    pub raft_id: u64,
    pub bytes: Bytes,
    /// A snapshot: its fate is reported with `Input::SnapshotSent`.
    pub snapshot: bool,
}

/// What to do with the state machine, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Apply {
    /// Replace the state by this snapshot (also at start).
    Restore { index: u64, term: u64, state: Bytes },
    /// Apply one committed entry; its result goes to `reply_to`, a proposal of this process.
    Entry { index: u64, term: u64, data: Bytes, reply_to: Option<RequestId> },
}

/// Why something was certainly not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Dropped {
    /// Ask the leader; none is known during an election.
    #[error("this manager does not lead the cluster")]
    NotLeader { leader: Option<NodeId> },
    /// The leadership the proposal was meant for has ended.
    #[error("leadership changed: the term is {current} now")]
    StaleTerm { current: u64 },
    /// For a second at most.
    #[error("leadership is being handed over; try again")]
    HandingOver,
    /// Too much is waiting for the disks and the followers.
    #[error("the managers do not keep up with the writes; try again")]
    Overloaded,
    /// More than `PROPOSAL_BYTES_MAX`.
    #[error("a write of {bytes} bytes is over the limit of {max} bytes")]
    TooLarge { bytes: usize, max: usize },
    /// Another leader's entry took its place in the log.
    #[error("another leader took over before the write was replicated")]
    Overwritten,
    /// A deadline passed before the change was even proposed.
    #[error("{0}")]
    TimedOut(Waiting),
    /// The change makes no sense for these members.
    #[error("{0}")]
    Refused(Refusal),
}

/// What a membership change was waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Waiting {
    #[error("an earlier membership change has not finished")]
    EarlierChange,
    #[error("the new manager has not caught up: {behind} entries are missing")]
    CatchUp { behind: u64 },
    #[error("the new manager has not been reached yet")]
    Unreached,
}

/// Why a membership change is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("raft id {raft_id} was used before")]
    IdUsed { raft_id: u64 },
    #[error("the node is a manager already (raft id {raft_id})")]
    AlreadyMember { raft_id: u64 },
    #[error("raft id {raft_id} is no member")]
    NoMember { raft_id: u64 },
    #[error("the cluster has {max} managers, which is the limit")]
    TooMany { max: usize },
    #[error("the last manager cannot be removed")]
    LastVoter,
    #[error("only {reachable} of the {voters} managers left would be reachable, and {needed} are needed to decide")]
    QuorumLost { reachable: usize, voters: usize, needed: usize },
}

/// How a request ended, apart from a committed entry's own result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A membership change is committed and applied here.
    Committed { index: u64 },
    /// Certainly not done.
    Dropped(Dropped),
    /// It may have been done: this node learned the outcome only as part of a snapshot.
    Unknown,
}

/// How a read ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadOutcome {
    /// This node has applied everything committed before the read was asked, up to `index` at least.
    Ready { index: u64 },
    /// No leader confirmed it in time.
    TimedOut,
    /// `PENDING_READS_MAX` wait already.
    Overloaded,
}

/// Who leads, as this node knows it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Role {
    pub leader: Option<NodeId>,
    /// 0 when unknown.
    pub leader_raft_id: u64,
    pub term: u64,
    /// This node leads *and* has applied everything of earlier terms: leader loops may start.
    pub is_leader: bool,
}

/// A snapshot consensus wants of the state machine as it is once this `Effects` is drained.
/// Store it with `floor`, then report `Input::SnapshotStored` (or `SnapshotFailed`). One at a time.
#[derive(Debug, Clone, PartialEq)]
pub struct SnapshotRequest {
    pub index: u64,
    pub meta: Bytes,
    pub floor: Bytes,
    /// Index of the last log entry that may be deleted with it.
    pub floor_index: u64,
}

/// Why consensus has ended; no input has an effect afterwards.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    /// This node is no member any more. Its data is of no further use.
    #[error("this node was removed from the managers")]
    Removed,
    #[error("log entry {index} has the unknown kind {kind}: a newer version wrote it, upgrade this node")]
    UnknownEntry { index: u64, kind: u64 },
    #[error("log entry {index} is damaged: {reason}; remove this manager and add it again")]
    BadEntry { index: u64, reason: String },
    #[error(
        "this node's log ends at {last}, but it had stored {acknowledged}: its disk lost writes; \
         remove this manager and add it again"
    )]
    LostEntries { last: u64, acknowledged: u64 },
    #[error("a snapshot from the leader is damaged: {reason}; upgrade this node, or remove and add it again")]
    BadSnapshot { reason: String },
}

/// I/O to do, in the order of the fields. All of `apply` is done before the next input.
#[derive(Debug, Default)]
pub struct Effects {
    pub persist: Option<Persist>,
    /// May be sent at once: what has to wait for the disk is held back inside.
    pub sends: Vec<Send>,
    pub apply: Vec<Apply>,
    pub replies: Vec<(RequestId, Outcome)>,
    pub reads: Vec<(RequestId, ReadOutcome)>,
    /// Set when it changed.
    pub role: Option<Role>,
    /// Set when it changed.
    pub members: Option<Members>,
    pub snapshot: Option<SnapshotRequest>,
    pub stop: Option<Stop>,
}

/// One member in `Status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberStatus {
    pub raft_id: u64,
    pub node: NodeId,
    pub voter: bool,
    pub leader: bool,
    /// Heard from within `REACHABLE_TICKS`. The leader hears all members, the others mostly the leader.
    pub reachable: bool,
    /// The last entry known to be on its disk; only the leader knows.
    pub match_index: Option<u64>,
}

/// A look at consensus, for people and for the manager role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    pub raft_id: u64,
    pub role: Role,
    pub commit: u64,
    pub applied: u64,
    pub first_index: u64,
    pub last_index: u64,
    pub members: Vec<MemberStatus>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(number: u64, first: u64, last: u64) -> Persist {
        let append = (first..=last).map(|index| LogRecord { index, bytes: number.to_string().into() }).collect();
        Persist { number, append, ..Persist::default() }
    }

    #[test]
    fn a_later_batch_replaces_the_entries_it_conflicts_with() {
        let mut first = batch(1, 5, 9);
        first.merge(batch(2, 8, 8));
        assert_eq!(first.append.iter().map(|r| r.index).collect::<Vec<_>>(), [5, 6, 7, 8]);
        assert_eq!(first.append[3].bytes, "2");
        first.merge(batch(3, 9, 10));
        assert_eq!(first.append.len(), 6);
        let snapshot = StoredSnapshot { index: 20, meta: Bytes::new(), state: Bytes::new(), floor: Bytes::new() };
        first.merge(Persist { number: 4, snapshot: Some(snapshot), ..Persist::default() });
        assert!(first.append.is_empty() && first.snapshot.is_some());
    }
}
