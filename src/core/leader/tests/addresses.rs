use super::world::*;
use crate::NetworkId;
use crate::model::*;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

fn overlay(name: &str, subnet: Option<&str>) -> NetworkSpec {
    let ipam =
        subnet.map(|subnet| IpamSubnet { subnet: subnet.parse().expect("a subnet"), gateway: None, range: None });
    NetworkSpec { name: name.into(), ipam: ipam.into_iter().collect(), ..NetworkSpec::default() }
}

fn on(network: NetworkId, mut spec: ServiceSpec) -> ServiceSpec {
    let alias = vec!["alias".to_owned()];
    spec.task.networks = vec![NetworkTarget { target: network, aliases: alias, driver_options: Default::default() }];
    spec
}

#[test]
fn service_and_tasks_get_addresses_after_the_gateway() {
    let mut world = World::new(1);
    let net = world.network(overlay("shop", None));
    let web = world.create(on(net, replicated("web", "web:1", 2)));
    world.settle();
    let view = world.view();
    let given = view.network(net).and_then(|n| n.allocation.clone()).expect("an allocation");
    assert_eq!(given.subnet.to_string(), "10.0.1.0/24", "ingress has the first");
    assert_eq!(given.gateway.to_string(), "10.0.1.1");
    assert_eq!(world.service(web).endpoint.vips, [VirtualIp { network: net, addr: "10.0.1.2".parse().unwrap() }]);
    let attachments: Vec<String> =
        world.tasks(web).iter().map(|t| format!("{} {:?}", t.attachments[0].addr, t.attachments[0].aliases)).collect();
    assert_eq!(attachments, ["10.0.1.3 [\"alias\"]", "10.0.1.4 [\"alias\"]"]);
}

#[test]
fn a_service_that_publishes_is_on_the_ingress_network_and_gets_a_port_when_it_names_none() {
    let mut world = World::new(1);
    let mut spec = replicated("web", "web:1", 1);
    spec.endpoint.ports = vec![
        PortConfig { target_port: 80, published_port: 8080, ..PortConfig::default() },
        PortConfig { target_port: 81, ..PortConfig::default() },
        PortConfig { target_port: 82, published_port: 9090, mode: PublishMode::Host, ..PortConfig::default() },
    ];
    let web = world.create(spec);
    world.settle();
    let ports: Vec<u16> = world.service(web).endpoint.ports.iter().map(|port| port.published_port).collect();
    assert_eq!(ports, [8080, 30000, 9090]);
    let task = &world.running(web)[0];
    assert_eq!(task.attachments.len(), 1);
    assert_eq!(task.host_ports.iter().map(|port| port.published_port).collect::<Vec<_>>(), [9090]);
    // It keeps the number it was given.
    world.update(web, |spec| drop(spec.endpoint.ports.remove(0)));
    world.settle();
    assert_eq!(world.service(web).endpoint.ports[0].published_port, 30000);
}

#[test]
fn a_service_without_a_network_has_a_way_out_and_is_reached_by_no_other_node() {
    let mut world = World::new(2);
    let web = world.create(replicated("web", "web:1", 2));
    world.settle();
    let ingress = world.view().ingress_network().expect("predefined").id;
    for task in world.running(web) {
        assert_eq!(task.attachments.iter().map(|a| a.network).collect::<Vec<_>>(), [ingress]);
    }
    assert!(world.service(web).endpoint.vips.is_empty());
    let seen = |world: &World| -> Vec<usize> {
        let view = world.view();
        view.nodes().map(|node| crate::fabric::derive(&view, node.id).endpoints.len()).collect()
    };
    assert_eq!(seen(&world), [1, 1], "each node knows its own");
    let port = PortConfig { target_port: 80, published_port: 8080, ..PortConfig::default() };
    world.update(web, |spec| spec.endpoint.ports = vec![port.clone()]);
    world.settle();
    assert_eq!(seen(&world), [2, 2]);
}

#[test]
fn host_and_none_networks_have_no_addresses() {
    let mut world = World::new(1);
    let host = world.view().network_by_name("host").expect("predefined").id;
    let web = world.create(replicated("web", "web:1", 1));
    // Agents can't do it yet, so that the API refuses it.
    world.overwrite(web, |spec| *spec = on(host, spec.clone()));
    world.settle();
    assert_eq!(world.running(web).len(), 1);
    assert!(world.running(web)[0].attachments.is_empty());
    assert!(world.service(web).endpoint.vips.is_empty());
}

#[test]
fn a_full_network_says_so_on_the_task_and_goes_on_when_there_is_room() {
    let mut world = World::new(1);
    let net = world.network(overlay("small", Some("10.9.0.0/29")));
    // Eight addresses: less subnet, broadcast and gateway five, less the service's own four.
    let web = world.create(on(net, replicated("web", "web:1", 6)));
    world.settle();
    assert_eq!(world.running(web).len(), 4);
    let waiting: Vec<String> =
        world.tasks(web).iter().filter(|t| t.status.state == TaskState::New).map(|t| t.status.err.clone()).collect();
    assert_eq!(waiting, vec!["network \"small\" is full: 5 of 5 addresses in use"; 2]);
    world.update(web, |spec| spec.mode = ServiceMode::Replicated { replicas: 4 });
    world.settle();
    assert_eq!(world.running(web).len(), 4);
    assert!(world.tasks(web).iter().all(|t| t.status.err.is_empty()));
}

