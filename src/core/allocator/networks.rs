//! Subnets and tunnel ids of networks.

use super::books::Books;
use crate::model::{Cluster, ClusterSpec, Network, NetworkAllocation};
use crate::store::{Change, View};
use ipnet::{IpNet, Ipv4Net};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// Tunnel ids are below this: 24 bits of the tunnel header.
const OVERLAY_ID_END: u32 = 1 << 24;

/// Gives networks without an allocation theirs, at most `limit` changes. `books` are at `view`.
pub fn allocate_networks(view: &View, books: &Books, limit: usize) -> Vec<Change> {
    let mut waiting: Vec<&Arc<Network>> = books.networks.iter().filter_map(|id| view.network(*id)).collect();
    if waiting.is_empty() {
        return Vec::new();
    }
    // Who named a subnet goes before who takes any, then the older first.
    waiting.sort_by_key(|n| (n.spec.ipam.is_empty(), n.meta.created.index, n.id));
    let mut taken = Taken::of(view);
    let mut changes = Vec::new();
    let mut refused = Vec::new();
    for network in waiting.into_iter().take(limit) {
        match taken.serve(view, network) {
            Ok(given) => changes.push(allocated(network, Some(given), String::new())),
            Err(_) => refused.push(network),
        }
    }
    // Said when all are served: the words name what is in the way then, and stay the same until that changes.
    for network in refused {
        if let Err(reason) = taken.serve(view, network)
            && reason != network.pending_reason
        {
            changes.push(allocated(network, None, reason));
        }
    }
    changes
}

fn allocated(network: &Network, allocation: Option<NetworkAllocation>, reason: String) -> Change {
    Change::NetworkAllocated { network: network.id, allocation, reason }
}

/// What networks and hosts hold.
struct Taken {
    /// Subnet and the name of its network.
    subnets: Vec<(IpNet, String)>,
    overlay_ids: BTreeSet<u32>,
    /// Addresses of hosts: a subnet drawn for a network never covers one.
    hosts: Vec<IpAddr>,
}

impl Taken {
    fn of(view: &View) -> Self {
        let mut taken = Self { subnets: Vec::new(), overlay_ids: BTreeSet::new(), hosts: Vec::new() };
        for network in view.networks() {
            if let Some(allocation) = &network.allocation {
                taken.subnets.push((allocation.subnet, network.spec.name.clone()));
                taken.overlay_ids.insert(allocation.overlay_id);
            }
        }
        taken.hosts = view.nodes().filter_map(|node| node.status.addr).collect();
        taken
    }

    fn serve(&mut self, view: &View, network: &Network) -> Result<NetworkAllocation, String> {
        let (subnet, gateway) = match network.spec.ipam.first() {
            Some(asked) => {
                let in_the_way = self.subnets.iter().filter(|(other, _)| overlap(other, &asked.subnet));
                // Always the same one of several.
                if let Some((other, name)) = in_the_way.min_by_key(|(net, _)| *net) {
                    return Err(format!("subnet {} overlaps with {other} of network \"{name}\"", asked.subnet));
                }
                (asked.subnet.trunc(), asked.gateway)
            }
            None => (self.draw(view.cluster())?, None),
        };
        let gateway = match gateway {
            Some(gateway) => gateway,
            None => subnet.hosts().next().ok_or_else(|| format!("subnet {subnet} has no addresses"))?,
        };
        let overlay_id = self.overlay_id(network)?;
        self.subnets.push((subnet, network.spec.name.clone()));
        self.overlay_ids.insert(overlay_id);
        Ok(NetworkAllocation { subnet, gateway, overlay_id })
    }

    /// The first free subnet of the cluster's pools.
    fn draw(&self, cluster: Option<&Arc<Cluster>>) -> Result<IpNet, String> {
        let defaults = ClusterSpec::default();
        let spec = cluster.map_or(&defaults, |cluster| &cluster.spec);
        for pool in &spec.address_pools {
            if let Some(subnet) = self.draw_from(pool, spec.subnet_size) {
                return Ok(IpNet::V4(subnet));
            }
        }
        let total: u64 =
            spec.address_pools
                .iter()
                .map(|pool| {
                    if pool.prefix_len() <= spec.subnet_size {
                        1u64 << (spec.subnet_size - pool.prefix_len())
                    } else {
                        0
                    }
                })
                .sum();
        let pools: Vec<String> = spec.address_pools.iter().map(ToString::to_string).collect();
        let in_pools = |net: &IpNet| spec.address_pools.iter().any(|pool| overlap(&IpNet::V4(*pool), net));
        let used = self.subnets.iter().filter(|(net, _)| in_pools(net)).count();
        Err(format!(
            "no free subnet /{} in the address pools {}: {used} of {total} in use by networks, others cover addresses of hosts",
            spec.subnet_size,
            pools.join(", "),
        ))
    }

    /// Steps over whatever is in the way, so the cost is the number of networks, not of subnets.
    fn draw_from(&self, pool: &Ipv4Net, size: u8) -> Option<Ipv4Net> {
        if size < pool.prefix_len() || size > 30 {
            return None;
        }
        let step = 1u64 << (32 - size);
        let end = u64::from(u32::from(pool.broadcast()));
        let mut at = u64::from(u32::from(pool.network()));
        while at <= end {
            let subnet = Ipv4Net::new(Ipv4Addr::from(u32::try_from(at).ok()?), size).ok()?;
            let net = IpNet::V4(subnet);
            let last_in_the_way =
                self.subnets.iter().filter(|(other, _)| overlap(other, &net)).map(|(o, _)| o.broadcast()).max();
            at = match last_in_the_way {
                Some(IpAddr::V4(last)) => (u64::from(u32::from(last)) / step + 1) * step,
                Some(IpAddr::V6(_)) => return None,
                None if self.hosts.iter().any(|host| net.contains(host)) => at + step,
                None => return Some(subnet),
            };
        }
        None
    }

    /// Starts from the random id of the network, so that the id of a network that was just deleted is
    /// not given to the next one while packets of the old are still on their way.
    fn overlay_id(&self, network: &Network) -> Result<u32, String> {
        let ids = OVERLAY_ID_END - 1;
        let start = u32::try_from(network.id.0 % u128::from(ids)).unwrap_or(0);
        (0..ids)
            .map(|step| (start + step) % ids + 1)
            .find(|id| !self.overlay_ids.contains(id))
            .ok_or_else(|| format!("no free network number: {ids} of {ids} in use"))
    }
}

fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(other) || other.contains(one)
}
