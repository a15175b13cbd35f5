use super::world::*;
use crate::ServiceId;
use crate::audit::audit;
use crate::model::*;
use crate::plan::update_message;
use crate::store::View;
use std::collections::BTreeMap;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn settings(canary: u64) -> UpdateConfig {
    UpdateConfig { canary, monitor: 3 * SECOND, ..UpdateConfig::default() }
}

/// A service of `replicas` that runs, and then gets the image `web:2` with these settings.
fn begun(world: &mut World, replicas: u64, config: UpdateConfig) -> ServiceId {
    let mut spec = replicated("web", "web:1", replicas);
    spec.task.restart.delay = SECOND;
    let web = world.create(spec);
    world.settle();
    world.watch = Some(Box::new(|view| assert_eq!(audit(view), [])));
    world.update(web, |spec| {
        spec.task.container.image = "web:2".into();
        spec.update = Some(config);
    });
    web
}

/// An update as a client makes it that says nothing of canaries.
fn later(world: &mut World, id: ServiceId, edit: impl FnOnce(&mut ServiceSpec)) {
    world.update(id, |spec| {
        if let Some(update) = &mut spec.update {
            (update.canary, update.canary_promote_after) = (0, None);
        }
        edit(spec);
    });
}

fn images(world: &World, id: ServiceId) -> BTreeMap<String, usize> {
    let mut images = BTreeMap::new();
    for task in world.running(id) {
        *images.entry(task.spec.container.image.clone()).or_default() += 1;
    }
    images
}

fn both(one: usize, two: usize) -> BTreeMap<String, usize> {
    [("web:1".to_owned(), one), ("web:2".to_owned(), two)].into()
}

fn state(view: &View, id: ServiceId) -> Option<UpdateState> {
    view.service(id)?.update_status.as_ref().map(|status| status.state)
}

fn message(world: &World, id: ServiceId) -> String {
    update_message(&world.service(id), world.now).expect("a status")
}

#[test]
fn canaries_are_updated_and_the_rest_waits_for_a_person() {
    let mut world = World::new(3);
    let web = begun(&mut world, 5, settings(2));
    world.pass(35 * SECOND);
    assert_eq!(images(&world, web), both(3, 2));
    assert_eq!(state(&world.view(), web), Some(UpdateState::Updating));
    assert_eq!(
        message(&world, web),
        "canary: 2 of 5 updated; waits for \"swarm service promote web\" or \"swarm service rollback web\" (up for 35s)"
    );
    assert_eq!(world.wake_at, None);
    world.promote(web).expect("it waits");
    world.pass(20 * SECOND);
    assert_eq!(images(&world, web), [("web:2".into(), 5)].into());
    assert_eq!(world.update_state(web), Some((UpdateState::Completed, "update completed".into())));
    assert_eq!(world.promote(web), Err("service web has no canary that waits to be promoted".into()));
}

#[test]
fn canaries_that_are_not_wanted_go_back() {
    let mut world = World::new(3);
    let web = begun(&mut world, 5, settings(2));
    world.pass(10 * SECOND);
    world.rollback(web);
    assert!(world.wait(30 * SECOND, |view| state(view, web) == Some(UpdateState::RollbackCompleted)));
    assert_eq!(images(&world, web), [("web:1".into(), 5)].into());
    assert!(world.service(web).previous_spec.is_none(), "a second rollback does not bring them everywhere");
}

#[test]
fn canaries_that_stay_up_for_the_time_given_are_promoted() {
    let mut world = World::new(3);
    let config = UpdateConfig { canary_promote_after: Some(300 * SECOND), ..settings(2) };
    let web = begun(&mut world, 4, config);
    world.pass(299 * SECOND);
    assert_eq!(images(&world, web), both(2, 2));
    assert!(message(&world, web).contains("waits for 5m, \"swarm service promote web\""), "{}", message(&world, web));
    world.pass(SECOND);
    assert_eq!(images(&world, web), [("web:2".into(), 4)].into());
    world.pass(5 * SECOND);
    assert_eq!(state(&world.view(), web), Some(UpdateState::Completed));
}

