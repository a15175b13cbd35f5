//! Services as JSON.

use super::extension::write_extension;
use super::{CONDITIONS, FAILURE_ACTIONS, ORDERS, word_of};
use crate::json::container::{nanos, write_container};
use crate::json::fields::{Fields, strings};
use crate::json::network::prefix_len;
use crate::json::node::write_amount;
use crate::json::task::write_port;
use crate::json::time::rfc3339_ms;
use serde_json::{Value, json};
use swarm_core::model::*;
use swarm_core::plan::service_reason;
use swarm_core::store::View;
use swarm_core::{WallTime, plan};

/// API `Service`. Specs have their defaults filled in.
pub fn write_service(service: &Service, view: &View, now: WallTime) -> Fields {
    let mut fields = Fields::new()
        .set("ID", service.id.to_string())
        .set("Version", json!({ "Index": service.meta.version }))
        .set("CreatedAt", rfc3339_ms(service.meta.created.wall))
        .set("UpdatedAt", rfc3339_ms(service.meta.updated.wall))
        .set("Spec", write_service_spec(&service.spec))
        .opt("PreviousSpec", service.previous_spec.as_deref().map(write_service_spec))
        .set("Endpoint", write_endpoint(service, view));
    fields = fields.filled("Contents", write_contents(service, view));
    if let Some(status) = &service.update_status {
        fields = fields.set("UpdateStatus", write_update_status(service, status, now));
    }
    if let Some(job) = &service.job {
        let status =
            json!({ "JobIteration": { "Index": job.iteration }, "LastExecution": rfc3339_ms(job.last_execution) });
        fields = fields.set("JobStatus", status);
    }
    if service.spec.autoscale.is_some() {
        fields = fields.set("Scaled", write_scaled(service));
    }
    // Ours: why it has fewer tasks than it should, or stands still.
    fields.filled("Waiting", service_reason(view, service).unwrap_or_default())
}

/// Beyond the API: which contents of its secrets and configs the service has. `Newest` where there is a newer one,
/// `Held` where it was rolled back from that one.
fn write_contents(service: &Service, view: &View) -> Vec<Value> {
    let written = contents_of(&service.spec).map(|(fields, content, version)| {
        let newest = view.newest_content(content).filter(|newest| *newest > version);
        let held = service.held.iter().find(|held| held.content == content).map(|held| held.version);
        fields.opt("Newest", newest).opt("Held", held).into()
    });
    written.collect()
}

/// The contents of a specification alone: names and versions.
pub fn write_spec_contents(spec: &ServiceSpec) -> Vec<Value> {
    contents_of(spec).map(|(fields, ..)| fields.into()).collect()
}

fn contents_of(spec: &ServiceSpec) -> impl Iterator<Item = (Fields, ContentId, u64)> {
    let container = &spec.task.container;
    let secrets = container.secrets.iter().map(|secret| ("Secret", &secret.name));
    let configs = container.configs.iter().map(|config| ("Config", &config.name));
    let named = secrets.chain(configs).zip(container.contents());
    named.map(|((kind, name), (content, version))| {
        (Fields::new().set(kind, name.as_str()).set("Version", version), content, version)
    })
}

fn write_endpoint(service: &Service, view: &View) -> Value {
    let endpoint = &service.endpoint;
    let vips = endpoint.vips.iter().map(|vip| {
        let prefix = prefix_len(view, vip.network);
        json!({ "NetworkID": vip.network.to_string(), "Addr": format!("{}/{prefix}", vip.addr) })
    });
    Fields::new()
        .set("Spec", write_endpoint_spec(&endpoint.spec))
        .filled("Ports", endpoint.ports.iter().map(write_port).collect::<Vec<_>>())
        .filled("VirtualIPs", vips.collect::<Vec<_>>())
        .filled("PendingReason", endpoint.pending_reason.as_str())
        .into()
}

/// Beyond the API: how many replicas an autoscaled service has, and why.
fn write_scaled(service: &Service) -> Value {
    let scaled = service.scaled.as_ref();
    Fields::new()
        .set("Replicas", service.wanted_replicas())
        .opt("At", scaled.map(|scaled| rfc3339_ms(scaled.at)))
        .set(
            "Reason",
            scaled.map_or("no decision yet: the load of a whole window is needed", |scaled| scaled.reason.as_str()),
        )
        .into()
}

fn write_update_status(service: &Service, status: &UpdateStatus, now: WallTime) -> Value {
    let state = match status.state {
        UpdateState::Updating => "updating",
        UpdateState::Paused => "paused",
        UpdateState::Completed => "completed",
        UpdateState::RollbackStarted => "rollback_started",
        UpdateState::RollbackPaused => "rollback_paused",
        UpdateState::RollbackCompleted => "rollback_completed",
    };
    Fields::new()
        .set("State", state)
        .set("StartedAt", rfc3339_ms(status.started))
        .opt("CompletedAt", status.completed.map(rfc3339_ms))
        .set("Message", plan::update_message(service, now).unwrap_or_default())
        .opt("Canary", service.canaries().map(|tasks| write_canary_status(tasks, status)))
        .into()
}

