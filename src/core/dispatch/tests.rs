use super::*;
use crate::ServiceId;
use crate::model::*;
use crate::store::{Object, Store, Txn};
use std::sync::Arc;

const NODE: NodeId = NodeId(1);
const SESSION: SessionId = SessionId(10);

struct Bench {
    store: Store,
    dispatch: Dispatch,
    now: Mono,
}

pub(super) fn node(id: NodeId) -> Object {
    Object::from(Node {
        id,
        meta: Meta::default(),
        spec: NodeSpec::default(),
        description: None,
        status: NodeStatus::default(),
        raft: None,
        certificate_role: NodeRole::Worker,
    })
}

pub(super) fn task(id: u128, node: NodeId) -> Object {
    Object::Task(Arc::new(Task {
        node: Some(node),
        service_name: "web".to_owned(),
        status: TaskStatus { state: TaskState::Assigned, ..TaskStatus::default() },
        ..Task::new(TaskId(id), ServiceId(1), 1, Arc::new(TaskSpec::default()))
    }))
}

impl Bench {
    fn new() -> Self {
        let store = Store::restore(1, [node(NODE), node(NodeId(2)), task(5, NODE), task(6, NodeId(2))]);
        let dispatch = Dispatch::new(Mono(0), store.view());
        Self { store, dispatch, now: Mono(0) }
    }

    fn give(&mut self, input: Input) -> Effects {
        let mut out = Effects::default();
        self.dispatch.input(self.now, WallTime(9), input, &mut out);
        out
    }

    fn open(&mut self, session: SessionId) -> Effects {
        let addr = "192.0.2.1".parse().expect("address");
        self.give(Input::Opened { session, node: NODE, addr, description: NodeDescription::default() })
    }

    /// Commits what was handed out, as the leader's shell does.
    fn commit(&mut self, write: Vec<Change>) -> Effects {
        let index = self.store.view().index() + 1;
        let txn = Txn { changes: write, ..Txn::default() };
        self.store.apply(index, 1, &txn).expect("applies");
        let mut out = self.give(Input::Committed(self.store.view()));
        let after = self.give(Input::Written { committed: true });
        out.sends.extend(after.sends);
        out
    }

    /// Time passes, with a tick whenever one is due and at the end.
    fn pass(&mut self, time: Duration) -> Effects {
        let end = self.now + time;
        let mut all = Effects::default();
        while self.now < end {
            self.now = self.dispatch.wake_at.unwrap_or(end).clamp(self.now + Duration::from_millis(1), end);
            let out = self.give(Input::Tick);
            all.sends.extend(out.sends);
            assert!(all.write.is_none() || out.write.is_none(), "one write at a time");
            all.write = all.write.or(out.write);
        }
        all
    }

    fn state(&self) -> NodeState {
        self.store.view().node(NODE).expect("is there").status.state
    }
}

fn running() -> TaskStatus {
    TaskStatus { state: TaskState::Running, ..TaskStatus::default() }
}

#[test]
fn a_node_that_opens_a_session_is_ready_and_told_all_its_tasks_and_no_others() {
    let mut bench = Bench::new();
    let out = bench.open(SESSION);
    let (_, Message::Assign(all)) = &out.sends[0] else { panic!("{out:?}") };
    assert!(all.complete && all.fabric.as_ref().is_some_and(|fabric| fabric.complete));
    assert_eq!(all.tasks.iter().map(|task| task.id).collect::<Vec<_>>(), [TaskId(5)]);
    bench.commit(out.write.expect("the node's state"));
    assert_eq!(bench.state(), NodeState::Ready);
}

