//! The conversations between nodes: names, who may open them, and their limits.

use std::time::Duration;

/// Who may open a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialler {
    /// Anyone, also without a certificate: only joining is like that.
    Anyone,
    /// Every node of the cluster.
    Node,
    /// Managers only.
    Manager,
}

/// One kind of conversation. The constants in this module are all there are.
#[derive(Debug, PartialEq, Eq)]
pub struct Conversation {
    /// ALPN protocol name (RFC 7301); the number after the slash changes with the contract.
    pub alpn: &'static str,
    /// Who may open it.
    pub dialler: Dialler,
    /// Largest frame either side accepts, in bytes.
    pub frame_bytes_max: u32,
    /// Silence after which a connection is given up. A peer that vanished is noticed after this.
    pub idle_timeout: Duration,
    /// How often a quiet connection shows that it lives; `None`: it may go idle and close.
    pub keep_alive: Option<Duration>,
}

/// Requests and replies: a few hundred objects of the store fit.
const MESSAGE_BYTES_MAX: u32 = 4 * 1024 * 1024;
/// A request for a certificate or its answer: a CSR, two certificates and two dozen keys. Also a piece of a carried
/// connection: more would only wait in memory.
const SMALL_BYTES_MAX: u32 = 64 * 1024;
/// Parts of something long (an image layer, a snapshot, a log): large enough to be efficient,
/// small enough that a slow reader holds little.
const CHUNK_BYTES_MAX: u32 = 1024 * 1024;
/// Raft messages: mostly small, but a snapshot is one message (`consensus::limits::MESSAGE_BYTES_MAX` and its
/// envelope).
const RAFT_BYTES_MAX: u32 = 66 * 1024 * 1024;

/// How long a connection without traffic is kept for the next call.
const IDLE: Duration = Duration::from_secs(30);
/// A peer that died is noticed within this where others wait for it.
const IDLE_WATCHED: Duration = Duration::from_secs(3);
/// Three signs of life fit into [`IDLE_WATCHED`], so one lost packet does not end a session.
const KEEP_ALIVE: Duration = Duration::from_millis(1000);

/// A new node asks for its certificate with a token.
pub const JOIN: Conversation = Conversation {
    alpn: "swarm-join/1",
    dialler: Dialler::Anyone,
    frame_bytes_max: SMALL_BYTES_MAX,
    idle_timeout: IDLE,
    keep_alive: None,
};

/// A node renews its certificate and fetches keys that rotate.
pub const TRUST: Conversation = Conversation {
    alpn: "swarm-trust/1",
    dialler: Dialler::Node,
    frame_bytes_max: SMALL_BYTES_MAX,
    idle_timeout: IDLE,
    keep_alive: None,
};

/// Raft messages between managers.
pub const RAFT: Conversation = Conversation {
    alpn: "swarm-raft/1",
    dialler: Dialler::Manager,
    frame_bytes_max: RAFT_BYTES_MAX,
    idle_timeout: IDLE_WATCHED,
    keep_alive: Some(KEEP_ALIVE),
};

/// Raft snapshots between managers, in chunks, apart from the messages they would delay.
pub const SNAPSHOT: Conversation = Conversation {
    alpn: "swarm-snapshot/1",
    dialler: Dialler::Manager,
    frame_bytes_max: CHUNK_BYTES_MAX,
    idle_timeout: IDLE,
    keep_alive: None,
};

/// Sessions of agents with managers: heartbeats, assignments, statuses.
pub const DISPATCH: Conversation = Conversation {
    alpn: "swarm-dispatch/1",
    dialler: Dialler::Node,
    frame_bytes_max: MESSAGE_BYTES_MAX,
    idle_timeout: IDLE_WATCHED,
    keep_alive: Some(KEEP_ALIVE),
};

/// Reads and writes of the store, forwarded to the leader.
pub const CONTROL: Conversation = Conversation {
    alpn: "swarm-control/1",
    dialler: Dialler::Node,
    frame_bytes_max: MESSAGE_BYTES_MAX,
    idle_timeout: IDLE,
    keep_alive: None,
};

/// Logs of tasks on other nodes. Kept alive: a followed log may be silent for long.
pub const LOGS: Conversation = Conversation {
    alpn: "swarm-logs/1",
    dialler: Dialler::Manager,
    frame_bytes_max: CHUNK_BYTES_MAX,
    idle_timeout: IDLE,
    keep_alive: Some(Duration::from_secs(10)),
};

/// The Engine API of a node, carried there by a manager for a client. Kept alive: a terminal may be silent for long,
/// and whoever sits at it should not wait half a minute to learn that the node is gone.
pub const ENGINE: Conversation = Conversation {
    alpn: "swarm-engine/1",
    dialler: Dialler::Manager,
    frame_bytes_max: SMALL_BYTES_MAX,
    idle_timeout: Duration::from_secs(10),
    keep_alive: Some(Duration::from_secs(3)),
};

/// Images from nodes that have them.
pub const IMAGES: Conversation = Conversation {
    alpn: "swarm-images/1",
    dialler: Dialler::Node,
    frame_bytes_max: CHUNK_BYTES_MAX,
    idle_timeout: IDLE,
    keep_alive: None,
};

/// All conversations this version knows.
pub const CONVERSATIONS: &[&Conversation] =
    &[&JOIN, &TRUST, &RAFT, &SNAPSHOT, &DISPATCH, &CONTROL, &LOGS, &ENGINE, &IMAGES];

/// The conversation with this ALPN name.
pub(super) fn by_alpn(alpn: &[u8]) -> Option<&'static Conversation> {
    CONVERSATIONS.iter().copied().find(|conversation| conversation.alpn.as_bytes() == alpn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        for conversation in CONVERSATIONS {
            let same = CONVERSATIONS.iter().filter(|other| other.alpn == conversation.alpn);
            assert_eq!(same.count(), 1, "{}", conversation.alpn);
            assert_eq!(by_alpn(conversation.alpn.as_bytes()), Some(*conversation));
        }
        assert_eq!(by_alpn(b"h3"), None);
    }

    #[test]
    fn a_watched_conversation_shows_life_three_times_per_timeout() {
        for conversation in CONVERSATIONS {
            if let Some(period) = conversation.keep_alive {
                assert!(period * 3 <= conversation.idle_timeout, "{}", conversation.alpn);
            }
        }
    }
}
