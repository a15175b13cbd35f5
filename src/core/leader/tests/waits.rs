//! Every state in which a task or a service does not progress says why.

use super::world::*;
use crate::leader::{Scope, step};
use crate::model::*;
use crate::plan::{service_reason, waiting_reason};
use crate::store::{Change, Object, Txn};
use crate::{NodeId, ServiceId};
use std::sync::Arc;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// Reasons of the service's wanted tasks, each once.
fn reasons(world: &World, service: ServiceId) -> Vec<String> {
    let view = world.view();
    let tasks = world.tasks(service);
    let mut reasons: Vec<String> = tasks.iter().filter_map(|task| waiting_reason(&view, task, world.now)).collect();
    reasons.dedup();
    reasons
}

fn assert_says(world: &World, service: ServiceId, words: &str) {
    let said = reasons(world, service);
    assert!(said.len() == 1 && said[0].contains(words), "{words:?}: {said:?}");
}

/// Puts a task into a state its agent would report.
fn report(world: &mut World, service: ServiceId, state: TaskState, message: &str) {
    let task = world.tasks(service).pop().expect("a task");
    let status = TaskStatus { state, message: message.to_owned(), ..TaskStatus::default() };
    world.change(vec![Change::TaskStatus { task: task.id, status }]);
}

#[test]
fn a_task_the_managers_have_not_come_to_says_so() {
    let mut world = World::new(1);
    let web = world.create(replicated("web", "web:1", 1));
    // The first step's first transaction makes the task; what follows is not carried out.
    let first = step(&world.view(), world.now, &Scope::All, &mut world.rng).txns.remove(0);
    let task = first.changes.into_iter().filter(|change| matches!(change, Change::Create(_))).collect();
    world.apply(&Txn { changes: task, ..Txn::default() });
    assert_says(&world, web, "waits for its addresses: the managers have not come to it");
    let task = world.tasks(web)[0].id;
    world.change(vec![Change::TaskAllocated { task, attachments: Some(Vec::new()), reason: String::new() }]);
    assert_says(&world, web, "waits for a node: the managers have not come to it");
}

#[test]
fn a_task_without_an_address_names_the_pool_that_is_used_up() {
    let mut world = World::new(1);
    let subnet = IpamSubnet { subnet: "10.9.0.0/29".parse().unwrap(), gateway: None, range: None };
    let net = world.network(NetworkSpec { name: "small".into(), ipam: vec![subnet], ..NetworkSpec::default() });
    let mut spec = replicated("web", "web:1", 9);
    spec.task.networks = vec![NetworkTarget { target: net, aliases: Vec::new(), driver_options: Default::default() }];
    let web = world.create(spec);
    world.settle();
    assert_says(&world, web, "small");
}

#[test]
fn a_task_of_a_service_without_addresses_has_the_services_reason() {
    let mut world = World::new(1);
    let port = PortConfig { target_port: 80, published_port: 8080, ..PortConfig::default() };
    let web = world.create(replicated("web", "web:1", 1));
    let other = world.create(replicated("other", "web:1", 1));
    for service in [web, other] {
        // Both at once, past the check of the API: the second waits.
        world.overwrite(service, |spec| spec.endpoint.ports = vec![port.clone()]);
    }
    world.settle();
    assert_says(&world, other, "8080");
    let view = world.view();
    assert!(service_reason(&view, view.service(other).unwrap()).unwrap().contains("8080"));
    assert_eq!(service_reason(&view, view.service(web).unwrap()), None);
}

#[test]
fn a_task_that_fits_nowhere_says_what_each_node_lacks() {
    let mut world = World::new(3);
    world.edit_node(3, |node| node.spec.availability = Availability::Drain);
    let mut spec = replicated("web", "web:1", 1);
    spec.task.resources.reservations.memory_bytes = 64 << 30;
    let web = world.create(spec);
    world.settle();
    assert_says(&world, web, "lack memory");
    assert_says(&world, web, "drained");
}

#[test]
fn a_task_whose_node_does_not_answer_names_the_node_and_its_state() {
    for (state, words) in [
        (NodeState::Ready, "waits for node"),
        (NodeState::Unknown, "was not heard of yet"),
        (NodeState::Disconnected, "is disconnected"),
    ] {
        let mut world = World::new(1);
        let web = world.create(replicated("web", "web:1", 1));
        world.lead();
        world.silent.insert(NodeId(1));
        world.edit_node(1, |node| node.status.state = state);
        assert_says(&world, web, words);
    }
}

