//! Bounds and periods of the consensus module: each named, with its unit and why this number.

/// Length of one `Input::Tick`, in milliseconds. Every period below counts ticks.
pub const TICK_MS: u64 = 100;

/// Ticks between heartbeats of the leader: five get lost before a follower becomes suspicious.
pub const HEARTBEAT_TICKS: usize = 2;

/// Shortest silence, in ticks, after which a voter asks to become leader. One second of base plus the spread keeps
/// a lost leader's replacement within three seconds, and is far above the pauses of a busy host.
pub const ELECTION_TICKS_MIN: usize = 10;

/// Each voter draws its own silence from `ELECTION_TICKS_MIN..ELECTION_TICKS_MAX`, so that two rarely ask at once.
pub const ELECTION_TICKS_MAX: usize = 20;

/// Bytes of entries in one append message (one larger entry still travels alone).
pub const APPEND_BYTES_MAX: u64 = 512 * 1024;

/// Append messages on the way to one follower: with `APPEND_BYTES_MAX`, 32 MiB per follower at most.
pub const INFLIGHT_MESSAGES_MAX: usize = 64;

/// Bytes of committed entries handed out at once, so that applying a long log never starves the ticks.
pub const COMMITTED_BYTES_PER_READY_MAX: u64 = 4 * 1024 * 1024;

/// Bytes proposed and not yet committed; beyond it proposals are refused (the disk or the followers do not keep up).
pub const UNCOMMITTED_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// Bytes of one proposal. A stack with its configs fits; a larger one would stall heartbeats on slow links.
pub const PROPOSAL_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Proposals waiting for their outcome on one node; each costs a map entry and a caller.
pub const PENDING_PROPOSALS_MAX: usize = 16 * 1024;

/// Bytes of a state machine's snapshot. It is held in memory and sent as one message.
pub const SNAPSHOT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of one message between managers: a snapshot, its members and framing.
pub const MESSAGE_BYTES_MAX: usize = SNAPSHOT_BYTES_MAX + 1024 * 1024;

/// Applied entries after which a snapshot is taken and the log cut.
pub const SNAPSHOT_EVERY_ENTRIES: u64 = 10_000;

/// Applied bytes after which a snapshot is taken: the log is held in memory too.
pub const SNAPSHOT_EVERY_BYTES: u64 = 8 * 1024 * 1024;

/// Entries kept before a snapshot, so that a follower a little behind needs no snapshot.
pub const KEEP_ENTRIES: u64 = 500;

/// Bytes of entries kept before a snapshot, whichever bound is reached first.
pub const KEEP_BYTES: u64 = 4 * 1024 * 1024;

/// Bytes of log at which proposals are refused: snapshots fail, and the memory of the node must stay bounded.
pub const LOG_BYTES_MAX: u64 = 128 * 1024 * 1024;

/// Ticks a snapshot stays in memory after the last follower needed it.
pub const SNAPSHOT_CACHE_TICKS: u64 = 100;

/// Ticks after which a snapshot sent without any answer counts as lost, if the transport never said so.
pub const SNAPSHOT_SEND_TICKS: u64 = 300;

/// Ticks after which an unanswered read round is asked again (its message may be lost, or the leader too new).
pub const READ_RETRY_TICKS: u64 = 5;

/// Reads waiting on one node.
pub const PENDING_READS_MAX: usize = 16 * 1024;

/// Membership changes waiting on the leader; they pass one at a time.
pub const PENDING_CHANGES_MAX: usize = 64;

/// Entries a learner may miss and still be promoted: with less than this it keeps up within one heartbeat.
pub const PROMOTE_LAG_ENTRIES_MAX: u64 = 64;

/// Members: a larger quorum makes every write slower and nothing safer.
pub const MEMBERS_MAX: usize = 63;

/// Raft ids of removed members kept so that they can be told. The oldest go first; an id is never used twice.
pub const REMOVED_IDS_MAX: usize = 1024;

/// Senders remembered that the members do not name yet (a new member does not know its leader).
pub const STRANGERS_MAX: usize = 64;

/// Ticks without a message after which a member counts as unreachable in status and in quorum checks.
pub const REACHABLE_TICKS: u64 = 2 * ELECTION_TICKS_MIN as u64;

/// Ticks a leader may wait for its own disk before it hands leadership over.
pub const DISK_STALL_TICKS: u64 = 30;

/// Ticks between the questions of a member that hears no leader whether it still is a member.
pub const ASK_TICKS: u64 = 50;

/// Ticks between the messages of a removed voter to those that are left.
pub const LEAVE_TELL_TICKS: u64 = 5;

/// Ticks a removed voter waits for a majority of those that are left to know it.
pub const LEAVE_TICKS: u64 = 600;
