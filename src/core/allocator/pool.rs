//! The addresses of networks: which are held, and which comes next.

use crate::NetworkId;
use crate::model::{Network, NetworkAllocation, NetworkDriver, Service, Task};
use crate::store::View;
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

fn number(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(addr) => u128::from(u32::from(addr)),
        IpAddr::V6(addr) => u128::from(addr),
    }
}

/// How often each is there: what is given back by one may be held by another.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Bag<T>(BTreeMap<T, u32>);

impl<T> Default for Bag<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T: Ord> Bag<T> {
    fn put(&mut self, value: T) {
        *self.0.entry(value).or_default() += 1;
    }

    fn take(&mut self, value: &T) {
        if let Some(count) = self.0.get_mut(value) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(value);
            }
        }
    }
}

/// What is held of one network, whatever its subnet is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Held {
    /// By virtual addresses of services, and by tasks that have not ended.
    addresses: Bag<u128>,
    /// All that was given to what is there still, with when that was made: the last one is the last given.
    given: Bag<(u64, u128)>,
}

/// What is held of all networks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pools {
    held: BTreeMap<NetworkId, Held>,
}

impl Pools {
    pub fn hold_service(&mut self, service: &Service) {
        for vip in &service.endpoint.vips {
            let held = self.held.entry(vip.network).or_default();
            held.addresses.put(number(vip.addr));
            held.given.put((service.meta.created.index, number(vip.addr)));
        }
    }

    /// Undoes `hold_service` of the same.
    pub fn release_service(&mut self, service: &Service) {
        for vip in &service.endpoint.vips {
            self.release(vip.network, vip.addr, service.meta.created.index, true);
        }
    }

    pub fn hold_task(&mut self, task: &Task) {
        for attachment in &task.attachments {
            let held = self.held.entry(attachment.network).or_default();
            held.given.put((task.meta.created.index, number(attachment.addr)));
            if !task.status.state.is_terminal() {
                held.addresses.put(number(attachment.addr));
            }
        }
    }

    /// Undoes `hold_task` of the same.
    pub fn release_task(&mut self, task: &Task) {
        for attachment in &task.attachments {
            let holds = !task.status.state.is_terminal();
            self.release(attachment.network, attachment.addr, task.meta.created.index, holds);
        }
    }

    fn release(&mut self, network: NetworkId, addr: IpAddr, made: u64, holds: bool) {
        let Some(held) = self.held.get_mut(&network) else { return };
        held.given.take(&(made, number(addr)));
        if holds {
            held.addresses.take(&number(addr));
        }
        if held.given.0.is_empty() {
            self.held.remove(&network);
        }
    }
}

/// Addresses of one network as they are given out.
struct Pool<'a> {
    name: &'a str,
    first: u128,
    last: u128,
    v6: bool,
    held: Option<&'a Held>,
    /// Not for use at all: subnet, broadcast, gateway.
    reserved: BTreeSet<u128>,
    /// Given out here, and not in the snapshot yet.
    taken: BTreeSet<u128>,
    /// The address given out last: the next one comes after it, so that one just given back rests
    /// while others still remember its old holder.
    cursor: Option<(u64, u128)>,
    /// It was found full, and nothing was given back since.
    is_full: bool,
}

impl<'a> Pool<'a> {
    fn new(network: &'a Network, allocation: &NetworkAllocation, held: Option<&'a Held>) -> Self {
        let range = network.spec.ipam.first().and_then(|ipam| ipam.range);
        let net = range.filter(|range| allocation.subnet.contains(range)).unwrap_or(allocation.subnet);
        let (first, last) = (number(net.network()), number(net.broadcast()));
        // The first and last address of the subnet mean the subnet itself.
        let reserved = [allocation.subnet.network(), allocation.subnet.broadcast(), allocation.gateway];
        let reserved = reserved.into_iter().map(number).filter(|n| (first..=last).contains(n)).collect();
        let cursor = held.and_then(|held| held.given.0.keys().next_back()).copied();
        let (name, v6) = (network.spec.name.as_str(), matches!(net, IpNet::V6(_)));
        Self { name, first, last, v6, held, reserved, taken: BTreeSet::new(), cursor, is_full: false }
    }

    fn is_free(&self, number: u128) -> bool {
        !self.reserved.contains(&number)
            && !self.taken.contains(&number)
            && self.held.is_none_or(|held| !held.addresses.0.contains_key(&number))
    }

    fn take(&mut self) -> Result<IpAddr, String> {
        let start = match self.cursor {
            Some((_, last)) if (self.first..self.last).contains(&last) => last + 1,
            Some(_) | None => self.first,
        };
        let mut order = (start..=self.last).chain(self.first..start);
        let free = if self.is_full { None } else { order.find(|number| self.is_free(*number)) };
        let Some(free) = free else {
            self.is_full = true;
            return Err(self.full());
        };
        self.taken.insert(free);
        self.cursor = Some((u64::MAX, free));
        Ok(match self.v6 {
            true => IpAddr::V6(Ipv6Addr::from(free)),
            false => IpAddr::V4(Ipv4Addr::from(u32::try_from(free).unwrap_or(u32::MAX))),
        })
    }

    fn full(&self) -> String {
        let size = (self.last - self.first + 1).saturating_sub(self.reserved.len() as u128);
        let range = self.first..=self.last;
        let held = self.held.into_iter().flat_map(|held| held.addresses.0.range(range.clone()));
        let used = held.filter(|(number, _)| !self.reserved.contains(number)).count() + self.taken.len();
        format!("network \"{}\" is full: {used} of {size} addresses in use", self.name)
    }
}

/// Gives out addresses on one snapshot; what it gave it does not give again.
pub(super) struct Draw<'a> {
    view: &'a View,
    held: &'a Pools,
    pools: BTreeMap<NetworkId, Pool<'a>>,
}

impl<'a> Draw<'a> {
    pub fn of(view: &'a View, held: &'a Pools) -> Self {
        Self { view, held, pools: BTreeMap::new() }
    }

    /// The next address of a network; fails with the words for whoever waits.
    pub fn take(&mut self, id: NetworkId) -> Result<IpAddr, String> {
        if let Some(pool) = self.pools.get_mut(&id) {
            return pool.take();
        }
        let ready = self.view.network(id).and_then(|network| Some((network, network.allocation.as_ref()?)));
        let Some((network, allocation)) = ready else { return Err(not_ready(self.view, id)) };
        let pool = Pool::new(network, allocation, self.held.held.get(&id));
        self.pools.entry(id).or_insert(pool).take()
    }

    /// Gives an address back that was taken here and is not used after all.
    pub fn give_back(&mut self, network: NetworkId, addr: IpAddr) {
        if let Some(pool) = self.pools.get_mut(&network) {
            pool.taken.remove(&number(addr));
            pool.is_full = false;
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
