use super::*;
use crate::model::*;
use crate::store::{Conflict, Object, Store, View};
use crate::{ClusterId, ConfigId, NetworkId, NodeId, SecretId, Sensitive, ServiceId};
use std::sync::Arc;
use std::time::Duration;

const NOW: WallTime = WallTime(1_700_000_000_000);

fn key() -> Sensitive<[u8; 32]> {
    Sensitive::new([5; 32])
}

pub(super) fn spec(name: &str) -> ServiceSpec {
    let container = ContainerSpec { image: "redis:7".to_owned(), ..ContainerSpec::default() };
    ServiceSpec::new(name, ServiceMode::Replicated { replicas: 2 }, container)
}

pub(super) struct World {
    pub(super) store: Store,
    index: u64,
}

impl World {
    pub(super) fn new() -> Self {
        let mut world = World { store: Store::new(), index: 0 };
        let networks = predefined_networks([NetworkId(1), NetworkId(2), NetworkId(3)]);
        world.put(networks.map(|network| Object::Network(Arc::new(network))).to_vec());
        world
    }

    pub(super) fn view(&self) -> View {
        self.store.view()
    }

    fn put(&mut self, objects: Vec<Object>) {
        let changes = objects.into_iter().map(Change::Create).collect();
        self.commit(Txn { wall: NOW, changes, ..Txn::default() }).unwrap();
    }

    /// A cluster with the usual settings.
    pub(super) fn cluster(&mut self) -> Cluster {
        let cluster = Cluster::new(ClusterId(1), ClusterSpec::default(), ClusterCa::default());
        self.put(vec![Object::Cluster(Arc::new(cluster.clone()))]);
        cluster
    }

    pub(super) fn commit(&mut self, txn: Txn) -> Result<(), Conflict> {
        self.index += 1;
        self.store.apply(self.index, 1, &txn).map(|_| ())
    }

    pub(super) fn service(&mut self, id: u128, spec: ServiceSpec) {
        let txn = create_service(&self.view(), spec, ServiceId(id), NOW).unwrap();
        self.commit(txn).unwrap();
    }

    pub(super) fn update(&mut self, id: u128, spec: ServiceSpec) {
        let version = self.get(id).meta.version;
        let txn = update_service(&self.view(), ServiceId(id), version, spec, NOW).unwrap();
        self.commit(txn).unwrap();
    }

    pub(super) fn get(&self, id: u128) -> Arc<Service> {
        Arc::clone(self.view().service(ServiceId(id)).unwrap())
    }

    pub(super) fn manager(&mut self, id: u128, state: NodeState) {
        let node = Node {
            id: NodeId(id),
            meta: Meta::default(),
            spec: NodeSpec { role: NodeRole::Manager, ..NodeSpec::default() },
            description: None,
            status: NodeStatus { state, ..NodeStatus::default() },
            raft: Some(RaftMember { raft_id: id as u64, voter: true }),
            certificate_role: NodeRole::Manager,
        };
        self.put(vec![Object::from(node)]);
    }

    fn manager_is(&mut self, id: u128, state: NodeState) {
        let status = NodeStatus { state, ..NodeStatus::default() };
        let changes = vec![Change::NodeStatus { node: NodeId(id), status }];
        self.commit(Txn { changes, ..Txn::default() }).unwrap();
    }

    fn demote(&self, id: u128) -> Result<Txn, Refusal> {
        let node = Arc::clone(self.view().node(NodeId(id)).unwrap());
        let spec = NodeSpec { role: NodeRole::Worker, ..node.spec.clone() };
        update_node(&self.view(), NodeId(id), node.meta.version, spec, NOW)
    }
}

fn refused(spec: ServiceSpec) -> String {
    let world = World::new();
    create_service(&world.view(), spec, ServiceId(77), NOW).unwrap_err().to_string()
}

pub(super) fn port(published: u16, mode: PublishMode) -> PortConfig {
    PortConfig { target_port: 80, published_port: published, mode, ..PortConfig::default() }
}

