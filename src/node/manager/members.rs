//! The leader's care for the group of managers: learners that have caught up become voters, managers that
//! were demoted or removed leave the group, and the store says who is in it.

use super::leader::LeaderParts;
use super::raft::Member;
use std::time::Duration;
use swarm_core::model::{NodeRole, RaftMember};
use swarm_core::store::{Change, Txn, View};
use tokio::time::sleep;

/// Between looks: membership changes are rare and never urgent.
const LOOK: Duration = Duration::from_millis(250);

/// Runs until the term ends.
pub async fn run(term: u64, parts: LeaderParts) {
    loop {
        let view = parts.writer.feed.view();
        if view.cluster().is_some() {
            for member in parts.writer.raft.members().await {
                step(term, &parts, &view, &member).await;
            }
            correct(term, &parts, &view).await;
        }
        sleep(LOOK).await;
    }
}

async fn step(term: u64, parts: &LeaderParts, view: &View, member: &Member) {
    let wanted = view.node(member.node).is_some_and(|node| node.spec.role == NodeRole::Manager);
    let result = if !wanted {
        parts.writer.raft.remove(member.raft_id).await
    } else if !member.voter {
        // Waits until the learner has caught up, which others need not wait for.
        parts.writer.raft.promote(member.raft_id).await
    } else {
        return;
    };
    match result {
        Ok(()) => tracing::info!(node = %member.node, raft_id = member.raft_id, wanted, term, "managers changed"),
        Err(reason) => tracing::debug!(node = %member.node, reason, "managers are not changed yet"),
    }
}

/// Writes into the nodes what the group is.
async fn correct(term: u64, parts: &LeaderParts, view: &View) {
    let members = parts.writer.raft.members().await;
    let changes: Vec<Change> = view
        .nodes()
        .filter_map(|node| {
            let member = members.iter().find(|member| member.node == node.id);
            let raft = member.map(|member| RaftMember { raft_id: member.raft_id, voter: member.voter });
            (node.raft != raft).then_some(Change::NodeRaft { node: node.id, raft })
        })
        .collect();
    if changes.is_empty() {
        return;
    }
    let txn = Txn { term: Some(term), wall: parts.clock.wall(), preconditions: Vec::new(), changes };
    if let Err(error) = parts.writer.propose(&txn).await {
        tracing::debug!(%error, "the state of managers was not written");
    }
}
