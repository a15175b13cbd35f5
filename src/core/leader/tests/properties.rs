//! Whatever users, nodes and tasks do: the invariants hold after every write, the leader comes to rest,
//! and when the faults end the cluster is what was asked for.

use super::world::*;
use crate::audit::{audit, audit_settled};
use crate::model::*;
use crate::store::{Change, ObjectRef, Store};
use crate::{NodeId, ServiceId};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use std::time::Duration;

#[derive(Clone, Debug)]
enum Op {
    Create { replicas: u64, net: bool, gib: i64, constrained: bool, port: bool, priority: i32, update: Updating },
    Settings { binpack: bool, preemption: bool, moves_per_minute: u32 },
    Global { constrained: bool },
    Job { global: bool, at_once: u64, total: u64 },
    Again { service: usize },
    Scale { service: usize, replicas: u64 },
    Autoscale { service: usize, limits: Option<(u64, u64)> },
    Load { service: usize, replicas: u64 },
    Image { service: usize, image: usize, canary: Option<(u64, Option<u64>)> },
    Promote { service: usize },
    Rollback { service: usize },
    RollbackTo { service: usize, back: usize },
    Content,
    Remove { service: usize },
    State { node: u128, up: bool },
    Availability { node: u128, which: u8 },
    Label { node: u128, set: bool },
    Join,
    Leave { node: u128 },
    Pass { millis: u64 },
}

#[derive(Clone, Debug)]
struct Updating {
    parallelism: u64,
    seconds: u64,
    action: FailureAction,
    order: UpdateOrder,
    ratio: f32,
    condition: RestartCondition,
    max_attempts: u64,
}

const IMAGES: [(&str, Fate); 5] = [
    ("good:1", Fate::Runs),
    ("good:2", Fate::Runs),
    ("crashes:1", Fate::FailsAfter(Duration::from_secs(2))),
    ("missing:1", Fate::Rejected),
    ("slow:1", Fate::ReadyAfter(Duration::from_secs(3))),
];

fn updating() -> impl Strategy<Value = Updating> {
    let action = prop_oneof![Just(FailureAction::Pause), Just(FailureAction::Continue), Just(FailureAction::Rollback)];
    let order = prop_oneof![Just(UpdateOrder::StopFirst), Just(UpdateOrder::StartFirst)];
    let ratio = prop_oneof![Just(0.0f32), Just(0.4)];
    let condition = prop_oneof![
        4 => Just(RestartCondition::Any),
        1 => Just(RestartCondition::OnFailure),
        1 => Just(RestartCondition::None)
    ];
    (0u64..4, 0u64..3, action, order, ratio, condition, prop_oneof![Just(0u64), Just(2)]).prop_map(
        |(parallelism, seconds, action, order, ratio, condition, max_attempts)| Updating {
            parallelism,
            seconds,
            action,
            order,
            ratio,
            condition,
            max_attempts,
        },
    )
}

/// Canaries, and after how many seconds they are promoted.
fn canary() -> impl Strategy<Value = Option<(u64, Option<u64>)>> {
    let some = (1u64..4, proptest::option::of(1u64..20));
    prop_oneof![3 => Just(None), 2 => some.prop_map(Some)]
}

fn op() -> impl Strategy<Value = Op> {
    let any = any::<bool>;
    prop_oneof![
        3 => (1u64..7, any(), 0i64..4, any(), any(), 0i32..3, updating()).prop_map(
            |(replicas, net, gib, constrained, port, priority, update)| {
                Op::Create { replicas, net, gib, constrained, port, priority, update }
            }
        ),
        1 => any().prop_map(|constrained| Op::Global { constrained }),
        1 => (any(), 1u64..3, 0u64..5).prop_map(|(global, at_once, total)| Op::Job { global, at_once, total }),
        1 => (0usize..4).prop_map(|service| Op::Again { service }),
        3 => (0usize..4, 0u64..8).prop_map(|(service, replicas)| Op::Scale { service, replicas }),
        1 => (0usize..4, proptest::option::of((1u64..4, 0u64..4)))
            .prop_map(|(service, limits)| Op::Autoscale { service, limits }),
        2 => (0usize..4, 0u64..8).prop_map(|(service, replicas)| Op::Load { service, replicas }),
        5 => (0usize..4, 0usize..5, canary()).prop_map(|(service, image, canary)| Op::Image { service, image, canary }),
        1 => (0usize..4).prop_map(|service| Op::Promote { service }),
        2 => (0usize..4).prop_map(|service| Op::Rollback { service }),
        1 => (0usize..4, 0usize..3).prop_map(|(service, back)| Op::RollbackTo { service, back }),
        2 => Just(Op::Content),
        1 => (0usize..4).prop_map(|service| Op::Remove { service }),
        4 => (1u128..5, any()).prop_map(|(node, up)| Op::State { node, up }),
        2 => (1u128..5, 0u8..3).prop_map(|(node, which)| Op::Availability { node, which }),
        2 => (1u128..5, any()).prop_map(|(node, set)| Op::Label { node, set }),
        1 => Just(Op::Join),
        2 => (any(), any(), 0u32..9).prop_map(|(binpack, preemption, moves_per_minute)| {
            Op::Settings { binpack, preemption, moves_per_minute }
        }),
        1 => (1u128..5).prop_map(|node| Op::Leave { node }),
        6 => (100u64..8000).prop_map(|millis| Op::Pass { millis }),
    ]
}

