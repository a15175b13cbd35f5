//! A service's specification.

use super::container::container;
use super::dependencies::dependencies;
use super::endpoint::endpoint;
use super::mode::mode;
use super::once::at_most_one;
use super::{Refusal, invalid, labels, name_pattern_holds, templates};
use crate::constraint::Constraint;
use crate::model::*;

/// Characters of a service's name: it is a DNS label (as in swarmkit's `controlapi`).
const SERVICE_NAME_LEN_MAX: usize = 63;
/// Smallest share of a core that can be limited or reserved: a thousandth. The API gives no least; this one, and 4 MiB of
/// memory, are what swarmkit's `controlapi` accepts (`validateResources`).
const NANO_CPUS_MIN: i64 = 1_000_000;
/// Smallest memory that can be limited or reserved: below it no process starts.
const MEMORY_BYTES_MIN: i64 = 4 * 1024 * 1024;

/// Log drivers whose meaning our own log has.
const LOG_DRIVERS: [&str; 3] = ["", "json-file", "local"];
/// Their options that it has.
const LOG_OPTIONS: [&str; 2] = ["max-file", "max-size"];

/// Everything that must hold of a service whatever else there is.
pub fn service(spec: &ServiceSpec) -> Result<(), Refusal> {
    service_name(&spec.name)?;
    labels("Labels", &spec.labels)?;
    mode(spec)?;
    super::autoscale::autoscale(spec)?;
    restart(&spec.task.restart)?;
    dependencies(spec)?;
    at_most_one(spec)?;
    if let Some(update) = &spec.update {
        update_config("UpdateConfig", update)?;
        canary(update)?;
    }
    if let Some(rollback) = &spec.rollback {
        update_config("RollbackConfig", rollback)?;
    }
    resources(&spec.task.resources)?;
    placement(spec)?;
    log_driver(spec.task.log_driver.as_ref())?;
    container(&spec.task.container)?;
    super::probes::probes(&spec.task.container)?;
    endpoint(&spec.endpoint)?;
    networks(spec)?;
    templates::service(spec)
}

fn networks(spec: &ServiceSpec) -> Result<(), Refusal> {
    let option =
        spec.task.networks.iter().enumerate().find_map(|(at, to)| Some((at, to.driver_options.keys().next()?)));
    match option {
        Some((at, key)) => invalid(format!("TaskTemplate.Networks[{at}].DriverOpts.{key}: is not supported")),
        None => Ok(()),
    }
}

fn service_name(name: &str) -> Result<(), Refusal> {
    if name.is_empty() {
        return invalid("Name: name must be provided");
    }
    if name.len() > SERVICE_NAME_LEN_MAX {
        return invalid(format!("Name: name must be {SERVICE_NAME_LEN_MAX} characters or fewer"));
    }
    if !name_pattern_holds(name, b"-_", SERVICE_NAME_LEN_MAX) {
        return invalid("Name: name must be valid as a DNS name component");
    }
    Ok(())
}

fn restart(policy: &RestartPolicy) -> Result<(), Refusal> {
    if !policy.window.is_zero() && policy.max_attempts > WINDOW_ATTEMPTS_MAX as u64 {
        return invalid(format!(
            "TaskTemplate.RestartPolicy.MaxAttempts: {} can not be counted within a Window, use at most \
             {WINDOW_ATTEMPTS_MAX}, or 0 to restart without end",
            policy.max_attempts
        ));
    }
    if policy.backoff_max.is_zero() || policy.backoff_max >= policy.delay {
        return Ok(());
    }
    invalid(format!(
        "Swarm.RestartBackoffMax: {:?} is less than TaskTemplate.RestartPolicy.Delay, {:?}, from which it doubles",
        policy.backoff_max, policy.delay
    ))
}

/// API `MaxFailureRatio`: "between 0 and 1"; the enumeration of `RollbackConfig.FailureAction` has no rollback.
fn update_config(place: &str, config: &UpdateConfig) -> Result<(), Refusal> {
    if !(0.0..=1.0).contains(&config.max_failure_ratio) {
        return invalid(format!(
            "{place}.MaxFailureRatio: update-maxfailureratio cannot be less than 0 or bigger than 1"
        ));
    }
    if place == "RollbackConfig" && config.failure_action == FailureAction::Rollback {
        return invalid(
            "RollbackConfig.FailureAction: a rollback can not be rolled back, use \"pause\" or \"continue\"",
        );
    }
    Ok(())
}

