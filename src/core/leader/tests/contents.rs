//! Contents of secrets and configs: a new one rolls the services that use it, a rollback brings the old one back.

use super::world::*;
use crate::audit::{audit, audit_settled};
use crate::control;
use crate::leader::{Scope, step};
use crate::model::*;
use crate::store::{Change, Txn, View};
use crate::{SecretId, ServiceId};
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// A service of three whose secret has one content.
fn running(world: &mut World, update: UpdateConfig) -> (SecretId, ServiceId) {
    let key = world.secret("key", "one");
    let mut spec = replicated("web", "web:1", 3);
    spec.task.container.secrets = vec![secret_reference(key, "key")];
    spec.update = Some(update);
    let web = world.create(spec);
    world.pass(10 * SECOND);
    (key, web)
}

/// The versions that the running tasks have.
fn versions(world: &World, service: ServiceId) -> Vec<u64> {
    world.running(service).iter().map(|task| task.spec.container.secrets[0].version).collect()
}

fn state(view: &View, service: ServiceId) -> Option<UpdateState> {
    view.service(service).and_then(|service| service.update_status.as_ref()).map(|status| status.state)
}

fn kept(world: &World, key: SecretId) -> Vec<u64> {
    let view = world.view();
    let secret = view.secret(key).expect("the secret");
    secret.older.iter().map(|older| older.version).chain([secret.content_version]).collect()
}

fn check(world: &World) {
    let (always, settled) = (audit(&world.view()), audit_settled(&world.view()));
    assert!(always.is_empty() && settled.is_empty(), "{always:#?} {settled:#?}");
}

#[test]
fn a_new_content_rolls_the_services_that_use_it_by_their_update_policy() {
    let mut world = World::new(2);
    let (_, web) = running(&mut world, UpdateConfig { delay: 5 * SECOND, ..UpdateConfig::default() });
    let other = world.create(replicated("other", "web:1", 1));
    world.pass(SECOND);
    assert_eq!(versions(&world, web), [1, 1, 1]);
    world.secret("key", "two");
    world.settle();
    let mut now = versions(&world, web);
    now.sort_unstable();
    assert_eq!(now, [1, 1, 2], "one slot at a time");
    assert_eq!(state(&world.view(), web), Some(UpdateState::Updating));
    assert!(world.wait(60 * SECOND, |view| state(view, web) == Some(UpdateState::Completed)));
    assert_eq!(versions(&world, web), [2, 2, 2]);
    assert!(world.tasks(other).len() == 1 && world.service(other).update_status.is_none(), "it does not use it");
    check(&world);
}

/// What a leader decides on the view as it is, not written yet.
fn decided(world: &World) -> Vec<Txn> {
    let mut rng = StdRng::seed_from_u64(9);
    step(&world.view(), world.now, &Scope::All, &mut rng).txns
}

#[test]
fn an_update_written_while_the_leader_takes_a_new_content_is_what_runs() {
    let mut world = World::new(2);
    let (_, web) = running(&mut world, UpdateConfig::default());
    world.secret("key", "two");
    let late = decided(&world);
    world.update(web, |spec| {
        spec.task.container.image = "web:2".to_owned();
        spec.task.container.secrets[0].version = 0;
    });
    late.iter().for_each(|txn| world.apply(txn));
    world.pass(60 * SECOND);
    let images: Vec<String> = world.running(web).iter().map(|task| task.spec.container.image.clone()).collect();
    assert_eq!((images, versions(&world, web)), (vec!["web:2".to_owned(); 3], vec![2, 2, 2]));
    check(&world);
}

#[test]
fn of_two_contents_written_at_once_the_newest_is_what_runs() {
    let mut world = World::new(2);
    let (_, web) = running(&mut world, UpdateConfig::default());
    world.secret("key", "two");
    let late = decided(&world);
    world.secret("key", "three");
    late.iter().for_each(|txn| world.apply(txn));
    world.pass(60 * SECOND);
    assert_eq!(versions(&world, web), [3, 3, 3]);
    check(&world);
}

