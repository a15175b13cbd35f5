//! What the data path counts, for people: per peer and per network.

use serde::Serialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
use swarm_core::{NetworkId, NodeId};

/// Packets dropped, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Drops {
    /// No endpoint has the destination address.
    pub no_route: u64,
    /// The destination's node is not a known peer.
    pub no_peer: u64,
    /// A task's packet to the outside that answers no known flow, when too many were searched for.
    pub no_flow: u64,
    /// The source address does not belong to the peer it came from.
    pub spoofed: u64,
    /// Of a network that is not built here.
    pub unknown_network: u64,
    /// Not WireGuard, not our header, or too long.
    pub malformed: u64,
    /// Failed authentication, a replay, or no session.
    pub undecryptable: u64,
    /// The kernel refused it on its way in.
    pub not_delivered: u64,
    /// The kernel refused it on its way out.
    pub not_sent: u64,
}

impl Drops {
    /// All reasons together.
    pub fn total(&self) -> u64 {
        self.no_route
            + self.no_peer
            + self.no_flow
            + self.spoofed
            + self.unknown_network
            + self.malformed
            + self.undecryptable
            + self.not_delivered
            + self.not_sent
    }
}

/// One peer.
#[derive(Clone, Debug, Serialize)]
pub struct PeerStatus {
    pub name: String,
    /// Where it was last heard from.
    pub endpoint: SocketAddr,
    /// Since the session in use was agreed on; `None` without a session.
    pub last_handshake: Option<Duration>,
    /// Bytes inside the tunnel, our header included.
    pub rx_bytes: u64,
    pub tx_bytes: u64,
    /// Round trip of the last handshake this node began.
    pub handshake_rtt_ms: Option<u32>,
    /// Of packets from or to this peer.
    pub drops: Drops,
}

/// One network that is built here.
#[derive(Clone, Debug, Serialize)]
pub struct NetworkStatus {
    pub name: String,
    pub overlay_id: u32,
    /// Bytes of the largest packet.
    pub mtu: u32,
    pub rx_packets: u64,
    pub tx_packets: u64,
}

/// The whole data path.
#[derive(Clone, Debug, Default, Serialize)]
pub struct FabricStatus {
    /// `FabricState::index` that was applied last.
    pub applied_index: u64,
    pub peers: BTreeMap<NodeId, PeerStatus>,
    pub networks: BTreeMap<NetworkId, NetworkStatus>,
    /// Of packets that could not be put down to a peer.
    pub drops: Drops,
}
