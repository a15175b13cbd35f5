//! What runs where, derived from one snapshot: the table the filters and the order look at.

use super::FAILURES_TO_AVOID;
use super::demand::SpreadKey;
use crate::model::{Node, PortConfig, Protocol, PublishMode, Resources, Task, TaskState};
use crate::store::View;
use crate::{NodeId, ServiceId, WallTime};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Failures longer ago than this do not count against a node.
const FAILURES_WINDOW: Duration = Duration::from_secs(300);

/// A port bound on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BoundPort {
    pub protocol: Protocol,
    pub port: u16,
    pub host_ip: Option<IpAddr>,
}

impl BoundPort {
    /// The port as asked for; `None` when the node picks one itself.
    pub fn of(port: &PortConfig) -> Option<Self> {
        (port.mode == PublishMode::Host && port.published_port != 0).then_some(Self {
            protocol: port.protocol,
            port: port.published_port,
            host_ip: port.host_ip,
        })
    }

    /// Both can't be bound: same number and an address in common.
    pub fn collides(&self, other: &Self) -> bool {
        let addresses = match (self.host_ip, other.host_ip) {
            (Some(one), Some(two)) => one == two || one.is_unspecified() || two.is_unspecified(),
            (None, _) | (_, None) => true,
        };
        addresses && self.protocol == other.protocol && self.port == other.port
    }
}

/// One node and what is on it.
#[derive(Clone, Debug)]
pub struct NodeInfo {
    pub node: Arc<Node>,
    used: Resources,
    pub(super) ports: Vec<BoundPort>,
    tasks: u32,
    by_service: BTreeMap<ServiceId, u32>,
    failures: BTreeMap<ServiceId, u32>,
}

impl NodeInfo {
    fn new(node: Arc<Node>) -> Self {
        Self {
            node,
            used: Resources::default(),
            ports: Vec::new(),
            tasks: 0,
            by_service: BTreeMap::new(),
            failures: BTreeMap::new(),
        }
    }

    /// Tasks of the service that are to run here.
    pub fn of_service(&self, service: ServiceId) -> u32 {
        self.by_service.get(&service).copied().unwrap_or(0)
    }

    /// Tasks that are to run here.
    pub fn tasks(&self) -> u32 {
        self.tasks
    }

    /// Tasks of the service that failed here lately.
    pub(super) fn failures(&self, service: ServiceId) -> u32 {
        self.failures.get(&service).copied().unwrap_or(0)
    }

    fn capacity(&self) -> Resources {
        self.node.description.as_ref().map(|d| d.resources.clone()).unwrap_or_default()
    }

    /// Not reserved by tasks; negative when a node shrank under its tasks.
    pub fn free(&self) -> Resources {
        let mut free = self.capacity();
        free.nano_cpus = free.nano_cpus.saturating_sub(self.used.nano_cpus);
        free.memory_bytes = free.memory_bytes.saturating_sub(self.used.memory_bytes);
        for (kind, used) in &self.used.generic {
            let amount = free.generic.entry(kind.clone()).or_default();
            *amount = amount.saturating_sub(*used);
        }
        free
    }

    /// Reserved share of the scarcer of CPU and memory, in thousandths.
    pub(super) fn reserved_permille(&self) -> u64 {
        let capacity = self.capacity();
        let share = |used: i64, all: i64| {
            let (used, all) = (u64::try_from(used).unwrap_or(0), u64::try_from(all).unwrap_or(0));
            used.saturating_mul(1000).checked_div(all).unwrap_or(0)
        };
        share(self.used.nano_cpus, capacity.nano_cpus).max(share(self.used.memory_bytes, capacity.memory_bytes))
    }

    fn hold(&mut self, task: &Task) {
        let wants = &task.spec.resources.reservations;
        self.used.nano_cpus = self.used.nano_cpus.saturating_add(wants.nano_cpus);
        self.used.memory_bytes = self.used.memory_bytes.saturating_add(wants.memory_bytes);
        for (kind, amount) in &wants.generic {
            let used = self.used.generic.entry(kind.clone()).or_default();
            *used = used.saturating_add(*amount);
        }
        self.ports.extend(task.host_ports.iter().filter_map(BoundPort::of));
        if task.is_wanted() {
            self.tasks += 1;
            *self.by_service.entry(task.service).or_default() += 1;
        }
    }

    fn note_failure(&mut self, task: &Task, now: WallTime) {
        // What could not even be started may find its image or path on another node.
        let weight = if task.status.state == TaskState::Rejected {
            FAILURES_TO_AVOID
        } else {
            u32::from(task.status.state == TaskState::Failed)
        };
        if weight > 0 && task.ended.is_some_and(|ended| now.since(ended) < FAILURES_WINDOW) {
            *self.failures.entry(task.service).or_default() += weight;
        }
    }
}

/// All nodes, by id.
#[derive(Clone, Debug, Default)]
pub struct NodeTable {
    nodes: BTreeMap<NodeId, NodeInfo>,
}

impl NodeTable {
    /// The table of a snapshot. Tasks bound to a node that wait to be confirmed by the scheduler hold
    /// nothing yet.
    pub fn of(view: &View, now: WallTime) -> Self {
        let mut nodes: BTreeMap<NodeId, NodeInfo> =
            view.nodes().map(|node| (node.id, NodeInfo::new(Arc::clone(node)))).collect();
        for task in view.tasks() {
            let Some(info) = task.node.and_then(|id| nodes.get_mut(&id)) else { continue };
            if task.occupies_node() && task.status.state >= TaskState::Assigned {
                info.hold(task);
            } else {
                info.note_failure(task, now);
            }
        }
        Self { nodes }
    }

    /// By id.
    pub fn all(&self) -> impl Iterator<Item = &NodeInfo> {
        self.nodes.values()
    }

    /// Counts `task` as placed on `node`.
    pub fn add(&mut self, node: NodeId, task: &Task) {
        if let Some(info) = self.nodes.get_mut(&node) {
            info.hold(task);
        }
    }

    /// Tasks of the service on all nodes that agree with `like` on these labels.
    pub(super) fn in_branch(&self, service: ServiceId, keys: &[SpreadKey], like: &NodeInfo) -> u32 {
        let alike = |info: &&NodeInfo| keys.iter().all(|key| key.value(&info.node) == key.value(&like.node));
        self.all().filter(alike).map(|info| info.of_service(service)).sum()
    }
}
