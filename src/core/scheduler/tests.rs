use super::*;
use crate::model::*;
use crate::store::{Change, Object, Store, Txn};
use crate::{ClusterId, NodeId, ServiceId, Stamp, TaskId, WallTime};
use std::sync::Arc;
use std::time::Duration;

const GIB: i64 = 1 << 30;

pub(super) struct Table {
    pub store: Store,
    index: u64,
    tasks: u128,
}

impl Table {
    /// Nodes 1 to `nodes`, each with 4 CPUs and 8 GiB.
    pub fn new(nodes: u128) -> Self {
        let mut table = Self { store: Store::new(), index: 0, tasks: 0 };
        (1..=nodes).for_each(|id| table.put(Object::from(node(id)), true));
        table
    }

    pub fn put(&mut self, object: Object, new: bool) {
        self.change(if new { Change::Create(object) } else { Change::Replace(object) });
    }

    pub fn change(&mut self, change: Change) {
        self.txn(Txn { changes: vec![change], ..Txn::default() });
    }

    pub fn txn(&mut self, txn: Txn) {
        self.index += 1;
        self.store.apply(self.index, 1, &txn).unwrap();
    }

    /// The cluster's settings; made when it is not there.
    pub fn settings(&mut self, edit: impl FnOnce(&mut ClusterSpec)) {
        let known = self.store.view().cluster().map(|cluster| (**cluster).clone());
        let new = known.is_none();
        let made = || Cluster::new(ClusterId(1), ClusterSpec::default(), ClusterCa::default());
        let mut cluster = known.unwrap_or_else(made);
        edit(&mut cluster.spec);
        self.put(Object::Cluster(Arc::new(cluster)), new);
    }

    pub fn edit(&mut self, id: u128, edit: impl FnOnce(&mut Node)) {
        let mut node = (**self.store.view().node(NodeId(id)).unwrap()).clone();
        edit(&mut node);
        self.put(node.into(), false);
    }

    /// A task of service `service`, on `on` when it has one.
    pub fn task(&mut self, service: u128, on: Option<u128>, edit: impl FnOnce(&mut TaskSpec, &mut Task)) -> TaskId {
        self.tasks += 1;
        let mut spec = TaskSpec::default();
        let state = if on.is_some() { TaskState::Running } else { TaskState::Pending };
        let mut task = Task {
            node: on.map(NodeId),
            service_name: "web".into(),
            status: TaskStatus { state, ..TaskStatus::default() },
            ..Task::new(
                TaskId(self.tasks),
                ServiceId(service),
                u64::try_from(self.tasks).unwrap(),
                Arc::new(TaskSpec::default()),
            )
        };
        edit(&mut spec, &mut task);
        task.spec = Arc::new(spec);
        self.put(Object::Task(Arc::new(task)), true);
        TaskId(self.tasks)
    }

    fn place(&mut self) -> Vec<Change> {
        let view = self.store.view();
        let changes = place(&view, &mut Board::of(&view), WallTime(0), usize::MAX, &mut Vec::new());
        self.index += 1;
        self.store.apply(self.index, 1, &Txn { changes: changes.clone(), ..Txn::default() }).unwrap();
        changes
    }

    fn node_of(&self, task: TaskId) -> Option<u128> {
        self.store.view().task(task).unwrap().node.map(|node| node.0)
    }

    fn reason(&self, task: TaskId) -> String {
        self.store.view().task(task).unwrap().status.err.clone()
    }
}

pub(super) fn node(id: u128) -> Node {
    Node {
        id: NodeId(id),
        meta: Meta { version: 0, created: Stamp::default(), updated: Stamp::default() },
        spec: NodeSpec::default(),
        description: Some(NodeDescription {
            hostname: format!("host{id}"),
            platform: Platform { os: "linux".into(), architecture: "x86_64".into() },
            resources: Resources { nano_cpus: 4_000_000_000, memory_bytes: 8 * GIB, ..Resources::default() },
            ..NodeDescription::default()
        }),
        status: NodeStatus { state: NodeState::Ready, ..NodeStatus::default() },
        raft: None,
        certificate_role: NodeRole::Worker,
    }
}

