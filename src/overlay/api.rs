//! What callers hand in and get back.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use swarm_core::fabric::FabricNetwork;
use swarm_core::model::{DnsConfig, PortConfig, TaskAttachment};
use swarm_core::{NetworkId, NodeId, Sensitive};

/// Default UDP port of the overlay.
pub const PORT_DEFAULT: u16 = 4789;

/// How a node's fabric is set up.
#[derive(Clone, Debug)]
pub struct FabricOptions {
    /// This node.
    pub node: NodeId,
    /// What must survive a reboot: the last state applied (`fabric.json`).
    pub state_dir: PathBuf,
    /// What must survive the daemon but not a reboot: bind-mounted namespaces, records of attachments.
    pub run_dir: PathBuf,
    /// Unique among the daemons of a host and the same after a restart: names in the kernel are made
    /// from it.
    pub instance: String,
    /// Where WireGuard listens (UDP).
    pub listen: SocketAddr,
    /// This node's address as other nodes know it: what tasks see as the client when the client is
    /// on this node (loopback, another container). `None`: the listen address, or the state's.
    pub advertise: Option<IpAddr>,
    /// See [`crate::keys`].
    pub wireguard_private_key: Sensitive<[u8; 32]>,
    /// Where the host's name servers are listed: `/etc/resolv.conf`.
    pub resolv_conf: PathBuf,
    /// The namespace that is "the host"; `None` is the process's own. Other values are for tests.
    pub host_netns: Option<PathBuf>,
}

/// What a task needs of the network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachSpec {
    /// In the order of the links: `eth0`, `eth1`, ... Empty: loopback only (the network `none`).
    pub attachments: Vec<TaskAttachment>,
    /// Each network of `attachments`; the task may start before the node's state names them.
    pub networks: BTreeMap<NetworkId, FabricNetwork>,
    pub hostname: String,
    /// Ports to open on this node for this task alone. Those in ingress mode are ignored: they come
    /// with the state.
    pub host_ports: Vec<PortConfig>,
    pub dns: DnsConfig,
    /// Lines for /etc/hosts, `IP host [alias...]`.
    pub extra_hosts: Vec<String>,
}

/// What a task gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// A bind-mounted network namespace, ready: the container's processes join it.
    pub netns: PathBuf,
    /// Text of `/etc/resolv.conf`.
    pub resolv_conf: String,
    /// Text of `/etc/hosts`.
    pub hosts: String,
}

/// A network with IPv4 everywhere: what can be built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Net4 {
    pub id: NetworkId,
    pub name: String,
    pub overlay_id: u32,
    pub subnet: ipnet::Ipv4Net,
    pub gateway: Ipv4Addr,
    pub internal: bool,
    pub ingress: bool,
}

impl Net4 {
    /// # Errors
    /// `Unsupported` for IPv6.
    pub fn new(id: NetworkId, network: &FabricNetwork) -> crate::error::Result<Self> {
        match (network.subnet, network.gateway) {
            (IpNet::V4(subnet), IpAddr::V4(gateway)) => Ok(Self {
                id,
                name: network.name.clone(),
                overlay_id: network.overlay_id,
                subnet,
                gateway,
                internal: network.internal,
                ingress: network.ingress,
            }),
            (IpNet::V6(_), _) | (_, IpAddr::V6(_)) => {
                let what = format!("network {} with the IPv6 subnet {}", network.name, network.subnet);
                Err(crate::error::FabricError::Unsupported(what))
            }
        }
    }

    /// Tasks on it reach the outside through it.
    pub fn has_way_out(&self) -> bool {
        self.ingress || !self.internal
    }
}
