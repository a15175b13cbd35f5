//! Answers to the names a container asks for, from a [`FabricState`]. Pure: messages, sockets and
//! forwarding are the business of the crate `overlay`, which calls this for every query.
//!
//! A name is looked up in the networks of the asker, in their order; the first network that knows it
//! answers. Known are, without regard to case and with or without a final dot:
//! the name and aliases of a service (its virtual address, or all its receiving tasks when it has
//! none), `tasks.` before such a name (all receiving tasks), a task's full name and its aliases.

use crate::fabric::{FabricEndpoint, FabricState};
use crate::model::EndpointMode;
use crate::{NetworkId, ServiceId};
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Seconds a virtual address may be kept: it lives as long as its service, and a service removed and
/// made again under the same name should be found within half a minute.
pub const TTL_VIP_SECONDS: u32 = 30;
/// Seconds the address of a task may be kept: tasks come and go with every update, and a client that
/// keeps a stopped one's address loses requests.
pub const TTL_TASK_SECONDS: u32 = 1;
/// Addresses in one answer: as many as fit a message over TCP many times over, few enough to bound it.
pub const ADDRESSES_MAX: usize = 1000;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Anything else there is about a name.
    Other,
}

/// What to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// These, each for so many seconds.
    Addresses { addresses: Vec<IpAddr>, ttl_seconds: u32 },
    /// This name, for so many seconds.
    Name { name: String, ttl_seconds: u32 },
    /// The name exists but has nothing of that kind.
    NoData,
    /// There is no such name, and nobody else may know it.
    NoName,
    /// Ours to say nothing about: ask the host's resolvers.
    Forward,
}

/// What a name stands for in one network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Entry {
    /// Virtual addresses.
    vips: Vec<IpAddr>,
    /// Addresses of tasks.
    tasks: Vec<IpAddr>,
}

/// All names of all networks, indexed. Made anew from every state; asking it is cheap.
#[derive(Clone, Debug, Default)]
pub struct Zones {
    names: BTreeMap<NetworkId, BTreeMap<String, Entry>>,
    addresses: BTreeMap<NetworkId, BTreeMap<IpAddr, String>>,
    subnets: BTreeMap<NetworkId, IpNet>,
}

fn normal(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

fn attached(endpoint: &FabricEndpoint, network: NetworkId) -> impl Iterator<Item = IpAddr> + '_ {
    endpoint.attachments.iter().filter(move |a| a.network == network).map(|a| a.addr)
}

/// The network of published ports is no place to find each other: its addresses are for the nodes.
fn serves(state: &FabricState, network: NetworkId) -> bool {
    state.networks.get(&network).is_none_or(|n| !n.ingress)
}

impl Zones {
    /// The names of `state`.
    pub fn new(state: &FabricState) -> Self {
        let mut zones = Self::default();
        let mut tasks: BTreeMap<ServiceId, Vec<&FabricEndpoint>> = BTreeMap::new();
        for endpoint in state.endpoints.values() {
            tasks.entry(endpoint.service).or_default().push(endpoint);
            zones.add_task(state, endpoint);
        }
        for (id, service) in &state.services {
            let tasks = tasks.get(id).map_or(&[][..], Vec::as_slice);
            let mut networks: Vec<NetworkId> = service.vips.iter().map(|v| v.network).collect();
            networks.extend(service.aliases.keys());
            networks.extend(tasks.iter().flat_map(|t| &t.attachments).map(|a| a.network));
            networks.sort();
            networks.dedup();
            for network in networks.into_iter().filter(|n| serves(state, *n)) {
                zones.add_service(service, network, tasks);
            }
        }
        zones.subnets = state.networks.iter().map(|(id, n)| (*id, n.subnet)).collect();
        zones
    }

    fn entry(&mut self, network: NetworkId, name: &str) -> &mut Entry {
        self.names.entry(network).or_default().entry(normal(name)).or_default()
    }

    fn add_task(&mut self, state: &FabricState, endpoint: &FabricEndpoint) {
        for attachment in &endpoint.attachments {
            if !serves(state, attachment.network) {
                continue;
            }
            self.entry(attachment.network, &endpoint.name).tasks.push(attachment.addr);
            self.addresses.entry(attachment.network).or_default().insert(attachment.addr, endpoint.name.clone());
            if endpoint.receives {
                for alias in &attachment.aliases {
                    self.entry(attachment.network, alias).tasks.push(attachment.addr);
                }
            }
        }
    }

    fn add_service(&mut self, service: &crate::fabric::FabricService, network: NetworkId, tasks: &[&FabricEndpoint]) {
        let receiving: Vec<IpAddr> = tasks.iter().filter(|t| t.receives).flat_map(|t| attached(t, network)).collect();
        let vips: Vec<IpAddr> = match service.mode {
            EndpointMode::Vip => service.vips.iter().filter(|v| v.network == network).map(|v| v.addr).collect(),
            EndpointMode::Dnsrr => Vec::new(),
        };
        for vip in &vips {
            self.addresses.entry(network).or_default().insert(*vip, service.name.clone());
        }
        let aliases = service.aliases.get(&network).map_or(&[][..], Vec::as_slice);
        let mut names: Vec<String> = std::iter::once(&service.name).chain(aliases).map(|n| normal(n)).collect();
        names.sort();
        names.dedup();
        for name in names {
            let entry = self.entry(network, &name);
            if vips.is_empty() {
                entry.tasks.extend(&receiving);
            } else {
                entry.vips.extend(&vips);
            }
            self.entry(network, &format!("tasks.{name}")).tasks.extend(&receiving);
        }
    }

    /// What to say to a container in `networks` that asks for `name`. `rotation` is any number: it
    /// says which address comes first, so that clients that take the first one spread.
    pub fn answer(&self, networks: &[NetworkId], name: &str, question: Question, rotation: usize) -> Answer {
        let name = normal(name);
        let Some(entry) = networks.iter().find_map(|n| self.names.get(n)?.get(&name)) else {
            return Answer::Forward;
        };
        // Where several services share an alias, those with a virtual address stand for all their tasks.
        let (from, ttl_seconds) =
            if entry.vips.is_empty() { (&entry.tasks, TTL_TASK_SECONDS) } else { (&entry.vips, TTL_VIP_SECONDS) };
        let mut addresses: Vec<IpAddr> = from
            .iter()
            .copied()
            .filter(|a| match question {
                Question::A => a.is_ipv4(),
                Question::Aaaa => a.is_ipv6(),
                Question::Other => false,
            })
            .collect();
        addresses.sort();
        addresses.dedup();
        if addresses.is_empty() {
            return Answer::NoData;
        }
        let by = rotation % addresses.len();
        addresses.rotate_left(by);
        addresses.truncate(ADDRESSES_MAX);
        Answer::Addresses { addresses, ttl_seconds }
    }

    /// What to say to a container in `networks` that asks whose `addr` is.
    pub fn reverse(&self, networks: &[NetworkId], addr: IpAddr) -> Answer {
        if let Some(name) = networks.iter().find_map(|n| self.addresses.get(n)?.get(&addr)) {
            return Answer::Name { name: name.clone(), ttl_seconds: TTL_TASK_SECONDS };
        }
        let ours = networks.iter().filter_map(|n| self.subnets.get(n)).any(|s| s.contains(&addr));
        if ours { Answer::NoName } else { Answer::Forward }
    }
}

#[cfg(test)]
mod tests;
