//! What this node must have, derived from the state and its attachments. Pure; compared with what was
//! built last to find what must change.

use crate::api::Net4;
use crate::error::FabricError;
use crate::record::Record;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use swarm_core::fabric::{FabricEndpoint, FabricPeer, FabricService, FabricState};
use swarm_core::model::{EndpointMode, PortConfig, Protocol, PublishMode};
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

impl NetworkPlan {
    /// The uplink's ports are a space of their own: the same number may be published at two addresses
    /// of the host. The own number if it is free, else the highest free one, which is the least likely
    /// to be somebody's own.
    fn free_link_port(&self, (_, transport, number): HostPort) -> Option<u16> {
        let used =
            |p: u16| self.published.contains_key(&(transport, p)) || self.host_ports.contains_key(&(transport, p));
        std::iter::once(number).chain((1..=u16::MAX).rev()).find(|p| !used(*p))
    }
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
    /// Whose published ports these are, by overlay id.
    pub publishers: BTreeMap<(u32, LinkPort), ServiceId>,
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
            self.publish(*id, service, overlay_id, &on(ingress_id));
        }
    }

    /// The published ports of `service`, whose tasks are at `addrs` on the network of published ports.
    fn publish(&mut self, id: ServiceId, service: &FabricService, overlay_id: u32, addrs: &[Ipv4Addr]) {
        for port in service.ports.iter().filter(|p| p.mode == PublishMode::Ingress && p.published_port != 0) {
            let Some(at) = self.host_port(port) else { continue };
            let Some(network) = self.networks.get_mut(&overlay_id) else { continue };
            let Some(link_port) = network.free_link_port(at) else { continue };
            let backends = Backends { addrs: addrs.to_vec(), port: Some(port.target_port) };
            network.published.insert((at.1, link_port), backends);
            self.publishers.insert((overlay_id, (at.1, link_port)), id);
            self.ports.insert(at, Forward { overlay_id, link_port, owner: None });
        }
    }

    /// The port of the host `port` asks for; `None`, and an error noted, for what cannot be carried.
    fn host_port(&mut self, port: &PortConfig) -> Option<HostPort> {
        let number = port.published_port;
        let transport = Transport::new(port.protocol, number).map_err(|error| self.errors.push(error)).ok()?;
        match port.host_ip.filter(|ip| !ip.is_unspecified()) {
            None => Some((None, transport, number)),
            Some(IpAddr::V4(ip)) => Some((Some(ip), transport, number)),
            Some(IpAddr::V6(ip)) => {
                self.errors.push(FabricError::Unsupported(format!("the published port {number} of the address {ip}")));
                None
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
            let Some(at) = self.host_port(port) else { continue };
            let overlay_id = way.net.overlay_id;
            let Some(network) = self.networks.get_mut(&overlay_id) else { continue };
            let Some(link_port) = network.free_link_port(at) else { continue };
            network.host_ports.insert((at.1, link_port), (way.addr, port.target_port));
            self.ports.insert(at, Forward { overlay_id, link_port, owner: Some(record.id.clone()) });
        }
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
