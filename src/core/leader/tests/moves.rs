use super::world::*;
use crate::ServiceId;
use crate::audit::{audit, audit_settled};
use crate::model::*;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn start_first(parallelism: u64) -> UpdateConfig {
    UpdateConfig { order: UpdateOrder::StartFirst, parallelism, ..UpdateConfig::default() }
}

/// A service whose tasks are up, in a world that checks the invariants.
fn up(world: &mut World, replicas: u64, config: UpdateConfig, edit: impl FnOnce(&mut ServiceSpec)) -> ServiceId {
    let mut spec = replicated("web", "web:1", replicas);
    spec.update = Some(config);
    spec.task.restart.delay = SECOND;
    edit(&mut spec);
    let web = world.create(spec);
    world.settle();
    world.watch = Some(Box::new(|view| assert_eq!(audit(view), [])));
    web
}

fn drain(world: &mut World, id: u128) {
    world.edit_node(id, |node| node.spec.availability = Availability::Drain);
}

/// Fails when fewer than `least` of the service's tasks run.
fn never_below(world: &mut World, id: ServiceId, least: usize) {
    world.watch = Some(Box::new(move |view| {
        assert_eq!(audit(view), []);
        let running = view.tasks_of_service(id).filter(|task| task.status.state == TaskState::Running).count();
        assert!(running >= least, "{running} running");
    }));
}

#[test]
fn draining_brings_the_new_up_before_the_old_stops_where_updates_start_first() {
    let mut world = World::new(3);
    let web = up(&mut world, 6, start_first(1), |_| {});
    never_below(&mut world, web, 6);
    drain(&mut world, 3);
    world.settle();
    assert_eq!(world.spread(web), [(1, 3), (2, 3)].into());
    assert_eq!(audit_settled(&world.view()), []);
    assert_eq!(world.tasks(web).iter().filter(|task| task.origin == TaskOrigin::Move).count(), 2);
}

#[test]
fn a_task_whose_node_no_longer_satisfies_its_constraints_is_moved_the_same_way() {
    let mut world = World::new(2);
    for id in 1..=2 {
        world.edit_node(id, |node| drop(node.spec.labels.insert("disk".into(), "ssd".into())));
    }
    let constraint = |spec: &mut ServiceSpec| spec.task.placement.constraints = vec!["node.labels.disk==ssd".into()];
    let web = up(&mut world, 2, start_first(1), constraint);
    never_below(&mut world, web, 2);
    world.edit_node(2, |node| node.spec.labels.clear());
    world.settle();
    assert_eq!(world.spread(web), [(1, 2)].into());
}

#[test]
fn no_more_move_at_once_than_an_update_would_replace() {
    for (parallelism, most) in [(1, 1), (2, 2), (0, 4)] {
        let mut world = World::new(2);
        let web = up(&mut world, 8, start_first(parallelism), |_| {});
        drain(&mut world, 2);
        world.lead();
        let moving = world.tasks(web).iter().filter(|task| task.origin == TaskOrigin::Move).count();
        assert_eq!(moving, most);
        world.settle();
        assert_eq!(world.spread(web), [(1, 8)].into());
    }
}

#[test]
fn what_finds_no_other_node_goes_on_where_it_is_and_says_why() {
    let mut world = World::new(2);
    let wants = |spec: &mut ServiceSpec| spec.task.resources.reservations.memory_bytes = 5 << 30;
    let web = up(&mut world, 2, start_first(1), wants);
    drain(&mut world, 2);
    world.settle();
    assert_eq!(world.spread(web), [(1, 1), (2, 1)].into());
    let waiting: Vec<_> = world.tasks(web).into_iter().filter(|task| task.status.state == TaskState::Pending).collect();
    assert_eq!(waiting.len(), 1);
    assert!(waiting[0].status.err.contains("memory"), "{}", waiting[0].status.err);
    assert_eq!(audit_settled(&world.view()), []);
    world.edit_node(1, |node| {
        if let Some(description) = &mut node.description {
            description.resources.memory_bytes = 16 << 30;
        }
    });
    world.settle();
    assert_eq!(world.spread(web), [(1, 2)].into());
}