#[test]
fn a_taken_service_name_is_a_conflict_worded_as_docker_words_it() {
    let mut world = World::new();
    world.service(10, spec("web"));
    let refusal = create_service(&world.view(), spec("web"), ServiceId(11), NOW).unwrap_err();
    let words = "name conflicts with an existing object: service web already exists";
    assert_eq!(refusal, Refusal::Exists(words.to_owned()));
}

#[test]
fn an_update_of_the_task_raises_the_spec_version_and_keeps_the_previous_spec() {
    let mut world = World::new();
    world.service(10, spec("web"));
    let mut wanted = spec("web");
    wanted.task.container.image = "redis:8".to_owned();
    world.update(10, wanted.clone());
    let service = world.get(10);
    assert_eq!((service.spec_version, service.previous_spec_version), (2, 1));
    assert_eq!(*service.spec, wanted);
    assert_eq!(service.previous_spec.as_deref(), Some(&spec("web")));
}

#[test]
fn an_update_of_the_scale_alone_keeps_the_spec_version() {
    let mut world = World::new();
    world.service(10, spec("web"));
    world.update(10, ServiceSpec { mode: ServiceMode::Replicated { replicas: 5 }, ..spec("web") });
    assert_eq!(world.get(10).spec_version, 1);
}

#[test]
fn an_update_with_an_old_version_is_out_of_sequence() {
    let mut world = World::new();
    world.service(10, spec("web"));
    let refusal = update_service(&world.view(), ServiceId(10), 999, spec("web"), NOW).unwrap_err();
    assert_eq!(refusal.to_string(), "update out of sequence");
}

#[test]
fn of_two_updates_decided_on_one_snapshot_the_store_takes_one() {
    let mut world = World::new();
    world.service(10, spec("web"));
    let version = world.get(10).meta.version;
    let wish = |replicas| ServiceSpec { mode: ServiceMode::Replicated { replicas }, ..spec("web") };
    let one = update_service(&world.view(), ServiceId(10), version, wish(3), NOW).unwrap();
    let two = update_service(&world.view(), ServiceId(10), version, wish(4), NOW).unwrap();
    world.commit(one).unwrap();
    assert!(matches!(world.commit(two), Err(Conflict::OutOfSequence { .. })));
    assert_eq!(world.get(10).spec.mode, ServiceMode::Replicated { replicas: 3 });
}

#[test]
fn a_rollback_brings_the_previous_spec_and_its_version_back() {
    let mut world = World::new();
    world.service(10, spec("web"));
    let mut wanted = spec("web");
    wanted.task.force_update = 1;
    world.update(10, wanted);
    let version = world.get(10).meta.version;
    world.commit(rollback_service(&world.view(), ServiceId(10), version, NOW).unwrap()).unwrap();
    let service = world.get(10);
    assert_eq!((service.spec_version, service.previous_spec_version), (1, 2));
    assert_eq!(*service.spec, spec("web"));
    assert_eq!(service.update_status.as_ref().map(|s| s.state), Some(UpdateState::RollbackStarted));
}

#[test]
fn a_spec_version_is_never_used_for_two_different_specs() {
    let mut world = World::new();
    world.service(10, spec("web"));
    let forced = |force_update| {
        let mut spec = spec("web");
        spec.task.force_update = force_update;
        spec
    };
    world.update(10, forced(1));
    let version = world.get(10).meta.version;
    world.commit(rollback_service(&world.view(), ServiceId(10), version, NOW).unwrap()).unwrap();
    world.update(10, forced(2));
    assert_eq!(world.get(10).spec_version, 3);
}

#[test]
fn a_rollback_without_a_previous_spec_is_refused() {
    let mut world = World::new();
    world.service(10, spec("web"));
    let version = world.get(10).meta.version;
    let refusal = rollback_service(&world.view(), ServiceId(10), version, NOW).unwrap_err();
    assert_eq!(refusal.to_string(), "service web does not have a previous spec");
}