#[test]
fn a_global_task_whose_node_is_down_waits_for_it() {
    let mut world = World::new(1);
    let web = world.create(global("web", "web:1"));
    world.lead();
    world.node_state(1, NodeState::Down);
    world.settle();
    assert_says(&world, web, "is down");
}

#[test]
fn a_task_its_agent_works_at_says_how_far_it_is() {
    for (state, message) in [
        (TaskState::Accepted, "accepted"),
        (TaskState::Preparing, "pulling web:1: 40 of 120 MiB"),
        (TaskState::Starting, "waiting for the first healthy check"),
    ] {
        let mut world = World::new(1);
        let web = world.create(replicated("web", "web:1", 1));
        world.lead();
        report(&mut world, web, state, message);
        assert_says(&world, web, message);
    }
}

#[test]
fn a_task_that_is_ready_waits_for_its_node_to_start_it() {
    let mut world = World::new(1);
    let web = world.create(replicated("web", "web:1", 1));
    world.lead();
    report(&mut world, web, TaskState::Ready, "ready");
    assert_says(&world, web, "waits for node");
}

#[test]
fn a_task_that_runs_and_is_not_ready_says_so() {
    let mut world = World::new(1);
    let web = world.create(replicated("web", "web:1", 1));
    world.lead();
    let task = world.tasks(web)[0].id;
    let container = ContainerStatus { ready: Some(false), ..ContainerStatus::default() };
    let status = TaskStatus { state: TaskState::Running, container: Some(container), ..TaskStatus::default() };
    world.change(vec![Change::TaskStatus { task, status }]);
    assert_says(&world, web, "not healthy or ready");
}

#[test]
fn a_restart_says_when_it_comes_or_what_it_waits_for() {
    let mut world = World::new(1);
    world.fate("web:1", Fate::FailsAfter(SECOND));
    let mut spec = replicated("web", "web:1", 1);
    spec.task.restart.delay = 7 * SECOND;
    let web = world.create(spec);
    world.pass(2 * SECOND);
    assert_says(&world, web, "restarts in 6 s");

    let mut world = World::new(1);
    world.stop_time = 30 * SECOND;
    let web = world.create(replicated("web", "web:1", 1));
    world.settle();
    let old = world.tasks(web)[0].name();
    world.update(web, |spec| spec.task.container.image = "web:2".into());
    world.settle();
    assert_says(&world, web, &format!("waits for {old} to stop"));
}

#[test]
fn an_ended_task_that_nobody_looked_at_says_so() {
    let mut world = World::new(1);
    let web = world.create(replicated("web", "web:1", 1));
    world.settle();
    report(&mut world, web, TaskState::Complete, "finished");
    assert_says(&world, web, "ended; the managers have not come to it");
}

#[test]
fn a_task_of_a_job_that_completed_waits_for_nothing() {
    let mut world = World::new(1);
    let mode = ServiceMode::ReplicatedJob { max_concurrent: 1, total_completions: 1 };
    let mut spec = ServiceSpec { mode, ..replicated("work", "work:1", 0) };
    spec.task.restart.condition = RestartCondition::OnFailure;
    let work = world.create(spec);
    world.settle();
    report(&mut world, work, TaskState::Complete, "finished");
    assert_eq!(reasons(&world, work), Vec::<String>::new());
}

#[test]
fn a_port_of_a_service_that_is_being_removed_is_waited_for_with_these_words() {
    let mut world = World::new(1);
    world.stop_time = Duration::from_secs(3);
    let mut spec = replicated("web", "web:1", 1);
    spec.endpoint.ports = vec![PortConfig { target_port: 80, published_port: 8080, ..PortConfig::default() }];
    let old = world.create(spec.clone());
    world.settle();
    world.remove(old);
    let new = world.create(spec);
    world.lead();
    let words = "port 8080/tcp is already published by service \"web\", which is being removed";
    assert_says(&world, new, words);
    world.pass(10 * SECOND);
    assert_eq!(world.running(new).len(), 1);
}