/// Beyond the API: the update waits to be promoted, or will. `Since`: all canaries are up since then.
fn write_canary_status(tasks: u64, status: &UpdateStatus) -> Value {
    Fields::new().set("Tasks", tasks).opt("Since", status.canary_since.map(rfc3339_ms)).into()
}

/// API `ServiceSpec`.
pub fn write_service_spec(spec: &ServiceSpec) -> Value {
    Fields::new()
        .set("Name", spec.name.as_str())
        .set("Labels", strings(&spec.labels))
        .set("TaskTemplate", write_task_spec(&spec.task))
        .set("Mode", write_mode(&spec.mode))
        .opt("UpdateConfig", spec.update.as_ref().map(write_update))
        .opt("RollbackConfig", spec.rollback.as_ref().map(write_update))
        .set("EndpointSpec", write_endpoint_spec(&spec.endpoint))
        .opt("Swarm", write_extension(spec))
        .into()
}

fn write_mode(mode: &ServiceMode) -> Value {
    match mode {
        ServiceMode::Replicated { replicas } => json!({ "Replicated": { "Replicas": replicas } }),
        ServiceMode::Global => json!({ "Global": {} }),
        ServiceMode::ReplicatedJob { max_concurrent, total_completions } => {
            json!({ "ReplicatedJob": { "MaxConcurrent": max_concurrent, "TotalCompletions": total_completions } })
        }
        ServiceMode::GlobalJob => json!({ "GlobalJob": {} }),
    }
}

/// API `TaskSpec`.
pub fn write_task_spec(task: &TaskSpec) -> Value {
    Fields::new()
        .set("ContainerSpec", write_container(&task.container))
        .set("Resources", write_resources(&task.resources))
        .set("RestartPolicy", write_restart(&task.restart))
        .set("Placement", write_placement(&task.placement))
        .filled("Networks", task.networks.iter().map(write_network_target).collect::<Vec<_>>())
        .opt("LogDriver", task.log_driver.as_ref().map(write_log_driver))
        .set("ForceUpdate", task.force_update)
        .set("Runtime", "container")
        .into()
}

fn write_resources(resources: &ResourceRequirements) -> Value {
    let limits = Fields::new()
        .filled("NanoCPUs", resources.limit_nano_cpus)
        .filled("MemoryBytes", resources.limit_memory_bytes)
        .filled("Pids", resources.limit_pids);
    let reserved = &resources.reservations;
    let generic = reserved.generic.iter().map(|(kind, value)| write_amount(kind, *value));
    let reservations = Fields::new()
        .filled("NanoCPUs", reserved.nano_cpus)
        .filled("MemoryBytes", reserved.memory_bytes)
        .filled("GenericResources", generic.collect::<Vec<_>>());
    Fields::new().set("Limits", limits).set("Reservations", reservations).into()
}

fn write_restart(restart: &RestartPolicy) -> Value {
    json!({
        "Condition": word_of(&CONDITIONS, &restart.condition),
        "Delay": nanos(restart.delay),
        "MaxAttempts": restart.max_attempts,
        "Window": nanos(restart.window),
    })
}

fn write_placement(placement: &Placement) -> Value {
    let spread = placement.spread.iter().map(|by| json!({ "Spread": { "SpreadDescriptor": by } }));
    let platforms = placement.platforms.iter().map(|p| json!({ "Architecture": p.architecture, "OS": p.os }));
    Fields::new()
        .filled("Constraints", placement.constraints.clone())
        .filled("Preferences", spread.collect::<Vec<_>>())
        .filled("MaxReplicas", placement.max_replicas_per_node)
        .filled("Platforms", platforms.collect::<Vec<_>>())
        .into()
}

fn write_network_target(network: &NetworkTarget) -> Value {
    Fields::new()
        .set("Target", network.target.to_string())
        .filled("Aliases", network.aliases.clone())
        .filled("DriverOpts", strings(&network.driver_options))
        .into()
}

fn write_log_driver(driver: &LogDriver) -> Value {
    Fields::new().filled("Name", driver.name.as_str()).filled("Options", strings(&driver.options)).into()
}

fn write_update(update: &UpdateConfig) -> Value {
    json!({
        "Parallelism": update.parallelism,
        "Delay": nanos(update.delay),
        "FailureAction": word_of(&FAILURE_ACTIONS, &update.failure_action),
        "Monitor": nanos(update.monitor),
        "MaxFailureRatio": update.max_failure_ratio,
        "Order": word_of(&ORDERS, &update.order),
    })
}

fn write_endpoint_spec(endpoint: &EndpointSpec) -> Value {
    let mode = match endpoint.mode {
        EndpointMode::Vip => "vip",
        EndpointMode::Dnsrr => "dnsrr",
    };
    let ports = endpoint.ports.iter().map(write_port).collect::<Vec<_>>();
    Fields::new().set("Mode", mode).filled("Ports", ports).into()
}
