use super::world::*;
use crate::ServiceId;
use crate::model::*;
use crate::plan::service_reason;
use crate::store::View;
use std::collections::BTreeMap;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// A service of `replicas` that runs, and then gets the image `web:2`.
fn updated(world: &mut World, replicas: u64, config: UpdateConfig) -> ServiceId {
    let mut spec = replicated("web", "web:1", replicas);
    spec.update = Some(config);
    spec.task.restart.delay = SECOND;
    let web = world.create(spec);
    world.settle();
    world.update(web, |spec| spec.task.container.image = "web:2".into());
    web
}

fn images(world: &World, id: ServiceId) -> BTreeMap<String, usize> {
    let mut images = BTreeMap::new();
    for task in world.running(id) {
        *images.entry(task.spec.container.image.clone()).or_default() += 1;
    }
    images
}

fn up(view: &View, id: ServiceId) -> usize {
    view.tasks_of_service(id).filter(|task| task.is_wanted() && task.is_up()).count()
}

fn state(view: &View, id: ServiceId) -> Option<UpdateState> {
    view.service(id)?.update_status.as_ref().map(|status| status.state)
}

#[test]
fn an_update_replaces_slot_by_slot_and_completes_after_the_monitor_time() {
    let mut world = World::new(3);
    let web = updated(&mut world, 3, UpdateConfig { delay: 2 * SECOND, ..UpdateConfig::default() });
    world.settle();
    assert_eq!(world.update_state(web), Some((UpdateState::Updating, "update in progress".into())));
    assert_eq!(images(&world, web), [("web:1".into(), 2), ("web:2".into(), 1)].into());
    world.pass(2 * SECOND);
    assert_eq!(images(&world, web), [("web:1".into(), 1), ("web:2".into(), 2)].into());
    world.pass(2 * SECOND);
    assert_eq!(images(&world, web), [("web:2".into(), 3)].into());
    world.pass(4 * SECOND);
    assert_eq!(world.update_state(web).map(|(state, _)| state), Some(UpdateState::Updating));
    world.pass(SECOND);
    assert_eq!(world.update_state(web), Some((UpdateState::Completed, "update completed".into())));
    assert!(world.service(web).update_status.as_ref().is_some_and(|status| status.completed == Some(world.now)));
    assert_eq!(world.wake_at, None);
}

#[test]
fn stop_first_stops_the_old_before_the_new_starts() {
    let mut world = World::new(1);
    world.stop_time = 3 * SECOND;
    let web = updated(&mut world, 1, UpdateConfig::default());
    world.settle();
    let states: Vec<(TaskState, TaskState)> =
        world.tasks(web).iter().map(|task| (task.status.state, task.desired)).collect();
    assert_eq!(states, [(TaskState::Running, TaskState::Shutdown), (TaskState::Ready, TaskState::Ready)]);
    world.pass(3 * SECOND);
    assert_eq!(images(&world, web), [("web:2".into(), 1)].into());
}

#[test]
fn start_first_never_has_fewer_running_than_wanted() {
    let mut world = World::new(3);
    let config = UpdateConfig { order: UpdateOrder::StartFirst, ..UpdateConfig::default() };
    let web = updated(&mut world, 4, config);
    world.watch = Some(Box::new(move |view| {
        // What was told to stop counts until it stops.
        let running = view.tasks_of_service(web).filter(|task| task.status.state == TaskState::Running).count();
        assert!(running >= 4, "{running} running");
    }));
    assert!(world.wait(30 * SECOND, |view| state(view, web) == Some(UpdateState::Completed)));
    assert_eq!(images(&world, web), [("web:2".into(), 4)].into());
}

#[test]
fn start_first_keeps_the_old_while_the_new_does_not_come_up() {
    let mut world = World::new(1);
    let config = UpdateConfig {
        order: UpdateOrder::StartFirst,
        failure_action: FailureAction::Continue,
        ..UpdateConfig::default()
    };
    world.fate("web:2", Fate::Rejected);
    let web = updated(&mut world, 1, config);
    world.pass(20 * SECOND);
    assert_eq!(images(&world, web), [("web:1".into(), 1)].into());
}

