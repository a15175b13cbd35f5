//! The leader's care for the group of managers: learners that have caught up become voters, managers that
//! were demoted or removed leave the group, and the store says who is in it.

use super::keys;
use super::leader::LeaderParts;
use super::raft::Member;
use std::collections::BTreeSet;
use std::time::Duration;
use swarm_core::model::{NodeRole, RaftMember};
use swarm_core::store::{Change, Txn, View};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Between looks: membership changes are rare and never urgent.
const LOOK: Duration = Duration::from_millis(250);

/// Runs until the term ends.
pub async fn run(term: u64, parts: LeaderParts) {
    // One task per member that is being changed: a learner that never catches up holds nobody else up. They end
    // with this future.
    let (mut changes, mut changing) = (JoinSet::new(), BTreeSet::new());
    loop {
        let view = parts.writer.feed.view();
        if view.cluster().is_some() {
            for member in parts.writer.raft.members().await {
                let wanted = wanted(&view, &member);
                if (!wanted || !member.voter) && changing.insert(member.raft_id) {
                    changes.spawn(step(term, parts.clone(), member, wanted));
                }
            }
            correct(term, &parts, &view).await;
            keys::go_on(term, &parts, &view).await;
        }
        sleep(LOOK).await;
        while let Some(ended) = changes.try_join_next() {
            match ended {
                Ok(raft_id) => drop(changing.remove(&raft_id)),
                Err(error) => {
                    tracing::error!(%error, term, "a change of the managers failed");
                    return;
                }
            }
        }
    }
}

fn wanted(view: &View, member: &Member) -> bool {
    view.node(member.node).is_some_and(|node| node.spec.role == NodeRole::Manager)
}

async fn step(term: u64, parts: LeaderParts, member: Member, wanted: bool) -> u64 {
    let result = if !wanted {
        parts.writer.raft.remove(member.raft_id).await
    } else {
        // Waits until the learner has caught up, or is not wanted any more: then it is removed.
        tokio::select! {
            promoted = parts.writer.raft.promote(member.raft_id) => promoted,
            () = unwanted(&parts, &member) => Err("it is not to be a manager any more".to_owned()),
        }
    };
    match result {
        Ok(()) => tracing::info!(node = %member.node, raft_id = member.raft_id, wanted, term, "managers changed"),
        Err(reason) => tracing::debug!(node = %member.node, reason, "managers are not changed yet"),
    }
    member.raft_id
}

async fn unwanted(parts: &LeaderParts, member: &Member) {
    let mut views = parts.writer.feed.views.clone();
    // An error means that the log has ended, and the promotion with it.
    let _ = views.wait_for(|view| !wanted(view, member)).await;
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
