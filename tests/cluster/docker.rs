//! The docker command line against our socket, our own beside it.

use crate::harness::{Cluster, Probe as _, SOON, wait_until};

/// `ingress`, `host` and `none`.
const EVERY_CLUSTERS_NETWORKS: usize = 3;

#[test]
fn docker_lists_nodes_and_services_as_our_own_commands_do() {
    let cluster = Cluster::up("docker", 3);
    cluster.load_app(1);
    cluster.deploy(1, "shop", "services:\n  web: {image: 'app:1', ports: ['8080:8080'], deploy: {replicas: 3}}\n");
    cluster.wait_running(1, "shop_web", 3, SOON);
    cluster.wait_all_ready(1);
    let ours = |host: u8, args: &[&str]| cluster.swarm(host, args);
    let theirs = |host: u8, args: &[&str]| cluster.docker(host, args);
    type Cli<'a> = &'a dyn Fn(u8, &[&str]) -> String;
    let both: [(&str, Cli); 2] = [("swarm", &ours), ("docker", &theirs)];
    for (name, cli) in both {
        for host in &cluster.hosts {
            let nodes = cli(host.index, &["node", "ls", "--format", "{{.Hostname}} {{.Status}} {{.ManagerStatus}}"]);
            let mut nodes: Vec<String> = nodes.lines().map(str::to_owned).collect();
            nodes.sort();
            assert_eq!(nodes.len(), 3, "{name} on host {}: {nodes:?}", host.index);
            assert!(nodes.iter().all(|n| n.contains(" Ready ")), "{name}: {nodes:?}");
            assert_eq!(nodes.iter().filter(|n| n.ends_with("Leader")).count(), 1, "{name}: {nodes:?}");
            let services =
                cli(host.index, &["service", "ls", "--format", "{{.Name}} {{.Mode}} {{.Replicas}} {{.Image}}"]);
            assert_eq!(services.trim(), "shop_web replicated 3/3 app:1", "{name} on host {}", host.index);
        }
        let tasks = cli(2, &["service", "ps", "--format", "{{.Name}} {{.DesiredState}}", "shop_web"]);
        let mut tasks: Vec<&str> = tasks.lines().collect();
        tasks.sort_unstable();
        assert_eq!(tasks, ["shop_web.1 Running", "shop_web.2 Running", "shop_web.3 Running"], "{name}");
    }
}

#[test]
fn a_stack_is_deployed_removed_and_deployed_again_at_once_by_docker() {
    let cluster = Cluster::up("dockerstack", 3);
    cluster.load_app(1);
    let file = cluster.dir.path().join("shop.yml");
    let yaml =
        "services:\n  web: {image: 'app:1', ports: ['8080:8080'], stop_grace_period: 1s, deploy: {replicas: 3}}\n";
    std::fs::write(&file, yaml).expect("the folder is writable");
    let deploy = ["stack", "deploy", "--detach=true", "-c", &file.display().to_string(), "shop"];
    for round in 0..3 {
        // From another host each time, the leader among them.
        let host = &cluster.hosts[round];
        cluster.docker(host.index, &deploy);
        cluster.wait_running(host.index, "shop_web", 3, SOON);
        // The network is removed while its tasks still stop.
        cluster.docker(host.index, &["stack", "rm", "shop"]);
    }
    let left = |path| cluster.api(1, path).as_array().expect("a list").len();
    wait_until("nothing but what every cluster has is left", SOON, || {
        left("/services") == 0 && left("/tasks") == 0 && left("/networks") == EVERY_CLUSTERS_NETWORKS
    });
}