#[test]
fn a_service_keeps_its_name_and_mode() {
    let mut world = World::new();
    world.service(10, spec("web"));
    let version = world.get(10).meta.version;
    let update = |spec| update_service(&world.view(), ServiceId(10), version, spec, NOW).unwrap_err().to_string();
    assert_eq!(update(spec("other")), "Name: renaming services is not supported");
    assert_eq!(
        update(ServiceSpec { mode: ServiceMode::Global, ..spec("web") }),
        "Mode: service mode change is not allowed"
    );
}

#[test]
fn removal_marks_the_service_and_is_idempotent() {
    let mut world = World::new();
    world.service(10, spec("web"));
    world.commit(remove_service(&world.view(), ServiceId(10), NOW).unwrap()).unwrap();
    assert!(world.get(10).removing);
    assert!(remove_service(&world.view(), ServiceId(10), NOW).unwrap().changes.is_empty());
    assert!(matches!(remove_service(&world.view(), ServiceId(11), NOW), Err(Refusal::NotFound(_))));
}

#[test]
fn what_is_wrong_in_a_spec_is_named() {
    let mut wrong = spec("web");
    wrong.task.container.image = "No Image".to_owned();
    assert_eq!(refused(wrong), "TaskTemplate.ContainerSpec.Image: \"No Image\" is not a valid repository/tag");
    assert_eq!(refused(spec("")), "Name: name must be provided");
    assert_eq!(refused(spec("a.b")), "Name: name must be valid as a DNS name component");
    assert_eq!(refused(spec(&"a".repeat(64))), "Name: name must be 63 characters or fewer");

    let mut wrong = spec("web");
    wrong.task.resources.limit_memory_bytes = 1024;
    assert!(refused(wrong).ends_with("Limits.MemoryBytes: invalid memory value 1024: Must be at least 4MiB"));
    let mut wrong = spec("web");
    wrong.task.resources.reservations.nano_cpus = 1;
    assert!(refused(wrong).ends_with("Reservations.NanoCPUs: invalid cpu value 0.000000001: Must be at least 0.001"));

    let mut wrong = spec("web");
    wrong.update = Some(UpdateConfig { max_failure_ratio: 1.5, ..UpdateConfig::default() });
    assert!(
        refused(wrong)
            .contains("UpdateConfig.MaxFailureRatio: update-maxfailureratio cannot be less than 0 or bigger than 1")
    );

    let mut wrong = spec("web");
    (wrong.task.restart.max_attempts, wrong.task.restart.window) = (1001, Duration::from_secs(60));
    assert_eq!(
        refused(wrong.clone()),
        "TaskTemplate.RestartPolicy.MaxAttempts: 1001 can not be counted within a Window, use at most 1000, or 0 to restart without end"
    );
    for (max_attempts, window_s) in [(1001, 0), (1000, 60)] {
        let restart = &mut wrong.task.restart;
        (restart.max_attempts, restart.window) = (max_attempts, Duration::from_secs(window_s));
        create_service(&World::new().view(), wrong.clone(), ServiceId(77), NOW).expect("it can be counted");
    }

    let mut wrong = spec("web");
    wrong.task.placement.constraints = vec!["node.rolemanager".to_owned()];
    assert!(refused(wrong).starts_with("TaskTemplate.Placement.Constraints: constraint \"node.rolemanager\""));

    let mut wrong = spec("web");
    wrong.task.placement.spread = vec!["node.id".to_owned(), "node.hostname".to_owned()];
    assert_eq!(
        refused(wrong),
        "TaskTemplate.Placement.Preferences: can not spread over \"node.hostname\", only over node.labels.<key>, engine.labels.<key> or node.id"
    );

    let mut wrong = spec("web");
    let mount =
        Mount { target: "/data".to_owned(), source: MountSource::Tmpfs { size_bytes: 0, mode: 0 }, read_only: false };
    let again = Mount { target: "/x/..//data/.".to_owned(), ..mount.clone() };
    wrong.task.container.mounts = vec![mount, again];
    assert_eq!(refused(wrong), "TaskTemplate.ContainerSpec.Mounts[1].Target: duplicate mount point: /x/..//data/.");
}

