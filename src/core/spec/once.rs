//! What a service that is to run once at most may ask for (beyond the API: `Swarm.AtMostOne`).

use super::{Refusal, invalid};
use crate::lease::{LEASE_HEARTBEATS_MIN, LEASE_MAX, LEASE_MIN};
use crate::model::{ServiceMode, ServiceSpec, UpdateOrder};
use std::time::Duration;

pub(super) fn at_most_one(spec: &ServiceSpec) -> Result<(), Refusal> {
    let Some(lease) = spec.task.at_most_one else { return Ok(()) };
    match spec.mode {
        ServiceMode::Replicated { replicas: 0 | 1 } => {}
        ServiceMode::Replicated { replicas } => {
            return invalid(format!(
                "Swarm.AtMostOne: the service has {replicas} replicas: set Mode.Replicated.Replicas to 1"
            ));
        }
        ServiceMode::Global | ServiceMode::ReplicatedJob { .. } | ServiceMode::GlobalJob => {
            return invalid("Swarm.AtMostOne: only for services in replicated mode, with one replica");
        }
    }
    if spec.autoscale.is_some() {
        return invalid("Swarm.AtMostOne: a service that scales has more than one task, remove Swarm.Autoscale");
    }
    for (place, config) in [("UpdateConfig", &spec.update), ("RollbackConfig", &spec.rollback)] {
        if config.as_ref().is_some_and(|config| config.order == UpdateOrder::StartFirst) {
            return invalid(format!(
                "{place}.Order: start-first would have two tasks of a service with Swarm.AtMostOne, use stop-first"
            ));
        }
    }
    if lease < LEASE_MIN || lease > LEASE_MAX {
        return invalid(out_of_range(lease, LEASE_MIN));
    }
    Ok(())
}

fn out_of_range(lease: Duration, least: Duration) -> String {
    format!("Swarm.AtMostOne: a lease of {lease:?} is out of range, use {least:?} to {LEASE_MAX:?}")
}

/// A lease has to outlast several heartbeats of the cluster it is in.
pub fn outlasts_heartbeats(spec: &ServiceSpec, period: Duration) -> Result<(), Refusal> {
    let least = LEASE_MIN.max(period.saturating_mul(LEASE_HEARTBEATS_MIN));
    match spec.task.at_most_one {
        Some(lease) if lease < least => invalid(out_of_range(lease, least)),
        Some(_) | None => Ok(()),
    }
}
