//! What a service's mode allows (API `ServiceSpec.Mode`).

use super::{Refusal, invalid};
use crate::model::{RestartCondition, ServiceMode, ServiceSpec, UpdateConfig};

/// Tasks of one service at most, of which the API and swarmkit say nothing: far more than a cluster holds, few enough that the leader can count them.
const REPLICAS_MAX: u64 = 1_000_000;

/// How many tasks a service may ask for.
fn amounts(mode: &ServiceMode) -> Result<(), Refusal> {
    let asked = match *mode {
        ServiceMode::Replicated { replicas } => vec![("Replicated.Replicas", replicas)],
        ServiceMode::ReplicatedJob { max_concurrent, total_completions } => {
            vec![("ReplicatedJob.MaxConcurrent", max_concurrent), ("ReplicatedJob.TotalCompletions", total_completions)]
        }
        ServiceMode::Global | ServiceMode::GlobalJob => Vec::new(),
    };
    if let ServiceMode::ReplicatedJob { max_concurrent: 0, total_completions: 1.. } = *mode {
        return invalid("Mode.ReplicatedJob.MaxConcurrent: must be at least 1, or the job would never run");
    }
    match asked.into_iter().find(|(_, amount)| *amount > REPLICAS_MAX) {
        Some((field, amount)) => invalid(format!("Mode.{field}: {amount} is too many, use at most {REPLICAS_MAX}")),
        None => Ok(()),
    }
}

/// A job has no rolling update (swarmkit's `validateJob`), and ends.
pub(super) fn mode(spec: &ServiceSpec) -> Result<(), Refusal> {
    amounts(&spec.mode)?;
    if !spec.mode.is_job() {
        return Ok(());
    }
    // `Swarm.Canary` makes an update config of its own.
    let canary_alone = spec.update.as_ref().is_some_and(|update| {
        let (canary, canary_promote_after) = (update.canary, update.canary_promote_after);
        canary > 0 && *update == UpdateConfig { canary, canary_promote_after, ..UpdateConfig::default() }
    });
    if canary_alone {
        return invalid("Swarm.Canary: a job is not updated in steps and has no canaries");
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
