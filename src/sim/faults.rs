//! What breaks, and how it is mended: daemons, hosts, links, disks, clocks, engines, and processes that stand still.

use crate::manager::ManagerWake;
use crate::net::HostId;
use crate::settings::{MS, SECOND};
use crate::world::{Event, World};
use rand::Rng;

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
}

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
        let restless = self.settings.restless;
        let lasts = if restless { self.draw(10 * MS, 200 * MS) } else { self.draw(SECOND / 5, 20 * SECOND) };
        let kind = if restless { [0, 0, 99][self.rng.random_range(0..3)] } else { self.rng.random_range(0..100) };
        let fault = match kind {
            0..14 => Some(Fault::Daemon(host)),
            14..24 => Some(Fault::Host(host)),
            24..34 => Some(Fault::Cut(self.halves())),
            34..44 => Some(Fault::Cut(self.one_way())),
            44..52 => Some(Fault::Cut(self.alone(host))),
            52..58 => Some(Fault::SlowDisk(host)),
            58..61 => Some(Fault::BrokenDisk(host)),
            61..67 => Some(Fault::Loss),
            67..73 => Some(Fault::Clock(host)),
            73..78 => Some(Fault::SlowEngine(host)),
            78..82 => Some(Fault::Offline(host)),
            82..92 => {
                let still = self.draw(100 * MS, 6 * SECOND);
                self.note(&format!("h{host} stands still for {} ms", still / MS));
                self.hosts[host].paused_until = self.now + still;
                None
            }
            _ => {
                let leader = (0..self.hosts.len()).find(|host| self.leads(*host));
                if let Some(leader) = leader {
                    self.note(&format!("h{leader} hands over"));
                    self.wake_manager(leader, 10, ManagerWake::Transfer);
                }
                None
            }
        };
        let room = self.broken < self.settings.faults_at_once;
        if let Some(fault) = fault.filter(|_| room) {
            self.broken += 1;
            self.note(&format!("fault {fault:?} for {} ms", lasts / MS));
            self.break_it(&fault);
            self.push(lasts, Event::Mend(fault));
        }
    }

    /// Managers, and among them the leader, are of more interest.
    fn some_host(&mut self) -> HostId {
        let all = self.hosts.len() as u64;
        let manages = |world: &Self, host: HostId| world.hosts[host].joined;
        let leader = (0..self.hosts.len()).find(|host| self.leads(*host));
        match (self.draw(0, 10), leader) {
            (0..4, Some(leader)) => leader,
            (0..7, _) => {
                let managers: Vec<HostId> = (0..self.hosts.len()).filter(|host| manages(self, *host)).collect();
                let chosen = self.draw(0, managers.len() as u64) as usize;
                managers.get(chosen).copied().unwrap_or(0)
            }
            _ => self.draw(0, all) as usize,
        }
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
        }
    }
}
