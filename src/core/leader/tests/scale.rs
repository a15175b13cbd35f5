use super::world::*;
use crate::NodeId;
use crate::model::*;
use crate::store::Change;
use crate::store::ObjectRef;
use std::time::Duration;

#[test]
fn a_new_service_is_spread_over_the_nodes_and_its_slots_are_numbered_from_one() {
    let mut world = World::new(3);
    let web = world.create(replicated("web", "web:1", 7));
    world.settle();
    assert_eq!(world.spread(web), [(1, 3), (2, 2), (3, 2)].into());
    let slots: Vec<u64> = world.running(web).iter().map(|task| task.slot).collect();
    assert_eq!(slots, [1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn a_deployment_is_decided_in_one_step() {
    let mut world = World::new(3);
    let web = world.create(replicated("web", "web:1", 100));
    let step = super::super::step(&world.view(), world.now, &super::super::Scope::All, &mut world.rng);
    step.txns.iter().for_each(|txn| world.apply(txn));
    assert!(world.tasks(web).iter().all(|task| task.status.state == TaskState::Assigned));
    assert_eq!(world.tasks(web).len(), 100);
}

#[test]
fn scaling_down_keeps_the_rest_spread_and_scaling_up_fills_the_lowest_slots() {
    let mut world = World::new(3);
    let web = world.create(replicated("web", "web:1", 6));
    world.settle();
    world.update(web, |spec| spec.mode = ServiceMode::Replicated { replicas: 3 });
    world.settle();
    assert_eq!(world.spread(web), [(1, 1), (2, 1), (3, 1)].into());
    assert_eq!(world.tasks(web).len(), 3, "removed tasks leave no history");
    world.update(web, |spec| spec.mode = ServiceMode::Replicated { replicas: 6 });
    world.settle();
    let slots: Vec<u64> = world.running(web).iter().map(|task| task.slot).collect();
    assert_eq!(slots, [1, 2, 3, 4, 5, 6]);
}

#[test]
fn what_does_not_run_is_removed_first() {
    let mut world = World::new(1);
    let web = world.create(replicated("web", "web:1", 4));
    world.settle();
    let second = world.tasks(web)[1].id;
    let status = TaskStatus { state: TaskState::Failed, ..TaskStatus::default() };
    world.change(vec![Change::TaskStatus { task: second, status }]);
    world.lead();
    world.update(web, |spec| spec.mode = ServiceMode::Replicated { replicas: 3 });
    world.settle();
    let slots: Vec<u64> = world.running(web).iter().map(|task| task.slot).collect();
    assert_eq!(slots, [1, 3, 4]);
}

#[test]
fn a_removed_service_is_gone_when_its_tasks_have_stopped() {
    let mut world = World::new(2);
    world.stop_time = Duration::from_secs(3);
    let web = world.create(replicated("web", "web:1", 4));
    world.settle();
    world.remove(web);
    world.settle();
    assert_eq!(world.tasks(web).len(), 4, "they take three seconds to stop");
    world.pass(Duration::from_secs(4));
    assert!(world.view().service(web).is_none());
    assert!(world.tasks(web).is_empty());
}

#[test]
fn a_service_can_be_removed_while_a_node_is_down() {
    let mut world = World::new(2);
    let web = world.create(replicated("web", "web:1", 2));
    world.settle();
    world.node_state(2, NodeState::Down);
    world.settle();
    world.remove(web);
    world.settle();
    assert!(world.view().service(web).is_none());
    assert_eq!(world.tasks(web).len(), 1, "the one nobody could stop yet");
    world.node_state(2, NodeState::Ready);
    world.settle();
    assert!(world.tasks(web).is_empty());
}

#[test]
fn a_global_service_runs_once_on_every_node_also_on_later_ones() {
    let mut world = World::new(3);
    let agent = world.create(global("agent", "agent:1"));
    world.settle();
    assert_eq!(world.spread(agent), [(1, 1), (2, 1), (3, 1)].into());
    world.change(vec![Change::Create(node(4).into())]);
    world.edit_node(1, |node| node.spec.availability = Availability::Drain);
    world.settle();
    assert_eq!(world.spread(agent), [(2, 1), (3, 1), (4, 1)].into());
}

#[test]
fn a_global_task_goes_on_where_it_was_when_its_node_comes_back() {
    let mut world = World::new(2);
    let agent = world.create(global("agent", "agent:1"));
    world.settle();
    let before = world.running(agent);
    world.node_state(2, NodeState::Down);
    world.pass(Duration::from_secs(30));
    world.node_state(2, NodeState::Ready);
    world.settle();
    assert_eq!(
        world.running(agent).iter().map(|t| t.id).collect::<Vec<_>>(),
        before.iter().map(|t| t.id).collect::<Vec<_>>()
    );
}

#[test]
fn tasks_of_a_node_that_is_down_run_elsewhere_at_once_and_the_wanted_number_runs_when_it_is_back() {
    let mut world = World::new(3);
    let web = world.create(replicated("web", "web:1", 6));
    world.settle();
    world.node_state(3, NodeState::Down);
    world.settle();
    assert_eq!(world.spread(web), [(1, 3), (2, 3)].into());
    world.node_state(3, NodeState::Ready);
    world.settle();
    assert_eq!(world.running(web).len(), 6);
    let elsewhere = world.view().tasks_of_node(NodeId(3)).filter(|t| !t.status.state.is_terminal()).count();
    assert_eq!(elsewhere, 0);
}

#[test]
fn tasks_of_a_node_that_stays_away_are_orphaned_after_a_day() {
    let mut world = World::new(2);
    let web = world.create(replicated("web", "web:1", 2));
    world.settle();
    world.node_state(2, NodeState::Down);
    world.settle();
    let day = Duration::from_secs(24 * 3600);
    assert_eq!(world.wake_at, Some(world.now + day));
    world.now = world.now + day;
    world.settle();
    let states: Vec<TaskState> = world.tasks(web).iter().map(|t| t.status.state).collect();
    assert!(states.contains(&TaskState::Orphaned), "{states:?}");
}

#[test]
fn tasks_of_a_removed_node_are_orphaned_and_run_elsewhere() {
    let mut world = World::new(2);
    let web = world.create(replicated("web", "web:1", 2));
    world.settle();
    world.change(vec![Change::Delete(ObjectRef::Node(NodeId(2)))]);
    world.settle();
    assert_eq!(world.spread(web), [(1, 2)].into());
    assert!(world.tasks(web).iter().any(|t| t.status.state == TaskState::Orphaned));
}

#[test]
fn draining_moves_tasks_each_after_the_old_one_has_stopped() {
    let mut world = World::new(2);
    world.stop_time = Duration::from_secs(2);
    let web = world.create(replicated("web", "web:1", 4));
    world.settle();
    world.edit_node(2, |node| node.spec.availability = Availability::Drain);
    world.settle();
    assert_eq!(world.running(web).len(), 2);
    assert!(world.wait(Duration::from_secs(3), |view| {
        view.tasks_of_service(web).filter(|t| t.is_wanted() && t.is_up()).count() == 4
    }));
    assert_eq!(world.spread(web), [(1, 4)].into());
}

#[test]
fn a_paused_node_keeps_its_tasks_and_gets_no_new_ones() {
    let mut world = World::new(2);
    let web = world.create(replicated("web", "web:1", 2));
    world.settle();
    world.edit_node(2, |node| node.spec.availability = Availability::Pause);
    world.update(web, |spec| spec.mode = ServiceMode::Replicated { replicas: 4 });
    world.settle();
    assert_eq!(world.spread(web), [(1, 3), (2, 1)].into());
}

#[test]
fn a_task_moves_when_its_node_no_longer_satisfies_its_constraints() {
    let mut world = World::new(2);
    for id in 1..=2 {
        world.edit_node(id, |node| drop(node.spec.labels.insert("disk".into(), "ssd".into())));
    }
    let mut spec = replicated("db", "db:1", 1);
    spec.task.placement.constraints = vec!["node.labels.disk==ssd".into()];
    let db = world.create(spec);
    world.settle();
    let was = world.running(db)[0].node.expect("a node");
    world.edit_node(was.0, |node| node.spec.labels.clear());
    world.settle();
    assert_ne!(world.running(db)[0].node, Some(was));
}

#[test]
fn a_slot_that_was_filled_twice_by_mistake_keeps_one_task() {
    let mut world = World::new(2);
    let web = world.create(replicated("web", "web:1", 1));
    world.settle();
    let first = world.running(web)[0].clone();
    let twin =
        Task { id: crate::TaskId(9), node: None, status: TaskStatus::default(), up_since: None, ..(*first).clone() };
    world.change(vec![Change::Create(crate::store::Object::Task(twin.into()))]);
    world.settle();
    assert_eq!(world.running(web).iter().map(|task| task.id).collect::<Vec<_>>(), [first.id]);
}

#[test]
fn large_specs_are_written_in_transactions_that_fit_the_log() {
    let mut world = World::new(3);
    let mut spec = replicated("web", "web:1", 100);
    spec.task.container.env = vec![format!("BLOB={}", "x".repeat(50_000))];
    world.create(spec);
    let step = super::super::step(&world.view(), world.now, &super::super::Scope::All, &mut world.rng);
    assert!(step.txns.len() >= 5, "{} transactions for 5 MB", step.txns.len());
    let sizes = step.txns.iter().map(|txn| txn.changes.iter().map(crate::leader::draft::bytes).sum::<usize>());
    assert!(sizes.max() <= Some(1 << 20));
}

/// What it comes to as text, which is more than the log needs.
fn largest(txns: &[crate::store::Txn]) -> usize {
    txns.iter().map(|txn| format!("{txn:?}").len()).max().unwrap_or(0)
}

type Edit<'a> = &'a dyn Fn(&mut ServiceSpec);

#[test]
fn whatever_of_a_service_is_large_no_transaction_is_larger_than_the_log_takes() {
    let text = |n: usize| "x".repeat(n);
    let labels = |spec: &mut ServiceSpec| drop(spec.labels.insert("blob".into(), text(30_000)));
    let ports = |spec: &mut ServiceSpec| {
        let port = |n| PortConfig { target_port: 80, published_port: n, mode: PublishMode::Host, ..Default::default() };
        spec.endpoint.ports = (10_000..10_200).map(port).collect();
    };
    let aliases = |spec: &mut ServiceSpec| {
        spec.task.networks[0].aliases = (0..500).map(|n| format!("{n}{}", text(50))).collect();
    };
    let edits: [(&str, Edit); 3] = [("labels", &labels), ("ports", &ports), ("aliases", &aliases)];
    for (what, edit) in edits {
        let mut world = World::new(3);
        let net = world.network(NetworkSpec { name: "net".into(), ..NetworkSpec::default() });
        let mut spec = replicated("web", "web:1", 400);
        spec.task.networks =
            vec![NetworkTarget { target: net, aliases: Vec::new(), driver_options: Default::default() }];
        edit(&mut spec);
        world.create(spec);
        let step = super::super::step(&world.view(), world.now, &super::super::Scope::All, &mut world.rng);
        assert!(step.txns.len() > 3);
        let largest = largest(&step.txns);
        assert!(largest <= crate::consensus::limits::PROPOSAL_BYTES_MAX, "{what}: {largest}");
    }
}
