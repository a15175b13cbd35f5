//! What the rest of the daemon holds of the gossip task.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use swarm_core::membership::{MemberIdentity, MemberInfo, MemberInfoError, Members, Notice};
use swarm_core::model::GossipKey;
use swarm_core::{NodeId, TaskId};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::keyring::{KeyRing, KeyRingError};

/// What the gossip task knows, all of one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// This node.
    pub own: MemberIdentity,
    /// All others ever heard of, also those that are down.
    pub members: Members,
    /// Whether some member knows this node.
    pub connected: bool,
}

/// What passed through the socket since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Packets sent.
    pub sent: u64,
    /// Packets that could not be sent (no route, full buffer).
    pub send_failed: u64,
    /// Packets opened.
    pub received: u64,
    /// Packets dropped because no key of ours opens them.
    pub not_opened: u64,
    /// Opened packets that were malformed or of another version.
    pub refused: u64,
}

#[derive(Debug, Default)]
pub(super) struct Meters {
    pub sent: AtomicU64,
    pub send_failed: AtomicU64,
    pub received: AtomicU64,
    pub not_opened: AtomicU64,
    pub refused: AtomicU64,
}

pub(super) enum Command {
    Join(Vec<SocketAddr>),
    UpdateSelf(MemberInfo),
    Hint { task: TaskId, reachable: bool },
    Forget(NodeId),
    SetKeys(KeyRing),
    Leave(oneshot::Sender<()>),
}

/// A client of the gossip task. The task ends when the last clone is dropped, without a goodbye:
/// others then see this node as down after the usual time, or as a new life if it starts again.
#[derive(Debug, Clone)]
pub struct GossipHandle {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) snapshot: watch::Receiver<Snapshot>,
    pub(super) notices: broadcast::Sender<Notice>,
    pub(super) meters: Arc<Meters>,
    pub(super) local: SocketAddr,
}

impl GossipHandle {
    /// The members now, and whenever they change.
    #[must_use]
    pub fn members(&self) -> watch::Receiver<Snapshot> {
        self.snapshot.clone()
    }

    /// Changes from now on. A receiver that lags is told so and reads [`GossipHandle::members`].
    #[must_use]
    pub fn notices(&self) -> broadcast::Receiver<Notice> {
        self.notices.subscribe()
    }

    /// The address the socket is bound to.
    #[must_use]
    pub fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// What passed through the socket.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let read = |meter: &AtomicU64| meter.load(Ordering::Relaxed);
        Counts {
            sent: read(&self.meters.sent),
            send_failed: read(&self.meters.send_failed),
            received: read(&self.meters.received),
            not_opened: read(&self.meters.not_opened),
            refused: read(&self.meters.refused),
        }
    }

    /// Looks for members at these gossip addresses, now and whenever this node is alone.
    pub async fn join(&self, seeds: Vec<SocketAddr>) {
        self.send(Command::Join(seeds)).await;
    }

    /// Tells all that this node's addresses, key, role or name changed.
    pub async fn update_self(&self, info: MemberInfo) -> Result<(), MemberInfoError> {
        info.check()?;
        self.send(Command::UpdateSelf(info)).await;
        Ok(())
    }

    /// Tells all whether a task of this node takes connections.
    pub async fn hint(&self, task: TaskId, reachable: bool) {
        self.send(Command::Hint { task, reachable }).await;
    }

    /// Forgets a removed node, once it is down.
    pub async fn forget(&self, node: NodeId) {
        self.send(Command::Forget(node)).await;
    }

    /// Replaces the key ring: the first key seals, all open.
    pub async fn set_keys(&self, keys: &[GossipKey]) -> Result<(), KeyRingError> {
        let ring = KeyRing::new(keys)?;
        self.send(Command::SetKeys(ring)).await;
        Ok(())
    }

    /// Says goodbye to the others and ends the task.
    pub async fn leave(&self) {
        let (done, left) = oneshot::channel();
        self.send(Command::Leave(done)).await;
        // An error means that the task has ended already.
        let _ = left.await;
    }

    async fn send(&self, command: Command) {
        // Fails only when the task has ended, and then nobody is there to be told.
        let _ = self.commands.send(command).await;
    }
}
