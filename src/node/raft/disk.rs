//! The storage thread. It gets one job at a time; what comes meanwhile is joined into the next one, so that many
//! writes share an fsync and nothing queues up without bound.

use super::RaftError;
use crate::storage::{RaftStorage, StorageError};
use bytes::Bytes;
use std::sync::mpsc as std_mpsc;
use std::thread;
use swarm_core::consensus::{Input, Persist, SnapshotRequest};
use tokio::sync::mpsc;

/// Batches that go before a snapshot that waits. Under a steady load there is always one; without the snapshot the log
/// would grow to its bound.
const BATCHES_BEFORE_SNAPSHOT: u32 = 8;

enum Job {
    Persist(Persist),
    Snapshot(SnapshotRequest, Bytes),
}

type Done = Result<Input, StorageError>;

pub(super) struct Disk {
    /// `None` once closed.
    jobs: Option<std_mpsc::SyncSender<Job>>,
    done: mpsc::Receiver<Done>,
    thread: Option<thread::JoinHandle<()>>,
    busy: bool,
    waiting: Option<Persist>,
    waiting_snapshot: Option<(SnapshotRequest, Bytes)>,
    /// Batches that went before it.
    let_by: u32,
    /// Batches written, each with one fsync.
    pub batches: u64,
}

fn run(mut storage: RaftStorage, jobs: &std_mpsc::Receiver<Job>, done: &mpsc::Sender<Done>) {
    while let Ok(job) = jobs.recv() {
        let result = match job {
            Job::Persist(batch) => storage.persist(&batch).map(|()| Input::Persisted { number: batch.number }),
            Job::Snapshot(request, state) => {
                storage.store_snapshot(&request, &state).map(|()| Input::SnapshotStored { index: request.index, state })
            }
        };
        let failed = result.is_err();
        if done.blocking_send(result).is_err() || failed {
            return;
        }
    }
}

impl Disk {
    pub fn start(storage: RaftStorage) -> Result<Self, RaftError> {
        // One job is out at a time, so neither channel ever holds more than one item.
        let (jobs, jobs_out) = std_mpsc::sync_channel(1);
        let (done_in, done) = mpsc::channel(1);
        let thread = thread::Builder::new()
            .name("raft-disk".to_owned())
            .spawn(move || run(storage, &jobs_out, &done_in))
            .map_err(|_| RaftError::DiskThread)?;
        Ok(Self {
            jobs: Some(jobs),
            done,
            thread: Some(thread),
            busy: false,
            waiting: None,
            waiting_snapshot: None,
            let_by: 0,
            batches: 0,
        })
    }

    pub fn persist(&mut self, batch: Persist) {
        match &mut self.waiting {
            Some(earlier) => earlier.merge(batch),
            none @ None => *none = Some(batch),
        }
        self.next_job();
    }

    pub fn store_snapshot(&mut self, request: SnapshotRequest, state: Bytes) {
        self.waiting_snapshot = Some((request, state));
        self.next_job();
    }

    fn next_job(&mut self) {
        if self.busy {
            return;
        }
        // Log entries first: others wait for them. The snapshot covers only what is on disk already.
        let turn = self.waiting.is_none() || self.let_by >= BATCHES_BEFORE_SNAPSHOT;
        let job = if let Some((request, state)) = self.waiting_snapshot.take_if(|_| turn) {
            self.let_by = 0;
            Job::Snapshot(request, state)
        } else if let Some(batch) = self.waiting.take() {
            self.let_by += u32::from(self.waiting_snapshot.is_some());
            self.batches += 1;
            Job::Persist(batch)
        } else {
            return;
        };
        self.busy = true;
        // A thread that is gone is noticed by `done`, which is awaited all the time.
        if let Some(jobs) = &self.jobs {
            let _ = jobs.try_send(job);
        }
    }

    /// The next finished job, as the input it is for consensus. Cancel safe.
    pub async fn done(&mut self) -> Result<Input, RaftError> {
        let result = self.done.recv().await.ok_or(RaftError::DiskThread)?;
        self.busy = false;
        let input = result?;
        self.next_job();
        Ok(input)
    }

    /// Lets the job under way finish and closes the database.
    pub async fn close(&mut self) {
        self.jobs = None;
        self.done.close();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was reported through `done`.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}
