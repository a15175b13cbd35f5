//! How long the leader's decisions take in clusters of up to 100,000 nodes and a million tasks.
//!
//! `make bench` runs it; BENCHMARKS.md has the figures and the targets. Times are divan's, with the work
//! on an in-memory store whose set-up does not count.

mod busy;
mod cluster;

use divan::Bencher;
use rand::SeedableRng;
use rand::rngs::StdRng;
use swarm_core::dispatch::{Dispatch, Effects, Input, SessionId};
use swarm_core::fabric;
use swarm_core::leader::Ledger;
use swarm_core::model::{TaskState, TaskStatus};
use swarm_core::plan::{self, Memo, Phase};
use swarm_core::scheduler::{Board, place};
use swarm_core::store::{Change, Delta, ObjectRef, Store, Txn};
use swarm_core::{Mono, NetworkId, ServiceId, WallTime};

fn main() {
    divan::main();
}

/// Changes in one step of the leader, and in one transaction.
const STEP: usize = 5000;
const TXN: usize = 500;

/// Places every waiting task and applies it, as the leader does: in steps, each on what the last one led to.
fn schedule(store: &mut Store) -> usize {
    let mut view = store.view();
    let mut board = Board::of(&view);
    let mut placed = 0;
    loop {
        let changes = place(&view, &mut board, WallTime(0), STEP, &mut Vec::new());
        if changes.is_empty() {
            return placed;
        }
        placed += changes.len();
        for part in changes.chunks(TXN) {
            let txn = Txn { changes: part.to_vec(), ..Txn::default() };
            store.apply(store.view().index() + 1, 1, &txn).expect("applies");
        }
        let next = store.view();
        board.follow(&Delta::between(&view, &next), &next);
        view = next;
    }
}

/// Tasks and nodes.
#[divan::bench(args = [(1_000, 1_000), (10_000, 1_000), (100_000, 1_000), (100_000, 100_000)], sample_count = 5, sample_size = 1)]
fn schedule_all(bencher: Bencher, (tasks, nodes): (u128, u128)) {
    run(bencher, tasks, nodes);
}

#[divan::bench(sample_count = 3, sample_size = 1)]
fn schedule_a_million_on_100_000_nodes(bencher: Bencher) {
    run(bencher, 1_000_000, 100_000);
}

fn run(bencher: Bencher, tasks: u128, nodes: u128) {
    let store = cluster::waiting(tasks, nodes);
    bencher.with_inputs(|| store.clone()).bench_local_values(|mut store| {
        assert_eq!(schedule(&mut store) as u128, tasks);
        store
    });
}

fn apply(store: &mut Store, txn: &Txn) {
    store.apply(store.view().index() + 1, 1, txn).expect("applies");
}

/// Brings a cluster to rest; the steps it takes are the leader's.
fn settle(store: &mut Store, ledger: &mut Ledger, now: WallTime, rng: &mut StdRng) -> usize {
    let mut changes = 0;
    loop {
        let step = ledger.step(&store.view(), now, rng);
        if step.txns.is_empty() {
            return changes;
        }
        for txn in &step.txns {
            changes += txn.changes.len();
            apply(store, txn);
        }
    }
}

/// One task of a cluster of 100,000 fails: from its status to a successor with a node, and the leader at rest.
/// Services and nodes.
#[divan::bench(args = [(1_000, 1_000), (10_000, 1_000), (1_000, 100_000)], sample_count = 200, sample_size = 1)]
fn one_task_of_100_000_fails(bencher: Bencher, (services, nodes): (u128, u128)) {
    tasks_fail(bencher, cluster::running(100_000, services, nodes));
}

/// In a cluster at rest, one after another.
fn tasks_fail(bencher: Bencher, mut store: Store) {
    let (mut ledger, mut rng, now) = (Ledger::default(), StdRng::seed_from_u64(7), WallTime(0));
    assert_eq!(settle(&mut store, &mut ledger, now, &mut rng), 0, "the cluster is at rest");
    let tasks: Vec<_> = store.view().tasks().map(|task| task.id).collect();
    let mut next = tasks.into_iter().step_by(97);
    bencher.bench_local(move || {
        let task = next.next().expect("enough tasks");
        let status = TaskStatus { state: TaskState::Failed, ..TaskStatus::default() };
        apply(&mut store, &Txn { changes: vec![Change::TaskStatus { task, status }], ..Txn::default() });
        let changes = settle(&mut store, &mut ledger, now, &mut rng);
        assert!(changes >= 3, "stopped, made, allocated, placed");
    });
}

