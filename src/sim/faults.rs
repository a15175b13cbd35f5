//! What breaks, and how it is mended: daemons, hosts, links, disks, clocks, engines, and processes that stand still.

use crate::manager::ManagerWake;
use crate::net::HostId;
use crate::settings::{MS, SECOND, Trouble};
use crate::world::{Event, Wake, World};
use rand::Rng;
use rand::seq::IndexedRandom;

/// One thing that is broken until it is mended.
#[derive(Clone, Debug)]
pub enum Fault {
    Daemon(HostId),
    Host(HostId),
    /// Ways that are closed, from and to.
    Cut(Vec<(HostId, HostId)>),
    SlowDisk(HostId),
    BrokenDisk(HostId),
    Loss,
    Clock(HostId),
    SlowEngine(HostId),
    Offline(HostId),
    /// Its daemon dies right after the next step that it must not take twice: a vote given, a container started.
    Brittle(HostId),
    /// The leader is away for a moment, messages take long, and managers are brittle: so several ask for the votes of
    /// one term, and who has voted is asked again after a restart.
    Election(HostId),
}

/// What is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Daemon,
    Host,
    Halves,
    OneWay,
    Alone,
    SlowDisk,
    BrokenDisk,
    Loss,
    Clock,
    SlowEngine,
    Offline,
    StandsStill,
    HandsOver,
    Brittle,
    Election,
}

/// With the weight of each.
const KINDS: [(Kind, u32); 15] = [
    (Kind::Daemon, 14),
    (Kind::Host, 10),
    (Kind::Halves, 10),
    (Kind::OneWay, 10),
    (Kind::Alone, 8),
    (Kind::SlowDisk, 6),
    (Kind::BrokenDisk, 3),
    (Kind::Loss, 6),
    (Kind::Clock, 6),
    (Kind::SlowEngine, 5),
    (Kind::Offline, 4),
    (Kind::StandsStill, 10),
    (Kind::HandsOver, 8),
    (Kind::Brittle, 12),
    (Kind::Election, 8),
];
const ELECTION_KINDS: [(Kind, u32); 6] = [
    (Kind::Election, 10),
    (Kind::Daemon, 1),
    (Kind::Halves, 1),
    (Kind::OneWay, 1),
    (Kind::HandsOver, 1),
    (Kind::Brittle, 1),
];
const LEADER_KINDS: [(Kind, u32); 2] = [(Kind::Daemon, 2), (Kind::HandsOver, 1)];

/// An election and what follows from it is over after this, at the latest; the shortest is that of silence alone.
const ELECTION_US: (u64, u64) = (2_500 * MS, 5 * SECOND);
/// A leader that is back before the others ask can vote; one that is cut off for longer than they wait has to step down.
const LEADER_DOWN_US: (u64, u64) = (50 * MS, 900 * MS);
const LEADER_CUT_US: (u64, u64) = (900 * MS, 1_800 * MS);
/// From the step of a brittle daemon to its end, and until it is back.
const BRITTLE_US: (u64, u64) = (0, 2 * MS);
const BRITTLE_DOWN_US: (u64, u64) = (20 * MS, 400 * MS);

impl World {
    pub fn begin_faults(&mut self) {
        let (calm, faults) = (self.settings.calm_us, self.settings.faults_us);
        self.push(calm, Event::Fault);
        self.push(calm + faults, Event::Heal);
    }

