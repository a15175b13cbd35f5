//! What a service's mode allows (API `ServiceSpec.Mode`).

use super::{Refusal, invalid};
use crate::model::{RestartCondition, ServiceMode, ServiceSpec};

pub(super) fn is_job(mode: &ServiceMode) -> bool {
    match mode {
        ServiceMode::Replicated { .. } | ServiceMode::Global => false,
        ServiceMode::ReplicatedJob { .. } | ServiceMode::GlobalJob => true,
    }
}

/// A job has no rolling update (swarmkit's `validateJob`), and ends.
pub(super) fn mode(spec: &ServiceSpec) -> Result<(), Refusal> {
    if !is_job(&spec.mode) {
        return Ok(());
    }
    if spec.update.is_some() {
        return invalid("UpdateConfig: Jobs may not have an update config");
    }
    if spec.rollback.is_some() {
        return invalid("RollbackConfig: Jobs may not have a rollback config");
    }
    if spec.task.restart.condition == RestartCondition::Any {
        return invalid(
            "TaskTemplate.RestartPolicy.Condition: a task of a job that completed is not run again, use \"on-failure\" or \"none\"",
        );
    }
    Ok(())
}
