//! The leader's autoscaler: hears what nodes tell of their tasks, and writes how many replicas services should have.

use super::leader::LeaderParts;
use std::sync::Arc;
use swarm_core::NodeId;
use swarm_core::autoscale::{Autoscaler, Effects, Input, LOOK_EVERY, Loads, Sampling};
use swarm_core::leader::TXN_CHANGES_MAX;
use swarm_core::store::Txn;
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};

/// Runs until the term ends.
pub async fn run(
    term: u64,
    parts: LeaderParts,
    mut told: mpsc::Receiver<(NodeId, Loads)>,
    sampling: watch::Sender<Arc<Sampling>>,
) {
    let mut scaler = Autoscaler::new();
    let mut due = interval(LOOK_EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let input = tokio::select! {
            Some((node, loads)) = told.recv() => Input::Loads { node, loads },
            _ = due.tick() => Input::Look(parts.writer.feed.view()),
        };
        let mut out = Effects::default();
        scaler.input(parts.clock.mono(), parts.clock.wall(), input, &mut out);
        if let Some(wanted) = out.sampling {
            sampling.send_replace(wanted);
        }
        for (service, reason) in out.decided {
            tracing::info!(service, reason, "a service is scaled");
        }
        for changes in out.changes.chunks(TXN_CHANGES_MAX) {
            let (wall, changes) = (parts.clock.wall(), changes.to_vec());
            let txn = Txn { term: Some(term), wall, preconditions: Vec::new(), changes };
            // What is not written is decided anew, on what is there then.
            if let Err(error) = parts.writer.propose(&txn).await {
                tracing::debug!(%error, term, "a decision of the autoscaler was not written");
                break;
            }
        }
    }
}
