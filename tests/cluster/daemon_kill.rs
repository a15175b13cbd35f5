//! kill -9 of a daemon: its containers go on, are found again, and what ended meanwhile is told.

use crate::harness::http::get;
use crate::harness::probe::Task;
use crate::harness::{Cluster, Probe as _, SOON, wait_for, wait_until};

const STACK: &str = "
services:
  web:
    image: app:1
    ports: ['8080:8080']
    stop_grace_period: 1s
    deploy: {replicas: 6, restart_policy: {condition: any, delay: 0s}}
";

/// A process by its start time: the same number later is another process.
fn start_time(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    if *fields.first()? == "Z" {
        return None;
    }
    fields.get(19).map(|s| (*s).to_owned())
}

fn on_node(cluster: &Cluster, host: u8, node: &str) -> Vec<Task> {
    let mut tasks: Vec<Task> = cluster.running(host, "shop_web").into_iter().filter(|t| t.node == node).collect();
    tasks.sort_by(|a, b| a.id.cmp(&b.id));
    tasks
}

#[test]
fn a_killed_daemon_stops_no_container_and_finds_them_again() {
    let cluster = Cluster::up("daemon", 3);
    cluster.load_app(1);
    cluster.deploy(1, "shop", STACK);
    cluster.wait_running(1, "shop_web", 6, SOON);
    let leader = wait_for("a leader", SOON, || cluster.leader(1));
    let victim = cluster.hosts.iter().map(|h| h.index).find(|i| *i != leader).expect("three hosts");
    let node = cluster.node_id(victim);
    let before = on_node(&cluster, leader, &node);
    assert_eq!(before.len(), 2, "tasks are spread evenly");
    let started: Vec<_> =
        before.iter().map(|t| start_time(t.pid).unwrap_or_else(|| panic!("{t:?} has no process"))).collect();
    wait_until("the port answers", SOON, || get(cluster.host(leader).address, 8080, "/").is_ok());

    cluster.dev(&["kill", &victim.to_string()]);
    let alive = || before.iter().map(|t| start_time(t.pid)).eq(started.iter().cloned().map(Some));
    assert!(alive(), "a container ended with the daemon");
    assert!(cluster.try_api(victim, "GET", "/_ping", None).is_err());
    // At once: a node that stays away for some seconds is down, and its tasks are replaced.
    cluster.dev(&["start", &victim.to_string()]);
    wait_until("the node is ready again", SOON, || {
        cluster.nodes(leader).is_some_and(|n| n.iter().any(|n| n.id == node && n.state == "ready"))
    });
    assert!(alive(), "a container ended when the daemon came back");
    let after = wait_for("the tasks are there again", SOON, || {
        let tasks = on_node(&cluster, leader, &node);
        (tasks.len() == 2).then_some(tasks)
    });
    let same = |t: &Task| (t.id.clone(), t.container.clone(), t.pid);
    assert_eq!(after.iter().map(same).collect::<Vec<_>>(), before.iter().map(same).collect::<Vec<_>>());
    for host in &cluster.hosts {
        wait_until("the port answers on every host", SOON, || get(host.address, 8080, "/").is_ok());
    }
    // The daemon owns them again: removing the service ends them.
    cluster.swarm(victim, &["service", "rm", "shop_web"]);
    wait_until("the containers end", SOON, || before.iter().all(|t| start_time(t.pid).is_none()));
}

#[test]
fn a_container_that_ends_while_its_daemon_is_away_is_reported_and_replaced() {
    let cluster = Cluster::up("away", 3);
    cluster.load_app(1);
    cluster.deploy(1, "shop", STACK);
    cluster.wait_running(1, "shop_web", 6, SOON);
    let leader = wait_for("a leader", SOON, || cluster.leader(1));
    let victim = cluster.hosts.iter().map(|h| h.index).find(|i| *i != leader).expect("three hosts");
    let node = cluster.node_id(victim);
    let task = on_node(&cluster, leader, &node).into_iter().next().expect("a task runs on each host");
    cluster.dev(&["kill", &victim.to_string()]);
    let pid = nix::unistd::Pid::from_raw(task.pid.cast_signed());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("the container runs");
    wait_until("the container ended", SOON, || start_time(task.pid).is_none());
    cluster.dev(&["start", &victim.to_string()]);
    let ended = wait_for("the end is reported", SOON, || {
        let tasks = cluster.tasks(leader, "shop_web")?;
        tasks.into_iter().find(|t| t.id == task.id && t.state == "failed")
    });
    assert!(ended.error.contains("137"), "SIGKILL gives exit code 137: {ended:?}");
    cluster.wait_running(leader, "shop_web", 6, SOON);
}
