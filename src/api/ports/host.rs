//! This host as a whole.

use super::{Answer, not_implemented};
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use std::collections::BTreeMap;

/// What `/info`, `/version` and the like tell of this host and daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostInfo {
    pub hostname: String,
    /// Stable id of this daemon, also without a swarm.
    pub daemon_id: String,
    /// Version of our binary.
    pub version: String,
    /// Revision it was built from; empty when unknown.
    pub revision: String,
    pub kernel_version: String,
    /// As `PRETTY_NAME` of /etc/os-release.
    pub operating_system: String,
    pub os_version: String,
    /// As `uname -m`.
    pub machine: String,
    /// As in OCI image indexes (`amd64`).
    pub architecture: String,
    pub cpus: i64,
    pub memory_bytes: i64,
    pub data_dir: String,
    /// `overlayfs` and the like.
    pub storage_driver: String,
    /// `cgroupfs` or `systemd`.
    pub cgroup_driver: String,
    /// 1 or 2.
    pub cgroup_version: u8,
    /// Security options as dockerd words them: `name=seccomp,profile=builtin`.
    pub security_options: Vec<String>,
    pub labels: BTreeMap<String, String>,
    pub insecure_registries: Vec<String>,
    pub warnings: Vec<String>,
}

/// Something that happened to what this host keeps (API `EventMessage`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalEvent {
    /// `image`, `container` or `volume`.
    pub kind: &'static str,
    /// `pull`, `tag`, `start`, `die`, ...
    pub action: String,
    pub id: String,
    pub attributes: BTreeMap<String, String>,
    pub time_ns: i64,
}

/// Bytes in use (API `SystemDataUsageResponse`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskUsage {
    /// All layers, each counted once.
    pub layers_bytes: i64,
    /// By volume name.
    pub volumes_bytes: BTreeMap<String, i64>,
}

/// The host and its daemon.
pub trait Host: Send + Sync + 'static {
    /// This host and daemon.
    fn info(&self) -> Answer<'_, HostInfo>;

    /// What takes how much space.
    fn disk_usage(&self) -> Answer<'_, DiskUsage> {
        not_implemented("disk usage")
    }

    /// Events of images, volumes and containers from now on.
    fn events(&self) -> BoxStream<'static, LocalEvent> {
        futures_util::stream::empty().boxed()
    }
}
