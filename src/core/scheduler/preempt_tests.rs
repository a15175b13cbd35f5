//! Preemption as one decision: who has to go for a task that fits nowhere.

use super::place::takes;
use super::tests::{Table, node, reserve};
use super::{Board, Eviction, place};
use crate::model::*;
use crate::store::{Change, Object, ObjectRef, Store, Txn, View};
use crate::{NodeId, ServiceId, TaskId, WallTime};
use proptest::prelude::*;
use std::sync::Arc;
use std::time::Duration;

/// When the tables are written.
const NOW: WallTime = WallTime(0);
const WAITING: u128 = 100;

/// A service's id and its priority; its tasks reserve as many CPUs each as `tasks` says, on that node.
#[derive(Clone, Debug)]
struct Running {
    priority: i32,
    tasks: Vec<(u128, i64)>,
    stopping: bool,
    once: bool,
}

fn service(id: u128, priority: i32, once: bool) -> Service {
    let mut task = TaskSpec::default();
    task.placement.priority = priority;
    if once {
        task.restart.condition = RestartCondition::None;
    }
    let spec = ServiceSpec {
        name: format!("s{id}"),
        labels: Labels::new(),
        task,
        mode: ServiceMode::Replicated { replicas: 1 },
        update: None,
        rollback: None,
        endpoint: EndpointSpec::default(),
        depends_on: Vec::new(),
        autoscale: None,
    };
    Service {
        id: ServiceId(id),
        meta: Meta::default(),
        spec: Arc::new(spec),
        previous_spec: None,
        spec_version: 1,
        previous_spec_version: 0,
        spec_written: Default::default(),
        endpoint: Endpoint::default(),
        update_status: None,
        job: None,
        history: Vec::new(),
        scaled: None,
        held: Vec::new(),
        revision: 1,
        removing: false,
    }
}

/// Three nodes of 4 CPUs with what runs there, and one task that waits.
fn table(running: &[Running], priority: i32, cpus: i64) -> (Table, TaskId) {
    let mut table = Table::new(3);
    table.settings(|spec| spec.preemption = true);
    for (id, service_of) in (1..).zip(running) {
        table.put(Object::Service(Arc::new(service(id, service_of.priority, service_of.once))), true);
        for (on, cpus) in &service_of.tasks {
            table.task(id, Some(*on), |spec, task| {
                reserve(spec, *cpus, 0);
                spec.placement.priority = service_of.priority;
                if service_of.stopping {
                    task.desired = TaskState::Shutdown;
                }
            });
        }
    }
    table.put(Object::Service(Arc::new(service(WAITING, priority, false))), true);
    let waiting = table.task(WAITING, None, |spec, _| {
        reserve(spec, cpus, 0);
        spec.placement.priority = priority;
    });
    (table, waiting)
}

fn decide(view: &View) -> (Vec<Change>, Vec<Eviction>) {
    decide_at(view, NOW)
}

fn decide_at(view: &View, now: WallTime) -> (Vec<Change>, Vec<Eviction>) {
    let mut evictions = Vec::new();
    let changes = place(view, &mut Board::of(view), now, usize::MAX, &mut evictions);
    (changes, evictions)
}

/// The view without some tasks, and without those that are to stop anyway.
fn without(view: &View, gone: &[TaskId]) -> View {
    let mut store = Store::from_view(view.clone());
    let stopping = view.tasks().filter(|task| !task.is_wanted()).map(|task| task.id);
    let changes = gone.iter().copied().chain(stopping).map(|id| Change::Delete(ObjectRef::Task(id))).collect();
    store.apply(view.index() + 1, 1, &Txn { changes, ..Txn::default() }).unwrap();
    store.view()
}

fn fits(view: &View, on: NodeId, task: TaskId) -> bool {
    let board = Board::of(view);
    board.nodes().get(on).is_some_and(|info| takes(info, view.task(task).unwrap()))
}

fn one(priority: i32, tasks: &[(u128, i64)]) -> Running {
    Running { priority, tasks: tasks.to_vec(), stopping: false, once: false }
}

fn victims(running: &[Running], priority: i32, cpus: i64) -> Vec<TaskId> {
    let (table, _) = table(running, priority, cpus);
    decide(&table.store.view()).1.into_iter().flat_map(|eviction| eviction.victims).collect()
}

