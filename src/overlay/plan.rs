//! What this node must have, derived from the state and its attachments. Pure; compared with what was
//! built last to find what must change.

use crate::api::Net4;
use crate::error::FabricError;
use crate::record::Record;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use swarm_core::fabric::{FabricEndpoint, FabricPeer, FabricState};
use swarm_core::model::{EndpointMode, Protocol, PublishMode};
use swarm_core::{NetworkId, NodeId, ServiceId};

/// Transport of a published port that can be carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Transport {
    Tcp,
    Udp,
}

impl Transport {
    pub fn as_str(self) -> &'static str {
        match self {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
        }
    }

    fn new(protocol: Protocol, port: u16) -> Result<Self, FabricError> {
        match protocol {
            Protocol::Tcp => Ok(Transport::Tcp),
            Protocol::Udp => Ok(Transport::Udp),
            Protocol::Sctp => Err(FabricError::Unsupported(format!("the published port {port}/sctp"))),
        }
    }
}

/// A port of this host: one of its addresses or all, transport, number.
pub(crate) type HostPort = (Option<Ipv4Addr>, Transport, u16);
/// A port of a network's uplink.
pub(crate) type LinkPort = (Transport, u16);

/// The receiving addresses behind one address or port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Backends {
    /// Sorted, without repetition.
    pub addrs: Vec<Ipv4Addr>,
    /// `None` keeps the port.
    pub port: Option<u16>,
}

/// One network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NetworkPlan {
    pub net: Net4,
    pub services: BTreeMap<Ipv4Addr, Backends>,
    /// Ingress only: published ports.
    pub published: BTreeMap<LinkPort, Backends>,
    /// Host-mode ports of local tasks: port of the uplink to address and port.
    pub host_ports: BTreeMap<LinkPort, (Ipv4Addr, u16)>,
    /// Addresses of other nodes' tasks.
    pub remote: BTreeMap<Ipv4Addr, NodeId>,
    /// Addresses attached here.
    pub local: BTreeSet<Ipv4Addr>,
}

/// Where a port of the host leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Forward {
    pub overlay_id: u32,
    pub link_port: u16,
    /// The attachment that opened it; `None` for ingress.
    pub owner: Option<String>,
}

/// The whole node.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// By overlay id.
    pub networks: BTreeMap<u32, NetworkPlan>,
    pub peers: BTreeMap<NodeId, FabricPeer>,
    pub ports: BTreeMap<HostPort, Forward>,
    /// This node's address in the state.
    pub own_addr: Option<IpAddr>,
    /// What the state asks for and cannot be had.
    pub errors: Vec<FabricError>,
}

fn v4(addr: IpAddr) -> Option<Ipv4Addr> {
    match addr {
        IpAddr::V4(addr) => Some(addr),
        IpAddr::V6(_) => None,
    }
}

