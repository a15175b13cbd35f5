//! A task that is to run once at most, on a host that is cut off: it ends there before another starts.

use std::time::{Duration, Instant};

use crate::harness::{Cluster, Probe as _, SOON, processes_running, wait_for, wait_until};

/// The shortest lease there is.
const LEASE: Duration = Duration::from_secs(5);
/// From the end of the lease to that of a program that does not stop when it is asked to: the grace of one second, and
/// a machine that is busy.
const END_LIMIT: Duration = Duration::from_secs(4);
/// From the cut to the other task: the lease, the grace and the margin of `core::lease`, after the host is seen as lost.
const ELSEWHERE_LIMIT: Duration = Duration::from_secs(20);

#[test]
fn a_task_that_runs_once_at_most_ends_on_a_cut_off_host_before_another_starts() {
    let cluster = Cluster::up("lease", 3);
    cluster.load_app(1);
    // An argument no other process on this machine has. The first process of a container ignores SIGTERM.
    let seconds = format!("1000001.{}", std::process::id());
    let stack = format!(
        "services:\n  one: {{image: 'app:1', command: [sleep, '{seconds}'], stop_grace_period: 1s, deploy: {{x-at-most-one: {}s}}}}\n",
        LEASE.as_secs()
    );
    cluster.deploy(1, "work", &stack);
    let task = cluster.wait_running(1, "work_one", 1, SOON).remove(0);
    let running = || processes_running(&["sleep", &seconds]);
    assert_eq!(running(), [task.pid]);
    let victim = cluster.hosts.iter().map(|h| h.index).find(|i| cluster.node_id(*i) == task.node).expect("a host");
    let other = cluster.hosts.iter().map(|h| h.index).find(|i| *i != victim).expect("three hosts");

    let cut = Instant::now();
    cluster.dev(&["partition", &victim.to_string()]);
    wait_until("the task of the cut-off host has ended", LEASE + END_LIMIT, || running().is_empty());
    let ended = cut.elapsed();
    let new = wait_for("another runs", ELSEWHERE_LIMIT, || running().pop());
    println!("ended {ended:?} after the cut, started elsewhere after {:?}", cut.elapsed());
    let after = cluster.wait_running(other, "work_one", 1, SOON).remove(0);
    assert_eq!(after.pid, new);
    assert_ne!(after.node, task.node);

    cluster.dev(&["heal"]);
    cluster.wait_all_ready(other);
    wait_until("the host that was cut off says what became of its task", SOON, || {
        let tasks = cluster.tasks(victim, "work_one").unwrap_or_default();
        tasks.iter().any(|t| t.id == task.id && t.desired == "shutdown" && t.state != "running")
    });
    assert_eq!(running(), [new], "the one that runs goes on, and there is no other");
}
