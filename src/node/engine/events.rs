//! What happens to this host's images, volumes and containers, told to whoever listens, and the last verdict of each
//! health check. Nothing is kept for later: who listens late or too slowly misses events.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;
use swarm_core::TaskId;
use swarm_core::model::Health;
use tokio::sync::broadcast;

/// Events a listener may be behind: more than a burst of starts on one node.
const BEHIND_MAX: usize = 1024;

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

/// Handle to tell and to listen; clones are the same.
#[derive(Clone, Debug)]
pub struct Events {
    sender: broadcast::Sender<Event>,
    /// Held for a moment only.
    health: Arc<Mutex<BTreeMap<TaskId, Health>>>,
}

impl Default for Events {
    fn default() -> Self {
        Self { sender: broadcast::Sender::new(BEHIND_MAX), health: Arc::default() }
    }
}

impl Events {
    /// Tells all who listen now.
    pub fn tell(&self, kind: &'static str, action: &str, id: &str, attributes: BTreeMap<String, String>) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let time_ns = i64::try_from(now.as_nanos()).unwrap_or(i64::MAX);
        // Nobody listening is fine.
        let _ = self.sender.send(Event { kind, action: action.to_owned(), id: id.to_owned(), attributes, time_ns });
    }

    /// Events from now on.
    pub fn listen(&self) -> broadcast::Receiver<Event> {
        self.sender.subscribe()
    }

    /// The last verdict on a task's container.
    pub fn health(&self, task: TaskId) -> Health {
        self.verdicts().get(&task).copied().unwrap_or(Health::None)
    }

    /// Whether that is news.
    pub(super) fn set_health(&self, task: TaskId, health: Health) -> bool {
        self.verdicts().insert(task, health) != Some(health)
    }

    pub(super) fn forget(&self, task: TaskId) {
        self.verdicts().remove(&task);
    }

    fn verdicts(&self) -> std::sync::MutexGuard<'_, BTreeMap<TaskId, Health>> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
