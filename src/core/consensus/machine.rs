//! The state machine: construction, the dispatch of inputs, status. Its other parts: `message` (what other members
//! send), `ready` (what raft wants done), `change` (membership), `snapshot` (taking and sending them).

use super::change::WaitingChange;
use super::codec::{self, CodecError, Meta};
use super::io::{
    Apply, Dropped, Effects, Input, LogRecord, MemberStatus, Outcome, Persist, Proposal, Recovered, RequestId, Role,
    Status, StoredSnapshot,
};
use super::leave::Leaving;
use super::limits::{
    APPEND_BYTES_MAX, COMMITTED_BYTES_PER_READY_MAX, DISK_STALL_TICKS, ELECTION_TICKS_MAX, ELECTION_TICKS_MIN,
    HEARTBEAT_TICKS, INFLIGHT_MESSAGES_MAX, LOG_BYTES_MAX, PENDING_PROPOSALS_MAX, PROPOSAL_BYTES_MAX, REACHABLE_TICKS,
    TICK_MS, UNCOMMITTED_BYTES_MAX,
};
use super::log::LogCache;
use super::logger::logger;
use super::members::Members;
use super::reads::Reads;
use super::ready::{Disk, last_change};
use super::snapshot::Snapshots;
use crate::ids::NodeId;
use crate::time::Mono;
use bytes::Bytes;
use raft::eraftpb::{ConfState, Entry, HardState, Message, MessageType};
use raft::{RawNode, ReadOnlyOption, StateRole};
use std::collections::{BTreeMap, VecDeque};

/// Who this member is.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// Of this period of membership; not zero.
    pub raft_id: u64,
    pub node: NodeId,
    /// For election timeouts and read contexts; another one at each start.
    pub seed: u64,
}

