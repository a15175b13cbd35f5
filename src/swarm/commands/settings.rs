//! `swarm update`: the settings of the cluster.

use crate::cli::Context;
use crate::error::{CliError, Result};
use crate::json::{int, set, set_some};
use crate::table::write_out;
use crate::units::parse_duration_ns;
use clap::Args;
use serde_json::{Value, json};
use std::path::Path;

/// Settings that a cluster is made with, and that can be changed later. The daemon says which of them it can take.
#[derive(Debug, Args)]
pub struct ClusterSettings {
    /// How long the certificates of nodes are valid
    #[arg(long, value_name = "DURATION", value_parser = parse_duration_ns)]
    cert_expiry: Option<i64>,
    /// How often nodes tell the managers that they are there
    #[arg(long, value_name = "DURATION", value_parser = parse_duration_ns)]
    dispatcher_heartbeat: Option<i64>,
    /// Signing service outside the cluster, protocol=PROTOCOL,url=URL (may be repeated)
    #[arg(long = "external-ca", value_name = "CA")]
    external_cas: Vec<String>,
    /// Snapshots kept beside the newest one
    #[arg(long, value_name = "N")]
    max_snapshots: Option<u64>,
    /// Entries of the log between two snapshots
    #[arg(long, value_name = "N")]
    snapshot_interval: Option<u64>,
    /// Ended tasks kept for each place of a service
    #[arg(long, value_name = "N")]
    task_history_limit: Option<i64>,
}

impl ClusterSettings {
    /// Writes what is given into a specification of the API; whether anything was.
    pub fn apply(&self, spec: &mut Value) -> Result<bool> {
        let numbers = [
            ("/CAConfig/NodeCertExpiry", self.cert_expiry.map(Value::from)),
            ("/Dispatcher/HeartbeatPeriod", self.dispatcher_heartbeat.map(Value::from)),
            ("/Raft/KeepOldSnapshots", self.max_snapshots.map(Value::from)),
            ("/Raft/SnapshotInterval", self.snapshot_interval.map(Value::from)),
            ("/Orchestration/TaskHistoryRetentionLimit", self.task_history_limit.map(Value::from)),
        ];
        let mut changed = false;
        for (path, value) in numbers {
            changed |= value.is_some();
            set_some(spec, path, value);
        }
        if !self.external_cas.is_empty() {
            let all = self.external_cas.iter().map(|text| external_ca(text)).collect::<Result<Vec<_>>>()?;
            set(spec, "/CAConfig/ExternalCAs", all);
            changed = true;
        }
        Ok(changed)
    }
}

/// `protocol=cfssl,url=https://ca.example.org,cacert=FILE`; other keys are options of the service.
fn external_ca(text: &str) -> Result<Value> {
    let mut ca = json!({ "Options": {} });
    for pair in text.split(',') {
        let (key, value) = pair
            .split_once('=')
            .ok_or_else(|| CliError::flag(format!("invalid field '{pair}' must be a key=value pair")))?;
        match key.trim().to_lowercase().as_str() {
            "protocol" if value.eq_ignore_ascii_case("cfssl") => ca["Protocol"] = Value::from("cfssl"),
            "protocol" => return Err(CliError::flag(format!("unrecognized external CA protocol {value}"))),
            "url" => ca["URL"] = Value::from(value),
            "cacert" => {
                let path = Path::new(value);
                let text = std::fs::read_to_string(path).map_err(|error| CliError::file("read", path, &error))?;
                ca["CACert"] = Value::from(text);
            }
            key => ca["Options"][key] = Value::from(value),
        }
    }
    for (field, name) in [("Protocol", "protocol"), ("URL", "url")] {
        if ca[field].is_null() {
            return Err(CliError::flag(format!("the external-ca option needs a {name}= parameter")));
        }
    }
    Ok(ca)
}

#[derive(Debug, Args)]
pub struct UpdateArgs {
    #[command(flatten)]
    settings: ClusterSettings,
    /// Whether managers are locked after a restart
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    autolock: Option<bool>,
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
    /// Taken for the command of docker with this name, to say what it is called here
    #[arg(hide = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl UpdateArgs {
    fn change(&self, spec: &mut Value) -> Result<()> {
        let mut changed = self.settings.apply(spec)?;
        let fields = [
            ("/EncryptionConfig/AutoLockManagers", self.autolock.map(Value::from)),
            ("/Swarm/SpecHistoryLimit", self.spec_history_limit.map(Value::from)),
            ("/Swarm/Placement", self.placement.clone().map(Value::from)),
            ("/Swarm/Preemption", self.preemption.map(Value::from)),
            ("/Swarm/RebalanceMovesPerMinute", self.rebalance.map(Value::from)),
        ];
        for (path, value) in fields {
            changed |= value.is_some();
            set_some(spec, path, value);
        }
        match changed {
            true => Ok(()),
            false => Err(CliError::hinted("nothing to change was given", "\"swarm update --help\" lists the settings")),
        }
    }
}

pub async fn update(context: &Context, args: UpdateArgs) -> Result<()> {
    if let Some(container) = args.containers.first() {
        return Err(CliError::hinted(
            format!("swarm update changes the cluster, and takes no name such as {container}"),
            "a container is changed by \"swarm container update\", a service by \"swarm service update\"",
        ));
    }
    let client = context.client().await?;
    let mut swarm = client.get("/swarm").await?;
    args.change(&mut swarm["Spec"])?;
    let version = int(&swarm, "/Version/Index").to_string();
    client.post("/swarm/update", &[("version", Some(&version))], Some(&swarm["Spec"])).await?;
    write_out("Swarm updated.\n");
    match args.autolock {
        Some(true) => super::unlock::tell(&client).await,
        Some(false) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signing_service_is_told_by_its_parts() {
        let ca = external_ca("protocol=cfssl,url=https://ca.example.org,profile=node").expect("it is whole");
        assert_eq!(ca, json!({"Protocol": "cfssl", "URL": "https://ca.example.org", "Options": {"profile": "node"}}));
        for (text, words) in [
            ("url=x", "needs a protocol="),
            ("protocol=cfssl", "needs a url="),
            ("protocol=acme,url=x", "acme"),
            ("x", "'x'"),
        ] {
            let error = external_ca(text).expect_err(text);
            assert!(error.to_string().contains(words), "{error}");
            assert_eq!(error.code(), 125);
        }
    }
}
