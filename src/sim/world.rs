//! The event queue: virtual time, what is due, and who it is for.
//!
//! Owns everything of a run. One event is handled at a time, by the part it is for; parts speak to each other only by
//! events that the network carries. There is one source of randomness, and no clock but the queue's.

use crate::agent::Seen;
use crate::call::{Call, Packet};
use crate::check::Checks;
use crate::engine::EngineEvent;
use crate::faults::Fault;
use crate::host::Host;
use crate::log::Log;
use crate::manager::ManagerWake;
use crate::net::{HostId, Net};
use crate::probing::Subject;
use crate::scaling::Demand;
use crate::script::Script;
use crate::settings::{MS, Settings};
use crate::stream::{Side, Stream};
use crate::submit::{ReadStep, Submission};
use crate::table::Tables;
use crate::user::Users;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::{BTreeMap, BinaryHeap};
use swarm_core::{Mono, NodeId, ServiceId, WallTime};

/// Wall clocks begin around this: milliseconds since 1970.
const WALL_BEGIN_MS: i64 = 1_800_000_000_000;

const MILLION: u128 = 1_000_000;

/// Something that happens within a process; void when that process has ended.
#[derive(Debug)]
pub enum Wake {
    /// Try to open a session with the managers left to ask.
    SessionTry,
    /// The manager asked did not answer in time.
    SessionTimeout {
        attempt: u64,
    },
    Heartbeat {
        stream: u64,
    },
    /// The worker asked for a tick.
    Worker,
    /// An engine operation has an observation.
    Seen(Seen),
    /// An engine operation is over, or its next part is.
    Operation {
        operation: u64,
    },
    /// A probe is due, or a run of it has ended well or not.
    Probe {
        task: swarm_core::TaskId,
        subject: Subject,
        ended: Option<bool>,
    },
    /// The lease of a task reaches its shim.
    Renew {
        task: swarm_core::TaskId,
        until: u64,
    },
    /// Counters of tasks are to be read.
    Sample,
    Gossip,
    /// Follow the role the cluster wants, again.
    Follow,
    /// It was brittle.
    Dies,
    /// The next attempt of a submission.
    Submit {
        submission: u64,
    },
    /// A submission whose index was not applied here in time.
    SubmitTimeout {
        submission: u64,
    },
}

/// What is due.
#[derive(Debug)]
pub enum Event {
    Process { host: HostId, life: u64, wake: Wake },
    Manager { host: HostId, epoch: u64, wake: ManagerWake },
    Packet { to: HostId, packet: Packet },
    StreamData { stream: u64, to: Side },
    StreamCheck { stream: u64 },
    CallTimeout { call: u64 },
    Engine { host: HostId, boot: u64, what: EngineEvent },
    Wish,
    Read { read: u64, step: ReadStep },
    Fault,
    Mend(Fault),
    Heal,
    Look,
    Script,
}

struct Due {
    at: u64,
    number: u64,
    event: Event,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    /// The earliest is the greatest: the heap gives that first.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

/// A whole cluster and its users.
pub struct World {
    pub settings: Settings,
    /// Microseconds since the run began.
    pub now: u64,
    queue: BinaryHeap<Due>,
    pushed: u64,
    pub rng: StdRng,
    pub hosts: Vec<Host>,
    pub nodes: BTreeMap<NodeId, HostId>,
    pub net: Net,
    pub streams: BTreeMap<u64, Stream>,
    pub calls: BTreeMap<u64, Call>,
    pub submissions: BTreeMap<u64, Submission>,
    pub tables: Tables,
    pub users: Users,
    /// The load of services that follow it.
    pub demands: BTreeMap<ServiceId, Demand>,
    pub script: Option<Script>,
    pub check: Checks,
    pub log: Log,
    numbers: u64,
    /// Faults have ended: from now on everything works that is there.
    pub calm: bool,
    /// Things that are broken now.
    pub broken: usize,
    pub healed_at: Option<u64>,
    pub converged: bool,
    pub events: u64,
}

impl World {
    /// A cluster that is about to begin.
    pub fn new(settings: Settings, log: Log) -> Self {
        let mut world = Self {
            now: 0,
            queue: BinaryHeap::new(),
            pushed: 0,
            rng: StdRng::seed_from_u64(settings.seed),
            hosts: Vec::new(),
            nodes: BTreeMap::new(),
            net: Net::new(&settings),
            streams: BTreeMap::new(),
            calls: BTreeMap::new(),
            submissions: BTreeMap::new(),
            tables: Tables::default(),
            users: Users::default(),
            demands: BTreeMap::new(),
            script: None,
            check: Checks::default(),
            log,
            numbers: 0,
            calm: false,
            broken: 0,
            healed_at: None,
            converged: false,
            events: 0,
            settings,
        };
        world.found();
        match world.settings.scenario {
            Some(scenario) => world.begin_script((scenario.script)()),
            None => {
                world.begin_users();
                world.begin_faults();
            }
        }
        world
    }

    /// Runs until the cluster has converged or an invariant is violated, at most `until` lines of the log.
    pub fn run(&mut self, until: u64) {
        while !self.converged && !self.check.is_violated() && self.log.lines() < until {
            if !self.step() {
                break;
            }
        }
        for violation in self.check.violations().to_vec() {
            self.note(&format!("violated: {violation}"));
        }
    }

