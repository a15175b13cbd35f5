//! A stack of several services: reached from every host by published port, and from every host's
//! containers by name.

use crate::harness::http::get;
use crate::harness::{Cluster, Probe as _, SOON, wait_for, wait_until};

/// `probe` runs on every host and fetches what it is asked to: a look from inside.
const STACK: &str = "
services:
  web:
    image: app:1
    ports: ['8080:8080']
    deploy: {replicas: 3}
  api:
    image: app:2
    networks: {default: {aliases: [backend]}}
    deploy: {replicas: 2}
  store:
    image: app:2
    volumes: ['data:/data']
  probe:
    image: app:1
    ports: [{target: 8080, published: 8090, mode: host}]
    deploy: {mode: global}
volumes: {data: {}}
";

#[test]
fn a_stack_is_reached_from_every_host_by_port_and_by_name() {
    let cluster = Cluster::up("deploy", 3);
    cluster.load_app(1);
    cluster.load_app(2);
    cluster.deploy(2, "shop", STACK);
    for (service, count) in [("shop_web", 3), ("shop_api", 2), ("shop_store", 1), ("shop_probe", 3)] {
        cluster.wait_running(1, service, count, SOON);
    }
    for host in &cluster.hosts {
        wait_until(&format!("host {} answers on the published port", host.index), SOON, || {
            get(host.address, 8080, "/").is_ok_and(|r| r.text() == "app 1\n")
        });
        for (name, answer) in [
            ("web", "app 1\n"),
            ("api", "app 2\n"),
            ("backend", "app 2\n"),
            ("store", "app 2\n"),
            ("shop_api", "app 2\n"),
        ] {
            wait_for(&format!("{name} answers by name inside host {}", host.index), SOON, || {
                get(host.address, 8090, &format!("/cgi-bin/fetch?{name}/")).ok().filter(|r| r.text() == answer)
            });
        }
    }
    every_replica_answers(&cluster);
    the_hosts_reach_each_other(&cluster);
    cluster.swarm(3, &["stack", "rm", "shop"]);
    wait_until("the stack is gone", SOON, || cluster.api(1, "/services").as_array().is_some_and(Vec::is_empty));
    for host in &cluster.hosts {
        wait_until("the port is closed", SOON, || get(host.address, 8080, "/").is_err());
    }
}

/// New connections are spread over all replicas, from whichever host they come.
fn every_replica_answers(cluster: &Cluster) {
    for host in &cluster.hosts {
        let mut seen = std::collections::BTreeSet::new();
        wait_until(&format!("three replicas answer through host {}", host.index), SOON, || {
            if let Ok(r) = get(host.address, 8080, "/cgi-bin/who") {
                seen.insert(r.text());
            }
            seen.len() == 3
        });
    }
}

/// From within each host, as well as from outside of all.
fn the_hosts_reach_each_other(cluster: &Cluster) {
    for from in &cluster.hosts {
        for to in &cluster.hosts {
            let answer = cluster.within(from.index, || get(to.address, 8080, "/").map(|r| r.text()));
            assert_eq!(answer.ok().as_deref(), Some("app 1\n"), "from host {} to host {}", from.index, to.index);
        }
    }
}

#[test]
fn stacks_are_isolated_from_each_other() {
    let cluster = Cluster::up("isolate", 2);
    cluster.load_app(1);
    cluster.load_app(2);
    let stack = |image: &str, port: u16| {
        format!(
            "services:\n  web: {{image: '{image}'}}\n  probe:\n    image: app:1\n    ports: [{{target: 8080, published: {port}, mode: host}}]\n    deploy: {{mode: global}}\n"
        )
    };
    cluster.deploy(1, "one", &stack("app:1", 8091));
    cluster.deploy(1, "two", &stack("app:2", 8092));
    for host in &cluster.hosts {
        for (port, answer) in [(8091, "app 1\n"), (8092, "app 2\n")] {
            wait_until("each stack sees its own web", SOON, || {
                get(host.address, port, "/cgi-bin/fetch?web/").is_ok_and(|r| r.text() == answer)
            });
        }
        let other = get(host.address, 8091, "/cgi-bin/fetch?two_web/").expect("the probe answers").text();
        assert!(!other.contains("app 2"), "stack one reaches stack two: {other}");
    }
}

#[test]
fn what_a_service_writes_is_read_from_any_manager() {
    let cluster = Cluster::up("logs", 3);
    cluster.load_app(1);
    let say = "services:\n  say:\n    image: app:1\n    command: [sh, -c, 'echo out of $$HOSTNAME; echo wrong >&2; sleep 1000']\n    deploy: {replicas: 3}\n";
    cluster.deploy(1, "talk", say);
    cluster.wait_running(1, "talk_say", 3, SOON);
    for host in &cluster.hosts {
        wait_until(&format!("host {} shows the log of all tasks", host.index), SOON, || {
            let output = cluster.try_swarm(host.index, &["service", "logs", "talk_say"]);
            let lines =
                |bytes: &[u8], what: &str| String::from_utf8_lossy(bytes).lines().filter(|l| l.contains(what)).count();
            lines(&output.stdout, "out of") == 3 && lines(&output.stderr, "wrong") == 3
        });
    }
}