#[test]
fn the_clusters_own_ports_are_not_published() {
    for number in [2377, 7946, 4789] {
        for mode in [PublishMode::Ingress, PublishMode::Host] {
            let mut wrong = spec("web");
            wrong.endpoint.ports = vec![PortConfig { protocol: Protocol::Udp, ..port(number, mode) }];
            assert!(refused(wrong).ends_with("/udp is used by the cluster itself on every node"));
            // Nothing of it listens on TCP.
            let mut fine = spec("web");
            fine.endpoint.ports = vec![port(number, mode)];
            assert_eq!(fits::service(&World::new().view(), &fine, ServiceId(9)), Ok(()));
        }
    }
}

#[test]
fn a_service_without_a_name_gets_one_that_is_free() {
    let mut world = World::new();
    let name = fresh_service_name(&world.view(), 0);
    assert_eq!(name, "brave_babbage");
    world.service(10, spec(&name));
    assert_eq!(fresh_service_name(&world.view(), 0), "brave_babbage0");
    world.service(11, spec("brave_babbage0"));
    assert_eq!(fresh_service_name(&world.view(), 0), "brave_babbage1");
    for random in [u128::MAX, 1 << 70, 1023] {
        assert_eq!(
            fits::service(&world.view(), &spec(&fresh_service_name(&world.view(), random)), ServiceId(9)),
            Ok(())
        );
    }
}

#[test]
fn a_job_has_no_update_and_is_not_run_again_once_it_completed() {
    let job = || ServiceSpec { mode: ServiceMode::GlobalJob, update: None, rollback: None, ..spec("job") };
    assert!(refused(job()).starts_with("TaskTemplate.RestartPolicy.Condition: a task of a job that completed"));
    let once = || {
        let mut job = job();
        job.task.restart.condition = RestartCondition::OnFailure;
        job
    };
    let updating = ServiceSpec { update: Some(UpdateConfig::default()), ..once() };
    assert_eq!(refused(updating), "UpdateConfig: Jobs may not have an update config");
    let going_back = ServiceSpec { rollback: Some(UpdateConfig::default()), ..once() };
    assert_eq!(refused(going_back), "RollbackConfig: Jobs may not have a rollback config");
    assert_eq!(fits::service(&World::new().view(), &once(), ServiceId(9)), Ok(()));
}

#[test]
fn what_nothing_would_carry_out_is_refused() {
    let mut wrong = spec("web");
    wrong.endpoint.ports = vec![PortConfig { protocol: Protocol::Sctp, ..port(80, PublishMode::Ingress) }];
    assert_eq!(refused(wrong), "EndpointSpec.Ports[0].Protocol: sctp is not supported, use tcp or udp");
    let with_log = |name: &str, option: &str| {
        let mut wrong = spec("web");
        let options = [(option.to_owned(), "1".to_owned())].into();
        wrong.task.log_driver = Some(LogDriver { name: name.to_owned(), options });
        refused(wrong)
    };
    assert!(with_log("syslog", "max-size").starts_with("TaskTemplate.LogDriver.Name: log driver \"syslog\""));
    assert!(with_log("json-file", "tag").starts_with("TaskTemplate.LogDriver.Options.tag: is not supported"));
    let mut wrong = spec("web");
    let source = MountSource::Volume {
        name: "data".to_owned(),
        driver: "nfs".to_owned(),
        driver_options: Default::default(),
        labels: Labels::new(),
        no_copy: false,
        subpath: String::new(),
    };
    wrong.task.container.mounts = vec![Mount { target: "/data".to_owned(), source, read_only: false }];
    assert!(refused(wrong).starts_with("TaskTemplate.ContainerSpec.Mounts[0].VolumeOptions.DriverConfig"));
}