fn autoscale((min, span): (u64, u64)) -> Autoscale {
    let (window, scale_down_delay) = (Duration::from_secs(60), Duration::from_secs(300));
    Autoscale { min, max: min + span, cpu_percent: 70, window, scale_down_delay, ..Autoscale::default() }
}

struct Run {
    world: World,
    services: Vec<ServiceId>,
    net: crate::NetworkId,
    secret: crate::SecretId,
    named: u32,
}

impl Run {
    fn new() -> Self {
        let mut world = World::new(3);
        world.stop_time = Duration::from_millis(300);
        world.is_lossy = true;
        IMAGES.iter().for_each(|(image, fate)| world.fate(image, *fate));
        world.fate(JOB_IMAGE, Fate::CompletesAfter(Duration::from_secs(3)));
        let small = IpamSubnet { subnet: "10.9.0.0/28".parse().unwrap(), gateway: None, range: None };
        let net = world.network(NetworkSpec { name: "small".into(), ipam: vec![small], ..NetworkSpec::default() });
        let secret = world.secret("key", "content 0");
        world.watch = Some(Box::new(|view| {
            let violations = audit(view);
            assert!(violations.is_empty(), "{violations:#?}");
        }));
        Self { world, services: Vec::new(), net, secret, named: 0 }
    }

    fn name(&mut self) -> String {
        self.named += 1;
        format!("s{}", self.named)
    }

    fn service(&self, index: usize) -> Option<ServiceId> {
        let id = *self.services.get(index % self.services.len().max(1))?;
        let view = self.world.view();
        view.service(id).filter(|service| !service.removing).map(|service| service.id)
    }

    fn has_node(&self, id: u128) -> bool {
        self.world.view().node(NodeId(id)).is_some()
    }

