//! A manager: consensus over a disk, the store its log drives, and who waits for what (`node::raft`, `node::manager`).

use crate::leader::{Term, TermWake};
use crate::log::Fnv;
use crate::net::HostId;
use crate::settings::{MS, SECOND, Trouble};
use crate::table::Entry;
use crate::world::World;
use bytes::Bytes;
use rand::Rng;
use std::collections::BTreeMap;
use swarm_core::NodeId;
use swarm_core::consensus::limits::TICK_MS;
use swarm_core::consensus::{
    Change, Config, Consensus, ConsensusError, Effects, Input, Proposal, RequestId, Role, SnapshotRequest,
};
use swarm_core::leader::Clock;
use swarm_core::store::{Conflict, Event as StoreEvent, Object, Store};

/// As the daemon's: how long a proposer waits.
const PROPOSE_US: u64 = 10 * SECOND;
/// As the daemon's: results of entries kept for writers that ask by index.
const OUTCOMES_KEPT: u64 = 4096;

/// Whom an answered read is for.
#[derive(Clone, Copy, Debug)]
pub enum ReadFor {
    Wish(u64),
    Confirm { term: u64 },
}

/// What happens to a manager.
#[derive(Debug)]
pub enum ManagerWake {
    Tick,
    DiskDone,
    Encoded {
        request: SnapshotRequest,
        state: Bytes,
    },
    /// Out of the queue of commands.
    Propose {
        entry: Box<Entry>,
        fence: Option<u64>,
        waiter: Waiter,
    },
    Read {
        read: u64,
        patience_us: u64,
    },
    /// Whether a quorum still follows the leader of this term.
    Confirm {
        term: u64,
    },
    Change {
        change: Change,
        patience_us: u64,
        waiter: ChangeFor,
    },
    Transfer,
    Lost {
        raft_id: u64,
        snapshot: bool,
    },
    Delivered {
        raft_id: u64,
    },
    Timeout(RequestId),
    Term {
        term: u64,
        wake: TermWake,
    },
}

/// Who waits for a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiter {
    Decision {
        term: u64,
    },
    Barrier {
        term: u64,
    },
    Statuses {
        term: u64,
    },
    Correct {
        term: u64,
    },
    Scaling {
        term: u64,
    },
    /// Another manager, by its call.
    Call(u64),
    Submission(u64),
    Change(ChangeFor),
}

/// Who waits for a change of the members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeFor {
    Member {
        term: u64,
        raft_id: u64,
    },
    /// An old membership of a node that asks to be let in goes first.
    Replace {
        call: u64,
        node: NodeId,
        raft_id: u64,
    },
    Join {
        call: u64,
    },
}

/// How a write ended for who proposed it.
#[derive(Clone, Debug)]
pub enum Written {
    Done(u64, Result<(), Conflict>),
    NotDone,
    Uncertain,
}

/// The manager part of a daemon.
pub struct Manager {
    pub epoch: u64,
    pub consensus: Consensus,
    pub store: Store,
    pub hash: u64,
    pub role: Role,
    last_request: u64,
    pub waiters: BTreeMap<RequestId, Waiter>,
    pub reads: BTreeMap<RequestId, ReadFor>,
    /// What became of recent entries.
    pub refused: BTreeMap<u64, Conflict>,
    pub unknown_below: u64,
    pub applied: u64,
    /// The leaders' time, as heard here.
    pub clock: Clock,
    /// The newest term it has voted in.
    pub voted_in: u64,
    pub term: Option<Term>,
    /// Submissions that wait for an index to be applied here.
    pub awaited: BTreeMap<u64, Vec<u64>>,
}

