//! A rolling update under load, asked of a manager that does not lead.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::harness::http::get;
use crate::harness::{Cluster, Probe as _, SOON, wait_for, wait_until};

const STACK: &str = "
services:
  web:
    image: app:1
    ports: ['8080:8080']
    stop_grace_period: 5s
    deploy:
      replicas: 3
      update_config: {parallelism: 1, delay: 0s, order: start-first, monitor: 500ms}
";

/// What a client saw.
#[derive(Default)]
struct Seen {
    answers: usize,
    failures: Vec<String>,
    versions: Vec<String>,
}

/// Asks one host without a pause until told to stop.
fn ask(address: Ipv4Addr, stop: &AtomicBool) -> Seen {
    let mut seen = Seen::default();
    while !stop.load(Ordering::Relaxed) {
        match get(address, 8080, "/") {
            Ok(r) if r.status == 200 => {
                seen.answers += 1;
                let text = r.text();
                if seen.versions.last() != Some(&text) && !seen.versions.contains(&text) {
                    seen.versions.push(text);
                }
            }
            Ok(r) => seen.failures.push(format!("status {}", r.status)),
            Err(e) => seen.failures.push(e.to_string()),
        }
    }
    seen
}

#[test]
fn a_rolling_update_from_a_manager_that_does_not_lead_fails_no_request() {
    let cluster = Cluster::up("update", 3);
    cluster.load_app(1);
    cluster.load_app(2);
    cluster.deploy(1, "shop", STACK);
    cluster.wait_running(1, "shop_web", 3, SOON);
    for host in &cluster.hosts {
        wait_until("the port answers", SOON, || get(host.address, 8080, "/").is_ok_and(|r| r.text() == "app 1\n"));
    }
    let leader = wait_for("a leader", SOON, || cluster.leader(1));
    let other = cluster.hosts.iter().map(|h| h.index).find(|i| *i != leader).expect("three hosts");
    let stop = AtomicBool::new(false);
    let seen: Vec<Seen> = std::thread::scope(|s| {
        let clients: Vec<_> = cluster.hosts.iter().map(|h| s.spawn(|| ask(h.address, &stop))).collect();
        // However the update ends, the clients must be told to stop.
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            cluster.swarm(other, &["service", "update", "--detach", "--image", "app:2", "shop_web"]);
            wait_for("the update is completed", SOON, || {
                let services = cluster.api(other, "/services");
                let state = services.pointer("/0/UpdateStatus/State")?.as_str()?.to_owned();
                assert!(["updating", "completed"].contains(&state.as_str()), "update: {state}");
                (state == "completed").then_some(())
            });
            cluster.wait_running(other, "shop_web", 3, SOON);
            for host in &cluster.hosts {
                wait_until("only the new version answers", SOON, || {
                    (0..6).all(|_| get(host.address, 8080, "/").is_ok_and(|r| r.text() == "app 2\n"))
                });
            }
        }));
        stop.store(true, Ordering::Relaxed);
        let seen = clients.into_iter().map(|c| c.join().expect("the client did not panic")).collect();
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        seen
    });
    for (host, seen) in cluster.hosts.iter().zip(seen) {
        println!("host {}: {} answers", host.index, seen.answers);
        assert!(seen.failures.is_empty(), "host {}: {:?} of {} requests", host.index, seen.failures, seen.answers);
        assert_eq!(seen.versions, ["app 1\n", "app 2\n"], "host {}: both versions answered", host.index);
    }
}
