//! What the agent needs of containers and of the network. The agent owns these traits; the daemon binds
//! them to the crates `runtime` and `overlay`.

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use swarm_core::fabric::{FabricNetwork, FabricState};
use swarm_core::model::{Config, Health, HealthConfig, PortConfig, ProbeAction, Secret, Task};
use swarm_core::template::task::NodeFacts;
use swarm_core::{ConfigId, NetworkId, NodeId, SecretId, ServiceId, TaskId};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Why an engine operation failed: one line for the task's status.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct EngineError(pub String);

/// What a task refers to: contents, the networks it is on, and the node.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    /// By id and version of the content.
    pub secrets: BTreeMap<(SecretId, u64), Arc<Secret>>,
    pub configs: BTreeMap<(ConfigId, u64), Arc<Config>>,
    pub networks: BTreeMap<NetworkId, FabricNetwork>,
    /// What templates know of this node.
    pub node: NodeFacts,
}

/// A pull's line to who asked for it.
#[derive(Clone, Debug)]
pub struct Progress {
    /// Words on what it is doing; a full channel drops them.
    pub words: mpsc::Sender<String>,
    /// Nobody wants its result any more.
    pub given_up: CancellationToken,
}

/// A container that is ready to start.
#[derive(Clone, Debug)]
pub struct Prepared {
    pub container_id: String,
    /// The check in force: the task's, or the image's with the task's values over it.
    pub health: Option<HealthConfig>,
}

/// A container that runs.
#[derive(Clone, Debug)]
pub struct Started {
    pub pid: u32,
    pub host_ports: Vec<PortConfig>,
}

/// Why a container that was ready does not run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct NotStarted {
    /// One line for the task's status.
    pub reason: String,
    /// What the container ended with, when it got that far: 127 for a command that was not found, 126 for one that
    /// cannot be run.
    pub exit_code: Option<i32>,
}

/// How a container ended.
#[derive(Clone, Debug)]
pub struct Exited {
    pub code: i32,
    pub oom_killed: bool,
    /// Why it never ran or was lost; empty for an ordinary exit.
    pub error: String,
}

/// What is left of a task's container after a restart of the daemon.
#[derive(Clone, Debug)]
pub enum Found {
    Running {
        container_id: String,
        pid: u32,
        health: Option<HealthConfig>,
    },
    Exited(Exited),
    /// Never started, or nothing is left.
    Nothing,
}

/// One run of a probe or health check.
#[derive(Clone, Debug)]
pub struct Probed {
    pub good: bool,
    /// What was seen: a status, an error, the output of a program.
    pub words: String,
}

/// Counters of a running container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// CPU time since its start.
    pub cpu_ns: u64,
    /// Memory now, without page cache that can be given back.
    pub memory_bytes: u64,
}

/// A line of a task's log.
#[derive(Clone, Debug)]
pub struct LogLine {
    pub stderr: bool,
    /// Nanoseconds since 1970.
    pub time_ns: i64,
    pub data: bytes::Bytes,
}

/// Which lines.
#[derive(Clone, Debug, Default)]
pub struct LogQuery {
    pub follow: bool,
    pub stdout: bool,
    pub stderr: bool,
    pub tail: Option<u64>,
    pub since_ns: Option<i64>,
    pub until_ns: Option<i64>,
}

/// Lines of one task, oldest first.
pub type LogLines = BoxStream<'static, Result<LogLine, EngineError>>;

/// Runs the containers of tasks. One operation per task at a time, `wait` and probes excepted.
pub trait Engine: Send + Sync + 'static {
    /// Has the task's image here, however long its registry takes. When it is given up it ends soon, with an error.
    fn fetch(&self, task: Arc<Task>, progress: Progress) -> BoxFuture<'static, Result<(), EngineError>>;

    /// Volumes, network and container over a fetched image. What a failure leaves behind is removed by `clean`.
    fn prepare(&self, task: Arc<Task>, contents: Contents) -> BoxFuture<'static, Result<Prepared, EngineError>>;

    /// Starts what was prepared.
    fn start(&self, task: TaskId) -> BoxFuture<'static, Result<Started, NotStarted>>;

    /// Lets the task run until `until_boot_ms` (milliseconds since the host was started, its sleep included): then it is
    /// stopped, and killed after `grace`, even when this process is gone. Beside other operations, and before `start`.
    fn lease(&self, task: TaskId, until_boot_ms: u64, grace: Duration) -> BoxFuture<'static, Result<(), EngineError>>;

    /// Resolves when the task's container has ended.
    fn wait(&self, task: TaskId) -> BoxFuture<'static, Exited>;

    /// Sends the stop signal, and kills after `grace`. Resolves when the container has ended.
    fn stop(&self, task: TaskId, grace: Duration) -> BoxFuture<'static, ()>;

    /// Gives back what an ended task holds but its log and its writable layer: network and mounts.
    fn release(&self, task: TaskId) -> BoxFuture<'static, ()>;

    /// Removes everything the task has here.
    fn clean(&self, task: TaskId) -> BoxFuture<'static, ()>;

    /// Gives back what tasks shared: the node left its cluster, and all its tasks were cleaned.
    fn close(&self) -> BoxFuture<'static, ()>;

    /// Runs the health check once, within `timeout`. What is dropped is ended.
    fn check_health(&self, task: TaskId, test: Vec<String>, timeout: Duration) -> BoxFuture<'static, Probed>;

    /// Probes the container once, within `timeout`, from within its own network. What is dropped is ended.
    fn probe(&self, task: TaskId, action: ProbeAction, timeout: Duration) -> BoxFuture<'static, Probed>;

    /// The verdict on a container that runs after a run of its health check, and how many runs failed one after the
    /// other.
    fn judged(&self, task: TaskId, health: Health, failures: u32);

    /// Waits while the task's container is paused; true if it had to.
    fn unpaused(&self, task: TaskId) -> BoxFuture<'static, bool> {
        let _ = task;
        Box::pin(std::future::ready(false))
    }

    /// What is there of this task.
    fn find(&self, task: Arc<Task>) -> BoxFuture<'static, Found>;

    /// Ids of all tasks that have anything here.
    fn tasks(&self) -> BoxFuture<'static, Vec<TaskId>>;

    /// Counters of these tasks; those that do not run are left out.
    fn usage(&self, tasks: Vec<TaskId>) -> BoxFuture<'static, BTreeMap<TaskId, Usage>>;

    /// Lines of a task's log.
    fn logs(&self, task: TaskId, query: LogQuery) -> BoxFuture<'static, Result<LogLines, EngineError>>;
}

/// This node's place in the overlay.
#[derive(Clone, Debug)]
pub struct FabricMember {
    pub node: NodeId,
    /// Where WireGuard listens (UDP).
    pub listen: SocketAddr,
    /// Where others reach this node.
    pub advertise: IpAddr,
}

/// Brings the node's network to a state.
pub trait Fabric: Send + Sync + 'static {
    /// Takes up what an earlier daemon left and listens for peers: once per membership, before anything else.
    fn open(&self, member: FabricMember) -> BoxFuture<'static, Result<(), EngineError>>;

    /// Removes everything of the network from this host: the node left its cluster.
    fn close(&self) -> BoxFuture<'static, Result<(), EngineError>>;

    /// Connections to published ports that came in by this node so far, by service; counted anew after a restart.
    fn connections(&self) -> BoxFuture<'static, Result<BTreeMap<ServiceId, u64>, EngineError>>;

    /// Makes the network look like `state`; called with whole states, the newest wins.
    fn apply(&self, state: Arc<FabricState>) -> BoxFuture<'static, Result<(), EngineError>>;
}
