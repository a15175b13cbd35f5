//! What a stored task costs in memory: the store takes 100,000 running tasks of 1,000 services as the log
//! brings them, each with its own copy of everything. `max alloc` in bytes, by 100,000, is the figure.

#[path = "../speed/cluster.rs"]
#[allow(dead_code, reason = "what the other bench needs of it")]
mod cluster;

use divan::{AllocProfiler, Bencher};
use std::sync::Arc;
use swarm_core::store::{Change, Object, Store, Txn};

#[global_allocator]
static ALLOC: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

/// Shares nothing with the tasks it was made with.
fn as_from_the_log(task: &swarm_core::model::Task) -> Object {
    let mut task = task.clone();
    task.spec = Arc::new((*task.spec).clone());
    Object::Task(Arc::new(task))
}

#[divan::bench(sample_count = 1, sample_size = 1)]
fn a_hundred_thousand_stored_tasks(bencher: Bencher) {
    let all = cluster::running(100_000, 1_000, 1_000);
    let without = all.objects().into_iter().filter(|object| !matches!(object, Object::Task(_)));
    let without = Store::restore(1, without);
    let view = all.view();
    let txns: Vec<Txn> = view
        .tasks()
        .map(|task| Txn { changes: vec![Change::Create(as_from_the_log(task))], ..Txn::default() })
        .collect();
    bencher.with_inputs(|| without.clone()).bench_local_values(|mut store| {
        for txn in &txns {
            store.apply(store.view().index() + 1, 1, txn).expect("applies");
        }
        store
    });
}
