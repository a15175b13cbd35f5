//! Tasks: one attempt each to run one slot of a service on one node.
//!
//! A task is one-shot. Its observed state only ever increases; the desired state is written by
//! managers only, the status by the agent of its node only (by the leader while no node has it, and
//! for a node that is gone).

use super::{Labels, Meta, PortConfig, ResourceNames, TaskSpec};
use crate::{NetworkId, NodeId, ServiceId, TaskId, WallTime};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// API `TaskState`; the order is the order of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TaskState {
    /// Waits for addresses and ports.
    New,
    /// Waits for a node.
    Pending,
    /// Has a node.
    Assigned,
    /// The node knows.
    Accepted,
    /// Image, volumes and networks are made ready.
    Preparing,
    /// Could start; waits for its desired state to be `Running`.
    Ready,
    Starting,
    Running,
    /// Ended by itself with exit code 0.
    Complete,
    /// Ended because it was told to.
    Shutdown,
    /// Ended by itself otherwise.
    Failed,
    /// Could not be started.
    Rejected,
    /// As a desired state: to be deleted when it has ended.
    Remove,
    /// Its node is gone for good.
    Orphaned,
}

impl TaskState {
    /// Nothing runs any more and nothing will.
    pub fn is_terminal(self) -> bool {
        self > TaskState::Running
    }

    /// The API's word.
    pub fn as_str(self) -> &'static str {
        match self {
            TaskState::New => "new",
            TaskState::Pending => "pending",
            TaskState::Assigned => "assigned",
            TaskState::Accepted => "accepted",
            TaskState::Preparing => "preparing",
            TaskState::Ready => "ready",
            TaskState::Starting => "starting",
            TaskState::Running => "running",
            TaskState::Complete => "complete",
            TaskState::Shutdown => "shutdown",
            TaskState::Failed => "failed",
            TaskState::Rejected => "rejected",
            TaskState::Remove => "remove",
            TaskState::Orphaned => "orphaned",
        }
    }
}

/// Verdict of the health check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Health {
    /// There is no check.
    #[default]
    None,
    Starting,
    Healthy,
    Unhealthy,
}

impl Health {
    /// The API's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Health::None => "none",
            Health::Starting => "starting",
            Health::Healthy => "healthy",
            Health::Unhealthy => "unhealthy",
        }
    }
}

/// API `ContainerStatus`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerStatus {
    /// 64 hexadecimal digits.
    pub container_id: String,
    pub pid: u32,
    pub exit_code: Option<i32>,
    pub oom_killed: bool,
    pub health: Health,
    /// Verdict of the readiness probe; `None` when there is no probe.
    pub ready: Option<bool>,
}

/// API `TaskStatus`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskStatus {
    pub state: TaskState,
    /// When `state` was entered, by the clock of the writer.
    pub timestamp: WallTime,
    /// What happens, in words.
    pub message: String,
    /// What went wrong or what it waits for, in words a person can act on; empty otherwise.
    pub err: String,
    pub container: Option<ContainerStatus>,
    /// Published host-mode ports as bound on the node.
    pub host_ports: Vec<PortConfig>,
}

impl Default for TaskStatus {
    fn default() -> Self {
        Self {
            state: TaskState::New,
            timestamp: WallTime(0),
            message: String::new(),
            err: String::new(),
            container: None,
            host_ports: Vec::new(),
        }
    }
}

impl TaskStatus {
    /// Longest message, error or container id, in bytes: statuses of hundreds of tasks are one log entry, and a health
    /// check's output or an image error may be any length.
    pub const TEXT_BYTES_MAX: usize = 1024;
    /// A task has no more ports than its service; a status with more was not made by an agent of ours.
    pub const HOST_PORTS_MAX: usize = 1024;

    /// Cut to those sizes, whole characters: its agent does so before it reports, the leader before it writes.
    pub fn bound(&mut self) {
        let container = self.container.as_mut().map(|container| &mut container.container_id);
        for text in [&mut self.message, &mut self.err].into_iter().chain(container) {
            Self::cut(text);
        }
        self.host_ports.truncate(Self::HOST_PORTS_MAX);
    }

    /// Cuts one text to its size.
    pub fn cut(text: &mut String) {
        text.truncate(text.floor_char_boundary(Self::TEXT_BYTES_MAX));
    }
}

/// A task's place on one network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskAttachment {
    pub network: NetworkId,
    pub addr: IpAddr,
    pub aliases: Vec<String>,
}

