//! What must hold of a specification against the rest of the state.
//!
//! Asked before a transaction is proposed, where the answer goes to the user, and again when it is applied: what two
//! managers wrote at once may not go together. Must stay as cheap as a write: nothing here walks all services or tasks
//! for the write of one service.

use super::{Change, Object, View};
use crate::model::*;
use crate::spec::{self, Refusal, invalid};
use crate::{NetworkId, NodeId, ServiceId};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Contents of all secrets and configs together, earlier ones included, in bytes. They are in the memory of every
/// manager and in each snapshot of the store, which has a bound: a store over it could take no more writes, not even
/// removals.
pub const CONTENTS_BYTES_MAX: usize = 48 * 1024 * 1024;

/// Whether users' specifications are in this change; what is only being removed needs no check.
pub fn writes_spec(change: &Change) -> bool {
    match change {
        Change::Create(object) | Change::Replace(object) => match object {
            Object::Service(service) => !service.removing,
            Object::Network(network) => !network.removing,
            Object::Cluster(_) | Object::Node(_) | Object::Secret(_) | Object::Config(_) => true,
            Object::Task(_) => false,
        },
        Change::SecretSpec { .. } | Change::ConfigSpec { .. } => true,
        Change::Delete(_)
        | Change::TaskStatus { .. }
        | Change::TaskDesired { .. }
        | Change::TaskAssigned { .. }
        | Change::TaskAllocated { .. }
        | Change::NodeStatus { .. }
        | Change::NodeDescription { .. }
        | Change::NodeRaft { .. }
        | Change::NodeCertificate { .. }
        | Change::ServiceEndpoint { .. }
        | Change::ServiceUpdateStatus { .. }
        | Change::ServiceRollback { .. }
        | Change::ServiceScaled { .. }
        | Change::ServiceContents { .. }
        | Change::ContentDropped { .. }
        | Change::NetworkAllocated { .. } => false,
    }
}

/// Everything that must hold of the specifications in `change`, on the state it is about to alter.
pub(super) fn change(view: &View, change: &Change) -> Result<(), Refusal> {
    if !writes_spec(change) {
        return Ok(());
    }
    match change {
        Change::Create(object) | Change::Replace(object) => match object {
            Object::Cluster(cluster) => {
                spec::cluster(&cluster.spec)?;
                self::cluster(view, &cluster.spec)
            }
            Object::Node(node) => {
                spec::node(&node.spec)?;
                self::node(view, &node.spec, node.id)
            }
            Object::Service(service) => self::service(view, &service.spec, service.id),
            Object::Network(network) => {
                spec::network(&network.spec)?;
                self::network(view, &network.spec, network.id)
            }
            Object::Secret(secret) => {
                spec::secret(&secret.spec)?;
                new_content(view, secret.spec.data.expose().len())
            }
            Object::Config(config) => {
                spec::config(&config.spec)?;
                new_content(view, config.spec.data.len())
            }
            Object::Task(_) => Ok(()),
        },
        Change::SecretSpec { secret, spec } => {
            spec::secret(spec)?;
            view.secret(*secret).map_or(Ok(()), |old| self::secret(view, old, spec))
        }
        Change::ConfigSpec { config, spec } => {
            spec::config(spec)?;
            view.config(*config).map_or(Ok(()), |old| self::config(view, old, spec))
        }
        _writes_none => Ok(()),
    }
}

/// Everything that must hold of a service's specification; `id` is the service itself, whose own ports do not count as
/// taken.
pub fn service(view: &View, spec: &ServiceSpec, id: ServiceId) -> Result<(), Refusal> {
    spec::service(spec)?;
    let period = view.cluster().map(|cluster| cluster.spec.heartbeat_period).unwrap_or_default();
    spec::outlasts_heartbeats(spec, period)?;
    no_cycle(view, spec)?;
    networks(view, spec)?;
    port_conflicts(view, spec, id)?;
    contents(view, spec)
}

fn no_cycle(view: &View, spec: &ServiceSpec) -> Result<(), Refusal> {
    let of = |name: &str| {
        let other = view.service_by_name(name).map(|service| &service.spec.depends_on);
        let list = if name == spec.name { Some(&spec.depends_on) } else { other };
        list.into_iter().flatten().map(|dependency| dependency.service.clone()).collect()
    };
    match spec::cycle(&spec.name, of) {
        Some(path) => invalid(format!(
            "Swarm.DependsOn: none of these could ever start, each waits for the next: {} -> {}",
            path.join(" -> "),
            spec.name
        )),
        None => Ok(()),
    }
}

fn networks(view: &View, spec: &ServiceSpec) -> Result<(), Refusal> {
    let mut seen = BTreeSet::new();
    for (at, attachment) in spec.task.networks.iter().enumerate() {
        let place = format!("TaskTemplate.Networks[{at}].Target");
        let Some(network) = view.network(attachment.target).filter(|network| !network.removing) else {
            return Err(Refusal::NotFound(format!("{place}: network {} not found", attachment.target)));
        };
        let name = &network.spec.name;
        if network.spec.ingress {
            return Err(Refusal::NotNow(format!(
                "{place}: Service cannot be explicitly attached to the ingress network \"{name}\""
            )));
        }
        if !seen.insert(attachment.target) {
            return invalid(format!("{place}: network {name} is given twice"));
        }
        match network.spec.driver {
            NetworkDriver::Overlay => {}
            NetworkDriver::Host | NetworkDriver::None => {
                return Err(Refusal::Unsupported(
                    "TaskTemplate.Networks: the networks host and none are not implemented yet",
                ));
            }
        }
    }
    Ok(())
}

