use super::world::*;
use crate::ServiceId;
use crate::model::*;
use crate::store::Change;
use std::sync::Arc;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn failing(world: &mut World, image: &str, fate: Fate, restart: RestartPolicy) -> ServiceId {
    world.fate(image, fate);
    let mut spec = replicated("job", image, 1);
    spec.task.restart = restart;
    world.create(spec)
}

fn history(world: &World, id: ServiceId) -> Vec<(TaskState, TaskState)> {
    world.tasks(id).iter().map(|task| (task.status.state, task.desired)).collect()
}

#[test]
fn a_task_that_fails_is_replaced_at_once_and_started_after_the_delay() {
    let mut world = World::new(1);
    let job = failing(&mut world, "job", Fate::FailsAfter(SECOND), RestartPolicy::default());
    world.pass(SECOND);
    world.settle();
    assert_eq!(
        history(&world, job),
        [(TaskState::Failed, TaskState::Shutdown), (TaskState::Ready, TaskState::Ready)],
        "the next one is prepared already"
    );
    assert_eq!(world.wake_at, Some(world.now + Duration::from_secs(5)));
    world.pass(Duration::from_millis(4900));
    assert_eq!(world.running(job).len(), 0);
    world.pass(Duration::from_millis(100));
    assert_eq!(world.running(job).len(), 1);
}

#[test]
fn a_task_whose_image_is_missing_is_retried_once_per_delay_and_keeps_its_reason() {
    let mut world = World::new(1);
    let job = failing(&mut world, "gone", Fate::Rejected, RestartPolicy::default());
    world.settle();
    let tasks = world.tasks(job);
    let last = tasks.last().expect("a task");
    assert_eq!(last.status.state, TaskState::Rejected);
    assert_eq!(last.status.err, "no such image: gone");
    let before = last.restarts.total;
    world.pass(Duration::from_secs(20));
    let after = world.tasks(job).last().expect("a task").restarts.total;
    assert!((3..=5).contains(&(after - before)), "{before} to {after} in 20 s with a delay of 5 s");
}

#[test]
fn a_crash_loop_is_slowed_down_until_the_task_stays_up() {
    let mut world = World::new(2);
    let backoff_max = Duration::from_secs(8);
    let policy = RestartPolicy { delay: SECOND, backoff_max, ..RestartPolicy::default() };
    let job = failing(&mut world, "job", Fate::FailsAfter(SECOND), policy);
    world.pass(Duration::from_secs(60));
    let waited = |world: &World| -> Vec<u64> {
        let tasks = world.tasks(job);
        let pairs = tasks.iter().zip(tasks.iter().skip(1));
        pairs.filter_map(|(old, new)| Some(new.up_since?.since(old.ended?).as_secs())).collect()
    };
    assert_eq!(waited(&world), [8; 5], "of the history that is kept, the last of which still waits");
    let rows = |world: &World| world.tasks(job).last().map(|task| task.restarts.in_a_row);
    let in_a_row = rows(&world);
    assert!(in_a_row >= Some(8), "1, 2, 4, 8, 8, ...");
    // As long as it waits, it also goes on counting where it was when its node is lost.
    let node = world.tasks(job).last().and_then(|task| task.node).expect("a node");
    world.node_state(node.0, NodeState::Down);
    world.settle();
    assert_eq!(rows(&world), in_a_row);
    world.fate("job", Fate::FailsAfter(Duration::from_secs(9)));
    world.pass(Duration::from_secs(18));
    assert_eq!(rows(&world), Some(1), "up for longer than the longest delay: it begins anew");
}

#[test]
fn a_task_that_cannot_be_started_counts_as_a_failure_for_every_policy() {
    for (condition, max_attempts, tasks) in
        [(RestartCondition::None, 0, 1), (RestartCondition::OnFailure, 2, 3), (RestartCondition::Any, 2, 3)]
    {
        let mut world = World::new(1);
        let policy = RestartPolicy { condition, delay: SECOND, max_attempts, ..RestartPolicy::default() };
        let job = failing(&mut world, "typo", Fate::CannotStart, policy);
        world.pass(Duration::from_secs(30));
        let ends = vec![(TaskState::Failed, TaskState::Shutdown); tasks];
        assert_eq!(history(&world, job), ends, "{condition:?}");
    }
}

