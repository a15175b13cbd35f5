//! What a dry run tells is what then happens.

use super::world::*;
use crate::control;
use crate::model::*;
use crate::rehearsal::{Action, Deed, Place, Rehearsal, Rehearsed};
use crate::store::{Object, Txn, View};
use crate::{NodeId, ServiceId};
use proptest::prelude::*;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn rehearse(world: &World, txn: &Txn) -> Rehearsed {
    let mut rehearsal = Rehearsal::new(&world.view(), world.now, 1 << 100);
    rehearsal.apply(txn).expect("it applies");
    rehearsal.run()
}

fn update_txn(world: &World, id: ServiceId, edit: impl FnOnce(&mut ServiceSpec)) -> Txn {
    let view = world.view();
    let service = view.service(id).expect("the service");
    let mut spec = (*service.spec).clone();
    edit(&mut spec);
    control::update_service(&view, id, service.meta.version, spec, world.now).expect("a valid service")
}

fn update(world: &World, id: ServiceId, edit: impl FnOnce(&mut ServiceSpec)) -> Rehearsed {
    rehearse(world, &update_txn(world, id, edit))
}

fn lines(told: &Rehearsed) -> Vec<String> {
    let line = |action: &Action| {
        let place = match action.place {
            Place::Slot(slot) => slot.to_string(),
            Place::Node(node) => format!("node{}", node.0),
        };
        let deed = match &action.deed {
            Deed::Start { node } => format!("start {}", node.0),
            Deed::Stop { node } => format!("stop {}", node.0),
            Deed::Replace { from, to, start_first: true } => format!("replace {} by {} first", from.0, to.0),
            Deed::Replace { from, to, start_first: false } => format!("replace {} by {}", from.0, to.0),
            Deed::Move { from, to } => format!("move {} to {}", from.0, to.0),
            Deed::Wait { reason } => format!("wait: {reason}"),
        };
        format!("{} {}s {}.{place} {deed}", action.step, action.after.as_secs(), action.name)
    };
    told.actions.iter().map(line).collect()
}

fn running(world: &mut World, replicas: u64, config: UpdateConfig) -> ServiceId {
    let mut spec = replicated("web", "web:1", replicas);
    spec.update = Some(config);
    let web = world.create(spec);
    world.settle();
    web
}

#[test]
fn an_update_is_told_slot_by_slot_in_its_order() {
    let mut world = World::new(2);
    let config = UpdateConfig { parallelism: 2, delay: 10 * SECOND, ..UpdateConfig::default() };
    let web = running(&mut world, 3, config);
    let before = world.view();
    let told = update(&world, web, |spec| {
        spec.task.container.image = "web:2".into();
        spec.mode = ServiceMode::Replicated { replicas: 4 };
    });
    let expected =
        ["1 0s web.1 replace 1 by 1", "1 0s web.2 replace 2 by 2", "1 0s web.4 start 2", "2 10s web.3 replace 1 by 1"];
    assert_eq!(lines(&told), expected);
    assert!(told.is_whole);
    assert_eq!(
        (told.services[0].up, told.services[0].wanted, told.services[0].message.as_str()),
        (4, 4, "update completed")
    );
    assert_eq!(told.objects.len(), 1);
    assert_eq!(world.view().service(web), before.service(web), "nothing was made");
}

#[test]
fn what_starts_first_moves_waits_and_goes_is_told_as_such() {
    let mut world = World::new(2);
    let web = running(&mut world, 2, UpdateConfig { order: UpdateOrder::StartFirst, ..UpdateConfig::default() });
    let told = update(&world, web, |spec| spec.task.container.image = "web:2".into());
    assert_eq!(lines(&told)[0], "1 0s web.1 replace 1 by 1 first");
    assert_eq!(told.actions.len(), 2);
    let told = update(&world, web, |spec| spec.mode = ServiceMode::Replicated { replicas: 1 });
    assert_eq!(lines(&told), ["1 0s web.2 stop 2"]);
    let mut spec = replicated("db", "db:1", 1);
    spec.task.placement.constraints = vec!["node.labels.disk==ssd".into()];
    let create = control::create_service(&world.view(), spec, ServiceId(1), world.now).expect("a valid service");
    let waits = lines(&rehearse(&world, &create));
    assert!(waits[0].starts_with("1 0s db.1 wait: no node fits"), "{waits:?}");
    assert_eq!(waits.len(), 1);
    let remove = control::remove_service(&world.view(), web, world.now).expect("it is there");
    let told = rehearse(&world, &remove);
    assert_eq!(lines(&told), ["1 0s web.1 stop 1", "1 0s web.2 stop 2"]);
    assert_eq!(told.services[0].message, "removed");
}

