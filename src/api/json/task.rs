//! Tasks as JSON.

use super::fields::{Fields, strings};
use super::network::{prefix_len, write_network_of_task};
use super::node::{write_amount, write_units};
use super::service::{PROTOCOLS, PUBLISH_MODES, word_of, write_task_spec};
use super::time::rfc3339_ms;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use swarm_core::model::*;
use swarm_core::plan::waiting_reason;
use swarm_core::store::View;
use swarm_core::{NetworkId, NodeId, ServiceId, WallTime};

/// API `EndpointPortConfig`, with our `HostIP`.
pub fn write_port(port: &PortConfig) -> Value {
    port_fields(port).into()
}

pub(super) fn port_fields(port: &PortConfig) -> Fields {
    Fields::new()
        .filled("Name", port.name.as_str())
        .set("Protocol", word_of(&PROTOCOLS, &port.protocol))
        .set("TargetPort", port.target_port)
        .filled("PublishedPort", port.published_port)
        .set("PublishMode", word_of(&PUBLISH_MODES, &port.mode))
        .opt("HostIP", port.host_ip.map(|ip| ip.to_string()))
}

/// API `ObjectVersion`.
pub(super) fn write_version(meta: Meta) -> Fields {
    Fields::new().set("Index", meta.version)
}

/// What is the same in many tasks of a list, written once.
#[derive(Debug, Default)]
pub struct Shared {
    /// By their place in memory: a view holds them where they are, and tasks of one version of a service share one.
    specs: BTreeMap<*const TaskSpec, Fields>,
    networks: BTreeMap<NetworkId, Option<Fields>>,
    services: BTreeMap<ServiceId, String>,
    nodes: BTreeMap<NodeId, String>,
}

impl Shared {
    fn spec(&mut self, spec: &Arc<TaskSpec>) -> &Fields {
        self.specs.entry(Arc::as_ptr(spec)).or_insert_with(|| write_task_spec(spec))
    }

    fn network(&mut self, id: NetworkId, view: &View) -> Option<&Fields> {
        let write = || view.network(id).map(|network| write_network_of_task(network));
        self.networks.entry(id).or_insert_with(write).as_ref()
    }

    fn service(&mut self, id: ServiceId) -> &str {
        self.services.entry(id).or_insert_with(|| id.to_string())
    }

    fn node(&mut self, id: NodeId) -> &str {
        self.nodes.entry(id).or_insert_with(|| id.to_string())
    }
}

/// API `Task`.
/// What waits says why in `Status.Err`, as of `now`, also where nobody wrote it down.
pub fn write_task(task: &Task, view: &View, now: WallTime, shared: &mut Shared) -> Fields {
    let attachments: Vec<_> = task.attachments.iter().map(|place| write_attachment(place, view, shared)).collect();
    Fields::new()
        .set("ID", task.id.to_string())
        .set("Version", write_version(task.meta))
        .set("CreatedAt", rfc3339_ms(task.meta.created.wall))
        .set("UpdatedAt", rfc3339_ms(task.meta.updated.wall))
        .set("Name", task.name())
        .set("Labels", strings(&task.service_labels))
        .set("Spec", shared.spec(&task.spec))
        .set("ServiceID", shared.service(task.service))
        .filled("Slot", slot(task))
        .opt("NodeID", task.node.map(|node| shared.node(node)))
        .set("Status", write_status(&task.status, obstacle(task, view, now)))
        .set("DesiredState", desired_word(task))
        .filled("NetworksAttachments", attachments)
        .filled("AssignedGenericResources", assigned(task))
        .opt("JobIteration", task.job_iteration.map(|iteration| Fields::new().set("Index", iteration)))
}

fn write_attachment(place: &TaskAttachment, view: &View, shared: &mut Shared) -> Fields {
    let prefix = prefix_len(view, place.network);
    Fields::new()
        .opt("Network", shared.network(place.network, view))
        .set("Addresses", [format!("{}/{prefix}", place.addr)].as_slice())
        .filled("Aliases", &place.aliases)
}

/// An agent at work says how far it is in `Message`: that is no error.
fn obstacle(task: &Task, view: &View, now: WallTime) -> String {
    let at_work = task.status.state == TaskState::Accepted
        || task.status.state == TaskState::Preparing
        || task.status.state == TaskState::Starting;
    let answers = task.node.and_then(|id| view.node(id)).is_some_and(|node| node.status.state == NodeState::Ready);
    match task.status.err.is_empty() && !(at_work && answers) {
        true => waiting_reason(view, task, now).unwrap_or_default(),
        false => task.status.err.clone(),
    }
}

/// A replicated job's are numbered from 0 (swarmkit): docker's display of its progress counts on it.
fn slot(task: &Task) -> u64 {
    if task.job_iteration.is_some() { task.slot.saturating_sub(1) } else { task.slot }
}

/// What a job's task is to reach is its end.
pub fn desired_word(task: &Task) -> &'static str {
    match (task.job_iteration, task.desired) {
        (Some(_), TaskState::Running) => TaskState::Complete.as_str(),
        (_, desired) => desired.as_str(),
    }
}

/// What it was given of generic resources: units by name where its node names them, else the amount.
fn assigned(task: &Task) -> Vec<Value> {
    if task.node.is_none() || task.status.state < TaskState::Assigned {
        return Vec::new();
    }
    let reserved = task.spec.resources.reservations.generic.iter();
    let given = reserved.flat_map(|(kind, amount)| match task.assigned_resources.get(kind) {
        Some(units) => write_units(kind, units),
        None => vec![write_amount(kind, *amount)],
    });
    given.collect()
}

fn write_status(status: &TaskStatus, err: String) -> Fields {
    let container = status.container.as_ref().map(|container| {
        Fields::new()
            .set("ContainerID", container.container_id.as_str())
            .set("PID", container.pid)
            .set("ExitCode", container.exit_code.unwrap_or_default())
            .filled("OOMKilled", container.oom_killed)
            // Beyond the API: whether it takes traffic; absent without a readiness probe.
            .opt("Ready", container.ready)
    });
    let ports = status.host_ports.iter().map(port_fields).collect::<Vec<_>>();
    Fields::new()
        .set("Timestamp", rfc3339_ms(status.timestamp))
        .set("State", status.state.as_str())
        .set("Message", status.message.as_str())
        .filled("Err", err)
        .opt("ContainerStatus", container)
        .set("PortStatus", Fields::new().filled("Ports", ports))
}
