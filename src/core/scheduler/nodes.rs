//! One node and what is on it: what the filters and the order look at.

use crate::model::{Node, PortConfig, Protocol, PublishMode, ResourceNames, Resources, Task, addresses_meet};
use crate::{NodeId, ServiceId};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// A port bound on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
        (self.protocol, self.port) == (other.protocol, other.port) && addresses_meet(self.host_ip, other.host_ip)
    }
}

/// Sums of reservations; wide enough that giving back undoes taking exactly.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Used {
    nano_cpus: i128,
    memory_bytes: i128,
    /// Kinds in use only.
    generic: BTreeMap<String, i128>,
    /// Units of named resources by kind, and how many tasks hold each: more than one only while a node said otherwise.
    named: BTreeMap<String, BTreeMap<String, u32>>,
}

impl Used {
    fn change(&mut self, task: &Task, sign: i128) {
        let wants = &task.spec.resources.reservations;
        self.nano_cpus += sign * i128::from(wants.nano_cpus);
        self.memory_bytes += sign * i128::from(wants.memory_bytes);
        for (kind, amount) in &wants.generic {
            let used = self.generic.entry(kind.clone()).or_default();
            *used += sign * i128::from(*amount);
            if *used == 0 {
                self.generic.remove(kind);
            }
        }
        for (kind, ResourceNames { names }) in &task.assigned_resources {
            for name in names {
                self.change_name(kind, name, sign > 0);
            }
        }
    }

    fn change_name(&mut self, kind: &str, name: &str, taken: bool) {
        let held = self.named.entry(kind.to_owned()).or_default();
        let count = held.entry(name.to_owned()).or_default();
        *count = if taken { *count + 1 } else { count.saturating_sub(1) };
        if *count == 0 {
            held.remove(name);
        }
        if held.is_empty() {
            self.named.remove(kind);
        }
    }

    fn holds(&self, kind: &str, name: &str) -> bool {
        self.named.get(kind).is_some_and(|held| held.contains_key(name))
    }

    /// Units of a kind in use that have no name.
    fn nameless(&self, kind: &str) -> i128 {
        let named: u32 = self.named.get(kind).into_iter().flat_map(BTreeMap::values).sum();
        (self.generic.get(kind).copied().unwrap_or(0) - i128::from(named)).max(0)
    }
}

fn free(capacity: i64, used: i128) -> i64 {
    let free = i128::from(capacity) - used;
    i64::try_from(free).unwrap_or(if free < 0 { i64::MIN } else { i64::MAX })
}

/// What a task that reserves none counts as when loads are compared (as Kubernetes has it when it scores nodes): without
/// it they would all go where least is reserved. No node is full of them.
const NANO_CPUS_ASSUMED: i64 = 100_000_000;
const MEMORY_BYTES_ASSUMED: i64 = 200 * 1024 * 1024;

/// What the tasks that are to run on a node reserve or are taken to need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Weight {
    nano_cpus: i128,
    memory_bytes: i128,
}

impl Weight {
    fn change(&mut self, task: &Task, sign: i128) {
        let wants = &task.spec.resources.reservations;
        let or = |reserved: i64, assumed: i64| i128::from(if reserved > 0 { reserved } else { assumed });
        self.nano_cpus += sign * or(wants.nano_cpus, NANO_CPUS_ASSUMED);
        self.memory_bytes += sign * or(wants.memory_bytes, MEMORY_BYTES_ASSUMED);
    }
}

/// Of the scarcer of CPU and memory, in thousandths.
fn permille(capacity: Option<&Resources>, nano_cpus: i128, memory_bytes: i128) -> u64 {
    let share = |used: i128, all: i64| {
        let (used, all) = (u128::try_from(used).unwrap_or(0), u128::try_from(all).unwrap_or(0));
        u64::try_from(used.saturating_mul(1000).checked_div(all).unwrap_or(0)).unwrap_or(u64::MAX)
    };
    capacity.map_or(0, |all| share(nano_cpus, all.nano_cpus).max(share(memory_bytes, all.memory_bytes)))
}

