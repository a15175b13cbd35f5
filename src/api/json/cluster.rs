//! The swarm's settings, both ways.

use super::container::nanos;
use super::fields::{Fields, strings};
use super::object::Object;
use super::time::rfc3339_ms;
use crate::error::ApiError;
use crate::ports::JoinTokens;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use swarm_core::model::{Cluster, ClusterCa, ClusterSpec, TASK_HISTORY_LIMIT_MAX};

/// Raft ticks in units of which Docker's spec speaks; ours are not set by users.
const ELECTION_TICK: u64 = 10;
const HEARTBEAT_TICK: u64 = 1;
/// Snapshots kept beside the newest.
const KEPT_SNAPSHOTS: u64 = 0;

/// Lays what API `SwarmSpec` says over `spec`; what is absent or zero stays, as Docker has it.
pub fn merge_cluster_spec(mut object: Object, mut spec: ClusterSpec) -> Result<ClusterSpec, ApiError> {
    if let Some(name) = object.opt_string("Name")?.filter(|name| !name.is_empty()) {
        spec.name = name;
    }
    if let Some(labels) = object.opt_map("Labels")? {
        spec.labels = labels;
    }
    if let Some(mut orchestration) = object.object("Orchestration")? {
        if let Some(limit) = orchestration.opt_i64("TaskHistoryRetentionLimit")? {
            spec.task_history_limit = task_history_limit(limit)?;
        }
        orchestration.finish()?;
    }
    if let Some(raft) = object.object("Raft")? {
        merge_raft(raft, &spec)?;
    }
    if let Some(mut dispatcher) = object.object("Dispatcher")? {
        if let Some(period) = dispatcher.duration("HeartbeatPeriod")?.filter(|period| !period.is_zero()) {
            spec.heartbeat_period = period;
        }
        dispatcher.finish()?;
    }
    if let Some(mut ca) = object.object("CAConfig")? {
        if let Some(expiry) = ca.duration("NodeCertExpiry")?.filter(|expiry| !expiry.is_zero()) {
            spec.node_cert_expiry = expiry;
        }
        ca.finish()?;
    }
    if let Some(defaults) = object.object("TaskDefaults")? {
        defaults.finish()?;
    }
    if let Some(mut encryption) = object.object("EncryptionConfig")? {
        spec.autolock = encryption.bool("AutoLockManagers")?;
        encryption.finish()?;
    }
    if let Some(extension) = object.object("Swarm")? {
        merge_extension(extension, &mut spec)?;
    }
    object.finish()?;
    Ok(spec)
}

/// The Engine API (v1.55, `SwarmSpec.Orchestration`) keeps the tasks of a negative number for ever: that is refused.
fn task_history_limit(limit: i64) -> Result<u32, ApiError> {
    let most = i64::from(TASK_HISTORY_LIMIT_MAX);
    let fits = u32::try_from(limit).ok().filter(|_| limit <= most);
    fits.ok_or_else(|| {
        let what = if limit < 0 { "to keep all ended tasks" } else { "so many" };
        ApiError::bad(format!(
            "Orchestration.TaskHistoryRetentionLimit: {limit} is refused: {what} would fill the memory of every manager \
             when tasks crash again and again; use 0 to {most}"
        ))
    })
}

/// Beyond the API.
fn merge_extension(mut object: Object, spec: &mut ClusterSpec) -> Result<(), ApiError> {
    if let Some(limit) = object.opt_u64("SpecHistoryLimit")? {
        let place = object.path("SpecHistoryLimit");
        spec.spec_history_limit = u32::try_from(limit).map_err(|_| ApiError::bad(format!("{place}: too large")))?;
    }
    match object.opt_string("Placement")?.as_deref() {
        None | Some("") => {}
        Some("spread") => spec.binpack = false,
        Some("binpack") => spec.binpack = true,
        Some(other) => {
            let place = object.path("Placement");
            return Err(ApiError::bad(format!("{place}: \"{other}\" is neither spread nor binpack")));
        }
    }
    if let Some(preemption) = object.opt_bool("Preemption")? {
        spec.preemption = preemption;
    }
    if let Some(moves) = object.opt_u64("RebalanceMovesPerMinute")? {
        let place = object.path("RebalanceMovesPerMinute");
        spec.rebalance_moves_per_minute =
            u32::try_from(moves).map_err(|_| ApiError::bad(format!("{place}: too large")))?;
    }
    object.finish()
}

