use super::world::*;
use crate::audit::audit;
use crate::control;
use crate::model::*;
use crate::plan::waiting_reason;
use crate::store::{Change, ObjectRef};
use crate::{NodeId, ServiceId, TaskId};
use std::sync::Arc;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn world(nodes: u128) -> World {
    let mut world = World::new(nodes);
    world.watch = Some(Box::new(|view| assert_eq!(audit(view), [])));
    world
}

fn single() -> ServiceSpec {
    let mut spec = replicated("db", "db:1", 1);
    spec.task.at_most_one = Some(30 * SECOND);
    spec
}

fn only(world: &World, id: ServiceId) -> Arc<Task> {
    let running = world.running(id);
    assert_eq!(running.len(), 1);
    Arc::clone(&running[0])
}

/// What dispatch says when the lease has passed.
fn over(world: &mut World, task: TaskId) {
    let status = TaskStatus { state: TaskState::Orphaned, ..TaskStatus::default() };
    world.change(vec![Change::TaskStatus { task, status }]);
}

/// What the tasks that are to start say.
fn reasons(world: &World, id: ServiceId) -> Vec<String> {
    let waiting = |task: &Arc<Task>| waiting_reason(&world.view(), task, world.now);
    world.tasks(id).iter().filter_map(waiting).collect()
}

#[test]
fn a_task_of_a_lost_node_is_followed_by_one_that_is_prepared_and_waits_until_it_is_over() {
    let mut world = world(2);
    let id = world.create(single());
    world.settle();
    let first = only(&world, id);
    world.node_state(first.node.expect("a node").0, NodeState::Down);
    world.pass(Duration::from_secs(3 * 24 * 3600));
    assert_eq!(world.running(id).len(), 0, "however long it takes: no clock of the plan ends it");
    let next = world.tasks(id).pop().expect("the next");
    assert_eq!((next.status.state, next.desired), (TaskState::Ready, TaskState::Ready));
    let said = reasons(&world, id);
    assert_eq!(
        said,
        [format!(
            "waits for {} to be over: node host{} is lost, and it may run there for 46 s after that",
            first.name(),
            first.node.expect("a node").0
        )]
    );
    over(&mut world, first.id);
    world.settle();
    assert_eq!(only(&world, id).id, next.id);
}

#[test]
fn a_node_that_was_removed_is_waited_for_like_one_that_is_lost() {
    let mut world = world(2);
    let id = world.create(single());
    world.settle();
    let first = only(&world, id);
    let node = first.node.expect("a node");
    world.node_state(node.0, NodeState::Down);
    world.change(vec![Change::Delete(ObjectRef::Node(node))]);
    world.settle();
    assert_eq!(world.view().task(first.id).expect("still known").status.state, TaskState::Running);
    assert!(
        reasons(&world, id)[0].contains("its node was removed, and it may run there for 46 s after that"),
        "{:?}",
        reasons(&world, id)
    );
    over(&mut world, first.id);
    world.settle();
    assert_eq!(only(&world, id).node, Some(NodeId(3 - node.0)));
}

#[test]
fn drain_update_and_scaling_each_wait_until_the_last_task_says_that_it_is_over() {
    let mut world = world(2);
    world.stop_time = Duration::from_secs(600);
    let id = world.create(single());
    world.settle();
    let mut before = only(&world, id);
    let steps: [fn(&mut World, ServiceId, u128); 3] = [
        |world, _, node| world.edit_node(node, |node| node.spec.availability = Availability::Drain),
        |world, id, _| world.update(id, |spec| spec.task.container.image = "db:2".into()),
        |world, id, _| {
            world.update(id, |spec| spec.mode = ServiceMode::Replicated { replicas: 0 });
            world.settle();
            world.update(id, |spec| spec.mode = ServiceMode::Replicated { replicas: 1 });
        },
    ];
    for step in steps {
        step(&mut world, id, before.node.expect("a node").0);
        world.pass(Duration::from_secs(500));
        let said = reasons(&world, id);
        assert!(said[0].ends_with("to be over") && said[0].contains(" on node host"), "{said:?}");
        world.pass(Duration::from_secs(110));
        let now = only(&world, id);
        assert_ne!(now.id, before.id);
        before = now;
    }
}

#[test]
fn a_task_without_a_lease_on_a_lost_node_is_not_waited_for() {
    let mut world = world(2);
    world.watch = None;
    let id = world.create(replicated("db", "db:1", 1));
    world.settle();
    let first = world.running(id).remove(0);
    world.node_state(first.node.expect("a node").0, NodeState::Down);
    world.update(id, |spec| spec.task.at_most_one = Some(30 * SECOND));
    world.settle();
    let current = world.running(id).into_iter().filter(|task| task.spec.at_most_one.is_some());
    assert_eq!(current.count(), 1, "nothing would ever tell that it is over");
}

#[test]
fn what_would_have_two_tasks_is_refused() {
    let world = World::new(1);
    let refused = |edit: fn(&mut ServiceSpec)| {
        let mut spec = single();
        edit(&mut spec);
        control::create_service(&world.view(), spec, ServiceId(9), world.now).unwrap_err().to_string()
    };
    assert_eq!(
        refused(|spec| spec.mode = ServiceMode::Replicated { replicas: 2 }),
        "Swarm.AtMostOne: the service has 2 replicas: set Mode.Replicated.Replicas to 1"
    );
    assert!(refused(|spec| spec.mode = ServiceMode::Global).starts_with("Swarm.AtMostOne: only for services in"));
    let order = |spec: &mut ServiceSpec| {
        spec.update = Some(UpdateConfig { order: UpdateOrder::StartFirst, ..UpdateConfig::default() });
    };
    assert!(refused(order).starts_with("UpdateConfig.Order: start-first would have two tasks"));
    assert_eq!(
        refused(|spec| spec.task.at_most_one = Some(SECOND)),
        "Swarm.AtMostOne: a lease of 1s is out of range, use 5s to 3600s"
    );
}

#[test]
fn a_node_that_takes_tasks_again_while_one_stops_does_not_get_a_second_beside_it() {
    let job = ServiceSpec {
        task: TaskSpec {
            restart: RestartPolicy { condition: RestartCondition::OnFailure, ..RestartPolicy::default() },
            ..global("web", "web:1").task
        },
        mode: ServiceMode::GlobalJob,
        ..global("web", "web:1")
    };
    for spec in [global("web", "web:1"), job] {
        let mut world = world(1);
        world.stop_time = 5 * SECOND;
        let web = world.create(spec);
        world.settle();
        for availability in [Availability::Drain, Availability::Active] {
            world.edit_node(1, |node| node.spec.availability = availability);
            world.settle();
        }
        let states = |world: &World| -> Vec<(TaskState, TaskState)> {
            world.tasks(web).iter().map(|task| (task.status.state, task.desired)).collect()
        };
        let ready = (TaskState::Ready, TaskState::Ready);
        assert_eq!(states(&world), [(TaskState::Running, TaskState::Shutdown), ready]);
        world.pass(5 * SECOND);
        assert_eq!(world.running(web).len(), 1);
    }
}
