//! What was written can be read back unchanged, also through the published types.

use crate::json::{Object, read_service_spec, write_service_spec};
use bollard_stubs::models as stubs;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use swarm_core::model::*;
use swarm_core::store::{Object as Stored, Store, View};
use swarm_core::{ConfigId, NetworkId, SecretId, Sensitive};

pub(super) fn view() -> View {
    let network = |id, name: &str| Network {
        id: NetworkId(id),
        meta: Meta::default(),
        spec: NetworkSpec { name: name.to_owned(), ..NetworkSpec::default() },
        allocation: None,
        pending_reason: String::new(),
        removing: false,
    };
    let secret = SecretSpec { name: "key".into(), labels: Labels::new(), data: Sensitive::default(), templated: false };
    let config = ConfigSpec { name: "conf".into(), labels: Labels::new(), data: Vec::new(), templated: false };
    let objects = [
        Stored::Network(Arc::new(network(1, "front"))),
        Stored::Network(Arc::new(network(2, "back"))),
        Stored::Secret(Arc::new(Secret {
            id: SecretId(1),
            meta: Meta::default(),
            spec: secret,
            content_version: 1,
            older: Vec::new(),
        })),
        Stored::Config(Arc::new(Config {
            id: ConfigId(1),
            meta: Meta::default(),
            spec: config,
            content_version: 1,
            older: Vec::new(),
        })),
    ];
    Store::restore(1, objects).view()
}

fn read(json: serde_json::Value) -> ServiceSpec {
    read_service_spec(Object::root(json).unwrap(), &view()).unwrap().spec
}

#[test]
fn an_update_config_that_says_nothing_updates_all_at_once_and_an_absent_one_a_task_at_a_time() {
    let spec = |json| read(json);
    let empty = spec(serde_json::json!({ "UpdateConfig": {}, "RollbackConfig": {} }));
    for config in [empty.update, empty.rollback].map(|config| config.expect("it is there")) {
        assert_eq!((config.parallelism, config.monitor), (0, Duration::from_secs(5)));
        assert_eq!((config.failure_action, config.order), (FailureAction::Pause, UpdateOrder::StopFirst));
    }
    let absent = spec(serde_json::json!({}));
    assert_eq!((absent.update, absent.rollback), (None, None));
    assert_eq!(UpdateConfig::default().parallelism, 1, "what holds then");
}

#[test]
fn what_a_spec_does_not_say_is_as_the_engine_api_has_it() {
    let mode = |json| read(serde_json::json!({ "Mode": json })).mode;
    assert_eq!(mode(serde_json::json!({})), ServiceMode::Replicated { replicas: 1 });
    assert_eq!(mode(serde_json::json!({ "Replicated": {} })), ServiceMode::Replicated { replicas: 1 });
    let job = |max_concurrent, total_completions| ServiceMode::ReplicatedJob { max_concurrent, total_completions };
    assert_eq!(mode(serde_json::json!({ "ReplicatedJob": {} })), job(1, 1));
    assert_eq!(mode(serde_json::json!({ "ReplicatedJob": { "MaxConcurrent": 3 } })), job(3, 3));
    assert_eq!(mode(serde_json::json!({ "ReplicatedJob": { "TotalCompletions": 3 } })), job(1, 3));
    let restart = |json| read(serde_json::json!({ "TaskTemplate": { "RestartPolicy": json } })).task.restart;
    let default = restart(serde_json::json!({}));
    assert_eq!((default.condition, default.delay), (RestartCondition::Any, Duration::from_secs(5)));
    assert_eq!((default.max_attempts, default.window), (0, Duration::ZERO));
    assert_eq!(restart(serde_json::json!({ "Delay": 0 })).delay, Duration::ZERO);
}

fn word() -> impl Strategy<Value = String> {
    proptest::sample::select(vec!["", "a", "web-1", "x y", "Ä"]).prop_map(str::to_owned)
}

fn words() -> impl Strategy<Value = Vec<String>> {
    proptest::collection::vec(word(), 0..3)
}

fn labels() -> impl Strategy<Value = BTreeMap<String, String>> {
    proptest::collection::btree_map("[a-z]{1,3}", word(), 0..3)
}

fn duration() -> impl Strategy<Value = Duration> {
    (0u64..1_000_000_000_000).prop_map(Duration::from_nanos)
}

/// A duration that says something: 0 is "not set" in a health check.
fn positive() -> impl Strategy<Value = Option<Duration>> {
    proptest::option::of((1u64..1_000_000_000_000).prop_map(Duration::from_nanos))
}

