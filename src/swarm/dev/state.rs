//! What is known of a cluster on this machine, and where it is written.
//!
//! Owns `/run/swarm-dev`: one folder per cluster with `state.json` and one folder per host. The
//! record is written *before* each step of `up`, so that `down` knows of everything that may exist.

use std::fs;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::DevError;
use super::process::Process;

/// Where clusters keep sockets, logs and their record.
pub(super) const RUN_ROOT: &str = "/run/swarm-dev";
/// Where clusters keep their data when nothing else is said.
pub(super) const DATA_ROOT: &str = "/var/lib/swarm-dev";
/// A socket path may have 107 bytes (unix(7)): `/run/swarm-dev/<name>/<index>/swarm.sock` stays far below.
pub(super) const NAME_BYTES_MAX: usize = 31;

/// The name of a cluster: part of paths and namespace names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct ClusterName(String);

impl ClusterName {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Folder of sockets and logs.
    pub(super) fn run_dir(&self) -> PathBuf {
        Path::new(RUN_ROOT).join(&self.0)
    }

    /// The value of the environment variable that marks a process as this cluster's.
    pub(super) fn mark(&self) -> PathBuf {
        self.run_dir()
    }

    /// Namespace of host `index`.
    pub(super) fn namespace(&self, index: u8) -> String {
        format!("swarm-{}-{index}", self.0)
    }

    /// Namespace of the bridge.
    pub(super) fn switch(&self) -> String {
        format!("swarm-{}-sw", self.0)
    }

    /// Whether a namespace's name is one of ours, whatever the number of hosts was.
    pub(super) fn owns_namespace(&self, name: &str) -> bool {
        name.strip_prefix("swarm-")
            .and_then(|n| n.strip_prefix(self.as_str()))
            .and_then(|n| n.strip_prefix('-'))
            .is_some_and(|rest| rest == "sw" || (!rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit())))
    }

    /// The machine's own end of the link to the switch. Interface names have 15 bytes at most
    /// (IFNAMSIZ), so the name of the cluster goes in as a hash.
    pub(super) fn uplink(&self) -> String {
        format!("sd-{:08x}", self.hash())
    }

    /// FNV-1a, 32 bits: the same on every run.
    pub(super) fn hash(&self) -> u32 {
        self.0.bytes().fold(0x811c_9dc5, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193))
    }
}

impl FromStr for ClusterName {
    type Err = DevError;

    fn from_str(s: &str) -> Result<Self, DevError> {
        let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if s.is_empty() || s.len() > NAME_BYTES_MAX || !s.bytes().all(good) || s.starts_with('-') {
            return Err(DevError::Name(s.to_owned()));
        }
        Ok(Self(s.to_owned()))
    }
}

impl TryFrom<String> for ClusterName {
    type Error = DevError;

    fn try_from(s: String) -> Result<Self, DevError> {
        s.parse()
    }
}

impl From<ClusterName> for String {
    fn from(n: ClusterName) -> Self {
        n.0
    }
}

/// One host of a cluster.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Host {
    /// From 1.
    pub(super) index: u8,
    pub(super) namespace: String,
    pub(super) address: Ipv4Addr,
    pub(super) run_dir: PathBuf,
    pub(super) data_dir: PathBuf,
    pub(super) socket: PathBuf,
    /// The daemon, once started; it may have ended since.
    pub(super) daemon: Option<Process>,
    /// What its daemon is told beyond where its things are.
    #[serde(default)]
    pub(super) daemon_options: Vec<String>,
    /// Cut off from the others.
    pub(super) cut: bool,
}

impl Host {
    pub(super) fn log(&self) -> PathBuf {
        self.run_dir.join("daemon.log")
    }
}

/// The record of a cluster.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) name: ClusterName,
    pub(super) subnet: ipnet::Ipv4Net,
    /// The machine's own address on the switch.
    pub(super) gateway: Ipv4Addr,
    /// Folder below which the hosts have their data.
    pub(super) data: PathBuf,
    /// The binary the daemons run.
    pub(super) swarm: PathBuf,
    /// Set when `up` came to its end.
    pub(super) complete: bool,
    pub(super) hosts: Vec<Host>,
}

/// A cluster whose record was read or is being made.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) state: State,
}

impl Cluster {
    fn path(name: &ClusterName) -> PathBuf {
        name.run_dir().join("state.json")
    }

    /// Reads the record.
    ///
    /// # Errors
    /// `NoCluster` when there is none; `BadState` when it cannot be understood.
    pub(super) fn load(name: &ClusterName) -> Result<Self, DevError> {
        let path = Self::path(name);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(DevError::NoCluster(name.as_str().to_owned()));
            }
            Err(e) => return Err(DevError::io(path.display().to_string())(e)),
        };
        let state = serde_json::from_slice(&text).map_err(|source| DevError::BadState {
            path,
            name: name.as_str().to_owned(),
            source,
        })?;
        Ok(Self { state })
    }

    /// Writes the record: the old one or the new one is there, never half of one.
    pub(super) fn save(&self) -> Result<(), DevError> {
        let path = Self::path(&self.state.name);
        let failed = || format!("{}: cannot write the record of the cluster", path.display());
        let text = serde_json::to_vec_pretty(&self.state).map_err(|e| DevError::io(failed())(e.into()))?;
        let tmp = path.with_extension("tmp");
        let write = || {
            fs::create_dir_all(self.state.name.run_dir())?;
            let mut file = fs::File::create(&tmp)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&tmp, &path)
        };
        write().map_err(DevError::io(failed()))
    }

    pub(super) fn host(&self, index: u8) -> Result<&Host, DevError> {
        self.state.hosts.iter().find(|h| h.index == index).ok_or_else(|| self.no_host(index))
    }

    pub(super) fn host_mut(&mut self, index: u8) -> Result<&mut Host, DevError> {
        let missing = self.no_host(index);
        self.state.hosts.iter_mut().find(|h| h.index == index).ok_or(missing)
    }

    fn no_host(&self, index: u8) -> DevError {
        DevError::NoHost { name: self.state.name.as_str().to_owned(), index, count: self.state.hosts.len() }
    }
}

/// Held while clusters of this machine are made, changed or removed: one command at a time. The
/// kernel drops it with the process.
#[derive(Debug)]
pub(super) struct Lock {
    _file: nix::fcntl::Flock<fs::File>,
}

impl Lock {
    /// Waits for other commands to end.
    pub(super) fn take() -> Result<Self, DevError> {
        let path = Path::new(RUN_ROOT).join("lock");
        let failed = || format!("{}: cannot lock", path.display());
        fs::create_dir_all(RUN_ROOT).map_err(DevError::io(failed()))?;
        let file =
            fs::File::options().create(true).truncate(false).write(true).open(&path).map_err(DevError::io(failed()))?;
        nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusive)
            .map(|_file| Self { _file })
            .map_err(|(_, e)| DevError::sys(failed())(e))
    }
}