#[test]
fn reports_are_acknowledged_only_when_they_are_committed() {
    let mut bench = Bench::new();
    let out = bench.open(SESSION);
    bench.commit(out.write.expect("state"));
    let out = bench.give(Input::Reported {
        session: SESSION,
        heard: bench.now,
        sequence: 3,
        reports: vec![(TaskId(5), running())],
    });
    assert!(out.write.is_none() && out.sends.is_empty());
    let out = bench.pass(REPORT_DELAY);
    assert!(out.sends.is_empty());
    let lost = bench.give(Input::Written { committed: false });
    assert!(lost.sends.is_empty() && lost.write.is_none());
    let again = bench.pass(REPORT_DELAY);
    let out = bench.commit(again.write.expect("the report again"));
    assert!(out.sends.contains(&(SESSION, Message::ReportsAck { sequence: 3 })));
    assert_eq!(bench.store.view().task(TaskId(5)).expect("is there").status.state, TaskState::Running);
}

#[test]
fn a_report_about_a_task_of_another_node_is_not_taken() {
    let mut bench = Bench::new();
    let out = bench.open(SESSION);
    bench.commit(out.write.expect("state"));
    bench.give(Input::Reported {
        session: SESSION,
        heard: bench.now,
        sequence: 1,
        reports: vec![(TaskId(6), running())],
    });
    let out = bench.pass(REPORT_DELAY);
    assert!(out.write.is_none());
    assert_eq!(out.sends, [(SESSION, Message::ReportsAck { sequence: 1 })]);
}

#[test]
fn a_silent_node_is_down_at_once_when_gossip_agrees() {
    let mut bench = Bench::new();
    let out = bench.open(SESSION);
    bench.commit(out.write.expect("state"));
    bench.give(Input::Gossip(vec![(NODE, Liveness::Down)]));
    assert_eq!(bench.state(), NodeState::Ready, "gossip alone decides nothing");
    let out = bench.pass(HEARTBEAT_TIMEOUT);
    bench.commit(out.write.expect("down"));
    assert_eq!(bench.state(), NodeState::Down);
}

#[test]
fn a_silent_node_that_gossip_sees_is_down_after_the_deadline() {
    let mut bench = Bench::new();
    let out = bench.open(SESSION);
    bench.commit(out.write.expect("state"));
    assert!(bench.pass(HEARTBEAT_TIMEOUT).write.is_none());
    let out = bench.pass(SESSION_DEADLINE - HEARTBEAT_TIMEOUT);
    bench.commit(out.write.expect("the other node, which never came"));
    assert_eq!(bench.state(), NodeState::Ready);
    let out = bench.pass(HEARTBEAT_TIMEOUT);
    bench.commit(out.write.expect("down"));
    assert_eq!(bench.state(), NodeState::Down);
    let out = bench.open(SessionId(11));
    bench.commit(out.write.expect("ready again"));
    assert_eq!(bench.state(), NodeState::Ready);
}

#[test]
fn a_heartbeat_keeps_a_session() {
    let mut bench = Bench::new();
    let out = bench.open(SESSION);
    bench.commit(out.write.expect("state"));
    for _ in 0..10 {
        bench.now = bench.now + Duration::from_secs(1);
        let out = bench.give(Input::Heartbeat { session: SESSION, sequence: 1, heard: bench.now });
        assert_eq!(out.sends, [(SESSION, Message::HeartbeatAck)]);
    }
}

#[test]
fn a_new_leader_gives_a_node_that_gossip_does_not_see_time_to_come() {
    let mut bench = Bench::new();
    let out = bench.give(Input::Gossip(vec![(NODE, Liveness::Down)]));
    assert!(out.write.is_none());
    assert!(bench.pass(TAKEOVER_GRACE).write.is_some());
}

#[test]
fn only_changes_are_sent_after_the_first_assignment() {
    let mut bench = Bench::new();
    let out = bench.open(SESSION);
    let out = bench.commit(out.write.expect("state"));
    assert!(out.sends.is_empty(), "a node's own state is no news to it: {out:?}");
    let out = bench.commit(vec![Change::TaskDesired { task: TaskId(5), desired: TaskState::Shutdown }]);
    let (_, Message::Assign(part)) = &out.sends[0] else { panic!("{out:?}") };
    assert!(!part.complete);
    assert_eq!(part.tasks[0].desired, TaskState::Shutdown);
}

