//! A service that is to run once at most, with its real parts: dispatch, plan, workers and the lease of a shim. Links
//! break, messages are late, daemons are killed, leaders are deposed without knowing it, and no two clocks agree.

use super::world::{World, replicated};
use crate::audit::audit;
use crate::dispatch::{self, Dispatch, Liveness, Message, SessionId};
use crate::model::*;
use crate::store::Txn;
use crate::worker::{self, Command, Observation, Worker};
use crate::{Mono, NodeId, ServiceId, TaskId, WallTime};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The world is looked at this often, in milliseconds.
const TURN: u64 = 250;
const LEASE: Duration = Duration::from_secs(8);
const NODES: u128 = 3;
/// A session without an answer for so long is given up by its node, in milliseconds.
const SILENT: u64 = 2_000;

/// For so long a leader does not know that it was deposed, in milliseconds: longer than check-quorum takes.
const UNAWARE: u64 = 15_000;

#[derive(Clone, Debug)]
enum Op {
    Link {
        node: u128,
        up: bool,
    },
    /// The daemon is killed, and there again after so many milliseconds.
    Kill {
        node: u128,
        away: u64,
    },
    /// Another manager leads; nodes with a session go on talking to the one before, which does not know it yet.
    Depose {
        skew: i64,
        rate: u64,
    },
    Late {
        millis: u64,
    },
    Image {
        version: u64,
    },
    Drain {
        node: u128,
        on: bool,
    },
    Pass {
        millis: u64,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let node = 1..=NODES;
    prop_oneof![
        4 => (node.clone(), any::<bool>()).prop_map(|(node, up)| Op::Link { node, up }),
        3 => (node.clone(), 0u64..40_000).prop_map(|(node, away)| Op::Kill { node, away }),
        2 => (-60_000i64..60_000, 996u64..1004).prop_map(|(skew, rate)| Op::Depose { skew, rate }),
        1 => (0u64..1500).prop_map(|millis| Op::Late { millis }),
        1 => (0u64..3).prop_map(|version| Op::Image { version }),
        1 => (node, any::<bool>()).prop_map(|(node, on)| Op::Drain { node, on }),
        8 => (0u64..20_000).prop_map(|millis| Op::Pass { millis }),
    ]
}

/// A container with its shim, by the clock of its host.
#[derive(Clone, Copy, Debug)]
struct Container {
    until: Mono,
    /// When it was told to stop by its daemon.
    told: Option<Mono>,
}

/// Takes all of its grace period to stop, whoever asks.
fn ends(container: Container) -> Mono {
    let asked = container.told.map_or(container.until, |told| told.min(container.until));
    asked + ContainerSpec::default().stop_grace()
}

struct Session {
    id: SessionId,
    leader: usize,
    broken: bool,
    beats: BTreeMap<u64, Mono>,
    heard: u64,
}

struct Host {
    id: NodeId,
    rate: u64,
    link: bool,
    cut_at: u64,
    /// `None` while the daemon is down, until then.
    worker: Option<Worker>,
    back_at: u64,
    containers: BTreeMap<TaskId, Container>,
    /// As the daemon recorded it.
    tasks: BTreeMap<TaskId, Arc<Task>>,
    session: Option<Session>,
    sequence: u64,
    beat_at: u64,
}

impl Host {
    fn now(&self, t: u64) -> Mono {
        Mono(t * self.rate / 1000)
    }
}

struct Leader {
    dispatch: Dispatch,
    rate: u64,
    wake_at: Option<Mono>,
    /// When it learns that it was deposed: it answers nobody any more.
    over_at: u64,
}

#[derive(Debug)]
enum Post {
    ToNode(SessionId, Message),
    ToLeader(SessionId, usize, dispatch::Input),
    Confirmed(usize, bool),
    NotWritten(usize),
}

struct Run {
    t: u64,
    world: World,
    service: ServiceId,
    hosts: Vec<Host>,
    leaders: Vec<Leader>,
    skew: i64,
    late: u64,
    post: BTreeMap<(u64, u64), Post>,
    posted: u64,
    last_due: u64,
    next_session: u64,
    told_gossip: BTreeMap<NodeId, bool>,
    /// Index of the view that the plan saw last.
    led_at: u64,
}

impl Run {
    fn new() -> Self {
        let mut world = World::new(NODES);
        world.watch = Some(Box::new(|view| assert_eq!(audit(view), [])));
        let mut spec = replicated("db", "db:0", 1);
        spec.task.at_most_one = Some(LEASE);
        spec.task.restart.delay = Duration::from_secs(1);
        let service = world.create(spec);
        let host = |id: u128| Host {
            id: NodeId(id),
            rate: 994 + 4 * id as u64,
            link: true,
            cut_at: 0,
            worker: Some(Worker::new()),
            back_at: 0,
            containers: BTreeMap::new(),
            tasks: BTreeMap::new(),
            session: None,
            sequence: 0,
            beat_at: 0,
        };
        let mut run = Self {
            t: 1_000,
            world,
            service,
            hosts: (1..=NODES).map(host).collect(),
            leaders: Vec::new(),
            skew: 0,
            late: 20,
            post: BTreeMap::new(),
            posted: 0,
            last_due: 0,
            next_session: 0,
            told_gossip: BTreeMap::new(),
            led_at: 0,
        };
        run.elect(0, 1000);
        run
    }

