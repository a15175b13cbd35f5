//! Where nodes are reached for conversations: by gossip first, then by what was told before.

use crate::gossip_view::GossipView;
use crate::managers::Managers;
use std::net::SocketAddr;
use swarm_core::NodeId;
use swarm_core::store::View;
use tokio::sync::watch;

/// A resolver of addresses; clones see the same.
#[derive(Clone)]
pub struct Addresses {
    pub managers: Managers,
    pub gossip: watch::Receiver<GossipView>,
    /// This node's own, which gossip does not carry to itself.
    pub own: (NodeId, SocketAddr),
}

impl Addresses {
    /// Address of a node's conversations.
    pub fn of(&self, view: &View, node: NodeId) -> Option<SocketAddr> {
        if node == self.own.0 {
            return Some(self.own.1);
        }
        let by_gossip = self.gossip.borrow().members.get(&node).map(|member| member.control);
        let by_book = || self.managers.address(node);
        let by_store = || {
            let addr = view.node(node)?.status.addr?;
            Some(SocketAddr::new(addr, crate::transport::QUIC_PORT))
        };
        by_gossip.or_else(by_book).or_else(by_store)
    }
}
