//! The swarm this node is (or is not) part of.

use super::{Answer, Dialled, LogOptions, LogRecords, LogSelector, not_implemented};
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use swarm_core::model::{self, Availability, ClusterSpec};
use swarm_core::store::{Conflict, Event, Txn, View};
use swarm_core::{ClusterId, NodeId, Sensitive, WallTime};

/// A read that could not be made linearizable: no leader, or this node is no manager.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub String);

/// Why a transaction was not committed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// It was committed as an entry and refused by the store: nothing changed.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// No leader, or lost on the way; it may still be committed.
    #[error("{0}")]
    Unavailable(String),
}

/// API `LocalNodeState`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SwarmState {
    /// In no swarm.
    #[default]
    Inactive,
    /// Joining, not in yet.
    Pending,
    Active,
    /// A manager that waits for its unlock key.
    Locked,
    /// Was in a swarm and cannot be: `SwarmStatus::error` says why.
    Error,
}

/// A manager as this node sees it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagerPeer {
    pub node: NodeId,
    /// Where other nodes reach it.
    pub addr: SocketAddr,
    pub reachable: bool,
}

/// This node's place in the swarm. Cheap to ask; reads no store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SwarmStatus {
    pub state: SwarmState,
    pub error: String,
    pub cluster: Option<ClusterId>,
    pub node: Option<NodeId>,
    /// The address this node advertises.
    pub addr: Option<IpAddr>,
    /// This node is a manager and its store can be asked.
    pub manager: bool,
    pub leader: Option<NodeId>,
    /// All managers known to this node, itself included when it is one.
    pub managers: Vec<ManagerPeer>,
}

/// API `SwarmInitRequest`. Addresses as the user wrote them (`IP`, `IP:port`, `interface[:port]`; empty: choose).
#[derive(Clone, Debug)]
pub struct InitRequest {
    pub listen_addr: String,
    pub advertise_addr: String,
    pub data_path_addr: String,
    pub availability: Availability,
    /// Start anew as the only manager, with the state this node has.
    pub force_new_cluster: bool,
    /// Pools, subnet size, data path port, autolock and the rest, defaults filled in.
    pub spec: ClusterSpec,
}

/// API `SwarmJoinRequest`.
#[derive(Clone, Debug)]
pub struct JoinRequest {
    pub listen_addr: String,
    pub advertise_addr: String,
    pub data_path_addr: String,
    pub availability: Availability,
    /// Managers to ask, as the user wrote them (`host[:port]`, port 2377 by default); not empty.
    pub remote_addrs: Vec<String>,
    pub token: Sensitive<String>,
}

/// The texts of the join tokens.
#[derive(Clone, Debug)]
pub struct JoinTokens {
    pub worker: Sensitive<String>,
    pub manager: Sensitive<String>,
}

/// What a watcher of the store gets.
#[derive(Clone, Debug)]
pub enum Watched {
    /// One applied transaction.
    Committed { index: u64, wall: WallTime, events: Vec<Event> },
    /// The watcher was too slow: events are missing, read the state again.
    Resync,
}

/// The swarm, as seen from this node.
pub trait Cluster: Send + Sync + 'static {
    /// This node's place in the swarm, now.
    fn status(&self) -> SwarmStatus;

    /// The managers that answer when they are asked now.
    fn answering(&self) -> BoxFuture<'_, BTreeSet<NodeId>> {
        let reachable = self.status().managers.into_iter().filter(|manager| manager.reachable);
        let reachable = reachable.map(|manager| manager.node).collect();
        Box::pin(async move { reachable })
    }

    /// A linearizable snapshot: everything acknowledged before the call is in it.
    fn read(&self) -> BoxFuture<'_, Result<View, Unavailable>>;

    /// The store as this manager has it now: it may be behind. `None` on nodes that have none.
    fn known(&self) -> Option<View> {
        None
    }

    /// A connection to another node's API, `within` a time. `Unavailable` when it is not reached, with the reason.
    fn dial(&self, node: NodeId, within: Duration) -> Answer<'_, Dialled> {
        let _ = (node, within);
        not_implemented("reaching another node")
    }

    /// Commits a transaction; forwarded to the leader. `Ok` once it is applied here.
    fn submit(&self, txn: Txn) -> BoxFuture<'_, Result<(), SubmitError>>;

    /// Committed events from now on, for as long as the daemon lives: silent while this node is no
    /// manager, and `Resync` when it becomes one.
    fn watch(&self) -> BoxStream<'static, Watched>;

    /// Makes a new swarm with this node as its first manager. The id of this node.
    fn init(&self, request: InitRequest) -> Answer<'_, NodeId>;

    /// Joins a swarm; `Ok` when the node is in.
    fn join(&self, request: JoinRequest) -> Answer<'_, ()>;

    /// Leaves; a manager only with `force`, or when it can be demoted without losing quorum.
    fn leave(&self, force: bool) -> Answer<'_, ()>;

    /// The tokens of this cluster object: digest of its CA and its secrets.
    fn join_tokens(&self, cluster: &model::Cluster) -> JoinTokens;

    /// Logs of tasks on whatever node they are.
    fn logs(&self, selector: LogSelector, options: LogOptions) -> Answer<'_, LogRecords>;

    /// The key that unlocks managers; empty text when autolock is off.
    fn unlock_key(&self) -> Answer<'_, Sensitive<String>> {
        not_implemented("the unlock key")
    }

    /// Opens a locked manager.
    fn unlock(&self, key: Sensitive<String>) -> Answer<'_, ()> {
        drop(key);
        not_implemented("unlocking a manager")
    }

    /// Replaces the unlock key.
    fn rotate_unlock_key(&self) -> Answer<'_, ()> {
        not_implemented("rotating the unlock key")
    }

    /// 128 bits from the system's secure source: ids and secrets.
    fn random(&self) -> u128;

    /// The wall clock.
    fn now(&self) -> WallTime;
}
