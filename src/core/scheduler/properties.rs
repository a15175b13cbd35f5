//! Whatever the cluster looks like: tasks go where the slow definition puts them, and a board that followed
//! the changes is the board of the snapshot.

use super::reference;
use super::tests::{Table, node, reserve};
use super::{Board, place};
use crate::model::*;
use crate::store::{Change, Delta, ObjectRef, Txn, View};
use crate::{NodeId, TaskId, WallTime};
use proptest::prelude::*;

const NOW: WallTime = WallTime(1_000_000);
const SERVICES: u128 = 3;

#[derive(Clone, Debug)]
enum Op {
    Node { id: u128, cpus: i64, zone: u8, rack: u8, state: NodeState, availability: Availability },
    Leave { id: u128 },
    Task { service: u128, on: Option<u128>, ended: Option<(TaskState, i64)>, bound: bool, stopping: bool },
    Forget { nth: usize },
}

/// How the tasks of a service are placed.
#[derive(Clone, Debug)]
struct Wants {
    cpus: i64,
    spread: usize,
    constrained: bool,
    most_per_node: u64,
    port: bool,
}

fn op() -> impl Strategy<Value = Op> {
    let state = prop_oneof![6 => Just(NodeState::Ready), 1 => Just(NodeState::Down)];
    let availability = prop_oneof![6 => Just(Availability::Active), 1 => Just(Availability::Drain)];
    let ended = prop_oneof![
        5 => Just(None),
        2 => (prop_oneof![Just(TaskState::Failed), Just(TaskState::Rejected)], 0i64..400_000).prop_map(Some),
    ];
    prop_oneof![
        3 => (1u128..8, 0i64..6, 0u8..3, 0u8..3, state, availability).prop_map(
            |(id, cpus, zone, rack, state, availability)| Op::Node { id, cpus, zone, rack, state, availability }
        ),
        1 => (1u128..8).prop_map(|id| Op::Leave { id }),
        8 => (1..=SERVICES, proptest::option::of(1u128..8), ended, rarely(), rarely())
            .prop_map(|(service, on, ended, bound, stopping)| Op::Task { service, on, ended, bound, stopping }),
        1 => (0usize..50).prop_map(|nth| Op::Forget { nth }),
    ]
}

fn rarely() -> impl Strategy<Value = bool> {
    proptest::bool::weighted(0.1)
}

fn wants() -> impl Strategy<Value = Wants> {
    (0i64..3, 0usize..3, rarely(), 0u64..4, rarely()).prop_map(|(cpus, spread, constrained, most_per_node, port)| {
        Wants { cpus, spread, constrained, most_per_node, port }
    })
}

fn apply(table: &mut Table, wants: &[Wants], op: Op) {
    match op {
        Op::Node { id, cpus, zone, rack, state, availability } => {
            let mut new = node(id);
            new.status.state = state;
            new.spec.availability = availability;
            new.spec.labels.insert("zone".into(), format!("z{zone}"));
            new.spec.labels.insert("rack".into(), format!("r{rack}"));
            new.description.as_mut().unwrap().resources.nano_cpus = cpus * 1_000_000_000;
            let is_new = table.store.view().node(NodeId(id)).is_none();
            table.put(new.into(), is_new);
        }
        Op::Leave { id } => table.change(Change::Delete(ObjectRef::Node(NodeId(id)))),
        Op::Task { service, on, ended, bound, stopping } => {
            let wants = &wants[usize::try_from(service).unwrap() - 1];
            table.task(service, on, |spec, task| {
                want(spec, task, wants);
                if let (Some((state, before)), Some(_)) = (ended, on) {
                    task.status.state = state;
                    task.ended = Some(WallTime(NOW.0 - before));
                    task.desired = TaskState::Shutdown;
                }
                if bound {
                    task.status.state = TaskState::Pending;
                }
                if stopping {
                    task.desired = TaskState::Shutdown;
                }
            });
        }
        Op::Forget { nth } => {
            let view = table.store.view();
            let tasks: Vec<TaskId> = view.tasks().map(|task| task.id).collect();
            if let Some(id) = tasks.get(nth % tasks.len().max(1)) {
                table.change(Change::Delete(ObjectRef::Task(*id)));
            }
        }
    }
}

fn want(spec: &mut TaskSpec, task: &mut Task, wants: &Wants) {
    reserve(spec, wants.cpus, 0);
    let labels = ["node.labels.zone", "node.labels.rack"];
    spec.placement.spread = labels[..wants.spread].iter().map(|label| (*label).to_owned()).collect();
    spec.placement.max_replicas_per_node = wants.most_per_node;
    if wants.constrained {
        spec.placement.constraints = vec!["node.labels.zone!=z1".into()];
    }
    if wants.port {
        let port = PortConfig { published_port: 80, mode: PublishMode::Host, ..PortConfig::default() };
        task.host_ports = vec![port];
    }
}

/// As `reference::place_all` says it.
fn placed(view: &View, board: &mut Board) -> Vec<(TaskId, Result<NodeId, String>)> {
    let changes = place(view, board, NOW, usize::MAX, &mut Vec::new());
    let outcome = |change| match change {
        Change::TaskAssigned { task, node, reason, .. } => (task, node.ok_or(reason)),
        other => panic!("the scheduler does not write {other:?}"),
    };
    changes.into_iter().map(outcome).collect()
}

proptest! {
    #[test]
    fn tasks_go_where_looking_at_every_node_for_every_task_puts_them(
        binpack: bool,
        wants in proptest::collection::vec(wants(), 3),
        ops in proptest::collection::vec(op(), 1..60),
    ) {
        let mut table = Table::new(3);
        table.settings(|spec| spec.binpack = binpack);
        ops.into_iter().for_each(|op| apply(&mut table, &wants, op));
        let view = table.store.view();
        prop_assert_eq!(placed(&view, &mut Board::of(&view)), reference::place_all(&view, NOW));
    }

    #[test]
    fn a_board_that_followed_the_changes_is_the_board_of_the_snapshot(
        binpack: bool,
        wants in proptest::collection::vec(wants(), 3),
        rounds in proptest::collection::vec(proptest::collection::vec(op(), 1..15), 1..6),
    ) {
        let mut table = Table::new(3);
        table.settings(|spec| spec.binpack = binpack);
        let mut seen = table.store.view();
        let mut board = Board::of(&seen);
        for ops in rounds {
            ops.into_iter().for_each(|op| apply(&mut table, &wants, op));
            let view = table.store.view();
            board.follow(&Delta::between(&seen, &view), &view);
            let mut fresh = Board::of(&view);
            prop_assert_eq!(&board, &fresh);
            let changes = place(&view, &mut board, NOW, usize::MAX, &mut Vec::new());
            prop_assert_eq!(&changes, &place(&view, &mut fresh, NOW, usize::MAX, &mut Vec::new()));
            prop_assert_eq!(&changes, &place(&view, &mut board, NOW, usize::MAX, &mut Vec::new()), "as if it was not asked before");
            // Half of it is written; the board learns of it like of anything else.
            let written = changes.into_iter().step_by(2).collect();
            table.txn(Txn { changes: written, ..Txn::default() });
            seen = view;
        }
    }
}