#[test]
fn a_slot_that_stays_at_the_version_before_is_named_by_the_update_that_completed() {
    let mut world = World::new(3);
    let mut spec = replicated("web", "web:1", 3);
    spec.update = Some(UpdateConfig {
        order: UpdateOrder::StartFirst,
        failure_action: FailureAction::Continue,
        parallelism: 0,
        ..UpdateConfig::default()
    });
    spec.task.restart = RestartPolicy { delay: SECOND, max_attempts: 1, ..RestartPolicy::default() };
    let web = world.create(spec);
    world.settle();
    world.fate("web:2", Fate::CannotStart);
    world.update(web, |spec| spec.task.container.image = "web:2".into());
    world.pass(60 * SECOND);
    assert_eq!(images(&world, web), [("web:1".into(), 3)].into());
    let words = "3 of 3 slots stay at the version before: attempts used up (1 of 1); last error: executable file not found in $PATH";
    assert_eq!(world.update_state(web), Some((UpdateState::Completed, format!("update completed; {words}"))));
    let reason = |world: &World| service_reason(&world.view(), &world.service(web));
    assert_eq!(reason(&world).as_deref(), Some(words));
    world.fate("web:2", Fate::Runs);
    world.update(web, |spec| spec.task.force_update += 1);
    world.pass(60 * SECOND);
    assert_eq!(world.update_state(web), Some((UpdateState::Completed, "update completed".into())));
    assert_eq!((images(&world, web), reason(&world)), ([("web:2".into(), 3)].into(), None));
}

#[test]
fn a_task_with_a_health_check_counts_as_started_when_it_is_healthy() {
    let mut world = World::new(1);
    let config = UpdateConfig { order: UpdateOrder::StartFirst, ..UpdateConfig::default() };
    let web = updated(&mut world, 1, config);
    world.lead();
    // The agent reports it running while its check still starts.
    for (health, expected) in [(Health::Starting, 2), (Health::Healthy, 1)] {
        let view = world.view();
        let new = view.tasks_of_service(web).find(|t| t.spec.container.image == "web:2").expect("the new one");
        let container = ContainerStatus { health, ..ContainerStatus::default() };
        let status = TaskStatus { state: TaskState::Running, container: Some(container), ..TaskStatus::default() };
        world.change(vec![crate::store::Change::TaskStatus { task: new.id, status }]);
        world.lead();
        let wanted = world.tasks(web).iter().filter(|task| task.is_wanted()).count();
        assert_eq!(wanted, expected, "{health:?}");
    }
}

#[test]
fn parallelism_is_kept_and_zero_is_all_at_once() {
    for (parallelism, most) in [(1, 1), (2, 2), (0, 6)] {
        let mut world = World::new(3);
        world.stop_time = SECOND;
        let web = updated(&mut world, 6, UpdateConfig { parallelism, ..UpdateConfig::default() });
        let least = std::rc::Rc::new(std::cell::Cell::new(6));
        let seen = std::rc::Rc::clone(&least);
        world.watch = Some(Box::new(move |view| seen.set(seen.get().min(up(view, web)))));
        assert!(world.wait(60 * SECOND, |view| state(view, web) == Some(UpdateState::Completed)));
        assert_eq!(6 - least.get(), most, "parallelism {parallelism}");
    }
}

#[test]
fn an_update_pauses_when_more_fail_than_allowed_and_names_the_task() {
    let mut world = World::new(3);
    world.fate("web:2", Fate::FailsAfter(SECOND));
    let web = updated(&mut world, 4, UpdateConfig { delay: 2 * SECOND, ..UpdateConfig::default() });
    assert!(world.wait(20 * SECOND, |view| state(view, web) == Some(UpdateState::Paused)));
    let (_, message) = world.update_state(web).expect("a status");
    let failed = world.tasks(web).into_iter().find(|t| t.origin == TaskOrigin::Update).expect("an updated task");
    assert_eq!(message, format!("update paused due to failure or early termination of task {}", failed.id));
    world.pass(20 * SECOND);
    assert_eq!(images(&world, web).get("web:1"), Some(&3), "the other slots are left alone");
}

