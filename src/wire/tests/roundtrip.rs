//! What is written comes back the same, and what is not ours is refused without panic.

use proptest::prelude::*;
use std::sync::Arc;
use std::time::Duration;
use swarm_core::autoscale::{Loads, Sampling, ServiceLoad, TaskLoad};
use swarm_core::model::*;
use swarm_core::spec::RULES;
use swarm_core::store::{Change, Object, ObjectRef, Precondition, Store, Txn};
use swarm_core::*;
use wire::{Wire, decode_entry, decode_snapshot, encode_entry, encode_snapshot};

fn container(text: &str, number: u64) -> ContainerSpec {
    let some = |d: u64| Some(Duration::from_nanos(d));
    ContainerSpec {
        image: text.into(),
        labels: [(text.into(), "v".into())].into(),
        command: vec![text.into(), String::new()],
        args: vec!["-x".into()],
        hostname: text.into(),
        env: vec!["A=b".into(), "C".into()],
        dir: "/".into(),
        user: "1:2".into(),
        groups: vec!["g".into()],
        tty: true,
        open_stdin: true,
        read_only: true,
        mounts: vec![
            Mount {
                target: "/a".into(),
                source: MountSource::Bind { path: text.into(), propagation: "rslave".into(), create: true },
                read_only: true,
            },
            Mount {
                target: "/b".into(),
                source: MountSource::Volume {
                    name: text.into(),
                    driver: "local".into(),
                    driver_options: [("o".into(), "p".into())].into(),
                    labels: [("l".into(), "m".into())].into(),
                    no_copy: true,
                    subpath: "s".into(),
                },
                read_only: false,
            },
            Mount {
                target: "/c".into(),
                source: MountSource::Tmpfs { size_bytes: number, mode: 0o1777 },
                read_only: false,
            },
        ],
        stop_signal: "SIGQUIT".into(),
        stop_grace_period: some(number),
        health_check: Some(HealthConfig {
            test: vec!["CMD".into(), text.into()],
            interval: some(1),
            timeout: some(2),
            retries: Some(3),
            start_period: some(4),
            start_interval: some(5),
        }),
        hosts: vec!["10.0.0.1 x".into()],
        dns: DnsConfig {
            nameservers: vec!["10.0.0.2".parse().expect("address")],
            search: vec!["s".into()],
            options: vec!["ndots:0".into()],
        },
        secrets: vec![SecretReference { id: SecretId(7), name: "s".into(), file: target(text), version: 3 }],
        configs: vec![ConfigReference { id: ConfigId(8), name: "c".into(), file: target(text), version: 3 }],
        init: Some(false),
        sysctls: [("net.x".into(), "1".into())].into(),
        cap_add: vec!["NET_ADMIN".into()],
        cap_drop: vec!["ALL".into()],
        ulimits: vec![Ulimit { name: "nofile".into(), soft: 1, hard: -1 }],
        oom_score_adj: -5,
        privileged: true,
        shm_size_bytes: number,
        readiness: Some(probe(ProbeAction::Http { port: 80, path: text.into(), host: "h".into() })),
        liveness: Some(probe(ProbeAction::Exec { command: vec![text.into()] })),
        pull_auth: Some(Sensitive::new(text.into())),
    }
}

fn probe(action: ProbeAction) -> Probe {
    Probe { failures: 7, successes: 8, start_period: Duration::from_secs(9), ..Probe::of(action) }
}

fn target(text: &str) -> FileTarget {
    FileTarget { name: text.into(), uid: "0".into(), gid: "1".into(), mode: 0o444 }
}

