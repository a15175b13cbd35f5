//! What happens to this host's images, volumes and containers, told to whoever listens, and the last runs of each
//! health check. Nothing is kept for later: who listens late or too slowly misses events.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;
use swarm_core::TaskId;
use swarm_core::model::Health;
use tokio::sync::broadcast;

/// Events a listener may be behind: more than a burst of starts on one node.
const BEHIND_MAX: usize = 1024;
/// Runs of a health check that are kept (as Docker).
const CHECKS_MAX: usize = 5;

/// One event (Docker API `EventMessage`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// `image`, `container` or `volume`.
    pub kind: &'static str,
    pub action: String,
    /// Id of a container or image, name of a volume.
    pub id: String,
    pub attributes: BTreeMap<String, String>,
    /// Nanoseconds since 1970.
    pub time_ns: i64,
}

/// One run of a health check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Check {
    /// Nanoseconds since 1970.
    pub started_ns: i64,
    pub ended_ns: i64,
    /// -1 when it did not run to its end.
    pub exit_code: i32,
    /// Its beginning.
    pub output: String,
}

/// What health checks found of one container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checks {
    pub verdict: Health,
    /// Runs that failed, one after the other.
    pub failures: u32,
    /// The last of them, oldest first.
    pub log: VecDeque<Check>,
}

/// Handle to tell and to listen; clones are the same.
#[derive(Clone, Debug)]
pub struct Events {
    sender: broadcast::Sender<Event>,
    /// Held for a moment only.
    health: Arc<Mutex<BTreeMap<TaskId, Checks>>>,
}

impl Default for Events {
    fn default() -> Self {
        Self { sender: broadcast::Sender::new(BEHIND_MAX), health: Arc::default() }
    }
}

impl Events {
    /// Tells all who listen now.
    pub fn tell(&self, kind: &'static str, action: &str, id: &str, attributes: BTreeMap<String, String>) {
        let time_ns = now_ns();
        // Nobody listening is fine.
        let _ = self.sender.send(Event { kind, action: action.to_owned(), id: id.to_owned(), attributes, time_ns });
    }

    /// Events from now on.
    pub fn listen(&self) -> broadcast::Receiver<Event> {
        self.sender.subscribe()
    }

    /// What health checks found of a task's container.
    pub fn checks(&self, task: TaskId) -> Checks {
        self.health().get(&task).cloned().unwrap_or_default()
    }

    /// Whether the verdict is news.
    pub(super) fn set_health(&self, task: TaskId, verdict: Health, failures: u32) -> bool {
        let mut health = self.health();
        let checks = health.entry(task).or_default();
        checks.failures = failures;
        std::mem::replace(&mut checks.verdict, verdict) != verdict
    }

    /// One more run, of a task whose health is watched.
    pub(super) fn checked(&self, task: TaskId, check: Check) {
        if let Some(checks) = self.health().get_mut(&task) {
            checks.log.push_back(check);
            if checks.log.len() > CHECKS_MAX {
                checks.log.pop_front();
            }
        }
    }

    pub(super) fn forget(&self, task: TaskId) {
        self.health().remove(&task);
    }

    fn health(&self) -> std::sync::MutexGuard<'_, BTreeMap<TaskId, Checks>> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Nanoseconds since 1970.
pub fn now_ns() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_five_checks_are_kept_while_the_task_is_there() {
        let (events, task) = (Events::default(), TaskId(7));
        let check = |exit_code| Check { exit_code, ..Check::default() };
        events.checked(task, check(0));
        assert_eq!(events.checks(task), Checks::default(), "nobody watches its health");
        assert!(events.set_health(task, Health::Starting, 0));
        (1..=7).for_each(|code| events.checked(task, check(code)));
        assert!(!events.set_health(task, Health::Starting, 2), "no news");
        let checks = events.checks(task);
        assert_eq!((checks.verdict, checks.failures), (Health::Starting, 2));
        assert_eq!(checks.log, [3, 4, 5, 6, 7].map(check));
        events.forget(task);
        assert_eq!(events.checks(task), Checks::default());
    }
}
