//! The cluster: its settings, its certificate authority, its tokens and keys. One object.

use super::{Labels, Meta};
use crate::{ClusterId, Sensitive, WallTime};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// `ClusterSpec::task_history_limit`. All tasks are held in the memory of every manager and travel in one snapshot: a
/// crash loop of a few slots with a longer history, or one without end, would take them down.
pub const TASK_HISTORY_LIMIT_MAX: u32 = 100;

/// What users may set (Engine API: `SwarmSpec`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterSpec {
    /// Always "default" in the API.
    pub name: String,
    pub labels: Labels,
    /// Finished tasks kept per slot: API `TaskHistoryRetentionLimit`, default 5 as swarmkit's cluster has it. At most
    /// [`TASK_HISTORY_LIMIT_MAX`], and never without end, which the API means by a negative number.
    pub task_history_limit: u32,
    /// Entries between snapshots (API `Raft.SnapshotInterval`).
    pub snapshot_interval: u64,
    /// Entries kept after a snapshot for slow followers.
    pub log_entries_for_slow_followers: u64,
    /// Period of node heartbeats (API `Dispatcher.HeartbeatPeriod`, there 5 s; here 1 s).
    pub heartbeat_period: Duration,
    /// Life of a node certificate (API `CAConfig.NodeCertExpiry`, default 90 days).
    pub node_cert_expiry: Duration,
    /// Managers keep their key-encrypting key off the disk.
    pub autolock: bool,
    /// Pools that networks without a subnet draw from.
    pub address_pools: Vec<Ipv4Net>,
    /// Prefix length of a subnet drawn from a pool.
    pub subnet_size: u8,
    /// UDP port of the encrypted overlay.
    pub data_path_port: u16,
    /// Beyond the API: fill nodes before using emptier ones, instead of spreading.
    pub binpack: bool,
    /// Beyond the API: a waiting task may take the place of tasks of lower priority.
    pub preemption: bool,
    /// Beyond the API: tasks moved per minute to even nodes out; 0 moves none.
    pub rebalance_moves_per_minute: u32,
    /// Beyond the API: earlier specs kept per service, to go back to.
    pub spec_history_limit: u32,
}

impl Default for ClusterSpec {
    fn default() -> Self {
        Self {
            name: "default".to_owned(),
            labels: Labels::new(),
            task_history_limit: 5,
            snapshot_interval: 10_000,
            log_entries_for_slow_followers: 500,
            heartbeat_period: Duration::from_secs(1),
            node_cert_expiry: Duration::from_secs(90 * 24 * 3600),
            autolock: false,
            address_pools: vec![Ipv4Net::new_assert(std::net::Ipv4Addr::new(10, 0, 0, 0), 8)],
            subnet_size: 24,
            data_path_port: 4789,
            binpack: false,
            preemption: false,
            rebalance_moves_per_minute: 0,
            spec_history_limit: 10,
        }
    }
}

/// The certificate authority; its key is sealed with a key that is not in the store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterCa {
    /// The CA certificate, DER.
    pub certificate_der: Vec<u8>,
    /// The CA's private key, sealed.
    pub sealed_key: Sensitive<Vec<u8>>,
}

/// One role's join token secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinSecret {
    /// The last part of the token.
    pub secret: Sensitive<String>,
    /// Not valid from here on; `None`: until rotated.
    pub expires: Option<WallTime>,
}

/// A key of the gossip key ring; the first of the ring seals, all open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GossipKey {
    /// Tells keys apart on the wire.
    pub id: u8,
    /// 32 bytes.
    pub key: Sensitive<[u8; 32]>,
}

/// The stored cluster object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    pub id: ClusterId,
    pub meta: Meta,
    pub spec: ClusterSpec,
    pub ca: ClusterCa,
    pub worker_secret: JoinSecret,
    pub manager_secret: JoinSecret,
    pub gossip_keys: Vec<GossipKey>,
}

impl Cluster {
    /// One that nobody can join yet: without join secrets and gossip keys.
    pub fn new(id: ClusterId, spec: ClusterSpec, ca: ClusterCa) -> Self {
        let secret = || JoinSecret { secret: Sensitive::new(String::new()), expires: None };
        let (worker_secret, manager_secret) = (secret(), secret());
        Self { id, meta: Meta::default(), spec, ca, worker_secret, manager_secret, gossip_keys: Vec::new() }
    }
}
