//! What the API needs of the rest of the daemon. The API owns these traits; the daemon binds them.
//!
//! Two ports: [`Cluster`], the swarm this node is (or is not) part of, and [`Local`], what this one
//! host keeps: images, volumes, containers. Both are object-safe, so that a server is not generic.
//! Methods with a default body answer 501 until the daemon binds them.

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use swarm_core::model::{self, Availability, ClusterSpec};
use swarm_core::store::{Conflict, Event, Txn, View};
use swarm_core::{ClusterId, NodeId, Sensitive, ServiceId, TaskId, WallTime};

/// Why something was not done, in one line a person can act on. Decides the HTTP status.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// 400: the request is wrong.
    #[error("{0}")]
    Invalid(String),
    /// 403: the request is right and will never be done.
    #[error("{0}")]
    Forbidden(String),
    /// 404: it names what is not there.
    #[error("{0}")]
    NotFound(String),
    /// 409: it contradicts what is there.
    #[error("{0}")]
    Conflict(String),
    /// 500: our side broke.
    #[error("{0}")]
    Internal(String),
    /// 501: a part of the API that is not served yet.
    #[error("{0} is not implemented yet")]
    NotImplemented(&'static str),
    /// 503: not now, or not on this node (no swarm, no leader, locked, not a manager).
    #[error("{0}")]
    Unavailable(String),
}

/// A read that could not be made linearizable: no leader, or this node is no manager.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub String);

/// Why a transaction was not committed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// It was committed as an entry and refused by the store: nothing changed.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// No leader, or lost on the way; it may still be committed.
    #[error("{0}")]
    Unavailable(String),
}

/// Answer of a port that has one object to give.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, Failure>>;

/// API `LocalNodeState`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SwarmState {
    /// In no swarm.
    #[default]
    Inactive,
    /// Joining, not in yet.
    Pending,
    Active,
    /// A manager that waits for its unlock key.
    Locked,
    /// Was in a swarm and cannot be: `SwarmStatus::error` says why.
    Error,
}

/// A manager as this node sees it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagerPeer {
    pub node: NodeId,
    /// Where other nodes reach it.
    pub addr: SocketAddr,
    pub reachable: bool,
}

/// This node's place in the swarm. Cheap to ask; reads no store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SwarmStatus {
    pub state: SwarmState,
    pub error: String,
    pub cluster: Option<ClusterId>,
    pub node: Option<NodeId>,
    /// The address this node advertises.
    pub addr: Option<IpAddr>,
    /// This node is a manager and its store can be asked.
    pub manager: bool,
    pub leader: Option<NodeId>,
    /// All managers known to this node, itself included when it is one.
    pub managers: Vec<ManagerPeer>,
}

/// API `SwarmInitRequest`. Addresses as the user wrote them (`IP`, `IP:port`, `interface[:port]`; empty: choose).
#[derive(Clone, Debug)]
pub struct InitRequest {
    pub listen_addr: String,
    pub advertise_addr: String,
    pub data_path_addr: String,
    pub availability: Availability,
    /// Start anew as the only manager, with the state this node has.
    pub force_new_cluster: bool,
    /// Pools, subnet size, data path port, autolock and the rest, defaults filled in.
    pub spec: ClusterSpec,
}

/// API `SwarmJoinRequest`.
#[derive(Clone, Debug)]
pub struct JoinRequest {
    pub listen_addr: String,
    pub advertise_addr: String,
    pub data_path_addr: String,
    pub availability: Availability,
    /// Managers to ask, as the user wrote them (`host[:port]`, port 2377 by default); not empty.
    pub remote_addrs: Vec<String>,
    pub token: Sensitive<String>,
}

/// The texts of the join tokens.
#[derive(Clone, Debug)]
pub struct JoinTokens {
    pub worker: Sensitive<String>,
    pub manager: Sensitive<String>,
}

/// What a watcher of the store gets.
#[derive(Clone, Debug)]
pub enum Watched {
    /// One applied transaction.
    Committed { index: u64, wall: WallTime, events: Vec<Event> },
    /// The watcher was too slow: events are missing, read the state again.
    Resync,
}

/// Which tasks' logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogSelector {
    /// Every task of the service, also those made while it is followed.
    Service(ServiceId),
    Task(TaskId),
}

