use super::*;
use crate::model::*;
use crate::store::{Object, ObjectRef, Store, Txn};
use proptest::prelude::*;

const WEB: ServiceId = ServiceId(1);
const NODE: NodeId = NodeId(1);
const CORE: u64 = 1_000_000_000;

/// A service whose orchestrator does at once what it is told, on a node that tells what tasks use.
struct Bench {
    store: Store,
    scaler: Autoscaler,
    now: Mono,
    /// Of the leader's wall clock.
    behind_ms: i64,
    /// All the service has to do, in billionths of a core, shared by the tasks that are up.
    load: u64,
    /// Slots whose tasks are not told of.
    silent: BTreeSet<u64>,
    /// How long a new task takes to be up.
    start: Duration,
    sampling: Option<Arc<Sampling>>,
    /// Each number of replicas it had, and why.
    course: Vec<(u64, String)>,
}

fn autoscale() -> Autoscale {
    Autoscale {
        min: 1,
        max: 20,
        cpu_percent: 50,
        memory_percent: 0,
        requests_per_second: 0,
        window: Duration::from_secs(60),
        scale_down_delay: Duration::from_secs(300),
    }
}

fn service(replicas: u64, autoscale: Autoscale) -> Service {
    let container = ContainerSpec { image: "web:1".to_owned(), ..ContainerSpec::default() };
    let spec = ServiceSpec {
        name: "web".to_owned(),
        labels: Labels::new(),
        task: TaskSpec { container, ..TaskSpec::default() },
        mode: ServiceMode::Replicated { replicas },
        update: None,
        rollback: None,
        endpoint: EndpointSpec::default(),
        depends_on: Vec::new(),
        autoscale: Some(autoscale),
    };
    let txn = crate::control::create_service(&View::default(), spec, WEB, WallTime(0)).expect("valid");
    match txn.changes.into_iter().next() {
        Some(Change::Create(Object::Service(service))) => (*service).clone(),
        other => panic!("{other:?}"),
    }
}

fn task(slot: u64, id: u128) -> Task {
    Task {
        node: Some(NODE),
        service_name: "web".to_owned(),
        status: TaskStatus { state: TaskState::Starting, ..TaskStatus::default() },
        ..Task::new(TaskId(id), WEB, slot, Arc::default())
    }
}

impl Bench {
    fn new(replicas: u64, autoscale: Autoscale) -> Self {
        let mut bench = Self {
            store: Store::new(),
            scaler: Autoscaler::new(),
            now: Mono(1_000_000),
            behind_ms: 0,
            load: 0,
            silent: BTreeSet::new(),
            start: Duration::from_secs(5),
            sampling: None,
            course: Vec::new(),
        };
        let status = NodeStatus { state: NodeState::Ready, ..NodeStatus::default() };
        let (meta, spec) = (Meta::default(), NodeSpec::default());
        let certificate_role = NodeRole::Worker;
        let node = Node { id: NODE, meta, spec, description: None, status, raft: None, certificate_role };
        let service = Object::Service(Arc::new(service(replicas, autoscale)));
        bench.write(vec![Change::Create(node.into()), Change::Create(service)]);
        bench.orchestrate();
        bench
    }

    fn wall(&self) -> WallTime {
        WallTime(self.now.0 as i64 - self.behind_ms)
    }

    fn write(&mut self, changes: Vec<Change>) {
        let txn = Txn { wall: self.wall(), changes, ..Txn::default() };
        self.store.apply(self.store.view().index() + 1, 1, &txn).expect("applies");
        let violations = crate::audit::audit(&self.store.view());
        assert!(violations.is_empty(), "{violations:?}");
    }

    fn service(&self) -> Arc<Service> {
        Arc::clone(self.store.view().service(WEB).expect("is there"))
    }

    fn wanted(&self) -> u64 {
        self.service().wanted_replicas().expect("is replicated")
    }

