//! Messages of other members: who may say what, and nothing malformed reaches raft, which would panic.

use super::codec::{self, Frame};
use super::io::{Effects, Send, Stop};
use super::limits::{ASK_TICKS, MESSAGE_BYTES_MAX, STRANGERS_MAX};
use super::machine::Consensus;
use crate::ids::NodeId;
use bytes::Bytes;
use raft::eraftpb::{Message, MessageType};

/// Why a message is dropped; for the log only, a dropped message is a lost message.
fn malformed(message: &Message) -> Option<&'static str> {
    match message.get_msg_type() {
        MessageType::MsgAppend => {
            let consecutive = (message.index + 1..).zip(message.get_entries()).all(|(i, entry)| entry.index == i);
            (!consecutive).then_some("its entries are not consecutive")
        }
        MessageType::MsgReadIndex | MessageType::MsgReadIndexResp => {
            (message.get_entries().len() != 1).then_some("it has no read context")
        }
        MessageType::MsgSnapshot => {
            (message.get_snapshot().get_metadata().index == 0).then_some("its snapshot is empty")
        }
        // Forwarded proposals have no reply here, and leadership is handed over by the leader alone.
        MessageType::MsgPropose | MessageType::MsgTransferLeader => Some("only a node itself may ask this"),
        // Raft refuses the local ones itself, the others carry nothing that needs a check.
        MessageType::MsgHup
        | MessageType::MsgBeat
        | MessageType::MsgUnreachable
        | MessageType::MsgSnapStatus
        | MessageType::MsgCheckQuorum
        | MessageType::MsgAppendResponse
        | MessageType::MsgRequestVote
        | MessageType::MsgRequestVoteResponse
        | MessageType::MsgHeartbeat
        | MessageType::MsgHeartbeatResponse
        | MessageType::MsgTimeoutNow
        | MessageType::MsgRequestPreVote
        | MessageType::MsgRequestPreVoteResponse => None,
    }
}

impl Consensus {
    pub(super) fn on_message(&mut self, from: NodeId, bytes: &Bytes, out: &mut Effects) {
        if bytes.len() > MESSAGE_BYTES_MAX {
            tracing::warn!("raft: dropped a message of {} bytes from node {from}", bytes.len());
            return;
        }
        match codec::decode_frame(bytes) {
            Ok(Frame::Raft(message)) => self.on_raft_message(from, *message, out),
            Ok(Frame::Removed(raft_id)) => {
                if raft_id == self.raft_id && self.members.raft_id(from).is_some() {
                    self.stop(Stop::Removed, out);
                }
            }
            Ok(Frame::Asks(raft_id)) => self.answer_if_removed(raft_id, from, out),
            Ok(Frame::Left { raft_id, index, term }) => self.on_left(from, raft_id, (index, term), out),
            Err(error) => match codec::unknown_entry_in_frame(bytes) {
                Some((index, kind)) if self.believes(self.members.raft_id(from)) => {
                    self.stop(Stop::UnknownEntry { index, kind }, out);
                }
                Some(_) | None => tracing::warn!("raft: dropped a message from node {from}: {error}"),
            },
        }
    }

    fn on_raft_message(&mut self, from: NodeId, message: Message, out: &mut Effects) {
        // Another id was another period of membership: of this node ...
        if message.to != self.raft_id {
            return;
        }
        // ... or of the sender, which may not know that it ended.
        if self.members.was_removed(message.from) {
            self.answer_if_removed(message.from, from, out);
            return;
        }
        match self.members.node(message.from) {
            Some(node) if node != from => {
                tracing::warn!("raft: node {from} speaks as raft id {}, which is node {node}", message.from);
                return;
            }
            Some(_) => {}
            None => self.note_stranger(message.from, from),
        }
        if let Some(reason) = malformed(&message) {
            tracing::warn!("raft: dropped a message from node {from}: {reason}");
            return;
        }
        if self.contradicts_log(&message, out) || self.bad_snapshot(&message, out) {
            return;
        }
        self.heard.insert(message.from, self.now);
        if let Err(error) = self.raw.step(message) {
            tracing::trace!("raft: message from node {from} not taken: {error}");
        }
    }

    /// Only once this node would remember it: the one told goes away for good.
    pub(super) fn answer_if_removed(&self, raft_id: u64, to: NodeId, out: &mut Effects) {
        if self.members.was_removed(raft_id) && self.disk.knows_changes() {
            out.sends.push(Send { to, raft_id, bytes: codec::encode_removed(raft_id), snapshot: false });
        }
    }

    /// A member that hears no leader asks the others whether it still is one: a learner never asks for votes, so
    /// nobody would notice that it was removed while it was away.
    pub(super) fn ask_others(&self, out: &mut Effects) {
        let silent = !self.reachable(self.raw.raft.leader_id);
        if silent && self.tick.is_multiple_of(ASK_TICKS) {
            let others = self.members.iter().filter(|(raft_id, _)| *raft_id != self.raft_id);
            let bytes = codec::encode_asks(self.raft_id);
            let send = |(raft_id, to)| Send { to, raft_id, bytes: bytes.clone(), snapshot: false };
            out.sends.extend(others.map(send));
        }
    }

    /// Whether this node stops on the word of a sender, given by the raft id that is its own: a member's, or anyone's
    /// while it knows no member yet.
    fn believes(&self, member: Option<u64>) -> bool {
        self.members.is_empty() || member.is_some_and(|raft_id| self.members.node(raft_id).is_some())
    }

    fn note_stranger(&mut self, raft_id: u64, node: NodeId) {
        self.strangers.retain(|(id, _)| *id != raft_id);
        if self.strangers.len() == STRANGERS_MAX
            && let Some((gone, _)) = self.strangers.pop_front()
        {
            self.heard.remove(&gone);
        }
        self.strangers.push_back((raft_id, node));
    }

    /// The leader says that this node has acknowledged entries it does not have: its disk went back in time.
    /// Going on could lose acknowledged writes.
    fn contradicts_log(&mut self, message: &Message, out: &mut Effects) -> bool {
        let last = self.raw.raft.raft_log.last_index();
        let lost = message.get_msg_type() == MessageType::MsgHeartbeat
            && message.term >= self.raw.raft.term
            && message.commit > last;
        // A stranger's is dropped: raft would panic.
        if lost && self.believes(Some(message.from)) {
            self.stop(Stop::LostEntries { last, acknowledged: message.commit }, out);
        }
        lost
    }

    fn bad_snapshot(&mut self, message: &Message, out: &mut Effects) -> bool {
        if message.get_msg_type() != MessageType::MsgSnapshot {
            return false;
        }
        match codec::decode_transfer(&message.get_snapshot().data) {
            Ok(_) => false,
            Err(error) => {
                if self.believes(Some(message.from)) {
                    self.stop(Stop::BadSnapshot { reason: error.to_string() }, out);
                }
                true
            }
        }
    }

    pub(super) fn stop(&mut self, reason: Stop, out: &mut Effects) {
        self.stopped = true;
        out.stop = Some(reason);
    }
}
