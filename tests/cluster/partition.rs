//! A host cut off from the others: its tasks run elsewhere in time, and after healing exactly the
//! wanted number of containers runs, counted as processes and not as records.

use std::time::{Duration, Instant};

use crate::harness::{Cluster, Probe as _, SOON, processes_running, wait_for, wait_until};

/// From the cut to the tasks running elsewhere.
const ELSEWHERE_LIMIT: Duration = Duration::from_secs(5);
const REPLICAS: usize = 6;

#[test]
fn the_tasks_of_a_cut_off_host_run_elsewhere_in_time_and_once_after_healing() {
    let cluster = Cluster::up("cut", 3);
    cluster.load_app(1);
    // An argument no other process on this machine has.
    let seconds = format!("1000000.{}", std::process::id());
    let stack = format!(
        "services:\n  job: {{image: 'app:1', command: [sleep, '{seconds}'], stop_grace_period: 1s, deploy: {{replicas: {REPLICAS}}}}}\n"
    );
    cluster.deploy(1, "work", &stack);
    cluster.wait_running(1, "work_job", REPLICAS, SOON);
    let leader = wait_for("a leader", SOON, || cluster.leader(1));
    let victim = cluster.hosts.iter().map(|h| h.index).find(|i| *i != leader).expect("three hosts");
    let node = cluster.node_id(victim);
    assert_eq!(processes_running(&["sleep", &seconds]).len(), REPLICAS);

    let cut = Instant::now();
    cluster.dev(&["partition", &victim.to_string()]);
    wait_until("all tasks run elsewhere", SOON, || {
        let running = cluster.running(leader, "work_job");
        running.iter().filter(|t| t.node != node).count() == REPLICAS
    });
    let took = cut.elapsed();
    println!("tasks running elsewhere {took:?} after the cut");
    assert!(took <= ELSEWHERE_LIMIT, "tasks run elsewhere only {took:?} after the cut");
    let nodes = cluster.nodes(leader).expect("the leader answers");
    assert!(nodes.iter().any(|n| n.id == node && n.state == "down"), "the cut-off host is down: {nodes:?}");
    // It cannot know, and keeps what it has.
    assert_eq!(processes_running(&["sleep", &seconds]).len(), REPLICAS + REPLICAS / 3);

    cluster.dev(&["heal"]);
    cluster.wait_all_ready(leader);
    wait_until("exactly the wanted number of containers runs", SOON, || {
        processes_running(&["sleep", &seconds]).len() == REPLICAS
    });
    let running = cluster.wait_running(victim, "work_job", REPLICAS, SOON);
    for task in &running {
        assert!(std::path::Path::new(&format!("/proc/{}", task.pid)).exists(), "{task:?} has no process");
    }
}

#[test]
fn a_cut_off_leader_is_replaced_and_takes_no_writes() {
    let cluster = Cluster::up("cutlead", 3);
    let leader = wait_for("a leader", SOON, || cluster.leader(1));
    let others: Vec<u8> = cluster.hosts.iter().map(|h| h.index).filter(|i| *i != leader).collect();
    cluster.dev(&["partition", &leader.to_string()]);
    let spec = |name: &str| serde_json::json!({"Name": name, "Mode": {"Replicated": {"Replicas": 0}}, "TaskTemplate": {"ContainerSpec": {"Image": "app:1"}}});
    wait_until("the others take writes", SOON, || {
        let answer = cluster.try_api(others[0], "POST", "/services/create", Some(&spec("there")));
        answer.is_ok_and(|r| r.status == 201)
    });
    let refused = cluster.try_api(leader, "POST", "/services/create", Some(&spec("here")));
    assert!(!refused.is_ok_and(|r| r.status == 201), "a write was acknowledged without a majority");
    cluster.dev(&["heal"]);
    cluster.wait_all_ready(leader);
    for host in &cluster.hosts {
        wait_until("every host knows the one write", SOON, || {
            let services = cluster.try_api(host.index, "GET", "/services", None);
            services.is_ok_and(|r| r.status == 200 && r.text().contains("\"there\"") && !r.text().contains("\"here\""))
        });
    }
}