/// One node and what is on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeInfo {
    pub node: Arc<Node>,
    used: Used,
    weight: Weight,
    /// In order.
    pub(super) ports: Vec<BoundPort>,
    tasks: u32,
    pub(super) by_service: BTreeMap<ServiceId, u32>,
}

impl NodeInfo {
    /// A node with nothing on it.
    pub(super) fn new(node: Arc<Node>) -> Self {
        let (used, weight) = (Used::default(), Weight::default());
        Self { node, used, weight, ports: Vec::new(), tasks: 0, by_service: BTreeMap::new() }
    }

    pub fn id(&self) -> NodeId {
        self.node.id
    }

    /// Tasks of the service that are to run here.
    pub fn of_service(&self, service: ServiceId) -> u32 {
        self.by_service.get(&service).copied().unwrap_or(0)
    }

    /// Tasks that are to run here.
    pub fn tasks(&self) -> u32 {
        self.tasks
    }

    fn capacity(&self) -> Option<&Resources> {
        self.node.description.as_ref().map(|description| &description.resources)
    }

    /// Not reserved by tasks, as are the two below; negative when a node shrank under its tasks.
    pub fn free_nano_cpus(&self) -> i64 {
        free(self.capacity().map_or(0, |all| all.nano_cpus), self.used.nano_cpus)
    }

    pub fn free_memory_bytes(&self) -> i64 {
        free(self.capacity().map_or(0, |all| all.memory_bytes), self.used.memory_bytes)
    }

    pub fn free_generic(&self, kind: &str) -> i64 {
        if let Some(names) = self.free_names(kind) {
            return free(i64::try_from(names.count()).unwrap_or(i64::MAX), self.used.nameless(kind));
        }
        let capacity = self.capacity().and_then(|all| all.generic.get(kind)).copied().unwrap_or(0);
        free(capacity, self.used.generic.get(kind).copied().unwrap_or(0))
    }

    /// Units of a kind that no task holds, in order; `None` where the kind has no names.
    fn free_names(&self, kind: &str) -> Option<impl Iterator<Item = &String>> {
        let names = self.capacity().and_then(|all| all.named.get(kind))?;
        Some(names.names.iter().filter(move |name| !self.used.holds(kind, name)))
    }

    /// The units of named resources that a task would get here: as many as it reserves, the first ones that are free.
    pub(super) fn units_for(&self, wants: &Resources) -> BTreeMap<String, ResourceNames> {
        let units = wants.generic.iter().filter_map(|(kind, amount)| {
            let amount = usize::try_from(*amount).unwrap_or(0);
            let names = self.free_names(kind)?.take(amount).cloned().collect();
            Some((kind.clone(), ResourceNames { names }))
        });
        units.collect()
    }

    /// Reserved share of the scarcer of CPU and memory, in thousandths, by whatever holds it still.
    pub(super) fn reserved_permille(&self) -> u64 {
        permille(self.capacity(), self.used.nano_cpus, self.used.memory_bytes)
    }

    /// The share that what is to run here reserves or is taken to need, in thousandths; more than all of it where much
    /// reserves nothing.
    pub(super) fn load_permille(&self) -> u64 {
        permille(self.capacity(), self.weight.nano_cpus, self.weight.memory_bytes)
    }

    /// Counts `task` as being here.
    pub fn hold(&mut self, task: &Task) {
        self.used.change(task, 1);
        for port in task.host_ports.iter().filter_map(BoundPort::of) {
            let at = self.ports.partition_point(|other| *other < port);
            self.ports.insert(at, port);
        }
        if task.is_wanted() {
            self.weight.change(task, 1);
            self.tasks += 1;
            *self.by_service.entry(task.service).or_default() += 1;
        }
    }

    /// Undoes [`Self::hold`] of the same task.
    pub(super) fn release(&mut self, task: &Task) {
        self.used.change(task, -1);
        for port in task.host_ports.iter().filter_map(BoundPort::of) {
            if let Ok(at) = self.ports.binary_search(&port) {
                self.ports.remove(at);
            }
        }
        if task.is_wanted() {
            self.weight.change(task, -1);
            self.tasks -= 1;
            if let Some(count) = self.by_service.get_mut(&task.service) {
                *count -= 1;
                if *count == 0 {
                    self.by_service.remove(&task.service);
                }
            }
        }
    }
}