    #[allow(clippy::too_many_arguments, reason = "one per field of the operation")]
    fn create(
        &mut self,
        replicas: u64,
        net: bool,
        gib: i64,
        constrained: bool,
        port: bool,
        priority: i32,
        update: Updating,
    ) {
        let mut spec = replicated(&self.name(), IMAGES[0].0, replicas);
        // Half of them have a secret.
        if self.named.is_multiple_of(2) {
            spec.task.container.secrets = vec![secret_reference(self.secret, "key")];
        }
        spec.task.resources.reservations.memory_bytes = gib << 30;
        spec.task.placement.priority = priority;
        spec.task.restart = RestartPolicy {
            condition: update.condition,
            delay: Duration::from_secs(1),
            max_attempts: update.max_attempts,
            ..RestartPolicy::default()
        };
        if net {
            spec.task.networks =
                vec![NetworkTarget { target: self.net, aliases: Vec::new(), driver_options: Default::default() }];
        }
        if constrained {
            spec.task.placement.constraints = vec!["node.labels.disk==ssd".into()];
        }
        if port {
            spec.endpoint.ports = vec![PortConfig { target_port: 80, ..PortConfig::default() }];
        }
        let config = UpdateConfig {
            parallelism: update.parallelism,
            delay: Duration::from_secs(update.seconds),
            failure_action: update.action,
            monitor: Duration::from_secs(3),
            max_failure_ratio: update.ratio,
            order: update.order,
            ..UpdateConfig::default()
        };
        spec.rollback = Some(UpdateConfig { failure_action: FailureAction::Pause, ..config.clone() });
        spec.update = Some(config);
        let id = self.world.create(spec);
        self.services.push(id);
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Create { replicas, net, gib, constrained, port, priority, update } if self.services.len() < 4 => {
                self.create(replicas, net, gib, constrained, port, priority, update);
            }
            Op::Create { .. } => {}
            Op::Global { constrained } if self.services.len() < 4 => {
                let mut spec = global(&self.name(), IMAGES[0].0);
                if constrained {
                    spec.task.placement.constraints = vec!["node.labels.disk==ssd".into()];
                }
                let id = self.world.create(spec);
                self.services.push(id);
            }
            Op::Global { .. } => {}
            Op::Job { global, at_once, total } if self.services.len() < 4 => {
                let mode = match global {
                    true => ServiceMode::GlobalJob,
                    false => ServiceMode::ReplicatedJob { max_concurrent: at_once, total_completions: total },
                };
                let mut spec = ServiceSpec { mode, ..replicated(&self.name(), JOB_IMAGE, 0) };
                spec.task.restart.condition = RestartCondition::OnFailure;
                let id = self.world.create(spec);
                self.services.push(id);
            }
            Op::Job { .. } => {}
            Op::Again { service } => {
                let Some(id) = self.service(service) else { return };
                self.world.update(id, |spec| spec.task.force_update += 1);
            }
            Op::Scale { service, replicas } => {
                let Some(id) = self.service(service) else { return };
                self.world.update(id, |spec| {
                    if let ServiceMode::Replicated { replicas: wanted }
                    | ServiceMode::ReplicatedJob { total_completions: wanted, .. } = &mut spec.mode
                    {
                        *wanted = replicas;
                    }
                });
            }
            Op::Autoscale { service, limits } => {
                let Some(id) = self.service(service) else { return };
                if self.world.service(id).wanted_replicas().is_some() {
                    self.world.update(id, |spec| spec.autoscale = limits.map(autoscale));
                }
            }
            Op::Load { service, replicas } => {
                let Some(id) = self.service(service) else { return };
                let (service, at) = (self.world.service(id), self.world.now);
                let Some(limits) = &service.spec.autoscale else { return };
                let scaled = Scaled { replicas: limits.clamp(replicas), at, reason: "load".into() };
                let spec_written = service.spec_written.index;
                self.world.change(vec![Change::ServiceScaled { service: id, spec_written, scaled }]);
            }
            Op::Image { service, image, canary } => {
                let Some(id) = self.service(service) else { return };
                self.world.update(id, |spec| {
                    match spec.mode {
                        ServiceMode::Replicated { .. } | ServiceMode::Global => {}
                        ServiceMode::ReplicatedJob { .. } | ServiceMode::GlobalJob => return,
                    }
                    spec.task.container.image = IMAGES[image].0.into();
                    if let Some(update) = &mut spec.update {
                        update.canary = canary.map_or(0, |(tasks, _)| tasks);
                        update.canary_promote_after = canary.and_then(|(_, after)| after).map(Duration::from_secs);
                    }
                });
            }
            Op::Promote { service } => {
                let Some(id) = self.service(service) else { return };
                // Refused when nothing waits.
                let _ = self.world.promote(id);
            }
            Op::RollbackTo { service, back } => {
                let Some(id) = self.service(service) else { return };
                let revision = self.world.service(id).history.get(back).map(|record| record.revision);
                if let Some(revision) = revision {
                    self.world.rollback_to(id, revision).expect("everything it used is there");
                }
            }
            Op::Rollback { service } => {
                let Some(id) = self.service(service) else { return };
                if self.world.service(id).previous_spec.is_some() {
                    self.world.rollback(id);
                }
            }
            Op::Content => {
                self.named += 1;
                self.world.secret("key", &format!("content {}", self.named));
            }
            Op::Remove { service } => {
                let Some(id) = self.service(service) else { return };
                self.world.remove(id);
            }
            Op::State { node, up } if self.has_node(node) => {
                self.world.node_state(node, if up { NodeState::Ready } else { NodeState::Down });
            }
            Op::Availability { node, which } if self.has_node(node) => {
                let all = [Availability::Active, Availability::Pause, Availability::Drain];
                self.world.edit_node(node, |node| node.spec.availability = all[usize::from(which)]);
            }
            Op::Label { node, set } if self.has_node(node) => self.world.edit_node(node, |node| {
                node.spec.labels.clear();
                if set {
                    node.spec.labels.insert("disk".into(), "ssd".into());
                }
            }),
            Op::State { .. } | Op::Availability { .. } | Op::Label { .. } => {}
            Op::Settings { binpack, preemption, moves_per_minute } => self.world.settings(|spec| {
                spec.binpack = binpack;
                spec.preemption = preemption;
                spec.rebalance_moves_per_minute = moves_per_minute;
            }),
            Op::Join if !self.has_node(4) => self.world.change(vec![Change::Create(node(4).into())]),
            Op::Join => {}
            Op::Leave { node } => self.world.change(vec![Change::Delete(ObjectRef::Node(NodeId(node)))]),
            Op::Pass { millis } => self.world.pass(Duration::from_millis(millis)),
        }
    }

    /// The leader rests; what must hold then holds.
    fn check_rest(&mut self) {
        self.world.settle();
        let view = self.world.view();
        let restored = Store::restore(view.index(), self.world.store.objects()).view();
        assert_eq!(view.indexes(), restored.indexes(), "the indexes follow from the objects");
        let violations = audit_settled(&view);
        assert!(violations.is_empty(), "{violations:#?}");
    }

    /// Everything is well again: enough nodes, room and images.
    fn heal(&mut self) {
        for id in 1..=4 {
            if !self.has_node(id) {
                self.world.change(vec![Change::Create(node(id).into())]);
            }
            self.world.node_state(id, NodeState::Ready);
            self.world.edit_node(id, |node| {
                node.spec.availability = Availability::Active;
                node.spec.labels.insert("disk".into(), "ssd".into());
                if let Some(description) = &mut node.description {
                    description.resources.memory_bytes = 1 << 40;
                }
            });
        }
        IMAGES.iter().for_each(|(image, _)| self.world.fate(image, Fate::Runs));
        for index in 0..self.services.len() {
            if let Some(id) = self.service(index) {
                let _ = self.world.promote(id);
            }
        }
        // Evening out may go on for long: a move a minute.
        self.world.settings(|spec| spec.rebalance_moves_per_minute = 0);
    }
}

