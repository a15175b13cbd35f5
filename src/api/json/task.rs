//! Tasks as JSON.

use super::fields::{Fields, strings};
use super::network::{prefix_len, write_network_of_task};
use super::node::{write_amount, write_units};
use super::service::{PROTOCOLS, PUBLISH_MODES, word_of, write_task_spec};
use super::time::rfc3339_ms;
use serde_json::{Value, json};
use swarm_core::WallTime;
use swarm_core::model::*;
use swarm_core::plan::waiting_reason;
use swarm_core::store::View;

/// API `EndpointPortConfig`, with our `HostIP`.
pub fn write_port(port: &PortConfig) -> Value {
    Fields::new()
        .filled("Name", port.name.as_str())
        .set("Protocol", word_of(&PROTOCOLS, &port.protocol))
        .set("TargetPort", port.target_port)
        .filled("PublishedPort", port.published_port)
        .set("PublishMode", word_of(&PUBLISH_MODES, &port.mode))
        .opt("HostIP", port.host_ip.map(|ip| ip.to_string()))
        .into()
}

/// API `Task`.
/// What waits says why in `Status.Err`, as of `now`, also where nobody wrote it down.
pub fn write_task(task: &Task, view: &View, now: WallTime) -> Value {
    let attachments = task.attachments.iter().map(|attachment| {
        let prefix = prefix_len(view, attachment.network);
        let network = view.network(attachment.network).map(|network| write_network_of_task(network));
        Fields::new()
            .opt("Network", network)
            .set("Addresses", json!([format!("{}/{prefix}", attachment.addr)]))
            .filled("Aliases", attachment.aliases.clone())
    });
    Fields::new()
        .set("ID", task.id.to_string())
        .set("Version", json!({ "Index": task.meta.version }))
        .set("CreatedAt", rfc3339_ms(task.meta.created.wall))
        .set("UpdatedAt", rfc3339_ms(task.meta.updated.wall))
        .set("Name", task.name())
        .set("Labels", strings(&task.service_labels))
        .set("Spec", write_task_spec(&task.spec))
        .set("ServiceID", task.service.to_string())
        .filled("Slot", slot(task))
        .opt("NodeID", task.node.map(|node| node.to_string()))
        .set("Status", write_status(&task.status, obstacle(task, view, now)))
        .set("DesiredState", desired_word(task))
        .filled("NetworksAttachments", attachments.map(Value::from).collect::<Vec<_>>())
        .filled("AssignedGenericResources", assigned(task))
        .opt("JobIteration", task.job_iteration.map(|iteration| json!({ "Index": iteration })))
        .into()
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

fn write_status(status: &TaskStatus, err: String) -> Value {
    let container = status.container.as_ref().map(|container| {
        Fields::new()
            .set("ContainerID", container.container_id.as_str())
            .set("PID", container.pid)
            .set("ExitCode", container.exit_code.unwrap_or_default())
            .filled("OOMKilled", container.oom_killed)
            // Beyond the API: whether it takes traffic; absent without a readiness probe.
            .opt("Ready", container.ready)
    });
    let ports = status.host_ports.iter().map(write_port).collect::<Vec<_>>();
    Fields::new()
        .set("Timestamp", rfc3339_ms(status.timestamp))
        .set("State", status.state.as_str())
        .set("Message", status.message.as_str())
        .filled("Err", err)
        .opt("ContainerStatus", container)
        .set("PortStatus", Fields::new().filled("Ports", ports))
        .into()
}
