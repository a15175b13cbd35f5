//! How long the leader's decisions take in clusters of up to 100,000 nodes and a million tasks.
//!
//! `make bench` runs it; BENCHMARKS.md has the figures and the targets. Times are divan's, with the work
//! on an in-memory store whose set-up does not count.

mod cluster;

use divan::Bencher;
use swarm_core::WallTime;
use swarm_core::scheduler::{Board, place};
use swarm_core::store::{Delta, Store, Txn};

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
        let changes = place(&view, &mut board, WallTime(0), STEP);
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