#[test]
fn ports_that_meet_within_a_service_or_between_services_are_refused() {
    let with = |name: &str, ports: Vec<PortConfig>| {
        let mut spec = spec(name);
        spec.endpoint.ports = ports;
        spec
    };
    let twice = with("web", vec![port(80, PublishMode::Ingress), port(80, PublishMode::Ingress)]);
    assert_eq!(refused(twice), "EndpointSpec.Ports[1].PublishedPort: duplicate published ports provided: 80/tcp");

    let local = |address: &str| {
        let mut port = port(80, PublishMode::Host);
        port.host_ip = Some(address.parse().expect("an address"));
        port
    };
    let everywhere_and_there = with("web", vec![local("127.0.0.1"), port(80, PublishMode::Host)]);
    assert!(refused(everywhere_and_there).starts_with("EndpointSpec.Ports[1].PublishedPort: duplicate"));
    let unspecified = with("web", vec![local("127.0.0.1"), local("0.0.0.0")]);
    assert!(refused(unspecified).starts_with("EndpointSpec.Ports[1].PublishedPort: duplicate"));
    let apart = with("web", vec![local("127.0.0.1"), local("127.0.0.2")]);
    assert!(fits::service(&World::new().view(), &apart, ServiceId(9)).is_ok());

    let mut dnsrr = with("web", vec![port(80, PublishMode::Ingress)]);
    dnsrr.endpoint.mode = EndpointMode::Dnsrr;
    assert_eq!(
        refused(dnsrr),
        "EndpointSpec.Ports[0].PublishMode: port published with ingress mode can't be used with dnsrr mode"
    );

    let mut world = World::new();
    world.service(10, with("web", vec![port(80, PublishMode::Ingress)]));
    let create = |spec| create_service(&world.view(), spec, ServiceId(11), NOW);
    let refusal = create(with("api", vec![port(80, PublishMode::Ingress)])).unwrap_err().to_string();
    assert_eq!(
        refusal,
        format!(
            "EndpointSpec.Ports[0].PublishedPort: port '80' is already in use by service 'web' ({})",
            ServiceId(10)
        )
    );
    assert!(create(with("api", vec![port(80, PublishMode::Host)])).is_err());
    assert!(create(with("api", vec![port(81, PublishMode::Ingress)])).is_ok());
    let udp = PortConfig { protocol: Protocol::Udp, ..port(80, PublishMode::Ingress) };
    assert!(create(with("api", vec![udp])).is_ok());
}

#[test]
fn the_ingress_network_is_not_for_services_to_name() {
    let mut wrong = spec("web");
    let target = NetworkTarget { target: NetworkId(1), aliases: Vec::new(), driver_options: Default::default() };
    wrong.task.networks = vec![target];
    let place = "TaskTemplate.Networks[0].Target: ";
    assert_eq!(
        refused(wrong),
        format!("{place}Service cannot be explicitly attached to the ingress network \"ingress\"")
    );
}

#[test]
fn a_network_in_use_stays() {
    let mut world = World::new();
    let wish = NetworkSpec { name: "back".to_owned(), ..NetworkSpec::default() };
    let mut odd = wish.clone();
    odd.driver_options.insert("mtu".to_owned(), "1400".to_owned());
    let refusal = create_network(&world.view(), odd, NetworkId(50), NOW).unwrap_err().to_string();
    assert!(refusal.contains("Options.mtu: is not supported; only encrypted is"), "{refusal}");
    world.commit(create_network(&world.view(), wish.clone(), NetworkId(50), NOW).unwrap()).unwrap();
    assert!(matches!(create_network(&world.view(), wish, NetworkId(51), NOW), Err(Refusal::Exists(_))));
    let mut user = spec("web");
    let target = NetworkTarget { target: NetworkId(50), aliases: Vec::new(), driver_options: Default::default() };
    user.task.networks = vec![target];
    world.service(10, user);
    let refusal = remove_network(&world.view(), NetworkId(50), NOW).unwrap_err();
    assert_eq!(refusal.to_string(), "network back is in use by service web");
    world.commit(remove_service(&world.view(), ServiceId(10), NOW).unwrap()).unwrap();
    world.commit(remove_network(&world.view(), NetworkId(50), NOW).unwrap()).unwrap();
    assert!(world.view().network_by_name("back").is_none());
}

