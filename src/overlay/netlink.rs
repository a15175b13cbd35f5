//! The few rtnetlink requests the fabric needs, idempotent: what exists already is no error.
//!
//! A netlink socket belongs for ever to the namespace it was opened in, so one `Netlink` per
//! namespace is opened by a short thread and used from the fabric's own.

use crate::error::{FabricError, Result};
use crate::netns::Netns;
use futures_util::TryStreamExt;
use rtnetlink::packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkInfo};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteScope, RouteType};
use rtnetlink::packet_route::rule::RuleAction;
use rtnetlink::{Error, Handle, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};
use std::collections::BTreeSet;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;

/// A link as the kernel shows it.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub index: u32,
    pub name: String,
    pub mtu: u32,
    pub bridge: bool,
}

/// Requests to one namespace.
#[derive(Debug)]
pub(crate) struct Netlink {
    handle: Handle,
    place: String,
}

fn errno(error: &Error) -> i32 {
    match error {
        Error::NetlinkError(message) => -message.raw_code(),
        _ => 0,
    }
}

/// `result`, with the errnos of `fine` as success.
fn unless(result: Result<(), Error>, fine: &[i32], what: impl FnOnce() -> String) -> Result<()> {
    match result {
        Err(e) if fine.contains(&errno(&e)) => Ok(()),
        other => other.map_err(|source| FabricError::Netlink { what: what(), source }),
    }
}

impl Netlink {
    /// Opens a socket in `place`. Must be called inside a tokio runtime, which drives the socket.
    pub fn open(place: &Netns) -> Result<Self> {
        let runtime = tokio::runtime::Handle::current();
        let (connection, handle, _) = place
            .enter(|| {
                let _guard = runtime.enter();
                rtnetlink::new_connection()
            })?
            .map_err(|source| FabricError::Socket { what: "open a netlink socket".into(), source })?;
        runtime.spawn(connection);
        Ok(Self { handle, place: format!("{place:?}") })
    }