#[test]
fn the_fewest_go_then_those_of_the_lowest_priority_then_the_youngest() {
    let full = |priority| one(priority, &[(2, 4), (3, 4)]);
    // Tasks are numbered in the order they stand here.
    assert_eq!(victims(&[one(0, &[(1, 1), (1, 1), (1, 2)]), full(5)], 5, 2), [TaskId(3)], "one instead of two");
    assert_eq!(victims(&[one(3, &[(1, 4)]), one(1, &[(2, 4)]), one(2, &[(3, 4)])], 5, 4), [TaskId(2)]);
    assert_eq!(victims(&[one(0, &[(1, 2), (1, 2)]), full(5)], 5, 2), [TaskId(2)], "the younger of two alike");
}

#[test]
fn nobody_goes_for_a_task_of_the_same_priority_nor_for_one_that_would_not_fit_after() {
    let full = [one(1, &[(1, 4), (2, 4), (3, 4)])];
    assert_eq!(victims(&full, 1, 1), []);
    assert_eq!(victims(&full, 2, 5), []);
    assert_eq!(victims(&[one(1, &[(1, 1)])], 2, 1), [], "there is room");
    let once = Running { once: true, ..one(1, &[(1, 4), (2, 4), (3, 4)]) };
    assert_eq!(victims(&[once], 2, 1), [], "what is not to be restarted stays");
}

#[test]
fn room_that_is_being_made_is_waited_for_and_kept() {
    let stopping = Running { stopping: true, ..one(0, &[(1, 4)]) };
    let (mut table, waiting) = table(&[stopping, one(0, &[(2, 4), (3, 4)])], 1, 2);
    let (changes, evictions) = decide(&table.store.view());
    assert_eq!(evictions, []);
    let told = changes.iter().any(|change| match change {
        Change::TaskAssigned { task, node: None, reason, .. } => {
            *task == waiting && reason.starts_with("waits for tasks to stop on")
        }
        _ => false,
    });
    assert!(told, "{changes:?}");
    // Half of the room is free already; what comes after does not get it.
    table.task(1, Some(1), |spec, task| {
        reserve(spec, 2, 0);
        task.desired = TaskState::Shutdown;
    });
    table.change(Change::Delete(ObjectRef::Task(TaskId(1))));
    table.edit(1, |node| node.description.as_mut().unwrap().resources.nano_cpus = 3_000_000_000);
    table.task(2, None, |spec, _| reserve(spec, 1, 0));
    let (changes, evictions) = decide(&table.store.view());
    assert_eq!(evictions, []);
    assert!(changes.iter().all(|change| matches!(change, Change::TaskAssigned { node: None, .. })), "{changes:?}");
}

#[test]
fn what_does_not_stop_is_not_waited_for_longer_than_a_sound_node_needs() {
    let stopping = Running { stopping: true, ..one(0, &[(1, 4)]) };
    let (table, waiting) = table(&[stopping, one(0, &[(2, 4)]), one(1, &[(3, 4)])], 1, 2);
    let view = table.store.view();
    let patience = view.task(waiting).unwrap().spec.container.stop_patience();
    assert_eq!(decide_at(&view, NOW + (patience - Duration::from_millis(1))).1, []);
    let evictions = decide_at(&view, NOW + patience).1;
    assert_eq!(evictions.iter().map(|eviction| eviction.node).collect::<Vec<_>>(), [NodeId(2)]);
}

/// A service that was set to another priority than the task has.
fn set_to(table: &mut Table, id: u128, priority: i32) {
    table.put(Object::Service(Arc::new(service(id, priority, false))), false);
}

#[test]
fn a_task_waits_with_its_own_priority_and_gives_way_with_the_higher_of_its_own_and_its_services() {
    let full = || table(&[one(2, &[(1, 4), (2, 4), (3, 4)])], 1, 2).0;
    let mut raised = full();
    set_to(&mut raised, WAITING, 9);
    assert_eq!(decide(&raised.store.view()).1, [], "it would have its turn after the task that went");
    let mut lowered = full();
    set_to(&mut lowered, 1, 0);
    assert_eq!(decide(&lowered.store.view()).1, []);
    let (mut worth_more, _) = table(&[one(0, &[(1, 4), (2, 4), (3, 4)])], 1, 2);
    assert_eq!(decide(&worth_more.store.view()).1.len(), 1);
    set_to(&mut worth_more, 1, 1);
    assert_eq!(decide(&worth_more.store.view()).1, [], "it would come back with this one");
}

