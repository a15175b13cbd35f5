use super::*;
use crate::api::AttachSpec;
use swarm_core::fabric::FabricNetwork;
use swarm_core::model::{TaskAttachment, VirtualIp};
use swarm_core::{ServiceId, TaskId};

const ME: NodeId = NodeId(1);
const OTHER: NodeId = NodeId(2);

fn network(id: u8, ingress: bool) -> FabricNetwork {
    FabricNetwork {
        name: format!("n{id}"),
        subnet: format!("10.0.{id}.0/24").parse().expect("subnet"),
        gateway: IpAddr::from([10, 0, id, 1]),
        overlay_id: u32::from(id),
        internal: false,
        ingress,
    }
}

fn attachment(network: u8, host: u8) -> TaskAttachment {
    let addr = IpAddr::from([10, 0, network, host]);
    TaskAttachment { network: NetworkId(network.into()), addr, aliases: Vec::new() }
}

fn endpoint(node: NodeId, host: u8, networks: &[u8], receives: bool) -> FabricEndpoint {
    FabricEndpoint {
        service: ServiceId(1),
        node,
        name: format!("web.{host}"),
        attachments: networks.iter().map(|n| attachment(*n, host)).collect(),
        receives,
        host_ports: Vec::new(),
    }
}

fn port(published: u16, mode: PublishMode, host_ip: Option<&str>) -> PortConfig {
    PortConfig {
        target_port: 80,
        published_port: published,
        mode,
        host_ip: host_ip.map(|ip| ip.parse().expect("address")),
        ..PortConfig::default()
    }
}

fn state() -> FabricState {
    let mut s = FabricState::default();
    for (id, ingress) in [(9, true), (1, false), (2, false)] {
        s.networks.insert(NetworkId(id.into()), network(id, ingress));
    }
    let vips = vec![VirtualIp { network: NetworkId(1), addr: IpAddr::from([10, 0, 1, 2]) }];
    let web = FabricService {
        name: "web".into(),
        mode: EndpointMode::Vip,
        vips,
        aliases: BTreeMap::new(),
        ports: vec![port(8080, PublishMode::Ingress, None)],
    };
    s.services.insert(ServiceId(1), web);
    s.endpoints.insert(TaskId(1), endpoint(ME, 5, &[1, 9], true));
    s.endpoints.insert(TaskId(2), endpoint(OTHER, 6, &[1, 9], true));
    s.endpoints.insert(TaskId(3), endpoint(OTHER, 7, &[1, 9], false));
    s.endpoints.insert(TaskId(4), endpoint(OTHER, 8, &[2], true));
    s
}

fn record(id: &str, networks: &[u8], host: u8, ports: Vec<PortConfig>) -> Record {
    let spec = AttachSpec {
        attachments: networks.iter().map(|n| attachment(*n, host)).collect(),
        networks: networks.iter().map(|n| (NetworkId((*n).into()), network(*n, *n == 9))).collect(),
        host_ports: ports,
        ..AttachSpec::default()
    };
    Record::new(id, spec).expect("valid")
}

#[test]
fn only_networks_with_something_of_this_node_are_built() {
    let plan = Plan::new(&state(), ME, [].iter());
    assert_eq!(plan.networks.keys().copied().collect::<Vec<_>>(), [1, 9]);
    let third = [record("t", &[2], 20, Vec::new())];
    let plan = Plan::new(&state(), ME, third.iter());
    assert_eq!(plan.networks.keys().copied().collect::<Vec<_>>(), [1, 2, 9]);
}

#[test]
fn a_task_may_be_attached_before_the_state_names_its_network() {
    let early = [record("t", &[3], 20, Vec::new())];
    let plan = Plan::new(&FabricState::default(), ME, early.iter());
    assert!(plan.networks[&3].local.contains(&Ipv4Addr::new(10, 0, 3, 20)));
}

#[test]
fn connections_go_to_receiving_tasks_of_all_nodes() {
    let plan = Plan::new(&state(), ME, [].iter());
    let web = &plan.networks[&1].services[&Ipv4Addr::new(10, 0, 1, 2)];
    assert_eq!(web.addrs, [Ipv4Addr::new(10, 0, 1, 5), Ipv4Addr::new(10, 0, 1, 6)]);
    let published = &plan.networks[&9].published[&(Transport::Tcp, 8080)];
    assert_eq!(published.addrs, [Ipv4Addr::new(10, 0, 9, 5), Ipv4Addr::new(10, 0, 9, 6)]);
    assert_eq!(published.port, Some(80));
    assert_eq!(plan.ports[&(None, Transport::Tcp, 8080)].overlay_id, 9);
}

