//! The task: `select!` chooses an input, everything else is synchronous.

use super::disk::Disk;
use super::handle::{Answer, Command, Handle, LeaderState, ProposeError, RaftStatus, ReadError};
use super::{Outgoing, RaftError, Running, StateMachine};
use crate::storage::{Identity, RaftStorage};
use bytes::Bytes;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;
use swarm_core::consensus::limits::{SNAPSHOT_BYTES_MAX, TICK_MS};
use swarm_core::consensus::{
    Apply, Config, Consensus, Effects, Input, Members, Outcome, Proposal, ReadOutcome, Recovered, RequestId,
    SnapshotRequest, Stop,
};
use swarm_core::{Mono, NodeId};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};

/// Commands waiting for the task: as many proposers before the next has to wait for a place.
const COMMANDS_MAX: usize = 1024;

/// Messages of other managers waiting for the task. Twice what one leader may have on the way.
const INBOX_MAX: usize = 128;

/// Commands taken at once; their proposals share one log append and one fsync.
const COMMAND_BATCH: usize = 512;

/// Messages taken at once, so that ticks and commands get their turn.
const MESSAGE_BATCH: usize = 32;

/// A snapshot whose bytes have been made (or not, when the state machine panicked).
type Encoded = (SnapshotRequest, Option<Bytes>);

struct Shell<S: StateMachine> {
    consensus: Consensus,
    machine: S,
    identity: Identity,
    disk: Disk,
    outgoing: mpsc::Sender<Outgoing>,
    encoded: mpsc::Sender<Encoded>,
    leader: watch::Sender<LeaderState>,
    members: watch::Sender<Members>,
    writes: HashMap<RequestId, Answer<S::Reply>>,
    changes: HashMap<RequestId, Answer<u64>>,
    reads: HashMap<RequestId, oneshot::Sender<Result<u64, ReadError>>>,
    last_request: u64,
    /// Inputs that follow from carrying out effects.
    follow_up: VecDeque<Input>,
    epoch: Instant,
}

enum Flow {
    Continue,
    Shutdown,
}

/// Starts thread and task; the state machine is restored when this returns.
pub(super) async fn spawn<S: StateMachine>(
    storage: RaftStorage,
    identity: Identity,
    recovered: Recovered,
    machine: S,
    outgoing: mpsc::Sender<Outgoing>,
) -> Result<Running<S::Reply>, RaftError> {
    let mut first = Effects::default();
    let config = Config { raft_id: identity.raft_id, node: identity.node, seed: rand::random() };
    let consensus = Consensus::new(Mono(0), config, recovered, &mut first)?;
    let (commands, commands_out) = mpsc::channel(COMMANDS_MAX);
    let (inbox, inbox_out) = mpsc::channel(INBOX_MAX);
    // One snapshot is made at a time.
    let (encoded, encoded_out) = mpsc::channel(1);
    let (leader, leader_out) = watch::channel(LeaderState { raft_id: identity.raft_id, ..LeaderState::default() });
    let (members, members_out) = watch::channel(Members::default());
    let handle = Handle { commands, inbox, leader: leader_out, members: members_out, identity };
    let mut shell = Shell {
        consensus,
        machine,
        identity,
        disk: Disk::start(storage)?,
        outgoing,
        encoded,
        leader: leader.clone(),
        members,
        writes: HashMap::new(),
        changes: HashMap::new(),
        reads: HashMap::new(),
        last_request: 0,
        follow_up: VecDeque::new(),
        epoch: Instant::now(),
    };
    // Before anyone gets a handle: the state is restored, or the error is the caller's.
    if let Err(error) = shell.begin(first) {
        shell.disk.close().await;
        return Err(error);
    }
    let task = tokio::spawn(shell.run(commands_out, inbox_out, encoded_out));
    let ended = tokio::spawn(async move {
        // raft-rs panics where going on could damage the log; that ends the member, not the process.
        let result = task.await.unwrap_or(Err(RaftError::Panicked));
        leader.send_modify(|state| (state.leader, state.is_leader) = (None, false));
        match &result {
            Ok(()) => {}
            // As leaving and demoting have it.
            Err(error @ RaftError::Stopped(Stop::Removed)) => tracing::info!("{error}"),
            Err(error) => tracing::error!("this node's part in managing the cluster has ended: {error}"),
        }
        result
    });
    Ok(Running { handle, ended })
}

