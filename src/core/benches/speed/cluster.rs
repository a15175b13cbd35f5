//! Clusters to measure.

use rand::SeedableRng;
use rand::rngs::StdRng;
use std::sync::Arc;
use swarm_core::control::{self, Refusal};
use swarm_core::model::*;
use swarm_core::plan::{self, Memo, Phase};
use swarm_core::store::{Change, Object, Store, Txn};
use swarm_core::{NetworkId, NodeId, ServiceId, Stamp, TaskId, WallTime};

/// Ids over the whole range, as random ones are, and the same in each run.
fn scatter(number: u128) -> u128 {
    number.wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835).rotate_left(61)
}

fn node(number: u128) -> Node {
    let resources = Resources { nano_cpus: 64_000_000_000, memory_bytes: 256 << 30, ..Resources::default() };
    let description = NodeDescription {
        hostname: format!("host{number}"),
        platform: Platform { os: "linux".into(), architecture: "x86_64".into() },
        resources,
        ..NodeDescription::default()
    };
    Node {
        id: NodeId(scatter(number)),
        meta: Meta::default(),
        spec: NodeSpec::default(),
        description: Some(description),
        status: NodeStatus { state: NodeState::Ready, ..NodeStatus::default() },
        raft: None,
        certificate_role: NodeRole::Worker,
    }
}

/// Reserves `memory_bytes` for each task.
fn spec(name: &str, replicas: u64, memory_bytes: i64) -> ServiceSpec {
    let container = ContainerSpec {
        image: "example/shop/web:1.2.3".into(),
        env: (0..10).map(|n| format!("VARIABLE_{n}=a value of the usual length {n}")).collect(),
        ..ContainerSpec::default()
    };
    let reservations = Resources { memory_bytes, ..Resources::default() };
    let resources = ResourceRequirements { reservations, ..ResourceRequirements::default() };
    ServiceSpec {
        name: name.to_owned(),
        labels: Labels::from([("com.docker.stack.namespace".to_owned(), "shop".to_owned())]),
        task: TaskSpec { container, resources, ..TaskSpec::default() },
        mode: ServiceMode::Replicated { replicas },
        update: None,
        rollback: None,
        endpoint: EndpointSpec::default(),
        depends_on: Vec::new(),
        autoscale: None,
    }
}

/// What a user's wish creates.
fn created(txn: Result<Txn, Refusal>) -> Object {
    match txn.expect("a valid wish").changes.swap_remove(0) {
        Change::Create(object) => object,
        other => panic!("an object is made by {other:?}"),
    }
}

/// As it is when its user has made it.
pub fn service(id: ServiceId, name: &str, replicas: u64, memory_bytes: i64) -> Object {
    created(control::create_service(&Store::new().view(), spec(name, replicas, memory_bytes), id, WallTime(0)))
}

/// A network that nothing uses.
pub fn network(id: NetworkId) -> Object {
    let spec = NetworkSpec { name: "unused".into(), ..NetworkSpec::default() };
    created(control::create_network(&Store::new().view(), spec, id, WallTime(0)))
}

/// The first task of a service, as the plan makes it.
fn first_task(service: &Object, id: ServiceId) -> Task {
    let (mut store, mut rng) = (Store::new(), StdRng::seed_from_u64(1));
    let txn = Txn { changes: vec![Change::Create(service.clone())], ..Txn::default() };
    store.apply(1, 1, &txn).expect("applies");
    let plan = plan::reconcile(&store.view(), id, Phase::Scale, WallTime(0), &mut rng, &mut Memo::default());
    match plan.groups.into_iter().flatten().next() {
        Some(Change::Create(Object::Task(task))) => {
            let made = Stamp { index: 1, wall: WallTime(0) };
            Task { meta: Meta { version: 1, created: made, updated: made }, ..(*task).clone() }
        }
        other => panic!("a task is made by {other:?}"),
    }
}

/// `nodes`, and `services` whose `tasks` are as `edit` leaves them, by their number.
fn cluster(tasks: u128, services: u128, nodes: u128, edit: impl Fn(u128, &mut Task)) -> Store {
    Store::restore(1, objects(tasks, services, nodes, 0, edit))
}

fn objects(tasks: u128, services: u128, nodes: u128, memory_bytes: i64, edit: impl Fn(u128, &mut Task)) -> Vec<Object> {
    let mut objects: Vec<Object> = (1..=nodes).map(|number| Object::from(node(number))).collect();
    let replicas = tasks / services;
    for number in 0..services {
        let id = ServiceId(scatter(number + 1));
        let wanted = u64::try_from(replicas).expect("replicas");
        let service = service(id, &format!("service{number}"), wanted, memory_bytes);
        let first = first_task(&service, id);
        objects.push(service);
        objects.extend((1..=replicas).map(|slot| {
            let number = number * replicas + slot;
            let slot = u64::try_from(slot).expect("a slot");
            let mut task = Task { id: TaskId(scatter(number)), slot, ..first.clone() };
            edit(number, &mut task);
            Object::Task(Arc::new(task))
        }));
    }
    objects
}

/// Empty nodes, and one service whose tasks wait for one.
pub fn waiting(tasks: u128, nodes: u128) -> Store {
    cluster(tasks, 1, nodes, |_, task| {
        task.status.state = TaskState::Pending;
        task.status.message = "pending task scheduling".into();
    })
}

/// All tasks run, evenly on the nodes.
pub fn running(tasks: u128, services: u128, nodes: u128) -> Store {
    cluster(tasks, services, nodes, |number, task| run(number, nodes, task))
}

fn run(number: u128, nodes: u128, task: &mut Task) {
    task.node = Some(NodeId(scatter(number * 7919 % nodes + 1)));
    task.status.state = TaskState::Running;
    task.status.message = "started".into();
    task.status.container =
        Some(ContainerStatus { container_id: format!("{number:064x}"), pid: 4711, ..ContainerStatus::default() });
    task.up_since = Some(WallTime(0));
}

/// As `running`, each task reserving memory, and besides services with a task each that no node has the memory for.
pub fn stuck(tasks: u128, services: u128, nodes: u128, stuck: u128) -> Store {
    let mut objects = objects(tasks, services, nodes, 1 << 30, |number, task| run(number, nodes, task));
    for number in 0..stuck {
        let id = ServiceId(scatter(services + number + 1));
        let service = service(id, &format!("stuck{number}"), 1, 1 << 40);
        let mut task = Task { id: TaskId(scatter(tasks + number + 1)), ..first_task(&service, id) };
        task.status.state = TaskState::Pending;
        objects.extend([service, Object::Task(Arc::new(task))]);
    }
    Store::restore(1, objects)
}

/// As `running`, all on one network that carries published ports.
pub fn networked(tasks: u128, services: u128, nodes: u128) -> Store {
    let mut objects = objects(tasks, services, nodes, 0, |number, task| {
        run(number, nodes, task);
        let addr = std::net::Ipv4Addr::from_bits(0x0a00_0002 + u32::try_from(number).expect("an address"));
        let attachment = TaskAttachment { network: NETWORK, addr: addr.into(), aliases: Vec::new() };
        task.attachments = vec![attachment];
    });
    let Object::Network(mut shop) = network(NETWORK) else { panic!("a network") };
    Arc::make_mut(&mut shop).allocation = Some(NetworkAllocation {
        subnet: "10.0.0.0/8".parse().expect("a subnet"),
        gateway: "10.0.0.1".parse().expect("an address"),
        overlay_id: 9,
    });
    objects.push(Object::Network(shop));
    Store::restore(1, objects)
}

const NETWORK: NetworkId = NetworkId(7);