    fn edit(&mut self, edit: impl FnOnce(&mut ServiceSpec)) {
        let service = self.service();
        let mut spec = (*service.spec).clone();
        edit(&mut spec);
        let version = service.meta.version;
        let txn = crate::control::update_service(&self.store.view(), WEB, version, spec, self.wall()).expect("valid");
        self.write(txn.changes);
    }

    /// Slots one and up, as many as are wanted; tasks come up after their time to start.
    fn orchestrate(&mut self) {
        let view = self.store.view();
        let wanted = self.wanted();
        let there: BTreeSet<u64> = view.tasks_of_service(WEB).map(|task| task.slot).collect();
        let mut changes: Vec<Change> = Vec::new();
        for task in view.tasks_of_service(WEB) {
            if task.slot > wanted {
                changes.push(Change::Delete(ObjectRef::Task(task.id)));
            } else if task.up_since.is_none() && self.wall().since(task.meta.created.wall) >= self.start {
                let status = TaskStatus { state: TaskState::Running, ..TaskStatus::default() };
                changes.push(Change::TaskStatus { task: task.id, status });
            }
        }
        for slot in (1..=wanted).filter(|slot| !there.contains(slot)) {
            changes.push(Change::Create(Object::Task(Arc::new(task(
                slot,
                u128::from(self.now.0) << 16 | u128::from(slot),
            )))));
        }
        if !changes.is_empty() {
            self.write(changes);
        }
    }

    fn give(&mut self, input: Input) {
        let mut out = Effects::default();
        self.scaler.input(self.now, self.wall(), input, &mut out);
        self.sampling = out.sampling.or(self.sampling.take());
        let scaled = out.changes.iter().find_map(|change| match change {
            Change::ServiceScaled { scaled, .. } => Some(scaled.clone()),
            _ => None,
        });
        self.write(out.changes);
        if let Some(Scaled { replicas, reason, .. }) = scaled {
            let limits = self.service().spec.autoscale.clone().expect("is autoscaled");
            assert!((limits.min..=limits.max).contains(&replicas), "{replicas}: {reason}");
            self.course.push((replicas, reason));
        }
    }

    fn tell(&mut self) {
        let view = self.store.view();
        let up: Vec<_> = view.tasks_of_service(WEB).filter(|task| task.is_up()).collect();
        let each = self.load / (up.len() as u64).max(1);
        let loads = up.iter().filter(|task| !self.silent.contains(&task.slot)).map(|task| TaskLoad {
            task: task.id,
            over: SAMPLE_EVERY,
            nano_cpus: each,
            memory_bytes: 0,
        });
        let loads = Loads { tasks: loads.collect(), services: Vec::new() };
        self.give(Input::Loads { node: NODE, loads });
    }

    fn look(&mut self) {
        self.give(Input::Look(self.store.view()));
    }

    fn pass(&mut self, seconds: u64) {
        for second in 0..seconds {
            self.orchestrate();
            self.now = self.now + Duration::from_secs(1);
            if second % SAMPLE_EVERY.as_secs() == 0 {
                self.tell();
            }
            if second % LOOK_EVERY.as_secs() == 0 {
                self.look();
            }
        }
    }

    /// The numbers of replicas it had one after the other.
    fn steps(&self) -> Vec<u64> {
        let mut steps: Vec<u64> = self.course.iter().map(|(replicas, _)| *replicas).collect();
        steps.dedup();
        steps
    }

    fn last_reason(&self) -> &str {
        self.course.last().map_or("", |(_, reason)| reason)
    }
}

#[test]
fn a_service_grows_with_its_load_step_by_step_and_says_why() {
    let mut bench = Bench::new(2, autoscale());
    bench.load = 8 * CORE;
    bench.pass(90);
    let (first, why) = &bench.course[0];
    assert_eq!((*first, why.as_str()), (6, "cpu 400% of 1 CPU (target 50%): 2 -> 6, a first step to 16"));
    bench.pass(300);
    assert_eq!(bench.steps(), [6, 12, 16]);
    assert_eq!(bench.wanted(), 16);
}