/// Which part of a log. Times are nanoseconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    pub follow: bool,
    pub stdout: bool,
    pub stderr: bool,
    pub since_ns: Option<i64>,
    pub until_ns: Option<i64>,
    /// The newest records of each task; `None` is all.
    pub tail: Option<u64>,
}

/// Where a container wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogStream {
    Stdout,
    Stderr,
}

/// Whose log a record is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogSource {
    pub node: NodeId,
    pub service: ServiceId,
    pub task: TaskId,
}

/// One record of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// Nanoseconds since 1970.
    pub time_ns: i64,
    pub stream: LogStream,
    /// `None` for a container that belongs to no task.
    pub source: Option<LogSource>,
    /// As written, its newline included where it had one.
    pub line: Bytes,
}

/// Records in the order they come. An error ends the log of one node, not the stream.
pub type LogRecords = BoxStream<'static, Result<LogRecord, Failure>>;

/// The swarm, as seen from this node.
pub trait Cluster: Send + Sync + 'static {
    /// This node's place in the swarm, now.
    fn status(&self) -> SwarmStatus;

    /// The managers that answer when they are asked now.
    fn answering(&self) -> BoxFuture<'_, BTreeSet<NodeId>> {
        let reachable = self.status().managers.into_iter().filter(|manager| manager.reachable);
        let reachable = reachable.map(|manager| manager.node).collect();
        Box::pin(async move { reachable })
    }

    /// A linearizable snapshot: everything acknowledged before the call is in it.
    fn read(&self) -> BoxFuture<'_, Result<View, Unavailable>>;

    /// Commits a transaction; forwarded to the leader. `Ok` once it is applied here.
    fn submit(&self, txn: Txn) -> BoxFuture<'_, Result<(), SubmitError>>;

    /// Committed events from now on, for as long as the daemon lives: silent while this node is no
    /// manager, and `Resync` when it becomes one.
    fn watch(&self) -> BoxStream<'static, Watched>;

    /// Makes a new swarm with this node as its first manager. The id of this node.
    fn init(&self, request: InitRequest) -> Answer<'_, NodeId>;

    /// Joins a swarm; `Ok` when the node is in.
    fn join(&self, request: JoinRequest) -> Answer<'_, ()>;

    /// Leaves; a manager only with `force`, or when it can be demoted without losing quorum.
    fn leave(&self, force: bool) -> Answer<'_, ()>;

    /// The tokens of this cluster object: digest of its CA and its secrets.
    fn join_tokens(&self, cluster: &model::Cluster) -> JoinTokens;

    /// Logs of tasks on whatever node they are.
    fn logs(&self, selector: LogSelector, options: LogOptions) -> Answer<'_, LogRecords>;

    /// The key that unlocks managers; empty text when autolock is off.
    fn unlock_key(&self) -> Answer<'_, Sensitive<String>> {
        not_implemented("the unlock key")
    }

    /// Opens a locked manager.
    fn unlock(&self, key: Sensitive<String>) -> Answer<'_, ()> {
        drop(key);
        not_implemented("unlocking a manager")
    }

    /// Replaces the unlock key.
    fn rotate_unlock_key(&self) -> Answer<'_, ()> {
        not_implemented("rotating the unlock key")
    }

    /// 128 bits from the system's secure source: ids and secrets.
    fn random(&self) -> u128;

    /// The wall clock.
    fn now(&self) -> WallTime;
}

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

/// An image of this host.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ImageRecord {
    /// `sha256:...` of its configuration.
    pub id: String,
    /// `docker.io/library/redis:7` in the short form people write: `redis:7`.
    pub repo_tags: Vec<String>,
    /// `redis@sha256:...`.
    pub repo_digests: Vec<String>,
    pub size_bytes: i64,
    /// Seconds since 1970 it was made, from its configuration; 0 when unknown.
    pub created_s: i64,
    /// The whole image configuration (OCI image-spec, config.md): `config`, `rootfs`, `history`, ...
    pub configuration: serde_json::Value,
    /// Containers of this host made from it.
    pub containers: i64,
}

/// What to pull, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullRequest {
    /// Reference as the user wrote it, tag or digest included.
    pub reference: String,
    pub auth: Option<RegistryAuth>,
    /// `os[/arch[/variant]]`; empty is this host's.
    pub platform: String,
}

