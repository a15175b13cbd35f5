//! A cluster's settings, at init as at update.

use super::{Refusal, invalid, labels};
use crate::model::ClusterSpec;
use std::time::Duration;

/// Shortest life of a node certificate (as swarmkit's; the API's text gives none).
const CERT_EXPIRY_MIN: Duration = Duration::from_secs(3600);
/// Shortest period of heartbeats: below it, sessions cost more than they tell.
const HEARTBEAT_MIN: Duration = Duration::from_millis(100);
/// Longest period of heartbeats: beyond it, a lost node is noticed too late to be of use.
const HEARTBEAT_MAX: Duration = Duration::from_secs(60);
/// Fewest entries between snapshots.
const SNAPSHOT_INTERVAL_MIN: u64 = 1;

pub fn cluster(spec: &ClusterSpec) -> Result<(), Refusal> {
    labels("Labels", &spec.labels)?;
    if spec.node_cert_expiry < CERT_EXPIRY_MIN {
        return invalid("CAConfig.NodeCertExpiry: minimum certificate expiry time is: 1h0m0s");
    }
    if spec.heartbeat_period < HEARTBEAT_MIN || spec.heartbeat_period > HEARTBEAT_MAX {
        return invalid("Dispatcher.HeartbeatPeriod: must be 100ms to 60s");
    }
    if spec.snapshot_interval < SNAPSHOT_INTERVAL_MIN {
        return invalid(format!("Raft.SnapshotInterval: must be at least {SNAPSHOT_INTERVAL_MIN}"));
    }
    Ok(())
}