    /// The next fault.
    pub fn fault(&mut self) {
        if self.calm {
            return;
        }
        let every = self.settings.fault_every_us;
        let next = self.draw(every / 5, every * 2);
        self.push(next, Event::Fault);
        let host = self.some_host();
        let (kinds, (least, most)) = match self.settings.trouble {
            Trouble::Any => (&KINDS[..], (SECOND / 5, 20 * SECOND)),
            Trouble::Elections => (&ELECTION_KINDS[..], (SECOND / 5, 5 * SECOND)),
            Trouble::Leaders => (&LEADER_KINDS[..], (10 * MS, 200 * MS)),
        };
        let lasts = self.draw(least, most);
        let kind = kinds.choose_weighted(&mut self.rng, |(_, weight)| *weight).map_or(Kind::Daemon, |(kind, _)| *kind);
        let (host, kind, lasts) = self.leased_host().unwrap_or((host, kind, lasts));
        let room = self.broken < self.settings.faults_at_once;
        let (fault, lasts) = match kind {
            Kind::StandsStill => return self.stand_still(host),
            Kind::HandsOver => return self.hand_over(),
            Kind::Daemon => (Fault::Daemon(host), lasts),
            Kind::Host => (Fault::Host(host), lasts),
            Kind::Halves => (Fault::Cut(self.halves()), lasts),
            Kind::OneWay => (Fault::Cut(self.one_way()), lasts),
            Kind::Alone => (Fault::Cut(self.alone(host)), lasts),
            Kind::SlowDisk => (Fault::SlowDisk(host), lasts),
            Kind::BrokenDisk => (Fault::BrokenDisk(host), lasts),
            Kind::Loss => (Fault::Loss, lasts),
            Kind::Clock => (Fault::Clock(host), lasts),
            Kind::SlowEngine => (Fault::SlowEngine(host), lasts),
            Kind::Offline => (Fault::Offline(host), lasts),
            // Containers start on any of them.
            Kind::Brittle => (Fault::Brittle(self.draw(0, self.hosts.len() as u64) as HostId), lasts),
            Kind::Election => match self.leader() {
                Some(leader) => (Fault::Election(leader), self.draw(ELECTION_US.0, ELECTION_US.1)),
                None => return,
            },
        };
        if room {
            self.begin_fault(fault, lasts);
        }
    }

    fn begin_fault(&mut self, fault: Fault, lasts: u64) {
        self.broken += 1;
        self.note(&format!("fault {fault:?} for {} ms", lasts / MS));
        self.break_it(&fault);
        self.push(lasts, Event::Mend(fault));
    }

    fn stand_still(&mut self, host: HostId) {
        let still = self.draw(100 * MS, 6 * SECOND);
        self.note(&format!("h{host} stands still for {} ms", still / MS));
        self.hosts[host].paused_until = self.now + still;
    }

    fn hand_over(&mut self) {
        if let Some(leader) = self.leader() {
            self.note(&format!("h{leader} hands over"));
            self.wake_manager(leader, 10, ManagerWake::Transfer);
        }
    }

    /// It has just done what it must not do again.
    pub fn promised(&mut self, host: HostId) {
        if std::mem::take(&mut self.hosts[host].brittle) && !self.calm {
            let after = self.draw(BRITTLE_US.0, BRITTLE_US.1);
            self.wake(host, after, Wake::Dies);
        }
    }

    pub fn dies(&mut self, host: HostId) {
        if !self.calm {
            let lasts = self.draw(BRITTLE_DOWN_US.0, BRITTLE_DOWN_US.1);
            self.begin_fault(Fault::Daemon(host), lasts);
        }
    }

    pub fn leader(&self) -> Option<HostId> {
        (0..self.hosts.len()).find(|host| self.leads(*host))
    }

    fn managers(&self) -> Vec<HostId> {
        (0..self.hosts.len()).filter(|host| self.hosts[*host].joined).collect()
    }

    /// Managers, and among them the leader, are of more interest.
    fn some_host(&mut self) -> HostId {
        let all = self.hosts.len() as u64;
        match (self.draw(0, 10), self.leader()) {
            (0..4, Some(leader)) => leader,
            (0..7, _) => {
                let managers = self.managers();
                let chosen = self.draw(0, managers.len() as u64) as usize;
                managers.get(chosen).copied().unwrap_or(0)
            }
            _ => self.draw(0, all) as usize,
        }
    }

    /// Now and then a host with a task that is to run once at most is cut off or loses its daemon, for about as long as
    /// leases last: with the kind of fault, and how long.
    fn leased_host(&mut self) -> Option<(HostId, Kind, u64)> {
        let any = self.settings.trouble == Trouble::Any;
        if !any || !self.settings.asks.once || !self.chance(25) {
            return None;
        }
        let holders: Vec<HostId> = (0..self.hosts.len()).filter(|host| self.check.holds_one(*host)).collect();
        let chosen = self.draw(0, holders.len() as u64) as usize;
        let kind = [Kind::Daemon, Kind::Alone, Kind::Alone][self.rng.random_range(0..3)];
        Some((*holders.get(chosen)?, kind, self.draw(4 * SECOND, 25 * SECOND)))
    }

