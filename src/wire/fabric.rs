//! The network state of a node, as differences.

use crate::convert::{Wire, WireError};
use crate::pb::dispatch as pb;
use std::collections::BTreeMap;
use swarm_core::fabric::{FabricDelta, FabricEndpoint, FabricNetwork, FabricPeer, FabricService};
use swarm_core::{NetworkId, NodeId, ServiceId, TaskId};

impl Wire for FabricDelta {
    type Pb = pb::Fabric;

    fn to_wire(&self) -> pb::Fabric {
        pb::Fabric {
            complete: self.complete,
            base: self.base,
            index: self.index,
            peers: self.peers.iter().map(peer_to_wire).collect(),
            removed_peers: ids(&self.removed_peers),
            networks: self.networks.iter().map(network_to_wire).collect(),
            removed_networks: ids(&self.removed_networks),
            services: self.services.iter().map(service_to_wire).collect(),
            removed_services: ids(&self.removed_services),
            endpoints: self.endpoints.iter().map(endpoint_to_wire).collect(),
            removed_endpoints: ids(&self.removed_endpoints),
        }
    }

    fn from_wire(pb: pb::Fabric) -> Result<Self, WireError> {
        Ok(FabricDelta {
            complete: pb.complete,
            base: pb.base,
            index: pb.index,
            peers: map(pb.peers, peer_from_wire)?,
            removed_peers: ids_from(pb.removed_peers)?,
            networks: map(pb.networks, network_from_wire)?,
            removed_networks: ids_from(pb.removed_networks)?,
            services: map(pb.services, service_from_wire)?,
            removed_services: ids_from(pb.removed_services)?,
            endpoints: map(pb.endpoints, endpoint_from_wire)?,
            removed_endpoints: ids_from(pb.removed_endpoints)?,
        })
    }
}

pub(crate) fn ids<T: Wire<Pb = Vec<u8>>>(ids: &[T]) -> Vec<Vec<u8>> {
    ids.iter().map(Wire::to_wire).collect()
}

pub(crate) fn ids_from<T: Wire<Pb = Vec<u8>>>(pb: Vec<Vec<u8>>) -> Result<Vec<T>, WireError> {
    pb.into_iter().map(T::from_wire).collect()
}

fn map<P, K: Ord, V>(pb: Vec<P>, from: impl Fn(P) -> Result<(K, V), WireError>) -> Result<BTreeMap<K, V>, WireError> {
    pb.into_iter().map(from).collect()
}

fn peer_to_wire((id, peer): (&NodeId, &FabricPeer)) -> pb::FabricPeer {
    pb::FabricPeer {
        node: id.to_wire(),
        name: peer.name.clone(),
        endpoint: peer.endpoint.to_wire(),
        wireguard_key: peer.wireguard_key.to_wire(),
    }
}

fn peer_from_wire(pb: pb::FabricPeer) -> Result<(NodeId, FabricPeer), WireError> {
    let peer = FabricPeer {
        name: pb.name,
        endpoint: Wire::from_wire(pb.endpoint)?,
        wireguard_key: Wire::from_wire(pb.wireguard_key)?,
    };
    Ok((Wire::from_wire(pb.node)?, peer))
}

fn network_to_wire((id, network): (&NetworkId, &FabricNetwork)) -> pb::FabricNetwork {
    pb::FabricNetwork {
        id: id.to_wire(),
        name: network.name.clone(),
        subnet: network.subnet.to_wire(),
        gateway: network.gateway.to_wire(),
        overlay_id: network.overlay_id,
        internal: network.internal,
        ingress: network.ingress,
    }
}

fn network_from_wire(pb: pb::FabricNetwork) -> Result<(NetworkId, FabricNetwork), WireError> {
    let network = FabricNetwork {
        name: pb.name,
        subnet: Wire::from_wire(pb.subnet)?,
        gateway: Wire::from_wire(pb.gateway)?,
        overlay_id: pb.overlay_id,
        internal: pb.internal,
        ingress: pb.ingress,
    };
    Ok((Wire::from_wire(pb.id)?, network))
}

fn service_to_wire((id, service): (&ServiceId, &FabricService)) -> pb::FabricService {
    let aliases = service.aliases.iter();
    pb::FabricService {
        id: id.to_wire(),
        name: service.name.clone(),
        mode: service.mode.to_wire(),
        vips: service.vips.to_wire(),
        aliases: aliases
            .map(|(network, names)| pb::Aliases { network: network.to_wire(), names: names.clone() })
            .collect(),
        ports: service.ports.to_wire(),
    }
}

fn service_from_wire(pb: pb::FabricService) -> Result<(ServiceId, FabricService), WireError> {
    let service = FabricService {
        name: pb.name,
        mode: Wire::from_wire(pb.mode)?,
        vips: Wire::from_wire(pb.vips)?,
        aliases: map(pb.aliases, |aliases| Ok((Wire::from_wire(aliases.network)?, aliases.names)))?,
        ports: Wire::from_wire(pb.ports)?,
    };
    Ok((Wire::from_wire(pb.id)?, service))
}

fn endpoint_to_wire((id, endpoint): (&TaskId, &FabricEndpoint)) -> pb::FabricEndpoint {
    pb::FabricEndpoint {
        task: id.to_wire(),
        service: endpoint.service.to_wire(),
        node: endpoint.node.to_wire(),
        name: endpoint.name.clone(),
        attachments: endpoint.attachments.to_wire(),
        receives: endpoint.receives,
        host_ports: endpoint.host_ports.to_wire(),
    }
}

fn endpoint_from_wire(pb: pb::FabricEndpoint) -> Result<(TaskId, FabricEndpoint), WireError> {
    let endpoint = FabricEndpoint {
        service: Wire::from_wire(pb.service)?,
        node: Wire::from_wire(pb.node)?,
        name: pb.name,
        attachments: Wire::from_wire(pb.attachments)?,
        receives: pb.receives,
        host_ports: Wire::from_wire(pb.host_ports)?,
    };
    Ok((Wire::from_wire(pb.task)?, endpoint))
}