#[test]
fn a_global_service_is_told_by_its_nodes() {
    let mut world = World::new(2);
    let agent = world.create(global("agent", "agent:1"));
    world.settle();
    let told = update(&world, agent, |spec| spec.task.container.image = "agent:2".into());
    assert_eq!(lines(&told), ["1 0s agent.node1 replace 1 by 1", "2 0s agent.node2 replace 2 by 2"]);
}

#[test]
fn canaries_end_the_tale_unless_they_are_promoted_by_themselves() {
    let mut world = World::new(2);
    let web = running(&mut world, 3, UpdateConfig::default());
    let canary = |after: Option<Duration>| {
        update(&world, web, |spec| {
            spec.task.container.image = "web:2".into();
            spec.update = Some(UpdateConfig { canary: 1, canary_promote_after: after, ..UpdateConfig::default() });
        })
    };
    let told = canary(None);
    assert_eq!(lines(&told), ["1 0s web.1 replace 1 by 1"]);
    assert!(told.services[0].message.starts_with("canary: 1 of 3 updated; waits for "));
    let told = canary(Some(300 * SECOND));
    let expected = ["1 0s web.1 replace 1 by 1", "2 300s web.2 replace 2 by 2", "3 300s web.3 replace 1 by 1"];
    assert_eq!(lines(&told), expected);
}

#[test]
fn a_change_without_effect_tells_nothing() {
    let mut world = World::new(2);
    let web = running(&mut world, 3, UpdateConfig::default());
    let told = update(&world, web, |spec| spec.labels.insert("a".into(), "b".into()).map_or((), drop));
    assert!(told.actions.is_empty());
    assert_eq!(told.objects.len(), 1);
}

/// Which tasks got a node, in order: slot, image, node.
type Given = Vec<(u64, String, Option<NodeId>)>;

fn watched(world: &mut World, id: ServiceId) -> Rc<RefCell<Given>> {
    let given = Rc::new(RefCell::new(Given::new()));
    let placed = |task: &Task| (TaskState::Assigned..=TaskState::Running).contains(&task.status.state);
    let known: BTreeSet<_> = world.tasks(id).iter().filter(|task| placed(task)).map(|task| task.id).collect();
    let (seen, known) = (Rc::clone(&given), RefCell::new(known));
    world.watch = Some(Box::new(move |view: &View| {
        let mut new: Vec<_> = view
            .tasks_of_service(id)
            .filter(|task| placed(task) && known.borrow_mut().insert(task.id))
            .map(|task| (task.slot, task.spec.container.image.clone(), task.node))
            .collect();
        new.sort();
        seen.borrow_mut().extend(new);
    }));
    given
}

/// Wanted tasks by slot: image and node.
fn standing(view: &View, id: ServiceId) -> BTreeMap<(u64, Option<NodeId>), String> {
    let wanted = view.tasks_of_service(id).filter(|task| task.is_wanted());
    wanted.map(|task| ((task.slot, task.node), task.spec.container.image.clone())).collect()
}

#[derive(Clone, Debug)]
struct Case {
    nodes: u128,
    others: u64,
    replicas: u64,
    global: bool,
    gib: i64,
    config: UpdateConfig,
    image: bool,
    scale: Option<u64>,
    pinned: bool,
    down: Option<u128>,
}

fn case() -> impl Strategy<Value = Case> {
    let order = prop_oneof![Just(UpdateOrder::StopFirst), Just(UpdateOrder::StartFirst)];
    let promote = proptest::option::of((1u64..99).prop_map(Duration::from_secs));
    let config = (0u64..4, 0u64..4, order, 0u64..3, promote).prop_map(|(parallelism, delay, order, canary, after)| {
        let canary_promote_after = after.filter(|_| canary > 0);
        let delay = Duration::from_secs(delay);
        UpdateConfig { parallelism, delay, order, canary, canary_promote_after, ..UpdateConfig::default() }
    });
    let sizes = (1u128..5, 0u64..6, 1u64..7, any::<bool>(), 0i64..5);
    let change = (any::<bool>(), proptest::option::of(0u64..9), any::<bool>(), proptest::option::of(1u128..4));
    (sizes, config, change).prop_map(
        |((nodes, others, replicas, global, gib), config, (image, scale, pinned, down))| Case {
            nodes,
            others,
            replicas,
            global,
            gib,
            config,
            image,
            scale,
            pinned,
            down,
        },
    )
}

