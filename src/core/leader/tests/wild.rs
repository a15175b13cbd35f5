//! Specifications nobody would write: each is refused whole with words that name a field, or carried out
//! without panic and without breaking an invariant.

use super::world::World;
use crate::audit::audit;
use crate::control::{self, Refusal};
use crate::leader::{Scope, step};
use crate::model::*;
use crate::spec::RULES;
use crate::store::{Change, Conflict, Object, Precondition, Txn, fits};
use crate::{ConfigId, NetworkId, SecretId, Sensitive, ServiceId};
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Steps of the leader after each write: a mistake shows in the first ones.
const STEPS: usize = 3;
/// A network that is there.
const NET: NetworkId = NetworkId(4);

/// Draws values, most of them ones that somebody could mean, some from the edges.
struct Wild {
    rng: StdRng,
    /// One value in this many is strange.
    strange_in: u32,
}

impl Wild {
    fn strange(&mut self) -> bool {
        self.rng.random_ratio(1, self.strange_in)
    }

    fn pick<T: Clone>(&mut self, usual: &[T], strange: &[T]) -> T {
        let from = if self.strange() { strange } else { usual };
        from[self.rng.random_range(0..from.len())].clone()
    }

    fn text(&mut self, usual: &[&str]) -> String {
        let long = "x".repeat(5000);
        let strange =
            ["", " ", "\0", "=", "{{", "{{.Task.Slot", "ä€😀", "../..", "-", "a\nb", "$(x)", "%s", long.as_str()];
        self.pick(usual, &strange).to_owned()
    }

    fn texts(&mut self, usual: &[&str]) -> Vec<String> {
        (0..self.rng.random_range(0..3)).map(|_| self.text(usual)).collect()
    }

    fn map(&mut self, keys: &[&str]) -> BTreeMap<String, String> {
        (0..self.rng.random_range(0..3)).map(|_| (self.text(keys), self.text(&["v", "1"]))).collect()
    }

    fn count(&mut self, usual: &[u64]) -> u64 {
        self.pick(usual, &[0, 1, u64::from(u32::MAX), i64::MAX as u64, u64::MAX])
    }

    fn signed(&mut self, usual: &[i64]) -> i64 {
        self.pick(usual, &[0, -1, 1, i64::MIN, i64::MAX])
    }

    fn time(&mut self) -> Duration {
        let usual = [Duration::from_secs(1), Duration::from_secs(30)];
        self.pick(&usual, &[Duration::ZERO, Duration::from_nanos(1), Duration::from_secs(u64::MAX / 2), Duration::MAX])
    }

    fn maybe<T>(&mut self, value: impl FnOnce(&mut Self) -> T) -> Option<T> {
        let some = self.rng.random();
        if some { Some(value(self)) } else { None }
    }

    /// What seldom goes together with the rest.
    fn seldom<T>(&mut self, value: impl FnOnce(&mut Self) -> T) -> Option<T> {
        let some = self.rng.random_ratio(1, 8);
        if some { Some(value(self)) } else { None }
    }

    fn check(&mut self) -> Vec<String> {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<String>>();
        let usual = [words(&["CMD", "true"]), words(&["CMD-SHELL", "exit 0"]), words(&["NONE"]), Vec::new()];
        self.pick(&usual, &[words(&["CMD"]), words(&["NONE", "x"]), words(&["true"]), words(&[""])])
    }

    fn probe(&mut self) -> Probe {
        let action = match self.rng.random_range(0..3) {
            0 => ProbeAction::Tcp { port: self.pick(&[80], &[0, u16::MAX]) },
            1 => ProbeAction::Http {
                port: self.pick(&[80], &[0, u16::MAX]),
                path: self.text(&["/", "/health"]),
                host: self.text(&["a.example"]),
            },
            _ => ProbeAction::Exec { command: self.texts(&["true"]) },
        };
        Probe {
            action,
            interval: self.time(),
            timeout: self.time(),
            failures: self.pick(&[1, 3], &[0, u32::MAX]),
            successes: self.pick(&[1], &[0, u32::MAX]),
            start_period: self.time(),
        }
    }

    fn file(&mut self) -> FileTarget {
        FileTarget {
            name: self.text(&["key", "/etc/key"]),
            uid: self.text(&["0"]),
            gid: self.text(&["0"]),
            mode: self.pick(&[0o444], &[0, u32::MAX]),
        }
    }