    fn elect(&mut self, skew: i64, rate: u64) {
        self.skew = skew;
        let dispatch = Dispatch::new(Mono(self.t * rate / 1000), self.world.view());
        let over_at = self.t + UNAWARE;
        self.leaders.iter_mut().for_each(|leader| leader.over_at = leader.over_at.min(over_at));
        self.leaders.push(Leader { dispatch, rate, wake_at: None, over_at: u64::MAX });
        self.told_gossip.clear();
        self.led_at = 0;
    }

    fn newest(&self) -> usize {
        self.leaders.len() - 1
    }

    fn wall(&self) -> WallTime {
        WallTime(1_000_000 + self.t as i64 + self.skew)
    }

    /// In order, like the streams of a session.
    fn send(&mut self, post: Post) {
        self.last_due = self.last_due.max(self.t + self.late.max(1));
        self.posted += 1;
        self.post.insert((self.last_due, self.posted), post);
    }

    fn lead(&mut self, leader: usize, input: dispatch::Input) {
        let mut out = dispatch::Effects::default();
        let wall = self.wall();
        let current = &mut self.leaders[leader];
        if self.t >= current.over_at {
            return;
        }
        let now = Mono(self.t * current.rate / 1000);
        current.dispatch.input(now, wall, input, &mut out);
        current.wake_at = out.wake_at;
        for (session, message) in out.sends {
            self.send(Post::ToNode(session, message));
        }
        if out.confirm {
            // What a quorum says half way there and back.
            let leads = leader == self.newest() && self.late < 1_000;
            self.send(Post::Confirmed(leader, leads));
        }
        if let Some(changes) = out.write {
            if leader == self.newest() {
                self.world.now = wall;
                self.world.apply(&Txn { wall, changes, ..Txn::default() });
                self.lead(leader, dispatch::Input::Committed(self.world.view()));
                self.lead(leader, dispatch::Input::Written { committed: true });
            } else {
                self.send(Post::NotWritten(leader));
            }
        }
    }

    fn work(&mut self, host: usize, input: worker::Input) {
        let mut out = worker::Effects::default();
        let (wall, now) = (self.wall(), self.hosts[host].now(self.t));
        let Some(worker) = &mut self.hosts[host].worker else { return };
        worker.input(now, wall, input, &mut out);
        self.carry_out(host, out);
    }

    fn carry_out(&mut self, host: usize, out: worker::Effects) {
        let here = &mut self.hosts[host];
        for (id, status) in &out.statuses {
            if let Some(task) = here.tasks.get_mut(id) {
                Arc::make_mut(task).status = status.clone();
            }
        }
        if let Some(session) = here.session.as_ref().filter(|_| !out.statuses.is_empty()) {
            let (id, leader, heard) = (session.id, session.leader, Mono(self.t));
            let input = dispatch::Input::Reported { session: id, heard, sequence: 1, reports: out.statuses };
            self.send(Post::ToLeader(id, leader, input));
        }
        for command in out.commands {
            self.command(host, command);
        }
    }

    fn command(&mut self, host: usize, command: Command) {
        let now = self.hosts[host].now(self.t);
        let here = &mut self.hosts[host];
        let (task, what) = match command {
            Command::Prepare(task) => {
                (task.id, Observation::Prepared { container_id: "c".into(), health_checked: false })
            }
            Command::Start(id) => {
                let until = here.worker.as_ref().and_then(|worker| worker.lease_of(id)).expect("never without a lease");
                here.containers.insert(id, Container { until, told: None });
                (id, Observation::Started { pid: 7, host_ports: Vec::new() })
            }
            Command::Renew { task, until } => {
                if let Some(container) = here.containers.get_mut(&task).filter(|container| container.until > now) {
                    container.until = container.until.max(until);
                }
                return;
            }
            Command::Stop { task, .. } => {
                here.containers.entry(task).and_modify(|container| _ = container.told.get_or_insert(now));
                return;
            }
            Command::Clean(id) => {
                here.containers.remove(&id);
                (id, Observation::Cleaned)
            }
            Command::GiveUp(_) => return,
        };
        self.work(host, worker::Input::Observed { task, what });
    }

