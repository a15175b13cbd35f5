//! Questions to a cluster through the Docker API of one of its hosts.

use std::io;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::http::{self, Response};
use super::{Cluster, SOON, wait_for};

/// A task as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    pub id: String,
    pub node: String,
    pub service: String,
    pub image: String,
    pub state: String,
    pub desired: String,
    pub pid: u32,
    pub container: String,
    pub error: String,
}

/// A manager as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub id: String,
    pub hostname: String,
    pub state: String,
    pub leader: bool,
}

fn text(v: &Value, pointer: &str) -> String {
    v.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// What can be asked of any cluster that speaks the Docker API.
pub trait Probe {
    /// The socket of host `host`, counted from 1.
    fn socket_of(&self, host: u8) -> &Path;
    fn host_count(&self) -> usize;

    fn try_api(&self, host: u8, method: &str, path: &str, body: Option<&Value>) -> io::Result<Response> {
        http::api(self.socket_of(host), method, path, body)
    }

    /// `GET path`, which must succeed.
    fn api(&self, host: u8, path: &str) -> Value {
        let response = self.try_api(host, "GET", path, None).unwrap_or_else(|e| panic!("host {host}: GET {path}: {e}"));
        assert_eq!(response.status, 200, "host {host}: GET {path}: {}", response.text());
        response.json()
    }

    /// None while the host has no answer, as during an election.
    fn nodes(&self, host: u8) -> Option<Vec<Node>> {
        let response = self.try_api(host, "GET", "/nodes", None).ok().filter(|r| r.status == 200)?;
        let nodes = response.json();
        let node = |v: &Value| Node {
            id: text(v, "/ID"),
            hostname: text(v, "/Description/Hostname"),
            state: text(v, "/Status/State"),
            leader: v.pointer("/ManagerStatus/Leader").and_then(Value::as_bool).unwrap_or(false),
        };
        Some(nodes.as_array()?.iter().map(node).collect())
    }

    /// Index of the host that leads, as `host` sees it: hosts are named `<cluster>-<index>`.
    fn leader(&self, host: u8) -> Option<u8> {
        let node = self.nodes(host)?.into_iter().find(|n| n.leader)?;
        node.hostname.rsplit('-').next()?.parse().ok()
    }

    fn node_id(&self, host: u8) -> String {
        let id = text(&self.api(host, "/info"), "/Swarm/NodeID");
        assert!(!id.is_empty(), "host {host} is no member of a cluster");
        id
    }

    /// Every task of a service, by its full name. None while the host has no answer.
    fn tasks(&self, host: u8, service: &str) -> Option<Vec<Task>> {
        let get = |path: &str| {
            let response = self.try_api(host, "GET", path, None).ok().filter(|r| r.status == 200)?;
            response.json().as_array().cloned()
        };
        let services = get("/services")?;
        let Some(service) = services.iter().find(|s| text(s, "/Spec/Name") == service) else { return Some(Vec::new()) };
        let id = text(service, "/ID");
        let task = |v: &Value| Task {
            id: text(v, "/ID"),
            node: text(v, "/NodeID"),
            service: text(v, "/ServiceID"),
            image: text(v, "/Spec/ContainerSpec/Image"),
            state: text(v, "/Status/State"),
            desired: text(v, "/DesiredState"),
            pid: v.pointer("/Status/ContainerStatus/PID").and_then(Value::as_u64).unwrap_or(0) as u32,
            container: text(v, "/Status/ContainerStatus/ContainerID"),
            error: text(v, "/Status/Err"),
        };
        Some(get("/tasks")?.iter().map(task).filter(|t| t.service == id).collect())
    }

    /// State and message of a service's update; none while the host has no answer or there was no update.
    fn update(&self, host: u8, service: &str) -> Option<(String, String)> {
        let response = self.try_api(host, "GET", &format!("/services/{service}"), None).ok();
        let service = response.filter(|r| r.status == 200)?.json();
        Some((service.pointer("/UpdateStatus/State")?.as_str()?.to_owned(), text(&service, "/UpdateStatus/Message")))
    }

    /// Waits until a service's update or rollback is in a state.
    fn wait_update(&self, host: u8, service: &str, state: &str) {
        let mut seen = None;
        super::wait_until(&format!("the update of {service} is {state}"), SOON, || {
            let now = self.update(host, service);
            if now != seen {
                println!("{service}: {now:?}");
                seen = now;
            }
            seen.as_ref().is_some_and(|(seen, _)| seen == state)
        });
    }

    /// The tasks that run and are meant to.
    fn running(&self, host: u8, service: &str) -> Vec<Task> {
        let runs = |t: &Task| t.state == "running" && t.desired == "running";
        self.tasks(host, service).unwrap_or_default().into_iter().filter(runs).collect()
    }

    /// Waits until exactly `count` tasks run; a failure shows what every task waits for.
    fn wait_running(&self, host: u8, service: &str, count: usize, limit: Duration) -> Vec<Task> {
        let start = std::time::Instant::now();
        loop {
            let running = self.running(host, service);
            if running.len() == count {
                return running;
            }
            if start.elapsed() > limit {
                let all: Vec<String> = self
                    .tasks(host, service)
                    .unwrap_or_default()
                    .iter()
                    .map(|t| format!("{} on {:?}: {} (desired {}) {}", t.id, t.node, t.state, t.desired, t.error))
                    .collect();
                panic!("{service}: {} of {count} tasks run after {limit:?}:\n{}", running.len(), all.join("\n"));
            }
            std::thread::sleep(super::POLL);
        }
    }

    /// Waits until every node is Ready in the eyes of `host`.
    fn wait_all_ready(&self, host: u8) {
        wait_for("every node is ready", SOON, || {
            let nodes = self.nodes(host)?;
            (nodes.len() == self.host_count() && nodes.iter().all(|n| n.state == "ready")).then_some(())
        });
    }
}

impl Probe for Cluster {
    fn socket_of(&self, host: u8) -> &Path {
        &self.host(host).socket
    }

    fn host_count(&self) -> usize {
        self.hosts.len()
    }
}