    fn mount(&mut self, nth: usize) -> Mount {
        let source = match self.rng.random_range(0..3) {
            0 => MountSource::Bind {
                path: self.text(&["/srv"]),
                propagation: self.text(&["", "rprivate"]),
                create: self.rng.random(),
            },
            1 => MountSource::Volume {
                name: self.text(&["data", ""]),
                driver: self.text(&["local", ""]),
                driver_options: BTreeMap::new(),
                labels: self.map(&["l"]),
                no_copy: self.rng.random(),
                subpath: self.text(&["", "sub"]),
            },
            _ => MountSource::Tmpfs { size_bytes: self.count(&[1 << 20]), mode: self.pick(&[0o1777], &[0, u32::MAX]) },
        };
        Mount { target: self.text(&[["/data", "/cache", "/tmp"][nth]]), source, read_only: self.rng.random() }
    }

    fn container(&mut self) -> ContainerSpec {
        ContainerSpec {
            image: self.text(&["web:1", "registry.example:5000/team/web@sha256:0000000000000000000000000000000000000000000000000000000000000000"]),
            labels: self.map(&["a"]),
            command: self.texts(&["sh"]),
            args: self.texts(&["-c"]),
            hostname: self.text(&["host", "web-{{.Task.Slot}}"]),
            env: self.texts(&["A=1", "B", "C={{.Service.Name}}"]),
            user: self.text(&["0:0", "www"]),
            mounts: (0..self.rng.random_range(0..3)).map(|n| self.mount(n)).collect(),
            stop_signal: self.text(&["SIGTERM", "15"]),
            stop_grace_period: self.maybe(Self::time),
            health_check: self.maybe(|wild| HealthConfig {
                test: wild.check(),
                interval: wild.maybe(Self::time),
                timeout: wild.maybe(Self::time),
                retries: wild.maybe(|wild| wild.pick(&[3], &[0, u32::MAX])),
                start_period: wild.maybe(Self::time),
                start_interval: wild.maybe(Self::time),
            }),
            hosts: self.texts(&["10.0.0.1 host"]),
            secrets: self.seldom(|w| vec![SecretReference { id: SecretId(1), name: "s".into(), file: w.file(), version: w.count(&[0]) }]).unwrap_or_default(),
            configs: self.seldom(|w| vec![ConfigReference { id: ConfigId(1), name: "c".into(), file: w.file(), version: w.count(&[0]) }]).unwrap_or_default(),
            sysctls: self.map(&["net.core.somaxconn"]),
            cap_add: self.texts(&["NET_ADMIN", "ALL"]),
            ulimits: self.maybe(|w| vec![Ulimit { name: w.text(&["nofile"]), soft: w.signed(&[10]), hard: w.signed(&[20]) }]).unwrap_or_default(),
            oom_score_adj: self.pick(&[0], &[i32::MIN, i32::MAX]),
            shm_size_bytes: self.count(&[0, 1 << 20]),
            readiness: self.seldom(Self::probe),
            liveness: self.seldom(Self::probe),
            ..ContainerSpec::default()
        }
    }

    fn update(&mut self) -> UpdateConfig {
        UpdateConfig {
            parallelism: self.count(&[0, 1, 2]),
            delay: self.time(),
            failure_action: self.pick(
                &[FailureAction::Pause, FailureAction::Continue, FailureAction::Rollback],
                &[FailureAction::Pause],
            ),
            monitor: self.time(),
            max_failure_ratio: self.pick(&[0.0, 0.5, 1.0], &[-1.0, 2.0, f32::NAN, f32::INFINITY]),
            order: self.pick(&[UpdateOrder::StopFirst, UpdateOrder::StartFirst], &[UpdateOrder::StopFirst]),
            canary: self.count(&[0, 0, 0, 0, 0, 0, 1]),
            canary_promote_after: self.seldom(Self::time),
        }
    }

    fn port(&mut self) -> PortConfig {
        PortConfig {
            name: self.text(&["", "http"]),
            protocol: self.pick(&[Protocol::Tcp, Protocol::Udp], &[Protocol::Sctp]),
            target_port: self.pick(&[80, 443], &[0, u16::MAX]),
            published_port: self.pick(&[0, 8080, 8081], &[1, u16::MAX]),
            mode: self.pick(&[PublishMode::Ingress, PublishMode::Host], &[PublishMode::Host]),
            host_ip: self.maybe(|w| {
                w.pick(&["127.0.0.1".parse().unwrap()], &["0.0.0.0".parse().unwrap(), "::1".parse().unwrap()])
            }),
        }
    }