fn port_conflicts(view: &View, spec: &ServiceSpec, id: ServiceId) -> Result<(), Refusal> {
    let wanted = || spec.endpoint.ports.iter().enumerate().filter(|(_, port)| port.published_port != 0);
    let others: BTreeMap<ServiceId, &Arc<Service>> = wanted()
        .flat_map(|(_, port)| view.publishers(port.protocol, port.published_port))
        .filter(|other| other.id != id && !other.removing)
        .map(|other| (other.id, other))
        .collect();
    for other in others.into_values() {
        let taken = other.spec.endpoint.ports.iter().chain(&other.endpoint.ports);
        for theirs in taken {
            if let Some((at, ours)) = wanted().find(|(_, ours)| ours.excludes(theirs)) {
                return invalid(format!(
                    "EndpointSpec.Ports[{at}].PublishedPort: port '{}' is already in use by service '{}' ({})",
                    ours.published_port, other.spec.name, other.id
                ));
            }
        }
    }
    Ok(())
}

/// The secrets and configs are there, and templates among them can be filled in for this service.
fn contents(view: &View, spec: &ServiceSpec) -> Result<(), Refusal> {
    let container = &spec.task.container;
    for (at, reference) in container.secrets.iter().enumerate() {
        let Some(content) = view.secret(reference.id).and_then(|secret| secret.at(reference.version)) else {
            return invalid(format!("TaskTemplate.ContainerSpec.Secrets[{at}]: secret not found: {}", reference.name));
        };
        spec::secret_of(spec, at, &content.spec)?;
    }
    for (at, reference) in container.configs.iter().enumerate() {
        let Some(content) = view.config(reference.id).and_then(|config| config.at(reference.version)) else {
            return invalid(format!("TaskTemplate.ContainerSpec.Configs[{at}]: config not found: {}", reference.name));
        };
        spec::config_of(spec, at, &content.spec)?;
    }
    Ok(())
}

/// Of a network: its subnet is its own.
pub fn network(view: &View, spec: &NetworkSpec, id: NetworkId) -> Result<(), Refusal> {
    let present = view.ingress_network().filter(|present| spec.ingress && present.id != id);
    if let Some(present) = present {
        return Err(Refusal::Exists(format!("ingress network ({}) is already present", present.id)));
    }
    let Some(subnet) = spec.ipam.first().map(|ipam| ipam.subnet) else { return Ok(()) };
    let overlaps = |other: &IpNet| other.contains(&subnet) || subnet.contains(other);
    // The subnet of one that is on its way out is waited for by the allocator.
    let taken = view.networks().filter(|network| !network.removing && network.id != id).find(|network| {
        network.allocation.as_ref().is_some_and(|allocation| overlaps(&allocation.subnet))
            || network.spec.ipam.iter().any(|ipam| overlaps(&ipam.subnet))
    });
    match taken {
        Some(other) => Err(Refusal::Forbidden(format!(
            "IPAM.Config[0].Subnet: Pool overlaps with other one on this address space: {subnet} with network {}",
            other.spec.name
        ))),
        None => Ok(()),
    }
}

/// Of a node: its name is its own.
pub fn node(view: &View, spec: &NodeSpec, id: NodeId) -> Result<(), Refusal> {
    let Some(name) = spec.name.as_deref().filter(|name| !name.is_empty()) else { return Ok(()) };
    let taken = |node: &&Arc<Node>| node.id != id && node.spec.name.as_deref() == Some(name);
    match view.nodes().find(taken) {
        Some(other) => Err(Refusal::Exists(format!("Name: node {} is already called \"{name}\"", other.id))),
        None => Ok(()),
    }
}

/// Of the cluster's settings: slower heartbeats than its services can do with would stop these again and again.
pub fn cluster(view: &View, spec: &ClusterSpec) -> Result<(), Refusal> {
    let fits = |service: &&Arc<Service>| spec::outlasts_heartbeats(&service.spec, spec.heartbeat_period).is_ok();
    match view.services().find(|service| !fits(service)) {
        Some(service) => invalid(format!(
            "Dispatcher.HeartbeatPeriod: the lease of service {} (Swarm.AtMostOne) is too short for heartbeats every \
             {:?}: give it a longer one first",
            service.spec.name, spec.heartbeat_period
        )),
        None => Ok(()),
    }
}

/// Of another content of a secret.
pub fn secret(view: &View, old: &Secret, spec: &SecretSpec) -> Result<(), Refusal> {
    let same = spec.data == old.spec.data && spec.templated == old.spec.templated;
    if same { Ok(()) } else { new_content(view, spec.data.expose().len()) }
}

/// Of another content of a config.
pub fn config(view: &View, old: &Config, spec: &ConfigSpec) -> Result<(), Refusal> {
    let same = spec.data == old.spec.data && spec.templated == old.spec.templated;
    if same { Ok(()) } else { new_content(view, spec.data.len()) }
}

/// Whether there is room for so many bytes beside the secrets and configs there are.
pub fn new_content(view: &View, more: usize) -> Result<(), Refusal> {
    let secrets = view.secrets().map(|secret| secret.content_bytes());
    let held: usize = secrets.chain(view.configs().map(|config| config.content_bytes())).sum();
    if held + more <= CONTENTS_BYTES_MAX {
        return Ok(());
    }
    invalid(format!(
        "Data: the secrets and configs of the swarm hold {held} bytes, and with these {more} they would hold more than the {CONTENTS_BYTES_MAX} they may: remove those that no service uses (earlier contents count for as long as a service can go back to them)"
    ))
}