#[test]
fn it_shrinks_only_after_less_was_enough_for_the_whole_delay() {
    let mut bench = Bench::new(4, autoscale());
    bench.load = 2 * CORE;
    bench.pass(400);
    assert_eq!(bench.steps(), [4]);
    assert_eq!(bench.last_reason(), "cpu 50% of 1 CPU (target 50%): 4 are enough");
    bench.load = CORE / 2;
    bench.pass(290);
    assert_eq!(bench.wanted(), 4, "{:?}", bench.course);
    bench.pass(120);
    assert_eq!(bench.wanted(), 1);
    assert!(bench.last_reason().ends_with("-> 1"), "{}", bench.last_reason());
}

#[test]
fn a_short_lull_does_not_shrink_it() {
    let mut bench = Bench::new(4, autoscale());
    for _ in 0..10 {
        bench.load = 2 * CORE;
        bench.pass(100);
        bench.load = CORE / 10;
        bench.pass(150);
    }
    assert_eq!(bench.wanted(), 4, "{:?}", bench.course);
}

#[test]
fn it_stops_at_its_limits_and_says_so() {
    let mut bench = Bench::new(2, Autoscale { min: 2, max: 5, ..autoscale() });
    bench.load = 8 * CORE;
    bench.pass(300);
    assert_eq!(bench.steps(), [5]);
    assert_eq!(bench.course[0].1, "cpu 400% of 1 CPU (target 50%): 2 -> 5, limited to max 5 (16 wanted)");
    assert!(bench.last_reason().contains("stays at max 5 ("), "{}", bench.last_reason());
    bench.load = 0;
    bench.pass(600);
    assert_eq!(bench.wanted(), 2);
    assert!(bench.last_reason().ends_with("stays at min 2"), "{}", bench.last_reason());
}

#[test]
fn a_task_that_gives_no_figures_keeps_the_service_from_shrinking_but_not_from_growing() {
    let mut bench = Bench::new(4, autoscale());
    bench.silent = [1].into();
    bench.load = CORE / 10;
    bench.pass(900);
    assert_eq!(bench.wanted(), 4);
    assert!(bench.last_reason().ends_with("stays at 4, 1 task gives no figures"), "{}", bench.last_reason());
    bench.load = 8 * CORE;
    bench.pass(100);
    assert!(bench.wanted() > 4, "{:?}", bench.course);
    bench.silent = (1..100).collect();
    bench.pass(60);
    let before = bench.wanted();
    bench.pass(900);
    assert_eq!(bench.wanted(), before, "nothing is known any more");
}

#[test]
fn a_new_leader_decides_nothing_before_a_window_and_no_less_before_the_delay() {
    let mut bench = Bench::new(4, autoscale());
    bench.load = CORE / 10;
    bench.pass(280);
    bench.scaler = Autoscaler::new();
    let before = bench.course.len();
    bench.pass(50);
    assert_eq!(bench.course.len(), before);
    bench.pass(240);
    assert_eq!(bench.wanted(), 4, "{:?}", bench.course);
    bench.pass(60);
    assert_eq!(bench.wanted(), 1);
}

#[test]
fn a_new_leader_whose_clock_is_behind_sees_the_load_of_tasks_that_were_up_before() {
    let mut bench = Bench::new(1, autoscale());
    bench.pass(120);
    (bench.scaler, bench.behind_ms) = (Autoscaler::new(), 900_000);
    bench.load = 4 * CORE;
    bench.pass(90);
    assert_eq!(bench.steps()[..2], [1, 5], "{:?}", bench.course);
}

#[test]
fn tasks_that_are_young_or_not_up_count_neither_for_growing_nor_for_shrinking() {
    let mut bench = Bench::new(2, autoscale());
    bench.load = 3 * CORE;
    // Until the new tasks are up and share it, the load of the others stays as it was.
    bench.start = Duration::from_secs(200);
    bench.now = bench.now + Duration::from_secs(200);
    bench.pass(190);
    assert_eq!(bench.steps(), [6], "{:?}", bench.course);
    bench.pass(400);
    assert_eq!(bench.steps(), [6]);
}

