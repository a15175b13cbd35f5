//! Create and remove networks, and the networks a cluster starts with.

use super::validate::{labels, object_name};
use super::{Refusal, invalid, txn};
use crate::model::*;
use crate::store::{Change, Object, ObjectRef, Precondition, Txn, View};
use crate::{NetworkId, WallTime};
use ipnet::{IpNet, Ipv4Net};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// Names that belong to the system.
const PREDEFINED: [&str; 4] = ["bridge", "default", "host", "none"];
/// Smallest subnet that can hold a gateway and tasks.
const PREFIX_LEN_MAX: u8 = 29;

fn network(id: NetworkId, spec: NetworkSpec) -> Network {
    Network { id, meta: Meta::default(), spec, allocation: None, pending_reason: String::new(), removing: false }
}

/// The networks of a new cluster: `ingress` for published ports, `host` and `none` for services without a network of their own.
pub fn predefined_networks(ids: [NetworkId; 3]) -> [Network; 3] {
    let named = |name: &str, driver| NetworkSpec { name: name.to_owned(), driver, ..NetworkSpec::default() };
    let subnet = IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), 24));
    let ingress = NetworkSpec {
        ingress: true,
        ipam: vec![IpamSubnet { subnet, gateway: None, range: None }],
        ..named("ingress", NetworkDriver::Overlay)
    };
    let [a, b, c] = ids;
    [
        network(a, ingress),
        network(b, named("host", NetworkDriver::Host)),
        network(c, named("none", NetworkDriver::None)),
    ]
}

/// Makes an overlay network; the allocator gives it its subnet.
pub fn create_network(view: &View, spec: NetworkSpec, id: NetworkId, now: WallTime) -> Result<Txn, Refusal> {
    if spec.name.is_empty() {
        return invalid("name must be provided");
    }
    if PREDEFINED.contains(&spec.name.as_str()) {
        return Err(Refusal::Forbidden(format!("operation is not permitted on predefined {} network", spec.name)));
    }
    object_name(&spec.name)?;
    labels("Labels", &spec.labels)?;
    match spec.driver {
        NetworkDriver::Overlay => {}
        NetworkDriver::Host | NetworkDriver::None => {
            return Err(Refusal::Forbidden(
                "only one instance of \"host\" and \"null\" networks is allowed".to_owned(),
            ));
        }
    }
    if spec.ipv6 {
        return invalid("EnableIPv6: IPv6 in overlay networks is not supported yet");
    }
    if view.network_by_name(&spec.name).is_some() {
        return Err(Refusal::Exists(format!("network with name {} already exists", spec.name)));
    }
    if spec.ingress {
        ingress(view, &spec)?;
    }
    ipam(view, &spec)?;
    Ok(txn(now, Vec::new(), vec![Change::Create(Object::Network(Arc::new(network(id, spec))))]))
}

fn ingress(view: &View, spec: &NetworkSpec) -> Result<(), Refusal> {
    if let Some(present) = view.ingress_network() {
        return Err(Refusal::Exists(format!("ingress network ({}) is already present", present.id)));
    }
    if spec.attachable {
        return invalid("Attachable: ingress network cannot be attachable");
    }
    if spec.internal {
        return invalid("Internal: ingress network cannot be internal");
    }
    Ok(())
}

fn ipam(view: &View, spec: &NetworkSpec) -> Result<(), Refusal> {
    if spec.ipam.len() > 1 {
        return invalid("IPAM.Config: more than one subnet in a network is not supported yet");
    }
    let Some(wanted) = spec.ipam.first() else {
        return Ok(());
    };
    let subnet = wanted.subnet;
    let IpNet::V4(v4) = subnet else {
        return invalid(format!("IPAM.Config[0].Subnet: {subnet} is not IPv4, IPv6 is not supported yet"));
    };
    if v4.trunc() != v4 {
        return invalid(format!("IPAM.Config[0].Subnet: invalid subnet {subnet}: it should be {}", v4.trunc()));
    }
    if v4.prefix_len() > PREFIX_LEN_MAX {
        return invalid(format!("IPAM.Config[0].Subnet: {subnet} is too small, use /{PREFIX_LEN_MAX} or larger"));
    }
    if let Some(gateway) = wanted.gateway.filter(|gateway| !subnet.contains(gateway)) {
        return invalid(format!("IPAM.Config[0].Gateway: {gateway} is not in {subnet}"));
    }
    if let Some(range) = wanted.range.filter(|range| !subnet.contains(range)) {
        return invalid(format!("IPAM.Config[0].IPRange: {range} is not in {subnet}"));
    }
    let overlaps = |other: &IpNet| other.contains(&subnet) || subnet.contains(other);
    // The subnet of one that is on its way out is waited for by the allocator.
    let taken = view.networks().filter(|network| !network.removing).find(|network| {
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

/// Removes a network nobody uses. One that only tasks on their way out are on stays for them, unseen, and the leader
/// takes it away after the last. The store checks again when it applies it.
pub fn remove_network(view: &View, id: NetworkId, now: WallTime) -> Result<Txn, Refusal> {
    let network = view
        .network(id)
        .filter(|network| !network.removing)
        .ok_or_else(|| Refusal::NotFound(format!("network {id} not found")))?;
    let name = &network.spec.name;
    if PREDEFINED.contains(&name.as_str()) {
        return Err(Refusal::Forbidden(format!("{name} is a pre-defined network and cannot be removed")));
    }
    let object = ObjectRef::Network(id);
    if let Some(service) = view.users(object).next() {
        return Err(Refusal::NotNow(format!("network {name} is in use by service {}", service.spec.name)));
    }
    if network.spec.ingress {
        let publishes = |service: &&Arc<Service>| {
            !service.removing && service.spec.endpoint.ports.iter().any(|port| port.mode == PublishMode::Ingress)
        };
        if let Some(service) = view.services().find(publishes) {
            let service = &service.spec.name;
            return Err(Refusal::NotNow(format!(
                "ingress network cannot be removed because service {service} depends on it"
            )));
        }
    }
    let attached = || view.tasks_on_network(id);
    let stays = |task: &&Arc<Task>| task.is_wanted() && view.service(task.service).is_some_and(|s| !s.removing);
    if let Some(task) = attached().find(stays) {
        return Err(Refusal::NotNow(format!("network {name} is in use by task {}", task.id)));
    }
    let change = if attached().next().is_none() {
        Change::Delete(object)
    } else {
        Change::Replace(Object::Network(Arc::new(Network { removing: true, ..(**network).clone() })))
    };
    Ok(txn(now, vec![Precondition::Version(object, network.meta.version)], vec![change]))
}
