//! Nodes: hosts that joined.

use super::{Labels, Meta};
use crate::{NodeId, WallTime};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// What a node may do in the cluster (API `NodeSpec.Role`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum NodeRole {
    #[default]
    Worker,
    Manager,
}

/// Whether tasks may be placed on a node (API `NodeSpec.Availability`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Availability {
    #[default]
    Active,
    /// Keeps what it has, gets nothing new.
    Pause,
    /// Gives away what it has.
    Drain,
}

/// What users may set of a node (API `NodeSpec`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSpec {
    pub name: Option<String>,
    pub labels: Labels,
    /// The wanted role; `Node::raft` says how far it is carried out.
    pub role: NodeRole,
    pub availability: Availability,
}

/// Named units of a generic resource (API `NamedResourceSpec`), sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceNames {
    pub names: Vec<String>,
}

/// Amounts a node has or a task reserves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// Billionths of a core.
    pub nano_cpus: i64,
    pub memory_bytes: i64,
    /// Counted generic resources by kind.
    pub generic: BTreeMap<String, i64>,
    /// Named generic resources by kind; only nodes have them, tasks reserve a count in `generic`.
    pub named: BTreeMap<String, ResourceNames>,
}

/// Operating system and processor in the names of OCI image indexes (`linux`, `amd64`).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Platform {
    pub os: String,
    pub architecture: String,
}

/// What a node says of itself when its session starts (API `NodeDescription`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeDescription {
    pub hostname: String,
    pub platform: Platform,
    pub resources: Resources,
    /// Version of our binary.
    pub engine_version: String,
    pub engine_labels: Labels,
    /// WireGuard public key of the overlay, 32 bytes; all zero until known.
    pub wireguard_key: [u8; 32],
    /// UDP port the overlay listens on.
    pub wireguard_port: u16,
}

/// API `NodeState`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum NodeState {
    #[default]
    Unknown,
    Down,
    Ready,
    Disconnected,
}

/// Written by the leader only (API `NodeStatus`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    pub state: NodeState,
    /// Why, when the state is not `Ready`.
    pub message: String,
    /// The address other nodes reach it at.
    pub addr: Option<IpAddr>,
    /// When the state last changed.
    pub since: WallTime,
}

/// Place of a manager in the Raft group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RaftMember {
    /// Fresh at each promotion, never used again.
    pub raft_id: u64,
    /// Learners do not vote yet.
    pub voter: bool,
}

/// The stored node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    pub id: NodeId,
    pub meta: Meta,
    pub spec: NodeSpec,
    pub description: Option<NodeDescription>,
    pub status: NodeStatus,
    /// `Some` while the node is in the Raft group.
    pub raft: Option<RaftMember>,
    /// Role in the newest certificate issued to it.
    pub certificate_role: NodeRole,
}

impl Node {
    /// The name people know it by: the name given, else the host name, else the id.
    pub fn display_name(&self) -> String {
        match (&self.spec.name, &self.description) {
            (Some(name), _) if !name.is_empty() => name.clone(),
            (_, Some(description)) if !description.hostname.is_empty() => description.hostname.clone(),
            _ => self.id.to_string(),
        }
    }
}
