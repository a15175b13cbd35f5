//! Tasks that are to run once at most: they start only with a lease, and end with it.
//!
//! The container's shim enforces the lease by itself; here it is known why, and nothing is started without one. A task
//! whose lease has passed is over for good, started or not: managers may have given its place to another.

use super::{Command, Effects, Managed, Phase, Worker};
use crate::model::TaskState;
use crate::{Mono, TaskId, WallTime};

impl Worker {
    /// Until when a task may run; `None` when it needs no lease, or has none yet.
    pub fn lease_of(&self, task: TaskId) -> Option<Mono> {
        self.tasks.get(&task).and_then(|managed| managed.lease)
    }

    /// A leader answered the heartbeat that was sent at `sent`.
    pub(super) fn leased(&mut self, now: Mono, wall: WallTime, sent: Mono, out: &mut Effects) {
        let mut renewed = Vec::new();
        for (id, managed) in &mut self.tasks {
            let Some(lease) = managed.task.spec.at_most_one else { continue };
            let until = sent + lease;
            if managed.lapsed || until <= now || managed.lease.is_some_and(|known| known >= until) {
                continue;
            }
            managed.lease = Some(until);
            match managed.phase {
                Phase::Starting | Phase::Running | Phase::Draining { .. } => {
                    out.commands.push(Command::Renew { task: *id, until });
                }
                Phase::Prepared => renewed.push(*id),
                Phase::Preparing | Phase::Stopping | Phase::Ended | Phase::Cleaning => {}
            }
        }
        for id in renewed {
            self.advance(now, wall, id, out);
        }
    }

    /// Ends the tasks whose lease has passed, and says when the next one does.
    pub(super) fn lapse(&mut self, now: Mono, wall: WallTime, out: &mut Effects) {
        let mut passed = Vec::new();
        for (id, managed) in &mut self.tasks {
            let Some(until) = managed.lease.filter(|_| !managed.lapsed) else { continue };
            if matches!(managed.phase, Phase::Stopping | Phase::Ended | Phase::Cleaning) {
                continue;
            }
            if until <= now {
                managed.lapsed = true;
                passed.push(*id);
            } else {
                out.wake_at = Some(out.wake_at.map_or(until, |at| at.min(until)));
            }
        }
        for id in passed {
            self.end_lapsed(wall, id, out);
        }
    }

    pub(super) fn end_lapsed(&mut self, wall: WallTime, id: TaskId, out: &mut Effects) {
        let Some(managed) = self.tasks.get_mut(&id) else { return };
        match managed.phase {
            // Its answer ends it.
            Phase::Preparing => out.commands.push(Command::GiveUp(id)),
            Phase::Prepared => {
                let reason = managed.lapse_reason();
                self.report(wall, id, TaskState::Failed, "preparing", reason, out);
                self.set_phase(id, Phase::Cleaning);
                out.commands.push(Command::Clean(id));
            }
            // Nobody is sent here any more, and time is short: no drain.
            Phase::Starting | Phase::Running | Phase::Draining { .. } => {
                managed.phase = Phase::Stopping;
                let grace = managed.task.spec.container.stop_grace();
                out.commands.push(Command::Stop { task: id, grace });
            }
            Phase::Stopping | Phase::Ended | Phase::Cleaning => {}
        }
    }
}

impl Managed {
    /// It may start as far as its lease is concerned.
    pub(super) fn may_start(&self, now: Mono) -> bool {
        self.task.spec.at_most_one.is_none() || !self.lapsed && self.lease.is_some_and(|until| now < until)
    }

    pub(super) fn lapse_reason(&self) -> String {
        let lease = self.task.spec.at_most_one.unwrap_or_default();
        format!("no manager was heard of for {lease:?}: it may run elsewhere (at-most-one)")
    }
}