/// The same among 20,000 tasks on 10,000 nodes, while services wait that fit on none: so many.
#[divan::bench(args = [0, 100], sample_count = 200, sample_size = 1)]
fn one_task_fails_while_others_fit_nowhere(bencher: Bencher, stuck: u128) {
    let mut store = cluster::stuck(20_000, 1_000, 10_000, stuck);
    let (mut ledger, mut rng, now) = (Ledger::default(), StdRng::seed_from_u64(7), WallTime(0));
    assert_eq!(settle(&mut store, &mut ledger, now, &mut rng) as u128, stuck, "each says why");
    let running = store.view().tasks().filter(|task| task.node.is_some()).map(|task| task.id).collect::<Vec<_>>();
    let mut next = running.into_iter().step_by(97);
    bencher.bench_local(move || {
        let task = next.next().expect("enough tasks");
        let status = TaskStatus { state: TaskState::Failed, ..TaskStatus::default() };
        apply(&mut store, &Txn { changes: vec![Change::TaskStatus { task, status }], ..Txn::default() });
        assert!(settle(&mut store, &mut ledger, now, &mut rng) >= 3, "stopped, made, allocated, placed");
    });
}

/// A task among 20,000 on 1,000 nodes, all with a session, changes its status: what dispatch does about it. What each
/// node's network must look like is most of it: see below.
#[divan::bench(sample_count = 3, sample_size = 1)]
fn dispatch_one_change(bencher: Bencher) {
    let mut store = cluster::running(20_000, 1_000, 1_000);
    let view = store.view();
    let mut dispatch = Dispatch::new(Mono(0), view.clone());
    let mut give = move |input| {
        let mut out = Effects::default();
        dispatch.input(Mono(0), WallTime(0), input, &mut out);
        out
    };
    let mut write = None;
    for (number, node) in (1..).zip(view.nodes()) {
        let addr = "192.0.2.1".parse().expect("an address");
        let description = node.description.clone().unwrap_or_default();
        let out = give(Input::Opened { session: SessionId(number), node: node.id, addr, description });
        write = write.or(out.write);
    }
    while let Some(changes) = write {
        apply(&mut store, &Txn { changes, ..Txn::default() });
        give(Input::Committed(store.view()));
        write = give(Input::Written { committed: true }).write;
    }
    let mut next = view.tasks().map(|task| task.id).collect::<Vec<_>>().into_iter().step_by(97);
    bencher.bench_local(move || {
        let task = next.next().expect("enough tasks");
        let status = TaskStatus { state: TaskState::Failed, ..TaskStatus::default() };
        apply(&mut store, &Txn { changes: vec![Change::TaskStatus { task, status }], ..Txn::default() });
        give(Input::Committed(store.view()))
    });
}

/// What the network of one of 1,000 nodes must look like, with 20,000 tasks on none or on one network. Dispatch asks for
/// each node after each commit.
#[divan::bench(args = [false, true], sample_count = 20, sample_size = 1)]
fn derive_the_fabric_of_a_node(bencher: Bencher, networks: bool) {
    let (tasks, services, nodes) = (20_000, 1_000, 1_000);
    let store = match networks {
        true => cluster::networked(tasks, services, nodes),
        false => cluster::running(tasks, services, nodes),
    };
    let view = store.view();
    let node = view.nodes().next().expect("a node").id;
    bencher.bench_local(|| fabric::derive(&view, node));
}

/// A leader begins in a cluster of 100,000 tasks: it looks at everything once.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn a_leader_begins(bencher: Bencher) {
    let store = cluster::running(100_000, 1_000, 1_000);
    bencher.bench_local(|| {
        let mut ledger = Ledger::default();
        let step = ledger.step(&store.view(), WallTime(0), &mut StdRng::seed_from_u64(7));
        assert!(step.txns.is_empty());
        ledger
    });
}

/// All phases of one service at rest.
#[divan::bench(args = [100, 10_000], sample_count = 20)]
fn reconcile(bencher: Bencher, replicas: u128) {
    let view = cluster::running(replicas, 1, 1_000).view();
    let service = view.services().next().expect("a service").id;
    let mut rng = StdRng::seed_from_u64(7);
    bencher.bench_local(|| {
        let mut memo = Memo::default();
        for phase in Phase::ALL {
            assert!(plan::reconcile(&view, service, phase, WallTime(0), &mut rng, &mut memo).is_empty());
        }
    });
}

/// A network and a service are made and removed again: four writes, in a cluster of that many services.
#[divan::bench(args = [10, 1_000, 100_000], sample_count = 100)]
fn writes(bencher: Bencher, services: u128) {
    let mut store = cluster::running(services, services, 10);
    let network = NetworkId(1);
    let service = ServiceId(1);
    let txns = [
        vec![Change::Create(cluster::network(network))],
        vec![Change::Create(cluster::service(service, "new", 1, 0))],
        vec![Change::Delete(ObjectRef::Network(network))],
        vec![Change::Delete(ObjectRef::Service(service))],
    ];
    let txns = txns.map(|changes| Txn { changes, ..Txn::default() });
    bencher.bench_local(|| txns.iter().for_each(|txn| apply(&mut store, txn)));
}
