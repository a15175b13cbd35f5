//! What a container is made of, as the caller of this crate says it.
//!
//! Names and defaults are those of the Docker Engine API's `HostConfig` and `ContainerConfig`. Image defaults
//! (entrypoint, command, environment, user) are resolved by the caller. The whole value is kept beside the
//! container's log, so it may grow fields, each with a default, but never change the meaning of one.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerSpec {
    /// Directory that becomes `/`; mounted and unmounted by the caller.
    pub rootfs: PathBuf,
    pub process: ProcessSpec,
    pub hostname: String,
    pub domainname: String,
    pub network: Network,
    /// In the order in which they are mounted.
    pub mounts: Vec<Mount>,
    pub resources: Resources,
    /// Names with or without `CAP_`, or `ALL`.
    pub cap_add: Vec<String>,
    pub cap_drop: Vec<String>,
    pub privileged: bool,
    pub seccomp: Seccomp,
    pub no_new_privileges: bool,
    pub read_only_rootfs: bool,
    /// Run a reaper as process 1 that forwards signals (`docker run --init`).
    pub init: bool,
    /// Keep standard input open for attach.
    pub open_stdin: bool,
    pub sysctls: BTreeMap<String, String>,
    pub ulimits: Vec<Ulimit>,
    /// -1000..=1000.
    pub oom_score_adj: i32,
    /// Name or number of the signal that asks the program to end; empty is SIGTERM.
    pub stop_signal: String,
    /// Bytes of `/dev/shm`; 0 is Docker's 64 MiB.
    pub shm_size: u64,
    pub devices: Vec<Device>,
    pub labels: BTreeMap<String, String>,
    /// The caller's own notes, kept with the container; nothing here reads them.
    pub annotations: BTreeMap<String, String>,
    /// `None` is Docker's list.
    pub masked_paths: Option<Vec<String>>,
    /// `None` is Docker's list.
    pub readonly_paths: Option<Vec<String>>,
    pub log: LogLimits,
}

impl Default for ContainerSpec {
    fn default() -> Self {
        Self {
            rootfs: PathBuf::new(),
            process: ProcessSpec::default(),
            hostname: String::new(),
            domainname: String::new(),
            network: Network::New,
            mounts: Vec::new(),
            resources: Resources::default(),
            cap_add: Vec::new(),
            cap_drop: Vec::new(),
            privileged: false,
            seccomp: Seccomp::Default,
            no_new_privileges: false,
            read_only_rootfs: false,
            init: false,
            open_stdin: false,
            sysctls: BTreeMap::new(),
            ulimits: Vec::new(),
            oom_score_adj: 0,
            stop_signal: String::new(),
            shm_size: 0,
            devices: Vec::new(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            masked_paths: None,
            readonly_paths: None,
            log: LogLimits::default(),
        }
    }
}

/// A process: the container's first one, or one that joins it.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ProcessSpec {
    /// Program and arguments; a program without a slash is looked up in the `PATH` of `env`.
    pub args: Vec<String>,
    /// `NAME=value`, in this order. `PATH` and `HOME` are added when missing. May hold secrets.
    pub env: Vec<String>,
    /// Empty is `/`. A missing directory is made for the first process, as Docker does.
    pub cwd: String,
    /// `name`, `name:group`, `uid` or `uid:gid`, looked up in the container's `/etc/passwd` and `/etc/group`.
    pub user: String,
    /// Names or numbers, beside those `/etc/group` gives the user.
    pub additional_groups: Vec<String>,
    pub tty: bool,
    /// Rows and columns of the terminal at its start; 0 leaves the kernel's.
    pub tty_rows: u16,
    pub tty_columns: u16,
    /// Only for exec: all capabilities and no system call filter.
    pub privileged: bool,
    /// Only for exec: kill it, with its process group, when its [`crate::container::ExecHandle`] is dropped or the
    /// daemon goes. For checks, which nobody would ever end otherwise.
    pub ends_with_caller: bool,
}

impl fmt::Debug for ProcessSpec {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.env.iter().map(|entry| entry.split('=').next().unwrap_or("")).collect();
        out.debug_struct("ProcessSpec")
            .field("args", &self.args)
            .field("env_names", &names)
            .field("cwd", &self.cwd)
            .field("user", &self.user)
            .field("tty", &self.tty)
            .finish_non_exhaustive()
    }
}

/// The network namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// A namespace of its own, with nothing but a loopback device that is down.
    New,
    /// The host's.
    Host,
    /// A namespace that exists, such as `/run/netns/x`.
    Path(PathBuf),
}

/// Something mounted into the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute path inside the container; made when missing.
    pub target: PathBuf,
    pub kind: MountKind,
    pub read_only: bool,
}

/// Where a mount's content comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MountKind {
    /// A file or directory of the host, volumes included. It must exist.
    Bind { source: PathBuf, propagation: Propagation },
    /// A file or directory within a directory that containers write to, such as a volume's: nothing they put there leads
    /// out of it. It must exist.
    Within { directory: PathBuf, path: PathBuf },
    /// Memory. `size` in bytes (`None`: half of the machine's memory), `mode` as in chmod (`None`: 1777).
    Tmpfs { size: Option<u64>, mode: Option<u32>, options: Vec<String> },
}

impl MountKind {
    /// The path on the host, for people and comparisons.
    pub fn source(&self) -> Option<PathBuf> {
        match self {
            Self::Bind { source, .. } => Some(source.clone()),
            Self::Within { directory, path } => Some(directory.join(path)),
            Self::Tmpfs { .. } => None,
        }
    }
}

/// Whether mounts made later inside a bind mount show on the other side (mount_namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Propagation {
    /// On neither side. The default.
    #[default]
    Rprivate,
    /// The host's show in the container.
    Rslave,
    /// Both ways. The source must be on a shared mount.
    Rshared,
}

/// Limits; zero is "no limit".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// Billionths of a CPU.
    pub nano_cpus: u64,
    /// Relative weight, 2..=262144; Docker's default is 1024.
    pub cpu_shares: u64,
    /// Bytes.
    pub memory: u64,
    /// Bytes of memory and swap together; 0 is twice `memory`, -1 is unlimited.
    pub memory_swap: i64,
    /// Bytes kept from reclaim while there is enough.
    pub memory_reservation: u64,
    /// Processes and threads; 0 or negative is unlimited.
    pub pids_limit: i64,
}

/// The system call filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seccomp {
    /// Docker's default profile.
    #[default]
    Default,
    /// None (`seccomp=unconfined`).
    Unconfined,
}

/// A resource limit of the process (getrlimit(2)); `name` without `RLIMIT_`, such as `nofile`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    pub name: String,
    /// -1 is unlimited.
    pub soft: i64,
    pub hard: i64,
}

/// A device of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    pub host_path: PathBuf,
    pub container_path: PathBuf,
    /// Subset of `rwm`.
    pub permissions: String,
}

/// How much log is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogLimits {
    /// Bytes of one file.
    pub max_size: u64,
    /// Files, the current one included; at least 1.
    pub max_files: u32,
}

impl Default for LogLimits {
    /// 3 files of 10 MiB: what Docker's documentation recommends in place of its unbounded default.
    fn default() -> Self {
        Self { max_size: 10 << 20, max_files: 3 }
    }
}