#[test]
fn a_task_that_is_restarted_before_its_slot_is_updated_keeps_the_old_content() {
    let mut world = World::new(2);
    let (_, web) = running(&mut world, UpdateConfig { delay: 60 * SECOND, ..UpdateConfig::default() });
    world.secret("key", "two");
    world.settle();
    let old = world.running(web).into_iter().find(|task| task.spec.container.secrets[0].version == 1);
    let old = old.expect("a task of the old content");
    let status = TaskStatus { state: TaskState::Failed, ..TaskStatus::default() };
    world.change(vec![Change::TaskStatus { task: old.id, status }]);
    world.pass(10 * SECOND);
    let mut now = versions(&world, web);
    now.sort_unstable();
    assert_eq!(now, [1, 1, 2]);
}

#[test]
fn a_rollback_brings_the_old_content_back_and_keeps_it_until_there_is_a_newer_one() {
    let mut world = World::new(2);
    let (key, web) = running(&mut world, UpdateConfig::default());
    world.secret("key", "two");
    world.pass(60 * SECOND);
    assert_eq!(versions(&world, web), [2, 2, 2]);
    world.rollback(web);
    assert!(world.wait(60 * SECOND, |view| state(view, web) == Some(UpdateState::RollbackCompleted)));
    world.pass(60 * SECOND);
    assert_eq!(versions(&world, web), [1, 1, 1], "it is not raised again by itself");
    assert_eq!(kept(&world, key), [1, 2]);
    check(&world);
    // Neither a change of replicas nor one of labels is a wish for the content it was rolled back from.
    world.update(web, |spec| {
        spec.mode = ServiceMode::Replicated { replicas: 4 };
        spec.task.container.secrets[0].version = 0;
    });
    world.pass(30 * SECOND);
    assert_eq!(versions(&world, web), [1, 1, 1, 1]);
    world.secret("key", "three");
    world.pass(60 * SECOND);
    assert_eq!(versions(&world, web), [3, 3, 3, 3]);
    assert_eq!(kept(&world, key), [1, 2, 3], "the history leads to each of them");
    check(&world);
}

#[test]
fn a_user_who_changes_what_runs_takes_the_newest_content_again() {
    let mut world = World::new(2);
    let (_, web) = running(&mut world, UpdateConfig::default());
    world.secret("key", "two");
    world.pass(60 * SECOND);
    world.rollback(web);
    world.pass(60 * SECOND);
    world.update(web, |spec| {
        spec.task.force_update += 1;
        spec.task.container.secrets[0].version = 0;
    });
    assert_eq!(world.service(web).spec.task.container.secrets[0].version, 2);
    assert!(world.service(web).held.is_empty());
    world.pass(60 * SECOND);
    assert_eq!(versions(&world, web), [2, 2, 2]);
    check(&world);
}

#[test]
fn a_content_that_makes_tasks_fail_is_rolled_back_from_by_itself() {
    let mut world = World::new(2);
    let (_, web) =
        running(&mut world, UpdateConfig { failure_action: FailureAction::Rollback, ..UpdateConfig::default() });
    world.fate("web:1 key 2", Fate::FailsAfter(SECOND));
    world.secret("key", "two");
    assert!(world.wait(60 * SECOND, |view| state(view, web) == Some(UpdateState::RollbackCompleted)));
    world.pass(60 * SECOND);
    assert_eq!(versions(&world, web), [1, 1, 1]);
    let held =
        [ContentVersion { content: ContentId::Secret(world.view().secrets().next().expect("one").id), version: 2 }];
    assert_eq!(world.service(web).held, held);
    world.secret("key", "three");
    world.pass(60 * SECOND);
    assert_eq!(versions(&world, web), [3, 3, 3]);
    check(&world);
}

#[test]
fn an_update_that_fails_is_paused_when_what_it_would_go_back_to_is_gone() {
    let mut world = World::new(2);
    let (key, web) =
        running(&mut world, UpdateConfig { failure_action: FailureAction::Rollback, ..UpdateConfig::default() });
    world.fate("web:2", Fate::FailsAfter(SECOND));
    world.update(web, |spec| {
        spec.task.container.image = "web:2".into();
        spec.task.container.secrets.clear();
    });
    let txn = control::remove_secret(&world.view(), key, world.now).expect("no service uses it");
    world.apply(&txn);
    assert!(world.wait(60 * SECOND, |view| state(view, web) == Some(UpdateState::Paused)));
    let (_, message) = world.update_state(web).expect("a status");
    assert!(message.ends_with("; it can not be rolled back: secret \"key\" is gone"), "{message}");
    let service = world.service(web);
    let refused = control::rollback_service(&world.view(), web, service.meta.version, world.now).expect_err("refused");
    assert!(refused.to_string().contains("secret \"key\", which it used then, is gone"), "{refused}");
}