#[test]
fn the_time_begins_anew_when_a_canary_goes_down() {
    let mut world = World::new(3);
    let config = UpdateConfig {
        canary_promote_after: Some(60 * SECOND),
        failure_action: FailureAction::Continue,
        ..settings(1)
    };
    let web = begun(&mut world, 3, config);
    world.fate("web:2", Fate::FailsAfter(50 * SECOND));
    world.pass(55 * SECOND);
    world.fate("web:2", Fate::Runs);
    world.pass(55 * SECOND);
    assert_eq!(images(&world, web), both(2, 1), "up for less than a minute");
    world.pass(10 * SECOND);
    assert_eq!(images(&world, web), [("web:2".into(), 3)].into());
}

#[test]
fn a_canary_that_fails_counts_for_as_long_as_it_waits() {
    for (action, expected) in
        [(FailureAction::Pause, UpdateState::Paused), (FailureAction::Rollback, UpdateState::RollbackCompleted)]
    {
        let mut world = World::new(3);
        // Half of the canaries, a tenth of the service: the ratio is of those that were tried.
        let config = UpdateConfig { failure_action: action, max_failure_ratio: 0.3, ..settings(2) };
        world.fate("web:2", Fate::FailsAfter(40 * SECOND));
        let web = begun(&mut world, 10, config);
        world.pass(30 * SECOND);
        assert_eq!(state(&world.view(), web), Some(UpdateState::Updating));
        world.pass(60 * SECOND);
        assert_eq!(state(&world.view(), web), Some(expected));
        let refused = world.promote(web).expect_err("not now");
        assert!(refused.contains("is paused") || refused.contains("has no canary"), "{refused}");
        assert!(images(&world, web)["web:1"] >= 8);
    }
}

#[test]
fn what_is_scaled_while_canaries_wait_gets_what_ran_before() {
    let mut world = World::new(3);
    let web = begun(&mut world, 4, settings(1));
    world.pass(10 * SECOND);
    later(&mut world, web, |spec| spec.mode = ServiceMode::Replicated { replicas: 8 });
    world.pass(10 * SECOND);
    assert_eq!(images(&world, web), both(7, 1));
    assert!(message(&world, web).ends_with("(up for 20s)"), "{}", message(&world, web));
    world.rollback(web);
    world.pass(60 * SECOND);
    assert_eq!(images(&world, web), [("web:1".into(), 8)].into(), "the number is kept");
}

#[test]
fn a_canary_is_for_one_update() {
    let mut world = World::new(3);
    let web = begun(&mut world, 4, settings(1));
    world.pass(10 * SECOND);
    later(&mut world, web, |spec| spec.task.container.image = "web:3".into());
    world.pass(60 * SECOND);
    assert_eq!(images(&world, web), [("web:3".into(), 4)].into());
    // What was never promoted is not what one goes back to.
    world.rollback(web);
    world.pass(60 * SECOND);
    assert_eq!(images(&world, web), [("web:1".into(), 4)].into());
}

#[test]
fn a_mended_canary_takes_the_place_of_the_one_before() {
    let mut world = World::new(3);
    world.fate("web:2", Fate::FailsAfter(SECOND));
    let web = begun(&mut world, 4, settings(2));
    world.pass(10 * SECOND);
    assert_eq!(state(&world.view(), web), Some(UpdateState::Paused));
    world.update(web, |spec| spec.task.container.image = "web:3".into());
    world.pass(20 * SECOND);
    assert_eq!(images(&world, web), [("web:1".into(), 2), ("web:3".into(), 2)].into());
    world.rollback(web);
    world.pass(60 * SECOND);
    assert_eq!(images(&world, web), [("web:1".into(), 4)].into());
}

#[test]
fn a_canary_that_loses_its_node_stays_one() {
    let mut world = World::new(3);
    let web = begun(&mut world, 3, settings(1));
    world.pass(10 * SECOND);
    let canary = world.running(web).into_iter().find(|task| task.spec.container.image == "web:2").expect("a canary");
    world.node_state(canary.node.expect("a node").0, NodeState::Down);
    world.pass(10 * SECOND);
    assert_eq!(images(&world, web), both(2, 1));
    assert_eq!(state(&world.view(), web), Some(UpdateState::Updating));
}

