//! Specs as users write them, drawn at random: every field whose value changes what the cluster does.

use crate::engine::Fate;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, IteratorRandom};
use std::time::Duration;
use swarm_core::model::*;
use swarm_core::store::View;

fn some<T: Clone>(rng: &mut StdRng, choices: &[T]) -> Option<T> {
    choices.choose(rng).cloned()
}

fn fate(rng: &mut StdRng) -> Fate {
    let all = [
        (Fate::Runs, 50),
        (Fate::SlowPull, 6),
        (Fate::Stubborn, 6),
        (Fate::Crashes, 6),
        (Fate::Completes, 5),
        (Fate::NoImage, 4),
        (Fate::NoCommand, 3),
        (Fate::Flaky, 14),
        (Fate::Sick, 6),
    ];
    all.choose_weighted(rng, |(_, weight)| *weight).map_or(Fate::Runs, |(fate, _)| *fate)
}

fn image(rng: &mut StdRng) -> String {
    let tag = rng.random_range(1..100);
    fate(rng).image(tag)
}

fn replicas(rng: &mut StdRng, hosts: usize) -> u64 {
    let most = (2 * hosts as u64).clamp(4, 40);
    match rng.random_range(0..10) {
        0 => 0,
        1..8 => rng.random_range(1..=4.min(most)),
        _ => rng.random_range(1..=most),
    }
}

/// A new service of one of a few names, so that names come again.
pub fn service(rng: &mut StdRng, view: &View, hosts: usize) -> ServiceSpec {
    let name = format!("s{}", rng.random_range(0..12));
    let mode = match rng.random_range(0..20) {
        0..4 => ServiceMode::Global,
        4..6 => ServiceMode::ReplicatedJob {
            max_concurrent: rng.random_range(1..=3),
            total_completions: rng.random_range(1..=6),
        },
        6 => ServiceMode::GlobalJob,
        _ => ServiceMode::Replicated { replicas: replicas(rng, hosts) },
    };
    let fate = if is_job(&mode) && rng.random_bool(0.8) { Fate::Completes } else { fate(rng) };
    let container = ContainerSpec { image: fate.image(rng.random_range(1..100)), ..ContainerSpec::default() };
    let mut spec = ServiceSpec {
        name,
        labels: Labels::new(),
        task: TaskSpec { container, ..TaskSpec::default() },
        mode,
        update: None,
        rollback: None,
        endpoint: EndpointSpec::default(),
        depends_on: Vec::new(),
        autoscale: None,
    };
    if is_job(&spec.mode) {
        change(rng, view, &mut spec, Part::Restart);
    }
    for part in Part::ALL {
        if rng.random_bool(0.4) {
            change(rng, view, &mut spec, part);
        }
    }
    spec
}

fn is_job(mode: &ServiceMode) -> bool {
    match mode {
        ServiceMode::Replicated { .. } | ServiceMode::Global => false,
        ServiceMode::ReplicatedJob { .. } | ServiceMode::GlobalJob => true,
    }
}

/// A change of one to three parts of a spec.
pub fn update(rng: &mut StdRng, view: &View, spec: &mut ServiceSpec, hosts: usize) {
    for _ in 0..rng.random_range(1..=3) {
        let part = some(rng, &Part::ALL).unwrap_or(Part::Image);
        change(rng, view, spec, part);
    }
    if rng.random_bool(0.2) {
        scale(rng, spec, hosts);
    }
}

pub fn scale(rng: &mut StdRng, spec: &mut ServiceSpec, hosts: usize) {
    if let ServiceMode::Replicated { replicas: count } = &mut spec.mode {
        *count = replicas(rng, hosts);
    }
}