#[test]
fn subnets_that_overlap_or_make_no_sense_are_refused() {
    let world = World::new();
    let create = |subnet: &str, gateway: Option<&str>| {
        let gateway = gateway.map(|text| text.parse().unwrap());
        let ipam = vec![IpamSubnet { subnet: subnet.parse().unwrap(), gateway, range: None }];
        let spec = NetworkSpec { name: "back".to_owned(), ipam, ..NetworkSpec::default() };
        create_network(&world.view(), spec, NetworkId(60), NOW)
    };
    assert!(create("10.9.0.0/24", Some("10.9.0.1")).is_ok());
    assert!(matches!(create("10.0.0.128/25", None), Err(Refusal::Forbidden(_))));
    assert!(create("10.9.0.1/24", None).unwrap_err().to_string().contains("it should be 10.9.0.0/24"));
    assert!(create("10.9.0.0/24", Some("10.8.0.1")).is_err());
    assert!(create("10.9.0.0/30", None).is_err());
}

#[test]
fn predefined_networks_are_kept() {
    let world = World::new();
    assert!(matches!(remove_network(&world.view(), NetworkId(2), NOW), Err(Refusal::Forbidden(_))));
    let host = NetworkSpec { name: "host".to_owned(), ..NetworkSpec::default() };
    assert!(matches!(create_network(&world.view(), host, NetworkId(60), NOW), Err(Refusal::Forbidden(_))));
}

#[test]
fn the_last_manager_is_not_demoted() {
    let mut world = World::new();
    world.manager(1, NodeState::Ready);
    let refusal = world.demote(1).unwrap_err();
    assert_eq!(refusal.to_string(), "attempting to demote the last manager of the swarm");
}

#[test]
fn a_demotion_that_loses_quorum_is_refused() {
    let mut world = World::new();
    world.manager(1, NodeState::Ready);
    world.manager(2, NodeState::Ready);
    world.manager(3, NodeState::Down);
    assert!(world.demote(1).unwrap_err().to_string().contains("loss of quorum"));
    assert!(world.demote(3).is_ok());
}

#[test]
fn a_manager_that_does_not_answer_counts_as_lost_before_the_store_knows() {
    let mut world = World::new();
    for id in 1..=3 {
        world.manager(id, NodeState::Ready);
    }
    let check = |id: u128| {
        let node = Arc::clone(world.view().node(NodeId(id)).unwrap());
        check_demotion(&world.view(), &node, |other| other != NodeId(3))
    };
    let late = check(1).unwrap_err().to_string();
    assert!(check(3).is_ok());
    world.manager_is(3, NodeState::Down);
    assert_eq!(late, world.demote(1).unwrap_err().to_string(), "the same words as later");
}

#[test]
fn of_two_demotions_decided_at_once_one_is_taken() {
    let mut world = World::new();
    for id in 1..=2 {
        world.manager(id, NodeState::Ready);
    }
    let (one, two) = (world.demote(1).unwrap(), world.demote(2).unwrap());
    world.commit(one).unwrap();
    assert!(world.commit(two).is_err());
}

#[test]
fn a_node_is_removed_only_when_down_or_forced_and_never_as_a_manager() {
    let mut world = World::new();
    world.manager(1, NodeState::Down);
    let refusal = remove_node(&world.view(), NodeId(1), true, key(), NOW).unwrap_err();
    assert!(refusal.to_string().contains("It must be demoted to worker before removal"));
    let mut worker = (**world.view().node(NodeId(1)).unwrap()).clone();
    worker.id = NodeId(2);
    worker.raft = None;
    worker.spec.role = NodeRole::Worker;
    worker.status.state = NodeState::Ready;
    world.put(vec![Object::from(worker)]);
    let refusal = remove_node(&world.view(), NodeId(2), false, key(), NOW).unwrap_err();
    assert!(refusal.to_string().ends_with("is not down and can't be removed"));
    assert!(remove_node(&world.view(), NodeId(2), true, key(), NOW).is_ok());
}