#[test]
fn an_update_goes_on_below_the_failure_ratio_and_when_told_to() {
    for (ratio, action) in [(1.0, FailureAction::Pause), (0.0, FailureAction::Continue)] {
        let mut world = World::new(3);
        world.fate("web:2", Fate::FailsAfter(SECOND));
        let config = UpdateConfig { max_failure_ratio: ratio, failure_action: action, ..UpdateConfig::default() };
        let web = updated(&mut world, 3, config);
        assert!(world.wait(60 * SECOND, |view| state(view, web) == Some(UpdateState::Completed)), "{action:?}");
        assert_eq!(world.service(web).update_status.as_ref().map(|status| status.failures), Some(3));
    }
}

#[test]
fn a_failure_after_the_monitor_time_does_not_count() {
    let mut world = World::new(1);
    world.fate("web:2", Fate::FailsAfter(3 * SECOND));
    let config = UpdateConfig { monitor: 2 * SECOND, delay: 10 * SECOND, ..UpdateConfig::default() };
    let web = updated(&mut world, 2, config);
    world.pass(30 * SECOND);
    assert_eq!(world.update_state(web).map(|(state, _)| state), Some(UpdateState::Completed));
}

#[test]
fn a_failed_update_rolls_back_by_itself_and_ends_with_what_ran_before() {
    let mut world = World::new(3);
    world.fate("web:2", Fate::FailsAfter(SECOND));
    let config = UpdateConfig { failure_action: FailureAction::Rollback, parallelism: 2, ..UpdateConfig::default() };
    let web = updated(&mut world, 4, config);
    assert!(world.wait(10 * SECOND, |view| state(view, web) == Some(UpdateState::RollbackStarted)));
    let (_, message) = world.update_state(web).expect("a status");
    assert!(message.starts_with("update rolled back due to failure or early termination of task "), "{message}");
    assert!(world.wait(30 * SECOND, |view| state(view, web) == Some(UpdateState::RollbackCompleted)));
    assert_eq!(world.update_state(web).map(|(_, message)| message), Some("rollback completed".into()));
    assert_eq!(images(&world, web), [("web:1".into(), 4)].into());
}

#[test]
fn a_rollback_that_fails_is_paused() {
    let mut world = World::new(1);
    world.fate("web:2", Fate::FailsAfter(SECOND));
    let config = UpdateConfig { failure_action: FailureAction::Rollback, ..UpdateConfig::default() };
    let web = updated(&mut world, 2, config);
    world.settle();
    world.fate("web:1", Fate::FailsAfter(SECOND));
    assert!(world.wait(30 * SECOND, |view| state(view, web) == Some(UpdateState::RollbackPaused)));
    let (_, message) = world.update_state(web).expect("a status");
    assert!(message.starts_with("rollback paused due to failure or early termination of task "), "{message}");
}

#[test]
fn a_user_rolls_back_and_forth() {
    let mut world = World::new(2);
    let web = updated(&mut world, 2, UpdateConfig::default());
    world.pass(10 * SECOND);
    world.rollback(web);
    world.settle();
    assert_eq!(world.update_state(web), Some((UpdateState::RollbackStarted, "manually requested rollback".into())));
    assert!(world.wait(30 * SECOND, |view| state(view, web) == Some(UpdateState::RollbackCompleted)));
    assert_eq!(images(&world, web), [("web:1".into(), 2)].into());
    world.rollback(web);
    world.pass(30 * SECOND);
    assert_eq!(images(&world, web), [("web:2".into(), 2)].into());
}

