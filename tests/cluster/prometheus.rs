//! Prometheus finds nodes, services and tasks by the API it knows as Docker Swarm's, and follows what changes.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::harness::{Cluster, Probe as _, SOON, http, tool, wait_for, wait_until};

const LOCAL: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// Prometheus, for as long as this value lives.
struct Prometheus {
    process: Child,
    port: u16,
}

impl Prometheus {
    fn start(dir: &Path, config: &str) -> Self {
        let file = dir.join("prometheus.yml");
        std::fs::write(&file, config).expect("the folder is writable");
        let log = File::create(dir.join("prometheus.log")).expect("the folder is writable");
        // Free now, and nothing else here takes ports of 127.0.0.1.
        let port = TcpListener::bind((LOCAL, 0)).and_then(|l| l.local_addr()).expect("a free port").port();
        let mut command = Command::new(tool("prometheus"));
        command.arg(format!("--config.file={}", file.display()));
        command.arg(format!("--storage.tsdb.path={}", dir.join("prometheus").display()));
        command.arg(format!("--web.listen-address={LOCAL}:{port}"));
        let process = command.stdout(Stdio::null()).stderr(log).spawn();
        Self { process: process.expect("prometheus runs; `scripts/setup.sh test` gets it"), port }
    }

    fn ask(&self, path: &str) -> Option<Value> {
        let answer = http::get(LOCAL, self.port, path).ok().filter(|answer| answer.status == 200)?;
        Some(answer.json()["data"].clone())
    }

    /// What it found for a job: the labels of each target as they were discovered.
    fn found(&self, job: &str) -> Vec<Value> {
        let data = self.ask("/api/v1/targets?state=active").unwrap_or_default();
        let targets = data["activeTargets"].as_array().cloned().unwrap_or_default();
        let of_job = targets.into_iter().filter(|target| target["scrapePool"] == job);
        of_job.map(|target| target["discoveredLabels"].clone()).collect()
    }

    /// The present values of `app` as scraped from the tasks, with the host each came from.
    fn scraped(&self) -> Vec<(String, String)> {
        let data = self.ask("/api/v1/query?query=app").unwrap_or_default();
        let series = data["result"].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut rows: Vec<_> = series.iter().map(|s| (text(&s["metric"]["host"]), text(&s["value"][1]))).collect();
        rows.sort();
        rows
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to end.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn config(socket: &Path) -> String {
    let job = |role: &str, more: &str| {
        format!(
            "  - job_name: {role}\n    metrics_path: /\n    dockerswarm_sd_configs:\n      - {{host: 'unix://{}', role: {role}, refresh_interval: 1s}}\n{more}",
            socket.display()
        )
    };
    // The task's own address is inside the overlay; the port its node publishes answers outside.
    let at_the_node = "    relabel_configs:\n\
        \x20     - {source_labels: [__meta_dockerswarm_node_address], target_label: __address__, replacement: '$1:8080'}\n\
        \x20     - {source_labels: [__meta_dockerswarm_node_hostname], target_label: host}\n";
    let jobs = [job("tasks", at_the_node), job("services", ""), job("nodes", "")].concat();
    format!("global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:\n{jobs}")
}

#[test]
fn prometheus_discovers_tasks_services_and_nodes_and_scrapes_what_it_found() {
    let cluster = Cluster::up("prom", 3);
    cluster.load_app(1);
    cluster.load_app(2);
    cluster.deploy(
        1,
        "shop",
        "services:\n  web:\n    image: app:1\n    labels: {inside: 'yes'}\n    ports: [{target: 8080, published: 8080, mode: host}]\n    stop_grace_period: 0s\n    deploy: {mode: global, labels: {team: shop}, update_config: {parallelism: 0, monitor: 0s}}\n",
    );
    cluster.wait_running(1, "shop_web", 3, SOON);
    let prometheus = Prometheus::start(cluster.dir.path(), &config(&cluster.host(2).socket));
    let everywhere = |value: &str| {
        let hosts = cluster.hosts.iter().map(|host| (format!("{}-{}", cluster.name, host.index), value.to_owned()));
        hosts.collect::<Vec<_>>()
    };
    wait_until("all three tasks are scraped", SOON, || prometheus.scraped() == everywhere("1"));

    let tasks = prometheus.found("tasks");
    assert_eq!(tasks.len(), 3, "{tasks:?}");
    for task in &tasks {
        let label = |name: &str| task[format!("__meta_dockerswarm_{name}")].as_str().unwrap_or_default();
        assert_eq!(label("service_name"), "shop_web");
        assert_eq!(label("service_mode"), "global");
        assert_eq!(label("service_label_team"), "shop");
        assert_eq!(label("service_label_com_docker_stack_namespace"), "shop");
        assert_eq!(label("container_label_inside"), "yes");
        assert_eq!((label("task_state"), label("task_desired_state")), ("running", "running"));
        assert_eq!(label("task_port_publish_mode"), "host");
        assert_eq!((label("node_status"), label("node_role")), ("ready", "manager"));
        assert_eq!(label("task_container_id").len(), 64);
    }
    let nodes = prometheus.found("nodes");
    let leaders = nodes.iter().filter(|node| node["__meta_dockerswarm_node_manager_leader"] == "true");
    assert_eq!((nodes.len(), leaders.count()), (3, 1), "{nodes:?}");
    let services = prometheus.found("services");
    assert_eq!(services.iter().filter(|s| s["__meta_dockerswarm_service_name"] == "shop_web").count(), services.len());
    assert!(!services.is_empty());

    cluster.swarm(3, &["service", "update", "--image", "app:2", "shop_web"]);
    wait_until("the new version is scraped everywhere", SOON, || prometheus.scraped() == everywhere("2"));
    cluster.swarm(3, &["service", "rm", "shop_web"]);
    wait_for("its tasks are forgotten", SOON, || prometheus.found("tasks").is_empty().then_some(()));
}
