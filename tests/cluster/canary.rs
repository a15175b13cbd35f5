//! What was begun under one leader is gone on with under the next: canaries wait for a word, and a job that was done
//! stays done.

use crate::harness::probe::Task;
use crate::harness::{Cluster, Probe as _, SOON, wait_for, wait_until};

const STACK: &str = "
services:
  web:
    image: app:1
    stop_grace_period: 1s
    deploy: {replicas: 3, update_config: {parallelism: 0, monitor: 100ms}, rollback_config: {parallelism: 0, monitor: 100ms}}
  job:
    image: app:1
    command: [echo, ran]
    deploy: {mode: replicated-job, replicas: 3}
";

/// How many tasks of the web run each version, once `count` of them do.
fn versions(cluster: &Cluster, host: u8, count: usize) -> [usize; 2] {
    let running = cluster.wait_running(host, "shop_web", count, SOON);
    ["app:1", "app:2"].map(|image| running.iter().filter(|t| t.image == image).count())
}

fn canary(cluster: &Cluster, host: u8, image: &str) {
    cluster.swarm(host, &["service", "update", "--detach", "--canary", "1", "--image", image, "shop_web"]);
    wait_until("the canary waits", SOON, || {
        cluster.update(host, "shop_web").is_some_and(|(_, words)| words.contains("\"swarm service promote shop_web\""))
    });
}

/// The tasks of the job, once it is done.
fn done(cluster: &Cluster, host: u8) -> Vec<Task> {
    let mut tasks = wait_for("the job is done", SOON, || {
        let tasks = cluster.tasks(host, "shop_job")?;
        let is_done = tasks.len() == 3 && tasks.iter().all(|t| t.state == "complete" && t.desired == "complete");
        is_done.then_some(tasks)
    });
    tasks.sort_by(|a, b| a.id.cmp(&b.id));
    tasks
}

#[test]
fn a_new_leader_lets_canaries_wait_and_runs_no_job_again() {
    let cluster = Cluster::up("canary", 3);
    cluster.load_app(1);
    cluster.load_app(2);
    cluster.deploy(1, "shop", STACK);
    let job = done(&cluster, 1);
    assert_eq!(versions(&cluster, 1, 3), [3, 0]);
    canary(&cluster, 1, "app:2");
    assert_eq!(versions(&cluster, 1, 3), [2, 1]);

    let old = wait_for("a leader", SOON, || cluster.leader(1));
    cluster.dev(&["kill", &old.to_string()]);
    let host = cluster.hosts.iter().map(|h| h.index).find(|i| *i != old).expect("three hosts");
    wait_until("another leads", SOON, || cluster.leader(host).is_some_and(|new| new != old));
    cluster.dev(&["start", &old.to_string()]);
    cluster.wait_all_ready(host);
    // What is added tells that the new leader has looked at the service; it is what ran before.
    cluster.swarm(host, &["service", "scale", "--detach", "shop_web=5"]);
    assert_eq!(versions(&cluster, host, 5), [4, 1]);
    assert_eq!(done(&cluster, host), job, "the job did not run again");

    cluster.swarm(host, &["service", "promote", "--detach", "shop_web"]);
    cluster.wait_update(host, "shop_web", "completed");
    assert_eq!(versions(&cluster, host, 5), [0, 5]);
    canary(&cluster, host, "app:1");
    assert_eq!(versions(&cluster, host, 5), [1, 4]);
    cluster.swarm(host, &["service", "rollback", "--detach", "shop_web"]);
    cluster.wait_update(host, "shop_web", "rollback_completed");
    assert_eq!(versions(&cluster, host, 5), [0, 5]);
}
