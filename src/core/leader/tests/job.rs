use super::world::*;
use crate::audit::{audit, audit_settled};
use crate::model::*;
use crate::store::{Change, Object};
use crate::{NodeId, ServiceId};
use std::sync::Arc;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// Every view on the way is audited.
fn world(nodes: u128) -> World {
    let mut world = World::new(nodes);
    world.fate("work", Fate::CompletesAfter(SECOND));
    world.fate("broken", Fate::FailsAfter(SECOND));
    world.watch = Some(Box::new(|view| assert_eq!(audit(view), [])));
    world
}

fn job(image: &str, mode: ServiceMode) -> ServiceSpec {
    let mut spec = ServiceSpec { mode, ..replicated("job", image, 0) };
    spec.task.restart.condition = RestartCondition::OnFailure;
    spec
}

fn several(image: &str, max_concurrent: u64, total_completions: u64) -> ServiceSpec {
    job(image, ServiceMode::ReplicatedJob { max_concurrent, total_completions })
}

/// Tasks that completed and those at work.
fn counts(world: &World, id: ServiceId) -> (usize, usize) {
    let tasks = world.tasks(id);
    let complete = tasks.iter().filter(|task| task.status.state == TaskState::Complete).count();
    (complete, tasks.iter().filter(|task| task.is_wanted()).count())
}

fn rest(world: &mut World) {
    world.pass(Duration::from_secs(60));
    assert_eq!(audit_settled(&world.view()), []);
    assert_eq!(world.wake_at, None);
}

#[test]
fn a_job_runs_as_many_at_once_as_it_may_until_all_have_completed() {
    let mut world = world(3);
    let id = world.create(several("work", 2, 5));
    world.settle();
    assert_eq!(counts(&world, id), (0, 2));
    world.pass(SECOND);
    assert_eq!(counts(&world, id), (2, 2));
    rest(&mut world);
    assert_eq!(counts(&world, id), (5, 0));
    let slots: Vec<u64> = world.tasks(id).iter().map(|task| task.slot).collect();
    assert_eq!(slots, [1, 2, 3, 4, 5], "each slot ran once");
    assert!(world.tasks(id).iter().all(|task| task.desired == TaskState::Complete));
}

#[test]
fn what_completed_is_remembered_whatever_the_history_limit() {
    for limit in [0, 1] {
        let mut world = world(2);
        let mut cluster = (**world.view().cluster().expect("the cluster")).clone();
        cluster.spec.task_history_limit = limit;
        world.change(vec![Change::Replace(Object::Cluster(Arc::new(cluster)))]);
        let mut spec = several("flaky", 1, 3);
        spec.task.restart.delay = SECOND;
        let id = world.create(spec);
        world.fate("flaky", Fate::FailsAfter(SECOND));
        world.pass(Duration::from_secs(9));
        world.fate("flaky", Fate::CompletesAfter(SECOND));
        rest(&mut world);
        assert_eq!(counts(&world, id), (3, 0), "history limit {limit}");
        assert_eq!(world.tasks(id).len(), 3, "only what tells of completion is kept");
    }
}

#[test]
fn a_failure_is_run_again_in_its_slot_until_the_attempts_are_used_up() {
    let mut world = world(1);
    let mut spec = several("broken", 2, 3);
    spec.task.restart = RestartPolicy { delay: SECOND, max_attempts: 2, ..spec.task.restart };
    let id = world.create(spec);
    rest(&mut world);
    let runs = |slot| world.tasks(id).iter().filter(|task| task.slot == slot).count();
    assert_eq!([runs(1), runs(2), runs(3), runs(4)], [3, 3, 3, 0], "a slot that was given up is not made up for");
    assert_eq!(counts(&world, id), (0, 0));
}

#[test]
fn a_job_that_may_not_be_restarted_fails_with_its_first_failure() {
    let mut world = world(1);
    let mut spec = several("broken", 1, 1);
    spec.task.restart.condition = RestartCondition::None;
    let id = world.create(spec);
    rest(&mut world);
    assert_eq!(world.tasks(id).len(), 1);
}

