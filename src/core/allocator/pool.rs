//! The addresses of a network: which are held, and which comes next.

use crate::NetworkId;
use crate::model::{NetworkAllocation, NetworkDriver};
use crate::store::View;
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Addresses of one network.
#[derive(Debug)]
pub(super) struct AddressPool {
    name: String,
    first: u128,
    last: u128,
    v6: bool,
    held: BTreeSet<u128>,
    /// How many of `held` are not for use at all: subnet, broadcast, gateway.
    reserved: usize,
    /// The address given out last: the next one comes after it, so that one just given back rests
    /// while others still remember its old holder.
    cursor: Option<(u64, u128)>,
}

fn number(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(addr) => u128::from(u32::from(addr)),
        IpAddr::V6(addr) => u128::from(addr),
    }
}

impl AddressPool {
    fn new(name: &str, allocation: &NetworkAllocation, range: Option<IpNet>) -> Self {
        let net = range.filter(|range| allocation.subnet.contains(range)).unwrap_or(allocation.subnet);
        let (network, broadcast) = (number(allocation.subnet.network()), number(allocation.subnet.broadcast()));
        let mut pool = Self {
            name: name.to_owned(),
            first: number(net.network()),
            last: number(net.broadcast()),
            v6: matches!(net, IpNet::V6(_)),
            held: BTreeSet::new(),
            reserved: 0,
            cursor: None,
        };
        // The first and last address of the subnet mean the subnet itself.
        pool.hold_number(network);
        pool.hold_number(broadcast);
        pool.hold(allocation.gateway);
        pool.reserved = pool.held.len();
        pool
    }

    fn hold_number(&mut self, number: u128) {
        if (self.first..=self.last).contains(&number) {
            self.held.insert(number);
        }
    }

    fn hold(&mut self, addr: IpAddr) {
        self.hold_number(number(addr));
    }

    fn given(&mut self, index: u64, addr: IpAddr) {
        let given = (index, number(addr));
        if self.cursor.is_none_or(|cursor| cursor < given) {
            self.cursor = Some(given);
        }
    }

    /// Takes the next free address, or says how full the network is.
    pub fn take(&mut self) -> Result<IpAddr, String> {
        let start = match self.cursor {
            Some((_, last)) if (self.first..self.last).contains(&last) => last + 1,
            Some(_) | None => self.first,
        };
        let free = (start..=self.last).chain(self.first..start).find(|n| !self.held.contains(n));
        let Some(free) = free else {
            let size = (self.last - self.first + 1).saturating_sub(self.reserved as u128);
            let used = self.held.len().saturating_sub(self.reserved);
            return Err(format!("network \"{}\" is full: {used} of {size} addresses in use", self.name));
        };
        self.held.insert(free);
        self.cursor = Some((u64::MAX, free));
        Ok(match self.v6 {
            true => IpAddr::V6(Ipv6Addr::from(free)),
            false => IpAddr::V4(Ipv4Addr::from(u32::try_from(free).unwrap_or(u32::MAX))),
        })
    }
}

/// The pools of all allocated networks, built from one snapshot.
pub(super) struct Pools {
    pools: BTreeMap<NetworkId, AddressPool>,
}

impl Pools {
    /// Held are gateways, virtual addresses of services, and addresses of tasks that have not ended.
    pub fn of(view: &View) -> Self {
        let mut pools = BTreeMap::new();
        for network in view.networks() {
            if let Some(allocation) = &network.allocation {
                let range = network.spec.ipam.first().and_then(|ipam| ipam.range);
                pools.insert(network.id, AddressPool::new(&network.spec.name, allocation, range));
            }
        }
        for service in view.services() {
            for vip in &service.endpoint.vips {
                if let Some(pool) = pools.get_mut(&vip.network) {
                    pool.hold(vip.addr);
                    pool.given(service.meta.created.index, vip.addr);
                }
            }
        }
        for task in view.tasks() {
            for attachment in &task.attachments {
                if let Some(pool) = pools.get_mut(&attachment.network) {
                    pool.given(task.meta.created.index, attachment.addr);
                    if !task.status.state.is_terminal() {
                        pool.hold(attachment.addr);
                    }
                }
            }
        }
        Self { pools }
    }

    /// The next address of a network; fails with the words for whoever waits.
    pub fn take(&mut self, view: &View, network: NetworkId) -> Result<IpAddr, String> {
        match self.pools.get_mut(&network) {
            Some(pool) => pool.take(),
            None => Err(not_ready(view, network)),
        }
    }

    /// Gives an address back that was taken here and is not used after all.
    pub fn give_back(&mut self, network: NetworkId, addr: IpAddr) {
        if let Some(pool) = self.pools.get_mut(&network) {
            pool.held.remove(&number(addr));
        }
    }
}

/// Why nothing can be had from a network yet.
pub(super) fn not_ready(view: &View, network: NetworkId) -> String {
    match view.network(network) {
        None => format!("network {network} does not exist"),
        Some(network) if network.pending_reason.is_empty() => {
            format!("network \"{}\" has no subnet yet", network.spec.name)
        }
        Some(network) => format!("network \"{}\" has no subnet: {}", network.spec.name, network.pending_reason),
    }
}

/// Whether tasks have an address on the network: not on the host's own and not on none.
pub(super) fn has_addresses(view: &View, network: NetworkId) -> bool {
    view.network(network).is_none_or(|network| match network.spec.driver {
        NetworkDriver::Overlay => true,
        NetworkDriver::Host | NetworkDriver::None => false,
    })
}
