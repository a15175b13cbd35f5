//! What the leader keeps between steps. That it comes to the same as looking at everything is asserted in
//! every step of the other tests, see `World::lead`.

use super::world::*;
use crate::WallTime;
use crate::leader::Ledger;
use crate::model::*;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// A task that failed and waits 5 s until it is started again.
fn waits_to_restart() -> (World, crate::ServiceId, WallTime) {
    let mut world = World::new(2);
    world.fate("crash:1", Fate::FailsAfter(SECOND));
    let crash = world.create(replicated("crash", "crash:1", 1));
    world.wait(60 * SECOND, |view| view.tasks_of_service(crash).any(|task| task.start_after.is_some()));
    let due = world.wake_at.expect("the delay");
    assert!(due > world.now);
    (world, crash, due)
}

#[test]
fn a_service_that_waits_is_not_forgotten_while_others_are_looked_at() {
    let (mut world, crash, due) = waits_to_restart();
    let web = world.create(replicated("web", "web:1", 1));
    for replicas in 2..6 {
        world.update(web, |spec| spec.mode = ServiceMode::Replicated { replicas });
        world.settle();
        assert_eq!(world.wake_at, Some(due), "the other service has nothing to wait for");
    }
    world.now = due;
    world.settle();
    assert_eq!(world.running(crash).len(), 1);
}

#[test]
fn a_time_that_was_waited_for_is_forgotten_with_its_service() {
    let (mut world, crash, _) = waits_to_restart();
    world.remove(crash);
    world.settle();
    assert_eq!(world.wake_at, None);
}

#[test]
fn a_clock_that_was_set_back_is_noticed_by_the_next_look() {
    let (mut world, crash, _) = waits_to_restart();
    world.now = WallTime(world.now.0 - 3_600_000);
    world.settle();
    assert_eq!(world.running(crash).len(), 1, "started rather than an hour and 5 s later");
}

#[test]
fn what_was_decided_and_not_written_is_decided_again() {
    let mut world = World::new(2);
    let web = world.create(replicated("web", "web:1", 3));
    let (mut ledger, view) = (Ledger::default(), world.view());
    let first = ledger.step(&view, world.now, &mut world.rng.clone());
    assert!(!first.txns.is_empty());
    assert_eq!(ledger.step(&view, world.now, &mut world.rng.clone()), first, "nothing of it was written");
    world.apply(&first.txns[0]);
    assert_eq!(world.tasks(web).len(), 3);
    assert!(ledger.step(&world.view(), world.now, &mut world.rng).txns.is_empty(), "all of it was");
}

#[test]
fn while_much_is_deployed_what_is_there_is_placed_and_no_service_is_left_out() {
    let mut world = World::new(3);
    let subnet = IpamSubnet { subnet: "10.9.0.0/16".parse().unwrap(), gateway: None, range: None };
    let large = world.network(NetworkSpec { name: "large".into(), ipam: vec![subnet], ..NetworkSpec::default() });
    let spec = |n: u32| {
        let mut spec = replicated(&format!("s{n}"), "web:1", 500);
        spec.task.networks =
            vec![NetworkTarget { target: large, aliases: Vec::new(), driver_options: Default::default() }];
        spec
    };
    let services: Vec<_> = (0..12).map(|n| world.create(spec(n))).collect();
    let mut ledger = Ledger::default();
    for _ in 0..2 {
        let step = ledger.step(&world.view(), world.now, &mut world.rng);
        step.txns.iter().for_each(|txn| world.apply(txn));
    }
    assert!(services.iter().all(|id| !world.tasks(*id).is_empty()), "each has begun");
    let placed = world.view().tasks().filter(|task| task.node.is_some()).count();
    assert!(placed > 1000, "{placed} placed");
}
