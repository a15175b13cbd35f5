//! The log as raft reads it: every entry since the floor, in memory. What is on disk is a copy of it (or will be,
//! until `Persisted` says so). Bounded by the snapshot and keep limits; raft never waits for a disk to read.

use super::codec::{self, Meta};
use super::limits::{KEEP_BYTES, KEEP_ENTRIES};
use bytes::Bytes;
use raft::eraftpb::{ConfState, Entry, HardState, Snapshot};
use raft::{GetEntriesContext, RaftState, Storage, StorageError};
use std::cell::Cell;
use std::collections::VecDeque;

/// Fixed cost of an entry beside its data, for the bounds on memory.
const ENTRY_OVERHEAD_BYTES: u64 = 96;

fn cost(entry: &Entry) -> u64 {
    entry.data.len() as u64 + entry.context.len() as u64 + ENTRY_OVERHEAD_BYTES
}

/// A snapshot kept in memory while a follower may need it.
#[derive(Debug, Clone)]
pub(super) struct CachedSnapshot {
    pub meta: Meta,
    pub state: Bytes,
}

#[derive(Debug, Default)]
pub(super) struct LogCache {
    /// Index and term of the last entry cut away; (0, 0) for a log from its start.
    floor: (u64, u64),
    entries: VecDeque<Entry>,
    bytes: u64,
    /// What raft starts from; not updated afterwards.
    initial: (HardState, ConfState),
    pub cached: Option<CachedSnapshot>,
    /// Raft asked for a snapshot that is not in memory.
    pub wanted: Cell<bool>,
}

impl LogCache {
    pub fn new(hard: HardState, conf_state: ConfState, floor: (u64, u64)) -> Self {
        Self { floor, initial: (hard, conf_state), ..Self::default() }
    }

    pub fn first(&self) -> u64 {
        self.floor.0 + 1
    }

