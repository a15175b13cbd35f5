//! The agent's memory over restarts: one file per task with its last status, and the last network state.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use swarm_core::TaskId;
use swarm_core::fabric::{FabricDelta, FabricState};
use swarm_core::model::Task;
use wire::{Message, Wire, WireError, pb};

use crate::trust::write_private_file_soon;

/// A record that can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Nothing was changed.
    #[error("cannot {verb} the agent's record {}", path.display())]
    Io {
        verb: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// The folder of records. Blocking file work; files are small.
#[derive(Clone, Debug)]
pub struct Records {
    dir: PathBuf,
}

impl Records {
    /// Opens or makes the folder.
    pub fn open(dir: &Path) -> Result<Self, RecordError> {
        let tasks = dir.join("tasks");
        std::fs::create_dir_all(&tasks).map_err(|source| RecordError::Io { verb: "make", path: tasks, source })?;
        Ok(Self { dir: dir.to_owned() })
    }

    fn task_path(&self, task: TaskId) -> PathBuf {
        self.dir.join("tasks").join(task.to_string())
    }

    fn fabric_path(&self) -> PathBuf {
        self.dir.join("fabric")
    }

    /// Records a task as it is now, without the credentials of its registry: its image is not pulled again.
    pub fn put(&self, task: &Task) -> Result<(), RecordError> {
        let mut record = task.to_wire();
        if let Some(container) = record.spec.as_mut().and_then(|spec| spec.container.as_mut()) {
            container.pull_auth = None;
        }
        self.write(self.task_path(task.id), &record.encode_to_vec())
    }

    /// Forgets a task.
    pub fn remove(&self, task: TaskId) -> Result<(), RecordError> {
        let path = self.task_path(task);
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(RecordError::Io { verb: "remove", path, source })
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// All recorded tasks. A record that does not parse is left out and named in the log: its container
    /// is then removed as unknown.
    pub fn tasks(&self) -> Result<Vec<Arc<Task>>, RecordError> {
        let dir = self.dir.join("tasks");
        let list = |source| RecordError::Io { verb: "list", path: dir.clone(), source };
        let mut tasks = Vec::new();
        for entry in std::fs::read_dir(&dir).map_err(list)? {
            let path = entry.map_err(list)?.path();
            let bytes =
                std::fs::read(&path).map_err(|source| RecordError::Io { verb: "read", path: path.clone(), source })?;
            match decode_task(&bytes) {
                Ok(task) => tasks.push(Arc::new(task)),
                Err(error) => tracing::warn!(path = %path.display(), %error, "a task record is damaged"),
            }
        }
        Ok(tasks)
    }

    /// Records the network state: what the data plane runs on while no manager answers.
    pub fn put_fabric(&self, state: &FabricState) -> Result<(), RecordError> {
        self.write(self.fabric_path(), &FabricDelta::complete(state).to_wire().encode_to_vec())
    }

    /// The network state recorded last.
    pub fn fabric(&self) -> Option<FabricState> {
        let bytes = std::fs::read(self.fabric_path()).ok()?;
        let delta = pb::dispatch::Fabric::decode(&bytes[..]).ok()?;
        let mut state = FabricState::default();
        state.apply_delta(FabricDelta::from_wire(delta).ok()?).ok()?;
        Some(state)
    }

    /// Not synced: containers do not outlive a crash of the machine either, and managers know the rest.
    fn write(&self, path: PathBuf, bytes: &[u8]) -> Result<(), RecordError> {
        write_private_file_soon(&path, bytes).map_err(|source| RecordError::Io { verb: "write", path, source })
    }
}

fn decode_task(bytes: &[u8]) -> Result<Task, WireError> {
    Task::from_wire(pb::objects::Task::decode(bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use swarm_core::model::TaskSpec;
    use swarm_core::{Sensitive, ServiceId};

    fn task(spec: TaskSpec) -> Task {
        Task { service_name: "web".to_owned(), ..Task::new(TaskId(7), ServiceId(1), 1, Arc::new(spec)) }
    }

    #[test]
    fn a_task_is_read_back_as_it_was_but_without_the_credentials_of_its_registry() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::open(dir.path()).unwrap();
        let mut spec = TaskSpec::default();
        let plain = task(spec.clone());
        spec.container.pull_auth = Some(Sensitive::new("a password".to_owned()));
        records.put(&task(spec)).unwrap();
        let bytes = std::fs::read(records.task_path(TaskId(7))).unwrap();
        assert!(!bytes.windows(10).any(|part| part == b"a password"));
        assert_eq!(records.tasks().unwrap(), [Arc::new(plain)]);
    }
}