    fn task(&mut self) -> TaskSpec {
        TaskSpec {
            container: self.container(),
            resources: ResourceRequirements {
                limit_nano_cpus: self.signed(&[0, 1_000_000_000]),
                limit_memory_bytes: self.signed(&[0, 64 << 20]),
                limit_pids: self.signed(&[0, 100]),
                reservations: Resources {
                    nano_cpus: self.signed(&[0, 500_000_000]),
                    memory_bytes: self.signed(&[0, 32 << 20]),
                    generic: self.maybe(|w| BTreeMap::from([(w.text(&["gpu"]), w.signed(&[1]))])).unwrap_or_default(),
                    named: BTreeMap::new(),
                },
            },
            restart: RestartPolicy {
                condition: self.pick(&[RestartCondition::Any, RestartCondition::OnFailure], &[RestartCondition::None]),
                delay: self.time(),
                max_attempts: self.count(&[0, 3]),
                window: self.time(),
                backoff_max: self.pick(&[Duration::ZERO, Duration::from_secs(60)], &[Duration::MAX]),
            },
            placement: Placement {
                constraints: self.texts(&["node.role==worker", "node.labels.zone!=a", "node.hostname in (a,b)"]),
                spread: self.texts(&["node.labels.zone"]),
                max_replicas_per_node: self.count(&[0, 1]),
                platforms: self
                    .maybe(|w| vec![Platform { os: w.text(&["linux"]), architecture: w.text(&["amd64"]) }])
                    .unwrap_or_default(),
                priority: self.pick(&[0, 0, 5], &[i32::MIN, i32::MAX]),
            },
            networks: self
                .maybe(|w| {
                    vec![NetworkTarget {
                        target: w.pick(&[NET], &[NetworkId(9), NetworkId(1), NetworkId(2)]),
                        aliases: w.texts(&["db"]),
                        driver_options: BTreeMap::new(),
                    }]
                })
                .unwrap_or_default(),
            log_driver: self.maybe(|w| LogDriver { name: w.text(&["json-file"]), options: w.map(&["max-size"]) }),
            force_update: self.count(&[0]),
            at_most_one: self.seldom(Self::time),
        }
    }

    fn spec(&mut self) -> ServiceSpec {
        let mode = match self.rng.random_range(0..8) {
            0 => ServiceMode::Global,
            1 => ServiceMode::ReplicatedJob {
                max_concurrent: self.count(&[1, 2]),
                total_completions: self.count(&[1, 4]),
            },
            2 => ServiceMode::GlobalJob,
            _ => ServiceMode::Replicated { replicas: self.count(&[0, 1, 3]) },
        };
        let mut task = self.task();
        let job = matches!(mode, ServiceMode::ReplicatedJob { .. } | ServiceMode::GlobalJob);
        let per_node = matches!(mode, ServiceMode::Global | ServiceMode::GlobalJob);
        if per_node && !self.strange() {
            task.placement.max_replicas_per_node = 0;
        }
        let mut rollback = self.maybe(Self::update).filter(|_| !job);
        if let Some(rollback) = &mut rollback {
            (rollback.canary, rollback.canary_promote_after) = (0, None);
        }
        if let Some(rollback) = rollback.as_mut().filter(|rollback| rollback.failure_action == FailureAction::Rollback)
            && !self.strange()
        {
            rollback.failure_action = FailureAction::Continue;
        }
        ServiceSpec {
            labels: self.map(&["team"]),
            task,
            mode,
            update: self.maybe(Self::update).filter(|_| !job),
            rollback,
            endpoint: EndpointSpec {
                mode: self.pick(&[EndpointMode::Vip], &[EndpointMode::Dnsrr]),
                ports: (0..self.rng.random_range(0..2)).map(|_| self.port()).collect(),
            },
            depends_on: self
                .seldom(|w| {
                    vec![Dependency {
                        service: w.text(&["other", "web"]),
                        condition: DependencyCondition::Healthy,
                        optional: w.rng.random(),
                    }]
                })
                .unwrap_or_default(),
            autoscale: self.seldom(|w| Autoscale {
                min: w.count(&[1]),
                max: w.count(&[5]),
                cpu_percent: w.pick(&[70], &[0, u32::MAX]),
                memory_percent: w.pick(&[0, 80], &[u32::MAX]),
                requests_per_second: 0,
                window: w.time(),
                scale_down_delay: w.time(),
            }),
            name: self.text(&["web", "shop_web"]),
        }
    }
}

/// The fields of a service as the API names them.
const FIELDS: [&str; 8] =
    ["Name:", "Labels:", "Mode", "TaskTemplate.", "UpdateConfig", "RollbackConfig", "EndpointSpec.Ports[", "Swarm."];