impl Plan {
    pub fn new<'a>(state: &FabricState, node: NodeId, records: impl Iterator<Item = &'a Record> + Clone) -> Self {
        let mut plan = Self { own_addr: state.peers.get(&node).map(|p| p.endpoint.ip()), ..Self::default() };
        plan.peers = state.peers.iter().filter(|(id, _)| **id != node).map(|(id, p)| (*id, p.clone())).collect();
        plan.choose_networks(state, node, records.clone());
        let by_id: BTreeMap<NetworkId, u32> = plan.networks.values().map(|n| (n.net.id, n.net.overlay_id)).collect();
        for endpoint in state.endpoints.values().filter(|e| e.node != node) {
            for attachment in &endpoint.attachments {
                if let Some(network) = by_id.get(&attachment.network).and_then(|id| plan.networks.get_mut(id))
                    && let Some(addr) = v4(attachment.addr)
                {
                    network.remote.insert(addr, endpoint.node);
                }
            }
        }
        plan.add_services(state, &by_id);
        for record in records {
            plan.add_record(record);
        }
        plan
    }

    /// Networks with something of this node on them, and the one of published ports when there are any.
    fn choose_networks<'a>(&mut self, state: &FabricState, node: NodeId, records: impl Iterator<Item = &'a Record>) {
        let mut wanted: BTreeMap<NetworkId, _> = BTreeMap::new();
        for record in records {
            for attachment in &record.spec.attachments {
                let known = state.networks.get(&attachment.network).or(record.spec.networks.get(&attachment.network));
                wanted.insert(attachment.network, known);
            }
        }
        for attachment in state.endpoints.values().filter(|e| e.node == node).flat_map(|e| &e.attachments) {
            wanted.entry(attachment.network).or_insert_with(|| state.networks.get(&attachment.network));
        }
        let publishes = state.services.values().flat_map(|s| &s.ports).any(|p| p.mode == PublishMode::Ingress);
        if publishes {
            wanted.extend(state.networks.iter().filter(|(_, n)| n.ingress).map(|(id, n)| (*id, Some(n))));
        }
        for (id, network) in wanted {
            // An endpoint on a network the state does not know: the state is between two writes.
            let Some(network) = network else { continue };
            match Net4::new(id, network) {
                Ok(net) => drop(self.networks.insert(
                    net.overlay_id,
                    NetworkPlan {
                        net,
                        services: BTreeMap::new(),
                        published: BTreeMap::new(),
                        host_ports: BTreeMap::new(),
                        remote: BTreeMap::new(),
                        local: BTreeSet::new(),
                    },
                )),
                Err(error) => self.errors.push(error),
            }
        }
    }

    fn add_services(&mut self, state: &FabricState, by_id: &BTreeMap<NetworkId, u32>) {
        let mut receiving: BTreeMap<ServiceId, Vec<&FabricEndpoint>> = BTreeMap::new();
        for endpoint in state.endpoints.values().filter(|e| e.receives) {
            receiving.entry(endpoint.service).or_default().push(endpoint);
        }
        let ingress = self.networks.values().find(|n| n.net.ingress).map(|n| (n.net.id, n.net.overlay_id));
        for (id, service) in &state.services {
            let tasks = receiving.get(id).map_or(&[][..], Vec::as_slice);
            let on = |network: NetworkId| {
                let mut addrs: Vec<Ipv4Addr> = tasks
                    .iter()
                    .flat_map(|t| &t.attachments)
                    .filter(|a| a.network == network)
                    .filter_map(|a| v4(a.addr))
                    .collect();
                addrs.sort();
                addrs.dedup();
                addrs
            };
            if service.mode == EndpointMode::Vip {
                for vip in &service.vips {
                    // On the network of published ports an address would open all ports to every task there.
                    if let Some(network) = by_id.get(&vip.network).and_then(|id| self.networks.get_mut(id))
                        && !network.net.ingress
                        && let Some(addr) = v4(vip.addr)
                    {
                        network.services.insert(addr, Backends { addrs: on(vip.network), port: None });
                    }
                }
            }
            let Some((ingress_id, overlay_id)) = ingress else { continue };
            for port in service.ports.iter().filter(|p| p.mode == PublishMode::Ingress && p.published_port != 0) {
                let transport = match Transport::new(port.protocol, port.published_port) {
                    Ok(transport) => transport,
                    Err(error) => {
                        self.errors.push(error);
                        continue;
                    }
                };
                if let Some(network) = self.networks.get_mut(&overlay_id) {
                    let backends = Backends { addrs: on(ingress_id), port: Some(port.target_port) };
                    network.published.insert((transport, port.published_port), backends);
                }
                let forward = Forward { overlay_id, link_port: port.published_port, owner: None };
                self.add_port(port.host_ip, transport, port.published_port, forward);
            }
        }
    }

    fn add_port(&mut self, host_ip: Option<IpAddr>, transport: Transport, port: u16, forward: Forward) {
        match host_ip.filter(|ip| !ip.is_unspecified()) {
            None => drop(self.ports.insert((None, transport, port), forward)),
            Some(IpAddr::V4(ip)) => drop(self.ports.insert((Some(ip), transport, port), forward)),
            Some(IpAddr::V6(ip)) => {
                self.errors.push(FabricError::Unsupported(format!("the published port {port} of the address {ip}")));
            }
        }
    }

    fn add_record(&mut self, record: &Record) {
        // A record was valid when it was made.
        let Ok(legs) = record.legs() else { return };
        for leg in &legs {
            if let Some(network) = self.networks.get_mut(&leg.net.overlay_id) {
                network.local.insert(leg.addr);
            }
        }
        let Some(way) = legs.iter().find(|l| l.default) else { return };
        for port in record.spec.host_ports.iter().filter(|p| p.mode == PublishMode::Host && p.published_port != 0) {
            let transport = match Transport::new(port.protocol, port.published_port) {
                Ok(transport) => transport,
                Err(error) => {
                    self.errors.push(error);
                    continue;
                }
            };
            let overlay_id = way.net.overlay_id;
            let Some(network) = self.networks.get_mut(&overlay_id) else { continue };
            // The uplink's ports are a space of their own: the same number may be published at two
            // addresses of the host. The own number if it is free, else the next free one.
            let free = |p: &u16| {
                !network.published.contains_key(&(transport, *p)) && !network.host_ports.contains_key(&(transport, *p))
            };
            let Some(link_port) = (port.published_port..=u16::MAX).chain(1..port.published_port).find(free) else {
                continue;
            };
            network.host_ports.insert((transport, link_port), (way.addr, port.target_port));
            let forward = Forward { overlay_id, link_port, owner: Some(record.id.clone()) };
            self.add_port(port.host_ip, transport, port.published_port, forward);
        }
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