#[test]
fn a_secret_in_use_stays_and_keeps_the_content_it_had_beside_the_new_one() {
    let mut world = World::new();
    let secret = |data: &[u8]| SecretSpec {
        name: "key".to_owned(),
        labels: Labels::new(),
        data: Sensitive::new(data.to_vec()),
        templated: false,
    };
    world.commit(create_secret(&world.view(), secret(b"x"), SecretId(5), NOW).unwrap()).unwrap();
    assert!(create_secret(&world.view(), secret(b""), SecretId(6), NOW).is_err());
    let file = FileTarget { name: "key".to_owned(), uid: "0".to_owned(), gid: "0".to_owned(), mode: 0o444 };
    let mut user = spec("web");
    user.task.container.secrets = vec![SecretReference { id: SecretId(5), name: "key".to_owned(), file, version: 0 }];
    world.service(10, user);
    let refusal = remove_secret(&world.view(), SecretId(5), NOW).unwrap_err();
    assert_eq!(refusal.to_string(), "secret 'key' is in use by the following service: web");
    let version = world.view().secret(SecretId(5)).unwrap().meta.version;
    let update = |name: &str, data: Option<&[u8]>| {
        let data = data.map(|data| Sensitive::new(data.to_vec()));
        let wish = ContentWish { name: name.to_owned(), data, ..ContentWish::default() };
        update_secret(&world.view(), SecretId(5), version, wish, NOW)
    };
    assert!(update("other", None).unwrap_err().to_string().starts_with("Name: a secret keeps its name"));
    assert!(update("key", Some(b"")).unwrap_err().to_string().starts_with("Data: secret data must be larger than 0"));
    assert!(update("key", None).is_ok());
    let txn = update("key", Some(b"y")).unwrap();
    world.commit(txn).unwrap();
    let secret = world.view().secret(SecretId(5)).unwrap().clone();
    assert_eq!((secret.content_version, secret.spec.data.expose().as_slice()), (2, b"y".as_slice()));
    let older: Vec<_> = secret.older.iter().map(|older| (older.version, older.data.expose().as_slice())).collect();
    assert_eq!(older, [(1, b"x".as_slice())]);
}

#[test]
fn a_service_that_names_a_config_that_is_gone_is_refused() {
    let mut wrong = spec("web");
    let file = FileTarget { name: "/c".to_owned(), uid: "0".to_owned(), gid: "0".to_owned(), mode: 0o444 };
    wrong.task.container.configs = vec![ConfigReference { id: ConfigId(9), name: "c".to_owned(), file, version: 0 }];
    assert_eq!(refused(wrong), "TaskTemplate.ContainerSpec.Configs[0]: config not found: c");
}

#[test]
fn secrets_and_configs_together_have_a_bound_that_is_told_with_what_to_do() {
    let config = |id: u128, bytes: usize| {
        let spec =
            ConfigSpec { name: format!("c{id}"), labels: Labels::new(), data: vec![b'x'; bytes], templated: false };
        Config { id: ConfigId(id), meta: Meta::default(), spec, content_version: 1, older: Vec::new() }
    };
    let many = fits::CONTENTS_BYTES_MAX / CONFIG_BYTES_MAX;
    let full = (1..=many as u128).map(|id| Object::Config(Arc::new(config(id, CONFIG_BYTES_MAX))));
    let view = Store::restore(1, full).view();
    let rest = fits::CONTENTS_BYTES_MAX - many * CONFIG_BYTES_MAX;
    let create = |bytes| create_config(&view, config(1000, bytes).spec, ConfigId(1000), NOW);
    create(rest).expect("it fits exactly");
    let refusal = create(rest + 1).expect_err("one byte too many").to_string();
    assert!(refusal.contains("remove those that no service uses"), "{refusal}");
    let secret = SecretSpec {
        name: "s".to_owned(),
        labels: Labels::new(),
        data: Sensitive::new(vec![0; rest + 1]),
        templated: false,
    };
    assert!(create_secret(&view, secret, SecretId(1), NOW).is_err());
    // A new content counts beside the one it takes the place of.
    let wish = ContentWish { data: Some(Sensitive::new(vec![b'y'; rest + 1])), ..ContentWish::default() };
    assert!(
        update_config(&view, ConfigId(1), 0, wish, NOW).unwrap_err().to_string().contains("earlier contents count")
    );
}