/// The managers choose these themselves: anything else is refused, not taken and forgotten.
fn merge_raft(mut raft: Object, spec: &ClusterSpec) -> Result<(), ApiError> {
    let only = [
        ("SnapshotInterval", spec.snapshot_interval),
        ("LogEntriesForSlowFollowers", spec.log_entries_for_slow_followers),
        ("ElectionTick", ELECTION_TICK),
        ("HeartbeatTick", HEARTBEAT_TICK),
        ("KeepOldSnapshots", KEPT_SNAPSHOTS),
    ];
    for (name, only) in only {
        if let Some(other) = raft.opt_u64(name)?.filter(|number| *number != 0 && *number != only) {
            return Err(ApiError::bad(format!("{}: {other} is not supported, it is {only}", raft.path(name))));
        }
    }
    raft.finish()
}

/// API `SwarmSpec`.
pub fn write_cluster_spec(spec: &ClusterSpec) -> Value {
    Fields::new()
        .set("Name", spec.name.as_str())
        .set("Labels", strings(&spec.labels))
        .set("Orchestration", json!({ "TaskHistoryRetentionLimit": spec.task_history_limit }))
        .set("Raft", write_raft(spec))
        .set("Dispatcher", json!({ "HeartbeatPeriod": nanos(spec.heartbeat_period) }))
        .set("CAConfig", json!({ "NodeCertExpiry": nanos(spec.node_cert_expiry) }))
        .set("TaskDefaults", json!({}))
        .set("EncryptionConfig", json!({ "AutoLockManagers": spec.autolock }))
        .set("Swarm", write_extension(spec))
        .into()
}

fn write_extension(spec: &ClusterSpec) -> Value {
    json!({
        "SpecHistoryLimit": spec.spec_history_limit,
        "Placement": if spec.binpack { "binpack" } else { "spread" },
        "Preemption": spec.preemption,
        "RebalanceMovesPerMinute": spec.rebalance_moves_per_minute,
    })
}

fn write_raft(spec: &ClusterSpec) -> Value {
    json!({
        "SnapshotInterval": spec.snapshot_interval,
        "KeepOldSnapshots": KEPT_SNAPSHOTS,
        "LogEntriesForSlowFollowers": spec.log_entries_for_slow_followers,
        "ElectionTick": ELECTION_TICK,
        "HeartbeatTick": HEARTBEAT_TICK,
    })
}

/// API `TLSInfo`. Clients compare that of a node with that of the cluster.
pub(super) fn write_tls(ca: &ClusterCa) -> Fields {
    Fields::new().set("TrustRoot", pem(&ca.certificate_der))
}

/// API `ClusterInfo`: no tokens.
pub fn cluster_info(cluster: &Cluster) -> Fields {
    let pools: Vec<_> = cluster.spec.address_pools.iter().map(ToString::to_string).collect();
    Fields::new()
        .set("ID", cluster.id.to_string())
        .set("Version", json!({ "Index": cluster.meta.version }))
        .set("CreatedAt", rfc3339_ms(cluster.meta.created.wall))
        .set("UpdatedAt", rfc3339_ms(cluster.meta.updated.wall))
        .set("Spec", write_cluster_spec(&cluster.spec))
        .set("TLSInfo", write_tls(&cluster.ca))
        .set("RootRotationInProgress", false)
        .set("DefaultAddrPool", pools)
        .set("SubnetSize", cluster.spec.subnet_size)
        .set("DataPathPort", cluster.spec.data_path_port)
}

/// API `Swarm`: for managers, with the join tokens.
pub fn write_cluster(cluster: &Cluster, tokens: &JoinTokens) -> Fields {
    let tokens = json!({ "Worker": tokens.worker.expose(), "Manager": tokens.manager.expose() });
    cluster_info(cluster).set("JoinTokens", tokens)
}

/// A certificate in PEM (RFC 7468).
pub fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut out = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in text.as_bytes().chunks(64) {
        // Base64 is ASCII: every chunk is whole characters.
        out.push_str(&String::from_utf8_lossy(line));
        out.push('\n');
    }
    out.push_str("-----END CERTIFICATE-----\n");
    out
}
