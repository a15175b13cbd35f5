//! The agent's engine and network on this host: binds the agent's ports to the crates `runtime` and `overlay`.
//!
//! A task has one container, whose id is derived from the task's: nothing has to be remembered to find it.
//! Everything here can be called again after a crash in the middle.

mod contents;
mod ending;
mod events;
mod net;
mod notes;
mod prepare;
mod probe;
mod pulling;
mod reach;
mod secrets;
mod spec;

pub use events::{Check, Checks, Event, Events, now_ns};
pub use net::{Net, NetSettings};
pub use notes::{NetworkNote, Notes};
pub use secrets::SecretFiles;

use crate::agent::engine::{
    Contents, Engine, EngineError, Exited, Found, LogLine, LogLines, LogQuery, NotStarted, Prepared, Probed, Progress,
    Started, Usage,
};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use runtime::Containers;
use runtime::container::{Error, LogOptions, Status};
use runtime::image::ImageStore;
use runtime::shim::{Exit, Output};
use runtime::volumes::Volumes;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use swarm_core::TaskId;
use swarm_core::model::{Health, ProbeAction, PublishMode, Task};
use tokio::sync::broadcast::error::RecvError;

/// Label that names a task as people see it (as Docker's).
pub const NAME_LABEL: &str = "com.docker.swarm.task.name";
/// Label that names the task of a container (as Docker's).
pub const TASK_LABEL: &str = "com.docker.swarm.task.id";

/// The engine of this host.
#[derive(Clone)]
pub struct LocalEngine {
    pub images: ImageStore,
    pub containers: Containers,
    pub volumes: Volumes,
    pub net: Net,
    pub events: Events,
    pub secrets: SecretFiles,
    /// For what must be gone after a reboot: contents of configs, files of the network.
    pub run_dir: PathBuf,
}

/// The container of a task: 64 hexadecimal digits.
pub fn container_id(task: TaskId) -> String {
    hex::encode(Sha256::digest(format!("swarm task {task}")))
}

impl LocalEngine {
    fn files(&self, id: &str) -> PathBuf {
        self.run_dir.join("tasks").join(id)
    }

    /// An event of a container, with what Docker's carry: image, name, labels.
    pub fn tell(&self, action: &str, id: &str, more: &[(&str, String)]) {
        let Some(mut attributes) = self.attributes(id) else { return };
        attributes.extend(more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        self.events.tell("container", action, id, attributes);
    }

    /// What events of a container carry; `None` when there is no such container.
    fn attributes(&self, id: &str) -> Option<BTreeMap<String, String>> {
        let spec = self.containers.spec(id).ok()?;
        let mut attributes = spec.labels.clone();
        attributes.insert("image".to_owned(), Notes::of(&spec).image);
        attributes.insert("name".to_owned(), spec.labels.get(NAME_LABEL).cloned().unwrap_or_default());
        Some(attributes)
    }

    /// Kills a task's container if it runs, and removes it with all the task has on this host. The agent takes it for
    /// the task's end.
    pub async fn remove_container(&self, id: &str) -> Result<(), String> {
        let spec = self.containers.spec(id).map_err(|error| crate::error::chain(&error))?;
        let task = spec.labels.get(TASK_LABEL).and_then(|task| task.parse().ok());
        let task = task.ok_or_else(|| format!("container {id} is not of a task"))?;
        if matches!(self.containers.status(id).await, Ok(Status::Running { .. } | Status::Paused { .. })) {
            self.tell("kill", id, &[("signal", libc::SIGKILL.to_string())]);
        }
        self.clean_task(task).await;
        match self.containers.spec(id) {
            Ok(_) => Err(format!("container {id} could not be removed: the daemon's log says why")),
            Err(_) => Ok(()),
        }
    }
}

fn line(error: &dyn std::error::Error) -> EngineError {
    EngineError(crate::error::chain(error))
}

/// As [`line`], without the container's id: it is the task's status that shows it.
fn container_line(error: Error) -> EngineError {
    match error {
        Error::Create { message, .. } | Error::Start { message, .. } => EngineError(message),
        other => line(&other),
    }
}

/// As [`container_line`], with the code that the container ended with.
fn not_started(error: Error) -> NotStarted {
    let exit_code = match &error {
        Error::Start { code, .. } => Some(*code),
        _ => None,
    };
    NotStarted { reason: container_line(error).0, exit_code }
}

/// Runs blocking work on a thread for it.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, EngineError> + Send + 'static,
) -> Result<T, EngineError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(EngineError(format!("the work failed: {error}"))),
    }
}

