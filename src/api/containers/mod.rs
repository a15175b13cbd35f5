//! `/containers`: the containers of this host, all of them tasks.

mod act;
mod inspect;
mod list;

pub use list::write_summary;

use crate::call::{Call, Outcome};
use crate::error::ApiError;
use crate::json::Fields;
use crate::ports::{ContainerMount, ContainerNetwork, ContainerRecord, ContainerState};
use crate::routes::unknown_below;
use crate::{Server, exec};
use axum::http::StatusCode;
use serde_json::{Value, json};

pub async fn route(call: Call, server: &Server, method: &str, rest: &[&str]) -> Outcome {
    match (method, rest) {
        ("GET", ["json"]) => list::list(call).await,
        ("GET", [id, "json"]) => inspect::inspect(call, id).await,
        ("GET", [id, "logs"]) => act::container_logs(call, id).await,
        ("POST", [id, "kill"]) => act::kill(call, id).await,
        ("POST", [id, "stop"]) => act::stop(call, id).await,
        ("POST", [id, "exec"]) => exec::create(call, server, id).await,
        ("DELETE", [_]) => Err(ApiError::not_implemented("removing a container that belongs to a service's task")),
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

fn write_networks(networks: &[ContainerNetwork]) -> Value {
    let named = networks.iter().map(|network| {
        let written = json!({
            "NetworkID": network.id,
            "EndpointID": "",
            "IPAddress": network.addr.to_string(),
            "IPPrefixLen": network.prefix_len,
            "Gateway": network.gateway.map(|gateway| gateway.to_string()).unwrap_or_default(),
        });
        (network.name.clone(), written)
    });
    Value::Object(named.collect())
}

/// Full id, name, or unique start of the id.
async fn find(call: &Call, text: &str) -> Result<ContainerRecord, ApiError> {
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
