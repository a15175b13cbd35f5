use super::world::*;
use crate::model::*;
use crate::store::{Change, Object, ObjectRef};
use crate::{SecretId, Sensitive, ServiceId, control};
use std::sync::Arc;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn image(world: &mut World, id: ServiceId, image: &str) {
    world.update(id, |spec| spec.task.container.image = image.into());
    world.pass(60 * SECOND);
}

/// Revision and image of the present spec and those before.
fn told(world: &World, id: ServiceId) -> Vec<(u64, String)> {
    let service = world.service(id);
    let now = (service.revision, service.spec.task.container.image.clone());
    let before = service.history.iter().map(|record| (record.revision, record.spec.task.container.image.clone()));
    std::iter::once(now).chain(before).collect()
}

fn versions(told: &[(u64, &str)]) -> Vec<(u64, String)> {
    told.iter().map(|(revision, image)| (*revision, (*image).to_owned())).collect()
}

fn runs(world: &World, id: ServiceId) -> Vec<String> {
    world.running(id).iter().map(|task| task.spec.container.image.clone()).collect()
}

fn four_versions(world: &mut World) -> ServiceId {
    let web = world.create(replicated("web", "web:1", 2));
    world.settle();
    ["web:2", "web:3", "web:4"].into_iter().for_each(|next| image(world, web, next));
    web
}

#[test]
fn any_version_of_the_history_is_gone_back_to() {
    let mut world = World::new(2);
    let web = four_versions(&mut world);
    assert_eq!(told(&world, web), versions(&[(4, "web:4"), (3, "web:3"), (2, "web:2"), (1, "web:1")]));
    world.rollback_to(web, 2).expect("there is one");
    world.pass(60 * SECOND);
    assert_eq!(runs(&world, web), ["web:2", "web:2"]);
    let message = world.update_state(web).map(|(state, _)| state);
    assert_eq!(message, Some(UpdateState::RollbackCompleted));
    // What runs now is no longer among what was.
    assert_eq!(told(&world, web), versions(&[(5, "web:2"), (4, "web:4"), (3, "web:3"), (1, "web:1")]));
    world.rollback(web);
    world.pass(60 * SECOND);
    assert_eq!(runs(&world, web), ["web:4", "web:4"]);
    world.rollback(web);
    world.pass(60 * SECOND);
    assert_eq!(runs(&world, web), ["web:2", "web:2"], "twice leads back");
    image(&mut world, web, "web:5");
    assert_eq!(runs(&world, web), ["web:5", "web:5"], "its version is none of those before");
}

#[test]
fn a_version_that_is_not_there_is_refused_with_those_that_are() {
    let mut world = World::new(1);
    let web = four_versions(&mut world);
    let refused = world.rollback_to(web, 9).expect_err("no such version");
    assert_eq!(refused, "service web has no version 9 to go back to; it has: 3, 2, 1");
    assert_eq!(world.rollback_to(web, 4), Err("service web is at version 4".to_owned()));
}

#[test]
fn an_update_that_changes_nothing_is_no_version() {
    let mut world = World::new(1);
    let web = four_versions(&mut world);
    world.update(web, |_| ());
    assert_eq!(told(&world, web).len(), 4);
    assert_eq!(world.service(web).revision, 4);
}

#[test]
fn the_cluster_says_how_many_are_kept() {
    let mut world = World::new(1);
    for (limit, kept) in [(2, 2), (0, 0)] {
        let mut cluster = (**world.view().cluster().expect("a cluster")).clone();
        cluster.spec.spec_history_limit = limit;
        world.change(vec![Change::Replace(Object::Cluster(Arc::new(cluster)))]);
        let mut spec = replicated(&format!("web{limit}"), "web:1", 1);
        spec.update = Some(UpdateConfig { monitor: SECOND, ..UpdateConfig::default() });
        let web = world.create(spec);
        ["web:2", "web:3", "web:4"].into_iter().for_each(|next| image(&mut world, web, next));
        assert_eq!(world.service(web).history.len(), kept);
        // One step back needs no history.
        world.rollback(web);
        world.pass(60 * SECOND);
        assert_eq!(runs(&world, web), ["web:3"]);
    }
}

