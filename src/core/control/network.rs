//! Create and remove networks, and the networks a cluster starts with.

use super::{Refusal, txn};
use crate::model::*;
use crate::spec::{self, PREDEFINED_NETWORKS};
use crate::store::{Change, Object, ObjectRef, Precondition, Txn, View, fits};
use crate::{NetworkId, WallTime};
use ipnet::{IpNet, Ipv4Net};
use std::net::Ipv4Addr;
use std::sync::Arc;

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
    spec::network(&spec)?;
    if view.network_by_name(&spec.name).is_some() {
        return Err(Refusal::Exists(format!("network with name {} already exists", spec.name)));
    }
    fits::network(view, &spec, id)?;
    Ok(txn(now, Vec::new(), vec![Change::Create(Object::Network(Arc::new(network(id, spec))))]))
}

/// Removes a network nobody uses. One that only tasks on their way out are on stays for them, unseen, and the leader
/// takes it away after the last. The store checks again when it applies it.
pub fn remove_network(view: &View, id: NetworkId, now: WallTime) -> Result<Txn, Refusal> {
    let network = view
        .network(id)
        .filter(|network| !network.removing)
        .ok_or_else(|| Refusal::NotFound(format!("network {id} not found")))?;
    let name = &network.spec.name;
    if PREDEFINED_NETWORKS.contains(&name.as_str()) {
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