#[test]
fn addresses_of_other_nodes_lead_there_receiving_or_not() {
    let plan = Plan::new(&state(), ME, [].iter());
    let remote = &plan.networks[&1].remote;
    assert_eq!(remote.keys().map(|a| a.octets()[3]).collect::<Vec<_>>(), [6, 7]);
    assert!(remote.values().all(|n| *n == OTHER));
}

#[test]
fn the_node_is_never_its_own_peer() {
    let mut state = state();
    for node in [ME, OTHER] {
        let endpoint = "192.0.2.1:4789".parse().expect("address");
        state.peers.insert(node, FabricPeer { name: "n".into(), endpoint, wireguard_key: [0; 32] });
    }
    let plan = Plan::new(&state, ME, [].iter());
    assert_eq!(plan.peers.keys().collect::<Vec<_>>(), [&OTHER]);
    assert_eq!(plan.own_addr, Some(IpAddr::from([192, 0, 2, 1])));
}

#[test]
fn the_same_port_at_two_addresses_of_the_host_reaches_two_tasks() {
    let two = [
        record("a", &[9], 20, vec![port(8080, PublishMode::Host, Some("192.0.2.1"))]),
        record("b", &[9], 21, vec![port(8080, PublishMode::Host, Some("192.0.2.2"))]),
    ];
    let plan = Plan::new(&state(), ME, two.iter());
    let at = |ip: [u8; 4]| &plan.ports[&(Some(Ipv4Addr::from(ip)), Transport::Tcp, 8080)];
    let target = |f: &Forward| plan.networks[&9].host_ports[&(Transport::Tcp, f.link_port)].0.octets()[3];
    assert_eq!(target(at([192, 0, 2, 1])), 20);
    assert_eq!(target(at([192, 0, 2, 2])), 21);
    // The ingress port of the same number keeps its own.
    assert_eq!(plan.ports[&(None, Transport::Tcp, 8080)].link_port, 8080);
    assert!(!plan.networks[&9].host_ports.contains_key(&(Transport::Tcp, 8080)));
}

#[test]
fn the_same_ingress_port_at_two_addresses_of_the_host_reaches_two_services() {
    let mut state = state();
    let other = FabricService { name: "other".into(), ..state.services[&ServiceId(1)].clone() };
    state.services.insert(ServiceId(2), FabricService { vips: Vec::new(), ..other });
    for (id, ip) in [(1, "127.0.0.1"), (2, "192.0.2.1")] {
        let service = state.services.get_mut(&ServiceId(id)).expect("service");
        service.ports = vec![port(8080, PublishMode::Ingress, Some(ip)), port(8081, PublishMode::Ingress, Some(ip))];
    }
    state.endpoints.insert(TaskId(5), FabricEndpoint { service: ServiceId(2), ..endpoint(OTHER, 40, &[9], true) });
    let plan = Plan::new(&state, ME, [].iter());
    let tasks = |ip: [u8; 4], number: u16| -> Vec<u8> {
        let forward = &plan.ports[&(Some(Ipv4Addr::from(ip)), Transport::Tcp, number)];
        let published = &plan.networks[&9].published[&(Transport::Tcp, forward.link_port)];
        published.addrs.iter().map(|a| a.octets()[3]).collect()
    };
    for number in [8080, 8081] {
        assert_eq!(tasks([127, 0, 0, 1], number), [5, 6]);
        assert_eq!(tasks([192, 0, 2, 1], number), [40]);
    }
}

#[test]
fn what_cannot_be_carried_is_an_error_and_the_rest_is_built() {
    let mut state = state();
    let mut v6 = network(2, false);
    v6.subnet = "fd00::/64".parse().expect("subnet");
    v6.gateway = "fd00::1".parse().expect("address");
    state.networks.insert(NetworkId(2), v6);
    state.endpoints.insert(TaskId(9), endpoint(ME, 30, &[2], true));
    let plan = Plan::new(&state, ME, [].iter());
    assert_eq!(plan.errors.len(), 1);
    assert!(plan.networks.contains_key(&1) && !plan.networks.contains_key(&2));
}
