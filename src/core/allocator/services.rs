//! Virtual addresses and published ports of services.

use super::books::Books;
use super::pool::{Draw, has_addresses, not_ready};
use super::ports::PortTable;
use crate::NetworkId;
use crate::model::{Endpoint, EndpointMode, PublishMode, Service, VirtualIp};
use crate::store::{Change, View};
use std::sync::Arc;

/// Why a service's tasks can't get their addresses yet, in words.
pub type Obstacle = String;

/// Brings endpoints up to their specs, at most `limit` changes. `books` are at `view`.
pub fn allocate_services(view: &View, books: &Books, limit: usize) -> Vec<Change> {
    let mut waiting: Vec<&Arc<Service>> = books.services.iter().filter_map(|id| view.service(*id)).collect();
    // Who asked first is served first.
    waiting.sort_by_key(|service| (service.spec_written.index, service.id));
    let mut pools = Draw::of(view, &books.pools);
    let mut ports = PortTable::of(view);
    let mut changes = Vec::new();
    for service in waiting.into_iter().take(limit) {
        let endpoint = match serve(view, service, &mut pools, &mut ports) {
            Ok(endpoint) => endpoint,
            // What it had it keeps, so that what runs goes on.
            Err(pending_reason) => Endpoint { pending_reason, ..service.endpoint.clone() },
        };
        if endpoint != service.endpoint {
            changes.push(Change::ServiceEndpoint { service: service.id, endpoint });
        }
    }
    changes
}

/// The network of published ports is among them when the service publishes there.
pub(super) fn publishes_on_ingress(service: &Service) -> bool {
    service.spec.endpoint.ports.iter().any(|port| port.mode == PublishMode::Ingress)
}

/// Networks the service has a virtual address on.
fn vip_networks(view: &View, service: &Service) -> Result<Vec<NetworkId>, Obstacle> {
    let mut networks = Vec::new();
    if service.spec.endpoint.mode == EndpointMode::Vip {
        for target in service.spec.task.networks.iter().map(|target| target.target) {
            if has_addresses(view, target) && !networks.contains(&target) {
                networks.push(target);
            }
        }
    }
    if publishes_on_ingress(service) {
        let ingress = view.ingress_network().ok_or("there is no ingress network to publish ports on")?;
        if !networks.contains(&ingress.id) {
            networks.push(ingress.id);
        }
    }
    Ok(networks)
}

/// The endpoint answers the spec as it is now.
pub(super) fn is_served(view: &View, service: &Service) -> bool {
    let endpoint = &service.endpoint;
    endpoint.spec == service.spec.endpoint
        && endpoint.pending_reason.is_empty()
        && vip_networks(view, service).is_ok_and(|networks| {
            networks.len() == endpoint.vips.len()
                && networks.iter().zip(&endpoint.vips).all(|(network, vip)| *network == vip.network)
        })
}

/// Why tasks of the service have to wait; `Ok` when it is served.
pub(super) fn obstacle(view: &View, service: &Service) -> Result<(), Obstacle> {
    if is_served(view, service) {
        return Ok(());
    }
    if service.endpoint.pending_reason.is_empty() {
        return Err(format!("service \"{}\" has no addresses yet", service.spec.name));
    }
    Err(service.endpoint.pending_reason.clone())
}

fn serve(view: &View, service: &Arc<Service>, pools: &mut Draw, ports: &mut PortTable) -> Result<Endpoint, Obstacle> {
    let networks = vip_networks(view, service)?;
    if let Some(missing) = networks.iter().find(|id| view.network(**id).is_none_or(|n| n.allocation.is_none())) {
        return Err(not_ready(view, *missing));
    }
    let mut vips: Vec<VirtualIp> = Vec::with_capacity(networks.len());
    for network in networks {
        let had = service.endpoint.vips.iter().find(|vip| vip.network == network);
        let taken = match had {
            Some(vip) => Ok(vip.addr),
            None => pools.take(network),
        };
        match taken {
            Ok(addr) => vips.push(VirtualIp { network, addr }),
            Err(reason) => {
                give_back(service, pools, &vips);
                return Err(reason);
            }
        }
    }
    match ports.serve(service) {
        Ok(ports) => Ok(Endpoint { spec: service.spec.endpoint.clone(), ports, vips, pending_reason: String::new() }),
        Err(reason) => {
            give_back(service, pools, &vips);
            Err(reason)
        }
    }
}

/// Gives back what was taken now; what the service had before it keeps.
fn give_back(service: &Service, pools: &mut Draw, vips: &[VirtualIp]) {
    for vip in vips.iter().filter(|vip| !service.endpoint.vips.contains(vip)) {
        pools.give_back(vip.network, vip.addr);
    }
}
