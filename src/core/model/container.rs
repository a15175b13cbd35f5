//! What runs in a task: the container part of a service's specification (API `TaskSpec.ContainerSpec`).

use super::{Labels, Probe};
use crate::{ConfigId, SecretId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// Time between the stop signal and SIGKILL when nothing is said (API default 10 s).
pub const STOP_GRACE_DEFAULT: Duration = Duration::from_secs(10);
/// Beyond its grace period a task gets this long to stop: a node that cannot kill a process for a minute is broken, not
/// slow.
const STOP_SLACK: Duration = Duration::from_secs(60);

/// The shortest absolute path that names the same place without looking at the disk: `.`, `..` and needless slashes
/// resolved. What two paths are compared by.
pub fn clean_path(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// How a path comes into a container (API `Mount`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountSource {
    /// A path of the host.
    Bind { path: String, propagation: String, create: bool },
    /// A named volume of the node, or an anonymous one when the name is empty.
    Volume {
        name: String,
        driver: String,
        driver_options: BTreeMap<String, String>,
        labels: Labels,
        no_copy: bool,
        subpath: String,
    },
    /// Memory. Sizes in bytes, 0 is unlimited; mode as in chmod.
    Tmpfs { size_bytes: u64, mode: u32 },
}

/// API `Mount`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute path in the container.
    pub target: String,
    pub source: MountSource,
    pub read_only: bool,
}

/// API `HealthConfig`. `test` empty: as in the image; `["NONE"]`: off.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthConfig {
    pub test: Vec<String>,
    pub interval: Option<Duration>,
    pub timeout: Option<Duration>,
    pub retries: Option<u32>,
    pub start_period: Option<Duration>,
    pub start_interval: Option<Duration>,
}

/// Where a secret or config appears in the container (API `SecretReference.File`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileTarget {
    /// Relative names are below `/run/secrets` for secrets and `/` for configs.
    pub name: String,
    pub uid: String,
    pub gid: String,
    pub mode: u32,
}

/// API `SecretReference`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretReference {
    pub id: SecretId,
    pub name: String,
    pub file: FileTarget,
    /// Which content. 0 in what a user asks: the newest; in a stored spec it is filled in.
    pub version: u64,
}

/// API `ConfigReference`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigReference {
    pub id: ConfigId,
    pub name: String,
    pub file: FileTarget,
    /// Which content. 0 in what a user asks: the newest; in a stored spec it is filled in.
    pub version: u64,
}

/// API `Ulimit`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    pub name: String,
    pub soft: i64,
    pub hard: i64,
}

/// API `DNSConfig`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsConfig {
    pub nameservers: Vec<IpAddr>,
    pub search: Vec<String>,
    pub options: Vec<String>,
}

/// API `TaskSpec.ContainerSpec`. As there, `command` replaces the image's entrypoint and `args` its command.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerSpec {
    pub image: String,
    pub labels: Labels,
    pub command: Vec<String>,
    pub args: Vec<String>,
    pub hostname: String,
    /// `KEY=value`; `KEY` alone removes the image's.
    pub env: Vec<String>,
    pub dir: String,
    pub user: String,
    pub groups: Vec<String>,
    pub tty: bool,
    pub open_stdin: bool,
    pub read_only: bool,
    pub mounts: Vec<Mount>,
    /// Name or number; empty: the image's, else SIGTERM.
    pub stop_signal: String,
    pub stop_grace_period: Option<Duration>,
    pub health_check: Option<HealthConfig>,
    /// Lines of /etc/hosts in the API's form: `IP host [alias...]`.
    pub hosts: Vec<String>,
    pub dns: DnsConfig,
    pub secrets: Vec<SecretReference>,
    pub configs: Vec<ConfigReference>,
    /// A reaper as process 1.
    pub init: Option<bool>,
    pub sysctls: BTreeMap<String, String>,
    pub cap_add: Vec<String>,
    pub cap_drop: Vec<String>,
    pub ulimits: Vec<Ulimit>,
    pub oom_score_adj: i32,
    /// Beyond the API: all devices and capabilities, no filters.
    pub privileged: bool,
    /// Beyond the API: bytes of /dev/shm, 0 is the default of 64 MiB.
    pub shm_size_bytes: u64,
    /// Beyond the API: whether the task takes traffic.
    pub readiness: Option<Probe>,
    /// Beyond the API: whether the task is to be replaced.
    pub liveness: Option<Probe>,
    /// Credentials for the registry, base64 of the API's `AuthConfig`; never shown.
    pub pull_auth: Option<crate::Sensitive<String>>,
}

impl ContainerSpec {
    /// The grace period with its default.
    pub fn stop_grace(&self) -> Duration {
        self.stop_grace_period.unwrap_or(STOP_GRACE_DEFAULT)
    }

    /// How long to reckon with a task that was told to stop.
    pub fn stop_patience(&self) -> Duration {
        self.stop_grace() + STOP_SLACK
    }
}
