//! Flags of `service create` and `service update` for what docker's services do not have.
//!
//! All of it is in one object of the specification: an update that sends it means all of it.

use crate::error::{CliError, Result};
use crate::json::{set, set_some};
use crate::units::parse_duration_ns;
use clap::Args;
use serde_json::{Value, json};

/// How far a service must be, and Compose's word for it.
const CONDITIONS: [(&str, &str); 3] =
    [("started", "service_started"), ("healthy", "service_healthy"), ("completed", "service_completed_successfully")];

#[derive(Debug, Args)]
pub struct BeyondOptions {
    /// Never run two tasks at once: a host without word of the managers stops its task after this time, and only then is
    /// it replaced [without a time: 30s; 0s: off]
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true, default_missing_value = "30s",
        value_parser = parse_duration_ns)]
    at_most_one: Option<i64>,
    /// Double the restart delay with each restart in a row, up to this (0s: keep it)
    #[arg(long, value_name = "DURATION", value_parser = parse_duration_ns)]
    restart_backoff_max: Option<i64>,
    /// Service to wait for at the first start, NAME[:started|healthy|completed] (may be repeated; "" removes all)
    #[arg(long = "depends-on", value_name = "NAME[:STATE]")]
    depends_on: Vec<String>,
}

impl BeyondOptions {
    /// Sets what was given, and leaves the rest as it is.
    pub fn apply(&self, spec: &mut Value) -> Result<()> {
        set_some(spec, "/Swarm/AtMostOne", self.at_most_one);
        set_some(spec, "/Swarm/RestartBackoffMax", self.restart_backoff_max);
        if !self.depends_on.is_empty() {
            let named = self.depends_on.iter().filter(|word| !word.is_empty());
            let list = named.map(|word| dependency(word)).collect::<Result<Vec<Value>>>()?;
            set(spec, "/Swarm/DependsOn", list);
        }
        Ok(())
    }
}

fn dependency(word: &str) -> Result<Value> {
    let (service, state) = word.split_once(':').unwrap_or((word, "started"));
    let known = CONDITIONS.iter().find(|(name, _)| *name == state);
    let Some((_, condition)) = known else {
        return Err(CliError::usage(format!(
            "invalid --depends-on \"{word}\": \"{state}\" is not started, healthy or completed"
        )));
    };
    Ok(json!({ "Service": service, "Condition": condition }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        options: BeyondOptions,
    }

    fn after(words: &[&str], mut spec: Value) -> std::result::Result<Value, String> {
        let line = Line::try_parse_from(["x"].iter().chain(words)).map_err(|error| error.to_string())?;
        line.options.apply(&mut spec).map_err(|error| error.to_string())?;
        Ok(spec)
    }

    #[test]
    fn what_is_given_is_set_and_the_rest_is_kept() {
        let spec = after(&["--at-most-one", "--restart-backoff-max", "1m"], json!({"Swarm": {"Priority": 3}}));
        let wanted = json!({"Priority": 3, "AtMostOne": 30_000_000_000i64, "RestartBackoffMax": 60_000_000_000i64});
        assert_eq!(spec.unwrap()["Swarm"], wanted);
        assert_eq!(after(&["--at-most-one=0s"], json!({})).unwrap()["Swarm"]["AtMostOne"], 0);
        assert_eq!(after(&[], json!({})).unwrap(), json!({}), "an update without any keeps what there is");
    }

    #[test]
    fn dependencies_are_named_with_how_far_they_must_be() {
        let spec = after(&["--depends-on", "db:healthy", "--depends-on", "cache"], json!({})).unwrap();
        let wanted = json!([
            {"Service": "db", "Condition": "service_healthy"},
            {"Service": "cache", "Condition": "service_started"},
        ]);
        assert_eq!(spec["Swarm"]["DependsOn"], wanted);
        assert_eq!(after(&["--depends-on", ""], spec).unwrap()["Swarm"]["DependsOn"], json!([]));
        assert!(
            after(&["--depends-on", "db:up"], json!({})).unwrap_err().contains("not started, healthy or completed")
        );
    }
}
