//! kill -9 of the manager that leads, while writes come in at another.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Cluster, Probe as _, SOON, wait_for, wait_until};

/// From the kill to the first write that is acknowledged again.
const FAILOVER_LIMIT: Duration = Duration::from_secs(3);
/// Writes acknowledged before the kill, so that there is something to lose.
const WRITES_BEFORE: usize = 20;

/// A write that was acknowledged, and when.
struct Write {
    name: String,
    at: Instant,
}

/// Creates one service after the other until told to stop; only acknowledged ones are returned.
fn write(cluster: &Cluster, host: u8, count: &std::sync::atomic::AtomicUsize, stop: &AtomicBool) -> Vec<Write> {
    let mut done = Vec::new();
    for n in 0.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let name = format!("w{n}");
        let spec = json!({
            "Name": name,
            "Mode": {"Replicated": {"Replicas": 0}},
            "TaskTemplate": {"ContainerSpec": {"Image": "app:1"}},
        });
        if cluster.try_api(host, "POST", "/services/create", Some(&spec)).is_ok_and(|r| r.status == 201) {
            done.push(Write { name, at: Instant::now() });
            count.fetch_add(1, Ordering::SeqCst);
        }
    }
    done
}

fn names(cluster: &Cluster, host: u8) -> Option<Vec<String>> {
    let response = cluster.try_api(host, "GET", "/services", None).ok().filter(|r| r.status == 200)?;
    let services = response.json();
    let name = |s: &Value| s.pointer("/Spec/Name").and_then(Value::as_str).map(str::to_owned);
    services.as_array()?.iter().map(name).collect()
}

#[test]
fn a_killed_leader_loses_no_acknowledged_write_and_is_replaced_within_the_limit() {
    let cluster = Cluster::up("leader", 3);
    let leader = wait_for("a leader", SOON, || cluster.leader(1));
    let others: Vec<u8> = cluster.hosts.iter().map(|h| h.index).filter(|i| *i != leader).collect();
    let writer = others[0];
    let (count, stop) = (std::sync::atomic::AtomicUsize::new(0), AtomicBool::new(false));
    let (writes, killed) = std::thread::scope(|s| {
        let thread = s.spawn(|| write(&cluster, writer, &count, &stop));
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_until("writes are acknowledged", SOON, || count.load(Ordering::SeqCst) >= WRITES_BEFORE);
            let killed = Instant::now();
            cluster.dev(&["kill", &leader.to_string()]);
            let before = count.load(Ordering::SeqCst);
            wait_until("writes are acknowledged again", SOON, || {
                count.load(Ordering::SeqCst) >= before + WRITES_BEFORE
            });
            killed
        }));
        stop.store(true, Ordering::SeqCst);
        let writes = thread.join().expect("the writer did not panic");
        (writes, done.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    // The longest pause that ends after the kill is the time without a leader.
    let pause = writes
        .windows(2)
        .filter(|w| w[1].at > killed)
        .map(|w| w[1].at - w[0].at.max(killed))
        .max()
        .expect("writes were acknowledged after the kill");
    println!("{} writes acknowledged, {pause:?} without a leader", writes.len());
    assert!(pause <= FAILOVER_LIMIT, "no write for {pause:?}");
    for host in &others {
        all_there(&cluster, *host, &writes);
        assert_ne!(cluster.leader(*host), Some(leader));
    }
    cluster.dev(&["start", &leader.to_string()]);
    all_there(&cluster, leader, &writes);
}

fn all_there(cluster: &Cluster, host: u8, writes: &[Write]) {
    let names = wait_for(&format!("host {host} answers"), SOON, || names(cluster, host));
    let lost: Vec<&str> = writes.iter().map(|w| w.name.as_str()).filter(|n| !names.iter().any(|m| m == n)).collect();
    assert!(lost.is_empty(), "host {host} lost {lost:?}");
}