#[test]
fn replicas_set_by_a_user_are_a_new_start_and_other_changes_keep_what_it_came_to() {
    let mut bench = Bench::new(1, autoscale());
    bench.load = 4 * CORE;
    bench.pass(300);
    assert_eq!(bench.wanted(), 8);
    bench.edit(|spec| spec.task.container.image = "web:2".to_owned());
    assert_eq!(bench.wanted(), 8);
    bench.edit(|spec| spec.autoscale = Some(Autoscale { max: 6, ..autoscale() }));
    assert_eq!(bench.wanted(), 6);
    bench.edit(|spec| spec.mode = ServiceMode::Replicated { replicas: 3 });
    assert_eq!((bench.wanted(), bench.service().scaled.clone()), (3, None));
    bench.edit(|spec| spec.mode = ServiceMode::Replicated { replicas: 0 });
    assert_eq!(bench.wanted(), 0, "0 stops it");
    bench.pass(100);
    assert_eq!(bench.sampling.as_deref(), Some(&Sampling::default()));
    bench.edit(|spec| spec.mode = ServiceMode::Replicated { replicas: 30 });
    assert_eq!(bench.wanted(), 6, "within the limits");
    bench.edit(|spec| spec.autoscale = None);
    assert_eq!(bench.wanted(), 30);
}

#[test]
fn what_was_decided_about_a_spec_that_changed_meanwhile_is_ignored() {
    let mut bench = Bench::new(2, autoscale());
    let spec_written = bench.service().spec_written.index;
    bench.edit(|spec| spec.mode = ServiceMode::Replicated { replicas: 3 });
    let scaled = Scaled { replicas: 9, at: WallTime(0), reason: String::new() };
    bench.write(vec![Change::ServiceScaled { service: WEB, spec_written, scaled: scaled.clone() }]);
    assert_eq!(bench.wanted(), 3);
    let spec_written = bench.service().spec_written.index;
    bench.write(vec![Change::ServiceScaled { service: WEB, spec_written, scaled }]);
    assert_eq!(bench.wanted(), 9);
}

#[test]
fn a_node_speaks_for_its_own_tasks_only() {
    let mut bench = Bench::new(1, autoscale());
    for _ in 0..40 {
        bench.now = bench.now + SAMPLE_EVERY;
        bench.orchestrate();
        bench.look();
        let task = bench.store.view().tasks_of_service(WEB).next().expect("a task").id;
        let tasks = vec![TaskLoad { task, over: SAMPLE_EVERY, nano_cpus: 9 * CORE, memory_bytes: 0 }];
        bench.give(Input::Loads { node: NodeId(2), loads: Loads { tasks, services: Vec::new() } });
    }
    assert_eq!(bench.wanted(), 1);
}

#[test]
fn the_target_that_needs_most_wins_and_is_named() {
    let limits = Autoscale { cpu_percent: 50, memory_percent: 80, ..autoscale() };
    let mut spec = (*service(2, autoscale()).spec).clone();
    spec.task.resources.limit_memory_bytes = 64 << 20;
    let figures = Figures { measured: 2, nano_cpus: u128::from(CORE), memory_bytes: 192 << 20, ..Figures::default() };
    let advice = advise(&spec, &limits, 2, &figures);
    assert_eq!((advice.wanted, advice.figure.as_str()), (4, "memory 150% of 64 MiB (target 80%)"));
}