#[test]
fn a_task_that_completes_is_restarted_only_when_the_policy_is_any() {
    for (condition, fate, restarted) in [
        (RestartCondition::Any, Fate::CompletesAfter(SECOND), true),
        (RestartCondition::OnFailure, Fate::CompletesAfter(SECOND), false),
        (RestartCondition::OnFailure, Fate::FailsAfter(SECOND), true),
        (RestartCondition::None, Fate::FailsAfter(SECOND), false),
    ] {
        let mut world = World::new(1);
        let policy = RestartPolicy { condition, delay: SECOND, ..RestartPolicy::default() };
        let job = failing(&mut world, "job", fate, policy);
        world.pass(Duration::from_secs(10));
        assert_eq!(world.tasks(job).len() > 1, restarted, "{condition:?} {fate:?}");
    }
}

#[test]
fn attempts_are_counted_per_slot_and_end_at_the_maximum() {
    let mut world = World::new(1);
    let policy = RestartPolicy { delay: SECOND, max_attempts: 2, ..RestartPolicy::default() };
    let job = failing(&mut world, "job", Fate::FailsAfter(SECOND), policy);
    world.pass(Duration::from_secs(60));
    let states = history(&world, job);
    assert_eq!(states, vec![(TaskState::Failed, TaskState::Shutdown); 3], "one start and two restarts");
}

#[test]
fn attempts_outside_the_window_do_not_count() {
    let policy = |seconds| RestartPolicy {
        delay: SECOND,
        max_attempts: 2,
        window: Duration::from_secs(seconds),
        ..RestartPolicy::default()
    };
    for (window, goes_on) in [(3, true), (600, false)] {
        let mut world = World::new(1);
        let job = failing(&mut world, "job", Fate::FailsAfter(4 * SECOND), policy(window));
        world.pass(Duration::from_secs(120));
        let last = world.tasks(job).pop().expect("a task");
        assert_eq!(last.is_wanted(), goes_on, "window {window} s, {:?}", last.restarts);
        assert!(last.restarts.attempts.len() <= 2, "the history is bounded");
    }
}

#[test]
fn the_history_of_a_slot_is_limited() {
    let mut world = World::new(1);
    let policy = RestartPolicy { delay: SECOND, ..RestartPolicy::default() };
    let job = failing(&mut world, "job", Fate::FailsAfter(SECOND), policy);
    world.pass(Duration::from_secs(60));
    assert_eq!(world.tasks(job).len(), 5);
    assert!(world.tasks(job)[4].is_wanted());
}

#[test]
fn the_history_limit_of_the_cluster_is_kept_to_but_for_the_newest_task_and_the_failures_that_count_against_a_node() {
    for (limit, kept) in [(0, 4), (1, 4), (2, 4), (7, 7)] {
        let mut world = World::new(1);
        world.settings(|spec| spec.task_history_limit = limit);
        let policy = RestartPolicy { delay: SECOND, ..RestartPolicy::default() };
        // Failures are kept for as long as they tell which node to avoid.
        let job = failing(&mut world, "job", Fate::FailsAfter(SECOND), policy);
        world.pass(Duration::from_secs(60));
        assert_eq!(world.tasks(job).len(), kept, "limit {limit}");
        assert!(world.tasks(job)[kept - 1].is_wanted());
    }
}

#[test]
fn a_node_where_a_service_keeps_failing_is_avoided() {
    let mut world = World::new(2);
    world.edit_node(2, |node| node.spec.availability = Availability::Pause);
    let policy = RestartPolicy { delay: SECOND, ..RestartPolicy::default() };
    let job = failing(&mut world, "job", Fate::FailsAfter(SECOND), policy);
    world.pass(Duration::from_secs(10));
    world.edit_node(2, |node| node.spec.availability = Availability::Active);
    world.pass(Duration::from_secs(3));
    assert_eq!(world.tasks(job).last().and_then(|task| task.node), Some(crate::NodeId(2)));
}

