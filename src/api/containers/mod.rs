//! `/containers`: the containers of this host, and through [`carry`] and [`crate::gather`] those of the others.

mod act;
mod archive;
mod attach;
mod filter;
mod inspect;
mod list;
mod stats;
mod top;
mod wait;

pub use filter::Wanted;
pub use list::write_summary;

use crate::call::{Call, Outcome};
use crate::carry;
use crate::error::ApiError;
use crate::json::Fields;
use crate::ports::{ContainerMount, ContainerNetwork, ContainerRecord, ContainerState};
use crate::routes::unknown_below;
use crate::{Server, exec};
use axum::http::StatusCode;
use serde_json::{Value, json};
use swarm_core::model::{PortConfig, Protocol};

pub async fn route(call: Call, server: &Server, method: &str, rest: &[&str]) -> Outcome {
    let container = match (method, rest) {
        ("DELETE", [id]) | (_, [id, _, ..]) => Some(id),
        _ => None,
    };
    if let Some(id) = container
        && let Some(there) = carry::locate(&call, id).await?
    {
        return carry::pass(call, method, there).await;
    }
    match (method, rest) {
        ("GET", ["json"]) => list::list(call).await,
        ("GET", [id, "json"]) => inspect::inspect(call, server, id).await,
        ("GET", [id, "logs"]) => act::container_logs(call, id).await,
        ("POST", [id, "kill"]) => act::kill(call, id).await,
        ("POST", [id, "stop"]) => act::stop(call, id).await,
        ("POST", [id, "exec"]) => exec::create(call, server, id).await,
        ("POST", [id, "restart"]) => act::restart(call, id).await,
        ("POST", [id, "pause"]) => act::pause(call, id).await,
        ("POST", [id, "unpause"]) => act::unpause(call, id).await,
        ("DELETE", [id]) => act::remove(call, id).await,
        ("POST", [id, "attach"]) => attach::attach(call, id).await,
        ("POST", [id, "resize"]) => attach::resize(call, id).await,
        ("POST", [id, "wait"]) => wait::wait(call, id).await,
        ("GET", [id, "top"]) => top::top(call, id).await,
        ("GET", [id, "stats"]) => stats::stats(call, id).await,
        ("HEAD", [id, "archive"]) => archive::stat(call, id).await,
        ("GET", [id, "archive"]) => archive::read(call, id).await,
        ("PUT", [id, "archive"]) => archive::write(call, id).await,
        ("GET", [id, "export"]) => archive::export(call, id).await,
        ("GET", [id, "changes"]) => archive::changes(call, id).await,
        _ => Err(unknown_below(method, "containers", rest)),
    }
}

fn state_word(state: ContainerState) -> &'static str {
    match state {
        ContainerState::Created => "created",
        ContainerState::Running => "running",
        ContainerState::Paused => "paused",
        ContainerState::Exited => "exited",
    }
}

fn write_mount(mount: &ContainerMount) -> Value {
    Fields::new()
        .set("Type", mount.kind)
        .filled("Name", mount.name.as_str())
        .set("Source", mount.source.as_str())
        .set("Destination", mount.destination.as_str())
        .set("Mode", "")
        .set("RW", !mount.read_only)
        .set("Propagation", "")
        .into()
}

/// Digits of an id that a container is also known by on its networks.
const SHORT_ID: usize = 12;

/// API `EndpointSettings`.
fn write_network(container: &ContainerRecord, network: &ContainerNetwork) -> Value {
    let short = container.id.get(..SHORT_ID).unwrap_or(&container.id);
    let mut names = vec![container.name.clone(), short.to_owned()];
    names.extend(network.aliases.iter().cloned());
    names.dedup();
    let addr = network.addr.to_string();
    json!({
        "IPAMConfig": { "IPv4Address": addr },
        "Links": null,
        "Aliases": network.aliases,
        "MacAddress": "",
        "DriverOpts": null,
        "GwPriority": 0,
        "NetworkID": network.id,
        "EndpointID": "",
        "Gateway": network.gateway.map(|gateway| gateway.to_string()).unwrap_or_default(),
        "IPAddress": addr,
        "IPPrefixLen": network.prefix_len,
        "IPv6Gateway": "",
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "DNSNames": names,
    })
}

fn write_networks(container: &ContainerRecord) -> Value {
    let networks = container.networks.iter();
    Value::Object(networks.map(|network| (network.name.clone(), write_network(container, network))).collect())
}

fn protocol_word(port: &PortConfig) -> &'static str {
    match port.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    }
}

/// Full id, name, or unique start of the id.
pub async fn find(call: &Call, text: &str) -> Result<ContainerRecord, ApiError> {
    let containers = call.ports.local.containers().await?;
    let name = text.trim_start_matches('/');
    let exact = containers.iter().find(|container| container.id == text || container.name == name);
    if let Some(container) = exact {
        return Ok(container.clone());
    }
    let started: Vec<_> = containers.iter().filter(|container| container.id.starts_with(text)).collect();
    match started.as_slice() {
        [one] if !text.is_empty() => Ok((*one).clone()),
        [] | [_] => Err(ApiError::not_found(format!("No such container: {text}"))),
        many => Err(ApiError::bad(format!("container {text} is ambiguous ({} matches found)", many.len()))),
    }
}

/// As `find`; 409 unless it runs.
pub async fn find_running(call: &Call, text: &str) -> Result<ContainerRecord, ApiError> {
    let container = find(call, text).await?;
    match container.state {
        ContainerState::Running => Ok(container),
        ContainerState::Paused => Err(ApiError::new(
            StatusCode::CONFLICT,
            format!("Container {text} is paused, unpause the container before exec"),
        )),
        ContainerState::Created | ContainerState::Exited => {
            Err(ApiError::new(StatusCode::CONFLICT, format!("container {} is not running", container.id)))
        }
    }
}

/// Whether it has processes.
fn is_active(container: &ContainerRecord) -> bool {
    matches!(container.state, ContainerState::Running | ContainerState::Paused)
}

/// As `find`; 409 unless it has processes.
async fn find_active(call: &Call, text: &str) -> Result<ContainerRecord, ApiError> {
    let container = find(call, text).await?;
    match is_active(&container) {
        true => Ok(container),
        false => Err(ApiError::new(StatusCode::CONFLICT, format!("container {} is not running", container.id))),
    }
}