fn service(text: &str, number: u64) -> Service {
    let port = PortConfig {
        name: text.into(),
        protocol: Protocol::Udp,
        target_port: 53,
        published_port: 5353,
        mode: PublishMode::Host,
        host_ip: Some("127.0.0.1".parse().expect("address")),
    };
    let update = UpdateConfig {
        parallelism: number,
        delay: Duration::from_secs(1),
        failure_action: FailureAction::Rollback,
        monitor: Duration::from_secs(2),
        max_failure_ratio: 0.25,
        order: UpdateOrder::StartFirst,
        canary: number,
        canary_promote_after: Some(Duration::from_secs(3)),
    };
    let spec = Arc::new(ServiceSpec {
        name: text.into(),
        labels: [("a".into(), text.into())].into(),
        task: TaskSpec {
            container: container(text, number),
            resources: ResourceRequirements {
                limit_nano_cpus: 1,
                limit_memory_bytes: 2,
                limit_pids: 3,
                reservations: Resources {
                    nano_cpus: 4,
                    memory_bytes: 5,
                    generic: [("gpu".into(), 6)].into(),
                    named: [("gpu".into(), ResourceNames { names: vec!["a".into()] })].into(),
                },
            },
            restart: RestartPolicy {
                condition: RestartCondition::OnFailure,
                delay: Duration::from_millis(7),
                max_attempts: 8,
                window: Duration::from_millis(9),
                backoff_max: Duration::from_secs(10),
            },
            placement: Placement {
                constraints: vec!["node.role==worker".into()],
                spread: vec!["node.labels.zone".into()],
                max_replicas_per_node: 10,
                platforms: vec![Platform { os: "linux".into(), architecture: "arm64".into() }],
                priority: -3,
            },
            networks: vec![NetworkTarget {
                target: NetworkId(11),
                aliases: vec!["db".into()],
                driver_options: [("k".into(), "v".into())].into(),
            }],
            log_driver: Some(LogDriver {
                name: "json-file".into(),
                options: [("max-size".into(), "1m".into())].into(),
            }),
            force_update: 12,
            at_most_one: Some(Duration::from_secs(13)),
        },
        mode: ServiceMode::ReplicatedJob { max_concurrent: 1, total_completions: number },
        update: Some(update.clone()),
        rollback: Some(update),
        endpoint: EndpointSpec { mode: EndpointMode::Dnsrr, ports: vec![port.clone()] },
        depends_on: vec![Dependency {
            service: text.into(),
            condition: DependencyCondition::Completed,
            optional: true,
        }],
        autoscale: Some(Autoscale {
            min: 1,
            max: number,
            cpu_percent: 2,
            memory_percent: 3,
            requests_per_second: 4,
            window: Duration::from_secs(5),
            scale_down_delay: Duration::from_secs(6),
        }),
    });
    Service {
        id: ServiceId(3),
        meta: Meta { version: 4, created: stamp(1), updated: stamp(2) },
        spec: spec.clone(),
        previous_spec: Some(spec.clone()),
        spec_version: 5,
        previous_spec_version: 4,
        spec_written: stamp(6),
        endpoint: Endpoint {
            spec: spec.endpoint.clone(),
            ports: vec![port],
            vips: vec![VirtualIp { network: NetworkId(11), addr: "10.0.1.2".parse().expect("address") }],
            pending_reason: text.into(),
        },
        update_status: Some(UpdateStatus {
            state: UpdateState::RollbackPaused,
            started: WallTime(1),
            completed: Some(WallTime(2)),
            message: text.into(),
            spec_version: 5,
            slots: 4,
            failures: number,
            canary_since: Some(WallTime(4)),
            promoted: true,
            started_index: number,
        }),
        job: Some(JobStatus { iteration: 1, last_execution: WallTime(3) }),
        history: vec![SpecRecord { spec: spec.clone(), spec_version: 3, written: stamp(1), revision: 8 }],
        revision: 9,
        scaled: Some(Scaled { replicas: number, at: WallTime(5), reason: text.into() }),
        held: vec![ContentVersion { content: ContentId::Config(ConfigId(3)), version: number }],
        removing: true,
    }
}

fn stamp(index: u64) -> Stamp {
    Stamp { index, wall: WallTime(-1) }
}

fn changes(text: &str, number: u64) -> Vec<Change> {
    let service = service(text, number);
    let status = TaskStatus {
        state: TaskState::Failed,
        timestamp: WallTime(1),
        message: text.into(),
        err: text.into(),
        container: Some(ContainerStatus {
            container_id: "c".into(),
            pid: 1,
            exit_code: Some(-1),
            oom_killed: true,
            health: Health::Unhealthy,
            ready: Some(false),
        }),
        host_ports: service.endpoint.ports.clone(),
    };
    let attachment = TaskAttachment {
        network: NetworkId(1),
        addr: "10.0.0.9".parse().expect("address"),
        aliases: vec![text.into()],
    };
    let endpoint = service.endpoint.clone();
    let update = service.update_status.clone().expect("has one");
    vec![
        Change::Replace(Object::Service(Arc::new(service))),
        Change::Delete(ObjectRef::Config(ConfigId(1))),
        Change::TaskStatus { task: TaskId(1), status },
        Change::TaskDesired { task: TaskId(1), desired: TaskState::Remove },
        Change::TaskAssigned {
            task: TaskId(1),
            node: None,
            message: "m".into(),
            reason: text.into(),
            resources: [("gpu".into(), ResourceNames { names: vec!["a".into()] })].into(),
        },
        Change::TaskAllocated { task: TaskId(1), attachments: Some(vec![]), reason: String::new() },
        Change::TaskAllocated { task: TaskId(1), attachments: Some(vec![attachment]), reason: String::new() },
        Change::TaskAllocated { task: TaskId(1), attachments: None, reason: text.into() },
        Change::NodeRaft { node: NodeId(1), raft: Some(RaftMember { raft_id: 9, voter: true }) },
        Change::NodeCertificate { node: NodeId(1), role: NodeRole::Manager },
        Change::ServiceEndpoint { service: ServiceId(1), endpoint },
        Change::ServiceUpdateStatus { service: ServiceId(1), status: update },
        Change::ServiceContents { service: ServiceId(1), spec_version: number },
        Change::SecretSpec {
            secret: SecretId(1),
            spec: SecretSpec {
                name: text.into(),
                labels: [(text.into(), "v".into())].into(),
                data: Sensitive::new(text.as_bytes().to_vec()),
                templated: true,
            },
        },
        Change::ConfigSpec {
            config: ConfigId(1),
            spec: ConfigSpec { name: text.into(), labels: Labels::new(), data: text.into(), templated: true },
        },
        Change::ContentDropped { content: ContentId::Secret(SecretId(2)), version: number },
        Change::ContentDropped { content: ContentId::Config(ConfigId(2)), version: 1 },
        Change::ServiceRollback { service: ServiceId(1), failed_version: 7, message: text.into() },
        Change::ServiceScaled {
            service: ServiceId(1),
            spec_written: number,
            scaled: Scaled { replicas: number, at: WallTime(6), reason: text.into() },
        },
        Change::NetworkAllocated {
            network: NetworkId(1),
            allocation: Some(NetworkAllocation {
                subnet: "10.0.1.0/24".parse().expect("subnet"),
                gateway: "10.0.1.1".parse().expect("address"),
                overlay_id: 4097,
            }),
            reason: text.into(),
        },
    ]
}