/// Words a person can act on: they begin with the path of a field, and are not the debug form of something.
fn assert_says_something(refusal: &Refusal) {
    let words = refusal.to_string();
    assert!(words.len() < 8000 && !words.contains("Some("), "{words:?}");
    match refusal {
        Refusal::Invalid(_) | Refusal::NotNow(_) | Refusal::NotFound(_) | Refusal::Unsupported(_) => {
            let path = FIELDS.iter().any(|field| words.starts_with(field));
            let rest = words.split_once(": ").map_or("", |(_, rest)| rest);
            assert!(path && rest.len() > 10, "{words:?}");
        }
        // Renaming.
        Refusal::Exists(_) | Refusal::Forbidden(_) | Refusal::OutOfSequence { .. } => panic!("{words:?}"),
    }
}

/// A write of the specification that was not looked at before: the store looks.
fn unseen(spec: &ServiceSpec) -> Txn {
    let service = Service::new(ServiceId(78), spec.clone());
    let before = Change::Create(Object::Secret(Arc::new(Secret::new(
        SecretId(79),
        SecretSpec { name: "beside".into(), labels: Labels::new(), data: Sensitive::new(vec![1]), templated: false },
    ))));
    let changes = vec![before, Change::Create(Object::Service(Arc::new(service)))];
    Txn { preconditions: vec![Precondition::Rules(RULES)], changes, ..Txn::default() }
}

/// A transaction that nobody looked at before it was proposed is stored whole, or not at all and for the same reason.
fn assert_refused_or_stored_whole(world: &World, spec: &ServiceSpec) {
    let mut store = world.store.clone();
    let before = store.objects();
    let expected = fits::service(&store.view(), spec, ServiceId(78));
    match (store.apply(store.view().index() + 1, 1, &unseen(spec)), expected) {
        (Ok(_), Ok(())) => assert_eq!(store.objects().len(), before.len() + 2),
        (Err(Conflict::Refused(refusal)), Err(expected)) => {
            assert_eq!(refusal, expected);
            assert_eq!(store.objects(), before, "nothing is half stored");
        }
        (applied, expected) => panic!("{:?}, and {expected:?}", applied.map(|_| ())),
    }
}

/// Lets the leader act on what was stored, agents included, and looks at each view.
fn run(world: &mut World) {
    for _ in 0..STEPS {
        let result = step(&world.view(), world.now, &Scope::All, &mut world.rng);
        for txn in &result.txns {
            world.apply(txn);
            assert_eq!(audit(&world.view()), Vec::new());
        }
        world.agents();
        world.now = result.wake_at.unwrap_or(world.now).max(world.now) + Duration::from_millis(1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_strange_service_is_refused_whole_or_carried_out(seed: u64, strange_in in 3u32..400) {
        let mut wild = Wild { rng: StdRng::seed_from_u64(seed), strange_in };
        let mut world = World::new(2);
        let net = NetworkSpec { name: "net".to_owned(), ..NetworkSpec::default() };
        let txn = control::create_network(&world.view(), net, NET, world.now).expect("a network");
        world.apply(&txn);
        let spec = wild.spec();
        assert_refused_or_stored_whole(&world, &spec);
        let before = world.view();
        match control::create_service(&before, spec, ServiceId(77), world.now) {
            Err(refusal) => assert_says_something(&refusal),
            Ok(txn) => {
                world.apply(&txn);
                run(&mut world);
                let service = world.service(ServiceId(77));
                let change = wild.spec();
                let before = world.view();
                match control::update_service(&before, service.id, service.meta.version, change, world.now) {
                    Err(refusal) => assert_says_something(&refusal),
                    Ok(txn) => {
                        world.apply(&txn);
                        run(&mut world);
                    }
                }
            }
        }
    }
}

/// The test above would prove nothing if nearly all were refused.
#[test]
fn most_of_what_is_hardly_strange_is_carried_out() {
    let mut world = World::new(2);
    let net = NetworkSpec { name: "net".to_owned(), ..NetworkSpec::default() };
    let txn = control::create_network(&world.view(), net, NET, world.now).expect("a network");
    world.apply(&txn);
    let accepted = |seed: u64| {
        let mut wild = Wild { rng: StdRng::seed_from_u64(seed), strange_in: 2000 };
        control::create_service(&world.view(), wild.spec(), ServiceId(77), world.now).is_ok()
    };
    let count = (0..200).filter(|seed| accepted(*seed)).count();
    assert!(count >= 60, "{count} of 200");
}
