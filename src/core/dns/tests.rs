use super::*;
use crate::fabric::{FabricNetwork, FabricService};
use crate::model::{TaskAttachment, VirtualIp};
use crate::{NodeId, TaskId};

const FRONT: NetworkId = NetworkId(1);
const BACK: NetworkId = NetworkId(2);
const INGRESS: NetworkId = NetworkId(9);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn network(name: &str, subnet: &str, ingress: bool) -> FabricNetwork {
    let subnet: IpNet = subnet.parse().unwrap();
    let gateway = subnet.hosts().next().unwrap();
    FabricNetwork { name: name.into(), subnet, gateway, overlay_id: 1, internal: false, ingress }
}

fn service(name: &str, mode: EndpointMode, vips: &[(NetworkId, &str)], alias: &str) -> FabricService {
    FabricService {
        name: name.into(),
        mode,
        vips: vips.iter().map(|(network, addr)| VirtualIp { network: *network, addr: ip(addr) }).collect(),
        aliases: [(FRONT, vec![alias.to_owned()])].into(),
        ports: Vec::new(),
    }
}

fn task(service: u128, name: &str, receives: bool, at: &[(NetworkId, &str)]) -> FabricEndpoint {
    FabricEndpoint {
        service: ServiceId(service),
        node: NodeId(1),
        name: name.into(),
        attachments: at
            .iter()
            .map(|(network, addr)| TaskAttachment { network: *network, addr: ip(addr), aliases: Vec::new() })
            .collect(),
        receives,
        host_ports: Vec::new(),
    }
}

fn state() -> FabricState {
    let mut s = FabricState::default();
    s.networks.insert(FRONT, network("front", "10.0.1.0/24", false));
    s.networks.insert(BACK, network("back", "10.0.2.0/24", false));
    s.networks.insert(INGRESS, network("ingress", "10.0.0.0/24", true));
    s.services.insert(
        ServiceId(1),
        service("shop_web", EndpointMode::Vip, &[(FRONT, "10.0.1.2"), (INGRESS, "10.0.0.2")], "web"),
    );
    s.services.insert(ServiceId(2), service("shop_kv", EndpointMode::Dnsrr, &[], "kv"));
    s.endpoints.insert(TaskId(1), task(1, "shop_web.1.abc", true, &[(FRONT, "10.0.1.5"), (INGRESS, "10.0.0.5")]));
    s.endpoints.insert(TaskId(2), task(1, "shop_web.2.def", false, &[(FRONT, "10.0.1.6")]));
    for n in 7..=9 {
        let addr = format!("10.0.1.{n}");
        s.endpoints.insert(TaskId(n), task(2, &format!("shop_kv.{n}.x"), true, &[(FRONT, &addr)]));
    }
    s
}

fn addresses(answer: Answer) -> Vec<String> {
    match answer {
        Answer::Addresses { addresses, .. } => addresses.iter().map(ToString::to_string).collect(),
        other => panic!("no addresses: {other:?}"),
    }
}

fn ask(name: &str) -> Answer {
    Zones::new(&state()).answer(&[FRONT], name, Question::A, 0)
}

#[test]
fn a_service_and_its_alias_answer_with_the_virtual_address() {
    for name in ["shop_web", "web", "WEB", "Shop_Web."] {
        assert_eq!(ask(name), Answer::Addresses { addresses: vec![ip("10.0.1.2")], ttl_seconds: TTL_VIP_SECONDS });
    }
}

#[test]
fn tasks_of_a_service_are_those_that_receive() {
    assert_eq!(addresses(ask("tasks.shop_web")), ["10.0.1.5"]);
    assert_eq!(addresses(ask("tasks.web")), ["10.0.1.5"]);
}

#[test]
fn a_service_without_virtual_address_answers_with_its_tasks_each_first_in_turn() {
    let zones = Zones::new(&state());
    let first = |rotation| addresses(zones.answer(&[FRONT], "kv", Question::A, rotation))[0].clone();
    assert_eq!([first(0), first(1), first(2), first(3)], ["10.0.1.7", "10.0.1.8", "10.0.1.9", "10.0.1.7"]);
    assert!(matches!(ask("kv"), Answer::Addresses { ttl_seconds: TTL_TASK_SECONDS, .. }));
}

#[test]
fn a_task_answers_to_its_full_name_even_before_it_receives() {
    assert_eq!(addresses(ask("shop_web.2.def")), ["10.0.1.6"]);
}

#[test]
fn a_known_name_has_no_data_of_another_kind() {
    let zones = Zones::new(&state());
    assert_eq!(zones.answer(&[FRONT], "web", Question::Aaaa, 0), Answer::NoData);
    assert_eq!(zones.answer(&[FRONT], "web", Question::Other, 0), Answer::NoData);
}

#[test]
fn a_service_with_no_receiving_task_exists_without_addresses() {
    let mut state = state();
    for endpoint in state.endpoints.values_mut() {
        endpoint.receives = false;
    }
    assert_eq!(Zones::new(&state).answer(&[FRONT], "kv", Question::A, 0), Answer::NoData);
}

#[test]
fn names_of_other_networks_and_unknown_names_are_forwarded() {
    let zones = Zones::new(&state());
    assert_eq!(zones.answer(&[BACK], "web", Question::A, 0), Answer::Forward);
    assert_eq!(zones.answer(&[], "web", Question::A, 0), Answer::Forward);
    assert_eq!(ask("example.com"), Answer::Forward);
}

#[test]
fn the_ingress_network_has_no_names() {
    assert_eq!(Zones::new(&state()).answer(&[INGRESS], "shop_web", Question::A, 0), Answer::Forward);
}

#[test]
fn services_that_share_an_alias_answer_together() {
    let mut state = state();
    state.services.insert(ServiceId(3), service("shop_web2", EndpointMode::Vip, &[(FRONT, "10.0.1.3")], "web"));
    assert_eq!(addresses(Zones::new(&state).answer(&[FRONT], "web", Question::A, 0)), ["10.0.1.2", "10.0.1.3"]);
}

#[test]
fn an_address_names_its_task_or_service_and_strangers_in_the_subnet_have_none() {
    let zones = Zones::new(&state());
    let named = |addr| match zones.reverse(&[FRONT], ip(addr)) {
        Answer::Name { name, .. } => name,
        other => panic!("no name: {other:?}"),
    };
    assert_eq!(named("10.0.1.5"), "shop_web.1.abc");
    assert_eq!(named("10.0.1.2"), "shop_web");
    assert_eq!(zones.reverse(&[FRONT], ip("10.0.1.99")), Answer::NoName);
    assert_eq!(zones.reverse(&[FRONT], ip("192.0.2.1")), Answer::Forward);
}