proptest! {
    // A case is a whole update.
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 4, ..ProptestConfig::default() })]

    #[test]
    fn what_is_told_is_what_the_leader_then_does(case in case()) {
        let mut world = World::new(case.nodes);
        world.create(replicated("other", "other:1", case.others));
        let mut spec = if case.global { global("web", "web:1") } else { replicated("web", "web:1", case.replicas) };
        spec.task.resources.reservations.memory_bytes = case.gib << 30;
        let web = world.create(spec);
        world.settle();
        if let Some(node) = case.down.filter(|node| *node <= case.nodes) {
            world.node_state(node, NodeState::Down);
            world.settle();
        }
        let txn = update_txn(&world, web, |spec| {
            spec.update = Some(case.config.clone());
            if case.image {
                spec.task.container.image = "web:2".into();
            }
            if let (ServiceMode::Replicated { replicas }, Some(scale)) = (&mut spec.mode, case.scale) {
                *replicas = scale;
            }
            if case.pinned {
                spec.task.placement.constraints = vec!["node.hostname==host1".into()];
            }
        });
        let told = rehearse(&world, &txn);
        prop_assert!(told.is_whole);
        let given = watched(&mut world, web);
        world.apply(&txn);
        world.pass(Duration::from_secs(600));
        prop_assert_eq!(standing(&told.view, web), standing(&world.view(), web));
        let message = world.update_state(web).map(|(state, _)| state);
        let end = told.view.service(web).and_then(|service| service.update_status.as_ref().map(|status| status.state));
        prop_assert_eq!(end, message);
        // Node by node, in the same order.
        let to = |action: &Action| match action.deed {
            Deed::Start { node } => Some(node),
            Deed::Replace { to, .. } | Deed::Move { to, .. } => Some(to),
            Deed::Stop { .. } | Deed::Wait { .. } => None,
        };
        let slot = |action: &Action| match action.place {
            Place::Slot(slot) => slot,
            Place::Node(_) => 0,
        };
        let of_web = told.actions.iter().filter(|action| action.service == web);
        let told: Vec<_> = of_web.filter_map(|action| Some((slot(action), to(action)?))).collect();
        let done: Vec<_> = given.borrow().iter().filter_map(|(slot, _, node)| Some((*slot, (*node)?))).collect();
        prop_assert_eq!(told, done);
    }
}

#[test]
fn a_stack_is_rehearsed_part_by_part() {
    let world = World::new(1);
    let mut rehearsal = Rehearsal::new(&world.view(), world.now, 1 << 100);
    let id = crate::NetworkId(rehearsal.id());
    let network = NetworkSpec { name: "back".into(), ..NetworkSpec::default() };
    let txn = control::create_network(&rehearsal.view(), network, id, world.now).expect("a valid network");
    rehearsal.apply(&txn).expect("it applies");
    let mut spec = replicated("web", "web:1", 1);
    spec.task.networks = vec![NetworkTarget { target: id, aliases: Vec::new(), driver_options: BTreeMap::new() }];
    let web = ServiceId(rehearsal.id());
    let txn = control::create_service(&rehearsal.view(), spec, web, world.now).expect("a valid service");
    rehearsal.apply(&txn).expect("it applies");
    let told = rehearsal.run();
    let kinds: Vec<bool> = told.objects.iter().map(|event| matches!(event.object(), Object::Network(_))).collect();
    assert_eq!(kinds, [true, false]);
    assert_eq!(lines(&told), ["1 0s web.1 start 1"]);
    assert!(world.view().service(web).is_none());
}

#[test]
fn of_a_job_it_is_told_how_much_would_be_completed() {
    let mut world = World::new(2);
    let mode = ServiceMode::ReplicatedJob { max_concurrent: 2, total_completions: 5 };
    let mut spec = ServiceSpec { mode, ..replicated("load", "load:1", 0) };
    spec.task.restart.condition = RestartCondition::OnFailure;
    world.fate("load:1", Fate::CompletesAfter(SECOND));
    let load = world.create(spec);
    world.pass(10 * SECOND);
    let told = update(&world, load, |spec| spec.task.container.image = "load:2".into());
    assert_eq!((told.services[0].up, told.services[0].wanted), (5, 5));
    let told = update(&world, load, |spec| spec.labels = [("a".to_owned(), "b".to_owned())].into());
    assert_eq!((told.services[0].up, told.services[0].wanted), (5, 5), "also of one that does not run again");
}