pub fn network(rng: &mut StdRng, number: u32) -> NetworkSpec {
    let mut spec = NetworkSpec { name: format!("net{number}"), ..NetworkSpec::default() };
    // A small one gets full.
    if rng.random_bool(0.3) {
        let subnet = format!("10.99.{number}.0/28").parse();
        spec.ipam = subnet.into_iter().map(|subnet| IpamSubnet { subnet, gateway: None, range: None }).collect();
    }
    spec
}

/// The parts of a spec that can be changed by themselves.
#[derive(Clone, Copy, Debug)]
enum Part {
    Image,
    Update,
    Rollback,
    Restart,
    Placement,
    Resources,
    Networks,
    Ports,
    Contents,
    Health,
    Grace,
    Environment,
    Priority,
    Dependencies,
}

impl Part {
    const ALL: [Self; 14] = [
        Self::Image,
        Self::Update,
        Self::Rollback,
        Self::Restart,
        Self::Placement,
        Self::Resources,
        Self::Networks,
        Self::Ports,
        Self::Contents,
        Self::Health,
        Self::Grace,
        Self::Environment,
        Self::Priority,
        Self::Dependencies,
    ];
}

fn change(rng: &mut StdRng, view: &View, spec: &mut ServiceSpec, part: Part) {
    let container = &mut spec.task.container;
    match part {
        Part::Image => container.image = image(rng),
        // A job is not updated task by task.
        Part::Update | Part::Rollback if is_job(&spec.mode) => {}
        Part::Update => spec.update = Some(update_config(rng)),
        Part::Rollback => {
            spec.rollback = Some(UpdateConfig { canary: 0, canary_promote_after: None, ..update_config(rng) });
        }
        Part::Restart => {
            spec.task.restart = restart(rng);
            if is_job(&spec.mode) && spec.task.restart.condition == RestartCondition::Any {
                spec.task.restart.condition = RestartCondition::OnFailure;
            }
        }
        Part::Placement => spec.task.placement = placement(rng),
        Part::Resources => {
            let reservations = &mut spec.task.resources.reservations;
            reservations.nano_cpus = some(rng, &[0, 0, 250_000_000, 1_000_000_000]).unwrap_or(0);
            reservations.memory_bytes = some(rng, &[0, 0, 256 << 20, 1 << 30]).unwrap_or(0);
        }
        Part::Networks => {
            let own = view.networks().filter(|network| network.spec.name.starts_with("net") && !network.removing);
            let count = rng.random_range(0..3);
            let target = |network: &std::sync::Arc<Network>| NetworkTarget {
                target: network.id,
                aliases: Vec::new(),
                driver_options: Default::default(),
            };
            spec.task.networks = own.choose_multiple(rng, count).into_iter().map(target).collect();
        }
        Part::Ports => spec.endpoint = endpoint(rng),
        Part::Contents => contents(rng, view, container),
        Part::Health => {
            let test = vec!["CMD".to_owned(), "check".to_owned()];
            container.health_check = rng.random_bool(0.5).then(|| HealthConfig { test, ..HealthConfig::default() });
        }
        Part::Grace => {
            container.stop_grace_period = some(rng, &[None, Some(1), Some(3)]).flatten().map(Duration::from_secs);
        }
        Part::Priority => spec.task.placement.priority = rng.random_range(-1..=2),
        Part::Dependencies => {
            let conditions = [DependencyCondition::Started, DependencyCondition::Healthy];
            let others = view.services().map(|service| service.spec.name.clone());
            let other = others.filter(|name| *name != spec.name).choose(rng);
            let dependency =
                |service| Dependency { service, condition: some(rng, &conditions).unwrap_or_default(), optional: true };
            spec.depends_on = other.into_iter().map(dependency).collect();
        }
        Part::Environment => container.env = vec![format!("N={}", rng.random_range(0..100))],
    }
}

