//! When a snapshot is taken, how long its bytes stay in memory, and what became of those sent.

use super::codec::{self, Meta};
use super::io::{Effects, SnapshotRequest};
use super::limits::{SNAPSHOT_CACHE_TICKS, SNAPSHOT_EVERY_BYTES, SNAPSHOT_EVERY_ENTRIES, SNAPSHOT_SEND_TICKS};
use super::log::CachedSnapshot;
use super::machine::Consensus;
use bytes::Bytes;
use raft::{ProgressState, SnapshotStatus};
use std::collections::BTreeMap;

#[derive(Debug)]
struct Taking {
    meta: Meta,
    floor: (u64, u64),
    /// A follower waits for it, so its bytes are worth keeping in memory.
    wanted: bool,
}

#[derive(Debug)]
pub(super) struct Snapshots {
    /// Entries and bytes are counted from here.
    since_index: u64,
    since_bytes: u64,
    taking: Option<Taking>,
    /// After a failure: no snapshot for a follower before this tick.
    not_before_tick: u64,
    /// Followers a snapshot is on its way to, and since which tick.
    sending: BTreeMap<u64, u64>,
    used_tick: u64,
}

impl Snapshots {
    pub fn starting_at(index: u64) -> Self {
        Self {
            since_index: index,
            since_bytes: 0,
            taking: None,
            not_before_tick: 0,
            sending: BTreeMap::new(),
            used_tick: 0,
        }
    }

    pub fn applied(&mut self, bytes: u64) {
        self.since_bytes += bytes;
    }

    /// The state was replaced by the leader's; a snapshot of the old one is of no use any more.
    pub fn restored(&mut self, index: u64) {
        self.since_index = index;
        self.since_bytes = 0;
        self.taking = None;
    }

    pub fn failed(&mut self, index: u64, applied: u64, tick: u64) {
        if self.taking.take_if(|taking| taking.meta.index == index).is_some() {
            self.since_index = applied;
            self.since_bytes = 0;
            self.not_before_tick = tick + SNAPSHOT_CACHE_TICKS;
        }
    }

    pub fn sending(&mut self, raft_id: u64, tick: u64) {
        self.sending.insert(raft_id, tick);
        self.used_tick = tick;
    }
}

/// All members count the same entries: each adds up to a quarter of its own, so that their disks are not busy with
/// snapshots at the same moment, when no write would find a majority.
fn staggered(every: u64, raft_id: u64) -> u64 {
    every + raft_id % (every / 4)
}

impl Consensus {
    /// Asks for a snapshot when the log has grown enough, or a follower needs one that is not in memory.
    pub(super) fn request_snapshot(&mut self, out: &mut Effects) {
        let wanted = self.raw.store().wanted.get() && self.tick >= self.snapshots.not_before_tick;
        let id = self.raw.raft.id;
        let due = self.applied >= self.snapshots.since_index + staggered(SNAPSHOT_EVERY_ENTRIES, id)
            || self.snapshots.since_bytes >= staggered(SNAPSHOT_EVERY_BYTES, id);
        let possible = self.applied > 0 && self.snapshots.taking.is_none() && !self.disk.restoring();
        if !possible || !(wanted || due) {
            return;
        }
        self.raw.store().wanted.set(false);
        let meta = Meta {
            index: self.applied,
            term: self.applied_term,
            conf_state: self.conf_state.clone(),
            members: self.members.clone(),
        };
        let floor = self.raw.store().floor_for(self.applied);
        out.snapshot = Some(SnapshotRequest {
            index: meta.index,
            meta: codec::encode_meta(&meta),
            floor: codec::encode_floor(floor.0, floor.1),
            floor_index: floor.0,
        });
        self.snapshots.since_index = meta.index;
        self.snapshots.since_bytes = 0;
        self.snapshots.taking = Some(Taking { meta, floor, wanted });
    }

    pub(super) fn on_snapshot_stored(&mut self, index: u64, state: Bytes) {
        let Some(taken) = self.snapshots.taking.take_if(|taking| taking.meta.index == index) else { return };
        let store = self.raw.mut_store();
        store.compact(taken.floor);
        if taken.wanted || store.wanted.get() {
            store.wanted.set(false);
            store.cached = Some(CachedSnapshot { meta: taken.meta, state });
            self.snapshots.used_tick = self.tick;
        }
    }

    pub(super) fn on_snapshot_sent(&mut self, raft_id: u64, ok: bool) {
        self.snapshots.sending.remove(&raft_id);
        let status = if ok { SnapshotStatus::Finish } else { SnapshotStatus::Failure };
        self.raw.report_snapshot(raft_id, status);
    }

    /// Gives up on snapshots nobody reported on (raft sends nothing else to that follower meanwhile), and drops the
    /// bytes when nobody needs them any more.
    pub(super) fn tick_snapshots(&mut self) {
        let tick = self.tick;
        let progress = self.raw.raft.prs();
        let under_way = |id: u64| progress.get(id).is_some_and(|p| p.state == ProgressState::Snapshot);
        self.snapshots.sending.retain(|id, _| under_way(*id));
        let lost: Vec<u64> = (self.snapshots.sending.iter())
            .filter(|(_, since)| tick >= **since + SNAPSHOT_SEND_TICKS)
            .map(|(id, _)| *id)
            .collect();
        for raft_id in lost {
            self.on_snapshot_sent(raft_id, false);
        }
        if !self.snapshots.sending.is_empty() {
            self.snapshots.used_tick = tick;
        }
        if tick >= self.snapshots.used_tick + SNAPSHOT_CACHE_TICKS {
            self.raw.mut_store().cached = None;
        }
    }
}
