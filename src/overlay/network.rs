//! One network on this node: its namespace, tunnel device, uplink to the host and rules.
//!
//! ```text
//! host ---- swXXXXX-nnnnn | up0  namespace of the network  c... | eth0  namespace of a task
//!                                gateway address on lo
//!           shard (fd) ==== ovl0 route: the whole subnet
//! ```
//! Owned by the manager. Everything here may be done again on what is already there.

use crate::api::Net4;
use crate::error::{FabricError, Result};
use crate::names::{Names, TUN, UPLINK, fnv};
use crate::netlink::{Link, Netlink};
use crate::netns::Netns;
use crate::rules::{self, NetworkContent, REPLY_MARK, REPLY_TABLE};
use crate::{forwarding, nft, tun};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

/// Addresses of uplinks, and the host's address on each of them. Link-local (RFC 3927): they mean
/// nothing off this host. The range avoids the addresses clouds and their agents use.
pub(crate) const LINK_POOL: &str = "169.254.192.0/18";
const LINK_POOL_FIRST: u32 = 0xa9fe_c000;
const LINK_POOL_SIZE: u32 = 1 << 14;
/// The host's end of every uplink.
pub(crate) const LINK_HOST: Ipv4Addr = Ipv4Addr::new(169, 254, 192, 1);
const MAIN_TABLE: u32 = 254;

/// A network that is built.
pub(crate) struct Network {
    pub net: Net4,
    pub place: Netns,
    pub netlink: Netlink,
    /// Address of the uplink; `None` for an internal network.
    pub link_addr: Option<Ipv4Addr>,
    /// What the rules hold now; `None` before they were written by this daemon.
    pub content: Option<NetworkContent>,
    /// What the shard knows: addresses and slots.
    pub routes: BTreeMap<Ipv4Addr, u32>,
    pub mtu: u32,
}

/// The host, as networks need it.
pub(crate) struct Host<'a> {
    pub place: &'a Netns,
    pub netlink: &'a Netlink,
    pub names: &'a Names,
}

impl Network {
    /// Builds `net`, or takes over what an earlier daemon built, all but the rules. Also gives the
    /// tunnel's descriptor.
    pub async fn build(host: &Host<'_>, net: Net4, mtu: u32) -> Result<(Self, OwnedFd)> {
        let path = host.names.network_netns(net.overlay_id);
        let place = if Netns::exists(&path) { Netns::At(path) } else { Netns::create(&path)? };
        let setting = |name: &str| format!("ipv4/conf/{name}");
        place.sysctl(&[
            ("ipv6/conf/all/disable_ipv6".into(), "1"),
            ("ipv6/conf/default/disable_ipv6".into(), "1"),
            ("ipv4/ip_forward".into(), "1"),
            // Clients of published ports have routes elsewhere; container links are strict again.
            (setting("all/rp_filter"), "0"),
            (setting("default/rp_filter"), "0"),
            (setting("all/send_redirects"), "0"),
            (setting("default/send_redirects"), "0"),
        ])?;
        let netlink = Netlink::open(&place)?;
        let lo = netlink.link("lo").await?;
        netlink.set_up(&lo, lo.mtu).await?;
        netlink.add_address(&lo, net.gateway).await?;
        let tun = tun::open(&place, TUN)?;
        let mut network = Self { net, place, netlink, link_addr: None, content: None, routes: BTreeMap::new(), mtu: 0 };
        network.set_mtu(mtu).await?;
        let device = network.netlink.link(TUN).await?;
        let (subnet, prefix) = (network.net.subnet.network(), network.net.subnet.prefix_len());
        network.netlink.route_direct(subnet, prefix, &device, MAIN_TABLE).await?;
        if network.net.ingress {
            network.netlink.route_direct(Ipv4Addr::UNSPECIFIED, 0, &device, REPLY_TABLE).await?;
            network.netlink.rule_mark(REPLY_MARK, REPLY_TABLE).await?;
        }
        if network.net.has_way_out() {
            network.link_addr = Some(network.uplink(host).await?);
        }
        Ok((network, tun))
    }

    /// Sets the size of the largest packet, of the tunnel and of what is already attached.
    pub async fn set_mtu(&mut self, mtu: u32) -> Result<()> {
        if self.mtu != mtu {
            let device = self.netlink.link(TUN).await?;
            self.netlink.set_up(&device, mtu).await?;
            self.mtu = mtu;
        }
        Ok(())
    }