#[test]
fn contents_that_neither_a_service_nor_a_task_needs_are_dropped() {
    let mut world = World::new(2);
    let (key, web) = running(&mut world, UpdateConfig::default());
    for data in ["two", "three", "four"] {
        world.secret("key", data);
    }
    world.settle();
    assert_eq!(kept(&world, key), [1, 4], "two and three were never used");
    world.pass(60 * SECOND);
    world.remove(web);
    world.pass(10 * SECOND);
    assert_eq!(kept(&world, key), [4]);
    check(&world);
}

#[test]
fn the_same_content_again_changes_nothing() {
    let mut world = World::new(2);
    let (key, web) = running(&mut world, UpdateConfig::default());
    world.secret("key", "one");
    world.pass(10 * SECOND);
    assert_eq!(kept(&world, key), [1]);
    assert!(world.service(web).update_status.is_none());
}

/// An update to `web:2` is in the way of the new content.
fn updated(world: &mut World, config: UpdateConfig) -> (SecretId, ServiceId) {
    let (key, web) = running(world, config);
    world.update(web, |spec| spec.task.container.image = "web:2".into());
    (key, web)
}

#[test]
fn a_new_content_neither_resumes_a_paused_update_nor_becomes_what_one_goes_back_to() {
    let mut world = World::new(2);
    world.fate("web:2 key 1", Fate::FailsAfter(SECOND));
    let (_, web) = updated(&mut world, UpdateConfig::default());
    assert!(world.wait(60 * SECOND, |view| state(view, web) == Some(UpdateState::Paused)));
    world.secret("key", "two");
    world.pass(60 * SECOND);
    assert_eq!(state(&world.view(), web), Some(UpdateState::Paused));
    check(&world);
    world.rollback(web);
    world.pass(120 * SECOND);
    assert!(world.running(web).iter().all(|task| task.spec.container.image == "web:1"));
    assert_eq!(versions(&world, web), [2, 2, 2], "which comes once it went back");
    check(&world);
}

#[test]
fn a_new_content_waits_until_canaries_are_promoted() {
    let mut world = World::new(2);
    let (_, web) = updated(&mut world, UpdateConfig { canary: 1, ..UpdateConfig::default() });
    world.pass(10 * SECOND);
    world.secret("key", "two");
    // A change of replicas is no wish for it either.
    world.update(web, |spec| spec.mode = ServiceMode::Replicated { replicas: 4 });
    world.pass(60 * SECOND);
    assert_eq!(versions(&world, web), [1, 1, 1, 1]);
    assert_eq!(world.service(web).canaries(), Some(1));
    world.promote(web).expect("it waits");
    world.pass(60 * SECOND);
    assert_eq!(versions(&world, web), [2, 2, 2, 2], "with no canary of its own");
    assert_eq!(state(&world.view(), web), Some(UpdateState::Completed));
    world.rollback(web);
    world.pass(60 * SECOND);
    assert!(world.running(web).iter().all(|task| task.spec.container.image == "web:1"), "to what was found good");
}

#[test]
fn an_update_that_fails_after_a_new_content_came_goes_back_before_both() {
    let mut world = World::new(2);
    let config = UpdateConfig { failure_action: FailureAction::Rollback, delay: 5 * SECOND, ..UpdateConfig::default() };
    let (_, web) = updated(&mut world, config);
    world.settle();
    world.fate("web:2 key 2", Fate::FailsAfter(SECOND));
    world.secret("key", "two");
    assert!(world.wait(60 * SECOND, |view| state(view, web) == Some(UpdateState::RollbackCompleted)));
    world.pass(60 * SECOND);
    assert!(world.running(web).iter().all(|task| task.spec.container.image == "web:1"));
    assert_eq!(versions(&world, web), [1, 1, 1]);
    check(&world);
}
