//! Evening out what runs where.

use super::world::*;
use crate::audit::{audit, audit_settled};
use crate::model::*;
use crate::plan::{Shift, rebalance, rebalance_round};
use crate::scheduler::Board;
use crate::store::Change;
use crate::{NodeId, ServiceId};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// A world that moves so many tasks per minute.
fn world(nodes: u128, per_minute: u32) -> World {
    let mut world = World::new(nodes);
    world.settings(|spec| spec.rebalance_moves_per_minute = per_minute);
    world.watch = Some(Box::new(|view| assert_eq!(audit(view), [])));
    world
}

fn start_first(name: &str, replicas: u64) -> ServiceSpec {
    let update = UpdateConfig { order: UpdateOrder::StartFirst, parallelism: 0, ..UpdateConfig::default() };
    ServiceSpec { update: Some(update), ..replicated(name, "web:1", replicas) }
}

fn up(world: &mut World, spec: ServiceSpec) -> ServiceId {
    let id = world.create(spec);
    world.settle();
    id
}

fn shifts(world: &World) -> Vec<Shift> {
    let view = world.view();
    rebalance(&view, &Board::of(&view), world.now, usize::MAX)
}

fn join(world: &mut World, id: u128) {
    world.change(vec![Change::Create(node(id).into())]);
}

#[test]
fn a_node_that_joins_gets_its_share_within_the_budget_and_nothing_stops_before_another_is_up() {
    let mut world = world(2, 2);
    let web = up(&mut world, start_first("web", 9));
    world.watch = Some(Box::new(move |view| {
        assert_eq!(audit(view), []);
        let running = view.tasks_of_service(web).filter(|task| task.status.state == TaskState::Running).count();
        assert!(running >= 9, "{running} running");
    }));
    join(&mut world, 3);
    world.settle();
    assert_eq!(world.spread(web)[&3], 2, "two in the first minute");
    world.pass(59 * SECOND);
    assert_eq!(world.spread(web)[&3], 2);
    world.pass(2 * SECOND);
    assert_eq!(world.spread(web), [(1, 3), (2, 3), (3, 3)].into());
    world.pass(600 * SECOND);
    assert_eq!(world.tasks(web).iter().filter(|task| task.origin == TaskOrigin::Move).count(), 3, "there is an end");
    assert_eq!(audit_settled(&world.view()), []);
}

#[test]
fn it_is_off_unless_there_is_a_budget() {
    let mut world = world(1, 0);
    let web = up(&mut world, start_first("web", 4));
    join(&mut world, 2);
    world.pass(120 * SECOND);
    assert_eq!(world.spread(web), [(1, 4)].into());
    assert_eq!(shifts(&world).len(), 2, "it can be asked what would be moved");
}

#[test]
fn a_round_that_is_asked_for_moves_what_was_shown() {
    let mut world = world(1, 0);
    let web = up(&mut world, start_first("web", 4));
    join(&mut world, 2);
    let (shown, txn) = rebalance_round(&world.view(), world.now, 41);
    assert_eq!(shown, shifts(&world));
    world.apply(&txn);
    world.settle();
    assert_eq!(world.spread(web), [(1, 2), (2, 2)].into());
    assert_eq!(rebalance_round(&world.view(), world.now, 42).0, []);
}

#[test]
fn only_what_can_be_started_first_is_moved() {
    let mut world = world(1, 100);
    let stop_first = up(&mut world, replicated("db", "db:1", 4));
    let agent = up(&mut world, global("agent", "agent:1"));
    join(&mut world, 2);
    world.pass(120 * SECOND);
    assert_eq!(world.spread(stop_first), [(1, 4)].into());
    assert_eq!(world.spread(agent), [(1, 1), (2, 1)].into());
}

#[test]
fn nothing_moves_for_less_than_two() {
    let mut world = world(2, 100);
    up(&mut world, start_first("web", 3));
    assert_eq!(shifts(&world), []);
}

#[test]
fn single_tasks_of_many_services_go_from_the_fullest_node_to_the_emptiest() {
    let mut world = world(1, 100);
    let services: Vec<ServiceId> = (0..6).map(|n| up(&mut world, start_first(&format!("s{n}"), 1))).collect();
    join(&mut world, 2);
    let why = &shifts(&world)[0].why;
    assert_eq!(why, "host1 has 6 tasks (1 of it), host2 has 0 tasks (0 of it)");
    world.settle();
    let on_2 = services.iter().filter(|id| world.spread(**id).contains_key(&2)).count();
    assert_eq!(on_2, 3);
}

