//! A cluster in one thread: members, a network with delay, partitions and loss, and disks with delay and crashes.

use crate::consensus::limits::TICK_MS;
use crate::consensus::*;
use crate::ids::NodeId;
use crate::time::Mono;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What a member of the test has on stable storage: what `node::storage` would hold.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    pub hard_state: Bytes,
    pub snapshot: Option<StoredSnapshot>,
    pub log: BTreeMap<u64, Bytes>,
}

impl Disk {
    pub fn write(&mut self, batch: Persist) {
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

    fn write_snapshot(&mut self, request: SnapshotRequest, state: Bytes) {
        if self.snapshot.as_ref().is_some_and(|stored| stored.index > request.index) {
            return;
        }
        let SnapshotRequest { index, meta, floor, floor_index } = request;
        self.snapshot = Some(StoredSnapshot { index, meta, state, floor });
        self.log = self.log.split_off(&(floor_index + 1));
    }

    pub fn recovered(&self) -> Recovered {
        Recovered {
            hard_state: self.hard_state.clone(),
            snapshot: self.snapshot.clone(),
            entries: self.log.iter().map(|(i, b)| LogRecord { index: *i, bytes: b.clone() }).collect(),
        }
    }
}

/// The state machine of the tests: every entry with its index, one per line.
pub type State = BTreeMap<u64, String>;

fn encode(state: &State) -> Bytes {
    state.iter().map(|(index, text)| format!("{index} {text}\n")).collect::<String>().into()
}

fn decode(bytes: &Bytes) -> State {
    let text = std::str::from_utf8(bytes).unwrap();
    text.lines().map(|l| l.split_once(' ').unwrap()).map(|(i, t)| (i.parse().unwrap(), t.to_owned())).collect()
}

pub struct Member {
    raft_id: u64,
    node: NodeId,
    pub consensus: Option<Consensus>,
    pub disk: Disk,
    unsynced: VecDeque<Persist>,
    /// The disk answers only while this is true.
    pub disk_works: bool,
    pub state: State,
    pub role: Role,
    pub stopped: Option<Stop>,
}

#[derive(Default)]
pub struct Cluster {
    pub now: u64,
    pub members: BTreeMap<u64, Member>,
    wire: VecDeque<(u64, Send)>,
    /// Raft ids that hear and are heard by nobody.
    pub cut: BTreeSet<u64>,
    pub seed: u64,
    /// Of 100 messages, this many are lost.
    pub loss: u64,
    next_request: u64,
    /// Entry of a request, once it was answered as committed.
    pub committed: BTreeMap<RequestId, u64>,
    pub outcomes: BTreeMap<RequestId, Outcome>,
    pub reads: BTreeMap<RequestId, ReadOutcome>,
    pub snapshots_taken: usize,
}

pub fn node(raft_id: u64) -> NodeId {
    NodeId(u128::from(raft_id) * 1000)
}

impl Cluster {
    /// One member with raft id 1, which leads.
    pub fn new(seed: u64) -> Self {
        let mut cluster = Cluster { seed, ..Cluster::default() };
        let mut disk = Disk::default();
        disk.write(bootstrap(1, node(1), encode(&State::new())));
        cluster.start(1, disk);
        cluster.input(1, Input::Campaign);
        cluster.run_until("the first member leads", 100, |c| c.leader() == Some(1));
        cluster
    }

    /// Voters 1..=count, member 1 leads.
    pub fn of(count: u64, seed: u64) -> Self {
        let mut cluster = Cluster::new(seed);
        for raft_id in 2..=count {
            cluster.join(raft_id);
        }
        // Until they know, the older members count the votes of the older, smaller group.
        cluster.run_until("all know each other", 1_000, |c| {
            c.members.keys().all(|id| c.status(*id).members.iter().filter(|m| m.voter).count() as u64 == count)
        });
        cluster
    }

