use super::world::*;
use crate::audit::audit_settled;
use crate::model::*;
use crate::{NodeId, ServiceId, control};
use std::time::Duration;

fn on(service: &str, condition: DependencyCondition) -> Dependency {
    Dependency { service: service.to_owned(), condition, optional: false }
}

fn web(depends_on: Vec<Dependency>) -> ServiceSpec {
    ServiceSpec { depends_on, ..replicated("web", "web", 2) }
}

/// What the tasks that wait say; none of them has gone anywhere.
fn waits(world: &mut World, id: ServiceId) -> Vec<String> {
    world.settle();
    assert_eq!(audit_settled(&world.view()), []);
    let tasks = world.tasks(id);
    assert!(tasks.iter().all(|task| task.status.state == TaskState::New && task.attachments.is_empty()));
    let mut said: Vec<String> = tasks.iter().map(|task| task.status.err.clone()).collect();
    said.dedup();
    said
}

#[test]
fn a_service_waits_until_what_it_depends_on_is_there_and_has_started() {
    let mut world = World::new(2);
    let id = world.create(web(vec![on("db", DependencyCondition::Started)]));
    assert_eq!(
        waits(&mut world, id),
        ["waits for service db, which does not exist: create it, or make the dependency optional"]
    );
    world.fate("db", Fate::Rejected);
    world.create(replicated("db", "db", 3));
    assert_eq!(waits(&mut world, id), ["waits for service db to start: 0 of 3 tasks started"]);
    world.fate("db", Fate::Runs);
    world.pass(Duration::from_secs(11));
    assert_eq!(world.running(id).len(), 2);
}

#[test]
fn an_optional_dependency_is_waited_for_only_when_it_is_there() {
    let mut world = World::new(1);
    let optional = Dependency { optional: true, ..on("db", DependencyCondition::Started) };
    let alone = world.create(web(vec![optional.clone()]));
    world.settle();
    assert_eq!(world.running(alone).len(), 2);
    world.fate("db", Fate::Rejected);
    world.create(replicated("db", "db", 1));
    let second = world.create(ServiceSpec { name: "web2".into(), ..web(vec![optional]) });
    assert_eq!(waits(&mut world, second), ["waits for service db to start: 0 of 1 tasks started"]);
}

#[test]
fn a_service_waits_for_health_and_for_each_of_several_others() {
    let mut world = World::new(1);
    let both = vec![on("db", DependencyCondition::Healthy), on("cache", DependencyCondition::Started)];
    let id = world.create(web(both));
    world.fate("db", Fate::CannotStart);
    world.create(replicated("db", "db", 1));
    assert_eq!(
        waits(&mut world, id),
        [
            "waits for service db to be healthy: 0 of 1 tasks healthy, and for service cache, which does not exist: create it, or make the dependency optional"
        ]
    );
    world.create(replicated("cache", "cache", 1));
    assert_eq!(waits(&mut world, id), ["waits for service db to be healthy: 0 of 1 tasks healthy"]);
    world.fate("db", Fate::Runs);
    world.pass(Duration::from_secs(11));
    assert_eq!(world.running(id).len(), 2);
}

#[test]
fn a_service_waits_for_a_job_to_complete_and_says_when_it_will_not() {
    let mut world = World::new(1);
    let id = world.create(web(vec![on("migrate", DependencyCondition::Completed)]));
    world.fate("migrate", Fate::FailsAfter(Duration::from_secs(1)));
    let mode = ServiceMode::ReplicatedJob { max_concurrent: 1, total_completions: 2 };
    let mut migrate = ServiceSpec { mode, ..replicated("migrate", "migrate", 0) };
    migrate.task.restart.condition = RestartCondition::None;
    let job = world.create(migrate);
    assert_eq!(waits(&mut world, id), ["waits for service migrate to complete: 0 of 2 tasks completed"]);
    world.pass(Duration::from_secs(9));
    assert_eq!(
        waits(&mut world, id),
        [
            "waits for service migrate to complete: 0 of 2 tasks completed, 2 failed for good (run it again with \"service update --force migrate\")"
        ]
    );
    world.fate("migrate", Fate::CompletesAfter(Duration::from_secs(1)));
    world.update(job, |spec| spec.task.force_update += 1);
    world.pass(Duration::from_secs(1));
    assert_eq!(waits(&mut world, id), ["waits for service migrate to complete: 1 of 2 tasks completed"]);
    world.pass(Duration::from_secs(1));
    assert_eq!(world.running(id).len(), 2);
}