fn update_config(rng: &mut StdRng) -> UpdateConfig {
    UpdateConfig {
        parallelism: rng.random_range(0..4),
        delay: Duration::from_millis(some(rng, &[0, 0, 500, 2000]).unwrap_or(0)),
        failure_action: some(rng, &[FailureAction::Pause, FailureAction::Continue, FailureAction::Rollback])
            .unwrap_or_default(),
        monitor: Duration::from_millis(some(rng, &[0, 1000, 5000]).unwrap_or(0)),
        max_failure_ratio: some(rng, &[0.0, 0.0, 0.3, 1.0]).unwrap_or(0.0),
        order: some(rng, &[UpdateOrder::StopFirst, UpdateOrder::StartFirst]).unwrap_or_default(),
        canary: some(rng, &[0, 0, 0, 1, 2]).unwrap_or(0),
        canary_promote_after: some(rng, &[None, Some(2)]).flatten().map(Duration::from_secs),
    }
}

fn restart(rng: &mut StdRng) -> RestartPolicy {
    let any = [RestartCondition::Any, RestartCondition::Any, RestartCondition::OnFailure, RestartCondition::None];
    RestartPolicy {
        condition: some(rng, &any).unwrap_or_default(),
        delay: Duration::from_millis(some(rng, &[0, 500, 5000]).unwrap_or(0)),
        max_attempts: some(rng, &[0, 0, 1, 3]).unwrap_or(0),
        window: Duration::from_secs(some(rng, &[0, 0, 30]).unwrap_or(0)),
        backoff_max: Duration::from_secs(some(rng, &[0, 0, 8]).unwrap_or(0)),
    }
}

fn placement(rng: &mut StdRng) -> Placement {
    let constraints = [
        "",
        "",
        "node.labels.zone==a",
        "node.labels.zone!=b",
        "node.role==worker",
        "node.role==manager",
        "node.hostname!=host1",
        "engine.labels.disk==ssd",
        "node.labels.zone==nowhere",
    ];
    let linux = |arch: &str| Platform { os: "linux".to_owned(), architecture: arch.to_owned() };
    Placement {
        constraints: some(rng, &constraints).filter(|c| !c.is_empty()).into_iter().map(str::to_owned).collect(),
        spread: if rng.random_bool(0.3) { vec!["node.labels.zone".to_owned()] } else { Vec::new() },
        max_replicas_per_node: some(rng, &[0, 0, 1, 2]).unwrap_or(0),
        priority: 0,
        platforms: if rng.random_bool(0.2) { vec![linux("x86_64")] } else { Vec::new() },
    }
}

fn endpoint(rng: &mut StdRng) -> EndpointSpec {
    let modes = [PublishMode::Ingress, PublishMode::Ingress, PublishMode::Host];
    let ports = (0..rng.random_range(0..3))
        .map(|number| PortConfig {
            target_port: 80 + number,
            published_port: some(rng, &[0, 0, 8080, 8081, 8082]).unwrap_or(0),
            mode: some(rng, &modes).unwrap_or_default(),
            ..PortConfig::default()
        })
        .collect();
    EndpointSpec { mode: EndpointMode::Vip, ports }
}

fn contents(rng: &mut StdRng, view: &View, container: &mut ContainerSpec) {
    let file = |name: &str| FileTarget { name: name.to_owned(), uid: "0".into(), gid: "0".into(), mode: 0o444 };
    let count = rng.random_range(0..3);
    let secrets = view.secrets().choose_multiple(rng, count);
    let secret = |s: &std::sync::Arc<Secret>| SecretReference {
        id: s.id,
        name: s.spec.name.clone(),
        file: file(&s.spec.name),
        version: 0,
    };
    container.secrets = secrets.into_iter().map(secret).collect();
    let count = rng.random_range(0..2);
    let configs = view.configs().choose_multiple(rng, count);
    let config = |c: &std::sync::Arc<Config>| ConfigReference {
        id: c.id,
        name: c.spec.name.clone(),
        file: file(&format!("/{}", c.spec.name)),
        version: 0,
    };
    container.configs = configs.into_iter().map(config).collect();
}
