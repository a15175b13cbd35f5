//! Services: what a user wants to run, how many, how it is updated and reached.
//!
//! Fields are the Engine API's (v1.55); "swarmkit" names defaults that its text leaves to the engine
//! (`api/defaults/service.go`).

use super::{ContainerSpec, ContentVersion, Labels, Meta, Platform, Resources};
use crate::{NetworkId, ServiceId, Stamp, WallTime};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// API `ServiceSpec.Mode`. Default: one replica (moby's conversion to swarmkit's spec).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServiceMode {
    Replicated {
        replicas: u64,
    },
    /// One task on every node that fits.
    Global,
    ReplicatedJob {
        /// API default 1.
        max_concurrent: u64,
        /// API: as many as `MaxConcurrent` unless set.
        total_completions: u64,
    },
    GlobalJob,
}

impl ServiceMode {
    /// Its tasks run until they have completed, and not again.
    pub fn is_job(&self) -> bool {
        match self {
            Self::Replicated { .. } | Self::Global => false,
            Self::ReplicatedJob { .. } | Self::GlobalJob => true,
        }
    }
}

/// API `Resources.Limits` and `.Reservations`. 0 is none; a pids limit of 0 is none as well (API `Limit.Pids`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceRequirements {
    pub limit_nano_cpus: i64,
    pub limit_memory_bytes: i64,
    pub limit_pids: i64,
    pub reservations: Resources,
}

/// API `RestartPolicy.Condition`; "any" by default (swarmkit), for jobs "on-failure".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RestartCondition {
    None,
    OnFailure,
    #[default]
    Any,
}

/// API `TaskSpec.RestartPolicy`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartPolicy {
    pub condition: RestartCondition,
    /// Before a restart; default 5 s (swarmkit).
    pub delay: Duration,
    /// 0, the API's default, is without end; at most [`WINDOW_ATTEMPTS_MAX`] with a window.
    pub max_attempts: u64,
    /// Attempts are counted within it; 0, the API's default, is for ever.
    pub window: Duration,
    /// Beyond the API: the delay doubles with each restart in a row, up to this; 0 keeps it fixed.
    pub backoff_max: Duration,
}

/// `RestartPolicy::max_attempts` with a window: the time of each attempt is carried from task to task, 8 bytes each. Who
/// means more restarts than this in a window means that they do not end.
pub const WINDOW_ATTEMPTS_MAX: usize = 1000;

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            condition: RestartCondition::Any,
            delay: Duration::from_secs(5),
            max_attempts: 0,
            window: Duration::ZERO,
            backoff_max: Duration::ZERO,
        }
    }
}

/// API `TaskSpec.Placement`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// `node.labels.zone==a` and the like; all must hold.
    pub constraints: Vec<String>,
    /// Spread over the values of these (`node.labels.zone`), outermost first.
    pub spread: Vec<String>,
    /// 0, the API's default, is without limit.
    pub max_replicas_per_node: u64,
    pub platforms: Vec<Platform>,
    /// Beyond the API: who goes first when there is not room for all; higher is more important, 0 is usual.
    pub priority: i32,
}

/// API `NetworkAttachmentConfig`. In a stored spec `target` is resolved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkTarget {
    pub target: NetworkId,
    pub aliases: Vec<String>,
    pub driver_options: BTreeMap<String, String>,
}

/// What becomes a task (API `TaskSpec`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskSpec {
    pub container: ContainerSpec,
    pub resources: ResourceRequirements,
    pub restart: RestartPolicy,
    pub placement: Placement,
    pub networks: Vec<NetworkTarget>,
    /// API `LogDriver`; `None` is our own.
    pub log_driver: Option<LogDriver>,
    /// A change of it alone makes new tasks.
    pub force_update: u64,
    /// Beyond the API: never two at once, not even while hosts do not reach each other. A task stops itself when
    /// its node has not heard from a manager for this long, and it is replaced only after that.
    pub at_most_one: Option<Duration>,
}

/// API `LogDriver`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogDriver {
    pub name: String,
    pub options: BTreeMap<String, String>,
}