pub(super) fn reserve(spec: &mut TaskSpec, cpus: i64, gib: i64) {
    spec.resources.reservations.nano_cpus = cpus * 1_000_000_000;
    spec.resources.reservations.memory_bytes = gib * GIB;
}

#[test]
fn fewest_of_the_service_goes_before_fewest_of_all() {
    let mut table = Table::new(2);
    for _ in 0..3 {
        table.task(2, Some(2), |_, _| {});
    }
    table.task(1, Some(1), |_, _| {});
    let next = table.task(1, None, |_, _| {});
    table.place();
    assert_eq!(table.node_of(next), Some(2));
}

#[test]
fn among_equals_the_node_with_less_reserved_is_taken() {
    let mut table = Table::new(2);
    table.task(2, Some(1), |spec, _| reserve(spec, 2, 0));
    table.task(2, Some(2), |spec, _| reserve(spec, 1, 0));
    let next = table.task(1, None, |_, _| {});
    table.place();
    assert_eq!(table.node_of(next), Some(2));
}

#[test]
fn a_node_with_a_smaller_share_in_use_comes_before_one_with_fewer_tasks() {
    let mut table = Table::new(2);
    table.task(1, Some(1), |spec, _| reserve(spec, 3, 1));
    for service in 2..5 {
        table.task(service, Some(2), |spec, _| reserve(spec, 0, 1));
    }
    let waiting = table.task(9, None, |spec, _| reserve(spec, 1, 1));
    table.place();
    assert_eq!(table.node_of(waiting), Some(2), "3 of 8 GiB by three tasks, rather than 3 of 4 CPUs by one");
    // Replicas of a service stay even over the nodes all the same.
    let second = table.task(9, None, |spec, _| reserve(spec, 1, 1));
    table.place();
    assert_eq!(table.node_of(second), Some(1));
}

#[test]
fn what_reserves_nothing_does_not_pile_up_where_nothing_is_reserved() {
    let mut table = Table::new(2);
    table.task(1, Some(1), |spec, _| reserve(spec, 1, 2));
    for service in 10..40 {
        table.task(service, None, |_, _| {});
    }
    table.place();
    let view = table.store.view();
    let on = |node: u128| view.tasks_of_node(NodeId(node)).count();
    assert!((10..=13).contains(&on(1)), "{} and {}: 25 % more of the first are taken", on(1), on(2));
}

#[test]
fn a_larger_node_gets_more_of_what_reserves_nothing() {
    let mut table = Table::new(2);
    table.edit(2, |node| {
        let resources = &mut node.description.as_mut().unwrap().resources;
        (resources.nano_cpus, resources.memory_bytes) = (12_000_000_000, 24 * GIB);
    });
    for service in 10..50 {
        table.task(service, None, |_, _| {});
    }
    table.place();
    let view = table.store.view();
    assert!((28..=32).contains(&view.tasks_of_node(NodeId(2)).count()), "about three quarters");
}

#[test]
fn tasks_are_spread_over_the_values_of_a_label_before_over_nodes() {
    let mut table = Table::new(5);
    for (id, zone) in [(1, "a"), (2, "a"), (3, "a"), (4, "a"), (5, "b")] {
        table.edit(id, |node| drop(node.spec.labels.insert("zone".into(), zone.into())));
    }
    let tasks: Vec<TaskId> = (0..4)
        .map(|_| table.task(1, None, |spec, _| spec.placement.spread = vec!["node.labels.zone".into()]))
        .collect();
    table.place();
    let on_b = tasks.iter().filter(|task| table.node_of(**task) == Some(5)).count();
    assert_eq!(on_b, 2, "half of four in each zone");
}

