//! The disk under a manager's log: batches that take time to be synced, are lost when the host dies before, and may
//! be torn.
//!
//! As the real one (`node::raft::disk`): one job at a time, what comes meanwhile is joined into the next. A batch is a
//! record with a checksum. A crash keeps the record under way, loses it, or leaves a part of it, which the checksum
//! tells when the disk is read again: then it counts as not there.

use crate::log::Fnv;
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use swarm_core::consensus::{LogRecord, Persist, Recovered, SnapshotRequest, StoredSnapshot};

/// As in the real shell: batches that go before a snapshot that waits.
const BATCHES_BEFORE_SNAPSHOT: u32 = 8;

/// Jobs a disk that lies holds back.
const LIES: usize = 4;

/// What is stored, once all records are read.
#[derive(Clone, Debug, Default)]
struct Image {
    hard_state: Bytes,
    snapshot: Option<StoredSnapshot>,
    log: BTreeMap<u64, Bytes>,
}

/// One job of the disk.
#[derive(Clone, Debug)]
pub enum Job {
    Persist(Persist),
    Snapshot(SnapshotRequest, Bytes),
}

/// What a crash makes of the record under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Kept,
    Lost,
    Torn,
}

/// A job as it is on the platter.
#[derive(Clone, Debug)]
struct Record {
    job: Job,
    checksum: u64,
}

fn checksum(job: &Job) -> u64 {
    let mut fnv = Fnv::default();
    let mut entry = |index: u64, bytes: &[u8]| {
        fnv.write(&index.to_be_bytes());
        fnv.write(&(bytes.len() as u64).to_be_bytes());
        // What follows the first bytes is padding.
        fnv.write(&bytes[..bytes.len().min(64)]);
    };
    match job {
        Job::Persist(batch) => {
            entry(batch.number, &batch.hard_state);
            batch.snapshot.iter().for_each(|s| entry(s.index, &s.meta));
            batch.append.iter().for_each(|record| entry(record.index, &record.bytes));
        }
        Job::Snapshot(request, state) => {
            entry(request.index, &request.meta);
            entry(request.floor_index, state);
        }
    }
    fnv.0
}

/// A part of a job, as a write that was cut off leaves it.
fn torn(job: &Job) -> Job {
    match job.clone() {
        Job::Persist(mut batch) => {
            if batch.append.pop().is_none() {
                batch.hard_state = batch.hard_state.slice(..batch.hard_state.len() / 2);
            }
            Job::Persist(batch)
        }
        Job::Snapshot(request, state) => Job::Snapshot(request, state.slice(..state.len() / 2)),
    }
}

impl Image {
    fn write(&mut self, job: Job) {
        match job {
            Job::Persist(batch) => {
                self.hard_state = batch.hard_state;
                if let Some(snapshot) = batch.snapshot {
                    self.snapshot = Some(snapshot);
                    self.log.clear();
                }
                if let Some(first) = batch.append.first() {
                    self.log.split_off(&first.index);
                }
                self.log.extend(batch.append.into_iter().map(|record| (record.index, record.bytes)));
            }
            Job::Snapshot(request, state) => {
                let SnapshotRequest { index, meta, floor, floor_index } = request;
                if self.snapshot.as_ref().is_some_and(|stored| stored.index >= index) {
                    return;
                }
                self.snapshot = Some(StoredSnapshot { index, meta, state, floor });
                self.log = self.log.split_off(&(floor_index + 1));
            }
        }
    }
}

/// The disk of one manager.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    image: Image,
    /// Written, and not read back since: what a crash may have torn.
    last: Option<Record>,
    under_way: Option<Job>,
    waiting: Option<Persist>,
    waiting_snapshot: Option<(SnapshotRequest, Bytes)>,
    let_by: u32,
    /// A disk that lies says that a batch is synced when it is not: these are lost by a crash. Only for mutations.
    pub lies: bool,
    unsynced: VecDeque<Job>,
}

impl Disk {
    /// The disk of a member whose group begins with `first`.
    pub fn holding(first: Persist) -> Self {
        let mut disk = Self::default();
        disk.image.write(Job::Persist(first));
        disk
    }

    /// Everything on it is erased.
    pub fn wipe(&mut self) {
        *self = Self { lies: self.lies, ..Self::default() };
    }

    pub fn persist(&mut self, batch: Persist) {
        match &mut self.waiting {
            Some(earlier) => earlier.merge(batch),
            none @ None => *none = Some(batch),
        }
    }

    pub fn store_snapshot(&mut self, request: SnapshotRequest, state: Bytes) {
        self.waiting_snapshot = Some((request, state));
    }

    /// Begins the next job if none is under way. True when one began: it ends with `done`.
    pub fn begin(&mut self) -> bool {
        if self.under_way.is_some() {
            return false;
        }
        let turn = self.waiting.is_none() || self.let_by >= BATCHES_BEFORE_SNAPSHOT;
        self.under_way = if let Some((request, state)) = self.waiting_snapshot.take_if(|_| turn) {
            self.let_by = 0;
            Some(Job::Snapshot(request, state))
        } else if let Some(batch) = self.waiting.take() {
            self.let_by += u32::from(self.waiting_snapshot.is_some());
            Some(Job::Persist(batch))
        } else {
            None
        };
        self.under_way.is_some()
    }