    fn turn(&mut self) {
        self.t += TURN;
        while let Some(entry) = self.post.first_entry().filter(|entry| entry.key().0 <= self.t) {
            let post = entry.remove();
            self.deliver(post);
        }
        for host in 0..self.hosts.len() {
            self.host(host);
        }
        for leader in 0..self.leaders.len() {
            let now = Mono(self.t * self.leaders[leader].rate / 1000);
            if self.leaders[leader].wake_at.is_some_and(|at| at <= now) {
                self.lead(leader, dispatch::Input::Tick);
            }
        }
        self.gossip();
        self.world.now = self.wall();
        let before = self.world.view().index();
        let is_due = self.world.wake_at.is_some_and(|at| at <= self.world.now);
        if before != self.led_at || is_due {
            self.world.lead();
            self.led_at = self.world.view().index();
        }
        if self.led_at != before {
            self.lead(self.newest(), dispatch::Input::Committed(self.world.view()));
        }
        let running: Vec<(NodeId, TaskId)> =
            self.hosts.iter().flat_map(|host| host.containers.keys().map(|id| (host.id, *id))).collect();
        assert!(running.len() <= 1, "at {}: {running:?}", self.t);
    }

    fn gossip(&mut self) {
        let mut changes = Vec::new();
        for host in &self.hosts {
            let up = host.link && (host.worker.is_some() || self.t < host.cut_at + 1_000);
            if self.told_gossip.insert(host.id, up) != Some(up) {
                changes.push((host.id, if up { Liveness::Up } else { Liveness::Down }));
            }
        }
        if !changes.is_empty() {
            self.lead(self.newest(), dispatch::Input::Gossip(changes));
        }
    }

    /// A stream breaks with the first message that a broken link swallows.
    fn passes(&mut self, id: SessionId) -> Option<usize> {
        let at = |host: &Host| host.session.as_ref().is_some_and(|session| session.id == id && !session.broken);
        let host = self.hosts.iter().position(at)?;
        if self.hosts[host].link {
            return Some(host);
        }
        self.hosts[host].session.iter_mut().for_each(|session| session.broken = true);
        None
    }

    fn deliver(&mut self, post: Post) {
        match post {
            Post::NotWritten(leader) => self.lead(leader, dispatch::Input::Written { committed: false }),
            Post::Confirmed(leader, leads) => {
                if leader == self.newest() {
                    self.lead(leader, dispatch::Input::Committed(self.world.view()));
                }
                self.lead(leader, dispatch::Input::Confirmed { leads });
            }
            Post::ToLeader(id, leader, input) => {
                if self.passes(id).is_some() {
                    self.lead(leader, input);
                }
            }
            Post::ToNode(id, message) => {
                let Some(host) = self.passes(id) else { return };
                self.hear(host, message);
            }
        }
    }

    fn hear(&mut self, host: usize, message: Message) {
        let t = self.t;
        let Some(session) = &mut self.hosts[host].session else { return };
        session.heard = t;
        match message {
            Message::Assign(all) => {
                for task in &all.tasks {
                    self.hosts[host].tasks.entry(task.id).or_insert_with(|| task.clone());
                }
                let (complete, tasks, removed) = (all.complete, all.tasks, all.removed_tasks);
                self.work(host, worker::Input::Assigned { complete, tasks, removed });
            }
            Message::Lease { sequence } => {
                if let Some(sent) = session.beats.get(&sequence).copied() {
                    self.work(host, worker::Input::Leased { sent });
                }
            }
            Message::End { .. } => self.hosts[host].session = None,
            Message::HeartbeatAck | Message::ReportsAck { .. } => {}
        }
    }

    fn host(&mut self, host: usize) {
        let now = self.hosts[host].now(self.t);
        let ended = self.hosts[host].containers.iter().filter(|(_, container)| ends(**container) <= now);
        for id in ended.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.hosts[host].containers.remove(&id);
            let what = Observation::Exited { code: 143, oom_killed: false, error: String::new() };
            self.work(host, worker::Input::Observed { task: id, what });
        }
        if self.hosts[host].worker.is_none() {
            if self.t >= self.hosts[host].back_at {
                self.begin(host);
            }
            return;
        }
        self.work(host, worker::Input::Tick);
        self.converse(host);
    }