/// Restarts of the task's slot, carried from task to task so that a new leader goes on counting.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartHistory {
    /// Starts of replacements within the policy's window, oldest first: as many as its `max_attempts`, and
    /// [`super::WINDOW_ATTEMPTS_MAX`] at most. None without a window or a limit, when nobody asks for them.
    pub attempts: Vec<WallTime>,
    /// All restarts of this slot with this spec version.
    pub total: u64,
    /// Restarts since the slot was last up for longer than the policy's longest back-off.
    pub in_a_row: u64,
}

/// Why a task was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TaskOrigin {
    /// Its slot was missing.
    #[default]
    Scale,
    /// The task before it in the slot ended or lost its node.
    Restart,
    /// A rolling update brought it in; its failure counts against the update.
    Update,
    /// It takes over from one that still runs on a node it is to leave.
    Move,
}

/// The stored task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    pub id: TaskId,
    pub meta: Meta,
    pub service: ServiceId,
    /// 1 and up for replicated services, 0 for global ones (there the node is the slot).
    pub slot: u64,
    /// The node it is bound to: given by the scheduler, or at creation for global services.
    pub node: Option<NodeId>,
    pub spec: Arc<TaskSpec>,
    /// `Service::spec_version` it was made from.
    pub spec_version: u64,
    /// Name and labels of the service when the task was made.
    pub service_name: String,
    pub service_labels: Labels,
    pub status: TaskStatus,
    pub desired: TaskState,
    pub attachments: Vec<TaskAttachment>,
    /// Ports the service publishes in host mode, to be bound on the task's node.
    pub host_ports: Vec<PortConfig>,
    pub restarts: RestartHistory,
    /// While `desired` is `Ready`: when the leader may set it to `Running` (restart delay).
    pub start_after: Option<WallTime>,
    pub origin: TaskOrigin,
    /// When it was first running and, where it has a health check, healthy; by the leader's clock. Set by the store.
    pub up_since: Option<WallTime>,
    /// When it ended, by the leader's clock. Set by the store.
    pub ended: Option<WallTime>,
    /// Log index at which it ended; 0: it did not, or this was not kept yet. Set by the store.
    pub ended_index: u64,
    /// Iteration of the job it belongs to.
    pub job_iteration: Option<u64>,
    /// Units of named generic resources it was given on its node, by kind.
    pub assigned_resources: BTreeMap<String, ResourceNames>,
    /// The task before it in the slot had to make room for this one of higher priority; empty: it had not.
    pub preempted_by: String,
}

impl Task {
    /// A task that was just made: wanted to run, of no node, and nothing given to it yet.
    pub fn new(id: TaskId, service: ServiceId, slot: u64, spec: Arc<TaskSpec>) -> Self {
        Self {
            id,
            meta: Meta::default(),
            service,
            slot,
            node: None,
            spec,
            spec_version: 1,
            service_name: String::new(),
            service_labels: Labels::new(),
            status: TaskStatus::default(),
            desired: TaskState::Running,
            attachments: Vec::new(),
            host_ports: Vec::new(),
            restarts: RestartHistory::default(),
            start_after: None,
            origin: TaskOrigin::Scale,
            up_since: None,
            ended: None,
            ended_index: 0,
            job_iteration: None,
            assigned_resources: BTreeMap::new(),
            preempted_by: String::new(),
        }
    }

    /// `web.1.<id>` for replicated, `web.<node>.<id>` for global services: the container's name.
    pub fn name(&self) -> String {
        match (self.slot, self.node) {
            (0, Some(node)) => format!("{}.{}.{}", self.service_name, node, self.id),
            (slot, _) => format!("{}.{}.{}", self.service_name, slot, self.id),
        }
    }

    /// Runs and, where it has a health check or a readiness probe, is healthy and ready.
    pub fn is_up(&self) -> bool {
        let container = self.status.container.as_ref();
        let healthy = match container.map(|container| container.health).unwrap_or_default() {
            Health::None | Health::Healthy => true,
            Health::Starting | Health::Unhealthy => false,
        };
        let ready = container.and_then(|container| container.ready).unwrap_or(true);
        self.status.state == TaskState::Running && healthy && ready
    }

    /// Has an address on the network.
    pub fn is_on(&self, network: NetworkId) -> bool {
        self.attachments.iter().any(|attachment| attachment.network == network)
    }

    /// Is wanted to run, now or once it may start.
    pub fn is_wanted(&self) -> bool {
        self.desired <= TaskState::Running
    }

    /// Holds its node's resources, ports and addresses: not ended, and bound.
    pub fn occupies_node(&self) -> bool {
        self.node.is_some() && !self.status.state.is_terminal()
    }
}
