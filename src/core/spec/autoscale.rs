//! What must hold of a service that is scaled by its load.

use super::{Refusal, invalid};
use crate::model::{
    AUTOSCALE_REPLICAS_MAX as REPLICAS_MAX, AUTOSCALE_TIME_MAX as TIME_MAX, AUTOSCALE_WINDOW_MIN as WINDOW_MIN,
    PublishMode, ServiceMode, ServiceSpec,
};

/// Highest target: ten times what a task reserves.
const PERCENT_MAX: u32 = 1000;

/// Checks `Swarm.Autoscale`.
pub(super) fn autoscale(spec: &ServiceSpec) -> Result<(), Refusal> {
    let Some(autoscale) = &spec.autoscale else { return Ok(()) };
    match spec.mode {
        ServiceMode::Replicated { .. } => {}
        ServiceMode::Global | ServiceMode::ReplicatedJob { .. } | ServiceMode::GlobalJob => {
            return invalid("Swarm.Autoscale: only a service in replicated mode can be scaled by its load");
        }
    }
    if autoscale.min == 0 {
        return invalid(
            "Swarm.Autoscale.Min: must be at least 1: without a task there is no load to scale up by (0 replicas stop the service)",
        );
    }
    if autoscale.max < autoscale.min || autoscale.max > REPLICAS_MAX {
        return invalid(format!("Swarm.Autoscale.Max: must be Min ({}) to {REPLICAS_MAX}", autoscale.min));
    }
    let targets = [("CPUPercent", autoscale.cpu_percent), ("MemoryPercent", autoscale.memory_percent)];
    for (name, percent) in targets {
        if percent > PERCENT_MAX {
            return invalid(format!("Swarm.Autoscale.{name}: must be 1 to {PERCENT_MAX}, or 0 for no such target"));
        }
    }
    if autoscale.cpu_percent == 0 && autoscale.memory_percent == 0 && autoscale.requests_per_second == 0 {
        return invalid("Swarm.Autoscale: needs a target: CPUPercent, MemoryPercent or RequestsPerSecond");
    }
    let published = spec.endpoint.ports.iter().any(|port| port.mode == PublishMode::Ingress);
    if autoscale.requests_per_second > 0 && !published {
        return invalid(
            "Swarm.Autoscale.RequestsPerSecond: counts new connections to published ports, and the service publishes none in ingress mode",
        );
    }
    let resources = &spec.task.resources;
    if autoscale.memory_percent > 0 && resources.limit_memory_bytes <= 0 && resources.reservations.memory_bytes <= 0 {
        return invalid(
            "Swarm.Autoscale.MemoryPercent: is a part of the memory limit, set TaskTemplate.Resources.Limits.MemoryBytes",
        );
    }
    let [least, most] = [WINDOW_MIN, TIME_MAX].map(|time| time.as_secs());
    if autoscale.window < WINDOW_MIN || autoscale.window > TIME_MAX {
        return invalid(format!("Swarm.Autoscale.Window: must be {least} s to {most} s"));
    }
    if autoscale.scale_down_delay > TIME_MAX {
        return invalid(format!("Swarm.Autoscale.ScaleDownDelay: must be at most {most} s"));
    }
    Ok(())
}