#[test]
fn a_move_that_found_no_place_is_forgotten_when_the_node_is_no_longer_drained() {
    let mut world = World::new(2);
    let wants = |spec: &mut ServiceSpec| spec.task.resources.reservations.memory_bytes = 5 << 30;
    let web = up(&mut world, 2, start_first(1), wants);
    let before: Vec<_> = world.running(web).iter().map(|task| task.id).collect();
    drain(&mut world, 2);
    world.settle();
    world.edit_node(2, |node| node.spec.availability = Availability::Active);
    world.settle();
    assert_eq!(world.running(web).iter().map(|task| task.id).collect::<Vec<_>>(), before);
    assert_eq!(world.tasks(web).iter().filter(|task| task.is_wanted()).count(), 2);
}

#[test]
fn a_new_task_that_does_not_come_up_is_tried_again_after_the_delay_while_the_old_serves() {
    let mut world = World::new(2);
    let policy = |spec: &mut ServiceSpec| spec.task.restart.max_attempts = 2;
    let web = up(&mut world, 1, start_first(1), policy);
    let node = world.running(web)[0].node.expect("a node");
    never_below(&mut world, web, 1);
    world.fate("web:1", Fate::CannotStart);
    drain(&mut world, node.0);
    world.settle();
    let made = |world: &World| world.tasks(web).last().expect("a task").restarts.total;
    assert_eq!(made(&world), 1, "not in a tight loop");
    world.pass(10 * SECOND);
    assert!((8..=12).contains(&made(&world)), "{} tries in 10 s with a delay of 1 s", made(&world));
    world.fate("web:1", Fate::Runs);
    world.pass(2 * SECOND);
    assert_eq!(world.running(web).len(), 1);
    assert_ne!(world.running(web)[0].node, Some(node));
}

#[test]
fn an_old_task_that_ends_while_it_is_moved_is_followed_by_the_new_one_alone() {
    let mut world = World::new(2);
    let web = up(&mut world, 1, start_first(1), |_| {});
    let old = world.running(web)[0].clone();
    drain(&mut world, old.node.expect("a node").0);
    world.lead();
    let status = TaskStatus { state: TaskState::Failed, ..TaskStatus::default() };
    world.change(vec![crate::store::Change::TaskStatus { task: old.id, status }]);
    world.settle();
    assert_eq!(world.tasks(web).iter().filter(|task| task.is_wanted()).count(), 1);
    assert_eq!(world.running(web).len(), 1);
}

#[test]
fn a_moved_task_stays_the_version_it_was_while_an_update_is_paused() {
    let mut world = World::new(2);
    let web = up(&mut world, 2, start_first(1), |spec| spec.task.restart.max_attempts = 1);
    world.fate("web:2", Fate::Rejected);
    world.update(web, |spec| spec.task.container.image = "web:2".into());
    world.pass(5 * SECOND);
    assert_eq!(world.update_state(web).map(|(state, _)| state), Some(UpdateState::Paused));
    never_below(&mut world, web, 2);
    drain(&mut world, 2);
    world.pass(5 * SECOND);
    let running = world.running(web);
    assert!(running.iter().all(|task| task.spec.container.image == "web:1"));
    assert_eq!(world.spread(web), [(1, 2)].into());
}

#[test]
fn an_update_takes_its_slots_off_a_drained_node_itself() {
    let mut world = World::new(2);
    let web = up(&mut world, 2, start_first(0), |_| {});
    world.update(web, |spec| spec.task.container.image = "web:2".into());
    drain(&mut world, 2);
    never_below(&mut world, web, 2);
    world.settle();
    assert_eq!(world.spread(web), [(1, 2)].into());
    assert_eq!(world.tasks(web).iter().filter(|task| task.origin == TaskOrigin::Move).count(), 0);
}

#[test]
fn what_may_not_be_there_twice_stops_first() {
    for edit in
        [(|spec: &mut ServiceSpec| spec.update = Some(UpdateConfig::default())) as fn(&mut ServiceSpec), |spec| {
            spec.update = None
        }]
    {
        let mut world = World::new(2);
        world.stop_time = SECOND;
        let web = up(&mut world, 2, start_first(1), edit);
        drain(&mut world, 2);
        world.settle();
        assert_eq!(world.running(web).len(), 1);
        world.pass(2 * SECOND);
        assert_eq!(world.spread(web), [(1, 2)].into());
    }
}