#[test]
fn what_a_service_is_spread_over_becomes_even_first() {
    let mut world = world(3, 100);
    for (id, zone) in [(1, "a"), (2, "a"), (3, "a")] {
        world.edit_node(id, |node| drop(node.spec.labels.insert("zone".into(), zone.into())));
    }
    let mut spec = start_first("web", 6);
    spec.task.placement.spread = vec!["node.labels.zone".into()];
    let web = up(&mut world, spec);
    let mut fourth = node(4);
    fourth.spec.labels.insert("zone".into(), "b".into());
    world.change(vec![Change::Create(fourth.into())]);
    world.settle();
    assert_eq!(world.spread(web).get(&4), Some(&3), "half of it in each zone");
    assert_eq!(shifts(&world), []);
}

#[test]
fn a_node_that_does_not_take_a_task_gets_none() {
    let mut world = world(1, 100);
    let mut spec = start_first("web", 4);
    spec.task.placement.constraints = vec!["node.hostname!=host2".into()];
    let web = up(&mut world, spec);
    join(&mut world, 2);
    join(&mut world, 3);
    world.edit_node(3, |node| node.spec.availability = Availability::Pause);
    world.pass(120 * SECOND);
    assert_eq!(world.spread(web), [(1, 4)].into());
}

#[test]
fn a_cluster_that_packs_is_not_evened_out() {
    let mut world = world(1, 100);
    up(&mut world, start_first("web", 4));
    world.settings(|spec| spec.binpack = true);
    join(&mut world, 2);
    assert_eq!(shifts(&world), []);
}

#[test]
fn a_move_whose_new_task_fails_leaves_the_old_where_it_is() {
    let mut world = world(1, 2);
    let web = up(&mut world, start_first("web", 4));
    world.fate("web:1", Fate::CannotStart);
    join(&mut world, 2);
    world.pass(10 * SECOND);
    assert_eq!(world.running(web).len(), 4);
    let tries = world.view().tasks_of_node(NodeId(2)).count();
    assert!(tries <= 2, "{tries} tries with a budget of 2 a minute");
    world.fate("web:1", Fate::Runs);
    world.pass(120 * SECOND);
    assert_eq!(world.running(web).len(), 4);
}

#[test]
fn what_moved_in_vain_is_not_moved_again_within_the_time_of_the_budget_however_short_the_history() {
    let mut world = world(1, 100);
    world.settings(|spec| spec.task_history_limit = 1);
    let web = up(&mut world, start_first("web", 4));
    world.fate("web:1", Fate::CannotStart);
    join(&mut world, 2);
    world.pass(50 * SECOND);
    let tries = world.view().tasks_of_node(NodeId(2)).count();
    assert!((1..=4).contains(&tries), "{tries} tries for 4 tasks");
    world.fate("web:1", Fate::Runs);
    // What failed there keeps them off the node for a while.
    world.pass(400 * SECOND);
    assert_eq!(world.spread(web), [(1, 2), (2, 2)].into());
    world.pass(400 * SECOND);
    let history = world.tasks(web).len();
    assert!(history <= 6, "{history} tasks: what is of no use any more is forgotten");
    assert_eq!(audit_settled(&world.view()), []);
}

#[test]
fn a_task_older_than_a_new_constraint_is_not_moved_to_where_its_follower_may_not_be() {
    let mut world = world(1, 100);
    let web = up(&mut world, start_first("web", 4));
    world.update(web, |spec| spec.task.placement.constraints = vec!["node.hostname!=host2".into()]);
    world.settle();
    join(&mut world, 2);
    world.pass(120 * SECOND);
    assert_eq!(world.spread(web), [(1, 4)].into());
    assert_eq!(world.tasks(web).len(), 4, "none was replaced by the update, none moved");
}

#[test]
fn a_task_older_than_the_end_of_a_constraint_is_moved_to_where_its_follower_may_be() {
    let mut world = world(2, 0);
    let mut spec = start_first("web", 4);
    spec.task.placement.constraints = vec!["node.hostname==host1".into()];
    let web = up(&mut world, spec);
    world.update(web, |spec| spec.task.placement.constraints = Vec::new());
    world.settle();
    assert_eq!(world.spread(web), [(1, 4)].into(), "none was replaced");
    assert_eq!(shifts(&world).len(), 2);
}

#[test]
fn a_move_for_which_there_are_no_addresses_is_given_up_and_the_leader_comes_to_rest() {
    let mut world = world(1, 100);
    world.settings(|spec| spec.task_history_limit = 1);
    let subnet = IpamSubnet { subnet: "10.9.0.0/29".parse().unwrap(), gateway: None, range: None };
    let small = world.network(NetworkSpec { name: "small".into(), ipam: vec![subnet], ..Default::default() });
    let mut spec = start_first("web", 9);
    spec.task.networks = vec![NetworkTarget { target: small, aliases: Vec::new(), driver_options: Default::default() }];
    let web = up(&mut world, spec);
    let before = world.running(web).len();
    assert!(before < 9, "the network is full");
    join(&mut world, 2);
    world.pass(120 * SECOND);
    assert_eq!(world.running(web).len(), before);
}