    pub fn join(&mut self, raft_id: u64) {
        self.start(raft_id, Disk::default());
        self.change(Change::AddLearner { raft_id, node: node(raft_id) });
        self.change(Change::Promote { raft_id });
    }

    /// Makes the change and waits for it.
    pub fn change(&mut self, change: Change) {
        let id = self.ask_change(change);
        self.run_until("the change is committed", 6_000, |c| c.outcomes.contains_key(&id));
        assert!(matches!(self.outcomes[&id], Outcome::Committed { .. }), "{change:?}: {:?}", self.outcomes[&id]);
    }

    pub fn ask_change(&mut self, change: Change) -> RequestId {
        let leader = self.leader().expect("a leader");
        let id = self.request();
        let deadline = Mono(self.now + 5_000);
        self.input(leader, Input::ProposeChange { id, change, deadline });
        id
    }

    pub fn start(&mut self, raft_id: u64, disk: Disk) {
        let mut out = Effects::default();
        let config = Config { raft_id, node: node(raft_id), seed: self.seed ^ (raft_id << 32) ^ self.now };
        let consensus = Consensus::new(Mono(self.now), config, disk.recovered(), &mut out).unwrap();
        let member = Member {
            raft_id,
            node: node(raft_id),
            consensus: Some(consensus),
            disk,
            unsynced: VecDeque::new(),
            disk_works: true,
            state: State::new(),
            role: Role::default(),
            stopped: None,
        };
        self.members.insert(raft_id, member);
        self.do_effects(raft_id, out);
    }

    /// kill -9: memory is gone, and what was not synced.
    pub fn kill(&mut self, raft_id: u64) {
        let member = self.members.get_mut(&raft_id).unwrap();
        member.consensus = None;
        member.unsynced.clear();
        member.role = Role::default();
    }

    pub fn restart(&mut self, raft_id: u64) {
        let disk = self.members[&raft_id].disk.clone();
        self.start(raft_id, disk);
    }

    pub fn request(&mut self) -> RequestId {
        self.next_request += 1;
        RequestId(self.next_request)
    }

    pub fn propose(&mut self, at: u64, text: &str) -> RequestId {
        let id = self.request();
        let data = Bytes::copy_from_slice(text.as_bytes());
        self.input(at, Input::Propose(vec![Proposal { id, data, term: None }]));
        id
    }

    /// Proposes at the leader and waits until it is committed; again while leadership is being handed over.
    pub fn write(&mut self, text: &str) -> u64 {
        loop {
            self.run_until("a leader", 5_000, |c| c.leader().is_some());
            let leader = self.leader().expect("a leader");
            let id = self.propose(leader, text);
            self.run_until("the write has an outcome", 5_000, |c| {
                c.committed.contains_key(&id) || c.outcomes.contains_key(&id)
            });
            match self.outcomes.get(&id) {
                None => return self.committed[&id],
                Some(Outcome::Dropped(Dropped::HandingOver)) => self.step(),
                Some(other) => panic!("{text}: {other:?}"),
            }
        }
    }

    pub fn read(&mut self, at: u64) -> RequestId {
        let id = self.request();
        let deadline = Mono(self.now + 5_000);
        self.input(at, Input::ReadIndex { id, deadline });
        id
    }

    pub fn input(&mut self, raft_id: u64, input: Input) {
        let mut out = Effects::default();
        let now = Mono(self.now);
        let Some(member) = self.members.get_mut(&raft_id) else { return };
        let Some(consensus) = &mut member.consensus else { return };
        consensus.input(now, input, &mut out);
        self.do_effects(raft_id, out);
    }