#[test]
fn a_global_service_has_canaries_and_waits_for_nodes_that_are_away() {
    let mut world = World::new(3);
    let agent = world.create(global("web", "web:1"));
    world.settle();
    [2, 3].into_iter().for_each(|node| world.node_state(node, NodeState::Down));
    world.update(agent, |spec| {
        spec.task.container.image = "web:2".into();
        spec.update = Some(settings(1));
    });
    world.pass(20 * SECOND);
    assert_eq!(state(&world.view(), agent), Some(UpdateState::Updating));
    [2, 3].into_iter().for_each(|node| world.node_state(node, NodeState::Ready));
    world.pass(20 * SECOND);
    assert_eq!(images(&world, agent), both(2, 1));
    // A node that joins is none of the canaries.
    world.change(vec![crate::store::Change::Create(node(4).into())]);
    world.pass(20 * SECOND);
    assert_eq!(images(&world, agent), both(3, 1));
    world.promote(agent).expect("it waits");
    world.pass(60 * SECOND);
    assert_eq!(images(&world, agent), [("web:2".into(), 4)].into());
}

#[test]
fn canaries_start_first_where_updates_do() {
    let mut world = World::new(2);
    let config = UpdateConfig { order: UpdateOrder::StartFirst, parallelism: 0, ..settings(2) };
    let web = begun(&mut world, 4, config);
    world.settle();
    assert_eq!(images(&world, web), both(2, 2));
}

#[test]
fn more_canaries_than_tasks_are_an_update() {
    let mut world = World::new(2);
    let web = begun(&mut world, 2, settings(5));
    world.pass(20 * SECOND);
    assert_eq!(images(&world, web), [("web:2".into(), 2)].into());
    assert_eq!(state(&world.view(), web), Some(UpdateState::Completed));
}

#[test]
fn a_canary_whose_node_is_lost_is_a_canary_all_the_same() {
    let mut world = World::new(3);
    let web = world.create(global("web", "web:1"));
    world.settle();
    world.watch = Some(Box::new(|view| assert_eq!(audit(view), [])));
    world.update(web, |spec| {
        spec.task.container.image = "web:2".into();
        spec.update = Some(settings(1));
    });
    world.settle();
    let new = |world: &World| -> Vec<_> {
        let tasks = world.tasks(web).into_iter();
        tasks.filter(|task| task.is_wanted() && task.spec.container.image == "web:2").collect()
    };
    let canary = new(&world)[0].node.expect("a node");
    world.node_state(canary.0, NodeState::Down);
    world.settle();
    assert_eq!(new(&world).len(), 1, "no other takes its place");
    assert!(world.service(web).canaries().is_some(), "and it is not found good");
}

#[test]
fn the_same_spec_again_does_not_hold_what_was_promoted() {
    let mut world = World::new(3);
    let web = begun(&mut world, 4, UpdateConfig { delay: 5 * SECOND, ..settings(1) });
    world.pass(10 * SECOND);
    world.promote(web).expect("it waits");
    world.settle();
    world.update(web, |_| {});
    world.pass(60 * SECOND);
    assert_eq!(images(&world, web), [("web:2".into(), 4)].into());
}

#[test]
fn a_small_change_does_not_make_what_came_with_canaries_stay() {
    let mut world = World::new(3);
    let web = begun(&mut world, 4, settings(1));
    world.update(web, |spec| {
        spec.task.container.image = "web:3".into();
        spec.labels.insert("release".into(), "3".into());
    });
    world.pass(10 * SECOND);
    later(&mut world, web, |spec| spec.mode = ServiceMode::Replicated { replicas: 5 });
    world.rollback(web);
    world.pass(60 * SECOND);
    assert_eq!(images(&world, web), [("web:1".into(), 5)].into());
    assert_eq!(world.service(web).spec.labels, Labels::new());
}

#[test]
fn a_global_service_with_canaries_leaves_nodes_alone_where_what_it_was_may_not_be() {
    let mut world = World::new(3);
    world.edit_node(3, |node| node.spec.labels = [("zone".to_owned(), "b".to_owned())].into());
    let mut spec = global("web", "web:1");
    spec.task.placement.constraints = vec!["node.labels.zone!=b".into()];
    let web = world.create(spec);
    world.settle();
    world.watch = Some(Box::new(|view| assert_eq!(audit(view), [])));
    world.update(web, |spec| {
        spec.task.container.image = "web:2".into();
        spec.task.placement.constraints.clear();
        spec.update = Some(settings(1));
    });
    world.pass(30 * SECOND);
    assert_eq!(images(&world, web), both(1, 1));
    assert!(!world.spread(web).contains_key(&3), "it is for the promoted update to go there");
}