fn mount() -> impl Strategy<Value = Mount> {
    let propagation = proptest::sample::select(vec!["", "rshared", "rslave"]).prop_map(str::to_owned);
    let bind = (word(), propagation, any::<bool>()).prop_map(|(path, propagation, create)| MountSource::Bind {
        path,
        propagation,
        create,
    });
    let volume = (word(), word(), labels(), labels(), any::<bool>(), word()).prop_map(
        |(name, driver, driver_options, labels, no_copy, subpath)| MountSource::Volume {
            name,
            driver,
            driver_options,
            labels,
            no_copy,
            subpath,
        },
    );
    let tmpfs = (0u64..1 << 40, 0u32..0o10000).prop_map(|(size_bytes, mode)| MountSource::Tmpfs { size_bytes, mode });
    (word(), prop_oneof![bind, volume, tmpfs], any::<bool>()).prop_map(|(target, source, read_only)| Mount {
        target,
        source,
        read_only,
    })
}

fn health() -> impl Strategy<Value = HealthConfig> {
    let retries = proptest::option::of(1u32..9);
    (words(), positive(), positive(), retries, positive(), positive()).prop_map(
        |(test, interval, timeout, retries, start_period, start_interval)| HealthConfig {
            test,
            interval,
            timeout,
            retries,
            start_period,
            start_interval,
        },
    )
}

fn file() -> impl Strategy<Value = FileTarget> {
    (word(), "[0-9]{1,4}", "[0-9]{1,4}", 0u32..0o1000).prop_map(|(name, uid, gid, mode)| FileTarget {
        name,
        uid,
        gid,
        mode,
    })
}

fn container() -> impl Strategy<Value = ContainerSpec> {
    let texts = (word(), words(), words(), word(), words(), word(), word(), words(), word(), words());
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<Option<bool>>(), any::<bool>(), -1000i32..1001);
    let parts = (
        labels(),
        proptest::collection::vec(mount(), 0..3),
        proptest::option::of(duration()),
        proptest::option::of(health()),
        proptest::option::of(file()),
        proptest::option::of(file()),
        labels(),
        words(),
        0u64..1 << 40,
    );
    (texts, flags, parts).prop_map(|(texts, flags, parts)| {
        let (image, command, args, hostname, env, dir, user, groups, stop_signal, hosts) = texts;
        let (tty, open_stdin, read_only, init, privileged, oom_score_adj) = flags;
        let (labels, mounts, stop_grace_period, health_check, secret, config, sysctls, caps, shm_size_bytes) = parts;
        let ulimit = Ulimit { name: "nofile".into(), soft: 1, hard: -1 };
        let dns = DnsConfig {
            nameservers: vec!["192.0.2.53".parse().unwrap()],
            search: groups.clone(),
            options: caps.clone(),
        };
        ContainerSpec {
            image,
            labels,
            command,
            args,
            hostname,
            env,
            dir,
            user,
            groups,
            tty,
            open_stdin,
            read_only,
            mounts,
            stop_signal,
            stop_grace_period,
            health_check,
            hosts,
            dns,
            secrets: secret
                .map(|file| SecretReference { id: SecretId(1), name: "key".into(), file, version: 0 })
                .into_iter()
                .collect(),
            configs: config
                .map(|file| ConfigReference { id: ConfigId(1), name: "conf".into(), file, version: 0 })
                .into_iter()
                .collect(),
            init,
            sysctls,
            cap_add: caps.clone(),
            cap_drop: caps,
            ulimits: vec![ulimit],
            oom_score_adj,
            privileged,
            shm_size_bytes,
            readiness: None,
            liveness: None,
            pull_auth: None,
        }
    })
}

fn mode() -> impl Strategy<Value = ServiceMode> {
    prop_oneof![
        (0u64..9).prop_map(|replicas| ServiceMode::Replicated { replicas }),
        Just(ServiceMode::Global),
        (0u64..9, 0u64..9).prop_map(|(max_concurrent, total_completions)| ServiceMode::ReplicatedJob {
            max_concurrent,
            total_completions
        }),
        Just(ServiceMode::GlobalJob),
    ]
}

fn update() -> impl Strategy<Value = UpdateConfig> {
    let action = prop_oneof![Just(FailureAction::Pause), Just(FailureAction::Continue), Just(FailureAction::Rollback)];
    let order = prop_oneof![Just(UpdateOrder::StopFirst), Just(UpdateOrder::StartFirst)];
    let monitor = (1u64..1 << 40).prop_map(Duration::from_nanos);
    (0u64..9, duration(), action, monitor, 0u8..=100, order).prop_map(
        |(parallelism, delay, failure_action, monitor, percent, order)| UpdateConfig {
            parallelism,
            delay,
            failure_action,
            monitor,
            max_failure_ratio: f32::from(percent) / 100.0,
            order,
            canary: 0,
            canary_promote_after: None,
        },
    )
}