/// What jobs run, for three seconds.
const JOB_IMAGE: &str = "job:1";

/// Replicas that are to run in the end, and the address space allows no more than ten on the small network.
fn wanted(service: &Service) -> u64 {
    match service.spec.mode {
        ServiceMode::Replicated { .. } => service.wanted_replicas().unwrap_or_default(),
        ServiceMode::Global => 4,
        ServiceMode::ReplicatedJob { .. } | ServiceMode::GlobalJob => 0,
    }
}

/// Completions of a job in the end.
fn to_complete(service: &Service) -> Option<u64> {
    match service.spec.mode {
        ServiceMode::ReplicatedJob { total_completions, .. } => Some(total_completions),
        ServiceMode::GlobalJob => Some(4),
        ServiceMode::Replicated { .. } | ServiceMode::Global => None,
    }
}

fn config() -> ProptestConfig {
    let regressions = concat!(env!("CARGO_MANIFEST_DIR"), "/leader/tests/properties.proptest-regressions");
    ProptestConfig {
        // A case is a whole history: a quarter of the usual number.
        cases: ProptestConfig::default().cases / 4,
        max_shrink_iters: 4000,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(regressions))),
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_invariants_hold_and_the_cluster_converges_when_the_faults_end(
        ops in proptest::collection::vec(op(), 1..30)
    ) {
        let mut run = Run::new();
        for op in ops {
            run.apply(op);
            run.check_rest();
        }
        run.heal();
        run.world.pass(Duration::from_secs(120));
        run.check_rest();
        let view = run.world.view();
        for service in view.services() {
            prop_assert!(!service.removing, "a removed service is gone");
            let tasks: Vec<_> = view.tasks_of_service(service.id).filter(|t| t.is_wanted()).collect();
            let running = tasks.iter().filter(|t| t.is_up()).count() as u64;
            let policy = &service.spec.task.restart;
            if let Some(least) = to_complete(service) {
                let complete = view.tasks_of_service(service.id).filter(|t| t.status.state == TaskState::Complete);
                let slots: std::collections::BTreeSet<_> = complete.map(|t| (t.slot, t.node.filter(|_| t.slot == 0))).collect();
                prop_assert!(slots.len() as u64 >= least, "{} of {least} completed", slots.len());
            }
            // Slots that may not be run again, and tasks that wait for an address, say so.
            let gave_up = policy.condition != RestartCondition::Any || policy.max_attempts > 0;
            let full = tasks.iter().any(|t| t.status.err.contains("is full"));
            // A paused update leaves a slot as it was.
            let paused = service.update_status.as_ref().is_some_and(|s| {
                matches!(s.state, UpdateState::Paused | UpdateState::RollbackPaused)
            });
            prop_assert!(running <= wanted(service) || paused, "{running} of {}", wanted(service));
            if !gave_up && !full {
                prop_assert!(running >= wanted(service), "{running} of {}: {tasks:#?}", wanted(service));
            }
            let updating = service.update_status.as_ref().is_some_and(|s| {
                matches!(s.state, UpdateState::Updating | UpdateState::RollbackStarted)
            });
            prop_assert!(!updating || full, "{:?}", service.update_status);
            // Where the new spec ended for good while it was started first, the old stays.
            if !paused && !full && !gave_up {
                let version = |t: &&std::sync::Arc<Task>| t.spec.container.image == service.spec.task.container.image;
                prop_assert!(tasks.iter().all(version), "all tasks are of the newest spec");
            }
        }
        // Until failures do not count any more they are kept.
        run.world.pass(crate::scheduler::FAILURES_WINDOW);
        let view = run.world.view();
        // While it evens nodes out the leader comes back for more when its budget allows it.
        let evens = view.cluster().is_some_and(|cluster| cluster.spec.rebalance_moves_per_minute > 0);
        prop_assert!(evens || run.world.wake_at.is_none(), "nothing is left to wait for: {:?}", run.world.wake_at);
    }
}
