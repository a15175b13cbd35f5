//! Membership (Raft thesis 4): one change at a time, learners first, and never one that costs the quorum.

use super::io::{Change, Dropped, Effects, Outcome, Refusal, RequestId, Stop, Waiting};
use super::limits::{MEMBERS_MAX, PENDING_CHANGES_MAX, PROMOTE_LAG_ENTRIES_MAX};
use super::machine::Consensus;
use crate::ids::NodeId;
use crate::time::Mono;
use raft::eraftpb::{ConfChange, ConfChangeType};

#[derive(Debug)]
pub(super) struct WaitingChange {
    pub id: RequestId,
    change: Change,
    deadline: Mono,
}

/// What to do with a change now.
enum Verdict {
    Propose,
    Wait(Waiting),
    Drop(Dropped),
}

impl Consensus {
    pub(super) fn on_change(&mut self, id: RequestId, change: Change, deadline: Mono, out: &mut Effects) {
        if self.changes.len() >= PENDING_CHANGES_MAX {
            out.replies.push((id, Outcome::Dropped(Dropped::Overloaded)));
            return;
        }
        self.changes.push_back(WaitingChange { id, change, deadline });
    }

    /// Proposes the first waiting change that can go, and ends those that never will. True if one was proposed.
    pub(super) fn run_changes(&mut self, out: &mut Effects) -> bool {
        let mut waiting = std::mem::take(&mut self.changes);
        let mut proposed = false;
        waiting.retain(|item| {
            let verdict = if proposed { Verdict::Wait(Waiting::EarlierChange) } else { self.judge(item.change) };
            match verdict {
                Verdict::Propose => {
                    proposed = self.propose_change(item, out);
                    false
                }
                Verdict::Wait(waiting) if self.now >= item.deadline => {
                    out.replies.push((item.id, Outcome::Dropped(Dropped::TimedOut(waiting))));
                    false
                }
                Verdict::Wait(_) => true,
                Verdict::Drop(dropped) => {
                    out.replies.push((item.id, Outcome::Dropped(dropped)));
                    false
                }
            }
        });
        self.changes = waiting;
        proposed
    }

    fn judge(&mut self, change: Change) -> Verdict {
        if !self.leads() {
            return Verdict::Drop(Dropped::NotLeader { leader: self.leader_node() });
        }
        // Also true while a new leader has not applied the entries of its predecessors.
        if self.raw.raft.has_pending_conf() || self.applied_term != self.raw.raft.term {
            return Verdict::Wait(Waiting::EarlierChange);
        }
        let verdict = match change {
            Change::AddLearner { raft_id, node } => self.judge_add(raft_id, node),
            Change::Promote { raft_id } => self.judge_promote(raft_id),
            Change::Remove { raft_id } => self.judge_remove(raft_id),
        };
        verdict.unwrap_or_else(|refusal| Verdict::Drop(Dropped::Refused(refusal)))
    }

    fn judge_add(&self, raft_id: u64, node: NodeId) -> Result<Verdict, Refusal> {
        if let Some(raft_id) = self.members.raft_id(node) {
            return Err(Refusal::AlreadyMember { raft_id });
        }
        if raft_id == raft::INVALID_ID || self.members.node(raft_id).is_some() || self.members.was_removed(raft_id) {
            return Err(Refusal::IdUsed { raft_id });
        }
        if self.members.len() >= MEMBERS_MAX {
            return Err(Refusal::TooMany { max: MEMBERS_MAX });
        }
        Ok(Verdict::Propose)
    }

    fn judge_promote(&self, raft_id: u64) -> Result<Verdict, Refusal> {
        if self.conf_state.voters.contains(&raft_id) {
            return Err(Refusal::AlreadyMember { raft_id });
        }
        let progress = self.raw.raft.prs().get(raft_id).ok_or(Refusal::NoMember { raft_id })?;
        if !self.reachable(raft_id) || progress.matched == 0 {
            return Ok(Verdict::Wait(Waiting::Unreached));
        }
        let behind = self.raw.raft.raft_log.committed.saturating_sub(progress.matched);
        if behind > PROMOTE_LAG_ENTRIES_MAX {
            return Ok(Verdict::Wait(Waiting::CatchUp { behind }));
        }
        Ok(Verdict::Propose)
    }

