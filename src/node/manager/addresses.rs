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
        self.all_of(view, node).into_iter().next()
    }

    /// Every address a node may have, the likeliest first. Gossip is not proven by a certificate: where it leads
    /// nowhere, what the node said in its session may be right.
    pub fn all_of(&self, view: &View, node: NodeId) -> Vec<SocketAddr> {
        if node == self.own.0 {
            return vec![self.own.1];
        }
        let gossiped = self.gossip.borrow().members.get(&node).copied();
        let by_gossip = |alive| gossiped.filter(|member| member.alive == alive).map(|member| member.control);
        let by_store = view.node(node).and_then(|node| node.status.addr);
        let by_store = by_store.map(|addr| SocketAddr::new(addr, crate::transport::QUIC_PORT));
        let mut all = Vec::new();
        for address in [by_gossip(true), self.managers.address(node), by_gossip(false), by_store].into_iter().flatten()
        {
            if !all.contains(&address) {
                all.push(address);
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gossip_view::GossipMember;
    use crate::manager::new_node;
    use swarm_core::WallTime;
    use swarm_core::model::{Availability, NodeRole};
    use swarm_core::store::Store;

    const OTHER: NodeId = NodeId(2);

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn addresses(alive: bool) -> Addresses {
        let seen = GossipMember { alive, manager: true, control: at("10.0.0.66:2377") };
        let (_, gossip) = watch::channel(GossipView { members: [(OTHER, seen)].into() });
        let managers = Managers::new([(OTHER, at("10.0.0.3:2377"))]);
        Addresses { managers, gossip, own: (NodeId(1), at("10.0.0.1:2377")) }
    }

    #[test]
    fn what_gossip_says_comes_first_while_it_is_true_and_the_store_is_asked_too() {
        let addr = "10.0.0.2".parse().unwrap();
        let node = new_node(OTHER, NodeRole::Manager, Availability::Active, "other".to_owned(), addr, WallTime(0));
        let view = Store::restore(1, [node.into()]).view();
        let (gossip, book, store) = (at("10.0.0.66:2377"), at("10.0.0.3:2377"), at("10.0.0.2:2377"));
        assert_eq!(addresses(true).all_of(&view, OTHER), [gossip, book, store]);
        assert_eq!(addresses(false).all_of(&view, OTHER), [book, gossip, store]);
        assert_eq!(addresses(true).of(&view, NodeId(1)), Some(at("10.0.0.1:2377")));
        assert_eq!(addresses(true).of(&view, NodeId(9)), None);
    }
}