fn canary(update: &UpdateConfig) -> Result<(), Refusal> {
    match update.canary_promote_after {
        Some(_) if update.canary == 0 => invalid("Swarm.Canary.PromoteAfter: needs Swarm.Canary.Tasks, of at least 1"),
        Some(_) | None => Ok(()),
    }
}

fn resources(resources: &ResourceRequirements) -> Result<(), Refusal> {
    cpu_and_memory("Limits", resources.limit_nano_cpus, resources.limit_memory_bytes)?;
    cpu_and_memory("Reservations", resources.reservations.nano_cpus, resources.reservations.memory_bytes)?;
    if resources.limit_pids < 0 {
        return invalid("TaskTemplate.Resources.Limits.Pids: cannot be negative");
    }
    for (kind, amount) in &resources.reservations.generic {
        if kind.is_empty() || *amount <= 0 {
            return invalid(format!(
                "TaskTemplate.Resources.Reservations.GenericResources: \"{kind}\" must have a name and an amount above 0"
            ));
        }
    }
    Ok(())
}

fn cpu_and_memory(place: &str, nano_cpus: i64, memory_bytes: i64) -> Result<(), Refusal> {
    if nano_cpus != 0 && nano_cpus < NANO_CPUS_MIN {
        let (given, least) = (nano_cpus as f64 / 1e9, NANO_CPUS_MIN as f64 / 1e9);
        return invalid(format!(
            "TaskTemplate.Resources.{place}.NanoCPUs: invalid cpu value {given}: Must be at least {least}"
        ));
    }
    if memory_bytes != 0 && memory_bytes < MEMORY_BYTES_MIN {
        return invalid(format!(
            "TaskTemplate.Resources.{place}.MemoryBytes: invalid memory value {memory_bytes}: Must be at least 4MiB"
        ));
    }
    Ok(())
}

/// A preference that stacks have and that decides nothing: each node is its own group, and tasks go to the emptiest node
/// anyway. swarmkit takes and ignores it.
const SPREAD_NODES: &str = "node.id";

fn placement(spec: &ServiceSpec) -> Result<(), Refusal> {
    let placement = &spec.task.placement;
    if let Err(wrong) = Constraint::parse_all(&placement.constraints) {
        return invalid(format!("TaskTemplate.Placement.Constraints: {wrong}"));
    }
    for spread in &placement.spread {
        let label = spread.strip_prefix("node.labels.").or_else(|| spread.strip_prefix("engine.labels."));
        if spread != SPREAD_NODES && label.is_none_or(str::is_empty) {
            return invalid(format!(
                "TaskTemplate.Placement.Preferences: can not spread over \"{spread}\", only over node.labels.<key>, engine.labels.<key> or node.id"
            ));
        }
    }
    // As swarmkit's `controlapi`: the API's text names no mode.
    let global = matches!(spec.mode, ServiceMode::Global | ServiceMode::GlobalJob);
    if global && placement.max_replicas_per_node > 0 {
        return invalid(
            "TaskTemplate.Placement.MaxReplicas: replicas-max-per-node can only be used with replicated or replicated-job mode",
        );
    }
    Ok(())
}

fn log_driver(driver: Option<&LogDriver>) -> Result<(), Refusal> {
    let Some(driver) = driver else { return Ok(()) };
    if !LOG_DRIVERS.contains(&driver.name.as_str()) {
        return invalid(format!(
            "TaskTemplate.LogDriver.Name: log driver \"{}\" is not supported, use json-file or local",
            driver.name
        ));
    }
    match driver.options.keys().find(|key| !LOG_OPTIONS.contains(&key.as_str())) {
        Some(key) => {
            invalid(format!("TaskTemplate.LogDriver.Options.{key}: is not supported, use max-size and max-file"))
        }
        None => Ok(()),
    }
}
