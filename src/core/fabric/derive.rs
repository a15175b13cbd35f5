//! From committed state to what one node's network must look like.

use super::{FabricEndpoint, FabricNetwork, FabricPeer, FabricService, FabricState};
use crate::model::{NetworkDriver, Node, NodeState, PublishMode, Service, Task, TaskState};
use crate::store::View;
use crate::{NetworkId, NodeId};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

/// The state for node `me`: all peers, the networks its tasks are on and the one of published ports, and
/// every service and endpoint that can be reached over those.
pub fn derive(view: &View, me: NodeId) -> FabricState {
    let networks = networks(view, me);
    let on = |network: NetworkId| networks.contains_key(&network);
    let mut services = BTreeMap::new();
    for service in view.services() {
        if let Some(visible) = visible_service(service, &on) {
            services.insert(service.id, visible);
        }
    }
    let mut endpoints = BTreeMap::new();
    for task in view.tasks() {
        if let Some(endpoint) = visible_endpoint(view, task, me, &on) {
            endpoints.insert(task.id, endpoint);
        }
    }
    FabricState { index: view.index(), peers: peers(view, me), networks, services, endpoints }
}

/// One per key: a host that left and joined again is two nodes with one key, and two tunnels with one
/// key cut each other off. The one in use is not down; of several the newest.
fn peers(view: &View, me: NodeId) -> BTreeMap<NodeId, FabricPeer> {
    let own_key = view.node(me).and_then(|node| node.description.as_ref()).map(|d| d.wireguard_key);
    let mut by_key: BTreeMap<[u8; 32], &Node> = BTreeMap::new();
    for node in view.nodes().filter(|node| node.id != me) {
        let Some(description) = node.description.as_ref().filter(|d| d.wireguard_port != 0) else { continue };
        if node.status.addr.is_none() || own_key == Some(description.wireguard_key) {
            continue;
        }
        let kept = by_key.entry(description.wireguard_key).or_insert(node);
        let rank = |node: &Node| (node.status.state != NodeState::Down, node.meta.created.index);
        if rank(node) > rank(kept) {
            *kept = node;
        }
    }
    by_key
        .into_iter()
        .filter_map(|(wireguard_key, node)| {
            let port = node.description.as_ref()?.wireguard_port;
            let endpoint = SocketAddr::new(node.status.addr?, port);
            Some((node.id, FabricPeer { name: node.display_name(), endpoint, wireguard_key }))
        })
        .collect()
}

fn networks(view: &View, me: NodeId) -> BTreeMap<NetworkId, FabricNetwork> {
    let mine = view.tasks_of_node(me).filter(|task| !task.status.state.is_terminal());
    let mut wanted: BTreeSet<NetworkId> = mine.flat_map(|task| task.attachments.iter().map(|a| a.network)).collect();
    wanted.extend(view.ingress_network().map(|network| network.id));
    wanted
        .into_iter()
        .filter_map(|id| {
            let network = view.network(id)?;
            let given = network.allocation.as_ref()?;
            (network.spec.driver == NetworkDriver::Overlay).then(|| {
                let visible = FabricNetwork {
                    name: network.spec.name.clone(),
                    subnet: given.subnet,
                    gateway: given.gateway,
                    overlay_id: given.overlay_id,
                    internal: network.spec.internal,
                    ingress: network.spec.ingress,
                };
                (id, visible)
            })
        })
        .collect()
}

fn visible_service(service: &Service, on: &impl Fn(NetworkId) -> bool) -> Option<FabricService> {
    let targets = service.spec.task.networks.iter().filter(|target| on(target.target));
    let aliases: BTreeMap<NetworkId, Vec<String>> =
        targets.map(|target| (target.target, target.aliases.clone())).collect();
    let vips: Vec<_> = service.endpoint.vips.iter().filter(|vip| on(vip.network)).copied().collect();
    let ports = service.endpoint.ports.clone();
    (!aliases.is_empty() || !vips.is_empty() || !ports.is_empty()).then(|| FabricService {
        name: service.spec.name.clone(),
        mode: service.endpoint.spec.mode,
        vips,
        aliases,
        ports,
    })
}

fn visible_endpoint(view: &View, task: &Task, me: NodeId, on: &impl Fn(NetworkId) -> bool) -> Option<FabricEndpoint> {
    let node = task.node?;
    // Before the node knows of it there is nothing to reach; a stopped one is gone.
    if task.status.state < TaskState::Assigned || task.status.state.is_terminal() {
        return None;
    }
    // On a node that is down it is nowhere: connections to it, begun or open, are forgotten and find another task.
    if node != me && is_down(view, node) {
        return None;
    }
    // On the network of published ports other nodes reach what publishes; the rest is there for its way out.
    let publishes = || {
        let service = view.service(task.service);
        service.is_some_and(|service| service.endpoint.ports.iter().any(|port| port.mode == PublishMode::Ingress))
    };
    let ingress = view.ingress_network().map(|network| network.id);
    let reached = |network: NetworkId| node == me || ingress != Some(network) || publishes();
    let attachments: Vec<_> =
        task.attachments.iter().filter(|a| on(a.network) && reached(a.network)).cloned().collect();
    if attachments.is_empty() && (node != me || task.host_ports.is_empty()) {
        return None;
    }
    Some(FabricEndpoint {
        service: task.service,
        node,
        name: task.name(),
        attachments,
        receives: receives(view, task),
        host_ports: task.host_ports.clone(),
    })
}