/// API `FailureAction`; "pause" by default (swarmkit).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureAction {
    #[default]
    Pause,
    Continue,
    Rollback,
}

/// API `UpdateConfig.Order`; "stop-first" by default (swarmkit).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpdateOrder {
    #[default]
    StopFirst,
    StartFirst,
}

/// API `UpdateConfig` and `RollbackConfig`. [`Default`] is what holds where all of it is absent (swarmkit).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UpdateConfig {
    /// Slots at once; 0 is all (API: "0 means unlimited parallelism").
    pub parallelism: u64,
    /// After a slot is done, before the next.
    pub delay: Duration,
    pub failure_action: FailureAction,
    /// A task that fails within this time after its start counts as a failed update; default 5 s (swarmkit).
    pub monitor: Duration,
    /// 0 to 1; API default 0.
    pub max_failure_ratio: f32,
    pub order: UpdateOrder,
    /// Beyond the API: slots that are updated first, before the update waits to be promoted; 0 does not wait.
    pub canary: u64,
    /// Beyond the API: promoted without being asked once they were up for this long.
    pub canary_promote_after: Option<Duration>,
}

impl Eq for UpdateConfig {}

impl Default for UpdateConfig {
    fn default() -> Self {
        Self {
            parallelism: 1,
            delay: Duration::ZERO,
            failure_action: FailureAction::Pause,
            monitor: Duration::from_secs(5),
            max_failure_ratio: 0.0,
            order: UpdateOrder::StopFirst,
            canary: 0,
            canary_promote_after: None,
        }
    }
}

/// API `EndpointSpec.Mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum EndpointMode {
    /// One virtual address for all tasks.
    #[default]
    Vip,
    /// The name answers with the addresses of the tasks.
    Dnsrr,
}

/// Transport of a published port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Protocol {
    #[default]
    Tcp,
    Udp,
    Sctp,
}

/// Where a published port listens (API `PublishMode`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PublishMode {
    /// On every node.
    #[default]
    Ingress,
    /// On the nodes of the tasks.
    Host,
}

/// API `EndpointPortConfig`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PortConfig {
    pub name: String,
    pub protocol: Protocol,
    pub target_port: u16,
    /// 0 asks for a free one from 30000-32767 (swarmkit's port allocator).
    pub published_port: u16,
    pub mode: PublishMode,
    /// Beyond the API: only this address of the node answers.
    pub host_ip: Option<IpAddr>,
}

/// Whether two addresses to listen at have one in common: none or an unspecified one (`0.0.0.0`, `::`) is all of them.
pub fn addresses_meet(one: Option<IpAddr>, other: Option<IpAddr>) -> bool {
    let all = |ip: Option<IpAddr>| ip.is_none_or(|ip| ip.is_unspecified());
    one == other || all(one) || all(other)
}

impl PortConfig {
    /// Whether one host can't listen for both. A port without a number meets none.
    pub fn meets(&self, other: &Self) -> bool {
        self.published_port != 0
            && (self.protocol, self.published_port) == (other.protocol, other.published_port)
            && addresses_meet(self.host_ip, other.host_ip)
    }

    /// Whether two services can't have both: at ports in host mode the scheduler keeps their tasks apart instead.
    pub fn excludes(&self, other: &Self) -> bool {
        let both_host = self.mode == PublishMode::Host && other.mode == PublishMode::Host;
        !both_host && self.meets(other)
    }
}

/// API `EndpointSpec`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointSpec {
    pub mode: EndpointMode,
    pub ports: Vec<PortConfig>,
}

/// How far a service must be before one that depends on it starts (Compose `depends_on.condition`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DependencyCondition {
    /// A task of it has started.
    #[default]
    Started,
    /// A task of it is up.
    Healthy,
    /// It is a job, and all of it has completed.
    Completed,
}

/// Beyond the API: another service whose tasks come first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependency {
    /// Name of the service, which need not be there yet.
    pub service: String,
    pub condition: DependencyCondition,
    /// Not waited for when there is no such service.
    pub optional: bool,
}