#[test]
fn an_autoscaled_service_says_what_it_may_come_to_and_by_which_load() {
    let good = Autoscale {
        min: 1,
        max: 5,
        cpu_percent: 70,
        memory_percent: 0,
        requests_per_second: 0,
        window: Duration::from_secs(60),
        scale_down_delay: Duration::from_secs(300),
    };
    let with = |autoscale: Autoscale| ServiceSpec { autoscale: Some(autoscale), ..spec("web") };
    let world = World::new();
    assert!(create_service(&world.view(), with(good.clone()), ServiceId(77), NOW).is_ok());
    let refuses = |autoscale: Autoscale, field: &str| {
        let words = refused(with(autoscale));
        assert!(words.starts_with(&format!("Swarm.Autoscale{field}: ")), "{words}");
    };
    refuses(Autoscale { min: 0, ..good.clone() }, ".Min");
    refuses(Autoscale { min: 6, ..good.clone() }, ".Max");
    refuses(Autoscale { max: 10_001, ..good.clone() }, ".Max");
    refuses(Autoscale { cpu_percent: 0, ..good.clone() }, "");
    refuses(Autoscale { cpu_percent: 1001, ..good.clone() }, ".CPUPercent");
    refuses(Autoscale { memory_percent: 80, ..good.clone() }, ".MemoryPercent");
    refuses(Autoscale { requests_per_second: 9, ..good.clone() }, ".RequestsPerSecond");
    refuses(Autoscale { window: Duration::from_secs(14), ..good.clone() }, ".Window");
    refuses(Autoscale { scale_down_delay: Duration::from_secs(3601), ..good.clone() }, ".ScaleDownDelay");
    let mut limited = with(Autoscale { memory_percent: 80, ..good.clone() });
    limited.task.resources.limit_memory_bytes = 64 << 20;
    limited.autoscale.as_mut().unwrap().requests_per_second = 9;
    limited.endpoint.ports = vec![port(8080, PublishMode::Ingress)];
    assert!(create_service(&world.view(), limited, ServiceId(77), NOW).is_ok());
    let global = refused(ServiceSpec { mode: ServiceMode::Global, ..with(good) });
    assert_eq!(global, "Swarm.Autoscale: only a service in replicated mode can be scaled by its load");
}

#[test]
fn no_service_asks_for_more_tasks_than_can_be_counted() {
    let of = |mode| ServiceSpec { mode, ..spec("web") };
    let replicas = refused(of(ServiceMode::Replicated { replicas: 1_000_001 }));
    assert_eq!(replicas, "Mode.Replicated.Replicas: 1000001 is too many, use at most 1000000");
    let job = |max_concurrent, total_completions| of(ServiceMode::ReplicatedJob { max_concurrent, total_completions });
    assert!(refused(job(1, u64::MAX)).starts_with("Mode.ReplicatedJob.TotalCompletions: "));
    assert!(refused(job(u64::MAX, 1)).starts_with("Mode.ReplicatedJob.MaxConcurrent: "));
    let canary = UpdateConfig { canary: 1, ..UpdateConfig::default() };
    let with_canary = refused(ServiceSpec { update: Some(canary), ..of(ServiceMode::GlobalJob) });
    assert_eq!(with_canary, "Swarm.Canary: a job is not updated in steps and has no canaries");
    assert!(refused(job(0, 5)).starts_with("Mode.ReplicatedJob.MaxConcurrent: must be at least 1"));
}
