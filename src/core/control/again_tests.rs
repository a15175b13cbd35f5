//! What two users write at once is checked again when it is applied: each wish was good on the state it was decided on.

use super::tests::{World, port, spec};
use super::*;
use crate::model::*;
use crate::spec::RULES;
use crate::store::Conflict;
use crate::{ConfigId, NetworkId, NodeId, SecretId, Sensitive, ServiceId};
use std::time::Duration;

const NOW: WallTime = WallTime(1_700_000_000_000);

/// Both are decided on the same state; the first is taken. Returns why the second is not, after a look that nothing of
/// it was.
fn second(world: &mut World, first: Txn, second: Txn) -> String {
    world.commit(first).expect("the first is taken");
    let before = world.store.objects();
    let conflict = world.commit(second).expect_err("the second is refused");
    assert_eq!(world.store.objects(), before, "nothing of it is stored");
    match conflict {
        Conflict::Refused(refusal) => refusal.to_string(),
        other => panic!("{other:?}"),
    }
}

fn publishing(name: &str, number: u16) -> ServiceSpec {
    let mut spec = spec(name);
    spec.endpoint.ports = vec![port(number, PublishMode::Ingress)];
    spec
}

#[test]
fn one_port_is_not_published_by_two_services() {
    let mut world = World::new();
    let create =
        |world: &World, name, id| create_service(&world.view(), publishing(name, 80), ServiceId(id), NOW).unwrap();
    let both = (create(&world, "web", 10), create(&world, "api", 11));
    let words = second(&mut world, both.0, both.1);
    let holder = format!("port '80' is already in use by service 'web' ({})", ServiceId(10));
    assert_eq!(words, format!("EndpointSpec.Ports[0].PublishedPort: {holder}"));
}

#[test]
fn two_services_do_not_come_to_wait_for_each_other() {
    let mut world = World::new();
    world.service(10, spec("web"));
    world.service(11, spec("db"));
    let wait = |world: &World, name: &str, id, on: &str| {
        let condition = DependencyCondition::Healthy;
        let depends_on = vec![Dependency { service: on.to_owned(), condition, optional: false }];
        let service = world.get(id);
        let spec = ServiceSpec { depends_on, ..spec(name) };
        update_service(&world.view(), service.id, service.meta.version, spec, NOW).unwrap()
    };
    let both = (wait(&world, "web", 10, "db"), wait(&world, "db", 11, "web"));
    assert!(second(&mut world, both.0, both.1).starts_with("Swarm.DependsOn: none of these could ever start"));
}

#[test]
fn a_lease_outlasts_the_heartbeats_there_are_when_it_is_written() {
    let mut world = World::new();
    let cluster = world.cluster();
    let once = |lease| {
        let mut once = spec("once");
        once.mode = ServiceMode::Replicated { replicas: 1 };
        once.task.at_most_one = Some(Duration::from_secs(lease));
        once
    };
    let slower = |world: &World, secs| {
        let spec = ClusterSpec { heartbeat_period: Duration::from_secs(secs), ..cluster.spec.clone() };
        let version = world.view().cluster().unwrap().meta.version;
        update_cluster(&world.view(), version, spec, JoinRotation::default(), NOW)
    };
    let create = create_service(&world.view(), once(6), ServiceId(10), NOW).unwrap();
    let slow = slower(&world, 10).unwrap();
    let words = second(&mut world, slow, create.clone());
    assert_eq!(words, "Swarm.AtMostOne: a lease of 6s is out of range, use 30s to 3600s");

    let fast = slower(&world, 1).unwrap();
    world.commit(fast).unwrap();
    world.commit(create).unwrap();
    let refused = slower(&world, 10).unwrap_err().to_string();
    assert!(refused.starts_with("Dispatcher.HeartbeatPeriod: the lease of service once"), "{refused}");
    assert!(slower(&world, 2).is_ok());
}

#[test]
fn one_subnet_is_not_given_to_two_networks() {
    let mut world = World::new();
    let network = |world: &World, name: &str, id, subnet: &str| {
        let ipam = vec![IpamSubnet { subnet: subnet.parse().unwrap(), gateway: None, range: None }];
        let spec = NetworkSpec { name: name.to_owned(), ipam, ..NetworkSpec::default() };
        create_network(&world.view(), spec, NetworkId(id), NOW).unwrap()
    };
    let both = (network(&world, "a", 50, "10.9.0.0/16"), network(&world, "b", 51, "10.9.1.0/24"));
    assert!(second(&mut world, both.0, both.1).starts_with("IPAM.Config[0].Subnet: Pool overlaps"));
}

#[test]
fn one_name_is_not_given_to_two_nodes() {
    let mut world = World::new();
    world.manager(1, NodeState::Ready);
    world.manager(2, NodeState::Ready);
    let name = |world: &World, id| {
        let node = world.view().node(NodeId(id)).unwrap().clone();
        let spec = NodeSpec { name: Some("host".to_owned()), ..node.spec.clone() };
        update_node(&world.view(), node.id, node.meta.version, spec, NOW).unwrap()
    };
    let both = (name(&world, 1), name(&world, 2));
    assert!(second(&mut world, both.0, both.1).ends_with("is already called \"host\""));
}

#[test]
fn every_wish_that_writes_a_specification_asks_for_the_rules() {
    let mut world = World::new();
    world.cluster();
    world.manager(1, NodeState::Ready);
    world.service(10, spec("web"));
    world.update(10, publishing("web", 80));
    let (view, service) = (world.view(), world.get(10));
    let data = || vec![1];
    let secret =
        SecretSpec { name: "key".into(), labels: Labels::new(), data: Sensitive::new(data()), templated: false };
    let config = ConfigSpec { name: "site".into(), labels: Labels::new(), data: data(), templated: false };
    let net = NetworkSpec { name: "net".to_owned(), ..NetworkSpec::default() };
    let (node, cluster) = (view.node(NodeId(1)).unwrap(), view.cluster().unwrap());
    let rotation = JoinRotation::default();
    let wishes = [
        create_service(&view, spec("other"), ServiceId(11), NOW),
        update_service(&view, service.id, service.meta.version, spec("web"), NOW),
        rollback_service(&view, service.id, service.meta.version, NOW),
        rollback_service_to(&view, service.id, service.meta.version, 1, NOW),
        create_secret(&view, secret, SecretId(60), NOW),
        create_config(&view, config, ConfigId(61), NOW),
        create_network(&view, net, NetworkId(62), NOW),
        update_node(&view, node.id, node.meta.version, node.spec.clone(), NOW),
        update_cluster(&view, cluster.meta.version, cluster.spec.clone(), rotation, NOW),
    ];
    for wish in wishes {
        assert!(wish.unwrap().preconditions.contains(&Precondition::Rules(RULES)));
    }
    let removal = remove_service(&view, service.id, NOW).unwrap();
    assert!(!removal.preconditions.contains(&Precondition::Rules(RULES)), "what goes need not hold");
}