#[test]
fn spread_over_the_ids_of_nodes_is_the_spread_there_is_without_it() {
    let placed = |spread: &[&str]| {
        let mut table = Table::new(4);
        for (id, zone) in [(1, "a"), (2, "a"), (3, "a"), (4, "b")] {
            table.edit(id, |node| drop(node.spec.labels.insert("zone".into(), zone.into())));
        }
        let spread: Vec<String> = spread.iter().map(|key| (*key).to_owned()).collect();
        let task = |table: &mut Table| table.task(1, None, |spec, _| spec.placement.spread = spread.clone());
        let tasks: Vec<TaskId> = (0..6).map(|_| task(&mut table)).collect();
        table.place();
        tasks.iter().map(|task| table.node_of(*task)).collect::<Vec<_>>()
    };
    assert_eq!(placed(&["node.id"]), placed(&[]));
    assert_eq!(placed(&["node.id", "node.labels.zone"]), placed(&["node.labels.zone"]));
    assert_ne!(placed(&["node.labels.zone"]), placed(&[]));
}

#[test]
fn a_cluster_that_packs_fills_a_node_before_it_uses_an_emptier_one() {
    let mut table = Table::new(3);
    table.settings(|spec| spec.binpack = true);
    table.task(2, Some(2), |spec, _| reserve(spec, 1, 1));
    let tasks: Vec<TaskId> = (0..5).map(|_| table.task(1, None, |spec, _| reserve(spec, 1, 1))).collect();
    table.place();
    let nodes: Vec<_> = tasks.iter().map(|task| table.node_of(*task)).collect();
    assert_eq!(nodes, [Some(2), Some(2), Some(2), Some(1), Some(1)]);
}

#[test]
fn what_reserves_nothing_is_spread_also_where_others_are_packed() {
    let mut table = Table::new(2);
    table.settings(|spec| spec.binpack = true);
    let tasks: Vec<TaskId> = (0..4).map(|_| table.task(1, None, |_, _| {})).collect();
    table.place();
    assert_eq!(tasks.iter().filter(|task| table.node_of(**task) == Some(1)).count(), 2);
}

#[test]
fn packing_keeps_to_the_even_spread_over_the_values_of_a_label_that_was_asked_for() {
    let mut table = Table::new(4);
    table.settings(|spec| spec.binpack = true);
    for (id, zone) in [(1, "a"), (2, "a"), (3, "b"), (4, "b")] {
        table.edit(id, |node| drop(node.spec.labels.insert("zone".into(), zone.into())));
    }
    let tasks: Vec<TaskId> = (0..4)
        .map(|_| {
            table.task(1, None, |spec, _| {
                reserve(spec, 1, 1);
                spec.placement.spread = vec!["node.labels.zone".into()];
            })
        })
        .collect();
    table.place();
    let mut nodes: Vec<_> = tasks.iter().filter_map(|task| table.node_of(*task)).collect();
    nodes.sort_unstable();
    assert_eq!(nodes, [1, 1, 3, 3]);
}

#[test]
fn over_several_labels_tasks_are_even_over_the_first_and_then_within_each_value_over_the_next() {
    let mut table = Table::new(6);
    let places = [(1, "a", "1"), (2, "a", "2"), (3, "a", "2"), (4, "b", "3"), (5, "b", "3"), (6, "", "")];
    for (id, zone, rack) in places {
        table.edit(id, |node| {
            if !zone.is_empty() {
                node.spec.labels.insert("zone".into(), zone.into());
                node.spec.labels.insert("rack".into(), rack.into());
            }
        });
    }
    let spread = ["node.labels.zone".to_owned(), "node.labels.rack".to_owned()];
    let tasks: Vec<TaskId> =
        (0..12).map(|_| table.task(1, None, |spec, _| spec.placement.spread = spread.to_vec())).collect();
    table.place();
    let on = |ids: &[u128]| tasks.iter().filter(|task| table.node_of(**task).is_some_and(|n| ids.contains(&n))).count();
    assert_eq!((on(&[1, 2, 3]), on(&[4, 5]), on(&[6])), (4, 4, 4), "nodes without the label are a value of their own");
    assert_eq!((on(&[1]), on(&[2, 3])), (2, 2), "racks of one zone are even, however many nodes they have");
    assert_eq!((on(&[2]), on(&[3]), on(&[4]), on(&[5])), (1, 1, 2, 2));
}

