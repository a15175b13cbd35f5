//! Consensus between the managers: one raft group, as a pure state machine around `raft::RawNode`.
//!
//! Owns: the log (in memory), membership, elections, and which reply belongs to which request.
//! Called by: the shell (`node::raft`) and the simulator, through [`Consensus::input`].
//! Never: I/O, clocks, random sources, or a look into entries and snapshots, which are opaque bytes.
//!
//! The rules a shell keeps:
//! 1. After each `input`, everything in `Effects` is done in the order of its fields; `apply` completes before the
//!    next `input`. `persist` is only *handed* to storage: report `Input::Persisted` when it is on stable storage.
//! 2. A persist that fails ends this process's part: nothing was acknowledged that is not on disk, and nothing may be.
//! 3. Sends may be lost, doubled or reordered.
//!
//! What this module does on top of raft-rs: holds back messages until the disk has what they promise; draws election
//! timeouts from its own seed; checks messages before raft (which panics on malformed ones) sees them; batches and
//! retries linearizable reads; lets membership changes wait for their turn and learners for the log; refuses changes
//! that would cost the quorum; tells a removed member that it was removed, and keeps it until the others know;
//! notices a log that lost entries.
//! Sources: the Raft thesis (ongardie/dissertation) sections 3 (core), 4 (membership), 6.4 (reads), 9.6 (pre-vote),
//! 10.2.1 (leader writes its disk in parallel).

mod change;
mod codec;
mod io;
mod leave;
pub mod limits;
mod log;
mod logger;
mod machine;
mod members;
mod message;
mod reads;
mod ready;
mod snapshot;
#[cfg(test)]
mod tests;

pub use codec::CodecError;
pub use io::{
    Apply, Change, Dropped, Effects, Input, LogRecord, MemberStatus, Outcome, Persist, Proposal, ReadOutcome,
    Recovered, Refusal, RequestId, Role, Send, SnapshotRequest, Status, Stop, StoredSnapshot, Waiting,
};
pub use machine::{Config, Consensus, ConsensusError, bootstrap};
pub use members::Members;
