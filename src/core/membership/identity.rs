//! A member's identity: node id and generation, with everything others need to reach it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::model::NodeRole;
use crate::{NodeId, WallTime};

/// Longest name of a member in bytes (a host name's label, RFC 1035 section 2.3.4), so that three
/// identities and some updates fit into one packet.
pub const NAME_BYTES_MAX: usize = 63;

/// How far a generation may be ahead of the clock of whoever hears of it. Generations are wall-clock milliseconds, and
/// clocks of hosts may differ; but nobody must be able to use up all generations of a node, which could then never
/// take its place again.
const GENERATION_AHEAD_MAX: Duration = Duration::from_secs(24 * 3600);

/// The highest generation that is believed now. Clones share it; none is too high before the first [`Horizon::set`].
#[derive(Debug, Clone)]
pub(super) struct Horizon(Arc<AtomicU64>);

impl Default for Horizon {
    fn default() -> Self {
        Self(Arc::new(AtomicU64::new(u64::MAX)))
    }
}

impl Horizon {
    /// It is `wall` now.
    pub(super) fn set(&self, wall: WallTime) {
        let highest = (wall + GENERATION_AHEAD_MAX).0;
        self.0.store(u64::try_from(highest).unwrap_or(0), Ordering::Relaxed);
    }

    /// The generation of a life that begins now.
    pub(super) fn generation_now(&self) -> u64 {
        let ahead = u64::try_from(GENERATION_AHEAD_MAX.as_millis()).unwrap_or(u64::MAX);
        self.0.load(Ordering::Relaxed).saturating_sub(ahead)
    }

    /// Whether a generation may be true.
    pub(super) fn allows(&self, generation: u64) -> bool {
        generation <= self.0.load(Ordering::Relaxed)
    }
}

/// What a member says about itself and may change while it runs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MemberInfo {
    /// Where it receives gossip (UDP).
    pub gossip: SocketAddr,
    /// Where it takes part in QUIC conversations (UDP), at the address of `gossip`.
    pub control_port: u16,
    /// Where it receives the overlay's WireGuard packets (UDP).
    pub overlay: SocketAddr,
    /// The overlay's WireGuard public key.
    pub wireguard_key: [u8; 32],
    /// Its role by its own account: a hint where to look for managers, proved only by TLS.
    pub role: NodeRole,
    /// What people call it, at most [`NAME_BYTES_MAX`] bytes.
    pub name: String,
}

/// Information that cannot be gossiped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MemberInfoError {
    /// The name does not fit.
    #[error("node name {name:?} has {} bytes, more than {NAME_BYTES_MAX} (choose a shorter host name)", name.len())]
    NameTooLong {
        /// The name.
        name: String,
    },
    /// An address nobody could send to.
    #[error("the {which} address {address} cannot be reached by others (give one with --advertise-addr)")]
    Unspecified {
        /// `gossip` or `overlay`.
        which: &'static str,
        /// The address.
        address: SocketAddr,
    },
}

impl MemberInfo {
    /// Checks what the machine and its peers rely on.
    pub fn check(&self) -> Result<(), MemberInfoError> {
        if self.name.len() > NAME_BYTES_MAX {
            return Err(MemberInfoError::NameTooLong { name: self.name.clone() });
        }
        for (which, address) in [("gossip", self.gossip), ("overlay", self.overlay)] {
            if address.ip().is_unspecified() {
                return Err(MemberInfoError::Unspecified { which, address });
            }
        }
        Ok(())
    }

    /// Where it takes part in QUIC conversations.
    #[must_use]
    pub fn control(&self) -> SocketAddr {
        SocketAddr::new(self.gossip.ip(), self.control_port)
    }
}

/// One life of a node. A restart, a change of information and a wrongful declaration of death each
/// begin a new life with a higher generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberIdentity {
    /// Which node.
    #[serde(serialize_with = "node_to_bytes", deserialize_with = "node_from_bytes")]
    pub node: NodeId,
    /// Which life. Higher wins.
    pub generation: u64,
    /// How to reach it.
    pub info: MemberInfo,
}

/// 16 bytes instead of the 26 of the text form: identities fill most of a packet.
fn node_to_bytes<S: Serializer>(node: &NodeId, serializer: S) -> Result<S::Ok, S::Error> {
    node.to_bytes().serialize(serializer)
}

fn node_from_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<NodeId, D::Error> {
    <[u8; 16]>::deserialize(deserializer).map(|bytes| NodeId(u128::from_be_bytes(bytes)))
}

impl foca::Identity for MemberIdentity {
    type Addr = NodeId;

    fn renew(&self) -> Option<Self> {
        Some(Self { generation: self.generation.checked_add(1)?, ..self.clone() })
    }

    fn addr(&self) -> NodeId {
        self.node
    }

    /// The later generation wins. Two identities of one generation exist only when a generation was
    /// used twice; then all members must prefer the same one, whichever.
    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        (self.generation, &self.info) > (adversary.generation, &adversary.info)
    }
}
