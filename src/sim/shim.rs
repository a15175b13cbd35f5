//! The deadline that a container's shim keeps by itself (`runtime::shim::lease`): what stops a task that is to run once
//! at most while its daemon is dead or its host is cut off.

use crate::engine::EngineEvent;
use crate::mutate::Mutation;
use crate::net::HostId;
use crate::settings::{MS, SECOND};
use crate::world::{Event, World};
use swarm_core::TaskId;

/// Between two looks of a shim at its deadline.
const LOOK_US: u64 = SECOND;
/// From SIGKILL to the end, on a host that is busy: with the look before it, within the time that leases reckon with.
const KILL_US: (u64, u64) = (MS, 3 * SECOND);
/// Exit code of a program that was killed.
pub const KILLED: i32 = 137;

/// What a shim knows of its lease.
#[derive(Debug, Default)]
pub struct Kept {
    /// The moment, of the whole simulation, at which its host's clock shows what it was told.
    until: Option<u64>,
    /// The program was sent the stop signal because of it.
    pub told: bool,
}

impl Kept {
    pub fn has_passed(&self, now: u64) -> bool {
        self.until.is_some_and(|until| until <= now)
    }

    /// Takes a lease; never a shorter one, and none once one has passed.
    fn renew(&mut self, now: u64, until: u64) -> bool {
        let in_time = !self.has_passed(now);
        if in_time {
            self.until = Some(self.until.map_or(until, |known| known.max(until)));
        }
        in_time
    }
}

impl World {
    /// The daemon tells a shim its lease.
    pub fn lease(&mut self, host: HostId, task: TaskId, until: u64) -> bool {
        let now = self.now;
        self.hosts[host].engine.shim(task).is_some_and(|(shim, _)| shim.renew(now, until))
    }

    /// A container with a lease runs: its shim looks.
    pub fn begin_looks(&mut self, host: HostId, task: TaskId, pid: u32) {
        if self.hosts[host].engine.shim(task).is_some_and(|(shim, _)| shim.until.is_some()) {
            let after = self.draw(0, LOOK_US);
            self.shim_later(host, task, pid, after);
        }
    }

    fn shim_later(&mut self, host: HostId, task: TaskId, pid: u32, after: u64) {
        if self.settings.mutation == Some(Mutation::ForgetLease) {
            return;
        }
        let boot = self.hosts[host].boot;
        self.push(after, Event::Engine { host, boot, what: EngineEvent::Look { task, pid } });
    }

    pub fn shim_looks(&mut self, host: HostId, task: TaskId, pid: u32) {
        let now = self.now;
        let Some((shim, grace)) = self.hosts[host].engine.shim(task) else { return };
        let Some(until) = shim.until else { return };
        let kill = now >= until + grace;
        let signal = until <= now && !kill && !std::mem::replace(&mut shim.told, true);
        if kill {
            shim.told = true;
            let slow = self.hosts[host].engine.slow;
            let after = if slow { self.draw(KILL_US.0, KILL_US.1) } else { self.draw(MS, 50 * MS) };
            self.exit_later(host, task, pid, after, KILLED);
        } else {
            if signal {
                self.note(&format!("h{host} shim of {task:.8}: its lease has passed"));
                self.signal(host, task, u64::MAX / 4);
            }
            self.shim_later(host, task, pid, LOOK_US);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_renewed_in_time_or_not_at_all_and_never_shortened() {
        let mut kept = Kept::default();
        assert!(!kept.has_passed(u64::MAX), "most containers have none");
        assert!(kept.renew(0, 100) && kept.renew(99, 200) && kept.renew(99, 150));
        assert!(!kept.has_passed(199) && kept.has_passed(200));
        assert!(!kept.renew(200, 900) && kept.has_passed(200));
    }
}
