//! Containers of this host.

use super::{Answer, Failure, LogOptions, LogRecords, LogStream, Upload, not_implemented};
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
    /// How many words of `command` are the entrypoint.
    pub entrypoint_words: usize,
    pub domainname: String,
    pub open_stdin: bool,
    /// `80/tcp`, of the image.
    pub exposed: Vec<String>,
    pub health_check: Option<model::HealthConfig>,
    /// Empty is SIGTERM.
    pub stop_signal: String,
    /// Seconds; `None` is the default.
    pub stop_grace_s: Option<i64>,
    /// Paths that the image declares a volume for.
    pub declared_volumes: Vec<String>,
    pub host: HostSettings,
    pub files: ContainerFiles,
}

/// How the host treats a container (API `HostConfig`). Zero is "no limit".
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HostSettings {
    /// `default`, `host`, `none`.
    pub network_mode: String,
    /// Bytes of one file of the log, and how many files.
    pub log_bytes_max: u64,
    pub log_files_max: u32,
    pub cap_add: Vec<String>,
    pub cap_drop: Vec<String>,
    pub dns: model::DnsConfig,
    pub extra_hosts: Vec<String>,
    pub groups: Vec<String>,
    pub oom_score_adj: i32,
    pub privileged: bool,
    pub read_only: bool,
    /// As `docker run --security-opt` takes them.
    pub security_options: Vec<String>,
    pub sysctls: BTreeMap<String, String>,
    pub ulimits: Vec<model::Ulimit>,
    pub shm_bytes: u64,
    pub init: bool,
    pub nano_cpus: u64,
    pub cpu_shares: u64,
    pub memory_bytes: u64,
    /// -1 is unlimited.
    pub memory_swap_bytes: i64,
    pub memory_reservation_bytes: u64,
    pub pids_limit: i64,
    pub devices: Vec<HostDevice>,
    /// By path, with the options of the mount.
    pub tmpfs: BTreeMap<String, String>,
    /// `None` is the default list.
    pub masked_paths: Option<Vec<String>>,
    pub readonly_paths: Option<Vec<String>>,
}

/// API `DeviceMapping`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostDevice {
    pub host_path: String,
    pub container_path: String,
    /// Of `rwm`.
    pub permissions: String,
}

/// Where a container's files are on the host; empty where it has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerFiles {
    pub log: String,
    pub hosts: String,
    pub hostname: String,
    pub resolv_conf: String,
    pub network_namespace: String,
    /// Of its overlay, the lower ones topmost first.
    pub lower: Vec<String>,
    pub upper: String,
    pub work: String,
    pub merged: String,
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
    /// Its further names there.
    pub aliases: Vec<String>,
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

/// Which streams of a container's program (API `ContainerAttach`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttachRequest {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
}

/// The streams of a container's program, from now on.
pub struct AttachSession {
    /// Ends with the container.
    pub output: BoxStream<'static, std::io::Result<(LogStream, Bytes)>>,
    /// Written to the program's input, which stays open after it. `None` when not attached.
    pub input: Option<tokio::sync::mpsc::Sender<Bytes>>,
}

/// How a container ended (API `ContainerWaitResponse`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerEnd {
    pub exit_code: i64,
    /// Why its end is not known, or why it never ran.
    pub error: String,
}

/// What a client waits for (API `ContainerWait`, "condition").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitFor {
    /// At once when it does not run.
    NotRunning,
    /// The next end, also of one that has not been started yet.
    NextExit,
    Removed,
}

/// A process of a container. Times in milliseconds, the start since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessRecord {
    /// As the host numbers it.
    pub pid: i64,
    pub parent: i64,
    pub group: i64,
    pub session: i64,
    pub uid: i64,
    pub user: String,
    /// One letter, as ps(1).
    pub state: String,
    /// `?` or `pts/0`.
    pub terminal: String,
    pub name: String,
    pub arguments: Vec<String>,
    pub cpu_ms: i64,
    pub started_ms: i64,
    pub priority: i64,
    pub nice: i64,
    pub threads: i64,
    pub virtual_bytes: i64,
    pub resident_bytes: i64,
}

/// What a container uses at one moment (API `ContainerStatsResponse`). Times in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerStats {
    /// Nanoseconds since 1970.
    pub read_ns: i64,
    pub cpu_total_ns: u64,
    pub cpu_user_ns: u64,
    pub cpu_system_ns: u64,
    /// Empty where the host does not keep it.
    pub cpu_each_ns: Vec<u64>,
    pub periods: u64,
    pub throttled_periods: u64,
    pub throttled_ns: u64,
    /// Of the whole host.
    pub host_cpu_ns: u64,
    pub host_cpus: u32,
    pub memory_bytes: u64,
    /// 0 where the host does not keep it.
    pub memory_max_bytes: u64,
    /// Its own, else the host's memory.
    pub memory_limit_bytes: u64,
    pub memory_failures: u64,
    /// The kernel's counters under its names.
    pub memory_counters: BTreeMap<String, u64>,
    pub pids: u64,
    pub pids_limit: Option<u64>,
    pub blocks: Vec<BlockStats>,
    /// By device; empty in the host's network.
    pub networks: BTreeMap<String, NetworkStats>,
}