#[test]
fn a_paused_update_is_the_services_reason() {
    let mut world = World::new(1);
    world.fate("web:2", Fate::FailsAfter(SECOND));
    let web = world.create(replicated("web", "web:1", 2));
    world.settle();
    world.update(web, |spec| spec.task.container.image = "web:2".into());
    world.pass(20 * SECOND);
    let view = world.view();
    let reason = service_reason(&view, view.service(web).unwrap()).unwrap();
    assert!(reason.contains("update paused due to failure"), "{reason}");
}

fn service_says(world: &World, service: ServiceId) -> Option<String> {
    service_reason(&world.view(), &world.service(service))
}

/// A service of three whose tasks have `fate` a second after they came up.
fn ended(mode: ServiceMode, fate: Fate, restart: RestartPolicy) -> (World, ServiceId) {
    let mut world = World::new(1);
    world.fate("web:1", fate);
    let mut spec = ServiceSpec { mode, ..replicated("web", "web:1", 3) };
    spec.task.restart = RestartPolicy { delay: SECOND, ..restart };
    let web = world.create(spec);
    world.pass(60 * SECOND);
    (world, web)
}

#[test]
fn a_service_whose_slots_are_given_up_says_why_and_what_to_do() {
    let three = ServiceMode::Replicated { replicas: 3 };
    let policy = |condition, max_attempts, window_s| RestartPolicy {
        condition,
        max_attempts,
        window: Duration::from_secs(window_s),
        ..RestartPolicy::default()
    };
    let (fails, completes) = (Fate::FailsAfter(SECOND), Fate::CompletesAfter(SECOND));
    for (fate, policy, words) in [
        (
            fails,
            policy(RestartCondition::Any, 2, 0),
            "3 of 3 slots are given up: attempts used up (2 of 2); last error: exit code 1",
        ),
        (
            fails,
            policy(RestartCondition::OnFailure, 2, 300),
            "3 of 3 slots are given up: attempts used up (2 within 300 s); last error: exit code 1",
        ),
        (
            fails,
            policy(RestartCondition::None, 0, 0),
            "3 of 3 slots are given up: failed, with restart condition none; last error: exit code 1",
        ),
        (
            completes,
            policy(RestartCondition::OnFailure, 0, 0),
            "3 of 3 slots are over: completed, with restart condition on-failure",
        ),
        (
            completes,
            policy(RestartCondition::None, 0, 0),
            "3 of 3 slots are over: completed, with restart condition none",
        ),
    ] {
        let (mut world, web) = ended(three.clone(), fate, policy);
        let what = "; run \"swarm service update --force web\" to start again";
        assert_eq!(service_says(&world, web), Some(format!("{words}{what}")));
        // What it says to do helps.
        world.fate("web:1", Fate::Runs);
        world.update(web, |spec| spec.task.force_update += 1);
        world.pass(60 * SECOND);
        assert_eq!((world.running(web).len(), service_says(&world, web)), (3, None));
    }
}

#[test]
fn a_service_that_is_restarted_or_scaled_to_nothing_has_given_up_nothing() {
    let (world, web) =
        ended(ServiceMode::Replicated { replicas: 3 }, Fate::FailsAfter(SECOND), RestartPolicy::default());
    assert_eq!(service_says(&world, web), None);
    let policy = RestartPolicy { max_attempts: 1, ..RestartPolicy::default() };
    let (mut world, web) = ended(ServiceMode::Replicated { replicas: 3 }, Fate::FailsAfter(SECOND), policy);
    world.update(web, |spec| spec.mode = ServiceMode::Replicated { replicas: 0 });
    world.settle();
    assert_eq!(service_says(&world, web), None);
}

#[test]
fn a_job_whose_runs_are_given_up_says_why_and_one_that_completed_says_nothing() {
    let policy =
        || RestartPolicy { condition: RestartCondition::OnFailure, max_attempts: 1, ..RestartPolicy::default() };
    let job = || ServiceMode::ReplicatedJob { max_concurrent: 2, total_completions: 5 };
    let (world, web) = ended(job(), Fate::FailsAfter(SECOND), policy());
    let said = service_says(&world, web).expect("a reason");
    assert!(said.starts_with("5 of 5 runs are given up: attempts used up (1 of 1); last error: exit code 1"), "{said}");
    let (world, web) = ended(ServiceMode::GlobalJob, Fate::FailsAfter(SECOND), policy());
    let said = service_says(&world, web).expect("a reason");
    assert!(said.starts_with("1 of 1 runs is given up"), "{said}");
    let (world, web) = ended(job(), Fate::CompletesAfter(SECOND), policy());
    assert_eq!(service_says(&world, web), None);
}