    /// Brings the rules to `content`. The first time the whole table is replaced in one step, so that
    /// a restart of the daemon refuses nobody.
    pub fn set_content(&mut self, content: NetworkContent) -> Result<()> {
        let script = match &self.content {
            Some(now) => rules::network_diff(&self.net, now, &content),
            None => {
                let base = rules::network_base(&self.net, self.link_addr);
                base + &rules::network_diff(&self.net, &NetworkContent::default(), &content)
            }
        };
        nft::apply(&self.place, &format!("network {}", self.net.name), &script)?;
        self.content = Some(content);
        Ok(())
    }

    /// The pair of links to the host, its addresses and routes; returns this end's address.
    async fn uplink(&self, host: &Host<'_>) -> Result<Ipv4Addr> {
        let name = host.names.uplink(self.net.overlay_id);
        if self.netlink.find(UPLINK).await?.is_none() {
            // What is left over on the host's side has lost its other end.
            host.netlink.remove(&name).await?;
            // The uplink carries the host's packets, not the tunnel's: the usual size of Ethernet.
            host.netlink.add_veth(&name, UPLINK, &self.place.open()?, 1500).await?;
        }
        let inner = self.netlink.link(UPLINK).await?;
        let outer = host.netlink.link(&name).await?;
        let addr = match self.netlink.address(&inner).await? {
            Some(addr) => addr,
            None => {
                let addr = free_link_address(host, self.net.overlay_id).await?;
                self.netlink.add_address(&inner, addr).await?;
                addr
            }
        };
        self.netlink.set_up(&inner, inner.mtu).await?;
        host.netlink.set_up(&outer, outer.mtu).await?;
        host.netlink.add_address(&outer, LINK_HOST).await?;
        host.netlink.route_direct(addr, 32, &outer, MAIN_TABLE).await?;
        self.netlink.route_direct(LINK_HOST, 32, &inner, MAIN_TABLE).await?;
        self.netlink.route_via(Ipv4Addr::UNSPECIFIED, 0, LINK_HOST, &inner, None).await?;
        forwarding::turn_on(host.place, host.netlink, host.names).await?;
        host.place.sysctl(&[
            // Connections of the host to its own loopback address leave by this link after DNAT.
            // Only this link: what stands behind it is ours and never lets such packets in.
            (format!("ipv4/conf/{name}/route_localnet"), "1"),
            (format!("ipv4/conf/{name}/rp_filter"), "0"),
            (format!("ipv6/conf/{name}/disable_ipv6"), "1"),
        ])?;
        Ok(addr)
    }

    /// The link of a container that was moved to its namespace: set up, and its address routed to it.
    pub async fn admit(&self, link: &Link, addr: Ipv4Addr) -> Result<()> {
        self.netlink.set_up(link, self.mtu).await?;
        // Strict: a task sends from its own address only.
        self.place.sysctl(&[(format!("ipv4/conf/{}/rp_filter", link.name), "1")])?;
        self.netlink.route_direct(addr, 32, link, MAIN_TABLE).await
    }

    /// Nothing more goes to `link`, the link of a container that is going.
    pub async fn dismiss(&self, link: &Link, addr: Ipv4Addr) -> Result<()> {
        self.netlink.unroute(addr, link).await
    }

    /// Removes everything of the network `overlay_id`, built by this daemon or another, but for the
    /// host's end of the uplink.
    pub async fn remove_inside(names: &Names, overlay_id: u32) -> Result<()> {
        let path = names.network_netns(overlay_id);
        if Netns::exists(&path) {
            let netlink = Netlink::open(&Netns::At(path.clone()))?;
            // The device is persistent: unless removed it keeps its namespace alive.
            netlink.remove(TUN).await?;
        }
        Netns::remove(&path)
    }

    /// Removes everything of the network `overlay_id`.
    pub async fn remove(host: &Host<'_>, overlay_id: u32) -> Result<()> {
        host.netlink.remove(&host.names.uplink(overlay_id)).await?;
        Self::remove_inside(host.names, overlay_id).await
    }
}

/// An address of the pool that nothing on the host uses; which one depends on the instance and the
/// network, so that two daemons of a host do not try the same ones at the same time.
async fn free_link_address(host: &Host<'_>, overlay_id: u32) -> Result<Ipv4Addr> {
    let used = host.netlink.host_routes().await?;
    let start = fnv(format!("{}/{overlay_id}", host.names.tag()).as_bytes()) as u32;
    // The first addresses are the pool's own and the host's, the last its broadcast address.
    let usable = LINK_POOL_SIZE - 3;
    (0..usable)
        .map(|i| Ipv4Addr::from(LINK_POOL_FIRST + 2 + start.wrapping_add(i) % usable))
        .find(|addr| !used.contains(addr))
        .ok_or_else(|| FabricError::NoLinkAddress(LINK_POOL.into()))
}