#[test]
fn a_restart_during_a_paused_update_brings_back_the_version_the_slot_had() {
    let mut world = World::new(1);
    let mut spec = replicated("web", "web:1", 2);
    spec.update = Some(UpdateConfig { delay: 2 * SECOND, ..UpdateConfig::default() });
    let web = world.create(spec);
    world.settle();
    world.fate("web:2", Fate::FailsAfter(SECOND));
    world.update(web, |spec| spec.task.container.image = "web:2".into());
    world.pass(Duration::from_secs(3));
    assert_eq!(world.update_state(web).map(|(state, _)| state), Some(UpdateState::Paused));
    let old = world.running(web).into_iter().find(|t| t.spec.container.image == "web:1").expect("an old one");
    world.fate("web:1", Fate::FailsAfter(Duration::ZERO));
    world.agents();
    world.fate("web:1", Fate::Runs);
    world.pass(Duration::from_secs(10));
    let now = world.running(web).into_iter().find(|t| t.slot == old.slot).expect("it runs again");
    assert_ne!(now.id, old.id);
    assert_eq!(now.spec.container.image, "web:1");
}

#[test]
fn a_task_that_may_not_run_twice_is_not_moved_when_its_node_is_lost() {
    let mut world = World::new(2);
    let mut spec = replicated("once", "once:1", 2);
    spec.task.restart.condition = RestartCondition::None;
    let once = world.create(spec);
    world.settle();
    world.node_state(2, NodeState::Down);
    world.pass(Duration::from_secs(10));
    assert_eq!(world.spread(once), [(1, 1)].into());
    assert_eq!(world.tasks(once).len(), 2);
}

#[test]
fn a_node_where_a_service_fails_comes_last_though_no_history_is_kept() {
    let mut world = World::new(2);
    world.settings(|spec| spec.task_history_limit = 1);
    world.edit_node(2, |node| node.spec.availability = Availability::Pause);
    world.fate("crash:1", Fate::FailsAfter(Duration::from_secs(1)));
    let crash = world.create(replicated("crash", "crash:1", 1));
    world.pass(Duration::from_secs(60));
    let failed = world.tasks(crash).iter().filter(|task| task.status.state == TaskState::Failed).count();
    assert!((3..=4).contains(&failed), "{failed} failures are kept");
    // The one that is prepared meanwhile fails once more where it is.
    world.edit_node(2, |node| node.spec.availability = Availability::Active);
    world.pass(Duration::from_secs(7));
    world.fate("crash:1", Fate::Runs);
    world.pass(Duration::from_secs(30));
    assert_eq!(world.spread(crash), [(2, 1)].into(), "not where it failed");
    world.pass(Duration::from_secs(400));
    assert!(world.tasks(crash).len() <= 2, "forgotten when they are of no use");
}

#[test]
fn of_an_update_that_starts_first_an_old_task_that_can_not_be_made_again_is_not_followed_beside_the_new_one() {
    let mut world = World::new(1);
    let key = world.secret("key", "1");
    let mut spec = replicated("web", "web:1", 1);
    spec.task.container.secrets = vec![secret_reference(key, "key")];
    spec.task.restart.delay = Duration::from_secs(1);
    let goes_on = UpdateConfig { failure_action: FailureAction::Continue, ..UpdateConfig::default() };
    spec.update = Some(UpdateConfig { order: UpdateOrder::StartFirst, ..goes_on });
    let web = world.create(spec);
    world.settle();
    world.fate("web:2", Fate::Rejected);
    world.update(web, |spec| {
        spec.task.container.image = "web:2".into();
        spec.task.container.secrets.clear();
    });
    world.pass(Duration::from_secs(10));
    let txn = crate::control::remove_secret(&world.view(), key, world.now).expect("the service does not use it now");
    world.apply(&txn);
    let before: Vec<_> = world.tasks(web).into_iter().filter(|task| task.is_wanted()).collect();
    assert_eq!(before.len(), 2, "the old one, and one of those that are tried");
    let failed = TaskStatus { state: TaskState::Failed, ..TaskStatus::default() };
    let fails = |task: &Arc<Task>| Change::TaskStatus { task: task.id, status: failed.clone() };
    world.change(before.iter().map(fails).collect());
    let known: Vec<_> = world.tasks(web).iter().map(|task| task.id).collect();
    world.fate("web:2", Fate::Runs);
    world.pass(Duration::from_secs(5));
    let tried = before.iter().map(|task| task.restarts.total).max();
    let made: Vec<_> = world.tasks(web).into_iter().filter(|task| !known.contains(&task.id)).collect();
    assert_eq!(made.len(), 1);
    assert!(made[0].is_wanted());
    assert_eq!(Some(made[0].restarts.total), tried.map(|tried| tried + 1));
}