    fn leads(&self, host: HostId) -> bool {
        let daemon = self.hosts[host].daemon.as_ref();
        daemon.and_then(|daemon| daemon.manager.as_ref()).is_some_and(|manager| manager.role.is_leader)
    }

    fn halves(&mut self) -> Vec<(HostId, HostId)> {
        let side: Vec<bool> = (0..self.hosts.len()).map(|_| self.rng.random()).collect();
        let all = 0..side.len();
        let pairs = all.clone().flat_map(|a| all.clone().map(move |b| (a, b)));
        pairs.filter(|(a, b)| side[*a] != side[*b]).collect()
    }

    fn one_way(&mut self) -> Vec<(HostId, HostId)> {
        let mut cut = self.halves();
        let from: Vec<bool> = (0..self.hosts.len()).map(|_| self.rng.random()).collect();
        cut.retain(|(a, _)| from[*a]);
        cut
    }

    fn alone(&mut self, host: HostId) -> Vec<(HostId, HostId)> {
        let others = (0..self.hosts.len()).filter(|other| *other != host);
        match self.draw(0, 3) {
            0 => others.map(|other| (other, host)).collect(),
            1 => others.map(|other| (host, other)).collect(),
            _ => others.flat_map(|other| [(host, other), (other, host)]).collect(),
        }
    }

    fn break_it(&mut self, fault: &Fault) {
        match fault {
            Fault::Daemon(host) => self.crash_daemon(*host),
            Fault::Host(host) => self.crash_host(*host),
            Fault::Cut(ways) => ways.iter().for_each(|(from, to)| self.net.close(*from, *to)),
            Fault::SlowDisk(host) => self.hosts[*host].sync_us = (100 * MS, 5 * SECOND),
            Fault::BrokenDisk(host) => self.hosts[*host].disk_fails = true,
            Fault::Loss => self.net.set_loss(300, 100),
            Fault::Clock(host) => {
                let jump = self.rng.random_range(-600_000..=600_000);
                self.hosts[*host].skew_ms += jump;
                self.hosts[*host].clock_set_at = self.now;
            }
            Fault::SlowEngine(host) => self.hosts[*host].engine.slow = true,
            Fault::Offline(host) => self.hosts[*host].engine.offline = true,
            Fault::Brittle(host) => self.hosts[*host].brittle = true,
            Fault::Election(leader) => self.hold_election(*leader),
        }
    }

    fn hold_election(&mut self, leader: HostId) {
        self.net.slow_down();
        for manager in self.managers() {
            self.hosts[manager].brittle = true;
        }
        if self.chance(50) {
            let lasts = self.draw(LEADER_DOWN_US.0, LEADER_DOWN_US.1);
            self.begin_fault(Fault::Daemon(leader), lasts);
        } else {
            let (cut, lasts) = (self.alone(leader), self.draw(LEADER_CUT_US.0, LEADER_CUT_US.1));
            self.begin_fault(Fault::Cut(cut), lasts);
        }
    }

    pub fn mend(&mut self, fault: &Fault) {
        if self.calm {
            return;
        }
        self.broken -= 1;
        self.note(&format!("mended {fault:?}"));
        match fault {
            Fault::Daemon(host) => self.start_daemon(*host),
            Fault::Host(host) => self.start_host(*host),
            Fault::Cut(ways) => ways.iter().for_each(|(from, to)| self.net.open(*from, *to)),
            Fault::SlowDisk(host) => self.hosts[*host].sync_us = (MS, 8 * MS),
            Fault::BrokenDisk(host) => self.hosts[*host].disk_fails = false,
            Fault::Loss => self.net.set_loss(self.settings.lost_permille, self.settings.late_permille),
            Fault::Clock(_) => {}
            Fault::SlowEngine(host) => self.hosts[*host].engine.slow = false,
            Fault::Offline(host) => self.hosts[*host].engine.offline = false,
            Fault::Brittle(host) => self.hosts[*host].brittle = false,
            Fault::Election(_) => {
                self.net.speed_up();
                self.managers().into_iter().for_each(|manager| self.hosts[manager].brittle = false);
            }
        }
    }
}