#[test]
fn connections_count_when_all_nodes_tell_and_never_shrink_otherwise() {
    let limits = Autoscale { cpu_percent: 0, requests_per_second: 100, ..autoscale() };
    let spec = (*service(2, autoscale()).spec).clone();
    let figures = Figures { measured: 2, connections: 500_000, ..Figures::default() };
    let advice = advise(&spec, &limits, 2, &figures);
    assert_eq!((advice.wanted, advice.figure.as_str()), (5, "requests 250.0/s per task (target 100)"));
    let advice = advise(&spec, &limits, 2, &Figures { connections: 0, deaf_nodes: 1, ..figures });
    assert_eq!((advice.wanted, advice.blind.as_deref()), (2, Some("1 node tells no figures")));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 32, ..ProptestConfig::default() })]

    #[test]
    fn a_constant_load_settles_and_then_nothing_changes(
        start in 1u64..20, millicores in 0u64..12_000, percent in 10u32..200, startup in 0u64..40,
        window in 15u64..120, delay in 0u64..400,
    ) {
        let limits = Autoscale {
            cpu_percent: percent,
            window: Duration::from_secs(window),
            scale_down_delay: Duration::from_secs(delay),
            ..autoscale()
        };
        let mut bench = Bench::new(start, limits);
        (bench.load, bench.start) = (millicores * 1_000_000, Duration::from_secs(startup));
        bench.pass(1500);
        let settled = bench.wanted();
        let needed = (millicores * 100).div_ceil(1000 * u64::from(percent)).clamp(1, 20);
        // Within the tolerance of what the load needs, and one for rounding.
        prop_assert!(settled.abs_diff(needed) * 100 <= needed * 12 + 100, "{settled}, {needed} needed");
        let turns = bench.steps().windows(3).filter(|w| (w[0] < w[1]) != (w[1] < w[2])).count();
        prop_assert_eq!(turns, 0, "it went one way: {:?}", bench.steps());
        let before = bench.course.len();
        bench.pass(1500);
        prop_assert_eq!(bench.wanted(), settled);
        prop_assert!(bench.course.len() <= before + 1, "{:?}", &bench.course[before..]);
    }

    #[test]
    fn asked_again_at_once_it_wants_the_same(
        start in 1u64..20, loads in proptest::collection::vec(0u64..12_000, 1..8),
    ) {
        let mut bench = Bench::new(start, Autoscale { scale_down_delay: Duration::from_secs(30), ..autoscale() });
        for load in loads {
            bench.load = load * 1_000_000;
            bench.pass(75);
            bench.look();
            let wanted = bench.wanted();
            bench.look();
            prop_assert_eq!(bench.wanted(), wanted);
        }
    }
}

fn figures() -> impl Strategy<Value = Figures> {
    (0u64..10, 0u64..5, 0u64..3, 0u64..20_000, 0u64..3).prop_map(|(measured, fresh, silent, millicores, deaf_nodes)| {
        let nano_cpus = if measured == 0 { 0 } else { u128::from(millicores) * 1_000_000 };
        Figures { measured, fresh, silent, nano_cpus, memory_bytes: 0, connections: 0, deaf_nodes }
    })
}

proptest! {
    #[test]
    fn more_load_never_wants_fewer(figures in figures(), more in 0u64..10_000, current in 1u64..30) {
        let (spec, limits) = ((*service(2, autoscale()).spec).clone(), autoscale());
        let less = advise(&spec, &limits, current, &figures);
        let more = Figures { nano_cpus: figures.nano_cpus + u128::from(more) * 1_000_000, ..figures };
        prop_assert!(advise(&spec, &limits, current, &more).wanted >= less.wanted);
    }

    #[test]
    fn the_verdict_is_within_the_limits_and_a_step(
        figures in figures(), current in 1u64..30, lowest in proptest::option::of(0u64..40), min in 1u64..5, span in 0u64..30,
        may_step: bool,
    ) {
        let limits = Autoscale { min, max: min + span, ..autoscale() };
        let (spec, current) = ((*service(2, autoscale()).spec).clone(), limits.clamp(current));
        let advice = advise(&spec, &limits, current, &figures);
        let lowest = lowest.map(|lowest| lowest.max(advice.wanted));
        let verdict = settle(&limits, current, &advice, lowest, Duration::from_secs(300), may_step);
        prop_assert!((limits.min..=limits.max).contains(&verdict.replicas));
        prop_assert!(verdict.replicas <= (2 * current).max(current + 4));
        prop_assert!(verdict.replicas >= current || figures.silent == 0 && figures.measured > 0 && lowest.is_some());
        prop_assert!(verdict.replicas <= current || may_step && advice.wanted > current);
        prop_assert!(!verdict.reason.is_empty());
    }
}
