//! Networks of the cluster.

use super::{Labels, Meta};
use crate::NetworkId;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// What kind of network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum NetworkDriver {
    /// Encrypted, between all hosts.
    #[default]
    Overlay,
    /// The host's own network namespace.
    Host,
    /// No network but loopback.
    None,
}

/// One subnet a user asked for (API `IPAMConfig`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpamSubnet {
    pub subnet: IpNet,
    pub gateway: Option<IpAddr>,
    pub range: Option<IpNet>,
}

/// API `NetworkCreateRequest`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkSpec {
    pub name: String,
    pub labels: Labels,
    pub driver: NetworkDriver,
    pub driver_options: BTreeMap<String, String>,
    /// No way out of the network.
    pub internal: bool,
    /// Standalone containers may join.
    pub attachable: bool,
    /// The network of published ports.
    pub ingress: bool,
    pub ipv6: bool,
    /// Empty: drawn from the cluster's pools.
    pub ipam: Vec<IpamSubnet>,
}

/// What the allocator gave a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkAllocation {
    pub subnet: IpNet,
    /// First address of the subnet unless the user chose one; answered by every node.
    pub gateway: IpAddr,
    /// Tells networks apart inside the tunnel; unique in the cluster, never 0, below 2^24.
    pub overlay_id: u32,
}

/// The stored network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    pub id: NetworkId,
    pub meta: Meta,
    pub spec: NetworkSpec,
    /// `None`: waits for the allocator, `pending_reason` says why.
    pub allocation: Option<NetworkAllocation>,
    /// Why the allocator could not serve it yet; empty when it has or has not looked.
    pub pending_reason: String,
    /// Removed by its user, and there only until the tasks that stop have left it.
    pub removing: bool,
}
