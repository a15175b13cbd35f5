//! What verdicts on a running container do to its task: healthy lets it be running, ready lets it have traffic, and
//! what is unhealthy or not alive is stopped, for managers to replace.

use super::{Effects, Managed, Phase, Worker, drain_of};
use crate::model::{Health, TaskState, TaskStatus};
use crate::{Mono, TaskId, WallTime};
use std::time::Duration;

/// What is said of a task whose first readiness probe has not ended.
const NOT_PROBED: &str = "not ready: the first probe is under way";

/// The verdict that an earlier daemon had acted on.
pub(super) fn condemned_before(status: &TaskStatus) -> Option<String> {
    let unhealthy = status.container.as_ref().is_some_and(|container| container.health == Health::Unhealthy);
    (unhealthy && !status.state.is_terminal()).then(|| status.err.clone())
}

/// Why it takes no traffic though it runs; empty when it does, or when nothing says.
fn not_ready(managed: &Managed) -> String {
    let status = &managed.status;
    if status.container.as_ref().and_then(|container| container.ready) != Some(false) {
        return String::new();
    }
    // What an earlier daemon had found stands in the status.
    let recorded = Some(&status.err).filter(|err| status.state == TaskState::Running && !err.is_empty());
    managed.unready.as_ref().or(recorded).cloned().unwrap_or_else(|| NOT_PROBED.to_owned())
}

impl Worker {
    /// Its first process runs, or was found running.
    pub(super) fn started(&mut self, now: Mono, wall: WallTime, id: TaskId, pid: u32, out: &mut Effects) {
        let Some(managed) = self.tasks.get_mut(&id) else { return };
        managed.phase = Phase::Running;
        let container = managed.status.container.get_or_insert_default();
        container.pid = pid;
        if let Some(reason) = managed.condemned.take() {
            self.condemn(now, wall, id, reason, out);
        } else if managed.health_checked && container.health != Health::Healthy {
            container.health = Health::Starting;
            self.report(wall, id, TaskState::Starting, "waiting for the first healthy check", String::new(), out);
        } else {
            self.running(wall, id, out);
        }
        self.advance(now, wall, id, out);
    }

    /// It runs, and takes traffic unless its readiness probe says otherwise.
    fn running(&mut self, wall: WallTime, id: TaskId, out: &mut Effects) {
        let Some(managed) = self.tasks.get(&id) else { return };
        let err = not_ready(managed);
        self.report(wall, id, TaskState::Running, "started", err, out);
    }

    pub(super) fn health(
        &mut self,
        now: Mono,
        wall: WallTime,
        id: TaskId,
        health: Health,
        words: &str,
        out: &mut Effects,
    ) {
        let Some(managed) = self.tasks.get_mut(&id).filter(|managed| managed.phase == Phase::Running) else { return };
        match health {
            Health::Healthy => {
                managed.status.container.get_or_insert_default().health = health;
                self.running(wall, id, out);
            }
            Health::Unhealthy => {
                let reason = match words {
                    "" => "unhealthy container".to_owned(),
                    words => format!("unhealthy container: {words}"),
                };
                self.condemn(now, wall, id, reason, out);
            }
            Health::None | Health::Starting => {}
        }
    }

    /// Nothing but traffic depends on it: the task runs on.
    pub(super) fn readiness(&mut self, wall: WallTime, id: TaskId, ready: bool, words: &str, out: &mut Effects) {
        let Some(managed) = self.tasks.get_mut(&id).filter(|managed| managed.phase == Phase::Running) else { return };
        managed.status.container.get_or_insert_default().ready = Some(ready);
        managed.unready = (!ready).then(|| format!("not ready: {words}"));
        // One that waits to be healthy says that first.
        if managed.status.state == TaskState::Running {
            self.running(wall, id, out);
        }
    }

    /// Stops what is not fit to run: first its traffic, then its container. The exit that follows is a failure for
    /// this reason.
    pub(super) fn condemn(&mut self, now: Mono, wall: WallTime, id: TaskId, reason: String, out: &mut Effects) {
        let Some(managed) = self.tasks.get_mut(&id).filter(|managed| managed.phase == Phase::Running) else { return };
        managed.status.container.get_or_insert_default().health = Health::Unhealthy;
        managed.condemned = Some(reason.clone());
        let (state, words) = (managed.status.state, managed.status.message.clone());
        let had_traffic = state == TaskState::Running;
        let drain = if had_traffic { drain_of(&managed.task) } else { Duration::ZERO };
        managed.phase = Phase::Draining { until: now + drain };
        self.report(wall, id, state, &words, reason, out);
    }
}