#[test]
fn an_update_that_is_overtaken_goes_straight_to_the_newest_spec() {
    let mut world = World::new(3);
    let web = updated(&mut world, 6, UpdateConfig { delay: 5 * SECOND, ..UpdateConfig::default() });
    world.pass(6 * SECOND);
    world.update(web, |spec| spec.task.container.image = "web:3".into());
    world.pass(60 * SECOND);
    assert_eq!(images(&world, web), [("web:3".into(), 6)].into());
    assert_eq!(world.update_state(web).map(|(state, _)| state), Some(UpdateState::Completed));
}

#[test]
fn what_needs_no_new_container_replaces_no_task() {
    let mut world = World::new(2);
    let web = world.create(replicated("web", "web:1", 2));
    world.settle();
    let before: Vec<_> = world.running(web).iter().map(|task| task.id).collect();
    world.update(web, |spec| {
        spec.labels.insert("a".into(), "b".into());
        spec.task.restart.delay = 9 * SECOND;
        spec.task.placement.constraints = vec!["node.role==worker".into()];
    });
    world.pass(10 * SECOND);
    assert_eq!(world.running(web).iter().map(|task| task.id).collect::<Vec<_>>(), before);
    world.update(web, |spec| spec.task.force_update += 1);
    world.pass(20 * SECOND);
    assert!(world.running(web).iter().all(|task| !before.contains(&task.id)));
}

#[test]
fn a_changed_placement_moves_only_what_it_excludes() {
    let mut world = World::new(2);
    let web = world.create(replicated("web", "web:1", 4));
    world.settle();
    let stays: Vec<_> = world.running(web).iter().filter(|t| t.node == Some(crate::NodeId(1))).map(|t| t.id).collect();
    world.update(web, |spec| spec.task.placement.constraints = vec!["node.hostname==host1".into()]);
    world.pass(30 * SECOND);
    assert_eq!(world.spread(web), [(1, 4)].into());
    let now: Vec<_> = world.running(web).iter().map(|task| task.id).collect();
    assert!(stays.iter().all(|id| now.contains(id)));
}

#[test]
fn a_global_service_is_updated_node_by_node_and_a_node_that_is_away_follows_when_it_is_back() {
    let mut world = World::new(3);
    let agent = world.create(global("agent", "agent:1"));
    world.settle();
    world.node_state(3, NodeState::Down);
    world.update(agent, |spec| spec.task.container.image = "agent:2".into());
    assert!(world.wait(30 * SECOND, |view| state(view, agent) == Some(UpdateState::Completed)));
    world.node_state(3, NodeState::Ready);
    world.pass(5 * SECOND);
    assert_eq!(images(&world, agent), [("agent:2".into(), 3)].into());
}

#[test]
fn an_update_of_a_service_that_is_scaled_meanwhile_ends_with_the_new_number_and_spec() {
    let mut world = World::new(3);
    let web = updated(&mut world, 4, UpdateConfig { delay: SECOND, ..UpdateConfig::default() });
    world.pass(SECOND);
    world.update(web, |spec| spec.mode = ServiceMode::Replicated { replicas: 6 });
    world.pass(30 * SECOND);
    assert_eq!(images(&world, web), [("web:2".into(), 6)].into());
    assert_eq!(world.update_state(web).map(|(state, _)| state), Some(UpdateState::Completed));
}

#[test]
fn publishing_a_first_port_gives_every_task_an_address_to_receive_at() {
    let mut world = World::new(2);
    let web = world.create(replicated("web", "web:1", 2));
    world.settle();
    let port = PortConfig { target_port: 80, published_port: 8080, ..PortConfig::default() };
    world.update(web, |spec| spec.endpoint.ports = vec![port.clone()]);
    world.pass(20 * SECOND);
    assert!(world.running(web).iter().all(|task| task.attachments.len() == 1));
    // Another port reaches the same addresses: nothing is replaced.
    let before: Vec<_> = world.running(web).iter().map(|task| task.id).collect();
    world.update(web, |spec| spec.endpoint.ports.push(PortConfig { published_port: 8081, ..port }));
    world.pass(20 * SECOND);
    assert_eq!(world.running(web).iter().map(|task| task.id).collect::<Vec<_>>(), before);
    assert_eq!(world.service(web).endpoint.ports.len(), 2);
}

