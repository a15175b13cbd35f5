//! What is told to a container, seen from inside of it: secrets of each version, templates, named resources.

use std::collections::BTreeMap;

use crate::harness::probe::Task;
use crate::harness::{Cluster, Probe as _, SOON, wait_until};

const STACK: &str = "
services:
  web:
    image: app:1
    stop_grace_period: 1s
    environment: {WHO: '{{.Service.Name}}/{{.Task.Slot}}/{{.Node.Hostname}}'}
    secrets: [key]
    configs: [{source: conf, target: /etc/app.conf}]
    deploy:
      replicas: 2
      update_config: {parallelism: 0, monitor: 100ms}
      rollback_config: {parallelism: 0, monitor: 100ms}
      resources: {reservations: {generic_resources: [{discrete_resource_spec: {kind: gpu, value: 2}}, {discrete_resource_spec: {kind: ssd, value: 3}}]}}
secrets: {key: {file: ./key}}
configs: {conf: {file: ./conf, template_driver: golang}}
";
const TEMPLATE: &str = "slot {{.Task.Slot}} on {{.Node.Hostname}}: {{secret \"key\"}}\n";

/// What a file is inside of a task's container.
fn file(task: &Task, path: &str) -> String {
    let path = format!("/proc/{}/root{path}", task.pid);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn environment(task: &Task) -> BTreeMap<String, String> {
    let text = std::fs::read(format!("/proc/{}/environ", task.pid)).expect("the container runs");
    let text = String::from_utf8_lossy(&text).into_owned();
    text.split('\0').filter_map(|pair| pair.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

/// Waits until both tasks run with this secret; checks all that their containers were told.
fn all_have(cluster: &Cluster, secret: &str) {
    let mut tasks = Vec::new();
    wait_until(&format!("both tasks run with {secret:?}"), SOON, || {
        tasks = cluster.running(1, "shop_web");
        tasks.len() == 2 && tasks.iter().all(|t| file(t, "/run/secrets/key") == secret)
    });
    let mut told: Vec<String> = Vec::new();
    for task in &tasks {
        let host = cluster.hosts.iter().find(|h| cluster.node_id(h.index) == task.node).expect("a host");
        let hostname = format!("{}-{}", cluster.name, host.index);
        let env = environment(task);
        assert_eq!(env.get("DOCKER_RESOURCE_GPU").map(String::as_str), Some("GPU-1,GPU-2"));
        assert_eq!(env.get("DOCKER_RESOURCE_SSD").map(String::as_str), Some("3"));
        let who = env.get("WHO").expect("it is set").clone();
        let slot = who.strip_prefix("shop_web/").and_then(|rest| rest.strip_suffix(&format!("/{hostname}")));
        let slot = slot.unwrap_or_else(|| panic!("{who} on {hostname}"));
        assert_eq!(file(task, "/etc/app.conf"), format!("slot {slot} on {hostname}: {secret}\n"));
        told.push(slot.to_owned());
    }
    told.sort();
    assert_eq!(told, ["1", "2"]);
}

#[test]
fn a_new_content_and_a_rollback_reach_the_containers_with_all_else_they_are_told() {
    let offers = ["--node-generic-resource", "gpu=GPU-1,gpu=GPU-2", "--node-generic-resource", "ssd=3"];
    let cluster = Cluster::up_with("contents", 3, &offers);
    cluster.load_app(1);
    let write = |name: &str, text: &str| std::fs::write(cluster.dir.path().join(name), text).expect("it is writable");
    write("conf", TEMPLATE);
    write("key", "first");
    cluster.deploy(1, "shop", STACK);
    all_have(&cluster, "first");
    write("key", "second");
    cluster.deploy(2, "shop", STACK);
    all_have(&cluster, "second");
    cluster.wait_update(1, "shop_web", "completed");
    cluster.swarm(3, &["service", "rollback", "--detach", "shop_web"]);
    all_have(&cluster, "first");
    cluster.wait_update(1, "shop_web", "rollback_completed");
}