/// Beyond the API: the number of replicas follows the load. A target of 0 is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Autoscale {
    pub min: u64,
    pub max: u64,
    /// Percent of the tasks' CPU reservation (else limit, else one core), on average.
    pub cpu_percent: u32,
    /// Percent of the tasks' memory limit (else reservation), on average.
    pub memory_percent: u32,
    /// Requests (new connections to published ports) per second and task.
    pub requests_per_second: u32,
    /// The load is looked at over this time; default 60 s.
    pub window: Duration,
    /// Fewer are wanted only after less was enough for this long; default 300 s.
    pub scale_down_delay: Duration,
}

/// API `ServiceSpec`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceSpec {
    pub name: String,
    pub labels: Labels,
    pub task: TaskSpec,
    pub mode: ServiceMode,
    pub update: Option<UpdateConfig>,
    pub rollback: Option<UpdateConfig>,
    pub endpoint: EndpointSpec,
    pub depends_on: Vec<Dependency>,
    pub autoscale: Option<Autoscale>,
}

/// A service's address on one network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VirtualIp {
    pub network: NetworkId,
    pub addr: IpAddr,
}

/// What the allocator gave a service (API `Service.Endpoint`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The endpoint spec this answers.
    pub spec: EndpointSpec,
    /// Same order as the spec's, published ports filled in.
    pub ports: Vec<PortConfig>,
    pub vips: Vec<VirtualIp>,
    /// Why something of the spec is not served yet, in words; empty when all is.
    pub pending_reason: String,
}

/// API `UpdateStatus.State`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpdateState {
    Updating,
    Paused,
    Completed,
    RollbackStarted,
    RollbackPaused,
    RollbackCompleted,
}

/// API `UpdateStatus`, and what the updater must remember over a change of leader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateStatus {
    pub state: UpdateState,
    /// For display: of whoever's clock began it.
    pub started: WallTime,
    /// Log index at which it started; 0: written before this was kept. Set by the store.
    pub started_index: u64,
    pub completed: Option<WallTime>,
    pub message: String,
    /// `Service::spec_version` that this update brings in.
    pub spec_version: u64,
    /// Slots that had to be replaced when it began: what the failure ratio is taken of. 0 until they are counted.
    pub slots: u64,
    /// Tasks it brought in that failed within the monitor time.
    pub failures: u64,
    /// Since when all canaries are up; `None` while they are not, and without canaries.
    pub canary_since: Option<WallTime>,
    /// The canaries were found good: the rest follows.
    pub promoted: bool,
}

impl UpdateStatus {
    /// Of an update that begins now, its slots not counted yet.
    pub fn begun(spec_version: u64, now: WallTime) -> Self {
        Self {
            state: UpdateState::Updating,
            started: now,
            started_index: 0,
            completed: None,
            message: "update in progress".to_owned(),
            spec_version,
            slots: 0,
            failures: 0,
            canary_since: None,
            promoted: false,
        }
    }

    /// Of going back to `spec_version`, for the reason `message`.
    pub fn rolling_back(spec_version: u64, now: WallTime, message: impl Into<String>) -> Self {
        Self { state: UpdateState::RollbackStarted, message: message.into(), ..Self::begun(spec_version, now) }
    }

    /// The rest follows the canaries.
    pub fn promote(&mut self) {
        self.promoted = true;
        self.canary_since = None;
        self.message = "update in progress".to_owned();
    }
}

/// Job progress (API `JobStatus`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobStatus {
    /// Rises with each run of the job.
    pub iteration: u64,
    pub last_execution: WallTime,
}

/// What a service was, to go back to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpecRecord {
    pub spec: Arc<ServiceSpec>,
    /// `Service::spec_version` it had.
    pub spec_version: u64,
    /// When it was written.
    pub written: Stamp,
    /// `Service::revision` it was.
    pub revision: u64,
}

/// What the autoscaler wants of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scaled {
    pub replicas: u64,
    /// When it was decided.
    pub at: WallTime,
    /// The figures it was decided on, in words.
    pub reason: String,
}

