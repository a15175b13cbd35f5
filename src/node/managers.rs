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
    /// The leader a session was lost with: asked last, because it may be gone.
    lost: Option<NodeId>,
    /// This node and how it reaches itself, whatever others reach it by.
    own: Option<(NodeId, SocketAddr)>,
}

impl Known {
    fn dial(&self, node: NodeId, address: SocketAddr) -> SocketAddr {
        self.own.filter(|(own, _)| *own == node).map_or(address, |(_, local)| local)
    }
}

/// Tells of changes of the book.
#[derive(Debug)]
pub struct ManagersWatch(watch::Receiver<Known>);

impl ManagersWatch {
    /// Resolves at the next change, or at once if there was one since the last call. Cancel-safe.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            // The book is gone, and with it whoever could change it.
            std::future::pending::<()>().await;
        }
    }
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
        Self { known: Arc::new(watch::Sender::new(Known { addresses, ..Known::default() })) }
    }

    /// How this node reaches itself, when it is a manager: without a way through the outside.
    pub fn set_own(&self, node: NodeId, local: SocketAddr) {
        self.edit(|known| known.own = Some((node, local)));
    }

    /// Managers to try, the leader first, by the addresses to dial.
    pub fn in_order(&self) -> Vec<(NodeId, SocketAddr)> {
        let known = self.known.borrow();
        let one = |(node, address): (&NodeId, &SocketAddr)| (*node, known.dial(*node, *address));
        let mut all: Vec<_> = known.addresses.iter().map(one).collect();
        all.sort_by_key(|(node, _)| (Some(*node) != known.leader, Some(*node) == known.lost));
        all
    }

    /// All managers, by the addresses others know.
    pub fn all(&self) -> Vec<(NodeId, SocketAddr)> {
        self.known.borrow().addresses.iter().map(|(node, address)| (*node, *address)).collect()
    }

    /// Where a manager is.
    pub fn address(&self, node: NodeId) -> Option<SocketAddr> {
        let known = self.known.borrow();
        known.addresses.get(&node).map(|address| known.dial(node, *address))
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
            if known.addresses.contains_key(&leader) || known.addresses.len() < MANAGERS_MAX {
                known.addresses.insert(leader, address);
            }
        });
    }

    /// A session with this manager is open: it leads.
    pub fn leads(&self, leader: NodeId) {
        self.edit(|known| (known.leader, known.lost) = (Some(leader), None));
    }

    /// The leader did not answer.
    pub fn forget_leader(&self) {
        self.edit(|known| {
            if let Some(leader) = known.leader.take() {
                known.lost = Some(leader);
            }
        });
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

    /// Changes from now on.
    pub fn watch(&self) -> ManagersWatch {
        ManagersWatch(self.known.subscribe())
    }

    fn edit(&self, edit: impl FnOnce(&mut Known)) {
        self.known.send_if_modified(|known| {
            let before = known.clone();
            edit(known);
            *known != before
        });
    }
}