#[test]
fn the_failure_ratio_itself_is_still_allowed() {
    for (ratio, expected) in [(0.25, UpdateState::Completed), (0.24, UpdateState::Paused)] {
        let mut world = World::new(2);
        world.fate("web:2", Fate::FailsAfter(SECOND));
        let config = UpdateConfig { max_failure_ratio: ratio, delay: 3 * SECOND, ..UpdateConfig::default() };
        let web = updated(&mut world, 4, config);
        let failures = |view: &View| view.service(web)?.update_status.as_ref().map(|status| status.failures);
        assert!(world.wait(10 * SECOND, |view| failures(view) == Some(1)));
        world.fate("web:2", Fate::Runs);
        world.pass(60 * SECOND);
        assert_eq!(state(&world.view(), web), Some(expected), "one of four at a ratio of {ratio}");
    }
}

#[test]
fn a_rollback_goes_by_its_own_settings() {
    let mut world = World::new(3);
    world.stop_time = SECOND;
    let mut spec = replicated("web", "web:1", 4);
    spec.update = Some(UpdateConfig { delay: SECOND, ..UpdateConfig::default() });
    let rollback = UpdateConfig { parallelism: 0, monitor: 20 * SECOND, ..UpdateConfig::default() };
    spec.rollback = Some(UpdateConfig { order: UpdateOrder::StartFirst, ..rollback });
    let web = world.create(spec);
    world.settle();
    world.update(web, |spec| spec.task.container.image = "web:2".into());
    assert!(world.wait(60 * SECOND, |view| state(view, web) == Some(UpdateState::Completed)));
    world.rollback(web);
    world.watch = Some(Box::new(move |view| assert!(up(view, web) >= 4)));
    world.settle();
    assert_eq!(images(&world, web), [("web:1".into(), 4)].into(), "all at once, none stopped before");
    world.pass(19 * SECOND);
    assert_eq!(state(&world.view(), web), Some(UpdateState::RollbackStarted));
    world.pass(SECOND);
    assert_eq!(state(&world.view(), web), Some(UpdateState::RollbackCompleted));
}

#[test]
fn a_rollback_that_is_told_to_goes_on_in_spite_of_failures() {
    let mut world = World::new(2);
    let web = updated(&mut world, 3, UpdateConfig::default());
    let goes_on = UpdateConfig { failure_action: FailureAction::Continue, ..UpdateConfig::default() };
    world.overwrite(web, |spec| spec.rollback = Some(goes_on.clone()));
    world.update(web, |spec| spec.rollback = Some(goes_on));
    world.update(web, |spec| spec.task.container.image = "web:3".into());
    world.pass(60 * SECOND);
    world.fate("web:2", Fate::FailsAfter(SECOND));
    world.rollback(web);
    assert!(world.wait(60 * SECOND, |view| state(view, web) == Some(UpdateState::RollbackCompleted)));
    assert_eq!(world.service(web).update_status.as_ref().map(|status| status.failures), Some(3));
}

#[test]
fn the_next_update_of_a_paused_one_begins_anew() {
    let mut world = World::new(2);
    world.fate("web:2", Fate::FailsAfter(SECOND));
    let web = updated(&mut world, 2, UpdateConfig::default());
    assert!(world.wait(20 * SECOND, |view| state(view, web) == Some(UpdateState::Paused)));
    let paused = world.service(web).update_status.clone().expect("a status");
    assert_eq!((paused.completed, paused.failures), (None, 1));
    world.fate("web:2", Fate::Runs);
    world.pass(SECOND);
    world.update(web, |spec| spec.task.force_update += 1);
    world.settle();
    let begun = world.service(web).update_status.clone().expect("a status");
    assert_eq!((begun.state, begun.failures, begun.message.as_str()), (UpdateState::Updating, 0, "update in progress"));
    assert!(begun.started > paused.started);
    world.pass(30 * SECOND);
    let completed = world.service(web).update_status.clone().expect("a status");
    assert_eq!(completed.state, UpdateState::Completed);
    assert!(completed.completed > Some(completed.started));
}