#[test]
fn a_slot_whose_node_is_lost_runs_elsewhere_and_counts_once_when_both_complete() {
    let mut world = world(2);
    let id = world.create(several("long", 1, 1));
    world.settle();
    let first = Arc::clone(&world.tasks(id)[0]);
    let node = first.node.expect("a node").0;
    world.node_state(node, NodeState::Down);
    world.settle();
    let second = world.running(id).pop().expect("it runs elsewhere");
    assert_ne!(second.node, first.node);
    // The lost one had completed before its node was told to stop it.
    world.node_state(node, NodeState::Ready);
    let complete = TaskStatus { state: TaskState::Complete, ..TaskStatus::default() };
    world.change(vec![Change::TaskStatus { task: first.id, status: complete }]);
    rest(&mut world);
    assert_eq!(counts(&world, id), (1, 0));
    assert_eq!(world.tasks(id).len(), 2, "the slot is done: the other one was stopped, and nothing follows");
}

#[test]
fn a_new_iteration_takes_the_place_of_the_last_once_that_has_stopped() {
    let mut world = world(1);
    world.stop_time = 3 * SECOND;
    let id = world.create(several("long", 2, 2));
    world.settle();
    world.update(id, |spec| spec.task.force_update += 1);
    world.settle();
    assert_eq!(world.running(id).len(), 0, "the old ones are told to stop, the new ones wait for them");
    world.pass(4 * SECOND);
    let tasks = world.tasks(id);
    assert_eq!(tasks.len(), 2, "nothing is left of the first iteration");
    assert!(tasks.iter().all(|task| task.job_iteration == Some(1) && task.status.state == TaskState::Running));
}

#[test]
fn a_job_that_completed_runs_again_only_when_it_is_told_to() {
    let mut world = world(2);
    let id = world.create(several("work", 1, 2));
    rest(&mut world);
    let before: Vec<_> = world.tasks(id).iter().map(|task| task.id).collect();
    for node in [1, 2] {
        world.node_state(node, NodeState::Down);
        rest(&mut world);
        world.node_state(node, NodeState::Ready);
    }
    world.update(id, |spec| drop(spec.labels.insert("a".to_owned(), "b".to_owned())));
    rest(&mut world);
    assert_eq!(world.tasks(id).iter().map(|task| task.id).collect::<Vec<_>>(), before, "not by anything else");
    world.update(id, |spec| spec.task.force_update += 1);
    rest(&mut world);
    assert_eq!(counts(&world, id), (2, 0));
    assert!(world.tasks(id).iter().all(|task| !before.contains(&task.id)));
}

#[test]
fn more_completions_can_be_asked_for_and_fewer() {
    let mut world = world(1);
    let id = world.create(several("work", 1, 2));
    rest(&mut world);
    let total = |total| {
        move |spec: &mut ServiceSpec| {
            spec.mode = ServiceMode::ReplicatedJob { max_concurrent: 3, total_completions: total };
        }
    };
    world.update(id, total(5));
    world.settle();
    assert_eq!(counts(&world, id), (2, 3), "what was done counts");
    world.update(id, total(3));
    world.settle();
    assert_eq!(counts(&world, id), (2, 1), "what is too many is stopped");
    rest(&mut world);
    assert_eq!(counts(&world, id), (3, 0));
}

#[test]
fn a_global_job_runs_once_on_each_node_and_on_one_that_joins() {
    let mut world = world(2);
    world.edit_node(2, |node| node.spec.availability = Availability::Drain);
    let id = world.create(job("work", ServiceMode::GlobalJob));
    rest(&mut world);
    let nodes = |world: &World| world.tasks(id).iter().filter_map(|task| task.node).collect::<Vec<_>>();
    assert_eq!(nodes(&world), [NodeId(1)]);
    world.change(vec![Change::Create(node(3).into())]);
    world.edit_node(2, |node| node.spec.availability = Availability::Active);
    rest(&mut world);
    assert_eq!(counts(&world, id), (3, 0));
    world.node_state(1, NodeState::Down);
    world.node_state(1, NodeState::Ready);
    rest(&mut world);
    assert_eq!(counts(&world, id), (3, 0), "once on each");
}

#[test]
fn a_global_job_that_a_drain_cut_short_runs_when_its_node_takes_tasks_again() {
    let mut world = world(1);
    let id = world.create(job("long", ServiceMode::GlobalJob));
    world.settle();
    world.edit_node(1, |node| node.spec.availability = Availability::Drain);
    rest(&mut world);
    assert_eq!(counts(&world, id), (0, 0));
    world.edit_node(1, |node| node.spec.availability = Availability::Active);
    world.fate("long", Fate::CompletesAfter(SECOND));
    rest(&mut world);
    assert_eq!(counts(&world, id), (1, 0));
}
