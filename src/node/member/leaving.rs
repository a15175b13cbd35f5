//! How a node leaves: its place in the group first, then its tasks, then what it knew.

use super::ask::{ask_leader, unexpected};
use super::{Member, MemberError};
use std::time::Duration;
use swarm_core::model::NodeRole;
use tokio::time::timeout;
use wire::pb;
use wire::pb::control::{reply::Reply, request::Request};

/// All tasks are told to stop at once; the longest grace periods people give are about this.
const CLEARING: Duration = Duration::from_secs(120);

/// Until the others remember that this manager is gone: a round or two of log messages.
const REMOVAL: Duration = Duration::from_secs(10);

impl Member {
    /// Leaves. Without `force` nothing is done that the cluster would miss; with it this node goes even if
    /// nobody answers.
    pub async fn leave(self, force: bool) -> Result<(), (Box<Self>, MemberError)> {
        if let Some(manager) = &self.manager
            && !force
        {
            if self.wanted_role != NodeRole::Worker {
                let others = manager.writer().raft.members().await.len().saturating_sub(1);
                let consequence = match others {
                    0 => "this is the last manager, and all state of the swarm is lost with it".to_owned(),
                    others => format!("{others} other managers remain, and more than half must stay reachable"),
                };
                return Err((Box::new(self), MemberError::IsManager { consequence }));
            }
            // It was demoted, and goes out of the group by itself in a moment.
            manager.wait_removed(REMOVAL).await;
        }
        let alone = self.is_last_manager().await;
        if !alone {
            // With its session this node would be taken for ready, and given new tasks while it stops the old ones.
            self.agent.hold_sessions(true).await;
            let leave = Request::Leave(pb::control::LeaveCluster { force });
            let answer = match ask_leader(&self.endpoint, &self.managers, leave).await {
                Ok(Reply::Left(_)) => Ok(()),
                Ok(other) => Err(unexpected(other)),
                Err(error) => Err(error),
            };
            match answer {
                Ok(()) => {}
                Err(error) if force => {
                    tracing::warn!(error = %crate::error::chain(&error), "leaving without the managers' knowledge");
                }
                Err(error) => {
                    self.agent.hold_sessions(false).await;
                    return Err((Box::new(self), error));
                }
            }
        }
        if let Some(manager) = &self.manager
            && !alone
        {
            manager.wait_removed(REMOVAL).await;
        }
        if timeout(CLEARING, self.agent.clear()).await.is_err() {
            tracing::warn!("some tasks did not stop in time; they are removed at the next start");
        }
        self.gossip.leave().await;
        self.stop().await;
        Ok(())
    }

    async fn is_last_manager(&self) -> bool {
        match &self.manager {
            Some(manager) => {
                let members = manager.writer().raft.members().await;
                // A manager that failed knows of no members, and is not alone for that.
                let own = self.node();
                self.identity.peer().role == NodeRole::Manager && members.iter().map(|m| m.node).eq([own])
            }
            None => false,
        }
    }
}