#[test]
fn zones_that_are_even_let_their_racks_become_even_and_there_is_an_end_to_it() {
    let racks = [("a", "a1", 3), ("a", "a2", 1), ("b", "b1", 3), ("b", "b2", 1)];
    let nodes = racks.iter().flat_map(|(zone, rack, count)| (0..*count).map(move |_| (*zone, *rack)));
    let nodes: Vec<(&str, &str)> = nodes.collect();
    let mut world = World::new(8);
    for (id, (zone, rack)) in (1..).zip(&nodes) {
        world.edit_node(id, |node| {
            node.spec.labels.insert("zone".into(), (*zone).into());
            node.spec.labels.insert("rack".into(), (*rack).into());
        });
    }
    let mut spec = start_first("web", 9);
    spec.task.placement.spread = vec!["node.labels.zone".into(), "node.labels.rack".into()];
    let web = up(&mut world, spec);
    world.settings(|spec| spec.rebalance_moves_per_minute = 100);
    for joins in [9, 10] {
        let mut node = node(joins);
        node.spec.labels.insert("zone".into(), "a".into());
        node.spec.labels.insert("rack".into(), "a1".into());
        world.change(vec![Change::Create(node.into())]);
        world.pass(600 * SECOND);
        assert_eq!(shifts(&world), []);
    }
    let of_rack = |rack: &str| -> usize {
        let view = world.view();
        let on = world.spread(web).into_iter();
        on.filter(|(id, _)| view.node(NodeId(*id)).unwrap().spec.labels["rack"] == rack).map(|(_, count)| count).sum()
    };
    let counts = ["a1", "a2", "b1", "b2"].map(of_rack);
    assert!(counts.iter().all(|count| (2..=3).contains(count)), "{counts:?}");
    assert!(world.tasks(web).iter().filter(|task| task.origin == TaskOrigin::Move).count() <= 9);
}

#[test]
fn a_zone_gets_its_share_though_the_emptiest_nodes_are_all_in_another() {
    let mut world = world(10, 100);
    for id in 1..=10 {
        world.edit_node(id, |node| drop(node.spec.labels.insert("zone".into(), "a".into())));
    }
    let mut spec = start_first("web", 6);
    spec.task.placement.spread = vec!["node.labels.zone".into()];
    let web = up(&mut world, spec);
    let mut other = node(11);
    other.spec.labels.insert("zone".into(), "b".into());
    world.settings(|spec| spec.rebalance_moves_per_minute = 0);
    world.change(vec![Change::Create(other.into())]);
    let mut full = replicated("full", "web:1", 5);
    full.task.placement.constraints = vec!["node.hostname==host11".into()];
    up(&mut world, full);
    world.settings(|spec| spec.rebalance_moves_per_minute = 100);
    world.pass(120 * SECOND);
    assert_eq!(world.spread(web).get(&11), Some(&3), "half of it in each zone");
    assert_eq!(shifts(&world), []);
}

#[test]
fn whether_nodes_can_be_evened_out_is_not_asked_for_each_task_that_fails() {
    let mut world = world(2, 100);
    let web = up(&mut world, start_first("web", 4));
    world.pass(200 * SECOND);
    assert_eq!(world.wake_at, None, "at rest");
    let fail = |world: &mut World| {
        let task = world.running(web)[0].id;
        let status = TaskStatus { state: TaskState::Failed, ..TaskStatus::default() };
        world.change(vec![Change::TaskStatus { task, status }]);
        world.settle();
    };
    fail(&mut world);
    let failed = world.now;
    world.pass(30 * SECOND);
    assert_eq!(world.running(web).len(), 4);
    assert_eq!(world.wake_at, Some(failed + 60 * SECOND), "a minute later");
    fail(&mut world);
    world.pass(20 * SECOND);
    assert_eq!(world.wake_at, Some(failed + 60 * SECOND), "once for all of that minute");
    join(&mut world, 3);
    world.lead();
    assert!(world.tasks(web).iter().any(|task| task.origin == TaskOrigin::Move), "at once when a node joins");
}

#[test]
fn tasks_do_not_move_for_their_number_to_a_node_of_which_more_is_in_use() {
    let mut world = world(2, 0);
    let mut large = replicated("large", "db:1", 1);
    large.task.resources.reservations.nano_cpus = 3_500_000_000;
    up(&mut world, large);
    for n in 0..4 {
        up(&mut world, start_first(&format!("s{n}"), 1));
    }
    let view = world.view();
    assert_eq!([1, 2].map(|node| view.tasks_of_node(NodeId(node)).count()), [1, 4]);
    assert_eq!(shifts(&world), []);
}