proptest! {
    #[test]
    fn a_transaction_survives_the_log(text: String, number: u64, term: Option<u64>) {
        let object = ObjectRef::Service(ServiceId(3));
        let txn = Txn {
            term,
            wall: WallTime(number as i64),
            preconditions: vec![
                Precondition::Version(object, number),
                Precondition::Present(ObjectRef::Cluster),
                Precondition::Absent(object),
                Precondition::Rules(RULES),
            ],
            changes: changes(&text, number),
        };
        prop_assert_eq!(decode_entry(&encode_entry(&txn)), Ok(txn));
    }

    #[test]
    fn any_bytes_are_decoded_or_refused_without_panic(bytes: Vec<u8>) {
        let _ = decode_entry(&bytes);
        let _ = decode_snapshot(&bytes);
    }
}

#[test]
fn loads_and_what_is_asked_for_survive_a_session() {
    let over = Duration::from_secs(5);
    let loads = Loads {
        tasks: vec![TaskLoad { task: TaskId(1), over, nano_cpus: 2, memory_bytes: 3 }],
        services: vec![ServiceLoad { service: ServiceId(4), over, connections: 5 }],
    };
    assert_eq!(Loads::from_wire(loads.to_wire()), Ok(loads));
    let sampling = Sampling { services: [ServiceId(1), ServiceId(2)].into(), counted: [ServiceId(2)].into() };
    assert_eq!(Sampling::from_wire(sampling.to_wire()), Ok(sampling));
}

#[test]
fn a_store_survives_a_snapshot() {
    let mut service = service("web", 1);
    service.removing = false;
    let network = Network {
        id: NetworkId(11),
        meta: Meta { version: 4, created: stamp(1), updated: stamp(2) },
        spec: NetworkSpec { name: "back".to_owned(), internal: true, ..NetworkSpec::default() },
        allocation: None,
        pending_reason: "no free subnet".to_owned(),
        removing: true,
    };
    let objects = [Object::Service(Arc::new(service)), Object::Network(Arc::new(network))];
    let store = Store::restore(12, objects);
    let copy = decode_snapshot(&encode_snapshot(&store)).expect("decodes");
    assert_eq!(copy.objects(), store.objects());
    assert_eq!(copy.view().index(), 12);
    assert!(copy.view().service_by_name("web").is_some());
}

#[test]
fn an_entry_of_an_unknown_kind_is_refused() {
    // Field 99, a varint: what a newer version might write.
    let error = decode_entry(&[0x98, 0x06, 0x01]).expect_err("refused");
    assert_eq!(error, wire::WireError::Missing("Entry.kind"));
}

#[test]
fn a_transaction_checked_by_rules_this_binary_does_not_know_is_not_read() {
    let by = |rules| Txn { preconditions: vec![Precondition::Rules(rules)], ..Txn::default() };
    assert!(decode_entry(&encode_entry(&by(RULES))).is_ok());
    for unknown in [0, RULES + 1] {
        let error = decode_entry(&encode_entry(&by(unknown))).expect_err("unknown");
        assert!(error.to_string().contains("Precondition.rules"), "{error}");
    }
}
