//! Nodes, both ways.

use super::cluster::write_tls;
use super::fields::{Fields, strings};
use super::object::Object;
use super::time::rfc3339_ms;
use crate::error::ApiError;
use crate::ports::SwarmStatus;
use serde_json::{Value, json};
use swarm_core::model::*;
use swarm_core::store::View;

/// Reads API `NodeSpec`; an empty name keeps none.
pub fn read_node_spec(mut object: Object) -> Result<NodeSpec, ApiError> {
    let (role, availability) = (object.string("Role")?, object.string("Availability")?);
    let role = match role.as_str() {
        "worker" => NodeRole::Worker,
        "manager" => NodeRole::Manager,
        other => return Err(ApiError::bad(format!("Role: invalid Role: \"{other}\""))),
    };
    let spec = NodeSpec {
        name: object.opt_string("Name")?.filter(|name| !name.is_empty()),
        labels: object.map("Labels")?,
        role,
        availability: parse_availability("Availability", &availability)?,
    };
    object.finish()?;
    Ok(spec)
}

/// `active`, `pause` or `drain`.
pub fn parse_availability(place: &str, text: &str) -> Result<Availability, ApiError> {
    match text {
        "active" => Ok(Availability::Active),
        "pause" => Ok(Availability::Pause),
        "drain" => Ok(Availability::Drain),
        other => Err(ApiError::bad(format!("{place}: invalid Availability: \"{other}\""))),
    }
}

pub fn role_name(role: NodeRole) -> &'static str {
    match role {
        NodeRole::Worker => "worker",
        NodeRole::Manager => "manager",
    }
}

pub fn state_name(state: NodeState) -> &'static str {
    match state {
        NodeState::Unknown => "unknown",
        NodeState::Down => "down",
        NodeState::Ready => "ready",
        NodeState::Disconnected => "disconnected",
    }
}

fn availability_name(availability: Availability) -> &'static str {
    match availability {
        Availability::Active => "active",
        Availability::Pause => "pause",
        Availability::Drain => "drain",
    }
}

/// As `uname -m` says it, which is what clients of the API expect here.
fn machine_name(architecture: &str) -> &str {
    match architecture {
        "amd64" => "x86_64",
        "arm64" => "aarch64",
        "386" => "i686",
        "arm" => "armv7l",
        other => other,
    }
}

/// API `Node`. `Swarm.TasksLeft`, beyond the API, is there while a node that is drained still has tasks.
pub fn write_node(node: &Node, view: &View, status: &SwarmStatus) -> Fields {
    let left = match node.spec.availability {
        Availability::Drain => view.tasks_of_node(node.id).filter(|task| task.occupies_node()).count(),
        Availability::Active | Availability::Pause => 0,
    };
    let spec = Fields::new()
        .filled("Name", node.spec.name.clone().unwrap_or_default())
        .set("Labels", strings(&node.spec.labels))
        .set("Role", role_name(node.spec.role))
        .set("Availability", availability_name(node.spec.availability));
    let observed = Fields::new()
        .set("State", state_name(node.status.state))
        .filled("Message", node.status.message.as_str())
        .set("Addr", node.status.addr.map(|addr| addr.to_string()).unwrap_or_default());
    Fields::new()
        .set("ID", node.id.to_string())
        .set("Version", json!({ "Index": node.meta.version }))
        .set("CreatedAt", rfc3339_ms(node.meta.created.wall))
        .set("UpdatedAt", rfc3339_ms(node.meta.updated.wall))
        .set("Spec", spec)
        .set("Description", node.description.as_ref().map(|told| write_description(told, view)).unwrap_or_default())
        .set("Status", observed)
        .opt("ManagerStatus", node.raft.map(|_| write_manager(node, status)))
        .opt("Swarm", (left > 0).then(|| json!({ "TasksLeft": left })))
}

fn write_description(description: &NodeDescription, view: &View) -> Fields {
    let Resources { generic, named, .. } = &description.resources;
    let mut all: Vec<Value> = named.iter().flat_map(|(kind, units)| write_units(kind, units)).collect();
    all.extend(generic.iter().map(|(kind, value)| write_amount(kind, *value)));
    let resources = Fields::new()
        .set("NanoCPUs", description.resources.nano_cpus)
        .set("MemoryBytes", description.resources.memory_bytes)
        .filled("GenericResources", all);
    let plugins = json!([{ "Type": "Network", "Name": "overlay" }, { "Type": "Volume", "Name": "local" }]);
    let engine = Fields::new()
        .set("EngineVersion", description.engine_version.as_str())
        .filled("Labels", strings(&description.engine_labels))
        .set("Plugins", plugins);
    let platform =
        json!({ "Architecture": machine_name(&description.platform.architecture), "OS": description.platform.os });
    Fields::new()
        .set("Hostname", description.hostname.as_str())
        .set("Platform", platform)
        .set("Resources", resources)
        .set("Engine", engine)
        .opt("TLSInfo", view.cluster().map(|cluster| write_tls(&cluster.ca)))
}

/// API `GenericResources`, an amount of a kind.
pub fn write_amount(kind: &str, value: i64) -> Value {
    json!({ "DiscreteResourceSpec": { "Kind": kind, "Value": value } })
}

/// The same, each unit of a kind by its name.
pub fn write_units(kind: &str, units: &ResourceNames) -> Vec<Value> {
    let one = |name: &String| json!({ "NamedResourceSpec": { "Kind": kind, "Value": name } });
    units.names.iter().map(one).collect()
}

fn write_manager(node: &Node, status: &SwarmStatus) -> Fields {
    let peer = status.managers.iter().find(|peer| peer.node == node.id);
    let reachability = match peer {
        Some(peer) if peer.reachable => "reachable",
        Some(_) => "unreachable",
        None => "unknown",
    };
    Fields::new()
        .filled("Leader", status.leader == Some(node.id))
        .set("Reachability", reachability)
        .set("Addr", peer.map(|peer| peer.addr.to_string()).unwrap_or_default())
}