/// New connections go to what is up, is meant to run, and is not on a node that is down.
fn receives(view: &View, task: &Task) -> bool {
    let there = task.node.is_some_and(|node| view.node(node).is_some() && !is_down(view, node));
    task.is_up() && task.desired == TaskState::Running && there
}

fn is_down(view: &View, node: NodeId) -> bool {
    view.node(node).is_some_and(|node| node.status.state == NodeState::Down)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::*;
    use crate::store::{Object, Store};
    use crate::{ServiceId, Stamp, TaskId, WallTime};
    use std::sync::Arc;

    fn node(id: u128, key: u8, state: NodeState, created: u64) -> Object {
        let description = NodeDescription { wireguard_key: [key; 32], wireguard_port: 4789, ..Default::default() };
        Object::from(Node {
            id: NodeId(id),
            meta: Meta { created: Stamp { index: created, wall: WallTime(0) }, ..Meta::default() },
            spec: NodeSpec::default(),
            description: Some(description),
            status: NodeStatus { state, addr: "192.0.2.1".parse().ok(), ..NodeStatus::default() },
            raft: None,
            certificate_role: NodeRole::Worker,
        })
    }

    fn seen(me: u128, nodes: Vec<Object>) -> Vec<u128> {
        peers(&Store::restore(9, nodes).view(), NodeId(me)).keys().map(|id| id.0).collect()
    }

    #[test]
    fn a_host_that_left_and_joined_again_is_one_peer() {
        let (down, ready) = (NodeState::Down, NodeState::Ready);
        // Whichever id is the smaller one.
        for (old, new) in [(2, 3), (3, 2)] {
            let nodes =
                || vec![node(1, 1, ready, 1), node(old, 2, down, 2), node(new, 2, ready, 3), node(4, 4, down, 4)];
            assert_eq!(seen(1, nodes()), [new, 4]);
            assert_eq!(seen(new, nodes()), [1, 4], "its own former node is nobody");
            let both_down = vec![node(1, 1, ready, 1), node(old, 2, down, 2), node(new, 2, down, 3)];
            assert_eq!(seen(1, both_down), [new]);
        }
    }

    fn task(id: u128, node: NodeId) -> Object {
        let network = NetworkId(7);
        let addr = std::net::IpAddr::from([10, 0, 1, id as u8]);
        Object::Task(Arc::new(Task {
            node: Some(node),
            service_name: "web".to_owned(),
            status: TaskStatus { state: TaskState::Running, ..TaskStatus::default() },
            attachments: vec![TaskAttachment { network, addr, aliases: Vec::new() }],
            ..Task::new(TaskId(id), ServiceId(1), 1, Arc::default())
        }))
    }

    fn shop() -> Network {
        let subnet = "10.0.1.0/24".parse().unwrap();
        Network {
            id: NetworkId(7),
            meta: Meta::default(),
            spec: NetworkSpec { name: "shop".to_owned(), ..NetworkSpec::default() },
            allocation: Some(NetworkAllocation { subnet, gateway: "10.0.1.1".parse().unwrap(), overlay_id: 9 }),
            pending_reason: String::new(),
            removing: false,
        }
    }

    #[test]
    fn a_task_on_a_node_that_is_down_is_nowhere_for_the_others() {
        let endpoints = |state, me| {
            let network = Object::Network(Arc::new(shop()));
            let nodes = [node(1, 1, NodeState::Ready, 1), node(2, 2, state, 2)];
            let objects = nodes.into_iter().chain([network, task(11, NodeId(1)), task(12, NodeId(2))]);
            let state = derive(&Store::restore(9, objects).view(), NodeId(me));
            state.endpoints.iter().map(|(id, endpoint)| (id.0, endpoint.receives)).collect::<Vec<_>>()
        };
        assert_eq!(endpoints(NodeState::Ready, 1), [(11, true), (12, true)]);
        assert_eq!(endpoints(NodeState::Down, 1), [(11, true)]);
        assert_eq!(endpoints(NodeState::Down, 2), [(11, true), (12, false)], "its containers are there for itself");
    }

    #[test]
    fn a_task_that_is_not_ready_or_not_healthy_has_no_traffic_and_keeps_its_address() {
        let receives = |health, ready| {
            let Object::Task(task) = task(11, NodeId(1)) else { panic!("a task") };
            let mut task = (*task).clone();
            task.status.container = Some(ContainerStatus { health, ready, ..ContainerStatus::default() });
            let network = Object::Network(Arc::new(shop()));
            let objects = [node(1, 1, NodeState::Ready, 1), network, Object::Task(Arc::new(task))];
            derive(&Store::restore(9, objects).view(), NodeId(1)).endpoints[&TaskId(11)].receives
        };
        assert!(receives(Health::None, None) && receives(Health::Healthy, Some(true)));
        assert!(!receives(Health::None, Some(false)) && !receives(Health::Healthy, Some(false)));
        assert!(!receives(Health::Unhealthy, Some(true)) && !receives(Health::Starting, None));
    }
}
