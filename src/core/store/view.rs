//! A read snapshot of everything: cloning one is O(1), and it never changes.

use super::index::get;
use super::{Object, ObjectRef};
use crate::model::*;
use crate::{ConfigId, NetworkId, NodeId, SecretId, ServiceId, TaskId};
use imbl::{OrdMap, OrdSet};
use std::ops::Bound;
use std::sync::Arc;

/// Kinds of object whose names are unique among themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Named {
    Service,
    Network,
    Secret,
    Config,
}

/// All objects at one log index, with the indexes that decisions need.
#[derive(Clone, Debug, Default)]
pub struct View {
    pub(super) index: u64,
    pub(super) cluster: Option<Arc<Cluster>>,
    pub(super) nodes: OrdMap<NodeId, Arc<Node>>,
    pub(super) services: OrdMap<ServiceId, Arc<Service>>,
    pub(super) tasks: OrdMap<TaskId, Arc<Task>>,
    pub(super) networks: OrdMap<NetworkId, Arc<Network>>,
    pub(super) secrets: OrdMap<SecretId, Arc<Secret>>,
    pub(super) configs: OrdMap<ConfigId, Arc<Config>>,
    pub(super) names: OrdMap<(Named, String), u128>,
    pub(super) tasks_by_service: OrdMap<ServiceId, OrdSet<TaskId>>,
    pub(super) tasks_by_node: OrdMap<NodeId, OrdSet<TaskId>>,
    /// Tasks that have not ended, by the networks they have addresses of.
    pub(super) tasks_by_network: OrdMap<NetworkId, OrdSet<TaskId>>,
    /// Services that are not being removed, by what their specs name.
    pub(super) users: OrdMap<ObjectRef, OrdSet<ServiceId>>,
    /// By the ports they publish or are to publish.
    pub(super) services_by_port: OrdMap<(Protocol, u16), OrdSet<ServiceId>>,
    /// Services and jobs with a task on every node that fits.
    pub(super) global_services: OrdSet<ServiceId>,
    pub(super) ingress: OrdSet<NetworkId>,
}

macro_rules! table {
    ($one:ident, $all:ident, $id:ty, $object:ty) => {
        /// The object, if it is there.
        pub fn $one(&self, id: $id) -> Option<&Arc<$object>> {
            self.$all.get(&id)
        }

        /// All of the kind, by id.
        pub fn $all(&self) -> impl DoubleEndedIterator<Item = &Arc<$object>> {
            self.$all.values()
        }
    };
}

impl View {
    /// All indexes, to compare.
    #[cfg(test)]
    pub(crate) fn indexes(&self) -> impl PartialEq + std::fmt::Debug {
        let tasks = (self.tasks_by_service.clone(), self.tasks_by_node.clone(), self.tasks_by_network.clone());
        (
            self.names.clone(),
            tasks,
            self.users.clone(),
            self.services_by_port.clone(),
            self.global_services.clone(),
            self.ingress.clone(),
        )
    }

    /// Log index of the newest write in here.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// `None` before the cluster is made.
    pub fn cluster(&self) -> Option<&Arc<Cluster>> {
        self.cluster.as_ref()
    }

    table!(node, nodes, NodeId, Node);
    table!(service, services, ServiceId, Service);
    table!(task, tasks, TaskId, Task);
    table!(network, networks, NetworkId, Network);
    table!(secret, secrets, SecretId, Secret);
    table!(config, configs, ConfigId, Config);

    /// The service of this name.
    pub fn service_by_name(&self, name: &str) -> Option<&Arc<Service>> {
        self.service(ServiceId(*self.names.get(&(Named::Service, name.to_owned()))?))
    }

    /// The network of this name.
    pub fn network_by_name(&self, name: &str) -> Option<&Arc<Network>> {
        self.network(NetworkId(*self.names.get(&(Named::Network, name.to_owned()))?))
    }

    /// The secret of this name.
    pub fn secret_by_name(&self, name: &str) -> Option<&Arc<Secret>> {
        self.secret(SecretId(*self.names.get(&(Named::Secret, name.to_owned()))?))
    }

    /// The config of this name.
    pub fn config_by_name(&self, name: &str) -> Option<&Arc<Config>> {
        self.config(ConfigId(*self.names.get(&(Named::Config, name.to_owned()))?))
    }

    /// Earlier specs of a service that are kept.
    pub fn spec_history_limit(&self) -> u32 {
        self.cluster().map_or(ClusterSpec::default().spec_history_limit, |cluster| cluster.spec.spec_history_limit)
    }