#[test]
fn nobody_goes_for_a_task_that_only_evens_nodes_out() {
    let (mut table, _) = table(&[one(0, &[(1, 4), (2, 4), (3, 4)])], 0, 9);
    table.put(Object::Service(Arc::new(service(50, 5, false))), true);
    let mut bound = |origin| {
        table.task(50, None, |spec, task| {
            reserve(spec, 1, 0);
            spec.placement.priority = 5;
            (task.node, task.origin) = (Some(NodeId(2)), origin);
        });
        decide(&table.store.view()).1.len()
    };
    assert_eq!(bound(TaskOrigin::Move), 0);
    assert_eq!(bound(TaskOrigin::Scale), 1, "unlike for one that is bound and has no other place");
}

#[test]
fn a_cluster_that_is_not_set_to_leaves_every_task_its_place() {
    let (mut table, _) = table(&[one(0, &[(1, 4), (2, 4), (3, 4)])], 9, 1);
    table.settings(|spec| spec.preemption = false);
    assert_eq!(decide(&table.store.view()).1, []);
}

fn running() -> impl Strategy<Value = Running> {
    let tasks = proptest::collection::vec((1u128..4, 0i64..4), 0..6);
    (0i32..4, tasks, proptest::bool::weighted(0.2), proptest::bool::weighted(0.1))
        .prop_map(|(priority, tasks, stopping, once)| Running { priority, tasks, stopping, once })
}

proptest! {
    #[test]
    fn whoever_goes_is_of_lower_priority_and_needed_and_then_the_task_fits(
        running in proptest::collection::vec(running(), 0..5),
        priority in 0i32..5,
        cpus in 0i64..6,
        small: bool,
    ) {
        let (mut table, waiting) = table(&running, priority, cpus);
        if small {
            let mut third = node(3);
            third.description.as_mut().unwrap().resources.nano_cpus = 1_000_000_000;
            table.put(third.into(), false);
        }
        let view = table.store.view();
        let (changes, evictions) = decide(&view);
        let placed = changes.iter().any(|change| matches!(change, Change::TaskAssigned { node: Some(_), .. }));
        let nodes: Vec<NodeId> = view.nodes().map(|node| node.id).collect();
        prop_assert_eq!(placed, nodes.iter().any(|node| fits(&view, *node, waiting)));
        prop_assert!(evictions.len() <= 1);
        for Eviction { task, node, victims } in &evictions {
            prop_assert!(!placed && *task == waiting && !victims.is_empty());
            prop_assert!(fits(&without(&view, victims), *node, waiting), "it fits after");
            prop_assert!(!nodes.iter().any(|node| fits(&without(&view, &[]), *node, waiting)), "it would not have");
            for victim in victims {
                let others: Vec<TaskId> = victims.iter().copied().filter(|other| other != victim).collect();
                prop_assert!(!fits(&without(&view, &others), *node, waiting), "{victim} is superfluous");
                let task = view.task(*victim).unwrap();
                let of = view.service(task.service).unwrap();
                prop_assert!(task.node == Some(*node) && task.is_wanted());
                prop_assert!(of.spec.task.placement.priority < priority);
            }
        }
        // Who could make room does.
        let could = |node: &NodeId| {
            let lower = view.tasks_of_node(*node).filter(|task| {
                let of = view.service(task.service).unwrap();
                task.is_wanted() && of.spec.task.placement.priority < priority
                    && of.spec.task.restart.condition != RestartCondition::None
            });
            fits(&without(&view, &lower.map(|task| task.id).collect::<Vec<_>>()), *node, waiting)
        };
        let soon = nodes.iter().any(|node| fits(&without(&view, &[]), *node, waiting));
        prop_assert_eq!(!evictions.is_empty(), !placed && !soon && nodes.iter().any(could));
    }
}
