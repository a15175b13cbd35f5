//! A task that is not ready gets no traffic, and holds an update until it is.

use crate::harness::http::get;
use crate::harness::probe::Task;
use crate::harness::{Cluster, Probe as _, SOON, wait_for, wait_until};

/// Ready once there is a page at /ready.
const CREATE: &str = "service create --detach --name web --replicas 2 --publish 8080:8080 --stop-grace-period 1s \
    --update-order start-first --update-monitor 100ms --readiness http://:8080/ready --readiness-interval 1s app:1";
/// New connections that are all to be answered by those that are ready.
const REQUESTS: usize = 20;

/// Tasks of an image that run and say why they are not ready, apart from one that was.
fn unready(cluster: &Cluster, image: &str, count: usize, but: Option<&Task>) -> Vec<Task> {
    wait_for(&format!("{count} of {image} say that they are not ready"), SOON, || {
        let tasks = cluster.running(1, "web");
        let unready = |t: &Task| t.image == image && t.error.contains("not ready: GET :8080/ready answered 404");
        let tasks: Vec<Task> =
            tasks.into_iter().filter(unready).filter(|t| but.is_none_or(|but| but.id != t.id)).collect();
        (tasks.len() == count).then_some(tasks)
    })
}

fn make_ready(task: &Task) {
    std::fs::write(format!("/proc/{}/root/www/ready", task.pid), "yes\n").expect("the container runs");
}

fn asked(cluster: &Cluster) -> Vec<String> {
    let answers = (0..REQUESTS).map(|_| get(cluster.host(1).address, 8080, "/"));
    let mut answers: Vec<String> = answers.map(|r| r.map_or_else(|e| e.to_string(), |r| r.text())).collect();
    answers.sort();
    answers.dedup();
    answers
}

#[test]
fn a_task_that_is_not_ready_gets_no_traffic_and_holds_the_update() {
    let cluster = Cluster::up("ready", 3);
    cluster.load_app(1);
    cluster.load_app(2);
    cluster.swarm(1, &CREATE.split_whitespace().collect::<Vec<_>>());
    let first = unready(&cluster, "app:1", 2, None);
    assert!(get(cluster.host(1).address, 8080, "/").is_err(), "nobody is ready, and somebody answers");
    first.iter().for_each(make_ready);
    wait_until("both are ready", SOON, || {
        let running = cluster.running(1, "web");
        running.len() == 2 && running.iter().all(|t| t.error.is_empty())
    });
    for host in &cluster.hosts {
        wait_until("those that are ready answer", SOON, || get(host.address, 8080, "/").is_ok());
    }

    cluster.swarm(1, &["service", "update", "--detach", "--image", "app:2", "web"]);
    let new = unready(&cluster, "app:2", 1, None);
    assert_eq!(asked(&cluster), ["app 1\n"]);
    assert_eq!(cluster.update(1, "web").expect("an update").0, "updating");
    let running = cluster.wait_running(1, "web", 3, SOON);
    assert_eq!(running.iter().filter(|t| t.image == "app:1").count(), 2, "both go on: {running:?}");

    make_ready(&new[0]);
    let last = unready(&cluster, "app:2", 1, Some(&new[0]));
    make_ready(&last[0]);
    cluster.wait_update(1, "web", "completed");
    wait_until("the new version answers alone", SOON, || asked(&cluster) == ["app 2\n"]);
}
