//! What gossip says of the other nodes, in the daemon's terms.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use swarm_core::NodeId;

/// One node as gossip sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GossipMember {
    pub alive: bool,
    /// By its own account.
    pub manager: bool,
    /// Where its conversations are (QUIC).
    pub control: SocketAddr,
}

/// All nodes gossip has heard of, without this one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GossipView {
    pub members: BTreeMap<NodeId, GossipMember>,
}
