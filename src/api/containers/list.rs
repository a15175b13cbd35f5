//! `GET /containers/json`: which containers, and one line of each.

use super::filter::{FILTERS, Wanted};
use super::{protocol_word, state_word, write_mount, write_networks};
use crate::call::{Call, Outcome, ok};
use crate::error::ApiError;
use crate::filters::Filters;
use crate::gather::Gather;
use crate::json::{Fields, strings};
use crate::ports::{ContainerRecord, ContainerState};
use serde_json::{Value, json};
use swarm_core::model::Health;

pub async fn list(call: Call) -> Outcome {
    let limit = match call.query.text("limit") {
        "" => None,
        text => {
            let limit: i64 = text.parse().map_err(|_| ApiError::bad(format!("limit: \"{text}\" is not a number")))?;
            // Docker's clients say -1 and 0 for no limit.
            usize::try_from(limit).ok().filter(|limit| *limit > 0)
        }
    };
    let mut filters = Filters::read(&call.query, &FILTERS)?;
    let gather = Gather::new(&call, &mut filters).await?;
    if gather.is_none() && !filters.values("node").is_empty() {
        return Err(ApiError::bad("invalid filter 'node': only managers list the containers of other nodes"));
    }
    let asked = filters.clone();
    let mut wanted = Wanted::read(&call, filters, limit).await?;
    if let Some(gather) = &gather {
        gather.bound(&mut wanted);
    }
    let mut containers = call.ports.local.containers().await?;
    containers.retain(|container| wanted.matches(container));
    containers.sort_by_key(|container| std::cmp::Reverse(container.created_ns));
    if gather.is_none() {
        containers.truncate(limit.unwrap_or(usize::MAX));
    }
    let now = call.ports.cluster.now();
    let mut rows = Vec::with_capacity(containers.len());
    for container in &containers {
        let mut row = write_summary(container, now.0.saturating_mul(1_000_000));
        if call.query.flag("size") {
            // One that goes meanwhile counts nothing.
            let sizes = call.ports.local.sizes(&container.id).await.unwrap_or_default();
            row["SizeRw"] = sizes.written_bytes.into();
            row["SizeRootFs"] = sizes.root_bytes.into();
        }
        rows.push(row);
    }
    if let Some(gather) = gather {
        rows = gather.all(&call, rows, (&asked, &wanted), now).await;
        rows.truncate(limit.unwrap_or(usize::MAX));
    }
    ok(rows)
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

/// API `PortSummary`.
fn write_ports(container: &ContainerRecord) -> Vec<Value> {
    let published = container.ports.iter().map(|port| {
        let ip = (port.published_port > 0).then(|| port.host_ip.map_or("0.0.0.0".to_owned(), |ip| ip.to_string()));
        Fields::new()
            .opt("IP", ip)
            .set("PrivatePort", port.target_port)
            .filled("PublicPort", port.published_port)
            .set("Type", protocol_word(port))
            .into()
    });
    let is_published = |port: u16, protocol: &str| {
        container.ports.iter().any(|own| own.target_port == port && protocol_word(own) == protocol)
    };
    let exposed = container.exposed.iter().filter_map(|text| {
        let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let port = port.parse().ok().filter(|port| !is_published(*port, protocol))?;
        Some(json!({ "PrivatePort": port, "Type": protocol }))
    });
    published.chain(exposed).collect()
}

/// API `ContainerSummary`.
pub fn write_summary(container: &ContainerRecord, now_ns: i64) -> Value {
    let mode = if container.host.network_mode.is_empty() { "default" } else { container.host.network_mode.as_str() };
    let runs = matches!(container.state, ContainerState::Running | ContainerState::Paused);
    let health = (runs && container.health != Health::None)
        .then(|| json!({ "Status": container.health.as_str(), "FailingStreak": container.health_failures }));
    Fields::new()
        .set("Id", container.id.as_str())
        .set("Names", json!([format!("/{}", container.name)]))
        .set("Image", container.image.as_str())
        .set("ImageID", container.image_id.as_str())
        .set("Command", container.command.join(" "))
        .set("Created", container.created_ns / 1_000_000_000)
        .set("Ports", write_ports(container))
        .set("Labels", strings(&container.labels))
        .set("State", state_word(container.state))
        .set("Status", status_text(container, now_ns))
        .set("HostConfig", json!({ "NetworkMode": mode }))
        .set("NetworkSettings", json!({ "Networks": write_networks(container) }))
        .set("Mounts", container.mounts.iter().map(write_mount).collect::<Vec<_>>())
        .opt("Health", health)
        .into()
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