#[test]
fn an_address_is_free_again_only_when_its_task_has_ended() {
    let mut world = World::new(2);
    let net = world.network(overlay("small", Some("10.9.0.0/29")));
    let web = world.create(on(net, replicated("web", "web:1", 4)));
    world.settle();
    world.node_state(2, NodeState::Down);
    world.settle();
    assert_eq!(world.running(web).len(), 2, "two addresses are held by tasks nobody could stop");
    world.node_state(2, NodeState::Ready);
    world.settle();
    assert_eq!(world.running(web).len(), 4);
}

#[test]
fn an_address_given_back_rests_before_it_is_given_again() {
    let mut world = World::new(1);
    let net = world.network(overlay("shop", None));
    let web = world.create(on(net, replicated("web", "web:1", 1)));
    world.settle();
    let mut seen: BTreeSet<IpAddr> = BTreeSet::new();
    for _ in 0..5 {
        assert!(seen.insert(world.running(web)[0].attachments[0].addr));
        world.update(web, |spec| spec.task.force_update += 1);
        world.pass(Duration::from_secs(6));
    }
}

#[test]
fn a_pool_without_a_free_subnet_says_how_much_is_used() {
    let mut world = World::new(1);
    let mut cluster = (**world.view().cluster().expect("a cluster")).clone();
    cluster.spec.address_pools = vec!["10.20.0.0/23".parse().unwrap()];
    world.change(vec![crate::store::Change::Replace(crate::store::Object::Cluster(cluster.into()))]);
    for name in ["a", "b", "c"] {
        world.network(overlay(name, None));
    }
    world.settle();
    let view = world.view();
    let waiting: Vec<_> = view.networks().filter(|n| !n.pending_reason.is_empty()).collect();
    assert_eq!(waiting.len(), 1);
    let reason = &waiting[0].pending_reason;
    assert!(reason.starts_with("no free subnet /24 in the address pools 10.20.0.0/23: 2 of 2 in use"), "{reason}");
    let id = waiting[0].id;
    let web = world.create(on(id, replicated("web", "web:1", 1)));
    world.settle();
    assert!(world.tasks(web)[0].status.err.contains("has no subnet: no free subnet"), "{:?}", world.tasks(web)[0]);
}

#[test]
fn two_services_that_want_one_port_do_not_both_get_it_and_the_second_says_why() {
    let mut world = World::new(1);
    let publish = |name: &str, published_port| {
        let mut spec = replicated(name, "web:1", 1);
        spec.endpoint.ports = vec![PortConfig { target_port: 80, published_port, ..PortConfig::default() }];
        spec
    };
    let one = world.create(publish("one", 0));
    world.settle();
    assert_eq!(world.service(one).endpoint.ports[0].published_port, 30000);
    // Written before the first had its number: what the API could not refuse.
    let two = world.create(publish("two", 8080));
    world.overwrite(two, |spec| spec.endpoint.ports[0].published_port = 30000);
    world.settle();
    let reason = "port 30000/tcp is already published by service \"one\"";
    assert_eq!(world.service(two).endpoint.pending_reason, reason);
    assert_eq!(world.tasks(two)[0].status.err, reason);
    world.remove(one);
    world.settle();
    assert_eq!(world.running(two).len(), 1, "it goes on when the port is free");
}

#[test]
fn a_network_that_only_stopping_tasks_are_on_is_gone_for_users_at_once_and_goes_after_the_last() {
    let mut world = World::new(1);
    world.stop_time = Duration::from_secs(3);
    let net = world.network(overlay("shop", None));
    let web = world.create(on(net, replicated("web", "web:1", 2)));
    world.settle();
    world.remove(web);
    let view = world.view();
    let txn = crate::control::remove_network(&view, net, world.now).expect("its only service is being removed");
    world.apply(&txn);
    let view = world.view();
    assert!(view.network_by_name("shop").is_none());
    assert!(view.network(net).is_some_and(|network| network.allocation.is_some()), "its tasks still run");
    assert!(crate::control::remove_network(&view, net, world.now).is_err(), "a second time there is nothing");
    let late = on(net, replicated("late", "web:1", 1));
    let id = crate::ServiceId(99);
    let decided = crate::control::create_service(&view, late, id, world.now);
    assert!(decided.is_err(), "nobody may join it");
    let again = world.network(overlay("shop", None));
    world.settle();
    assert!(world.view().network(net).is_some(), "they take their time");
    world.pass(Duration::from_secs(4));
    assert!(world.view().network(net).is_none());
    assert!(world.view().network(again).is_some_and(|network| network.allocation.is_some()));
}
