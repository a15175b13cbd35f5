//! Where the managers are, as this node knows: from joining, from the leader, and from gossip.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use swarm_core::NodeId;
use tokio::sync::watch;

/// Managers kept in mind at most: far more than a cluster has.
const MANAGERS_MAX: usize = 64;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Known {
    addresses: BTreeMap<NodeId, SocketAddr>,
    leader: Option<NodeId>,
}

/// A shared address book; clones see the same.
#[derive(Clone, Debug)]
pub struct Managers {
    known: Arc<watch::Sender<Known>>,
}

impl Managers {
    /// A book with these entries.
    pub fn new(addresses: impl IntoIterator<Item = (NodeId, SocketAddr)>) -> Self {
        let addresses = addresses.into_iter().take(MANAGERS_MAX).collect();
        Self { known: Arc::new(watch::Sender::new(Known { addresses, leader: None })) }
    }

    /// Managers to try, the leader first.
    pub fn in_order(&self) -> Vec<(NodeId, SocketAddr)> {
        let known = self.known.borrow();
        let mut all: Vec<_> = known.addresses.iter().map(|(node, address)| (*node, *address)).collect();
        all.sort_by_key(|(node, _)| Some(*node) != known.leader);
        all
    }

    /// Where a manager is.
    pub fn address(&self, node: NodeId) -> Option<SocketAddr> {
        self.known.borrow().addresses.get(&node).copied()
    }

    /// The leader, as last heard, with its address.
    pub fn leader(&self) -> Option<(NodeId, SocketAddr)> {
        let known = self.known.borrow();
        let leader = known.leader?;
        Some((leader, *known.addresses.get(&leader)?))
    }

    /// Someone said who leads.
    pub fn set_leader(&self, leader: NodeId, address: SocketAddr) {
        self.edit(|known| {
            known.leader = Some(leader);
            known.addresses.insert(leader, address);
        });
    }

    /// The leader did not answer.
    pub fn forget_leader(&self) {
        self.edit(|known| known.leader = None);
    }

    /// A manager is at a new address.
    pub fn moved(&self, node: NodeId, address: SocketAddr) {
        self.edit(|known| {
            if known.addresses.contains_key(&node) || known.addresses.len() < MANAGERS_MAX {
                known.addresses.insert(node, address);
            }
        });
    }

    /// The whole list, as the leader has it. An empty one is not believed.
    pub fn replace(&self, addresses: impl IntoIterator<Item = (NodeId, SocketAddr)>) {
        let addresses: BTreeMap<_, _> = addresses.into_iter().take(MANAGERS_MAX).collect();
        if !addresses.is_empty() {
            self.edit(|known| known.addresses = addresses);
        }
    }

    /// Resolves at the next change.
    pub async fn changed(&self) {
        let mut receiver = self.known.subscribe();
        receiver.borrow_and_update();
        // The sender lives as long as `self`.
        let _ = receiver.changed().await;
    }

    fn edit(&self, edit: impl FnOnce(&mut Known)) {
        self.known.send_if_modified(|known| {
            let before = known.clone();
            edit(known);
            *known != before
        });
    }
}