    fn step(&mut self) -> bool {
        let Some(due) = self.queue.pop() else { return false };
        self.now = due.at;
        self.check.now = due.at;
        self.events += 1;
        if let Some(until) = self.held(&due.event) {
            self.push_at(until, due.event);
            return true;
        }
        match due.event {
            Event::Process { host, life, wake } => self.process(host, life, wake),
            Event::Manager { host, epoch, wake } => self.manager_wakes(host, epoch, wake),
            Event::Packet { to, packet } => self.arrive(to, packet),
            Event::StreamData { stream, to } => self.stream_arrives(stream, to),
            Event::StreamCheck { stream } => self.stream_check(stream),
            Event::CallTimeout { call } => self.call_timed_out(call),
            Event::Engine { host, boot, what } => self.engine_event(host, boot, what),
            Event::Wish => self.wish(),
            Event::Read { read, step } => self.read_goes_on(read, step),
            Event::Fault => self.fault(),
            Event::Mend(fault) => self.mend(&fault),
            Event::Heal => self.heal(),
            Event::Look => self.look(),
            Event::Script => self.script_goes_on(),
        }
        true
    }

    /// Until when the process an event is for stands still. What came from outside is there before its timers run.
    fn held(&self, event: &Event) -> Option<u64> {
        let (host, after) = match event {
            Event::Process { host, .. } | Event::Manager { host, .. } => (*host, MS),
            Event::Packet { to, .. } => (*to, 0),
            Event::StreamData { stream, to } => (self.streams.get(stream)?.end(*to).host, 0),
            Event::StreamCheck { .. }
            | Event::CallTimeout { .. }
            | Event::Engine { .. }
            | Event::Wish
            | Event::Read { .. }
            | Event::Fault
            | Event::Mend(_)
            | Event::Heal
            | Event::Look
            | Event::Script => return None,
        };
        let until = self.hosts[host].paused_until;
        (until > self.now).then_some(until + after)
    }

    fn process(&mut self, host: HostId, life: u64, wake: Wake) {
        if self.hosts[host].daemon.as_ref().is_none_or(|daemon| daemon.life != life) {
            return;
        }
        match wake {
            Wake::SessionTry => self.session_try(host),
            Wake::SessionTimeout { attempt } => self.session_timeout(host, attempt),
            Wake::Heartbeat { stream } => self.heartbeat(host, stream),
            Wake::Worker => self.worker_tick(host),
            Wake::Seen(seen) => self.seen(host, seen),
            Wake::Operation { operation } => self.operation(host, operation),
            Wake::Probe { task, subject, ended } => self.probe_wakes(host, task, subject, ended),
            Wake::Renew { task, until } => drop(self.lease(host, task, until)),
            Wake::Sample => self.sample(host),
            Wake::Gossip => self.gossip_tick(host),
            Wake::Follow => self.follow(host),
            Wake::Dies => self.dies(host),
            Wake::Submit { submission } => self.submit_again(submission),
            Wake::SubmitTimeout { submission } => self.submit_timed_out(submission),
        }
    }

    fn push_at(&mut self, at: u64, event: Event) {
        self.pushed += 1;
        self.queue.push(Due { at, number: self.pushed, event });
    }

    /// To happen `after` microseconds.
    pub fn push(&mut self, after: u64, event: Event) {
        self.push_at(self.now + after, event);
    }

    /// Within the present process of a host.
    pub fn wake(&mut self, host: HostId, after: u64, wake: Wake) {
        if let Some(daemon) = &self.hosts[host].daemon {
            let life = daemon.life;
            self.push(after, Event::Process { host, life, wake });
        }
    }

    /// A number nothing else of this run has.
    pub fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    pub fn draw(&mut self, from: u64, to: u64) -> u64 {
        if from >= to { from } else { self.rng.random_range(from..to) }
    }

    /// True with this many chances of 100.
    pub fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }

    /// Milliseconds of a host's process: each began at another time, and counts at its host's rate.
    pub fn mono(&self, host: HostId) -> Mono {
        let began = self.hosts[host].daemon.as_ref().map_or(0, |daemon| daemon.began);
        let counted = u128::from(self.now.saturating_sub(began)) * self.rate(host) / MILLION;
        Mono(u64::try_from(counted).unwrap_or(u64::MAX) / MS + 1_000)
    }

    /// Microseconds until that clock shows `at`.
    pub fn until(&self, host: HostId, at: Mono) -> u64 {
        let counted = at.since(self.mono(host)).as_micros();
        u64::try_from((counted * MILLION).div_ceil(self.rate(host))).unwrap_or(u64::MAX / 4)
    }

    /// What a host's clock counts in a million microseconds.
    fn rate(&self, host: HostId) -> u128 {
        MILLION.saturating_add_signed(self.hosts[host].clock_rate_ppm.into())
    }

    /// The wall clock of a host.
    pub fn wall(&self, host: HostId) -> WallTime {
        WallTime(WALL_BEGIN_MS + i64::try_from(self.now / MS).unwrap_or(i64::MAX) + self.hosts[host].skew_ms)
    }

    pub fn note(&mut self, text: &str) {
        self.log.line(self.now, text, false);
    }

    /// Of what happens all the time.
    pub fn note_minor(&mut self, text: &str) {
        self.log.line(self.now, text, true);
    }
}
