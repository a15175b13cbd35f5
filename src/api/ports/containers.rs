//! Containers of this host.

use super::{Answer, Failure, LogOptions, LogRecords, LogStream, not_implemented};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use std::collections::BTreeMap;
use std::net::IpAddr;
use swarm_core::TaskId;
use swarm_core::model;

/// Life of a container (API `ContainerState.Status`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ContainerState {
    #[default]
    Created,
    Running,
    Paused,
    Exited,
}

/// A container of this host.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ContainerRecord {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Without the slash in front.
    pub name: String,
    pub image: String,
    pub image_id: String,
    pub task: Option<TaskId>,
    /// `com.docker.swarm.*` labels included.
    pub labels: BTreeMap<String, String>,
    pub state: ContainerState,
    pub pid: i64,
    pub exit_code: i64,
    pub oom_killed: bool,
    pub error: String,
    pub health: model::Health,
    /// Runs of its health check that failed, one after the other, and the last of all, oldest first.
    pub health_failures: u32,
    pub health_log: Vec<HealthRun>,
    /// Nanoseconds since 1970; 0: not yet.
    pub created_ns: i64,
    pub started_ns: i64,
    pub finished_ns: i64,
    /// The process: path and arguments.
    pub command: Vec<String>,
    pub env: Vec<String>,
    pub working_dir: String,
    pub user: String,
    pub hostname: String,
    pub tty: bool,
    pub mounts: Vec<ContainerMount>,
    pub networks: Vec<ContainerNetwork>,
    pub ports: Vec<model::PortConfig>,
}

/// API `HealthcheckResult`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HealthRun {
    /// Nanoseconds since 1970.
    pub started_ns: i64,
    pub ended_ns: i64,
    /// -1 when it did not run to its end.
    pub exit_code: i64,
    pub output: String,
}

/// API `MountPoint`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerMount {
    /// `bind`, `volume`, `tmpfs`.
    pub kind: &'static str,
    pub name: String,
    pub source: String,
    pub destination: String,
    pub read_only: bool,
}

/// A container's place on a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerNetwork {
    pub name: String,
    pub id: String,
    pub addr: IpAddr,
    pub prefix_len: u8,
    pub gateway: Option<IpAddr>,
}

/// What `exec` runs (API `ExecConfig`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecRequest {
    pub command: Vec<String>,
    pub env: Vec<String>,
    pub working_dir: String,
    pub user: String,
    pub tty: bool,
    pub privileged: bool,
    pub attach_stdin: bool,
    pub attach_stdout: bool,
    pub attach_stderr: bool,
}

/// A process started by `exec`: its pid, its output, its input, its end.
pub struct ExecSession {
    pub pid: i64,
    /// Ends when the process has closed its output.
    pub output: BoxStream<'static, std::io::Result<(LogStream, Bytes)>>,
    /// Written to the process' input; dropping it closes the input. `None` when not attached.
    pub input: Option<tokio::sync::mpsc::Sender<Bytes>>,
    /// Exit code, when it has ended.
    pub exit: BoxFuture<'static, Result<i64, Failure>>,
    /// Sets the terminal's size (rows, columns), when there is one.
    pub resize: Option<tokio::sync::mpsc::Sender<(u16, u16)>>,
}

/// The containers of this host. Methods on one of them take its full id.
pub trait Containers: Send + Sync + 'static {
    /// All containers of this host, ended ones included.
    fn containers(&self) -> Answer<'_, Vec<ContainerRecord>>;

    /// The log of a container of this host.
    fn container_logs<'a>(&'a self, id: &'a str, options: LogOptions) -> Answer<'a, LogRecords> {
        let _ = (id, options);
        not_implemented("the log of a container")
    }

    /// Signals a container; the signal by name or number, empty is SIGKILL.
    fn kill<'a>(&'a self, id: &'a str, signal: &'a str) -> Answer<'a, ()> {
        let _ = (id, signal);
        not_implemented("signalling a container")
    }

    /// Stops a container: `signal` by name or number (empty: its own), then SIGKILL after `timeout_s` (`None`: its
    /// own; negative: never).
    fn stop<'a>(&'a self, id: &'a str, signal: &'a str, timeout_s: Option<i64>) -> Answer<'a, ()> {
        let _ = (id, signal, timeout_s);
        not_implemented("stopping a container")
    }

    /// Runs a further process in a running container.
    fn exec<'a>(&'a self, id: &'a str, request: ExecRequest) -> Answer<'a, ExecSession> {
        let _ = (id, request);
        not_implemented("exec")
    }
}
