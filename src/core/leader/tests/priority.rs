//! Tasks that make room for others.

use super::world::*;
use crate::ServiceId;
use crate::audit::{audit, audit_settled};
use crate::model::*;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// A world of `nodes` with 8 GiB each in which priorities count.
fn world(nodes: u128) -> World {
    let mut world = World::new(nodes);
    world.stop_time = SECOND;
    world.settings(|spec| spec.preemption = true);
    world.watch = Some(Box::new(|view| assert_eq!(audit(view), [])));
    world
}

fn service(world: &mut World, name: &str, replicas: u64, gib: i64, priority: i32) -> ServiceId {
    let mut spec = replicated(name, "web:1", replicas);
    spec.task.resources.reservations.memory_bytes = gib << 30;
    spec.task.placement.priority = priority;
    let id = world.create(spec);
    world.settle();
    id
}

fn wanted(world: &World, id: ServiceId) -> Vec<std::sync::Arc<Task>> {
    world.tasks(id).into_iter().filter(|task| task.is_wanted()).collect()
}

#[test]
fn a_more_important_task_takes_the_place_of_another_which_waits_and_says_for_whom() {
    let mut world = world(2);
    let low = service(&mut world, "low", 4, 4, 0);
    let high = service(&mut world, "high", 1, 6, 10);
    let waiting = &wanted(&world, high)[0];
    assert_eq!(waiting.status.err, "waits for tasks to stop on host1");
    world.pass(2 * SECOND);
    assert_eq!(world.running(high).len(), 1);
    assert_eq!(world.spread(low), [(2, 2)].into());
    let waiting: Vec<_> = wanted(&world, low).into_iter().filter(|task| task.node.is_none()).collect();
    assert_eq!(waiting.len(), 2);
    world.pass(30 * SECOND);
    let waiting: Vec<_> = wanted(&world, low).into_iter().filter(|task| task.node.is_none()).collect();
    let words = "preempted by high.1 (priority 10); no node fits: 2 lack memory (want 4 GiB, free 0, 2)";
    assert!(waiting.iter().all(|task| task.status.err == words), "{}", waiting[0].status.err);
    assert_eq!(audit_settled(&world.view()), []);
}

#[test]
fn what_made_room_comes_back_when_there_is_room_again_and_nothing_goes_to_and_fro() {
    let mut world = world(1);
    let low = service(&mut world, "low", 2, 4, 0);
    let high = service(&mut world, "high", 1, 4, 1);
    world.pass(600 * SECOND);
    assert_eq!((world.running(low).len(), world.running(high).len()), (1, 1));
    assert_eq!(world.tasks(low).len(), 3, "one stopped, one runs, one waits");
    world.remove(high);
    world.pass(2 * SECOND);
    assert_eq!(world.running(low).len(), 2);
}

#[test]
fn without_being_asked_to_the_cluster_leaves_every_task_its_place_and_the_more_important_waits_first() {
    let mut world = world(1);
    world.settings(|spec| spec.preemption = false);
    let low = service(&mut world, "low", 2, 4, 0);
    let later = service(&mut world, "later", 1, 4, 0);
    let high = service(&mut world, "high", 1, 4, 5);
    world.pass(10 * SECOND);
    assert_eq!(world.running(low).len(), 2);
    assert_eq!((world.running(later).len(), world.running(high).len()), (0, 0));
    world.update(low, |spec| spec.mode = ServiceMode::Replicated { replicas: 1 });
    world.pass(10 * SECOND);
    assert_eq!((world.running(later).len(), world.running(high).len()), (0, 1));
}

#[test]
fn the_task_of_a_global_service_comes_back_to_its_node() {
    let mut world = world(1);
    let mut spec = global("agent", "web:1");
    spec.task.resources.reservations.memory_bytes = 6 << 30;
    let agent = world.create(spec);
    world.settle();
    let high = service(&mut world, "high", 1, 6, 1);
    world.pass(2 * SECOND);
    assert_eq!((world.running(agent).len(), world.running(high).len()), (0, 1));
    let waiting = &wanted(&world, agent)[0];
    assert!(waiting.status.err.starts_with("preempted by high.1 (priority 1); no node fits: 1 lack memory"));
    world.remove(high);
    world.pass(2 * SECOND);
    assert_eq!(world.running(agent).len(), 1);
}