    pub fn last(&self) -> u64 {
        self.floor.0 + self.entries.len() as u64
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn term_of(&self, index: u64) -> Option<u64> {
        if index == self.floor.0 {
            return Some(self.floor.1);
        }
        let at = usize::try_from(index.checked_sub(self.first())?).ok()?;
        self.entries.get(at).map(|entry| entry.term)
    }

    /// Adds entries; those at or after the first one's index are replaced.
    /// The first may not leave a gap nor lie at or below the floor.
    pub fn append(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        assert!(
            first.index >= self.first() && first.index <= self.last() + 1,
            "append at {} to a log of {}..={}",
            first.index,
            self.first(),
            self.last()
        );
        while self.last() >= first.index {
            if let Some(entry) = self.entries.pop_back() {
                self.bytes -= cost(&entry);
            }
        }
        for entry in entries {
            self.bytes += cost(entry);
            self.entries.push_back(entry.clone());
        }
    }

    /// The log of a node that takes over a snapshot: nothing but its position.
    pub fn reset(&mut self, index: u64, term: u64) {
        self.entries.clear();
        self.bytes = 0;
        self.floor = (index, term);
        self.cached = None;
    }

    /// Where the log may be cut when a snapshot covers `snapshot_index`: index and term of the last entry to go.
    pub fn floor_for(&self, snapshot_index: u64) -> (u64, u64) {
        let mut floor = snapshot_index;
        let mut kept = 0;
        while floor > self.floor.0 && snapshot_index - floor < KEEP_ENTRIES {
            let at = usize::try_from(floor - self.first()).unwrap_or(usize::MAX);
            let Some(entry) = self.entries.get(at) else { break };
            kept += cost(entry);
            if kept > KEEP_BYTES {
                break;
            }
            floor -= 1;
        }
        (floor, self.term_of(floor).unwrap_or(self.floor.1))
    }

    /// Cuts entries up to and including `floor`; nothing when they are gone already.
    pub fn compact(&mut self, floor: (u64, u64)) {
        while self.floor.0 < floor.0 {
            let Some(entry) = self.entries.pop_front() else { break };
            self.bytes -= cost(&entry);
            self.floor = (entry.index, entry.term);
        }
    }
}

fn unavailable(error: StorageError) -> raft::Error {
    raft::Error::Store(error)
}

impl Storage for LogCache {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState::new(self.initial.0.clone(), self.initial.1.clone()))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low < self.first() {
            return Err(unavailable(StorageError::Compacted));
        }
        if high > self.last() + 1 {
            return Err(unavailable(StorageError::Unavailable));
        }
        let max_size = max_size.into().unwrap_or(u64::MAX);
        let mut size = 0;
        let mut found = Vec::new();
        let skip = usize::try_from(low - self.first()).unwrap_or(usize::MAX);
        let count = usize::try_from(high.saturating_sub(low)).unwrap_or(usize::MAX);
        for entry in self.entries.iter().skip(skip).take(count) {
            size += cost(entry);
            if size > max_size && !found.is_empty() {
                break;
            }
            found.push(entry.clone());
        }
        Ok(found)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        match self.term_of(index) {
            Some(term) => Ok(term),
            None if index < self.floor.0 => Err(unavailable(StorageError::Compacted)),
            None => Err(unavailable(StorageError::Unavailable)),
        }
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.first())
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last())
    }

    /// The cached snapshot, or `SnapshotTemporarilyUnavailable` and a note that one is wanted. A snapshot from before
    /// the receiver was added would be ignored by it.
    fn snapshot(&self, request_index: u64, to: u64) -> raft::Result<Snapshot> {
        let oldest = request_index.max(self.floor.0);
        let usable = self.cached.as_ref().filter(|c| c.meta.index >= oldest && c.meta.members.node(to).is_some());
        let Some(cached) = usable else {
            self.wanted.set(true);
            return Err(unavailable(StorageError::SnapshotTemporarilyUnavailable));
        };
        let mut snapshot = Snapshot::default();
        snapshot.mut_metadata().index = cached.meta.index;
        snapshot.mut_metadata().term = cached.meta.term;
        snapshot.mut_metadata().set_conf_state(cached.meta.conf_state.clone());
        snapshot.data = codec::encode_transfer(&cached.meta.members, &cached.state);
        Ok(snapshot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(index: u64, term: u64) -> Entry {
        Entry { index, term, data: Bytes::from(vec![0; 10]), ..Default::default() }
    }

    fn log(last: u64) -> LogCache {
        let mut log = LogCache::new(HardState::default(), ConfState::default(), (1, 1));
        log.append(&(2..=last).map(|i| entry(i, 1)).collect::<Vec<_>>());
        log
    }

    #[test]
    fn an_append_replaces_what_conflicts() {
        let mut log = log(10);
        let before = log.bytes();
        log.append(&[entry(8, 2)]);
        assert_eq!((log.last(), log.term_of(8), log.term_of(7), log.term_of(9)), (8, Some(2), Some(1), None));
        assert_eq!(log.bytes(), before - 2 * cost(&entry(9, 1)));
    }

    #[test]
    fn the_floor_keeps_a_tail_for_followers_that_are_a_little_behind() {
        let mut log = log(2000);
        assert_eq!(log.floor_for(1500), (1000, 1));
        log.compact((1000, 1));
        assert_eq!((log.first(), log.last(), log.term_of(1000), log.term_of(999)), (1001, 2000, Some(1), None));
        assert_eq!(log.floor_for(1200), (1000, 1), "never below the floor");
        log.compact((900, 1));
        assert_eq!(log.first(), 1001);
    }

    #[test]
    fn the_tail_is_bounded_in_bytes_too() {
        let mut log = LogCache::new(HardState::default(), ConfState::default(), (0, 0));
        let big = |index| Entry { index, term: 1, data: Bytes::from(vec![0; 1 << 20]), ..Default::default() };
        log.append(&(1..=20).map(big).collect::<Vec<_>>());
        assert_eq!(log.floor_for(20).0, 17, "three entries of 1 MiB and their overhead fit into 4 MiB");
    }

    #[test]
    fn a_snapshot_that_is_not_in_memory_is_asked_for() {
        let log = log(3);
        assert!(log.snapshot(0, 2).is_err());
        assert!(log.wanted.get());
    }
}