impl<S: StateMachine> Shell<S> {
    async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command<S::Reply>>,
        mut inbox: mpsc::Receiver<(NodeId, Bytes)>,
        mut encoded: mpsc::Receiver<Encoded>,
    ) -> Result<(), RaftError> {
        let result = self.serve(&mut commands, &mut inbox, &mut encoded).await;
        // Whoever still waits learns that the outcome is unknown: the senders go with `self`.
        self.disk.close().await;
        result
    }

    fn begin(&mut self, first: Effects) -> Result<(), RaftError> {
        self.carry_out(first)?;
        let voters: Vec<u64> = self.consensus.status().members.iter().filter(|m| m.voter).map(|m| m.raft_id).collect();
        if voters == [self.identity.raft_id] { self.input(Input::Campaign) } else { Ok(()) }
    }

    async fn serve(
        &mut self,
        commands: &mut mpsc::Receiver<Command<S::Reply>>,
        inbox: &mut mpsc::Receiver<(NodeId, Bytes)>,
        encoded: &mut mpsc::Receiver<Encoded>,
    ) -> Result<(), RaftError> {
        let mut ticks = interval(Duration::from_millis(TICK_MS));
        // A pause of the process is one tick, not the end of the leader's patience.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut taken = Vec::with_capacity(COMMAND_BATCH);
        let mut messages = Vec::with_capacity(MESSAGE_BATCH);
        loop {
            tokio::select! {
                done = self.disk.done() => self.input(done?)?,
                _ = ticks.tick() => self.input(Input::Tick)?,
                _ = inbox.recv_many(&mut messages, MESSAGE_BATCH), if !inbox.is_closed() || !inbox.is_empty() => {
                    for (from, bytes) in messages.drain(..) {
                        self.input(Input::Message { from, bytes })?;
                    }
                }
                count = commands.recv_many(&mut taken, COMMAND_BATCH) => {
                    if count == 0 {
                        return Ok(());
                    }
                    if let Flow::Shutdown = self.obey(&mut taken)? {
                        return Ok(());
                    }
                }
                Some((request, state)) = encoded.recv() => self.snapshot_encoded(request, state)?,
            }
        }
    }

    fn mono(&self, at: Instant) -> Mono {
        Mono(u64::try_from(at.saturating_duration_since(self.epoch).as_millis()).unwrap_or(u64::MAX))
    }

    fn request(&mut self) -> RequestId {
        self.last_request += 1;
        RequestId(self.last_request)
    }

    fn input(&mut self, input: Input) -> Result<(), RaftError> {
        self.follow_up.push_back(input);
        while let Some(input) = self.follow_up.pop_front() {
            let mut out = Effects::default();
            let now = self.mono(Instant::now());
            self.consensus.input(now, input, &mut out);
            self.carry_out(out)?;
        }
        Ok(())
    }

    fn obey(&mut self, commands: &mut Vec<Command<S::Reply>>) -> Result<Flow, RaftError> {
        let mut proposals = Vec::new();
        let mut flow = Flow::Continue;
        for command in commands.drain(..) {
            match command {
                Command::Propose { data, term, answer } => {
                    let id = self.request();
                    self.writes.insert(id, answer);
                    proposals.push(Proposal { id, data, term });
                }
                Command::Read { deadline, answer } => {
                    let id = self.request();
                    self.reads.insert(id, answer);
                    let deadline = self.mono(deadline);
                    self.input(Input::ReadIndex { id, deadline })?;
                }
                Command::Change { change, deadline, answer } => {
                    let id = self.request();
                    self.changes.insert(id, answer);
                    let deadline = self.mono(deadline);
                    self.input(Input::ProposeChange { id, change, deadline })?;
                }
                Command::TransferLeader { to } => self.input(Input::TransferLeader { to })?,
                Command::Campaign => self.input(Input::Campaign)?,
                Command::Unreachable { raft_id } => self.input(Input::Unreachable { raft_id })?,
                Command::SnapshotSent { raft_id, ok } => self.input(Input::SnapshotSent { raft_id, ok })?,
                Command::Status { answer } => {
                    let status = RaftStatus { consensus: self.consensus.status(), disk_batches: self.disk.batches };
                    // Who asked may have gone.
                    let _ = answer.send(status);
                }
                Command::Shutdown => flow = Flow::Shutdown,
            }
        }
        if !proposals.is_empty() {
            self.input(Input::Propose(proposals))?;
        }
        Ok(flow)
    }

    /// Does what consensus asks, in its order.
    fn carry_out(&mut self, out: Effects) -> Result<(), RaftError> {
        if let Some(batch) = out.persist {
            self.disk.persist(batch);
        }
        for send in out.sends {
            self.send(Outgoing { to: send.to, raft_id: send.raft_id, bytes: send.bytes, snapshot: send.snapshot });
        }
        for apply in out.apply {
            self.apply(apply)?;
        }
        for (id, outcome) in out.replies {
            self.reply(id, outcome);
        }
        for (id, outcome) in out.reads {
            self.answer_read(id, outcome);
        }
        if let Some(role) = out.role {
            let raft_id = self.identity.raft_id;
            let state = LeaderState { leader: role.leader, raft_id, term: role.term, is_leader: role.is_leader };
            self.leader.send_replace(state);
        }
        if let Some(members) = out.members {
            self.members.send_replace(members);
        }
        if let Some(request) = out.snapshot {
            self.make_snapshot(request);
        }
        out.stop.map_or(Ok(()), |stop| Err(stop.into()))
    }

    fn send(&mut self, message: Outgoing) {
        let (raft_id, snapshot) = (message.raft_id, message.snapshot);
        let (Err(TrySendError::Full(_)) | Err(TrySendError::Closed(_))) = self.outgoing.try_send(message) else {
            return;
        };
        let lost = if snapshot { Input::SnapshotSent { raft_id, ok: false } } else { Input::Unreachable { raft_id } };
        self.follow_up.push_back(lost);
    }

    fn apply(&mut self, apply: Apply) -> Result<(), RaftError> {
        match apply {
            Apply::Restore { index, state, .. } => {
                self.machine.restore(index, &state).map_err(|reason| RaftError::Restore { index, reason })
            }
            Apply::Entry { index, term, data, reply_to } => {
                let applied = self.machine.apply(index, term, &data);
                let reply = applied.map_err(|reason| RaftError::Apply { index, reason })?;
                if let Some(answer) = reply_to.and_then(|id| self.writes.remove(&id)) {
                    // A proposer that stopped waiting was told that the outcome is unknown.
                    let _ = answer.send(Ok(reply));
                }
                Ok(())
            }
        }
    }

    fn reply(&mut self, id: RequestId, outcome: Outcome) {
        let result = match outcome {
            Outcome::Committed { index } => Ok(index),
            Outcome::Dropped(dropped) => Err(ProposeError::from(dropped)),
            Outcome::Unknown => Err(ProposeError::Unknown),
        };
        // As above: nobody may be waiting any more.
        if let Some(answer) = self.changes.remove(&id) {
            let _ = answer.send(result);
        } else if let (Some(answer), Err(error)) = (self.writes.remove(&id), result) {
            let _ = answer.send(Err(error));
        }
    }

    fn answer_read(&mut self, id: RequestId, outcome: ReadOutcome) {
        let result = match outcome {
            ReadOutcome::Ready { index } => Ok(index),
            ReadOutcome::TimedOut => Err(ReadError::NoQuorum),
            ReadOutcome::Overloaded => Err(ReadError::Overloaded),
        };
        if let Some(answer) = self.reads.remove(&id) {
            // As above.
            let _ = answer.send(result);
        }
    }

    /// Captures the state now and has the bytes made elsewhere.
    fn make_snapshot(&mut self, request: SnapshotRequest) {
        let make = self.machine.snapshot();
        let encoded = self.encoded.clone();
        tokio::spawn(async move {
            let state = tokio::task::spawn_blocking(make).await.ok();
            // The task may have ended meanwhile.
            let _ = encoded.send((request, state)).await;
        });
    }

    fn snapshot_encoded(&mut self, request: SnapshotRequest, state: Option<Bytes>) -> Result<(), RaftError> {
        match state {
            Some(state) if state.len() <= SNAPSHOT_BYTES_MAX => {
                self.disk.store_snapshot(request, state);
                Ok(())
            }
            other => {
                let size = other.map_or_else(|| "could not be made".to_owned(), |s| format!("has {} bytes", s.len()));
                tracing::error!("raft: the snapshot {size} (limit {SNAPSHOT_BYTES_MAX}); the log is not cut");
                self.input(Input::SnapshotFailed { index: request.index })
            }
        }
    }
}