/// What storage held is not usable.
#[derive(Debug, thiserror::Error)]
pub enum ConsensusError {
    #[error("the stored raft state is damaged: {0}; remove this manager and add it again")]
    Corrupt(String),
    #[error("the stored raft state is damaged; remove this manager and add it again")]
    Codec(#[from] CodecError),
    #[error("the stored raft state belongs to node {found}, this is node {own}")]
    OtherNode { found: NodeId, own: NodeId },
    #[error("log entry {index} has the unknown kind {kind}: a newer version wrote it, upgrade this node")]
    UnknownEntry { index: u64, kind: u64 },
    #[error("this node was removed from the managers")]
    Removed,
    #[error("raft refuses its configuration")]
    Raft(#[source] raft::Error),
}

/// Small deterministic generator (SplitMix64, Steele et al. 2014).
#[derive(Debug)]
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

/// One member of the group. See the module's rules.
pub struct Consensus {
    pub(super) raw: RawNode<LogCache>,
    pub(super) raft_id: u64,
    draw: Draw,
    /// Role and term the election timeout was drawn for.
    drawn_for: (StateRole, u64),
    election_ticks: usize,
    pub(super) now: Mono,
    pub(super) tick: u64,
    pub(super) members: Members,
    pub(super) conf_state: ConfState,
    /// Senders the members do not name (yet), so that they can be answered.
    pub(super) strangers: VecDeque<(u64, NodeId)>,
    pub(super) heard: BTreeMap<u64, Mono>,
    pub(super) disk: Disk,
    /// By index: the term it was proposed in and who waits for it.
    pub(super) pending: BTreeMap<u64, (u64, RequestId)>,
    pub(super) changes: VecDeque<WaitingChange>,
    pub(super) reads: Reads,
    pub(super) snapshots: Snapshots,
    pub(super) applied: u64,
    pub(super) applied_term: u64,
    role: Role,
    pub(super) leaving: Option<Leaving>,
    pub(super) stopped: bool,
}

/// The state on disk of the first member of a new group, which starts with the state machine's bytes `state` as the
/// snapshot at index 1. Later members get this history only by snapshot, so it needs no entries.
/// Store it before `Consensus::new`.
pub fn bootstrap(raft_id: u64, node: NodeId, state: Bytes) -> Persist {
    let mut members = Members::default();
    members.insert(raft_id, node);
    let meta = Meta { index: 1, term: 1, conf_state: ConfState::from((vec![raft_id], vec![])), members };
    let hard = HardState { term: 1, commit: 1, ..Default::default() };
    Persist {
        number: 0,
        hard_state: codec::encode_hard(&hard),
        snapshot: Some(StoredSnapshot {
            index: 1,
            meta: codec::encode_meta(&meta),
            state,
            floor: codec::encode_floor(1, 1),
        }),
        append: Vec::new(),
    }
}

fn corrupt(what: String) -> ConsensusError {
    ConsensusError::Corrupt(what)
}

/// Checks that the parts fit together and builds the log. Raft would panic on what is refused here.
fn load(recovered: &Recovered, config: &Config) -> Result<(LogCache, Meta, Disk), ConsensusError> {
    let mut hard = codec::decode_hard(&recovered.hard_state)?;
    let (meta, floor) = match &recovered.snapshot {
        Some(stored) => (codec::decode_meta(&stored.meta)?, codec::decode_floor(&stored.floor)?),
        None => (Meta::default(), (0, 0)),
    };
    let decode = |record: &LogRecord| match codec::unknown_entry(&record.bytes) {
        Some((index, kind)) => Err(ConsensusError::UnknownEntry { index, kind }),
        None => Ok(codec::decode_entry(&record.bytes)?),
    };
    let entries = recovered.entries.iter().map(decode).collect::<Result<Vec<_>, ConsensusError>>()?;
    for (expected, (entry, record)) in (floor.0 + 1..).zip(entries.iter().zip(&recovered.entries)) {
        if entry.index != expected || record.index != expected {
            return Err(corrupt(format!("entry {expected} is missing, {} is in its place", entry.index)));
        }
    }
    let last = floor.0 + entries.len() as u64;
    if floor.0 > meta.index || last < meta.index {
        return Err(corrupt(format!("the log covers {}..={last}, the snapshot {}", floor.0 + 1, meta.index)));
    }
    if recovered.snapshot.is_none() && !entries.is_empty() {
        return Err(corrupt("there are entries and no snapshot they follow".to_owned()));
    }
    hard.commit = hard.commit.max(meta.index);
    hard.term = hard.term.max(entries.last().map_or(meta.term, |entry| entry.term));
    if hard.commit > last {
        return Err(corrupt(format!("the log ends at {last}, {} were committed", hard.commit)));
    }
    match meta.members.node(config.raft_id) {
        Some(found) if found != config.node => return Err(ConsensusError::OtherNode { found, own: config.node }),
        None if !meta.members.is_empty() => return Err(ConsensusError::Removed),
        Some(_) | None => {}
    }
    let disk = Disk::holding(hard.commit, last_change(&entries).unwrap_or(0));
    let mut log = LogCache::new(hard, meta.conf_state.clone(), floor);
    log.append(&entries);
    Ok((log, meta, disk))
}

impl Consensus {
    /// Starts from what storage held. `out` receives the first effects: the snapshot to restore and the entries known
    /// to be committed.
    pub fn new(
        now: Mono,
        config: Config,
        recovered: Recovered,
        out: &mut Effects,
    ) -> Result<Consensus, ConsensusError> {
        let (log, meta, disk) = load(&recovered, &config)?;
        let raft_config = raft::Config {
            id: config.raft_id,
            election_tick: ELECTION_TICKS_MIN,
            heartbeat_tick: HEARTBEAT_TICKS,
            min_election_tick: ELECTION_TICKS_MIN,
            max_election_tick: ELECTION_TICKS_MAX,
            applied: meta.index,
            max_size_per_msg: APPEND_BYTES_MAX,
            max_inflight_msgs: INFLIGHT_MESSAGES_MAX,
            check_quorum: true,
            pre_vote: true,
            read_only_option: ReadOnlyOption::Safe,
            max_uncommitted_size: UNCOMMITTED_BYTES_MAX,
            max_committed_size_per_ready: COMMITTED_BYTES_PER_READY_MAX,
            ..raft::Config::default()
        };
        raft_config.validate().map_err(ConsensusError::Raft)?;
        let raw = RawNode::new(&raft_config, log, &logger()).map_err(ConsensusError::Raft)?;
        let mut draw = Draw(config.seed);
        let mut consensus = Consensus {
            drawn_for: (raw.raft.state, raw.raft.term),
            raw,
            raft_id: config.raft_id,
            election_ticks: draw_election_ticks(&mut draw),
            reads: Reads::new(config.raft_id, draw.next()),
            draw,
            now,
            tick: 0,
            members: meta.members,
            conf_state: meta.conf_state,
            strangers: VecDeque::new(),
            heard: BTreeMap::new(),
            disk,
            pending: BTreeMap::new(),
            changes: VecDeque::new(),
            snapshots: Snapshots::starting_at(meta.index),
            applied: meta.index,
            applied_term: meta.term,
            role: Role::default(),
            leaving: None,
            stopped: false,
        };
        if let Some(stored) = recovered.snapshot {
            out.apply.push(Apply::Restore { index: meta.index, term: meta.term, state: stored.state });
        }
        out.members = Some(consensus.members.clone());
        consensus.settle(out);
        Ok(consensus)
    }

    /// Handles one input; see the module's rules for what to do with `out`.
    pub fn input(&mut self, now: Mono, input: Input, out: &mut Effects) {
        if self.stopped {
            return;
        }
        self.now = self.now.max(now);
        if self.leaving.is_some() {
            self.input_while_leaving(input, out);
            return;
        }
        match input {
            Input::Tick => self.on_tick(out),
            Input::Message { from, bytes } => self.on_message(from, &bytes, out),
            Input::Propose(proposals) => self.on_propose(proposals, out),
            Input::ReadIndex { id, deadline } => {
                if let Err(outcome) = self.reads.push(id, deadline) {
                    out.reads.push((id, outcome));
                }
            }
            Input::ProposeChange { id, change, deadline } => self.on_change(id, change, deadline, out),
            Input::Persisted { number } => self.on_persisted(number, out),
            Input::SnapshotStored { index, state } => self.on_snapshot_stored(index, state),
            Input::SnapshotFailed { index } => self.snapshots.failed(index, self.applied, self.tick),
            Input::Campaign => self.campaign(),
            Input::TransferLeader { to } => {
                if let Some(to) = to.or_else(|| self.best_voter()) {
                    self.raw.transfer_leader(to);
                }
            }
            Input::Unreachable { raft_id } => self.raw.report_unreachable(raft_id),
            Input::SnapshotSent { raft_id, ok } => self.on_snapshot_sent(raft_id, ok),
        }
        self.settle(out);
    }

    /// Whether this node leads, caught up or not.
    pub(super) fn leads(&self) -> bool {
        self.raw.raft.state == StateRole::Leader && self.leaving.is_none()
    }

    pub(super) fn leader_node(&self) -> Option<NodeId> {
        self.node_of(self.raw.raft.leader_id)
    }

    /// The node behind a raft id, member or not yet.
    pub(super) fn node_of(&self, raft_id: u64) -> Option<NodeId> {
        let stranger = || self.strangers.iter().find(|(id, _)| *id == raft_id).map(|(_, node)| *node);
        self.members.node(raft_id).or_else(stranger)
    }

    pub(super) fn reachable(&self, raft_id: u64) -> bool {
        let limit_ms = REACHABLE_TICKS * TICK_MS;
        raft_id == self.raft_id
            || self.heard.get(&raft_id).is_some_and(|heard| self.now.0.saturating_sub(heard.0) <= limit_ms)
    }

    /// The reachable voter, other than this node, that has most of the log.
    pub(super) fn best_voter(&self) -> Option<u64> {
        let progress = self.raw.raft.prs();
        let voters = self.conf_state.voters.iter().copied();
        voters
            .filter(|id| *id != self.raft_id && self.reachable(*id))
            .max_by_key(|id| progress.get(*id).map_or(0, |p| p.matched))
    }

    fn on_tick(&mut self, out: &mut Effects) {
        self.tick += 1;
        if self.leads() {
            if self.disk.waiting_ticks(self.tick) == Some(DISK_STALL_TICKS) {
                tracing::warn!("raft: this node's disk has not answered for {DISK_STALL_TICKS} ticks; handing over");
                if let Some(to) = self.best_voter() {
                    self.raw.transfer_leader(to);
                }
            }
            self.raw.tick();
        } else if !self.disk.busy() {
            // A voter whose disk lags behind its log must not ask for votes: it would promise what may be lost.
            self.raw.tick();
        }
        self.reads.tick(self.now, &mut out.reads);
        self.tick_snapshots();
        self.ask_others(out);
    }

    fn campaign(&mut self) {
        if self.disk.busy() {
            return;
        }
        if let Err(error) = self.raw.campaign() {
            tracing::debug!("raft: campaign not started: {error}");
        }
    }

    fn on_propose(&mut self, proposals: Vec<Proposal>, out: &mut Effects) {
        let mut batch = Vec::new();
        let mut bytes = 0;
        for proposal in proposals {
            if let Err(dropped) = self.admit(&proposal, batch.len()) {
                out.replies.push((proposal.id, Outcome::Dropped(dropped)));
                continue;
            }
            if bytes > 0 && bytes + proposal.data.len() as u64 > APPEND_BYTES_MAX {
                self.propose_batch(std::mem::take(&mut batch), out);
                bytes = 0;
            }
            bytes += proposal.data.len() as u64;
            batch.push(proposal);
        }
        self.propose_batch(batch, out);
    }

    fn admit(&self, proposal: &Proposal, batched: usize) -> Result<(), Dropped> {
        if !self.leads() {
            return Err(Dropped::NotLeader { leader: self.leader_node() });
        }
        if proposal.term.is_some_and(|term| term != self.raw.raft.term) {
            return Err(Dropped::StaleTerm { current: self.raw.raft.term });
        }
        if self.raw.raft.lead_transferee.is_some() {
            return Err(Dropped::HandingOver);
        }
        if proposal.data.is_empty() || proposal.data.len() > PROPOSAL_BYTES_MAX {
            return Err(Dropped::TooLarge { bytes: proposal.data.len(), max: PROPOSAL_BYTES_MAX });
        }
        let full = self.pending.len() + batched >= PENDING_PROPOSALS_MAX;
        if full || self.raw.store().bytes() > LOG_BYTES_MAX {
            return Err(Dropped::Overloaded);
        }
        Ok(())
    }

    fn propose_batch(&mut self, batch: Vec<Proposal>, out: &mut Effects) {
        if batch.is_empty() {
            return;
        }
        let entry = |proposal: &Proposal| Entry { data: proposal.data.clone(), ..Default::default() };
        let mut message = Message { from: self.raft_id, ..Default::default() };
        message.set_msg_type(MessageType::MsgPropose);
        message.set_entries(batch.iter().map(entry).collect::<Vec<_>>().into());
        let first = self.raw.raft.raft_log.last_index() + 1;
        let term = self.raw.raft.term;
        match self.raw.raft.step(message) {
            Ok(()) => self.pending.extend((first..).zip(batch.iter().map(|p| (term, p.id)))),
            Err(error) => {
                tracing::debug!("raft: {} proposals refused: {error}", batch.len());
                out.replies.extend(batch.iter().map(|p| (p.id, Outcome::Dropped(Dropped::Overloaded))));
            }
        }
    }

    /// Everything that may follow from an input.
    fn settle(&mut self, out: &mut Effects) {
        self.drain(out);
        while self.takes_part() && self.run_changes(out) {
            self.drain(out);
        }
        if !self.takes_part() {
            self.note_role(out);
            return;
        }
        if self.raw.raft.leader_id != raft::INVALID_ID
            && let Some(context) = self.reads.start(self.tick)
        {
            self.raw.read_index(context);
            self.drain(out);
        }
        self.reads.answer(self.applied, &mut out.reads);
        self.request_snapshot(out);
        self.note_role(out);
        self.fix_election_timeout();
    }

    fn takes_part(&self) -> bool {
        !self.stopped && self.leaving.is_none()
    }

    fn note_role(&mut self, out: &mut Effects) {
        let raft = &self.raw.raft;
        let role = if !self.takes_part() {
            Role { term: raft.term, ..Role::default() }
        } else {
            Role {
                leader: self.leader_node(),
                leader_raft_id: raft.leader_id,
                term: raft.term,
                is_leader: self.leads() && self.applied_term == raft.term,
            }
        };
        if role != self.role {
            self.role = role;
            out.role = Some(role);
        }
    }

    /// Raft-rs draws the timeout from a global generator; what it drew is replaced before it can matter (only a tick
    /// reads it).
    fn fix_election_timeout(&mut self) {
        let current = (self.raw.raft.state, self.raw.raft.term);
        if current != self.drawn_for {
            self.drawn_for = current;
            self.election_ticks = draw_election_ticks(&mut self.draw);
        }
        self.raw.raft.set_randomized_election_timeout(self.election_ticks);
    }

    /// A look at the state.
    pub fn status(&self) -> Status {
        let progress = self.leads().then(|| self.raw.raft.prs());
        let member = |(raft_id, node)| MemberStatus {
            raft_id,
            node,
            voter: self.conf_state.voters.contains(&raft_id),
            leader: raft_id == self.raw.raft.leader_id,
            reachable: self.reachable(raft_id),
            match_index: progress.and_then(|all| all.get(raft_id)).map(|p| p.matched),
        };
        Status {
            raft_id: self.raft_id,
            role: self.role,
            commit: self.raw.raft.raft_log.committed,
            applied: self.applied,
            first_index: self.raw.store().first(),
            last_index: self.raw.raft.raft_log.last_index(),
            members: self.members.iter().map(member).collect(),
        }
    }

    /// The members as of the last applied entry.
    pub fn members(&self) -> &Members {
        &self.members
    }
}

fn draw_election_ticks(draw: &mut Draw) -> usize {
    let spread = (ELECTION_TICKS_MAX - ELECTION_TICKS_MIN) as u64;
    ELECTION_TICKS_MIN + usize::try_from(draw.next() % spread).unwrap_or(0)
}