/// API `AuthConfig`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistryAuth {
    pub username: String,
    pub password: Sensitive<String>,
    pub identity_token: Sensitive<String>,
    pub registry_token: Sensitive<String>,
}

/// One line of progress (API `CreateImageInfo`). The last item of a stream decides: an error is a failed operation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// `Downloading`, `Pull complete`, `Status: Downloaded newer image for redis:7`, ...
    pub status: String,
    /// Short layer digest or tag; empty for the whole.
    pub id: String,
    /// Bytes done and in all, where known.
    pub current: Option<i64>,
    pub total: Option<i64>,
    /// Words for people (API `stream`), as of `load`: `Loaded image: x:1`.
    pub stream: String,
}

/// Progress of a long operation; ends with it.
pub type ProgressStream = BoxStream<'static, Result<Progress, Failure>>;

/// A body being uploaded.
pub type Upload = BoxStream<'static, std::io::Result<Bytes>>;

/// What a registry says of an image (API `DistributionInspect`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DistributionInfo {
    pub media_type: String,
    /// `sha256:...` of what the reference names: an index or a manifest.
    pub digest: String,
    pub size_bytes: i64,
    /// Its platforms: os, architecture, variant.
    pub platforms: Vec<(String, String, String)>,
}

/// What became of an image that was removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageRemoval {
    Untagged(String),
    Deleted(String),
}

/// A named volume of this host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VolumeRecord {
    pub name: String,
    pub driver: String,
    pub mountpoint: String,
    pub labels: BTreeMap<String, String>,
    pub options: BTreeMap<String, String>,
    /// Seconds since 1970.
    pub created_s: i64,
    /// Containers of this host that use it.
    pub users: i64,
}

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

/// What this host keeps. Names of images and containers are looked up by the binder: full id,
/// unique id prefix, or name.
pub trait Local: Send + Sync + 'static {
    /// This host and daemon.
    fn info(&self) -> Answer<'_, HostInfo>;

    /// All images, untagged ones included.
    fn images(&self) -> Answer<'_, Vec<ImageRecord>>;

    /// One image by reference or id; `NotFound` otherwise.
    fn image<'a>(&'a self, name: &'a str) -> Answer<'a, ImageRecord>;

    /// Pulls an image.
    fn pull(&self, request: PullRequest) -> Answer<'_, ProgressStream>;

    /// Takes in the images of an archive of `docker save` or an OCI layout.
    fn load(&self, archive: Upload) -> Answer<'_, ProgressStream>;

    /// Makes an image of a root file system tar; `reference` may be empty. `changes` as of `docker import -c`.
    fn import(
        &self,
        archive: Upload,
        reference: String,
        changes: Vec<String>,
        message: String,
    ) -> Answer<'_, ProgressStream>;

    /// Gives an image another name.
    fn tag<'a>(&'a self, name: &'a str, reference: &'a str) -> Answer<'a, ()>;

    /// Removes a name, and the image when it was the last; `Conflict` when a container uses it, unless forced.
    fn remove_image<'a>(&'a self, name: &'a str, force: bool) -> Answer<'a, Vec<ImageRemoval>>;

    /// Asks the registry what a reference names.
    fn distribution<'a>(&'a self, reference: &'a str, auth: Option<RegistryAuth>) -> Answer<'a, DistributionInfo> {
        let _ = (reference, auth);
        not_implemented("asking a registry about an image")
    }

    /// All volumes.
    fn volumes(&self) -> Answer<'_, Vec<VolumeRecord>>;

    /// Makes a volume, or gives back the one of this name when it is alike.
    fn create_volume(&self, volume: VolumeRecord) -> Answer<'_, VolumeRecord>;

    /// `Conflict` while a container uses it.
    fn remove_volume<'a>(&'a self, name: &'a str, force: bool) -> Answer<'a, ()>;

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

    /// What takes how much space.
    fn disk_usage(&self) -> Answer<'_, DiskUsage> {
        not_implemented("disk usage")
    }

    /// Events of images, volumes and containers from now on.
    fn events(&self) -> BoxStream<'static, LocalEvent> {
        futures_util::stream::empty().boxed()
    }
}

fn not_implemented<T: Send + 'static>(what: &'static str) -> Answer<'static, T> {
    Box::pin(async move { Err(Failure::NotImplemented(what)) })
}
