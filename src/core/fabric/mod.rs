//! What the network of a node must look like: peers, networks, services and their endpoints.
//!
//! Derived from committed state by managers, sent to every node as a whole once and as differences
//! after, and brought about by the crate `overlay`. Level-triggered: a state says everything.

mod delta;
mod derive;

pub use delta::{FabricDelta, diff};
pub use derive::derive;

use crate::model::{EndpointMode, PortConfig, TaskAttachment, VirtualIp};
use crate::{NetworkId, NodeId, ServiceId, TaskId};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// Another host of the overlay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FabricPeer {
    pub name: String,
    /// Where its overlay listens (UDP).
    pub endpoint: SocketAddr,
    pub wireguard_key: [u8; 32],
}

/// A network, as allocated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FabricNetwork {
    pub name: String,
    pub subnet: IpNet,
    /// Address of the resolver and the way out; the same on every node.
    pub gateway: IpAddr,
    /// Never 0, below 2^24.
    pub overlay_id: u32,
    pub internal: bool,
    pub ingress: bool,
}

/// A service as its clients see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FabricService {
    pub name: String,
    pub mode: EndpointMode,
    pub vips: Vec<VirtualIp>,
    /// Names it answers to besides its own, by network.
    pub aliases: BTreeMap<NetworkId, Vec<String>>,
    /// Published ports with their numbers; host-mode ones are in the endpoints.
    pub ports: Vec<PortConfig>,
}

/// A task that can be reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FabricEndpoint {
    pub service: ServiceId,
    pub node: NodeId,
    /// `web.1.<id>`.
    pub name: String,
    /// Networks and addresses; the ingress network among them when the service publishes there.
    pub attachments: Vec<TaskAttachment>,
    /// New connections may go to it: running, ready and not about to stop.
    pub receives: bool,
    /// Ports bound on its node.
    pub host_ports: Vec<PortConfig>,
}

/// Everything a node's network needs to know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FabricState {
    /// Log index it was derived from.
    pub index: u64,
    pub peers: BTreeMap<NodeId, FabricPeer>,
    pub networks: BTreeMap<NetworkId, FabricNetwork>,
    pub services: BTreeMap<ServiceId, FabricService>,
    pub endpoints: BTreeMap<TaskId, FabricEndpoint>,
}