    /// What a task would need and is no more, in words: `secret "tls"`.
    pub fn missing(&self, task: &TaskSpec) -> Option<String> {
        let container = &task.container;
        let secret =
            container.secrets.iter().find(|secret| !self.has_content(ContentId::Secret(secret.id), secret.version));
        let config =
            container.configs.iter().find(|config| !self.has_content(ContentId::Config(config.id), config.version));
        let is_there = |id| self.network(id).is_some_and(|network| !network.removing);
        let network = task.networks.iter().find(|network| !is_there(network.target));
        let secret = secret.map(|secret| format!("secret \"{}\"", secret.name));
        let config = config.map(|config| format!("config \"{}\"", config.name));
        let network = network.map(|network| format!("network {}", network.target));
        secret.or(config).or(network)
    }

    /// The network that carries published ports.
    pub fn ingress_network(&self) -> Option<&Arc<Network>> {
        self.network(*self.ingress.get_min()?)
    }

    /// Tasks of a service, by id, ended ones included.
    pub fn tasks_of_service(&self, service: ServiceId) -> impl DoubleEndedIterator<Item = &Arc<Task>> {
        self.tasks_by_service.get(&service).into_iter().flatten().filter_map(|id| self.tasks.get(id))
    }

    /// Nodes that tasks are bound to, also such as were removed.
    pub fn nodes_of_tasks(&self) -> impl Iterator<Item = NodeId> {
        self.tasks_by_node.keys().copied()
    }

    /// Tasks bound to a node, by id, ended ones included.
    pub fn tasks_of_node(&self, node: NodeId) -> impl Iterator<Item = &Arc<Task>> {
        self.tasks_by_node.get(&node).into_iter().flatten().filter_map(|id| self.tasks.get(id))
    }

    /// Tasks that have not ended and have an address of the network, by id.
    pub fn tasks_on_network(&self, network: NetworkId) -> impl Iterator<Item = &Arc<Task>> {
        self.tasks_by_network.get(&network).into_iter().flatten().filter_map(|id| self.tasks.get(id))
    }

    /// Services that are not being removed and name the network, secret or config in their spec, by id.
    pub fn users(&self, object: ObjectRef) -> impl Iterator<Item = &Arc<Service>> {
        self.users.get(&object).into_iter().flatten().filter_map(|id| self.services.get(id))
    }

    /// Services with a task on every node that fits, by id.
    pub fn global_services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.global_services.iter().filter_map(|id| self.services.get(id))
    }

    /// Services that publish the port, or are to, by id; also those that are being removed.
    pub fn publishers(&self, protocol: Protocol, published_port: u16) -> impl Iterator<Item = &Arc<Service>> {
        let ids = self.services_by_port.get(&(protocol, published_port));
        ids.into_iter().flatten().filter_map(|id| self.services.get(id))
    }

    /// Services with a larger id, by id; all of them after `None`.
    pub fn services_after(&self, after: Option<ServiceId>) -> impl Iterator<Item = &Arc<Service>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.services.range((from, Bound::Unbounded)).map(|(_, service)| service)
    }

    /// How many tasks the service has, ended ones included.
    pub fn count_tasks(&self, service: ServiceId) -> usize {
        self.tasks_by_service.get(&service).map_or(0, OrdSet::len)
    }

    /// There are tasks of the service, ended ones included.
    pub fn has_tasks(&self, service: ServiceId) -> bool {
        self.tasks_by_service.contains_key(&service)
    }

    /// How many objects there are, for audits and figures: nodes, services, tasks, networks.
    pub fn counts(&self) -> [usize; 4] {
        [self.nodes.len(), self.services.len(), self.tasks.len(), self.networks.len()]
    }

    /// The object of any kind, if it is there.
    pub fn object(&self, object: ObjectRef) -> Option<Object> {
        get(self, object)
    }

    /// Version and stamps of an object, if it is there.
    pub fn meta(&self, object: ObjectRef) -> Option<Meta> {
        match object {
            ObjectRef::Cluster => self.cluster.as_ref().map(|o| o.meta),
            ObjectRef::Node(id) => self.node(id).map(|o| o.meta),
            ObjectRef::Service(id) => self.service(id).map(|o| o.meta),
            ObjectRef::Task(id) => self.task(id).map(|o| o.meta),
            ObjectRef::Network(id) => self.network(id).map(|o| o.meta),
            ObjectRef::Secret(id) => self.secret(id).map(|o| o.meta),
            ObjectRef::Config(id) => self.config(id).map(|o| o.meta),
        }
    }
}
