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
}

impl UpdateArgs {
    fn change(&self, spec: &mut Value) -> Result<()> {
        set_some(spec, "/Orchestration/TaskHistoryRetentionLimit", self.task_history_limit);
        set_some(spec, "/Swarm/SpecHistoryLimit", self.spec_history_limit);
        match self.task_history_limit.is_some() || self.spec_history_limit.is_some() {
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