#[test]
fn a_removed_node_loses_its_session() {
    let mut bench = Bench::new();
    let out = bench.open(SESSION);
    bench.commit(out.write.expect("state"));
    let out = bench.commit(vec![Change::Delete(crate::store::ObjectRef::Node(NODE))]);
    // It hears that nothing is assigned to it any more, and then that this is the end.
    assert!(matches!(&out.sends[0], (SESSION, Message::Assign(all)) if all.complete && all.tasks.is_empty()));
    assert!(matches!(out.sends[1], (SESSION, Message::End { .. })));
}

#[test]
fn a_newer_session_of_a_node_takes_the_place_of_the_older() {
    let mut bench = Bench::new();
    let out = bench.open(SESSION);
    bench.commit(out.write.expect("state"));
    let out = bench.open(SessionId(11));
    assert!(matches!(out.sends[0], (SESSION, Message::End { .. })));
    bench.give(Input::Closed { session: SESSION });
    assert!(bench.give(Input::Tick).write.is_none(), "the node stays ready");
}

#[test]
fn a_session_with_long_heartbeats_is_not_given_up_between_two() {
    let mut bench = Bench::new();
    let spec = ClusterSpec { heartbeat_period: Duration::from_secs(5), ..ClusterSpec::default() };
    let cluster = Cluster::new(crate::ClusterId(1), spec, ClusterCa::default());
    bench.store = Store::restore(2, [node(NODE), Object::Cluster(Arc::new(cluster))]);
    bench.give(Input::Committed(bench.store.view()));
    bench.open(SESSION);
    let ends = |out: &Effects| out.sends.iter().any(|(_, message)| matches!(message, Message::End { .. }));
    assert!(!ends(&bench.pass(Duration::from_secs(12))));
    assert!(ends(&bench.pass(Duration::from_millis(500))));
}

#[test]
fn a_node_whose_heartbeat_waited_to_be_looked_at_is_not_silent() {
    let mut bench = Bench::new();
    let out = bench.open(SESSION);
    bench.commit(out.write.expect("state"));
    bench.give(Input::Gossip(vec![(NODE, Liveness::Down)]));
    bench.pass(Duration::from_millis(2000));
    let heard = bench.now;
    bench.now = Mono(0) + HEARTBEAT_TIMEOUT + LATE;
    let out = bench.give(Input::Committed(bench.store.view()));
    assert!(out.sends.is_empty(), "only a tick ends sessions: {out:?}");
    let out = bench.give(Input::Heartbeat { session: SESSION, sequence: 1, heard });
    assert_eq!(out.sends, [(SESSION, Message::HeartbeatAck)]);
    let out = bench.give(Input::Tick);
    assert!(out.sends.is_empty() && out.write.is_none(), "{out:?}");
    bench.pass(HEARTBEAT_TIMEOUT);
    assert!(bench.dispatch.sessions.is_empty(), "it was heard then, and not later");
}

#[test]
fn a_leader_that_stood_still_gives_every_session_that_time_once() {
    let mut bench = Bench::new();
    let out = bench.open(SESSION);
    bench.commit(out.write.expect("state"));
    bench.give(Input::Gossip(vec![(NODE, Liveness::Down)]));
    let stood = Duration::from_secs(5);
    bench.now = bench.now + HEARTBEAT_TIMEOUT + stood;
    let out = bench.give(Input::Tick);
    assert!(out.sends.is_empty() && out.write.is_none(), "{out:?}");
    bench.now = out.wake_at.expect("its silence is still watched") + stood;
    let out = bench.give(Input::Tick);
    bench.commit(out.write.expect("down"));
    assert_eq!(bench.state(), NodeState::Down);
}