    /// The job under way is on stable storage.
    pub fn done(&mut self) -> Option<Job> {
        let job = self.under_way.take()?;
        self.unsynced.push_back(job.clone());
        let keep = if self.lies { LIES } else { 0 };
        while self.unsynced.len() > keep {
            self.sync_one();
        }
        Some(job)
    }

    fn sync_one(&mut self) {
        if let Some(job) = self.unsynced.pop_front() {
            self.put(job);
        }
    }

    fn put(&mut self, job: Job) {
        self.settle();
        let checksum = checksum(&job);
        self.last = Some(Record { job, checksum });
    }

    /// Takes the last record in, if it is whole.
    fn settle(&mut self) {
        if let Some(record) = self.last.take()
            && checksum(&record.job) == record.checksum
        {
            self.image.write(record.job);
        }
    }

    /// The process ended, and with it whatever it had not handed to the disk; with the `host`, what it said was synced
    /// and was not.
    pub fn crash(&mut self, fate: Fate, host: bool) {
        (self.waiting, self.waiting_snapshot, self.let_by) = (None, None, 0);
        if host {
            self.unsynced.clear();
        }
        let Some(job) = self.under_way.take() else { return };
        match fate {
            Fate::Kept => self.put(job),
            Fate::Lost => {}
            Fate::Torn => {
                self.settle();
                self.last = Some(Record { checksum: checksum(&job), job: torn(&job) });
            }
        }
    }

    /// What a process that starts finds.
    pub fn recover(&mut self) -> Recovered {
        while !self.unsynced.is_empty() {
            self.sync_one();
        }
        self.settle();
        let Image { hard_state, snapshot, log } = self.image.clone();
        let entries = log.into_iter().map(|(index, bytes)| LogRecord { index, bytes }).collect();
        Recovered { hard_state, snapshot, entries }
    }

    /// Forgets whom this member voted for. Only for mutations.
    pub fn forget_vote(&mut self) {
        self.settle();
        self.image.hard_state = without_vote(&self.image.hard_state);
    }
}

/// The fields of `message Hard { uint64 term = 1; uint64 vote = 2; uint64 commit = 3; }`: where each is, its number and
/// its value.
fn fields(hard: &Bytes) -> impl Iterator<Item = (std::ops::Range<usize>, u8, u64)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let number = hard.get(at)? >> 3;
        let value = hard[at + 1..].iter().position(|byte| byte & 0x80 == 0).map_or(0, |n| n + 1);
        let from = at;
        at += 1 + value;
        let groups = hard[from + 1..at].iter().rev();
        Some((from..at, number, groups.fold(0, |value, byte| value << 7 | u64::from(byte & 0x7f))))
    })
}

/// Its newest term, and whom the member has voted for in that, by raft id.
pub fn vote(hard: &Bytes) -> Option<(u64, u64)> {
    let value = |wanted: u8| fields(hard).find(|(_, number, _)| *number == wanted).map_or(0, |(_, _, value)| value);
    Some((value(1), value(2))).filter(|(_, vote)| *vote != 0)
}

fn without_vote(hard: &Bytes) -> Bytes {
    let kept = fields(hard).filter(|(_, number, _)| *number != 2).map(|(at, _, _)| &hard[at]);
    kept.collect::<Vec<_>>().concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(number: u64, indexes: std::ops::RangeInclusive<u64>) -> Persist {
        let append = indexes.map(|index| LogRecord { index, bytes: Bytes::from(number.to_string()) }).collect();
        Persist { number, append, hard_state: Bytes::from_static(b"\x08\x01\x10\x02\x18\x03"), ..Persist::default() }
    }

    fn indexes(disk: &mut Disk) -> Vec<u64> {
        disk.recover().entries.iter().map(|record| record.index).collect()
    }

    #[test]
    fn what_was_not_synced_is_gone_after_a_crash() {
        let mut disk = Disk::default();
        disk.persist(batch(1, 1..=2));
        assert!(disk.begin());
        assert!(disk.done().is_some());
        disk.persist(batch(2, 3..=4));
        disk.crash(Fate::Lost, true);
        assert_eq!(indexes(&mut disk), [1, 2]);
    }

    #[test]
    fn a_record_that_was_torn_counts_as_not_there() {
        for (fate, left) in [(Fate::Torn, vec![1, 2]), (Fate::Lost, vec![1, 2]), (Fate::Kept, vec![1, 2, 3, 4])] {
            let mut disk = Disk::default();
            for number in 1..=2 {
                disk.persist(batch(number, number * 2 - 1..=number * 2));
                assert!(disk.begin());
                if number == 1 {
                    disk.done();
                }
            }
            disk.crash(fate, true);
            assert_eq!(indexes(&mut disk), left, "{fate:?}");
            assert_eq!(indexes(&mut disk), left, "and again");
        }
    }

    #[test]
    fn a_vote_is_forgotten_and_nothing_else() {
        let hard = Bytes::from_static(b"\x08\x96\x01\x10\x02\x18\x03");
        assert_eq!(vote(&hard), Some((150, 2)));
        assert_eq!(vote(&without_vote(&hard)), None);
        assert_eq!(without_vote(&hard), Bytes::from_static(b"\x08\x96\x01\x18\x03"));
    }
}