#[test]
fn a_task_that_ends_well_while_it_is_watched_fails_the_update_too() {
    let mut world = World::new(1);
    world.fate("web:2", Fate::CompletesAfter(SECOND));
    let web = updated(&mut world, 2, UpdateConfig::default());
    assert!(world.wait(20 * SECOND, |view| state(view, web) == Some(UpdateState::Paused)));
}

#[test]
fn a_global_service_leaves_the_nodes_its_new_placement_excludes() {
    for order in [UpdateOrder::StopFirst, UpdateOrder::StartFirst] {
        let mut world = World::new(3);
        let mut spec = global("agent", "agent:1");
        spec.update = Some(UpdateConfig { order, ..UpdateConfig::default() });
        let agent = world.create(spec);
        world.settle();
        world.update(agent, |spec| {
            spec.task.container.image = "agent:2".into();
            spec.task.placement.constraints = vec!["node.hostname!=host2".into()];
        });
        world.pass(60 * SECOND);
        assert_eq!(images(&world, agent), [("agent:2".into(), 2)].into(), "{order:?}");
        assert_eq!(world.spread(agent), [(1, 1), (3, 1)].into());
        assert_eq!(state(&world.view(), agent), Some(UpdateState::Completed));
        let of_host2 = world.tasks(agent).iter().filter(|t| t.node == Some(crate::NodeId(2))).count();
        assert_eq!(of_host2, 1, "nothing was begun there");
    }
}

#[test]
fn what_a_lost_node_was_bringing_up_for_an_earlier_update_is_not_counted_for_a_later_one() {
    let mut world = World::new(3);
    let id = updated(&mut world, 2, UpdateConfig { parallelism: 1, ..UpdateConfig::default() });
    let free = world.view().nodes().find(|node| world.view().tasks_of_node(node.id).next().is_none()).map(|n| n.id);
    let free = free.expect("two tasks on three nodes");
    world.silent.insert(free);
    for other in (1..=3).filter(|other| *other != free.0) {
        world.edit_node(other, |node| node.spec.availability = Availability::Pause);
    }
    world.settle();
    // Of the next one, which needs no new container where the last one has been.
    world.silent = world.view().nodes().map(|node| node.id).collect();
    world.update(id, |spec| spec.task.restart.delay = 2 * SECOND);
    world.lead();
    world.node_state(free.0, NodeState::Down);
    world.lead();
    assert_eq!(crate::audit::audit(&world.view()), []);
    let moved = world.tasks(id).into_iter().filter(|task| task.is_wanted() && task.origin == TaskOrigin::Restart);
    assert_eq!(moved.count(), 1);
}

#[test]
fn a_node_that_no_longer_fits_after_a_change_of_placement_is_left_by_one_task_only() {
    let labels = |keys: &[&str]| keys.iter().map(|key| ((*key).to_owned(), "1".to_owned())).collect::<Labels>();
    let mut world = World::new(3);
    for (node, keys) in [(1, &["x", "y"][..]), (2, &["x"]), (3, &["y"])] {
        world.edit_node(node, |node| node.spec.labels = labels(keys));
    }
    let mut spec = replicated("web", "web:1", 2);
    spec.update = Some(UpdateConfig { order: UpdateOrder::StartFirst, ..UpdateConfig::default() });
    spec.task.placement.constraints = vec!["node.labels.x==1".into()];
    let web = world.create(spec);
    world.settle();
    assert_eq!(world.spread(web), [(1, 1), (2, 1)].into());
    world.watch = Some(Box::new(|view| assert_eq!(crate::audit::audit(view), [])));
    // The one on the second node is replaced, the one on the first may stay.
    world.update(web, |spec| spec.task.placement.constraints.push("node.labels.y==1".into()));
    world.pass(20 * SECOND);
    assert_eq!(world.spread(web), [(1, 2)].into());
    assert_eq!(world.update_state(web).map(|(state, _)| state), Some(UpdateState::Completed));
    let before = world.tasks(web).len();
    world.edit_node(2, |node| node.spec.labels = labels(&["x", "y"]));
    world.edit_node(1, |node| node.spec.labels = Labels::new());
    world.pass(60 * SECOND);
    assert_eq!(world.spread(web), [(2, 2)].into());
    assert_eq!(world.tasks(web).len(), before + 2, "one took over from each");
    assert_eq!(world.update_state(web).map(|(state, _)| state), Some(UpdateState::Completed));
}