/// The stored service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    pub id: ServiceId,
    pub meta: Meta,
    pub spec: Arc<ServiceSpec>,
    pub previous_spec: Option<Arc<ServiceSpec>>,
    /// Rises by one whenever `spec.task` changes; tasks carry the one they were made from.
    pub spec_version: u64,
    /// `spec_version` of `previous_spec`.
    pub previous_spec_version: u64,
    /// When `spec` was last written; what an update measures its failures from.
    pub spec_written: Stamp,
    pub endpoint: Endpoint,
    pub update_status: Option<UpdateStatus>,
    pub job: Option<JobStatus>,
    /// Specs before the present one, newest first; as many as the cluster keeps.
    pub history: Vec<SpecRecord>,
    /// Number of the present spec among all it had; what people go back by.
    pub revision: u64,
    /// How many the autoscaler wants, in place of the spec's replicas.
    pub scaled: Option<Scaled>,
    /// Contents it was rolled back from: neither these nor earlier ones are taken again by themselves.
    pub held: Vec<ContentVersion>,
    /// Removal was asked for: tasks are stopped, then the service goes.
    pub removing: bool,
}

/// `Autoscale::window` and `Autoscale::scale_down_delay` of a service that does not say.
pub const AUTOSCALE_WINDOW_DEFAULT: Duration = Duration::from_secs(60);
pub const AUTOSCALE_DELAY_DEFAULT: Duration = Duration::from_secs(300);
/// Shortest window: three readings, of which one may be lost.
pub const AUTOSCALE_WINDOW_MIN: Duration = Duration::from_secs(15);
/// Longest window and delay: beyond it, the load of an hour is met in the next.
pub const AUTOSCALE_TIME_MAX: Duration = Duration::from_secs(3600);
/// Most replicas of an autoscaled service: a mistaken target shall not fill a cluster.
pub const AUTOSCALE_REPLICAS_MAX: u64 = 10_000;

impl Autoscale {
    /// Brought within the limits.
    pub fn clamp(&self, replicas: u64) -> u64 {
        replicas.max(self.min).min(self.max)
    }
}

impl ServiceSpec {
    /// One that says what runs and how often, and nothing else.
    pub fn new(name: impl Into<String>, mode: ServiceMode, container: ContainerSpec) -> Self {
        Self {
            name: name.into(),
            labels: Labels::new(),
            task: TaskSpec { container, ..TaskSpec::default() },
            mode,
            update: None,
            rollback: None,
            endpoint: EndpointSpec::default(),
            depends_on: Vec::new(),
            autoscale: None,
        }
    }
}

impl Service {
    /// One that was just made: nothing is decided about it yet.
    pub fn new(id: ServiceId, spec: impl Into<Arc<ServiceSpec>>) -> Self {
        Self {
            id,
            meta: Meta::default(),
            spec: spec.into(),
            previous_spec: None,
            spec_version: 1,
            previous_spec_version: 0,
            spec_written: Stamp::default(),
            endpoint: Endpoint::default(),
            update_status: None,
            job: None,
            history: Vec::new(),
            revision: 1,
            scaled: None,
            held: Vec::new(),
            removing: false,
        }
    }

    /// How many slots a replicated service is to have; `None` in the other modes. What the autoscaler wants goes
    /// before the spec's replicas, which are where it starts from; 0 replicas stop an autoscaled service too.
    pub fn wanted_replicas(&self) -> Option<u64> {
        let ServiceMode::Replicated { replicas } = self.spec.mode else { return None };
        let Some(autoscale) = self.spec.autoscale.as_ref().filter(|_| replicas > 0) else { return Some(replicas) };
        Some(autoscale.clamp(self.scaled.as_ref().map_or(replicas, |scaled| scaled.replicas)))
    }

    /// What the autoscaler wants, as far as it outlives a change to `spec`: a user who sets other replicas starts it
    /// anew from those, and one who changes anything else does not lose what it came to under load.
    pub fn scaled_under(&self, spec: &ServiceSpec) -> Option<Scaled> {
        let autoscale =
            spec.autoscale.as_ref().filter(|_| self.spec.autoscale.is_some() && spec.mode == self.spec.mode);
        let scaled = self.scaled.clone()?;
        autoscale.map(|autoscale| Scaled { replicas: autoscale.clamp(scaled.replicas), ..scaled })
    }
}