fn exited(exit: Exit) -> Exited {
    Exited { code: exit.code, oom_killed: exit.oom_killed, error: exit.error.unwrap_or_default() }
}

impl Engine for LocalEngine {
    fn fetch(&self, task: Arc<Task>, progress: Progress) -> BoxFuture<'static, Result<(), EngineError>> {
        let engine = self.clone();
        Box::pin(async move { engine.fetch_image(&task, &progress).await })
    }

    fn prepare(&self, task: Arc<Task>, contents: Contents) -> BoxFuture<'static, Result<Prepared, EngineError>> {
        let engine = self.clone();
        Box::pin(async move { engine.prepare_task(&task, &contents).await })
    }

    fn start(&self, task: TaskId) -> BoxFuture<'static, Result<Started, NotStarted>> {
        let engine = self.clone();
        Box::pin(async move {
            let id = container_id(task);
            ending::start(&engine.containers, &id).await.map_err(not_started)?;
            engine.tell("start", &id, &[]);
            let pid = match engine.containers.status(&id).await {
                Ok(Status::Running { pid, .. } | Status::Created { pid } | Status::Paused { pid, .. }) => pid,
                Ok(Status::Exited(_)) | Err(_) => 0,
            };
            Ok(Started { pid: u32::try_from(pid).unwrap_or(0), host_ports: Vec::new() })
        })
    }

    fn wait(&self, task: TaskId) -> BoxFuture<'static, Exited> {
        let engine = self.clone();
        Box::pin(async move {
            let id = container_id(task);
            let exit = ending::end_of(&engine.containers, &id).await;
            if exit.oom_killed {
                engine.tell("oom", &id, &[]);
            }
            engine.tell("die", &id, &[("exitCode", exit.code.to_string())]);
            exited(exit)
        })
    }

    fn lease(&self, task: TaskId, until_boot_ms: u64, grace: Duration) -> BoxFuture<'static, Result<(), EngineError>> {
        let containers = self.containers.clone();
        Box::pin(async move {
            let id = container_id(task);
            let signal = stop_signal(&containers, &id);
            containers.lease(&id, until_boot_ms, signal, grace).await.map_err(container_line)
        })
    }

    fn stop(&self, task: TaskId, grace: Duration) -> BoxFuture<'static, ()> {
        let containers = self.containers.clone();
        Box::pin(async move {
            let id = container_id(task);
            let signal = stop_signal(&containers, &id);
            if let Err(error) = containers.stop(&id, signal, grace).await {
                tracing::warn!(%task, error = %crate::error::chain(&error), "a container did not stop as asked; killing it");
                ending::put_down(&containers, &id).await;
            }
        })
    }

    fn release(&self, task: TaskId) -> BoxFuture<'static, ()> {
        let engine = self.clone();
        Box::pin(async move { engine.release_network(task).await })
    }

    fn clean(&self, task: TaskId) -> BoxFuture<'static, ()> {
        let engine = self.clone();
        Box::pin(async move { engine.clean_task(task).await })
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        let engine = self.clone();
        Box::pin(async move { engine.give_back().await })
    }

    fn check_health(&self, task: TaskId, test: Vec<String>, limit: Duration) -> BoxFuture<'static, Probed> {
        let (containers, events) = (self.containers.clone(), self.events.clone());
        Box::pin(async move {
            let check = probe::check(&containers, &container_id(task), &test, limit).await;
            let words = match check.output.trim() {
                "" => format!("exited with {}", check.exit_code),
                output => output.to_owned(),
            };
            let probed = Probed { good: check.exit_code == 0, words };
            events.checked(task, check);
            probed
        })
    }

    fn probe(&self, task: TaskId, action: ProbeAction, limit: Duration) -> BoxFuture<'static, Probed> {
        let containers = self.containers.clone();
        Box::pin(async move { probe::probe(&containers, &container_id(task), &action, limit).await })
    }

    fn judged(&self, task: TaskId, health: Health, failures: u32) {
        if self.events.set_health(task, health, failures) && matches!(health, Health::Healthy | Health::Unhealthy) {
            let action = format!("health_status: {}", health.as_str());
            self.tell(&action, &container_id(task), &[]);
        }
    }

    fn unpaused(&self, task: TaskId) -> BoxFuture<'static, bool> {
        let (containers, mut events) = (self.containers.clone(), self.events.listen());
        Box::pin(async move {
            let (id, mut waited) = (container_id(task), false);
            while containers.is_paused(&id) {
                waited = true;
                // It goes on, or ends, with an event; whatever it was, and if some were missed, the next look tells.
                if matches!(events.recv().await, Err(RecvError::Closed)) {
                    break;
                }
            }
            waited
        })
    }

    fn find(&self, task: Arc<Task>) -> BoxFuture<'static, Found> {
        let containers = self.containers.clone();
        Box::pin(async move { ending::find(&containers, &task).await })
    }

    fn tasks(&self) -> BoxFuture<'static, Vec<TaskId>> {
        let engine = self.clone();
        Box::pin(async move {
            // Adopts what runs, and buries what lost its shim.
            if let Err(error) = engine.containers.recover().await {
                tracing::error!(error = %crate::error::chain(&error), "containers could not be looked at");
            }
            let ids = engine.containers.list().unwrap_or_default();
            let specs = ids.iter().filter_map(|id| engine.containers.spec(id).ok());
            let tasks = specs.filter_map(|spec| spec.labels.get(TASK_LABEL)?.parse().ok());
            // A crash between the two may have left the volumes of a container that is gone.
            let owners = engine.volumes.owners().await.unwrap_or_default();
            let all: BTreeSet<TaskId> = tasks.chain(owners.iter().filter_map(|id| id.parse().ok())).collect();
            all.into_iter().collect()
        })
    }

    fn usage(&self, tasks: Vec<TaskId>) -> BoxFuture<'static, BTreeMap<TaskId, Usage>> {
        let containers = self.containers.clone();
        Box::pin(async move {
            let ids: BTreeMap<String, TaskId> = tasks.into_iter().map(|task| (container_id(task), task)).collect();
            let read = containers.usage(ids.keys().cloned().collect()).await.unwrap_or_default();
            let used = read.into_iter().filter_map(|(id, usage)| {
                let usage = Usage { cpu_ns: usage.cpu_total_ns, memory_bytes: usage.memory_bytes };
                Some((*ids.get(&id)?, usage))
            });
            used.collect()
        })
    }

    fn logs(&self, task: TaskId, query: LogQuery) -> BoxFuture<'static, Result<LogLines, EngineError>> {
        let containers = self.containers.clone();
        Box::pin(async move {
            let options = LogOptions {
                follow: query.follow,
                tail: query.tail.map(|lines| usize::try_from(lines).unwrap_or(usize::MAX)),
                since_ns: query.since_ns.and_then(|at| u64::try_from(at).ok()),
                until_ns: query.until_ns.and_then(|at| u64::try_from(at).ok()),
                stdout: query.stdout,
                stderr: query.stderr,
            };
            let lines = containers.logs(&container_id(task), options).await.map_err(|error| line(&error))?;
            let lines = lines.map(|entry| match entry {
                Ok(entry) => Ok(LogLine {
                    stderr: entry.stream == Output::Stderr,
                    time_ns: i64::try_from(entry.time_ns).unwrap_or(i64::MAX),
                    data: entry.bytes,
                }),
                Err(error) => Err(line(&error)),
            });
            Ok(Box::pin(lines) as LogLines)
        })
    }
}

/// What stops the container's program.
fn stop_signal(containers: &Containers, id: &str) -> i32 {
    let spec = containers.spec(id).ok();
    spec.and_then(|spec| runtime::signals::signal_number(&spec.stop_signal)).unwrap_or(libc::SIGTERM)
}

/// Ports a task opens on its own node.
fn host_ports(task: &Task) -> Vec<swarm_core::model::PortConfig> {
    task.host_ports.iter().filter(|port| port.mode == PublishMode::Host).cloned().collect()
}