#[test]
fn large_specs_leave_fewer_versions() {
    let mut world = World::new(1);
    let mut spec = replicated("web", "web:1", 1);
    spec.task.container.env = vec![format!("BLOB={}", "x".repeat(200_000))];
    let web = world.create(spec);
    for n in 2..9 {
        world.update(web, |spec| spec.task.container.image = format!("web:{n}"));
    }
    let kept: Vec<u64> = world.service(web).history.iter().map(|record| record.revision).collect();
    assert_eq!(kept, [7, 6], "two of 200 kB, not three, fit in half a MiB");
}

fn secret(world: &mut World) -> SecretReference {
    let id = SecretId::random(&mut world.rng);
    let data = Sensitive::new(b"key".to_vec());
    let spec = SecretSpec { name: "tls".into(), labels: Labels::new(), data, templated: false };
    let txn = control::create_secret(&world.view(), spec, id, world.now).expect("a valid secret");
    world.apply(&txn);
    let file = FileTarget { name: "tls".into(), uid: "0".into(), gid: "0".into(), mode: 0o444 };
    SecretReference { id, name: "tls".into(), file, version: 1 }
}

#[test]
fn a_version_whose_secret_is_gone_is_refused_by_its_name() {
    let mut world = World::new(1);
    let web = four_versions(&mut world);
    let secret = secret(&mut world);
    world.update(web, |spec| spec.task.container.secrets = vec![secret.clone()]);
    world.update(web, |spec| spec.task.container.secrets.clear());
    world.change(vec![Change::Delete(ObjectRef::Secret(secret.id))]);
    let before = world.service(web);
    let refused = world.rollback_to(web, 5).expect_err("its secret is gone");
    assert!(
        refused.starts_with("service web can not go back: secret \"tls\", which it used then, is gone"),
        "{refused}"
    );
    assert_eq!(world.service(web), before);
}

#[test]
fn a_failed_update_that_can_not_be_rolled_back_is_paused_and_says_why() {
    let mut world = World::new(1);
    let secret = secret(&mut world);
    let mut spec = replicated("web", "web:1", 2);
    spec.task.container.secrets = vec![secret.clone()];
    spec.update = Some(UpdateConfig { failure_action: FailureAction::Rollback, ..UpdateConfig::default() });
    let web = world.create(spec);
    world.settle();
    world.fate("web:2", Fate::FailsAfter(SECOND));
    world.update(web, |spec| {
        spec.task.container.image = "web:2".into();
        spec.task.container.secrets.clear();
    });
    world.change(vec![Change::Delete(ObjectRef::Secret(secret.id))]);
    world.pass(20 * SECOND);
    let (state, message) = world.update_state(web).expect("a status");
    assert_eq!(state, UpdateState::Paused);
    assert!(message.ends_with("; it can not be rolled back: secret \"tls\" is gone"), "{message}");
}

#[test]
fn what_failed_is_in_the_history_when_it_was_rolled_back_by_itself() {
    let mut world = World::new(1);
    let mut spec = replicated("web", "web:1", 2);
    spec.update = Some(UpdateConfig { failure_action: FailureAction::Rollback, ..UpdateConfig::default() });
    let web = world.create(spec);
    world.settle();
    world.fate("web:2", Fate::FailsAfter(SECOND));
    image(&mut world, web, "web:2");
    assert_eq!(runs(&world, web), ["web:1", "web:1"]);
    assert_eq!(told(&world, web), versions(&[(3, "web:1"), (2, "web:2")]));
    world.fate("web:2", Fate::Runs);
    world.rollback_to(web, 2).expect("it is remembered");
    world.pass(60 * SECOND);
    assert_eq!(runs(&world, web), ["web:2", "web:2"]);
}