#[test]
fn what_does_not_fit_into_the_log_says_so_and_keeps_nothing_else_from_going_on() {
    let mut world = World::new(1);
    let (web, db) = (world.create(replicated("web", "web:1", 2)), world.create(replicated("db", "db:1", 1)));
    let made = step(&world.view(), world.now, &Scope::All, &mut world.rng.clone()).txns.remove(0).changes;
    let of_web = |change: &Change| matches!(change, Change::Create(Object::Task(task)) if task.service == web);
    world.too_large(made.iter().find(|change| of_web(change)).expect("a task of it"));
    world.settle();
    assert_eq!((world.running(db).len(), world.tasks(web).len()), (1, 0));
    let reason = |world: &World| service_reason(&world.view(), &world.service(web));
    let said = reason(&world).expect("a reason");
    assert!(said.contains("its tasks are too large to be written: 9000000 bytes, at most 8000000 fit"), "{said}");
    let before = world.view().index();
    world.pass(60 * SECOND);
    assert_eq!(world.view().index(), before, "it is told once");
    // What it becomes is tried.
    world.update(web, |spec| spec.task.container.env.push("SMALLER=1".into()));
    world.settle();
    assert_eq!((world.running(web).len(), reason(&world)), (2, None));
}

#[test]
fn an_address_or_a_place_that_does_not_fit_into_the_log_is_the_reason_of_its_task() {
    for (state, words) in
        [(TaskState::New, "its addresses are too large"), (TaskState::Pending, "its place is too large")]
    {
        let mut world = World::new(1);
        let web = world.create(replicated("web", "web:1", 1));
        let mut changes = step(&world.view(), world.now, &Scope::All, &mut world.rng).txns.remove(0).changes;
        let of_task = |change: &Change| match state {
            TaskState::New => matches!(change, Change::TaskAllocated { .. }),
            _ => matches!(change, Change::TaskAssigned { .. }),
        };
        let at = changes.iter().position(of_task).expect("the change");
        world.too_large(&changes[at]);
        changes.truncate(at);
        world.apply(&Txn { changes, ..Txn::default() });
        world.settle();
        assert_says(&world, web, words);
        let before = world.view().index();
        world.pass(60 * SECOND);
        assert_eq!(world.view().index(), before, "it is told once");
    }
}

#[test]
fn a_global_service_without_a_node_says_why_it_has_no_task() {
    let mut world = World::new(2);
    let mut spec = global("web", "web:1");
    spec.task.placement.constraints = vec!["node.labels.disk==ssd".into()];
    let web = world.create(spec);
    world.settle();
    let reason = |world: &World| service_reason(&world.view(), world.view().service(web).unwrap());
    assert!(reason(&world).unwrap().contains("no node fits: 2 do not fulfil"));
    world.edit_node(1, |node| {
        node.spec.labels = [("disk".to_owned(), "ssd".to_owned())].into();
        node.spec.availability = Availability::Pause;
    });
    world.settle();
    assert!(reason(&world).unwrap().contains("1 that would are down, paused or drained"));
    world.edit_node(1, |node| node.spec.availability = Availability::Active);
    world.settle();
    assert_eq!(reason(&world), None);
    assert_eq!(reasons(&world, web), Vec::<String>::new(), "what is up waits for nothing");
    let gone: Arc<Task> = world.tasks(web).remove(0);
    world.remove(web);
    world.lead();
    assert_eq!(waiting_reason(&world.view(), world.view().task(gone.id).unwrap(), world.now), None);
}

#[test]
fn a_task_is_not_given_to_a_node_that_was_drained_meanwhile() {
    let mut world = World::new(2);
    let web = world.create(replicated("web", "web:1", 1));
    let step = super::super::step(&world.view(), world.now, &super::super::Scope::All, &mut world.rng);
    world.edit_node(1, |node| node.spec.availability = Availability::Drain);
    step.txns.iter().for_each(|txn| world.apply(txn));
    assert_eq!(world.tasks(web)[0].status.state, TaskState::Pending);
    world.settle();
    assert_eq!((world.spread(web), world.tasks(web).len()), ([(2, 1)].into(), 1));
}
