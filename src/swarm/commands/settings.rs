//! `swarm update`: the settings of the cluster.

use crate::cli::Context;
use crate::error::{CliError, Result};
use crate::json::{int, set_some};
use crate::table::write_out;
use clap::Args;
use serde_json::Value;

#[derive(Debug, Args)]
pub struct UpdateArgs {
    /// Ended tasks kept for each place of a service
    #[arg(long, value_name = "N")]
    task_history_limit: Option<u32>,
    /// Versions kept of each service, to go back to
    #[arg(long, value_name = "N")]
    spec_history_limit: Option<u32>,
    /// Whether tasks are spread over the nodes, or nodes are filled before emptier ones are used
    #[arg(long, value_name = "HOW", value_parser = ["spread", "binpack"])]
    placement: Option<String>,
    /// Whether tasks make room for those of higher priority
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    preemption: Option<bool>,
    /// Tasks moved per minute to even out what runs where (0: none)
    #[arg(long, value_name = "MOVES")]
    rebalance: Option<u32>,
}

impl UpdateArgs {
    fn change(&self, spec: &mut Value) -> Result<()> {
        set_some(spec, "/Orchestration/TaskHistoryRetentionLimit", self.task_history_limit);
        set_some(spec, "/Swarm/SpecHistoryLimit", self.spec_history_limit);
        set_some(spec, "/Swarm/Placement", self.placement.clone());
        set_some(spec, "/Swarm/Preemption", self.preemption);
        set_some(spec, "/Swarm/RebalanceMovesPerMinute", self.rebalance);
        let limits = self.task_history_limit.or(self.spec_history_limit).or(self.rebalance).is_some();
        match limits || self.placement.is_some() || self.preemption.is_some() {
            true => Ok(()),
            false => Err(CliError::hinted("nothing to change was given", "\"swarm update --help\" lists the settings")),
        }
    }
}

pub async fn update(context: &Context, args: UpdateArgs) -> Result<()> {
    let client = context.client().await?;
    let mut swarm = client.get("/swarm").await?;
    args.change(&mut swarm["Spec"])?;
    let version = int(&swarm, "/Version/Index").to_string();
    client.post("/swarm/update", &[("version", Some(&version))], Some(&swarm["Spec"])).await?;
    write_out("Swarm updated.\n");
    Ok(())
}