fn probe() -> impl Strategy<Value = Probe> {
    let action = prop_oneof![
        (1u16.., word(), word()).prop_map(|(port, path, host)| ProbeAction::Http { port, path, host }),
        (1u16..).prop_map(|port| ProbeAction::Tcp { port }),
        words().prop_map(|command| ProbeAction::Exec { command }),
    ];
    (action, 1u64..1 << 40, 1u32..9, 1u32..9, duration()).prop_map(|(action, nanos, failures, successes, start)| {
        Probe {
            interval: Duration::from_nanos(nanos),
            timeout: Duration::from_nanos(nanos),
            failures,
            successes,
            start_period: start,
            ..Probe::of(action)
        }
    })
}

/// What is beyond the API, put into a spec.
fn extended(spec: impl Strategy<Value = ServiceSpec>) -> impl Strategy<Value = ServiceSpec> {
    let condition = prop_oneof![
        Just(DependencyCondition::Started),
        Just(DependencyCondition::Healthy),
        Just(DependencyCondition::Completed)
    ];
    let dependency = (word(), condition, any::<bool>()).prop_map(|(service, condition, optional)| Dependency {
        service,
        condition,
        optional,
    });
    let autoscale = (1u64..9, 1u64..9, 0u32..99, 0u32..99, duration()).prop_map(|(min, more, cpu, memory, window)| {
        let scale_down_delay = window * 2;
        Autoscale {
            min,
            max: min + more,
            cpu_percent: cpu,
            memory_percent: memory,
            requests_per_second: cpu,
            window,
            scale_down_delay,
        }
    });
    let canary = (1u64..9, proptest::option::of((1u64..1 << 40).prop_map(Duration::from_nanos)));
    use proptest::option::of as option;
    let lease = option((1u64..1 << 40).prop_map(Duration::from_nanos));
    let extras = (any::<i32>(), lease, duration(), option(probe()), option(probe()), option(canary));
    (spec, extras, option(dependency), option(autoscale)).prop_map(|(mut spec, extras, dependency, autoscale)| {
        let (priority, lease, backoff, readiness, liveness, canary) = extras;
        spec.task.placement.priority = priority;
        spec.task.at_most_one = lease;
        spec.task.restart.backoff_max = backoff;
        spec.task.container.readiness = readiness;
        spec.task.container.liveness = liveness;
        if let Some((tasks, after)) = canary {
            let update = spec.update.get_or_insert_default();
            update.canary = tasks;
            update.canary_promote_after = after;
        }
        spec.depends_on = dependency.into_iter().collect();
        spec.autoscale = autoscale;
        spec
    })
}

fn port() -> impl Strategy<Value = PortConfig> {
    let protocol = prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp), Just(Protocol::Sctp)];
    let mode = prop_oneof![Just(PublishMode::Ingress), Just(PublishMode::Host)];
    let host_ip = proptest::option::of(Just("127.0.0.1".parse().unwrap()));
    (word(), protocol, any::<u16>(), any::<u16>(), mode, host_ip).prop_map(
        |(name, protocol, target_port, published_port, mode, host_ip)| PortConfig {
            name,
            protocol,
            target_port,
            published_port,
            mode,
            host_ip,
        },
    )
}