#[test]
fn a_value_whose_nodes_are_full_leaves_its_share_to_the_others() {
    let mut table = Table::new(3);
    for (id, zone) in [(1, "a"), (2, "b"), (3, "b")] {
        table.edit(id, |node| drop(node.spec.labels.insert("zone".into(), zone.into())));
    }
    let tasks: Vec<TaskId> = (0..6)
        .map(|_| {
            table.task(1, None, |spec, _| {
                reserve(spec, 2, 0);
                spec.placement.spread = vec!["node.labels.zone".into()];
            })
        })
        .collect();
    table.place();
    let on_a = tasks.iter().filter(|task| table.node_of(**task) == Some(1)).count();
    assert_eq!((on_a, tasks.iter().filter(|task| table.node_of(**task).is_some()).count()), (2, 6));
}

#[test]
fn a_node_is_never_given_more_than_it_has() {
    let mut table = Table::new(2);
    let tasks: Vec<TaskId> = (0..5).map(|_| table.task(1, None, |spec, _| reserve(spec, 2, 1))).collect();
    table.place();
    let placed = tasks.iter().filter(|task| table.node_of(**task).is_some()).count();
    assert_eq!(placed, 4);
    assert_eq!(table.reason(tasks[4]), "no node fits: 2 lack CPUs (want 2, free 0, 0)");
}

fn units(names: &[&str]) -> ResourceNames {
    ResourceNames { names: names.iter().map(|name| (*name).to_owned()).collect() }
}

#[test]
fn of_many_nodes_those_that_have_the_most_are_told() {
    let mut table = Table::new(7);
    for id in 1..=7 {
        table.edit(id, |node| node.description.as_mut().unwrap().resources.memory_bytes = GIB / 10 * id as i64);
    }
    let task = table.task(1, None, |spec, _| reserve(spec, 0, 2));
    table.place();
    assert_eq!(table.reason(task), "no node fits: 7 lack memory (want 2 GiB, free 0.2, 0.3, 0.4, 0.5, 0.6 and less)");
}

#[test]
fn units_of_a_named_resource_are_given_to_one_task_each_and_come_back_when_it_ends() {
    let mut table = Table::new(2);
    table.edit(1, |node| {
        let resources = &mut node.description.as_mut().unwrap().resources;
        resources.named.insert("gpu".into(), units(&["GPU-1", "GPU-2", "GPU-3"]));
        resources.generic.insert("ssd".into(), 1);
    });
    let wants = |gpus: i64| {
        move |spec: &mut TaskSpec, _: &mut Task| {
            spec.resources.reservations.generic.insert("gpu".into(), gpus);
        }
    };
    let (one, two, three) =
        (table.task(1, None, wants(1)), table.task(2, None, wants(2)), table.task(3, None, wants(2)));
    table.place();
    let given = |table: &Table, task| table.store.view().task(task).unwrap().assigned_resources.clone();
    assert_eq!(given(&table, one), [("gpu".into(), units(&["GPU-1"]))].into());
    assert_eq!(given(&table, two), [("gpu".into(), units(&["GPU-2", "GPU-3"]))].into());
    assert_eq!(table.reason(three), "no node fits: 2 lack gpu (want 2, free 0, 0)");
    let status = TaskStatus { state: TaskState::Failed, ..TaskStatus::default() };
    table.change(Change::TaskStatus { task: two, status });
    let four = table.task(4, None, |spec, _| {
        spec.resources.reservations.generic.insert("ssd".into(), 1);
    });
    table.place();
    assert_eq!(given(&table, three), [("gpu".into(), units(&["GPU-2", "GPU-3"]))].into());
    assert_eq!(
        (given(&table, four), table.node_of(four)),
        (Default::default(), Some(1)),
        "a counted kind has no names"
    );
}