    fn link_of(message: &rtnetlink::packet_route::link::LinkMessage) -> Link {
        let mut link = Link { index: message.header.index, name: String::new(), mtu: 0, bridge: false };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
                LinkAttribute::LinkInfo(info) => {
                    link.bridge = info.iter().any(|i| matches!(i, LinkInfo::Kind(InfoKind::Bridge)));
                }
                _ => {}
            }
        }
        link
    }

    /// All links of the namespace.
    pub async fn links(&self) -> Result<Vec<Link>> {
        let wrap = |source| FabricError::Netlink { what: format!("list the links of {}", self.place), source };
        self.handle.link().get().execute().map_ok(|m| Self::link_of(&m)).try_collect().await.map_err(wrap)
    }

    /// The link `name`, if there.
    pub async fn find(&self, name: &str) -> Result<Option<Link>> {
        match self.handle.link().get().match_name(name.into()).execute().try_next().await {
            Ok(found) => Ok(found.map(|m| Self::link_of(&m))),
            Err(e) if errno(&e) == libc::ENODEV => Ok(None),
            Err(source) => Err(FabricError::Netlink { what: format!("look up link {name}"), source }),
        }
    }

    /// The link `name`, which must be there.
    pub async fn link(&self, name: &str) -> Result<Link> {
        self.find(name).await?.ok_or_else(|| FabricError::NoLink { name: name.into(), place: self.place.clone() })
    }

    /// Makes a pair of links: `name` here, `peer` in `peer_place`.
    pub async fn add_veth(&self, name: &str, peer: &str, peer_place: &File, mtu: u32) -> Result<()> {
        let mut other = LinkMessageBuilder::<LinkUnspec>::new().name(peer.into()).mtu(mtu).build();
        other.attributes.push(LinkAttribute::NetNsFd(peer_place.as_raw_fd()));
        let message = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
            .name(name.into())
            .mtu(mtu)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(other)))
            .build();
        unless(self.handle.link().add(message).execute().await, &[], || format!("make the link {name}"))
    }

    /// Sets `link` up, with `mtu` bytes.
    pub async fn set_up(&self, link: &Link, mtu: u32) -> Result<()> {
        let message = LinkUnspec::new_with_index(link.index).mtu(mtu).up().build();
        unless(self.handle.link().set(message).execute().await, &[], || format!("set the link {} up", link.name))
    }

    /// Removes the link `name`; none is fine.
    pub async fn remove(&self, name: &str) -> Result<()> {
        let Some(link) = self.find(name).await? else { return Ok(()) };
        unless(self.handle.link().del(link.index).execute().await, &[libc::ENODEV], || {
            format!("remove the link {name}")
        })
    }

    /// Gives `link` the address `addr`/32.
    pub async fn add_address(&self, link: &Link, addr: Ipv4Addr) -> Result<()> {
        unless(self.handle.address().add(link.index, IpAddr::V4(addr), 32).execute().await, &[libc::EEXIST], || {
            format!("give {} the address {addr}", link.name)
        })
    }

    /// The first IPv4 address of `link`.
    pub async fn address(&self, link: &Link) -> Result<Option<Ipv4Addr>> {
        use rtnetlink::packet_route::address::AddressAttribute;
        let wrap = |source| FabricError::Netlink { what: format!("list the addresses of {}", link.name), source };
        let found: Vec<_> = self
            .handle
            .address()
            .get()
            .set_link_index_filter(link.index)
            .execute()
            .try_collect()
            .await
            .map_err(wrap)?;
        Ok(found.iter().flat_map(|m| &m.attributes).find_map(|a| match a {
            AddressAttribute::Local(IpAddr::V4(addr)) => Some(*addr),
            _ => None,
        }))
    }

    async fn put_route(&self, route: RouteMessage, what: impl FnOnce() -> String) -> Result<()> {
        unless(self.handle.route().add(route).replace().execute().await, &[], what)
    }

    /// `dst`/`prefix` is on `link`, reached directly.
    pub async fn route_direct(&self, dst: Ipv4Addr, prefix: u8, link: &Link, table: u32) -> Result<()> {
        let route = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(dst, prefix)
            .output_interface(link.index)
            .scope(RouteScope::Link)
            .table_id(table)
            .build();
        self.put_route(route, || format!("route {dst}/{prefix} to {}", link.name)).await
    }

    /// `dst`/`prefix` is behind `gateway`, a neighbour on `link`.
    pub async fn route_via(
        &self,
        dst: Ipv4Addr,
        prefix: u8,
        gateway: Ipv4Addr,
        link: &Link,
        source: Option<Ipv4Addr>,
    ) -> Result<()> {
        let mut route = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(dst, prefix)
            .gateway(gateway)
            .output_interface(link.index)
            .onlink();
        if let Some(source) = source {
            route = route.pref_source(source);
        }
        self.put_route(route.build(), || format!("route {dst}/{prefix} by {gateway}")).await
    }

    /// Removes the route to `dst`/32 on `link`; none is fine.
    pub async fn unroute(&self, dst: Ipv4Addr, link: &Link) -> Result<()> {
        let route = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(dst, 32)
            .output_interface(link.index)
            .scope(RouteScope::Link)
            .build();
        unless(self.handle.route().del(route).execute().await, &[libc::ESRCH, libc::ENODEV], || {
            format!("remove the route to {dst}")
        })
    }

    /// Packets with `mark` are routed by `table`.
    pub async fn rule_mark(&self, mark: u32, table: u32) -> Result<()> {
        unless(
            self.handle
                .rule()
                .add()
                .v4()
                .fw_mark(mark)
                .table_id(table)
                .priority(100)
                .action(RuleAction::ToTable)
                .execute()
                .await,
            &[libc::EEXIST],
            || format!("route mark {mark} by table {table}"),
        )
    }

    /// All IPv4 addresses with a /32 route of their own in the main table, or that are local.
    pub async fn host_routes(&self) -> Result<BTreeSet<Ipv4Addr>> {
        let wrap = |source| FabricError::Netlink { what: format!("list the routes of {}", self.place), source };
        let all: Vec<RouteMessage> = self
            .handle
            .route()
            .get(RouteMessageBuilder::<Ipv4Addr>::new().build())
            .execute()
            .try_collect()
            .await
            .map_err(wrap)?;
        Ok(all
            .iter()
            .filter(|m| m.header.destination_prefix_length == 32 && m.header.kind != RouteType::Broadcast)
            .flat_map(|m| &m.attributes)
            .filter_map(|a| match a {
                RouteAttribute::Destination(RouteAddress::Inet(addr)) => Some(*addr),
                _ => None,
            })
            .collect())
    }

    /// Bytes that fit the first link on the way to `dst`; `None` when there is no way.
    pub async fn mtu_towards(&self, dst: IpAddr) -> Result<Option<u32>> {
        let request = match dst {
            IpAddr::V4(a) => RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(a, 32).build(),
            IpAddr::V6(a) => RouteMessageBuilder::<Ipv6Addr>::new().destination_prefix(a, 128).build(),
        };
        let Ok(Some(route)) = self.handle.route().get(request).execute().try_next().await else {
            return Ok(None);
        };
        let Some(index) = route.attributes.iter().find_map(|a| match a {
            RouteAttribute::Oif(index) => Some(*index),
            _ => None,
        }) else {
            return Ok(None);
        };
        let wrap = |source| FabricError::Netlink { what: format!("look up link {index}"), source };
        let link = self.handle.link().get().match_index(index).execute().try_next().await.map_err(wrap)?;
        Ok(link.map(|m| Self::link_of(&m).mtu))
    }
}
