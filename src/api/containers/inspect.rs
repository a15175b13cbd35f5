//! `GET /containers/{id}/json`: all of one container.

use super::{find, state_word, write_mount, write_networks};
use crate::call::{Call, Outcome, ok};
use crate::json::{Fields, rfc3339_ns, strings};
use crate::ports::{ContainerRecord, ContainerState, HealthRun};
use serde_json::{Value, json};
use swarm_core::model::Health;

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

pub async fn inspect(call: Call, id: &str) -> Outcome {
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