#[test]
fn a_service_that_never_completes_is_said_to_be_one() {
    let mut world = World::new(1);
    let id = world.create(web(vec![on("init", DependencyCondition::Completed)]));
    world.fate("init", Fate::CompletesAfter(Duration::from_secs(1)));
    let init = world.create(replicated("init", "init", 1));
    let said = waits(&mut world, id);
    assert!(said[0].starts_with("waits for service init to complete, which it never does"), "{said:?}");
    world.update(init, |spec| spec.task.restart.condition = RestartCondition::OnFailure);
    world.pass(Duration::from_secs(20));
    assert_eq!(world.running(id).len(), 2, "one that is no job completes as well when it is left down");
}

#[test]
fn only_the_first_start_waits() {
    let mut world = World::new(2);
    let db = world.create(replicated("db", "db", 1));
    let id = world.create(web(vec![on("db", DependencyCondition::Healthy)]));
    world.settle();
    assert_eq!(world.running(id).len(), 2);
    world.remove(db);
    world.node_state(1, NodeState::Down);
    world.update(id, |spec| spec.mode = ServiceMode::Replicated { replicas: 3 });
    world.settle();
    assert_eq!(world.running(id).iter().filter(|task| task.node == Some(NodeId(2))).count(), 3);
    world.node_state(1, NodeState::Ready);
    world.update(id, |spec| spec.mode = ServiceMode::Replicated { replicas: 0 });
    world.settle();
    world.update(id, |spec| spec.mode = ServiceMode::Replicated { replicas: 1 });
    assert_eq!(waits(&mut world, id).len(), 1, "begun from nothing it is a first start again");
}

#[test]
fn services_that_wait_for_each_other_are_refused_with_the_way_around() {
    let mut world = World::new(1);
    let named = |name: &str, before: &str| ServiceSpec {
        name: name.into(),
        ..web(vec![on(before, DependencyCondition::Started)])
    };
    world.create(named("a", "b"));
    world.create(named("b", "c"));
    let refused =
        |spec| control::create_service(&world.view(), spec, ServiceId(99), world.now).unwrap_err().to_string();
    assert_eq!(
        refused(named("c", "a")),
        "Swarm.DependsOn: none of these could ever start, each waits for the next: c -> a -> b -> c"
    );
    let twice = vec![on("x", DependencyCondition::Started), on("x", DependencyCondition::Healthy)];
    assert_eq!(refused(web(twice)), "Swarm.DependsOn[1].Service: service x is given twice");
}

#[test]
fn what_an_autoscaled_service_is_to_have_is_what_its_load_asks_for() {
    let mut world = World::new(1);
    let id = world.create(web(vec![on("db", DependencyCondition::Started)]));
    world.fate("db", Fate::Rejected);
    let autoscale = Autoscale {
        min: 3,
        max: 5,
        cpu_percent: 70,
        window: AUTOSCALE_WINDOW_DEFAULT,
        scale_down_delay: AUTOSCALE_DELAY_DEFAULT,
        ..Autoscale::default()
    };
    world.create(ServiceSpec { autoscale: Some(autoscale), ..replicated("db", "db", 1) });
    assert_eq!(waits(&mut world, id), ["waits for service db to start: 0 of 3 tasks started"]);
}