/// Three tasks of `key`, by the version each refers to.
fn secret_tasks(store: &mut Store, versions: [u64; 3]) {
    let objects = versions.into_iter().zip(20..).map(|(version, id)| {
        let Object::Task(task) = task(id, NODE) else { unreachable!("made above") };
        let mut task = (*task).clone();
        let file = FileTarget { name: "key".into(), uid: "0".into(), gid: "0".into(), mode: 0o400 };
        let reference = SecretReference { id: crate::SecretId(7), name: "key".into(), file, version };
        Arc::make_mut(&mut task.spec).container.secrets = vec![reference];
        Change::Create(Object::Task(Arc::new(task)))
    });
    let txn = Txn { changes: objects.collect(), ..Txn::default() };
    store.apply(store.view().index() + 1, 1, &txn).expect("applies");
}

#[test]
fn a_node_gets_the_contents_its_tasks_refer_to_and_no_others() {
    let sensitive = |data: &str| crate::Sensitive::new(data.as_bytes().to_vec());
    let older =
        [1, 2].map(|version| SecretContent { version, data: sensitive(&format!("data {version}")), templated: false });
    let spec = SecretSpec { name: "key".into(), labels: Labels::new(), data: sensitive("data 3"), templated: false };
    let secret =
        Secret { id: crate::SecretId(7), meta: Meta::default(), spec, content_version: 3, older: older.to_vec() };
    let mut store = Store::restore(1, [node(NODE), Object::Secret(Arc::new(secret))]);
    secret_tasks(&mut store, [1, 3, 3]);
    let mut work = NodeWork::new(NODE);
    let sent = |assignments: &Assignments| -> Vec<(u64, Vec<u8>)> {
        assert!(assignments.secrets.iter().all(|secret| secret.older.is_empty()));
        assignments.secrets.iter().map(|s| (s.content_version, s.spec.data.expose().clone())).collect()
    };
    let whole = work.whole(&store.view());
    assert_eq!(sent(&whole), [(1, b"data 1".to_vec()), (3, b"data 3".to_vec())]);
    // The one task of the first content ends.
    let status = TaskStatus { state: TaskState::Shutdown, ..TaskStatus::default() };
    let txn = Txn { changes: vec![Change::TaskStatus { task: TaskId(20), status }], ..Txn::default() };
    store.apply(10, 1, &txn).expect("applies");
    let changes = work.changes(&store.view()).expect("something changed");
    assert_eq!(changes.removed_secrets, [(crate::SecretId(7), 1)]);
    assert!(changes.secrets.is_empty());
}

fn single(id: u128, node: NodeId) -> Object {
    let Object::Task(task) = task(id, node) else { unreachable!() };
    let mut task = (*task).clone();
    Arc::make_mut(&mut task.spec).at_most_one = Some(Duration::from_secs(30));
    task.status.state = TaskState::Running;
    Object::Task(Arc::new(task))
}

impl Bench {
    fn with_single() -> Self {
        let store = Store::restore(1, [node(NODE), node(NodeId(2)), single(5, NODE), task(6, NodeId(2))]);
        let dispatch = Dispatch::new(Mono(0), store.view());
        Self { store, dispatch, now: Mono(0) }
    }

    fn beat(&mut self, sequence: u64) -> Effects {
        self.give(Input::Heartbeat { session: SESSION, sequence, heard: self.now })
    }

    /// Lets time pass and commits whatever is to be written.
    fn live(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            let step = end.since(self.now).min(Duration::from_millis(500));
            if let Some(write) = self.pass(step).write {
                self.commit(write);
            }
        }
    }

    fn task_state(&self, id: u128) -> TaskState {
        self.store.view().task(TaskId(id)).expect("is there").status.state
    }
}

/// 30 s of lease, 10 s to stop, 5 s of margin, and a hundredth for the clocks.
const OVER: Duration = Duration::from_millis(45_450);

