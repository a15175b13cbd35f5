//! The leader's part in the rotation of the gossip keys: each step in its time. The first is taken where a node goes.

use super::leader::LeaderParts;
use swarm_core::store::{Txn, View};
use swarm_core::trust::continue_gossip_rotation;

/// Takes the next step if it is due.
pub async fn go_on(term: u64, parts: &LeaderParts, view: &View) {
    let wall = parts.clock.wall();
    let Some((precondition, change)) = continue_gossip_rotation(view, wall) else { return };
    let txn = Txn { term: Some(term), wall, preconditions: vec![precondition], changes: vec![change] };
    match parts.writer.propose(&txn).await {
        Ok(_) => tracing::info!(term, "the gossip keys are one step further"),
        Err(error) => tracing::debug!(%error, "the gossip keys are not changed yet"),
    }
}
