//! Tasks that run and are not ready: an update waits for them, and nothing replaces them for it.

use super::world::*;
use crate::ServiceId;
use crate::model::*;
use crate::store::View;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const SLOW: &str = "slow:1";

fn world() -> World {
    let mut world = World::new(2);
    world.fate(SLOW, Fate::ReadyAfter(20 * SECOND));
    world
}

fn updated(world: &mut World, order: UpdateOrder) -> ServiceId {
    let mut spec = replicated("web", "web:1", 2);
    spec.update = Some(UpdateConfig { order, ..UpdateConfig::default() });
    let web = world.create(spec);
    world.settle();
    world.update(web, |spec| spec.task.container.image = SLOW.into());
    web
}

fn wanted(view: &View, id: ServiceId, image: &str) -> (usize, usize) {
    let of = |task: &&std::sync::Arc<Task>| task.is_wanted() && task.spec.container.image == image;
    let tasks: Vec<_> = view.tasks_of_service(id).filter(of).collect();
    (tasks.len(), tasks.iter().filter(|task| task.is_up()).count())
}

fn state(view: &View, id: ServiceId) -> Option<UpdateState> {
    view.service(id)?.update_status.as_ref().map(|status| status.state)
}

#[test]
fn an_update_waits_for_each_task_to_be_ready() {
    let mut world = world();
    let web = updated(&mut world, UpdateOrder::StopFirst);
    world.pass(19 * SECOND);
    assert_eq!(wanted(&world.view(), web, SLOW), (1, 0), "it runs, and the next is not begun");
    assert_eq!(wanted(&world.view(), web, "web:1"), (1, 1));
    let done = |view: &View| state(view, web) == Some(UpdateState::Completed);
    assert!(!world.wait(20 * SECOND, done), "the second one is not ready yet");
    assert!(world.wait(20 * SECOND, done));
    assert_eq!(wanted(&world.view(), web, SLOW), (2, 2));
}

#[test]
fn an_update_that_starts_first_keeps_the_old_task_until_the_new_one_is_ready() {
    let mut world = world();
    let web = updated(&mut world, UpdateOrder::StartFirst);
    world.pass(19 * SECOND);
    assert_eq!((wanted(&world.view(), web, SLOW), wanted(&world.view(), web, "web:1")), ((1, 0), (2, 2)));
    world.pass(2 * SECOND);
    assert_eq!((wanted(&world.view(), web, SLOW).1, wanted(&world.view(), web, "web:1")), (1, (1, 1)));
    assert!(world.wait(60 * SECOND, |view| state(view, web) == Some(UpdateState::Completed)));
}

#[test]
fn an_update_does_not_go_on_while_what_it_brought_in_is_not_ready_any_more() {
    let mut world = world();
    let web = updated(&mut world, UpdateOrder::StopFirst);
    world.update(web, |spec| spec.update.get_or_insert_default().delay = 5 * SECOND);
    assert!(world.wait(60 * SECOND, |view| wanted(view, web, SLOW) == (1, 1)));
    let new = world.tasks(web).into_iter().find(|task| task.spec.container.image == SLOW).expect("the new task");
    let container = ContainerStatus { ready: Some(false), ..ContainerStatus::default() };
    let err = "not ready: no answer".to_owned();
    let status = TaskStatus { container: Some(container), timestamp: world.now, err, ..new.status.clone() };
    world.change(vec![crate::store::Change::TaskStatus { task: new.id, status }]);
    world.pass(15 * SECOND);
    assert_eq!(wanted(&world.view(), web, SLOW), (1, 0), "the delay is over, and the next is not begun");
    world.pass(10 * SECOND);
    assert_eq!(wanted(&world.view(), web, SLOW), (2, 1), "it is ready again");
}

#[test]
fn a_task_that_never_is_ready_holds_an_update_up_and_is_not_replaced() {
    let mut world = world();
    world.fate(SLOW, Fate::ReadyAfter(Duration::from_secs(86_400)));
    let web = updated(&mut world, UpdateOrder::StartFirst);
    world.pass(3600 * SECOND);
    let view = world.view();
    assert_eq!((wanted(&view, web, SLOW), wanted(&view, web, "web:1")), ((1, 0), (2, 2)), "all traffic is served");
    assert_eq!(state(&view, web), Some(UpdateState::Updating));
    assert_eq!(view.tasks_of_service(web).count(), 3, "nothing was replaced");
    let waiting = view.tasks_of_service(web).find(|task| !task.is_up()).map(|task| task.status.err.clone());
    assert_eq!(waiting.as_deref(), Some("not ready: no answer"));
}

#[test]
fn what_is_not_ready_goes_first_when_a_service_shrinks() {
    let mut world = World::new(1);
    let web = world.create(replicated("web", "web:1", 3));
    world.settle();
    let first = world.tasks(web).iter().find(|task| task.slot == 1).cloned().expect("slot 1");
    let container = ContainerStatus { ready: Some(false), ..ContainerStatus::default() };
    let status = TaskStatus { container: Some(container), ..first.status.clone() };
    world.change(vec![crate::store::Change::TaskStatus { task: first.id, status }]);
    world.update(web, |spec| spec.mode = ServiceMode::Replicated { replicas: 2 });
    world.lead();
    let left: Vec<u64> = world.tasks(web).iter().filter(|task| task.is_wanted()).map(|task| task.slot).collect();
    assert_eq!(left, [2, 3]);
}