#[test]
fn what_a_node_no_longer_names_is_not_given_again() {
    let mut table = Table::new(1);
    table.edit(1, |node| {
        node.description.as_mut().unwrap().resources.named.insert("gpu".into(), units(&["GPU-1", "GPU-2"]));
    });
    let wants = |spec: &mut TaskSpec, _: &mut Task| {
        spec.resources.reservations.generic.insert("gpu".into(), 1);
    };
    table.task(1, None, wants);
    table.place();
    table.edit(1, |node| {
        node.description.as_mut().unwrap().resources.named.insert("gpu".into(), units(&["GPU-2", "GPU-9"]));
    });
    let (next, last) = (table.task(2, None, wants), table.task(3, None, wants));
    table.place();
    let view = table.store.view();
    let given = |task| view.task(task).unwrap().assigned_resources["gpu"].clone();
    assert_eq!((given(next), given(last)), (units(&["GPU-2"]), units(&["GPU-9"])));
}

#[test]
fn a_task_that_is_being_stopped_still_holds_what_it_reserved_but_does_not_count_for_the_spread() {
    let mut table = Table::new(1);
    table.task(1, Some(1), |spec, task| {
        reserve(spec, 4, 1);
        task.desired = TaskState::Shutdown;
    });
    let next = table.task(1, None, |spec, _| reserve(spec, 1, 1));
    let small = table.task(1, None, |spec, _| spec.placement.max_replicas_per_node = 1);
    table.place();
    assert_eq!(table.node_of(next), None);
    assert_eq!(table.node_of(small), Some(1));
}

#[test]
fn host_ports_are_bound_once_per_node_and_address() {
    let port = |ip: Option<&str>| PortConfig {
        target_port: 80,
        published_port: 8080,
        mode: PublishMode::Host,
        host_ip: ip.map(|ip| ip.parse().unwrap()),
        ..PortConfig::default()
    };
    let mut table = Table::new(1);
    table.task(2, Some(1), |_, task| task.host_ports = vec![port(Some("127.0.0.1"))]);
    let same = table.task(1, None, |_, task| task.host_ports = vec![port(None)]);
    let other = table.task(1, None, |_, task| task.host_ports = vec![port(Some("10.0.0.1"))]);
    table.place();
    assert_eq!(table.reason(same), "no node fits: 1 have host port 8080/tcp in use");
    assert_eq!(table.node_of(other), Some(1));
}

#[test]
fn each_filter_says_how_many_nodes_it_left_out_and_why() {
    let mut table = Table::new(9);
    table.edit(1, |node| node.status.state = NodeState::Down);
    table.edit(2, |node| node.spec.availability = Availability::Drain);
    table.edit(3, |node| node.spec.availability = Availability::Pause);
    table.edit(4, |node| node.description.as_mut().unwrap().platform.architecture = "aarch64".into());
    table.edit(5, |node| drop(node.spec.labels.insert("disk".into(), "hdd".into())));
    for id in 6..=9 {
        table.edit(id, |node| drop(node.spec.labels.insert("disk".into(), "ssd".into())));
    }
    table.task(1, Some(6), |_, _| {});
    table.task(2, Some(7), |spec, _| reserve(spec, 0, 7));
    table.edit(8, |node| node.description.as_mut().unwrap().resources.memory_bytes = 3 * GIB / 2);
    table.task(2, Some(9), |spec, _| reserve(spec, 4, 0));
    let task = table.task(1, None, |spec, _| {
        reserve(spec, 1, 2);
        spec.placement = Placement {
            constraints: vec!["node.labels.disk==ssd".into()],
            max_replicas_per_node: 1,
            platforms: vec![Platform { os: "linux".into(), architecture: "amd64".into() }],
            ..Placement::default()
        };
    });
    table.place();
    let expected = "no node fits: 1 down, 1 drained, 1 paused, 1 have another platform (want linux/amd64), \
                    1 do not match node.labels.disk==ssd, 1 have the most replicas allowed per node (1), \
                    1 lack CPUs (want 1, free 0), 2 lack memory (want 2 GiB, free 1, 1.5)";
    assert_eq!(table.reason(task), expected);
    assert!(table.place().is_empty(), "the reason is written once");
    table.edit(2, |node| node.spec.availability = Availability::Active);
    table.edit(2, |node| drop(node.spec.labels.insert("disk".into(), "ssd".into())));
    table.place();
    assert_eq!((table.node_of(task), table.reason(task)), (Some(2), String::new()));
}