/// What went from and to one block device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockStats {
    pub major: u32,
    pub minor: u32,
    pub read_bytes: u64,
    pub write_bytes: u64,
    pub reads: u64,
    pub writes: u64,
}

/// What went through one network device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetworkStats {
    pub rx_bytes: u64,
    pub rx_packets: u64,
    pub rx_errors: u64,
    pub rx_dropped: u64,
    pub tx_bytes: u64,
    pub tx_packets: u64,
    pub tx_errors: u64,
    pub tx_dropped: u64,
}

/// What is at a path of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathStat {
    pub name: String,
    pub size: i64,
    /// As stat(2) has it, the kind included.
    pub mode: u32,
    /// Nanoseconds since 1970.
    pub modified_ns: i64,
    /// Where a link leads, absolute inside the container; empty for all else.
    pub link_target: String,
}

/// A tar stream; an error is its end.
pub type Archive = BoxStream<'static, std::io::Result<Bytes>>;

/// Where and how an archive is unpacked (API `PutContainerArchive`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArchiveTarget {
    /// A directory.
    pub path: String,
    pub no_overwrite_dir_non_dir: bool,
    /// All of it belongs to the container's user.
    pub as_container_user: bool,
}

/// API `ChangeType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    Modified,
    Added,
    Deleted,
}

/// API `FilesystemChange`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileChange {
    pub path: String,
    pub kind: ChangeKind,
}

/// Bytes of a container's files (API `SizeRw`, `SizeRootFs`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContainerSizes {
    /// What it has written.
    pub written_bytes: i64,
    /// With its image.
    pub root_bytes: i64,
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

    /// Sets the size of the program's terminal.
    fn resize<'a>(&'a self, id: &'a str, rows: u16, columns: u16) -> Answer<'a, ()> {
        let _ = (id, rows, columns);
        not_implemented("resizing a terminal")
    }

    /// Stops every process where it stands.
    fn pause<'a>(&'a self, id: &'a str) -> Answer<'a, ()> {
        let _ = id;
        not_implemented("pausing a container")
    }

    /// Lets them go on.
    fn unpause<'a>(&'a self, id: &'a str) -> Answer<'a, ()> {
        let _ = id;
        not_implemented("pausing a container")
    }

    /// Waits, for as long as it takes. What is waited for counts from the call, not from the first poll of the answer.
    fn wait(&self, id: String, until: WaitFor) -> BoxFuture<'static, Result<ContainerEnd, Failure>> {
        let _ = (id, until);
        not_implemented("waiting for a container")
    }

    /// Its processes.
    fn processes<'a>(&'a self, id: &'a str) -> Answer<'a, Vec<ProcessRecord>> {
        let _ = id;
        not_implemented("listing processes")
    }

    /// What it uses now.
    fn stats<'a>(&'a self, id: &'a str) -> Answer<'a, ContainerStats> {
        let _ = id;
        not_implemented("the figures of a container")
    }

    /// The streams of its program from now on.
    fn attach<'a>(&'a self, id: &'a str, request: AttachRequest) -> Answer<'a, AttachSession> {
        let _ = (id, request);
        not_implemented("attaching to a container")
    }

    /// What is at a path; a link is not followed unless the path ends with a slash.
    fn path_stat<'a>(&'a self, id: &'a str, path: &'a str) -> Answer<'a, PathStat> {
        let _ = (id, path);
        not_implemented("copying from a container")
    }

    /// What is at a path, and below, under the last part of the path.
    fn read_archive<'a>(&'a self, id: &'a str, path: &'a str) -> Answer<'a, (PathStat, Archive)> {
        let _ = (id, path);
        not_implemented("copying from a container")
    }

    /// Unpacks an archive, plain or compressed.
    fn write_archive<'a>(&'a self, id: &'a str, target: ArchiveTarget, archive: Upload) -> Answer<'a, ()> {
        let _ = (id, target, archive);
        not_implemented("copying to a container")
    }

    /// The whole root file system, without volumes.
    fn export<'a>(&'a self, id: &'a str) -> Answer<'a, Archive> {
        let _ = id;
        not_implemented("exporting a container")
    }

    /// What differs from its image.
    fn changes<'a>(&'a self, id: &'a str) -> Answer<'a, Vec<FileChange>> {
        let _ = id;
        not_implemented("listing the changes of a container")
    }

    /// Counts its files, which takes a while.
    fn sizes<'a>(&'a self, id: &'a str) -> Answer<'a, ContainerSizes> {
        let _ = id;
        not_implemented("the size of a container")
    }

    /// Kills it when it runs, and removes all of it. A task's place is taken by a new task, as its service asks.
    fn remove<'a>(&'a self, id: &'a str) -> Answer<'a, ()> {
        let _ = id;
        not_implemented("removing a container")
    }

    /// Tells those who follow events of something done to a container.
    fn tell(&self, id: &str, action: &str, attributes: &[(&str, String)]) {
        let _ = (id, action, attributes);
    }
}