fn object_hash(object: &Object) -> u64 {
    let (kind, bytes) = match object {
        Object::Cluster(o) => (1u8, serde_json::to_vec(&**o)),
        Object::Node(o) => (2, serde_json::to_vec(&**o)),
        Object::Service(o) => (3, serde_json::to_vec(&**o)),
        Object::Task(o) => (4, serde_json::to_vec(&**o)),
        Object::Network(o) => (5, serde_json::to_vec(&**o)),
        Object::Secret(o) => (6, serde_json::to_vec(&**o)),
        Object::Config(o) => (7, serde_json::to_vec(&**o)),
    };
    let mut fnv = Fnv::default();
    fnv.write(&[kind]);
    // An object that cannot be written has a hash of its own, which two runs share.
    fnv.write(&bytes.unwrap_or_default());
    fnv.0.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Of all objects, whatever their order: so that it can follow changes one by one.
pub fn state_hash(store: &Store) -> u64 {
    store.objects().iter().fold(0, |sum, object| sum.wrapping_add(object_hash(object)))
}

fn follow_hash(mut hash: u64, events: &[StoreEvent]) -> u64 {
    for event in events {
        match event {
            StoreEvent::Created(new) => hash = hash.wrapping_add(object_hash(new)),
            StoreEvent::Updated { old, new } => {
                hash = hash.wrapping_sub(object_hash(old)).wrapping_add(object_hash(new));
            }
            StoreEvent::Removed(old) => hash = hash.wrapping_sub(object_hash(old)),
        }
    }
    hash
}

impl World {
    /// Starts the manager of a host from what its disk holds.
    pub fn start_manager(&mut self, host: HostId) {
        let (Some(raft_id), node) = (self.hosts[host].raft_id, self.hosts[host].node) else { return };
        let recovered = self.hosts[host].disk.recover();
        let voted_in = crate::disk::vote(&recovered.hard_state).map_or(0, |(term, _)| term);
        let mut out = Effects::default();
        let config = Config { raft_id, node, seed: self.rng.random() };
        let consensus = match Consensus::new(self.mono(host), config, recovered, &mut out) {
            Ok(consensus) => consensus,
            Err(ConsensusError::Removed) => {
                self.forget_manager(host);
                return;
            }
            Err(error) => {
                self.check.fail(crate::check::DISK_READABLE, format!("h{host}: {error}"));
                return;
            }
        };
        let (epoch, started) = (self.number(), self.mono(host));
        let manager = Manager {
            epoch,
            consensus,
            store: Store::new(),
            hash: 0,
            role: Role::default(),
            last_request: 0,
            waiters: BTreeMap::new(),
            reads: BTreeMap::new(),
            refused: BTreeMap::new(),
            unknown_below: 0,
            applied: 0,
            clock: Clock::new(started),
            voted_in,
            term: None,
            awaited: BTreeMap::new(),
        };
        let Some(daemon) = self.daemon(host) else { return };
        daemon.manager = Some(manager);
        self.note(&format!("h{host} manager starts as {raft_id}"));
        self.carry_out(host, out);
        let voters: Vec<u64> = self.manager(host).map_or(Vec::new(), |manager| {
            manager.consensus.status().members.iter().filter(|m| m.voter).map(|m| m.raft_id).collect()
        });
        if voters == [raft_id] {
            self.input(host, Input::Campaign);
        }
        let phase = self.draw(0, TICK_MS * MS);
        self.wake_manager(host, phase, ManagerWake::Tick);
        self.gossip_role(host);
    }

    /// The manager part goes; who waits there learns nothing.
    pub fn end_manager(&mut self, host: HostId) {
        let Some(daemon) = self.daemon(host) else { return };
        let Some(manager) = daemon.manager.take() else { return };
        self.hosts[host].disk.crash(crate::disk::Fate::Kept, false);
        for waiter in manager.waiters.into_values() {
            self.written(host, waiter, Written::Uncertain);
        }
        for submission in manager.awaited.into_values().flatten() {
            self.submission_over(submission, Err(crate::submit::WriteError::Uncertain));
        }
        self.gossip_role(host);
    }

    /// From a task of the daemon to the one that owns consensus: mostly at once.
    pub fn command_lag(&mut self) -> u64 {
        let late = if self.settings.trouble == Trouble::Leaders { 20 } else { 2 };
        if self.chance(late) && !self.calm { self.draw(10 * MS, 3 * SECOND) } else { self.draw(10, 2 * MS) }
    }

    pub fn manager_wakes(&mut self, host: HostId, epoch: u64, wake: ManagerWake) {
        if self.manager(host).is_none_or(|manager| manager.epoch != epoch) {
            return;
        }
        match wake {
            ManagerWake::Tick => {
                self.wake_manager(host, TICK_MS * MS, ManagerWake::Tick);
                self.input(host, Input::Tick);
            }
            ManagerWake::DiskDone => self.disk_done(host),
            ManagerWake::Encoded { request, state } => {
                self.hosts[host].disk.store_snapshot(request, state);
                self.disk_begin(host);
            }
            ManagerWake::Propose { entry, fence, waiter } => self.propose(host, *entry, fence, waiter),
            ManagerWake::Read { read, patience_us } => {
                let deadline = self.mono(host) + std::time::Duration::from_micros(patience_us);
                let Some(id) = self.request(host) else { return };
                self.manager(host).map(|manager| manager.reads.insert(id, ReadFor::Wish(read)));
                self.input(host, Input::ReadIndex { id, deadline });
            }
            ManagerWake::Confirm { term } => {
                let deadline = self.mono(host) + std::time::Duration::from_micros(crate::submit::READ_US);
                let Some(id) = self.request(host) else { return };
                self.manager(host).map(|manager| manager.reads.insert(id, ReadFor::Confirm { term }));
                self.input(host, Input::ReadIndex { id, deadline });
            }
            ManagerWake::Change { change, patience_us, waiter } => {
                let deadline = self.mono(host) + std::time::Duration::from_micros(patience_us);
                let Some(id) = self.request(host) else { return };
                self.wait(host, id, Waiter::Change(waiter), patience_us + PROPOSE_US);
                self.input(host, Input::ProposeChange { id, change, deadline });
            }
            ManagerWake::Transfer => self.input(host, Input::TransferLeader { to: None }),
            ManagerWake::Lost { raft_id, snapshot } => {
                self.input(host, Input::Unreachable { raft_id });
                if snapshot {
                    self.input(host, Input::SnapshotSent { raft_id, ok: false });
                }
            }
            ManagerWake::Delivered { raft_id } => self.input(host, Input::SnapshotSent { raft_id, ok: true }),
            ManagerWake::Timeout(id) => {
                if let Some(waiter) = self.manager(host).and_then(|manager| manager.waiters.remove(&id)) {
                    self.written(host, waiter, Written::Uncertain);
                }
            }
            ManagerWake::Term { term, wake } => self.term_wakes(host, term, wake),
        }
    }

    fn request(&mut self, host: HostId) -> Option<RequestId> {
        let manager = self.manager(host)?;
        manager.last_request += 1;
        Some(RequestId(manager.last_request))
    }

    fn wait(&mut self, host: HostId, id: RequestId, waiter: Waiter, patience_us: u64) {
        if let Some(manager) = self.manager(host) {
            manager.waiters.insert(id, waiter);
            self.wake_manager(host, patience_us, ManagerWake::Timeout(id));
        }
    }

    fn propose(&mut self, host: HostId, entry: Entry, fence: Option<u64>, waiter: Waiter) {
        let Some(id) = self.request(host) else { return };
        let source = entry.source;
        let (number, data) = self.tables.encode(entry, self.settings.padding);
        self.note(&format!("h{host} proposes {number} {source:?}"));
        self.wait(host, id, waiter, PROPOSE_US);
        self.input(host, Input::Propose(vec![Proposal { id, data, term: fence }]));
    }

    /// Gives consensus an input and does what follows.
    pub fn input(&mut self, host: HostId, input: Input) {
        let now = self.mono(host);
        let Some(manager) = self.manager(host) else { return };
        let mut out = Effects::default();
        manager.consensus.input(now, input, &mut out);
        self.carry_out(host, out);
    }

    pub fn role_changed(&mut self, host: HostId, role: Role) {
        let node = self.hosts[host].node;
        let Some(manager) = self.manager(host) else { return };
        let before = std::mem::replace(&mut manager.role, role);
        if let Some(leader) = role.leader.or(role.is_leader.then_some(node)) {
            self.check.leads(role.term, leader);
        }
        if (before.is_leader, before.term, before.leader) == (role.is_leader, role.term, role.leader) {
            return;
        }
        let leader = role.leader.and_then(|leader| self.nodes.get(&leader).copied());
        let (term, leads) = (role.term, role.is_leader);
        self.note(&format!("h{host} term {term} leader {leader:?}{}", if leads { " (leads)" } else { "" }));
        self.end_term(host);
        if let (Some(leader), Some(daemon)) = (role.leader, self.daemon(host)) {
            daemon.book.set_leader(leader);
            self.session_leader_known(host);
        }
        if leads {
            self.begin_term(host, term);
        }
    }

    pub fn restore(&mut self, host: HostId, index: u64, state: &Bytes) {
        let Some(store) = self.tables.unpack(state) else {
            self.check.fail(crate::check::NOTHING_LOST, format!("h{host}: the snapshot at {index} is damaged"));
            return;
        };
        let hash = state_hash(&store);
        let Some(manager) = self.manager(host) else { return };
        (manager.store, manager.hash) = (store, hash);
        (manager.refused, manager.unknown_below, manager.applied) = (BTreeMap::new(), index, index);
        let view = manager.store.view();
        self.check.restored(index, hash, &view);
        self.note(&format!("h{host} restores {index} {hash:016x}"));
        self.applied_here(host, index);
    }

    pub fn apply(&mut self, host: HostId, index: u64, term: u64, data: &Bytes, reply_to: Option<RequestId>) {
        let Some((number, entry)) = self.tables.entry(data) else {
            self.check.fail(crate::check::NOTHING_LOST, format!("h{host}: entry {index} is damaged"));
            return;
        };
        let now = self.mono(host);
        let Some(manager) = self.manager(host) else { return };
        if entry.txn.term == Some(term) {
            manager.clock.hear(now, entry.txn.wall);
        }
        let before = manager.store.view();
        let result = manager.store.apply(index, term, &entry.txn);
        if let Ok(events) = &result {
            manager.hash = follow_hash(manager.hash, events);
        }
        manager.applied = index;
        if let Err(conflict) = &result {
            manager.refused.insert(index, conflict.clone());
        }
        let floor = index.saturating_sub(OUTCOMES_KEPT);
        if floor > manager.unknown_below {
            manager.unknown_below = floor;
            manager.refused = manager.refused.split_off(&(floor + 1));
        }
        let (hash, after) = (manager.hash, manager.store.view());
        let first = self.check.applied(index, term, (number, &entry), (&before, &after), &result, hash);
        let what = if first { crate::check::describe(&result) } else { String::new() };
        let line = format!("h{host} applies {index} t{term} #{number} {hash:016x}{what}");
        if first {
            self.note(&line)
        } else {
            self.note_minor(&line)
        }
        let waiter = reply_to.and_then(|id| self.manager(host)?.waiters.remove(&id));
        if let Some(waiter) = waiter {
            self.written(host, waiter, Written::Done(index, result.map(drop)));
        }
        self.applied_here(host, index);
    }

    fn applied_here(&mut self, host: HostId, index: u64) {
        let Some(manager) = self.manager(host) else { return };
        let later = manager.awaited.split_off(&(index + 1));
        let due = std::mem::replace(&mut manager.awaited, later);
        for (index, submissions) in due {
            for submission in submissions {
                self.submission_applied(host, submission, index);
            }
        }
        self.views_changed(host);
    }

    /// What the proposer of a write does with its outcome.
    pub fn written(&mut self, host: HostId, waiter: Waiter, written: Written) {
        match waiter {
            Waiter::Decision { term } => self.decision_written(host, term, &written),
            Waiter::Barrier { term } => self.barrier_written(host, term, &written),
            Waiter::Statuses { term } => self.statuses_written(host, term, &written),
            Waiter::Scaling { term } => self.scaling_written(host, term),
            Waiter::Correct { term } => self.corrected(host, term),
            Waiter::Call(call) => self.written_for_other(host, call, &written),
            Waiter::Submission(submission) => self.submission_written(submission, &written),
            Waiter::Change(ChangeFor::Member { term, raft_id }) => self.member_changed(host, term, raft_id),
            Waiter::Change(ChangeFor::Replace { call, node, raft_id }) => match written {
                Written::Done(..) => {
                    self.change(host, Change::AddLearner { raft_id, node }, ChangeFor::Join { call });
                }
                Written::NotDone | Written::Uncertain => self.reply(call, crate::call::Reply::Failed),
            },
            Waiter::Change(ChangeFor::Join { call }) => match written {
                Written::Done(..) => self.join_done(host, call),
                Written::NotDone | Written::Uncertain => self.reply(call, crate::call::Reply::Failed),
            },
        }
    }
}
