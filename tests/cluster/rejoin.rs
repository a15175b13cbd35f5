//! A node that restarts is the same node again, without anybody's help.

use crate::harness::http::get;
use crate::harness::{Cluster, Probe as _, SOON, wait_for, wait_until};

#[test]
fn a_restarted_node_rejoins_by_itself_under_the_same_id() {
    let cluster = Cluster::up("rejoin", 3);
    cluster.load_app(1);
    cluster.wait_all_ready(1);
    let ids: Vec<String> = cluster.hosts.iter().map(|h| cluster.node_id(h.index)).collect();
    for host in &cluster.hosts {
        let asked = if host.index == 1 { 2 } else { 1 };
        let id = &ids[usize::from(host.index) - 1];
        let state =
            |wanted: &str| cluster.nodes(asked).is_some_and(|n| n.iter().any(|n| n.id == *id && n.state == wanted));
        cluster.dev(&["kill", &host.index.to_string()]);
        wait_until("the node is seen down", SOON, || state("down"));
        cluster.dev(&["start", &host.index.to_string()]);
        wait_until("the node is seen ready", SOON, || state("ready"));
        assert_eq!(cluster.node_id(host.index), *id, "host {} is the same node", host.index);
        assert_eq!(wait_for("an answer", SOON, || cluster.nodes(asked)).len(), 3, "no second record of a node");
    }
    // The cluster works as before: something new runs on every node and is reached.
    cluster.deploy(3, "late", "services:\n  web: {image: 'app:1', ports: ['8080:8080'], deploy: {mode: global}}\n");
    cluster.wait_running(2, "late_web", 3, SOON);
    for host in &cluster.hosts {
        wait_until("the port answers", SOON, || get(host.address, 8080, "/").is_ok_and(|r| r.text() == "app 1\n"));
    }
}

#[test]
fn a_whole_cluster_that_was_killed_comes_back_with_all_it_had() {
    let cluster = Cluster::up("whole", 3);
    cluster.load_app(1);
    cluster.deploy(1, "shop", "services:\n  web: {image: 'app:1', ports: ['8080:8080'], deploy: {replicas: 3}}\n");
    let before = cluster.wait_running(1, "shop_web", 3, SOON);
    for host in &cluster.hosts {
        cluster.dev(&["kill", &host.index.to_string()]);
    }
    for host in &cluster.hosts {
        cluster.dev(&["start", &host.index.to_string()]);
    }
    cluster.wait_all_ready(1);
    let after = cluster.wait_running(2, "shop_web", 3, SOON);
    let containers = |tasks: &[crate::harness::probe::Task]| {
        tasks.iter().map(|t| t.container.clone()).collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(containers(&before), containers(&after), "the same containers run");
    for host in &cluster.hosts {
        wait_until("the port answers", SOON, || get(host.address, 8080, "/").is_ok_and(|r| r.text() == "app 1\n"));
    }
}