#[test]
fn what_changes_beside_an_update_neither_ends_it_nor_is_what_it_rolls_back_to() {
    for replicas in [4, 5] {
        let mut world = World::new(2);
        let config = UpdateConfig {
            failure_action: FailureAction::Rollback,
            delay: 10 * SECOND,
            max_failure_ratio: 0.3,
            ..UpdateConfig::default()
        };
        let web = updated(&mut world, 4, config);
        world.settle();
        let begun = world.service(web).update_status.clone();
        world.update(web, |spec| spec.mode = ServiceMode::Replicated { replicas });
        assert_eq!(world.service(web).update_status, begun);
        world.fate("web:2", Fate::FailsAfter(SECOND));
        assert!(world.wait(90 * SECOND, |view| state(view, web) == Some(UpdateState::RollbackCompleted)));
        let replicas = usize::try_from(replicas).expect("a few");
        assert_eq!(images(&world, web), [("web:1".into(), replicas)].into());
    }
}

#[test]
fn a_leader_whose_clock_is_behind_waits_for_what_stops_all_the_same() {
    let mut world = World::new(1);
    world.stop_time = 3 * SECOND;
    let web = updated(&mut world, 1, UpdateConfig::default());
    world.settle();
    let (told, behind) = (world.now, 600_000);
    world.now = crate::WallTime(told.0 - behind);
    world.settle();
    let new = world.tasks(web).into_iter().find(|task| task.is_wanted()).expect("the new one");
    assert_eq!(new.desired, TaskState::Ready);
    world.now = told;
    world.pass(3 * SECOND);
    assert_eq!(images(&world, web), [("web:2".into(), 1)].into());
}

#[test]
fn nodes_that_come_back_after_an_update_completed_are_watched_like_the_others() {
    let mut world = World::new(3);
    let web = world.create(global("web", "web:1"));
    world.settle();
    world.node_state(3, NodeState::Down);
    world.update(web, |spec| spec.task.container.image = "web:2".into());
    assert!(world.wait(60 * SECOND, |view| state(view, web) == Some(UpdateState::Completed)));
    world.fate("web:2", Fate::FailsAfter(SECOND));
    world.pass(30 * SECOND);
    world.node_state(3, NodeState::Ready);
    assert!(world.wait(60 * SECOND, |view| state(view, web) == Some(UpdateState::Paused)));
}

#[test]
fn a_failure_by_the_clock_of_a_leader_that_is_behind_does_not_count() {
    let mut world = World::new(1);
    let config = UpdateConfig { monitor: 60 * SECOND, ..UpdateConfig::default() };
    let web = updated(&mut world, 1, config);
    world.settle();
    let new = world.running(web)[0].id;
    world.now = crate::WallTime(world.now.0 - 600_000);
    let status = TaskStatus { state: TaskState::Failed, ..TaskStatus::default() };
    world.change(vec![crate::store::Change::TaskStatus { task: new, status }]);
    world.settle();
    let status = world.service(web).update_status.clone().expect("a status");
    assert!(status.state != UpdateState::Paused && status.failures == 0, "{status:?}");
}
