//! `GET /containers/json`: which containers, and one line of each.

use super::{state_word, write_mount, write_networks};
use crate::call::{Call, Outcome, ok};
use crate::filters::Filters;
use crate::json::{Fields, strings, write_port};
use crate::ports::{ContainerRecord, ContainerState};
use serde_json::{Value, json};
use swarm_core::model::Health;

const FILTERS: [&str; 11] =
    ["ancestor", "exited", "health", "id", "is-task", "label", "name", "network", "publish", "status", "volume"];

pub async fn list(call: Call) -> Outcome {
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