fn task() -> impl Strategy<Value = TaskSpec> {
    let resources = (0i64..1 << 40, 0i64..1 << 40, 0i64..99, 0i64..1 << 40, 0i64..9).prop_map(
        |(cpus, memory, pids, reserved, gpus)| {
            let generic = if gpus > 0 { BTreeMap::from([("gpu".to_owned(), gpus)]) } else { BTreeMap::new() };
            ResourceRequirements {
                limit_nano_cpus: cpus,
                limit_memory_bytes: memory,
                limit_pids: pids,
                reservations: Resources {
                    nano_cpus: reserved,
                    memory_bytes: reserved,
                    generic,
                    named: BTreeMap::new(),
                },
            }
        },
    );
    let condition =
        prop_oneof![Just(RestartCondition::Any), Just(RestartCondition::OnFailure), Just(RestartCondition::None)];
    let restart = (condition, duration(), 0u64..9, duration()).prop_map(|(condition, delay, max_attempts, window)| {
        RestartPolicy { condition, delay, max_attempts, window, backoff_max: Duration::ZERO }
    });
    let placement = (words(), words(), 0u64..9).prop_map(|(constraints, spread, max_replicas_per_node)| Placement {
        constraints,
        spread,
        max_replicas_per_node,
        platforms: vec![Platform { os: "linux".into(), architecture: "amd64".into() }],
        priority: 0,
    });
    let network = (words(), labels()).prop_map(|(aliases, driver_options)| NetworkTarget {
        target: NetworkId(2),
        aliases,
        driver_options,
    });
    let log = labels().prop_map(|options| LogDriver { name: "json-file".into(), options });
    let parts = (resources, restart, placement, proptest::option::of(network), proptest::option::of(log), 0u64..9);
    (container(), parts).prop_map(|(container, (resources, restart, placement, network, log_driver, force_update))| {
        TaskSpec {
            container,
            resources,
            restart,
            placement,
            networks: network.into_iter().collect(),
            log_driver,
            force_update,
            at_most_one: None,
        }
    })
}

fn spec() -> impl Strategy<Value = ServiceSpec> {
    let endpoint_mode = prop_oneof![Just(EndpointMode::Vip), Just(EndpointMode::Dnsrr)];
    let endpoint =
        (endpoint_mode, proptest::collection::vec(port(), 0..3)).prop_map(|(mode, ports)| EndpointSpec { mode, ports });
    let updates = (proptest::option::of(update()), proptest::option::of(update()));
    (word(), labels(), task(), mode(), updates, endpoint).prop_map(
        |(name, labels, task, mode, (update, rollback), endpoint)| ServiceSpec {
            name,
            labels,
            task,
            mode,
            update,
            rollback,
            endpoint,
            depends_on: Vec::new(),
            autoscale: None,
        },
    )
}

/// A rollback can't be rolled back: the published type has no word for it.
fn with_words_of_the_type(mut spec: ServiceSpec) -> ServiceSpec {
    if let Some(rollback) = &mut spec.rollback
        && rollback.failure_action == FailureAction::Rollback
    {
        rollback.failure_action = FailureAction::Pause;
    }
    spec
}

proptest! {
    #[test]
    fn a_spec_survives_json(spec in extended(spec())) {
        prop_assert_eq!(read(write_service_spec(&spec)), spec);
    }

    #[test]
    fn a_client_that_knows_only_the_api_loses_nothing_beyond_it(spec in extended(spec())) {
        let spec = with_words_of_the_type(spec);
        let json = write_service_spec(&spec);
        let ours_outside = spec.task.container.privileged || spec.endpoint.ports.iter().any(|p| p.host_ip.is_some());
        prop_assert!(!ours_outside || json.get("Swarm").is_some(), "a client of ours is known by it");
        let typed: stubs::ServiceSpec = serde_json::from_value(json).unwrap();
        let mut updated = read(serde_json::to_value(typed).unwrap());
        crate::json::keep_extension(&spec, &mut updated);
        // Canaries are of the update they were given with.
        let mut kept = spec;
        if let Some(update) = &mut kept.update {
            (update.canary, update.canary_promote_after) = (0, None);
        }
        prop_assert_eq!(updated, kept);
    }

    #[test]
    fn a_spec_survives_the_published_type(spec in spec()) {
        let mut spec = with_words_of_the_type(spec);
        // What is ours alone has no place there.
        spec.task.container.privileged = false;
        spec.task.container.shm_size_bytes = 0;
        for port in &mut spec.endpoint.ports {
            port.host_ip = None;
        }
        let typed: stubs::ServiceSpec = serde_json::from_value(write_service_spec(&spec)).unwrap();
        // A ratio widens to 64 bits on the way and is read back as 32.
        prop_assert_eq!(read(serde_json::to_value(typed).unwrap()), spec);
    }
}

#[test]
fn a_spec_may_name_what_it_refers_to() {
    let spec = serde_json::json!({
        "Name": "web",
        "TaskTemplate": {
            "ContainerSpec": { "Image": "x", "Configs": [{ "ConfigName": "conf", "File": { "Name": "/c", "UID": "0", "GID": "0", "Mode": 292 } }] },
            "Networks": [{ "Target": "back" }],
        },
    });
    let spec = read(spec);
    assert_eq!(spec.task.networks[0].target, NetworkId(2));
    assert_eq!(spec.task.container.configs[0].id, ConfigId(1));
    assert_eq!(spec.mode, ServiceMode::Replicated { replicas: 1 });
}