    fn judge_remove(&mut self, raft_id: u64) -> Result<Verdict, Refusal> {
        if self.members.node(raft_id).is_none() {
            return Err(Refusal::NoMember { raft_id });
        }
        if !self.conf_state.voters.contains(&raft_id) {
            return Ok(Verdict::Propose);
        }
        let left: Vec<u64> = self.conf_state.voters.iter().copied().filter(|id| *id != raft_id).collect();
        if left.is_empty() {
            return Err(Refusal::LastVoter);
        }
        let (voters, needed) = (left.len(), left.len() / 2 + 1);
        let reachable = left.iter().filter(|id| self.reachable(**id)).count();
        if reachable < needed {
            return Err(Refusal::QuorumLost { reachable, voters, needed });
        }
        if raft_id != self.raft_id {
            return Ok(Verdict::Propose);
        }
        // A leader that removes itself would leave the others to an election: hand over, the next leader does it.
        let next = self.best_voter();
        if let Some(next) = next {
            self.raw.transfer_leader(next);
        }
        Ok(Verdict::Drop(Dropped::NotLeader { leader: next.and_then(|id| self.members.node(id)) }))
    }

    fn propose_change(&mut self, item: &WaitingChange, out: &mut Effects) -> bool {
        let mut change = ConfChange::default();
        let (kind, raft_id) = match item.change {
            Change::AddLearner { raft_id, node } => {
                change.context = node.to_bytes().to_vec().into();
                (ConfChangeType::AddLearnerNode, raft_id)
            }
            Change::Promote { raft_id } => (ConfChangeType::AddNode, raft_id),
            Change::Remove { raft_id } => (ConfChangeType::RemoveNode, raft_id),
        };
        change.set_change_type(kind);
        change.node_id = raft_id;
        let index = self.raw.raft.raft_log.last_index() + 1;
        match self.raw.propose_conf_change(Vec::new(), change) {
            Ok(()) => {
                self.pending.insert(index, (self.raw.raft.term, item.id));
                true
            }
            Err(error) => {
                tracing::debug!("raft: membership change refused: {error}");
                out.replies.push((item.id, Outcome::Dropped(Dropped::Overloaded)));
                false
            }
        }
    }

    /// A committed change takes effect, on every member at the same index.
    pub(super) fn apply_change(
        &mut self,
        (index, term): (u64, u64),
        change: &ConfChange,
        out: &mut Effects,
    ) -> Result<(), Stop> {
        let voted = self.conf_state.voters.contains(&self.raft_id);
        let bad = |reason: String| Stop::BadEntry { index, reason };
        let raft_id = change.node_id;
        match change.get_change_type() {
            ConfChangeType::AddLearnerNode => {
                let node = NodeId::from_bytes(&change.context)
                    .ok_or_else(|| bad(format!("member {raft_id} has no node id")))?;
                self.members.insert(raft_id, node);
                self.strangers.retain(|(id, _)| *id != raft_id);
            }
            ConfChangeType::AddNode => {
                if self.members.node(raft_id).is_none() {
                    return Err(bad(format!("member {raft_id} gets a vote and was never added")));
                }
            }
            ConfChangeType::RemoveNode => {
                self.members.remove(raft_id);
                self.heard.remove(&raft_id);
            }
        }
        self.conf_state = self.raw.apply_conf_change(change).map_err(|error| bad(error.to_string()))?;
        out.members = Some(self.members.clone());
        if self.members.node(self.raft_id).is_some() {
            return Ok(());
        }
        if !voted {
            return Err(Stop::Removed);
        }
        self.leave(index, term, out);
        Ok(())
    }
}