#[test]
fn a_lease_is_granted_only_once_a_quorum_has_confirmed_the_leader_after_the_heartbeat() {
    let mut bench = Bench::with_single();
    let write = bench.open(SESSION).write.expect("state");
    bench.commit(write);
    let out = bench.beat(1);
    assert!(out.confirm && out.sends == [(SESSION, Message::HeartbeatAck)]);
    assert!(!bench.beat(2).confirm, "one question at a time");
    let out = bench.give(Input::Confirmed { leads: true });
    assert_eq!(out.sends, [(SESSION, Message::Lease { sequence: 1 })]);
    assert!(out.confirm, "the one that came meanwhile is asked for next");
    assert_eq!(bench.give(Input::Confirmed { leads: false }).sends, [], "somebody else may lead");
}

#[test]
fn a_node_that_runs_nothing_of_the_kind_asks_nobody() {
    let mut bench = Bench::new();
    bench.open(SESSION);
    assert!(!bench.beat(1).confirm);
}

#[test]
fn a_task_of_a_lost_node_is_over_when_lease_and_grace_have_passed_since() {
    let mut bench = Bench::with_single();
    let write = bench.open(SESSION).write.expect("state");
    bench.commit(write);
    bench.give(Input::Closed { session: SESSION });
    bench.live(OVER - Duration::from_millis(10));
    assert_eq!((bench.state(), bench.task_state(5)), (NodeState::Down, TaskState::Running));
    bench.live(Duration::from_millis(20));
    assert_eq!(bench.task_state(5), TaskState::Orphaned);
}

#[test]
fn a_new_leader_counts_from_its_own_beginning_and_a_node_that_is_back_is_not_given_up() {
    let mut bench = Bench::with_single();
    bench.live(OVER - Duration::from_millis(10));
    bench.now = Mono(0);
    bench.dispatch = Dispatch::new(Mono(0), bench.store.view());
    bench.live(Duration::from_secs(40));
    assert_eq!((bench.state(), bench.task_state(5)), (NodeState::Down, TaskState::Running));
    if let Some(write) = bench.open(SESSION).write {
        bench.commit(write);
    }
    for sequence in 0..60 {
        bench.beat(sequence);
        bench.live(Duration::from_secs(1));
    }
    assert_eq!(bench.task_state(5), TaskState::Running);
}

#[test]
fn the_tasks_of_a_removed_node_are_over_when_their_lease_has_passed() {
    let mut bench = Bench::with_single();
    let write = bench.open(SESSION).write.expect("state");
    bench.commit(write);
    bench.commit(vec![Change::Delete(crate::store::ObjectRef::Node(NODE))]);
    bench.live(OVER - Duration::from_millis(10));
    assert_eq!(bench.task_state(5), TaskState::Running);
    bench.live(Duration::from_millis(20));
    assert_eq!(bench.task_state(5), TaskState::Orphaned);
    bench.commit(vec![]);
    assert!(!bench.dispatch.nodes.contains_key(&NODE), "then the node is forgotten");
}

#[test]
fn a_node_whose_task_was_called_over_gets_no_lease_until_that_is_in_the_store() {
    let mut bench = Bench::with_single();
    bench.live(OVER - Duration::from_millis(10));
    let write = bench.pass(Duration::from_millis(20)).write.expect("the task is over");
    bench.open(SESSION);
    bench.beat(1);
    assert_eq!(bench.give(Input::Confirmed { leads: true }).sends, [], "it could be written any moment");
    let out = bench.give(Input::Written { committed: false });
    let again = out.write.expect("the decision stands although the node is back");
    assert!(
        again
            .iter()
            .any(|change| matches!(change, Change::TaskStatus { status, .. } if status.state == TaskState::Orphaned))
    );
    drop(write);
    bench.commit(again);
    assert_eq!(bench.task_state(5), TaskState::Orphaned);
}