#[test]
fn a_constraint_that_is_none_is_the_reason() {
    let mut table = Table::new(1);
    let task = table.task(1, None, |spec, _| spec.placement.constraints = vec!["node.color==red".into()]);
    table.place();
    assert!(table.reason(task).starts_with("constraint \"node.color==red\": unknown key"), "{}", table.reason(task));
}

#[test]
fn amounts_in_a_reason_are_brought_up_to_date_now_and_then_and_other_words_at_once() {
    let mut table = Table::new(2);
    table.task(1, Some(1), |spec, _| reserve(spec, 2, 0));
    table.task(1, Some(2), |spec, _| reserve(spec, 2, 0));
    let waiting = table.task(2, None, |spec, _| reserve(spec, 4, 0));
    table.place();
    assert_eq!(table.reason(waiting), "no node fits: 2 lack CPUs (want 4, free 2, 2)");
    table.task(1, Some(2), |spec, _| reserve(spec, 1, 0));
    assert_eq!(table.place(), []);
    let view = table.store.view();
    let later = WallTime(0) + Duration::from_secs(30);
    assert_eq!(place(&view, &mut Board::of(&view), later, usize::MAX, &mut Vec::new()).len(), 1);
    table.edit(2, |node| node.spec.availability = Availability::Pause);
    table.place();
    assert_eq!(table.reason(waiting), "no node fits: 1 paused, 1 lack CPUs (want 4, free 2)");
}

#[test]
fn a_reason_has_the_length_of_a_status_text_however_much_is_asked_for_and_is_written_once() {
    let mut table = Table::new(1);
    let task = table.task(1, None, |spec, _| {
        spec.placement.constraints = vec![format!("node.labels.disk=={}", "x".repeat(4000))];
    });
    table.place();
    assert_eq!(table.reason(task).len(), TaskStatus::TEXT_BYTES_MAX);
    assert!(table.place().is_empty());
}

#[test]
fn without_nodes_the_reason_says_so() {
    let mut table = Table::new(0);
    let task = table.task(1, None, |_, _| {});
    table.place();
    assert_eq!(table.reason(task), "no node fits: the cluster has no nodes");
}

#[test]
fn a_task_bound_to_a_node_goes_there_or_waits() {
    let mut table = Table::new(2);
    let bound = table.task(1, None, |_, task| task.node = Some(NodeId(2)));
    table.edit(2, |node| node.spec.availability = Availability::Pause);
    table.place();
    assert_eq!(table.reason(bound), "no node fits: 1 paused");
    table.edit(2, |node| node.spec.availability = Availability::Active);
    table.place();
    assert_eq!(table.store.view().task(bound).unwrap().status.state, TaskState::Assigned);
}

#[test]
fn failures_long_ago_do_not_count_against_a_node() {
    let mut table = Table::new(2);
    for _ in 0..3 {
        table.task(1, Some(1), |_, task| {
            task.status.state = TaskState::Failed;
            task.ended = Some(WallTime(0));
        });
    }
    let task = table.task(1, None, |_, _| {});
    let view = table.store.view();
    let best = |now| reference::place_one(&view, &Board::of(&view), view.task(task).unwrap(), now).unwrap();
    assert_eq!(best(WallTime(0)), NodeId(2));
    assert_eq!(best(WallTime(0) + Duration::from_secs(301)), NodeId(1));
}
