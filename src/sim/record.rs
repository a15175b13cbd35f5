//! The agent's memory over restarts: one record per task with its last status (`node::agent::record`). Written, not
//! synced: when the power goes, the newest may be gone, be older than they were, or not parse.

use crate::settings::SECOND;
use rand::Rng;
use rand::rngs::StdRng;
use std::collections::BTreeMap;
use std::sync::Arc;
use swarm_core::TaskId;
use swarm_core::model::Task;

/// What the kernel has not written after this long, it writes.
const WRITTEN_AFTER_US: u64 = 5 * SECOND;

/// The records of one host.
#[derive(Debug, Default)]
pub struct Records {
    tasks: BTreeMap<TaskId, Arc<Task>>,
    /// What was there before a write that may not have reached the disk, oldest first.
    young: Vec<(u64, TaskId, Option<Arc<Task>>)>,
}

impl Records {
    fn note(&mut self, now: u64, id: TaskId, before: Option<Arc<Task>>) {
        self.young.retain(|(at, _, _)| now < at + WRITTEN_AFTER_US);
        self.young.push((now, id, before));
    }

    pub fn put(&mut self, now: u64, task: Arc<Task>) {
        let id = task.id;
        let before = self.tasks.insert(id, task);
        self.note(now, id, before);
    }

    pub fn remove(&mut self, now: u64, id: TaskId) {
        let before = self.tasks.remove(&id);
        self.note(now, id, before);
    }

    pub fn tasks(&self) -> Vec<Arc<Task>> {
        self.tasks.values().cloned().collect()
    }

    /// Of the young writes some never happened, and some left a file that does not parse.
    pub fn lose_power(&mut self, rng: &mut StdRng, now: u64) {
        let young: Vec<_> = self.young.drain(..).filter(|(at, _, _)| now < at + WRITTEN_AFTER_US).collect();
        for (_, id, before) in young.into_iter().rev() {
            match (rng.random_range(0..3), before) {
                (0, Some(task)) => drop(self.tasks.insert(id, task)),
                (0, None) | (1, _) => drop(self.tasks.remove(&id)),
                (_, _) => {}
            }
        }
    }
}