    fn do_effects(&mut self, raft_id: u64, out: Effects) {
        let member = self.members.get_mut(&raft_id).unwrap();
        member.unsynced.extend(out.persist);
        self.wire.extend(out.sends.into_iter().map(|send| (raft_id, send)));
        for apply in out.apply {
            match apply {
                Apply::Restore { state, .. } => member.state = decode(&state),
                Apply::Entry { index, data, reply_to, .. } => {
                    member.state.insert(index, String::from_utf8(data.to_vec()).unwrap());
                    if let Some(id) = reply_to {
                        self.committed.insert(id, index);
                    }
                }
            }
        }
        self.outcomes.extend(out.replies);
        self.reads.extend(out.reads);
        member.role = out.role.unwrap_or(member.role);
        if let Some(stop) = out.stop {
            member.stopped = Some(stop);
            member.consensus = None;
            member.role = Role::default();
        }
        if let Some(request) = out.snapshot {
            let (index, state) = (request.index, encode(&member.state));
            member.disk.write_snapshot(request, state.clone());
            self.snapshots_taken += 1;
            self.input(raft_id, Input::SnapshotStored { index, state });
        }
    }

    /// The member that leads with the highest term, if it says so itself.
    pub fn leader(&self) -> Option<u64> {
        let leading = self.members.values().filter(|m| m.role.is_leader);
        leading.max_by_key(|m| m.role.term).map(|m| m.raft_id)
    }

    pub fn status(&self, raft_id: u64) -> Status {
        self.members[&raft_id].consensus.as_ref().expect("a running member").status()
    }

    pub fn draw(&mut self, below: u64) -> u64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 33) % below
    }

    /// Ten milliseconds: disks sync, then messages arrive, then clocks tick (each member at its own phase).
    pub fn step(&mut self) {
        self.now += 10;
        let ids: Vec<u64> = self.members.keys().copied().collect();
        for raft_id in &ids {
            let member = self.members.get_mut(raft_id).unwrap();
            if !member.disk_works {
                continue;
            }
            if let Some(batch) = member.unsynced.pop_front() {
                let number = batch.number;
                member.disk.write(batch);
                self.input(*raft_id, Input::Persisted { number });
            }
        }
        for (from, send) in std::mem::take(&mut self.wire) {
            self.deliver(from, send);
        }
        for raft_id in &ids {
            if (self.now + raft_id * 30).is_multiple_of(TICK_MS) {
                self.input(*raft_id, Input::Tick);
            }
        }
    }

    fn deliver(&mut self, from: u64, send: Send) {
        let to = self.members.values().find(|m| m.node == send.to).map(|m| m.raft_id);
        let lost = self.draw(100) < self.loss;
        let reached = to.filter(|to| {
            !lost && !self.cut.contains(to) && !self.cut.contains(&from) && self.members[to].consensus.is_some()
        });
        if send.snapshot {
            self.input(from, Input::SnapshotSent { raft_id: send.raft_id, ok: reached.is_some() });
        }
        match reached {
            Some(to) => self.input(to, Input::Message { from: node(from), bytes: send.bytes }),
            None => self.input(from, Input::Unreachable { raft_id: send.raft_id }),
        }
    }

    pub fn run(&mut self, ms: u64) {
        let end = self.now + ms;
        while self.now < end {
            self.step();
        }
    }

    /// Runs until `done`; fails after `ms` of virtual time. Returns how long it took, in ms.
    pub fn run_until(&mut self, what: &str, ms: u64, mut done: impl FnMut(&Cluster) -> bool) -> u64 {
        let start = self.now;
        while !done(self) {
            assert!(self.now < start + ms, "not within {ms} ms (seed {}): {what}\n{}", self.seed, self.describe());
            self.step();
        }
        self.now - start
    }

    fn describe(&self) -> String {
        let describe = |m: &Member| match &m.consensus {
            Some(consensus) => format!("{}: {:?}\n", m.raft_id, consensus.status()),
            None => format!("{}: does not run, {:?}\n", m.raft_id, m.stopped),
        };
        self.members.values().map(describe).collect()
    }

    /// All running members have the same state, which holds every acknowledged write.
    pub fn settled(&self) -> bool {
        let mut states = self.members.values().filter(|m| m.consensus.is_some()).map(|m| &m.state);
        let Some(first) = states.next() else { return false };
        states.all(|state| state == first) && self.committed.values().all(|index| first.contains_key(index))
    }
}