#[test]
fn a_singleton_stops_before_it_starts_elsewhere() {
    let mut world = World::new(2);
    world.stop_time = SECOND;
    let web = up(&mut world, 1, start_first(1), |_| {});
    world.overwrite(web, |spec| spec.task.at_most_one = Some(30 * SECOND));
    let node = world.running(web)[0].node.expect("a node");
    drain(&mut world, node.0);
    world.settle();
    assert_eq!(world.running(web).len(), 0);
}

#[test]
fn a_port_of_the_host_is_taken_over_only_on_another_node() {
    let host_port = |spec: &mut ServiceSpec| {
        let port =
            PortConfig { target_port: 80, published_port: 8080, mode: PublishMode::Host, ..PortConfig::default() };
        spec.endpoint.ports = vec![port];
    };
    let mut world = World::new(1);
    let web = up(&mut world, 1, start_first(1), host_port);
    world.update(web, |spec| spec.task.container.image = "web:2".into());
    world.settle();
    assert_eq!(world.running(web)[0].spec.container.image, "web:1");
    let waiting = world.tasks(web).pop().expect("the new one");
    assert_eq!(waiting.status.err, "no node fits: 1 have host port 8080/tcp in use");
    world.change(vec![crate::store::Change::Create(node(2).into())]);
    world.pass(SECOND);
    assert_eq!((world.running(web)[0].spec.container.image.as_str(), world.spread(web)), ("web:2", [(2, 1)].into()));
    drain(&mut world, 2);
    world.settle();
    assert_eq!(world.spread(web), [(1, 1)].into());
}

#[test]
fn a_node_that_is_lost_while_it_is_drained_is_not_waited_for() {
    let mut world = World::new(3);
    let web = up(&mut world, 6, start_first(1), |_| {});
    drain(&mut world, 3);
    world.lead();
    world.node_state(3, NodeState::Down);
    world.settle();
    assert_eq!(world.spread(web), [(1, 3), (2, 3)].into());
    assert_eq!(audit_settled(&world.view()), []);
}

#[test]
fn an_old_task_that_is_not_ready_for_a_while_goes_on_until_the_new_one_is_up() {
    let mut world = World::new(2);
    let web = up(&mut world, 1, start_first(1), |_| {});
    let old = world.running(web)[0].clone();
    world.fate("web:1", Fate::ReadyAfter(30 * SECOND));
    never_below(&mut world, web, 1);
    drain(&mut world, old.node.expect("a node").0);
    world.settle();
    let container = ContainerStatus { ready: Some(false), ..ContainerStatus::default() };
    let status = TaskStatus {
        state: TaskState::Running,
        timestamp: world.now,
        container: Some(container),
        ..old.status.clone()
    };
    world.change(vec![crate::store::Change::TaskStatus { task: old.id, status }]);
    world.settle();
    assert!(world.running(web).iter().any(|task| task.id == old.id), "it is told to stop");
    world.pass(40 * SECOND);
    let left: Vec<_> = world.running(web).iter().map(|task| task.id).collect();
    assert!(left.len() == 1 && left[0] != old.id, "{left:?}");
}

#[test]
fn a_drained_node_is_left_also_where_an_update_was_overtaken_by_one_that_waits() {
    let mut world = World::new(3);
    let id = up(&mut world, 2, start_first(2), |_| ());
    world.fate("web:2", Fate::ReadyAfter(10 * SECOND));
    world.update(id, |spec| spec.task.container.image = "web:2".into());
    world.settle();
    world.update(id, |spec| {
        spec.task.container.image = "web:3".into();
        spec.task.resources.reservations.nano_cpus = 64_000_000_000;
        spec.update = Some(start_first(1));
    });
    world.settle();
    let old = |world: &World| {
        let mut tasks = world.tasks(id).into_iter();
        tasks.find(|task| task.slot == 2 && task.spec.container.image == "web:1" && task.is_wanted())
    };
    let from = old(&world).and_then(|task| task.node).expect("the first version serves on").0;
    drain(&mut world, from);
    world.pass(20 * SECOND);
    assert_eq!(old(&world), None, "its successor is up elsewhere");
    assert!(world.running(id).iter().any(|task| task.slot == 2), "and serves");
}
