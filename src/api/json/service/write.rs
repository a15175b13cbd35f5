//! Services as JSON.

use super::extension::write_extension;
use super::{CONDITIONS, FAILURE_ACTIONS, ORDERS, word_of};
use crate::json::container::{nanos, write_container};
use crate::json::fields::{Fields, strings};
use crate::json::network::prefix_len;
use crate::json::node::write_amount;
use crate::json::task::{port_fields, write_version};
use crate::json::time::rfc3339_ms;
use serde_json::Value;
use swarm_core::model::*;
use swarm_core::plan::service_reason;
use swarm_core::store::View;
use swarm_core::{WallTime, plan};

/// API `Service`. Specs have their defaults filled in.
pub fn write_service(service: &Service, view: &View, now: WallTime) -> Fields {
    let mut fields = Fields::new()
        .set("ID", service.id.to_string())
        .set("Version", write_version(service.meta))
        .set("CreatedAt", rfc3339_ms(service.meta.created.wall))
        .set("UpdatedAt", rfc3339_ms(service.meta.updated.wall))
        .set("Spec", spec_fields(&service.spec))
        .opt("PreviousSpec", service.previous_spec.as_deref().map(spec_fields))
        .set("Endpoint", write_endpoint(service, view));
    fields = fields.filled("Contents", write_contents(service, view));
    if let Some(status) = &service.update_status {
        fields = fields.set("UpdateStatus", write_update_status(service, status, now));
    }
    if let Some(job) = &service.job {
        let iteration = Fields::new().set("Index", job.iteration);
        let status = Fields::new().set("JobIteration", iteration).set("LastExecution", rfc3339_ms(job.last_execution));
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
fn write_contents(service: &Service, view: &View) -> Vec<Fields> {
    let written = contents_of(&service.spec).map(|(fields, content, version)| {
        let newest = view.newest_content(content).filter(|newest| *newest > version);
        let held = service.held.iter().find(|held| held.content == content).map(|held| held.version);
        fields.opt("Newest", newest).opt("Held", held)
    });
    written.collect()
}

/// The contents of a specification alone: names and versions.
pub fn write_spec_contents(spec: &ServiceSpec) -> Vec<Fields> {
    contents_of(spec).map(|(fields, ..)| fields).collect()
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

fn write_endpoint(service: &Service, view: &View) -> Fields {
    let endpoint = &service.endpoint;
    let vips = endpoint.vips.iter().map(|vip| {
        let prefix = prefix_len(view, vip.network);
        Fields::new().set("NetworkID", vip.network.to_string()).set("Addr", format!("{}/{prefix}", vip.addr))
    });
    Fields::new()
        .set("Spec", write_endpoint_spec(&endpoint.spec))
        .filled("Ports", endpoint.ports.iter().map(port_fields).collect::<Vec<_>>())
        .filled("VirtualIPs", vips.collect::<Vec<_>>())
        .filled("PendingReason", endpoint.pending_reason.as_str())
}

/// Beyond the API: how many replicas an autoscaled service has, and why.
fn write_scaled(service: &Service) -> Fields {
    let scaled = service.scaled.as_ref();
    Fields::new().set("Replicas", service.wanted_replicas()).opt("At", scaled.map(|scaled| rfc3339_ms(scaled.at))).set(
        "Reason",
        scaled.map_or("no decision yet: the load of a whole window is needed", |scaled| scaled.reason.as_str()),
    )
}

fn write_update_status(service: &Service, status: &UpdateStatus, now: WallTime) -> Fields {
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
}

/// Beyond the API: the update waits to be promoted, or will. `Since`: all canaries are up since then.
fn write_canary_status(tasks: u64, status: &UpdateStatus) -> Fields {
    Fields::new().set("Tasks", tasks).opt("Since", status.canary_since.map(rfc3339_ms))
}

/// API `ServiceSpec`.
pub fn write_service_spec(spec: &ServiceSpec) -> Value {
    spec_fields(spec).into()
}

fn spec_fields(spec: &ServiceSpec) -> Fields {
    Fields::new()
        .set("Name", spec.name.as_str())
        .set("Labels", strings(&spec.labels))
        .set("TaskTemplate", write_task_spec(&spec.task))
        .set("Mode", write_mode(&spec.mode))
        .opt("UpdateConfig", spec.update.as_ref().map(write_update))
        .opt("RollbackConfig", spec.rollback.as_ref().map(write_update))
        .set("EndpointSpec", write_endpoint_spec(&spec.endpoint))
        .opt("Swarm", write_extension(spec))
}

fn write_mode(mode: &ServiceMode) -> Fields {
    let (name, inner) = match mode {
        ServiceMode::Replicated { replicas } => ("Replicated", Fields::new().set("Replicas", *replicas)),
        ServiceMode::Global => ("Global", Fields::new()),
        ServiceMode::ReplicatedJob { max_concurrent, total_completions } => {
            let counts = Fields::new().set("MaxConcurrent", *max_concurrent);
            ("ReplicatedJob", counts.set("TotalCompletions", *total_completions))
        }
        ServiceMode::GlobalJob => ("GlobalJob", Fields::new()),
    };
    Fields::new().set(name, inner)
}

/// API `TaskSpec`.
pub fn write_task_spec(task: &TaskSpec) -> Fields {
    Fields::new()
        .set("ContainerSpec", write_container(&task.container))
        .set("Resources", write_resources(&task.resources))
        .set("RestartPolicy", write_restart(&task.restart))
        .set("Placement", write_placement(&task.placement))
        .filled("Networks", task.networks.iter().map(write_network_target).collect::<Vec<_>>())
        .opt("LogDriver", task.log_driver.as_ref().map(write_log_driver))
        .set("ForceUpdate", task.force_update)
        .set("Runtime", "container")
}

fn write_resources(resources: &ResourceRequirements) -> Fields {
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
    Fields::new().set("Limits", limits).set("Reservations", reservations)
}

fn write_restart(restart: &RestartPolicy) -> Fields {
    Fields::new()
        .set("Condition", word_of(&CONDITIONS, &restart.condition))
        .set("Delay", nanos(restart.delay))
        .set("MaxAttempts", restart.max_attempts)
        .set("Window", nanos(restart.window))
}

fn write_placement(placement: &Placement) -> Fields {
    let spread =
        placement.spread.iter().map(|by| Fields::new().set("Spread", Fields::new().set("SpreadDescriptor", by)));
    let platforms = placement.platforms.iter();
    let platforms = platforms.map(|p| Fields::new().set("Architecture", &p.architecture).set("OS", &p.os));
    Fields::new()
        .filled("Constraints", &placement.constraints)
        .filled("Preferences", spread.collect::<Vec<_>>())
        .filled("MaxReplicas", placement.max_replicas_per_node)
        .filled("Platforms", platforms.collect::<Vec<_>>())
}

fn write_network_target(network: &NetworkTarget) -> Fields {
    Fields::new()
        .set("Target", network.target.to_string())
        .filled("Aliases", &network.aliases)
        .filled("DriverOpts", strings(&network.driver_options))
}

fn write_log_driver(driver: &LogDriver) -> Fields {
    Fields::new().filled("Name", driver.name.as_str()).filled("Options", strings(&driver.options))
}

fn write_update(update: &UpdateConfig) -> Fields {
    Fields::new()
        .set("Parallelism", update.parallelism)
        .set("Delay", nanos(update.delay))
        .set("FailureAction", word_of(&FAILURE_ACTIONS, &update.failure_action))
        .set("Monitor", nanos(update.monitor))
        .set("MaxFailureRatio", update.max_failure_ratio)
        .set("Order", word_of(&ORDERS, &update.order))
}

fn write_endpoint_spec(endpoint: &EndpointSpec) -> Fields {
    let mode = match endpoint.mode {
        EndpointMode::Vip => "vip",
        EndpointMode::Dnsrr => "dnsrr",
    };
    let ports = endpoint.ports.iter().map(port_fields).collect::<Vec<_>>();
    Fields::new().set("Mode", mode).filled("Ports", ports)
}
