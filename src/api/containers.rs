//! `/containers`: the containers of this host, all of them tasks.

use crate::call::{Call, Outcome, empty, ok};
use crate::error::ApiError;
use crate::filters::Filters;
use crate::json::{Fields, rfc3339_ns, strings, write_port};
use crate::ports::{ContainerMount, ContainerNetwork, ContainerRecord, ContainerState, HealthRun};
use crate::routes::unknown_below;
use crate::{Server, exec, logs};
use axum::http::StatusCode;
use serde_json::{Value, json};
use swarm_core::model::Health;

const FILTERS: [&str; 11] =
    ["ancestor", "exited", "health", "id", "is-task", "label", "name", "network", "publish", "status", "volume"];

pub async fn route(call: Call, server: &Server, method: &str, rest: &[&str]) -> Outcome {
    match (method, rest) {
        ("GET", ["json"]) => list(call).await,
        ("GET", [id, "json"]) => inspect(call, id).await,
        ("GET", [id, "logs"]) => container_logs(call, id).await,
        ("POST", [id, "kill"]) => kill(call, id).await,
        ("POST", [id, "stop"]) => stop(call, id).await,
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

async fn list(call: Call) -> Outcome {
    let filters = Filters::read(&call.query, &FILTERS)?;
    filters.words("status", &["created", "running", "paused", "restarting", "removing", "exited", "dead"])?;
    let is_task = filters.flag("is-task")?;
    let all = call.query.flag("all") || !filters.values("status").is_empty() || !filters.values("exited").is_empty();
    let mut containers = call.ports.local.containers().await?;
    containers.retain(|container| {
        (all || container.state == ContainerState::Running)
            && filters.any("id", |id| container.id.starts_with(id))
            && filters.any("name", |name| container.name.contains(name.trim_start_matches('/')))
            && filters.any("status", |status| state_word(container.state) == status)
            && filters.any("health", |health| container.health.as_str() == health)
            && filters.any("ancestor", |image| container.image == image || container.image_id == image)
            && filters.any("exited", |code| {
                container.state == ContainerState::Exited && container.exit_code.to_string() == code
            })
            && filters.any("network", |network| container.networks.iter().any(|n| n.name == network || n.id == network))
            && filters.any("volume", |volume| {
                container.mounts.iter().any(|mount| mount.name == volume || mount.destination == volume)
            })
            && filters.any("publish", |port| container.ports.iter().any(|p| p.published_port.to_string() == port))
            && filters.labels("label", &container.labels)
            && is_task.is_none_or(|wanted| container.task.is_some() == wanted)
    });
    containers.sort_by_key(|container| std::cmp::Reverse(container.created_ns));
    if let Ok(limit) = call.query.text("limit").parse::<usize>()
        && limit > 0
    {
        containers.truncate(limit);
    }
    let now_ns = call.ports.cluster.now().0.saturating_mul(1_000_000);
    ok(containers.iter().map(|container| write_summary(container, now_ns)).collect::<Vec<_>>())
}

/// Words as `docker ps` prints them (API `ContainerSummary.Status`): clients do not count the time themselves.
fn status_text(container: &ContainerRecord, now_ns: i64) -> String {
    let since = |then_ns: i64| match then_ns {
        0 => None,
        then_ns => Some(human_duration((now_ns - then_ns) / 1_000_000_000)),
    };
    let up = since(container.started_ns).map_or_else(|| "Up".to_owned(), |time| format!("Up {time}"));
    match (container.state, container.health) {
        (ContainerState::Created, _) => "Created".to_owned(),
        (ContainerState::Paused, _) => format!("{up} (Paused)"),
        (ContainerState::Exited, _) => {
            let ago = since(container.finished_ns).map(|time| format!(" {time} ago")).unwrap_or_default();
            format!("Exited ({}){ago}", container.exit_code)
        }
        (ContainerState::Running, Health::None) => up,
        (ContainerState::Running, Health::Starting) => format!("{up} (health: starting)"),
        (ContainerState::Running, health @ (Health::Healthy | Health::Unhealthy)) => {
            format!("{up} ({})", health.as_str())
        }
    }
}

/// A length of time as Docker rounds it.
fn human_duration(seconds: i64) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    match seconds {
        ..1 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{seconds} seconds"),
        60..120 => "About a minute".to_owned(),
        120..HOUR => format!("{} minutes", seconds / MINUTE),
        HOUR..5400 => "About an hour".to_owned(),
        5400..172_800 => format!("{} hours", (seconds + HOUR / 2) / HOUR),
        172_800..1_209_600 => format!("{} days", seconds / DAY),
        1_209_600..5_184_000 => format!("{} weeks", seconds / DAY / 7),
        5_184_000..63_072_000 => format!("{} months", seconds / DAY / 30),
        63_072_000.. => format!("{} years", seconds / DAY / 365),
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

/// API `ContainerSummary`.
pub fn write_summary(container: &ContainerRecord, now_ns: i64) -> Value {
    let ports = container.ports.iter().map(|port| {
        let port = write_port(port);
        Value::from(
            Fields::new()
                .set("PrivatePort", port["TargetPort"].clone())
                .filled("PublicPort", port["PublishedPort"].clone())
                .set("Type", port["Protocol"].clone()),
        )
    });
    Fields::new()
        .set("Id", container.id.as_str())
        .set("Names", json!([format!("/{}", container.name)]))
        .set("Image", container.image.as_str())
        .set("ImageID", container.image_id.as_str())
        .set("Command", container.command.join(" "))
        .set("Created", container.created_ns / 1_000_000_000)
        .set("Ports", ports.collect::<Vec<_>>())
        .set("Labels", strings(&container.labels))
        .set("State", state_word(container.state))
        .set("Status", status_text(container, now_ns))
        .set("HostConfig", json!({ "NetworkMode": "default" }))
        .set("NetworkSettings", json!({ "Networks": write_networks(&container.networks) }))
        .set("Mounts", container.mounts.iter().map(write_mount).collect::<Vec<_>>())
        .into()
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

fn write_health_run(run: &HealthRun) -> Value {
    json!({
        "Start": rfc3339_ns(run.started_ns),
        "End": rfc3339_ns(run.ended_ns),
        "ExitCode": run.exit_code,
        "Output": run.output,
    })
}

fn write_state(container: &ContainerRecord) -> Value {
    let health = (container.health != Health::None).then(|| {
        let log: Vec<Value> = container.health_log.iter().map(write_health_run).collect();
        json!({ "Status": container.health.as_str(), "FailingStreak": container.health_failures, "Log": log })
    });
    Fields::new()
        .set("Status", state_word(container.state))
        .set("Running", container.state == ContainerState::Running)
        .set("Paused", container.state == ContainerState::Paused)
        .set("Restarting", false)
        .set("OOMKilled", container.oom_killed)
        .set("Dead", false)
        .set("Pid", container.pid)
        .set("ExitCode", container.exit_code)
        .set("Error", container.error.as_str())
        .set("StartedAt", rfc3339_ns(container.started_ns))
        .set("FinishedAt", rfc3339_ns(container.finished_ns))
        .opt("Health", health)
        .into()
}

async fn inspect(call: Call, id: &str) -> Outcome {
    let container = find(&call, id).await?;
    let (path, args) = container.command.split_first().map_or(("", &[][..]), |(path, args)| (path.as_str(), args));
    let config = Fields::new()
        .set("Hostname", container.hostname.as_str())
        .set("User", container.user.as_str())
        .set("Tty", container.tty)
        .set("Env", container.env.clone())
        .set("Cmd", container.command.clone())
        .set("Image", container.image.as_str())
        .set("WorkingDir", container.working_dir.as_str())
        .set("Labels", strings(&container.labels));
    let answer = Fields::new()
        .set("Id", container.id.as_str())
        .set("Created", rfc3339_ns(container.created_ns))
        .set("Path", path)
        .set("Args", args.to_vec())
        .set("State", write_state(&container))
        .set("Image", container.image_id.as_str())
        .set("Name", format!("/{}", container.name))
        .set("RestartCount", 0)
        .set("Driver", "overlayfs")
        .set("Platform", "linux")
        .set("Mounts", container.mounts.iter().map(write_mount).collect::<Vec<_>>())
        .set("Config", config)
        .set("HostConfig", json!({ "NetworkMode": "default" }))
        .set("NetworkSettings", json!({ "Networks": write_networks(&container.networks) }));
    ok(answer)
}

async fn container_logs(call: Call, id: &str) -> Outcome {
    let options = logs::options(&call.query)?;
    let container = find(&call, id).await?;
    let records = call.ports.local.container_logs(&container.id, options).await?;
    Ok(logs::respond(&call, records, container.tty))
}

async fn kill(call: Call, id: &str) -> Outcome {
    let container = find(&call, id).await?;
    if container.state != ContainerState::Running {
        let message = format!("cannot kill container: {id}: container {} is not running", container.id);
        return Err(ApiError::new(StatusCode::CONFLICT, message));
    }
    call.ports.local.kill(&container.id, call.query.text("signal")).await?;
    empty(StatusCode::NO_CONTENT)
}

async fn stop(call: Call, id: &str) -> Outcome {
    let container = find(&call, id).await?;
    if container.state != ContainerState::Running {
        return empty(StatusCode::NOT_MODIFIED);
    }
    let timeout_s = match call.query.text("t") {
        "" => None,
        text => Some(text.parse().map_err(|_| ApiError::bad(format!("t: \"{text}\" is not a number of seconds")))?),
    };
    call.ports.local.stop(&container.id, call.query.text("signal"), timeout_s).await?;
    empty(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_for_how_long() {
        let container = ContainerRecord {
            state: ContainerState::Running,
            started_ns: 1_000_000_000,
            finished_ns: 2_000_000_000,
            exit_code: 3,
            ..ContainerRecord::default()
        };
        let at = |seconds: i64| (seconds + 1) * 1_000_000_000;
        assert_eq!(status_text(&container, at(0)), "Up Less than a second");
        assert_eq!(status_text(&container, at(61)), "Up About a minute");
        assert_eq!(status_text(&container, at(7200)), "Up 2 hours");
        let healthy = ContainerRecord { health: Health::Healthy, ..container.clone() };
        assert_eq!(status_text(&healthy, at(300)), "Up 5 minutes (healthy)");
        let ended = ContainerRecord { state: ContainerState::Exited, ..container };
        assert_eq!(status_text(&ended, at(4 * 86_400)), "Exited (3) 3 days ago");
    }
}