    /// A daemon that was killed is there again, and finds what there is.
    fn begin(&mut self, host: usize) {
        let (wall, now) = (self.wall(), self.hosts[host].now(self.t));
        let mut worker = Worker::new();
        let mut out = worker::Effects::default();
        let here = &mut self.hosts[host];
        let known = std::mem::take(&mut here.tasks);
        for (id, task) in known {
            let runs = here.containers.contains_key(&id);
            let found = match runs {
                true => Observation::FoundRunning { container_id: "c".into(), pid: 7, health_checked: false },
                false if worker::has_run(&task.status) => {
                    Observation::Exited { code: 255, oom_killed: false, error: "lost".into() }
                }
                // Made ready anew when it is assigned again.
                false => continue,
            };
            here.tasks.insert(id, task.clone());
            let found = (!task.status.state.is_terminal()).then_some(found);
            worker.adopt(now, wall, task, found, &mut out);
        }
        here.worker = Some(worker);
        self.carry_out(host, out);
    }

    fn converse(&mut self, host: usize) {
        let (t, newest, local) = (self.t, self.newest(), self.hosts[host].now(self.t));
        let here = &mut self.hosts[host];
        if here.session.as_ref().is_some_and(|session| t > session.heard + SILENT) {
            here.session = None;
        }
        if here.session.is_none() {
            if !here.link {
                return;
            }
            self.next_session += 1;
            let id = SessionId(self.next_session);
            here.session = Some(Session { id, leader: newest, broken: false, beats: BTreeMap::new(), heard: t });
            let (node, description) =
                (here.id, self.world.view().node(here.id).and_then(|node| node.description.clone()));
            let (addr, description) = ("192.0.2.1".parse().expect("address"), description.unwrap_or_default());
            self.send(Post::ToLeader(id, newest, dispatch::Input::Opened { session: id, node, addr, description }));
            let worker = self.hosts[host].worker.as_ref();
            let reports = worker.map(Worker::statuses).unwrap_or_default();
            let heard = Mono(t);
            let input = dispatch::Input::Reported { session: id, heard, sequence: 0, reports };
            self.send(Post::ToLeader(id, newest, input));
            return;
        }
        if t >= here.beat_at {
            here.beat_at = t + 1_000;
            here.sequence += 1;
            let sequence = here.sequence;
            let Some(session) = &mut here.session else { return };
            session.beats.insert(sequence, local);
            let (id, leader) = (session.id, session.leader);
            let heard = Mono((t + self.late) * self.leaders[leader].rate / 1000);
            self.send(Post::ToLeader(id, leader, dispatch::Input::Heartbeat { session: id, sequence, heard }));
        }
    }

    fn apply(&mut self, op: Op) {
        let t = self.t;
        let host = |node: u128| node as usize - 1;
        match op {
            Op::Link { node, up } => {
                let host = &mut self.hosts[host(node)];
                (host.link, host.cut_at) = (up, t);
            }
            Op::Kill { node, away } => {
                let host = &mut self.hosts[host(node)];
                (host.worker, host.session, host.back_at, host.cut_at) = (None, None, t + away, t);
            }
            Op::Depose { skew, rate } => self.elect(skew, rate),
            Op::Late { millis } => self.late = millis,
            Op::Image { version } => {
                self.world.now = self.wall();
                self.world.update(self.service, |spec| spec.task.container.image = format!("db:{version}"));
            }
            Op::Drain { node, on } => {
                let availability = if on { Availability::Drain } else { Availability::Active };
                self.world.edit_node(node, |node| node.spec.availability = availability);
            }
            Op::Pass { millis } => self.pass(millis),
        }
    }

    fn pass(&mut self, millis: u64) {
        let end = self.t + millis;
        while self.t < end {
            self.turn();
        }
    }

    fn heal(&mut self) {
        self.late = 20;
        for node in 1..=NODES {
            self.hosts[node as usize - 1].link = true;
            self.world.edit_node(node, |node| node.spec.availability = Availability::Active);
        }
    }
}

fn config() -> ProptestConfig {
    let regressions = concat!(env!("CARGO_MANIFEST_DIR"), "/leader/tests/lease.proptest-regressions");
    let persistence = proptest::test_runner::FileFailurePersistence::Direct(regressions);
    ProptestConfig {
        // A case is some minutes of a cluster: a sixteenth of the usual number.
        cases: ProptestConfig::default().cases / 16,
        max_shrink_iters: 300,
        failure_persistence: Some(Box::new(persistence)),
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn two_never_run_at_once_and_one_does_when_all_is_well_again(ops in proptest::collection::vec(op(), 1..25)) {
        let mut run = Run::new();
        run.pass(6_000);
        prop_assert_eq!(run.hosts.iter().map(|host| host.containers.len()).sum::<usize>(), 1);
        for op in ops {
            run.apply(op);
            run.turn();
        }
        run.heal();
        run.pass(120_000);
        prop_assert_eq!(run.hosts.iter().map(|host| host.containers.len()).sum::<usize>(), 1);
    }
}
