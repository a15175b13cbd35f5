//! Updates that reach a few tasks first: flags, `swarm service promote`, and what is told of those that wait.

use super::options::WaitOptions;
use super::{converge, find, path};
use crate::client::Client;
use crate::error::{CliError, Result};
use crate::json::{object_mut, set, set_some, text};
use crate::table::write_out;
use crate::units::{parse_count, parse_duration_ns};
use clap::Args;
use serde_json::Value;

#[derive(Debug, Args)]
pub struct CanaryOptions {
    /// Update this many tasks, then wait for "swarm service promote" or "rollback"; of this update alone
    #[arg(long, value_name = "N", value_parser = parse_count)]
    canary: Option<u64>,
    /// Go on by itself once the canaries were up for this long
    #[arg(long, value_name = "DURATION", value_parser = parse_duration_ns)]
    canary_promote_after: Option<i64>,
}

impl CanaryOptions {
    /// Canaries are of one update: those of the last one are not kept.
    pub fn apply(&self, spec: &mut Value) -> Result<()> {
        forget(spec);
        if self.canary.is_none_or(|tasks| tasks == 0) && self.canary_promote_after.is_some() {
            return Err(CliError::usage("--canary-promote-after needs --canary, of at least 1"));
        }
        if let Some(tasks) = self.canary.filter(|tasks| *tasks > 0) {
            set(spec, "/Swarm/Canary/Tasks", tasks);
            set_some(spec, "/Swarm/Canary/PromoteAfter", self.canary_promote_after);
        }
        Ok(())
    }
}

/// Takes the canaries of the last update out of a specification that is to be written.
pub fn forget(spec: &mut Value) {
    if spec.get("Swarm").is_some_and(Value::is_object) {
        object_mut(spec, "/Swarm").remove("Canary");
    }
}

/// Since when the canaries of a service are up and wait; empty when they do not.
pub fn waits_since(service: &Value) -> &str {
    text(service, "/UpdateStatus/Canary/Since")
}

#[derive(Debug, Args)]
pub struct PromoteArgs {
    #[command(flatten)]
    wait: WaitOptions,
    #[arg(value_name = "SERVICE")]
    service: String,
}

pub async fn promote(client: &Client, args: PromoteArgs) -> Result<()> {
    let service = find(client, &args.service).await?;
    let id = text(&service, "/ID");
    client.post(&format!("{}/promote", path(id)), &[], None).await?;
    write_out(&format!("{}\n", args.service));
    converge::wait(client, id, args.wait).await
}
