//! Specs as users write them, drawn at random: every field whose value changes what the cluster does.

use crate::contents;
use crate::engine::Fate;
use crate::settings::Asks;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, IteratorRandom};
use std::collections::BTreeMap;
use std::time::Duration;
use swarm_core::model::*;
use swarm_core::store::View;

fn some<T: Clone>(rng: &mut StdRng, choices: &[T]) -> Option<T> {
    choices.choose(rng).cloned()
}

fn fate(rng: &mut StdRng, asks: Asks) -> Fate {
    let probed = u32::from(asks.probes);
    let all = [
        (Fate::Runs, 50),
        (Fate::SlowPull, 6),
        (Fate::Stubborn, 6),
        (Fate::Crashes, 6),
        (Fate::Completes, 5),
        (Fate::NoImage, 4),
        (Fate::NoCommand, 3),
        (Fate::Flaky, 14),
        (Fate::Sick, 6 + 4 * probed),
        (Fate::Warms, 12 * probed),
        (Fate::Unready, 3 * probed),
        (Fate::Hangs, 8 * probed),
    ];
    all.choose_weighted(rng, |(_, weight)| *weight).map_or(Fate::Runs, |(fate, _)| *fate)
}

fn image(rng: &mut StdRng, asks: Asks) -> String {
    let tag = rng.random_range(1..100);
    fate(rng, asks).image(tag)
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
pub fn service(rng: &mut StdRng, asks: Asks, view: &View, hosts: usize) -> ServiceSpec {
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
    let fate = if mode.is_job() && rng.random_bool(0.8) { Fate::Completes } else { fate(rng, asks) };
    let container = ContainerSpec { image: fate.image(rng.random_range(1..100)), ..ContainerSpec::default() };
    let mut spec = ServiceSpec::new(name, mode, container);
    if spec.mode.is_job() {
        change(rng, asks, view, &mut spec, Part::Restart);
    }
    for part in Part::of(asks) {
        if rng.random_bool(0.4) {
            change(rng, asks, view, &mut spec, part);
        }
    }
    reconcile(&mut spec);
    spec
}

/// A change of one to three parts of a spec.
pub fn update(rng: &mut StdRng, asks: Asks, view: &View, spec: &mut ServiceSpec, hosts: usize) {
    let parts = Part::of(asks);
    for _ in 0..rng.random_range(1..=3) {
        let part = some(rng, &parts).unwrap_or(Part::Image);
        change(rng, asks, view, spec, part);
    }
    if rng.random_bool(0.2) {
        scale(rng, spec, hosts);
    }
    reconcile(spec);
}

pub fn scale(rng: &mut StdRng, spec: &mut ServiceSpec, hosts: usize) {
    if let ServiceMode::Replicated { replicas: count } = &mut spec.mode {
        *count = replicas(rng, hosts).min(if spec.task.at_most_one.is_some() { 1 } else { u64::MAX });
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
    Templates,
    Generic,
    Probes,
    Once,
    Autoscale,
}

impl Part {
    const USUAL: [Self; 14] = [
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

    /// Those that are drawn in a run.
    fn of(asks: Asks) -> Vec<Self> {
        let more = [
            (asks.templates, Self::Templates),
            (asks.generic, Self::Generic),
            (asks.probes, Self::Probes),
            (asks.once, Self::Once),
            (asks.autoscale, Self::Autoscale),
        ];
        let more = more.into_iter().filter(|(asked, _)| *asked).map(|(_, part)| part);
        Self::USUAL.into_iter().chain(more).collect()
    }
}

fn change(rng: &mut StdRng, asks: Asks, view: &View, spec: &mut ServiceSpec, part: Part) {
    let container = &mut spec.task.container;
    match part {
        Part::Image => container.image = image(rng, asks),
        // A job is not updated task by task.
        Part::Update | Part::Rollback if spec.mode.is_job() => {}
        Part::Update => spec.update = Some(update_config(rng)),
        Part::Rollback => {
            spec.rollback = Some(UpdateConfig { canary: 0, canary_promote_after: None, ..update_config(rng) });
        }
        Part::Restart => {
            spec.task.restart = restart(rng);
            if spec.mode.is_job() && spec.task.restart.condition == RestartCondition::Any {
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
        Part::Contents => references(rng, view, container),
        Part::Health => {
            container.health_check = rng.random_bool(0.5).then(|| health_check(rng));
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
        Part::Templates => templates(rng, container),
        Part::Probes => {
            container.readiness = rng.random_bool(0.7).then(|| Probe { start_period: Duration::ZERO, ..probe(rng) });
            container.liveness = rng.random_bool(0.5).then(|| Probe { successes: 1, ..probe(rng) });
        }
        Part::Once => once(rng, spec),
        Part::Autoscale => autoscale(rng, spec),
        Part::Generic => {
            let amounts = [("gpu", [0, 1, 1, 2, 3]), ("disk", [0, 0, 0, 1, 2])];
            let drawn = amounts.map(|(kind, amounts)| (kind.to_owned(), some(rng, &amounts).unwrap_or(0)));
            let reserved = drawn.into_iter().filter(|(_, amount)| *amount > 0);
            spec.task.resources.reservations.generic = reserved.collect();
        }
    }
}

/// Once at most, or not any more.
fn once(rng: &mut StdRng, spec: &mut ServiceSpec) {
    let ServiceMode::Replicated { replicas } = &mut spec.mode else { return };
    if rng.random_bool(0.2) {
        spec.task.at_most_one = None;
        return;
    }
    *replicas = (*replicas).min(1);
    spec.task.at_most_one = Some(seconds(rng, &[5, 6, 8]));
    // With the default of 10 s nothing would be seen to follow.
    spec.task.container.stop_grace_period = Some(seconds(rng, &[1, 3]));
}

/// By its load from now on, or not any more.
fn autoscale(rng: &mut StdRng, spec: &mut ServiceSpec) {
    let ServiceMode::Replicated { replicas } = &mut spec.mode else { return };
    if rng.random_bool(0.2) {
        spec.autoscale = None;
        return;
    }
    *replicas = (*replicas).max(1);
    let min = rng.random_range(1..=2);
    let mut target = |choices: &[u32]| some(rng, choices).unwrap_or(0);
    let (cpu_percent, memory_percent, requests_per_second) =
        (target(&[0, 50, 80]), target(&[0, 0, 70]), target(&[0, 0, 10]));
    spec.autoscale = Some(Autoscale {
        min,
        max: min + rng.random_range(0..=4),
        cpu_percent,
        memory_percent,
        requests_per_second,
        window: seconds(rng, &[15, 20]),
        scale_down_delay: seconds(rng, &[0, 20, 30]),
    });
}

/// What excludes one another, as whoever reads the refusal would write it.
fn reconcile(spec: &mut ServiceSpec) {
    if spec.task.at_most_one.is_some() {
        for config in [&mut spec.update, &mut spec.rollback].into_iter().flatten() {
            config.order = UpdateOrder::StopFirst;
        }
        spec.autoscale = None;
    }
    let published = spec.endpoint.ports.iter().any(|port| port.mode == PublishMode::Ingress);
    let Some(autoscale) = &mut spec.autoscale else { return };
    if !published {
        autoscale.requests_per_second = 0;
    }
    if spec.task.resources.reservations.memory_bytes == 0 {
        autoscale.memory_percent = 0;
    }
    if (autoscale.memory_percent, autoscale.requests_per_second) == (0, 0) {
        autoscale.cpu_percent = autoscale.cpu_percent.max(50);
    }
}

fn seconds(rng: &mut StdRng, choices: &[u64]) -> Duration {
    Duration::from_secs(some(rng, choices).unwrap_or(1))
}

/// Three failures within its first seconds are what a container that warms up has at most.
fn health_check(rng: &mut StdRng) -> HealthConfig {
    let start_period = rng.random_bool(0.5).then(|| seconds(rng, &[3, 6]));
    HealthConfig {
        test: vec!["CMD".to_owned(), "check".to_owned()],
        interval: Some(seconds(rng, &[1, 1, 3])),
        timeout: Some(Duration::from_secs(1)),
        retries: if start_period.is_some() { some(rng, &[1, 2]) } else { None },
        start_period,
        start_interval: None,
    }
}

fn probe(rng: &mut StdRng) -> Probe {
    let port = rng.random_range(1..1000);
    let actions = [
        ProbeAction::Http { port, path: "/ready".to_owned(), host: String::new() },
        ProbeAction::Tcp { port },
        ProbeAction::Exec { command: vec!["check".to_owned()] },
    ];
    Probe {
        action: some(rng, &actions).unwrap_or(ProbeAction::Tcp { port }),
        interval: seconds(rng, &[1, 1, 3]),
        timeout: Duration::from_millis(500),
        failures: rng.random_range(1..=3),
        successes: rng.random_range(1..=2),
        start_period: seconds(rng, &[4, 8]),
    }
}

fn templates(rng: &mut StdRng, container: &mut ContainerSpec) {
    let n = format!("N={}", rng.random_range(0..100));
    container.env = vec![n, format!("SLOT={}", contents::field(rng))];
    container.hostname = contents::field(rng);
    let source = MountSource::Volume {
        name: format!("v-{}", contents::field(rng)),
        driver: String::new(),
        driver_options: BTreeMap::new(),
        labels: Labels::new(),
        no_copy: false,
        subpath: String::new(),
    };
    let mount = Mount { target: "/data".to_owned(), source, read_only: false };
    container.mounts = if rng.random_bool(0.5) { vec![mount] } else { Vec::new() };
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

fn references(rng: &mut StdRng, view: &View, container: &mut ContainerSpec) {
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
