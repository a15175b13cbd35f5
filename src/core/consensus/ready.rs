//! What raft wants done: to the disk, to others, to the state machine; in an order that never promises what the disk
//! does not have yet (Raft thesis 10.2.1: only a leader's appends may run ahead of its own disk).

use super::codec;
use super::io::{Apply, Dropped, Effects, LogRecord, Outcome, Persist, Send, Stop, StoredSnapshot};
use super::machine::Consensus;
use super::members::Members;
use bytes::Bytes;
use protobuf::Message as _;
use raft::Ready;
use raft::eraftpb::{ConfChange, ConfState, Entry, EntryType, HardState, Message, MessageType};
use std::collections::VecDeque;

/// A snapshot of the leader on its way through the disk.
#[derive(Debug)]
struct Restore {
    number: u64,
    index: u64,
    term: u64,
    conf_state: ConfState,
    members: Members,
    state: Bytes,
}

/// What waits for the disk.
#[derive(Debug, Default)]
pub(super) struct Disk {
    /// Number of the last batch handed out, and of the last one reported.
    handed: u64,
    persisted: u64,
    /// Tick at which the oldest batch not yet reported was handed out.
    since_tick: u64,
    /// Index of the last membership change in the log, and the commit index last handed out. A restart must not
    /// forget that a change is committed: the member it removed is gone and cannot help to find out.
    change_index: u64,
    commit: u64,
    /// The batch that says so; a removed member is told to go only when it is on disk.
    barrier: u64,
    messages: VecDeque<(u64, Vec<Message>)>,
    restores: VecDeque<Restore>,
}

impl Disk {
    /// With what storage held: the commit index and the log's last membership change.
    pub fn holding(commit: u64, change_index: u64) -> Self {
        Self { commit, change_index, ..Self::default() }
    }

    pub fn busy(&self) -> bool {
        self.handed > self.persisted
    }

    /// How long the disk has not answered; `None` when it has nothing to do.
    pub fn waiting_ticks(&self, tick: u64) -> Option<u64> {
        self.busy().then(|| tick.saturating_sub(self.since_tick))
    }

    /// That the membership changes applied so far are committed would survive a crash.
    pub fn knows_changes(&self) -> bool {
        self.persisted >= self.barrier
    }

    /// A batch has reached the disk while raft is not to be told.
    pub fn note_persisted(&mut self, number: u64) {
        self.persisted = self.persisted.max(number.min(self.handed));
    }

    /// A snapshot has replaced the log and not reached the state machine yet.
    pub fn restoring(&self) -> bool {
        !self.restores.is_empty()
    }
}

/// Index of the last membership change among entries.
pub(super) fn last_change<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Option<u64> {
    let is_change = |entry: &&Entry| entry.get_entry_type() != EntryType::EntryNormal;
    entries.into_iter().filter(is_change).map(|entry| entry.index).last()
}

impl Consensus {
    /// Handles everything raft has ready.
    pub(super) fn drain(&mut self, out: &mut Effects) {
        while !self.stopped && self.leaving.is_none() && self.raw.has_ready() {
            let mut ready = self.raw.ready();
            for state in ready.take_read_states() {
                self.reads.confirm(&state.request_ctx, state.index);
            }
            let at_once = ready.take_messages();
            let after_disk = ready.take_persisted_messages();
            self.hand_to_disk(&mut ready, out);
            self.send(at_once, out);
            self.send_after_disk(after_disk, out);
            let committed = ready.take_committed_entries();
            let number = ready.number();
            self.raw.advance_append_async(ready);
            if !self.disk.busy() {
                self.raw.on_persist_ready(number);
            }
            self.apply(committed, out);
        }
    }

    fn hand_to_disk(&mut self, ready: &mut Ready, out: &mut Effects) {
        let commit = self.raw.raft.raft_log.committed;
        let commits_change = (self.disk.commit + 1..=commit).contains(&self.disk.change_index);
        // Any other new commit index alone is not worth a write: it is learned again, and goes with the next batch.
        if !ready.must_sync() && !commits_change {
            return;
        }
        let number = ready.number();
        let snapshot = self.take_over_snapshot(ready);
        let entries = ready.take_entries();
        self.raw.mut_store().append(&entries);
        self.disk.change_index = last_change(&entries).unwrap_or(self.disk.change_index);
        self.disk.commit = commit;
        if commits_change {
            self.disk.barrier = number;
        }
        let raft = &self.raw.raft;
        let hard = HardState { term: raft.term, vote: raft.vote, commit, ..Default::default() };
        let record = |entry: &Entry| LogRecord { index: entry.index, bytes: codec::encode_entry(entry) };
        let batch = Persist {
            number,
            hard_state: codec::encode_hard(&hard),
            snapshot,
            append: entries.iter().map(record).collect(),
        };
        if !self.disk.busy() {
            self.disk.since_tick = self.tick;
        }
        self.disk.handed = number;
        match &mut out.persist {
            Some(earlier) => earlier.merge(batch),
            none @ None => *none = Some(batch),
        }
    }

