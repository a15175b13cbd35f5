//! A voter that was removed stays until the others know it.
//!
//! Raft-rs lets a membership change take effect when it is applied, not when it is appended. Until then the others
//! count the removed member's vote; if it went at once, and the one who told it died, they could lack a majority for
//! ever. So it tells them that the change is committed, and goes when a majority of those that are left has answered
//! (their answer means that they would remember it over a crash).

use super::codec::{self, Frame};
use super::io::{Dropped, Effects, Input, Outcome, ReadOutcome, Send, Stop};
use super::limits::{LEAVE_TELL_TICKS, LEAVE_TICKS};
use super::machine::Consensus;
use crate::ids::NodeId;
use bytes::Bytes;
use raft::StateRole;
use std::collections::BTreeSet;

#[derive(Debug)]
pub(super) struct Leaving {
    /// Of the entry that removed this member.
    index: u64,
    term: u64,
    since_tick: u64,
    /// Voters that have answered.
    know: BTreeSet<u64>,
}

impl Consensus {
    /// This member has applied its own removal. From here on raft itself is not used any more.
    pub(super) fn leave(&mut self, index: u64, term: u64, out: &mut Effects) {
        self.leaving = Some(Leaving { index, term, since_tick: self.tick, know: BTreeSet::new() });
        let not_leader = || Outcome::Dropped(Dropped::NotLeader { leader: None });
        let pending = std::mem::take(&mut self.pending);
        out.replies.extend(pending.into_values().map(|(_, id)| (id, Outcome::Unknown)));
        out.replies.extend(self.changes.drain(..).map(|waiting| (waiting.id, not_leader())));
        self.reads.end(&mut out.reads);
        self.tell_others(out);
    }

    /// What is left to do of an input while leaving.
    pub(super) fn input_while_leaving(&mut self, input: Input, out: &mut Effects) {
        let not_leader = || Outcome::Dropped(Dropped::NotLeader { leader: None });
        match input {
            Input::Tick => self.tick_while_leaving(out),
            Input::Message { from, bytes } => self.message_while_leaving(from, &bytes, out),
            Input::Propose(proposals) => out.replies.extend(proposals.iter().map(|p| (p.id, not_leader()))),
            Input::ProposeChange { id, .. } => out.replies.push((id, not_leader())),
            Input::ReadIndex { id, .. } => out.reads.push((id, ReadOutcome::TimedOut)),
            Input::Persisted { number } => self.disk.note_persisted(number),
            Input::SnapshotStored { .. }
            | Input::SnapshotFailed { .. }
            | Input::Campaign
            | Input::TransferLeader { .. }
            | Input::Unreachable { .. }
            | Input::SnapshotSent { .. } => {}
        }
    }

    fn tick_while_leaving(&mut self, out: &mut Effects) {
        self.tick += 1;
        let waited = self.leaving.as_ref().map_or(0, |leaving| self.tick - leaving.since_tick);
        if waited >= LEAVE_TICKS {
            tracing::warn!("raft: leaving although no majority of the other managers has answered");
            self.stop(Stop::Removed, out);
        } else if waited.is_multiple_of(LEAVE_TELL_TICKS) {
            self.tell_others(out);
        }
    }

    fn tell_others(&self, out: &mut Effects) {
        let Some(leaving) = &self.leaving else { return };
        let bytes = codec::encode_left(self.raft_id, leaving.index, leaving.term);
        for raft_id in self.conf_state.voters.iter().copied().filter(|id| !leaving.know.contains(id)) {
            if let Some(to) = self.members.node(raft_id) {
                out.sends.push(Send { to, raft_id, bytes: bytes.clone(), snapshot: false });
            }
        }
    }

    fn message_while_leaving(&mut self, from: NodeId, bytes: &Bytes, out: &mut Effects) {
        let voters = &self.conf_state.voters;
        let voter = self.members.raft_id(from).filter(|id| voters.contains(id));
        let Some(leaving) = &mut self.leaving else { return };
        match (codec::decode_frame(bytes), voter) {
            (Ok(Frame::Removed(raft_id)), Some(voter)) if raft_id == self.raft_id => {
                leaving.know.insert(voter);
                if leaving.know.len() > voters.len() / 2 {
                    self.stop(Stop::Removed, out);
                }
            }
            // Whoever asks for a vote or looks for its leader does not know yet.
            (Ok(Frame::Raft(_) | Frame::Asks(_)), Some(raft_id)) => {
                let bytes = codec::encode_left(self.raft_id, leaving.index, leaving.term);
                out.sends.push(Send { to: from, raft_id, bytes, snapshot: false });
            }
            (Ok(Frame::Removed(_) | Frame::Left { .. } | Frame::Raft(_) | Frame::Asks(_)) | Err(_), _) => {}
        }
    }

    /// A member that leaves says that the entry which removed it is committed: true for whoever has that entry.
    pub(super) fn on_left(&mut self, from: NodeId, raft_id: u64, (index, term): (u64, u64), out: &mut Effects) {
        if self.members.was_removed(raft_id) {
            self.answer_if_removed(raft_id, from, out);
            return;
        }
        if self.members.node(raft_id) != Some(from) || self.leads() {
            return;
        }
        let raft = &mut self.raw.raft;
        if raft.raft_log.maybe_commit(index, term) && raft.state != StateRole::Follower {
            // The quorum changes under the election; as raft-rs does when a vote tells of a commit.
            let term = raft.term;
            raft.become_follower(term, raft::INVALID_ID);
        }
    }
}