    /// A snapshot of the leader replaces the log now and the state machine once it is on disk.
    fn take_over_snapshot(&mut self, ready: &Ready) -> Option<StoredSnapshot> {
        let snapshot = ready.snapshot();
        if snapshot.is_empty() {
            return None;
        }
        let (index, term) = (snapshot.get_metadata().index, snapshot.get_metadata().term);
        let conf_state = snapshot.get_metadata().get_conf_state().clone();
        let decoded = codec::decode_transfer(&snapshot.data);
        assert!(decoded.is_ok(), "a snapshot is checked before raft sees it: {decoded:?}");
        let (members, state) = decoded.unwrap_or_default();
        self.raw.mut_store().reset(index, term);
        let meta = codec::Meta { index, term, conf_state: conf_state.clone(), members: members.clone() };
        let stored = StoredSnapshot {
            index,
            meta: codec::encode_meta(&meta),
            state: state.clone(),
            floor: codec::encode_floor(index, term),
        };
        let number = ready.number();
        self.disk.restores.push_back(Restore { number, index, term, conf_state, members, state });
        Some(stored)
    }

    pub(super) fn on_persisted(&mut self, number: u64, out: &mut Effects) {
        if number <= self.disk.persisted || number > self.disk.handed {
            return;
        }
        self.disk.persisted = number;
        self.disk.since_tick = self.tick;
        self.raw.on_persist_ready(number);
        while let Some((_, messages)) = self.disk.messages.pop_front_if(|(needs, _)| *needs <= number) {
            self.send(messages, out);
        }
        while let Some(restore) = self.disk.restores.pop_front_if(|restore| restore.number <= number) {
            self.restore(restore, out);
        }
    }

    fn restore(&mut self, restore: Restore, out: &mut Effects) {
        let Restore { index, term, conf_state, members, state, .. } = restore;
        self.raw.advance_apply_to(index);
        (self.applied, self.applied_term) = (index, term);
        self.conf_state = conf_state;
        self.members = members;
        self.snapshots.restored(index);
        let rest = self.pending.split_off(&(index + 1));
        let covered = std::mem::replace(&mut self.pending, rest);
        out.replies.extend(covered.into_values().map(|(_, id)| (id, Outcome::Unknown)));
        out.apply.push(Apply::Restore { index, term, state });
        out.members = Some(self.members.clone());
    }

    fn send_after_disk(&mut self, messages: Vec<Message>, out: &mut Effects) {
        if messages.is_empty() {
            return;
        }
        if self.disk.busy() {
            self.disk.messages.push_back((self.disk.handed, messages));
        } else {
            self.send(messages, out);
        }
    }

    fn send(&mut self, messages: Vec<Message>, out: &mut Effects) {
        for message in messages {
            let raft_id = message.to;
            let Some(to) = self.node_of(raft_id) else {
                tracing::debug!("raft: no node is known for raft id {raft_id}; message dropped");
                continue;
            };
            let snapshot = message.get_msg_type() == MessageType::MsgSnapshot;
            if snapshot {
                self.snapshots.sending(raft_id, self.tick);
            }
            out.sends.push(Send { to, raft_id, bytes: codec::encode_frame(&message), snapshot });
        }
    }

    fn apply(&mut self, committed: Vec<Entry>, out: &mut Effects) {
        let Some(last) = committed.last().map(|entry| entry.index) else { return };
        for entry in committed {
            assert_eq!(entry.index, self.applied + 1, "entries are applied in order");
            (self.applied, self.applied_term) = (entry.index, entry.term);
            self.snapshots.applied(entry.data.len() as u64);
            if let Err(stop) = self.apply_entry(&entry, out) {
                self.stop(stop, out);
                return;
            }
            // Raft must not be touched any more: it takes a leader's membership for granted.
            if self.leaving.is_some() {
                return;
            }
        }
        self.raw.advance_apply_to(last);
    }

    fn apply_entry(&mut self, entry: &Entry, out: &mut Effects) -> Result<(), Stop> {
        let (index, term) = (entry.index, entry.term);
        let mut reply_to = None;
        if let Some((proposed_in, id)) = self.pending.remove(&index) {
            if proposed_in == term {
                reply_to = Some(id);
            } else {
                out.replies.push((id, Outcome::Dropped(Dropped::Overwritten)));
            }
        }
        match entry.get_entry_type() {
            // The empty entry a leader begins its term with; or a membership change that raft found out of turn.
            EntryType::EntryNormal if entry.data.is_empty() => {
                out.replies.extend(reply_to.map(|id| (id, Outcome::Dropped(Dropped::Overloaded))));
            }
            EntryType::EntryNormal => {
                out.apply.push(Apply::Entry { index, term, data: entry.data.clone(), reply_to });
            }
            EntryType::EntryConfChange => {
                let mut change = ConfChange::default();
                change.merge_from_bytes(&entry.data).map_err(|error| match codec::unknown_change(&entry.data) {
                    Some(kind) => Stop::UnknownEntry { index, kind },
                    None => Stop::BadEntry { index, reason: error.to_string() },
                })?;
                self.apply_change((index, term), &change, out)?;
                out.replies.extend(reply_to.map(|id| (id, Outcome::Committed { index })));
            }
            EntryType::EntryConfChangeV2 => {
                return Err(Stop::UnknownEntry { index, kind: EntryType::EntryConfChangeV2 as u64 });
            }
        }
        Ok(())
    }
}
