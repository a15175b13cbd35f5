//! The network between the hosts: a switch in a namespace of its own, a veth to each host and one to
//! the machine. Made over rtnetlink; the machine's own namespace gets one interface and nothing else.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsRawFd as _;
use std::path::Path;

use futures_util::TryStreamExt as _;
use ipnet::Ipv4Net;
use rtnetlink::packet_route::link::{InfoData, InfoVeth};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute};
use rtnetlink::{Handle, LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};

use super::netns;
use super::state::{Cluster, ClusterName, Host};
use super::{DevError, UpArgs};

/// The bridge in the switch's namespace.
const BRIDGE: &str = "br0";
/// A host's interface.
const HOST_LINK: &str = "eth0";
/// The switch's end of the link to the machine.
const MACHINE_PORT: &str = "machine";
/// Where free subnets are looked for: 2048 networks of 256 addresses, rarely used by others.
const POOL: [u8; 2] = [10, 240];
const POOL_NETS: u32 = 2048;

fn port(index: u8) -> String {
    format!("host{index}")
}

fn failed(what: impl Into<String>) -> impl FnOnce(rtnetlink::Error) -> DevError {
    let what = what.into();
    move |source| DevError::Netlink { what, source: Box::new(source) }
}

/// Runs `f` with a netlink connection to a namespace, or to the machine's own.
fn netlink<T: Send, F: Future<Output = Result<T, DevError>>>(
    namespace: Option<&Path>,
    f: impl FnOnce(Handle) -> F + Send,
) -> Result<T, DevError> {
    let work = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(DevError::io("cannot start a runtime"))?;
        runtime.block_on(async {
            let (connection, handle, _) =
                rtnetlink::new_connection().map_err(DevError::io("cannot open a netlink socket"))?;
            let connection = tokio::spawn(connection);
            let result = f(handle).await;
            connection.abort();
            result
        })
    };
    match namespace {
        Some(path) => netns::within(path, work),
        None => netns::on_thread(work),
    }
}

async fn index_of(handle: &Handle, link: &str) -> Result<u32, DevError> {
    let found = handle.link().get().match_name(link.to_owned()).execute().try_next().await;
    let found = found.map_err(failed(format!("interface {link} is not there")))?;
    found.map(|l| l.header.index).ok_or_else(|| DevError::Io {
        what: format!("interface {link} is not there"),
        source: std::io::ErrorKind::NotFound.into(),
    })
}

async fn set_up(handle: &Handle, link: &str) -> Result<(), DevError> {
    let message = LinkUnspec::new_with_index(index_of(handle, link).await?).up().build();
    handle.link().set(message).execute().await.map_err(failed(format!("cannot set {link} up")))
}

async fn give_address(handle: &Handle, link: &str, address: Ipv4Addr, net: Ipv4Net) -> Result<(), DevError> {
    let index = index_of(handle, link).await?;
    let add = handle.address().add(index, IpAddr::V4(address), net.prefix_len());
    add.execute().await.map_err(failed(format!("cannot give {link} the address {address}")))
}

/// A veth pair: `near` in the namespace of `handle`, as a port of its bridge, and `far` in the namespace `fd`.
async fn plug(handle: &Handle, near: &str, far: &str, fd: &fs::File) -> Result<(), DevError> {
    let mut pair = LinkVeth::new(near, far);
    let peer = LinkMessageBuilder::<LinkUnspec>::new().name(far.to_owned()).setns_by_fd(fd.as_raw_fd()).build();
    pair = pair.set_info_data(InfoData::Veth(InfoVeth::Peer(peer)));
    handle.link().add(pair.build()).execute().await.map_err(failed(format!("cannot make the link {near} to {far}")))?;
    let bridge = index_of(handle, BRIDGE).await?;
    let message = LinkUnspec::new_with_index(index_of(handle, near).await?).controller(bridge).up().build();
    handle.link().set(message).execute().await.map_err(failed(format!("cannot plug {near} into the switch")))
}

/// The switch, and the machine's address on it.
pub(super) fn make_switch(cluster: &Cluster) -> Result<(), DevError> {
    let state = &cluster.state;
    let (name, uplink) = (state.name.switch(), state.name.uplink());
    netns::create(&name)?;
    let machine = netns::open(Path::new("/proc/thread-self/ns/net"))?;
    netlink(Some(&netns::path(&name)), async |handle| {
        let bridge = LinkBridge::new(BRIDGE).build();
        handle.link().add(bridge).execute().await.map_err(failed("cannot make the bridge"))?;
        plug(&handle, MACHINE_PORT, &uplink, &machine).await
    })?;
    netlink(None, async |handle| {
        give_address(&handle, &uplink, state.gateway, state.subnet).await?;
        set_up(&handle, &uplink).await
    })?;
    // What comes from the hosts ends at the machine, even where it forwards for others. The setting
    // belongs to the interface and goes with it.
    let forwarding = format!("/proc/sys/net/ipv4/conf/{uplink}/forwarding");
    fs::write(&forwarding, "0").map_err(DevError::io(forwarding.clone()))
}

/// The namespace of a host, its loopback and its link to the switch.
pub(super) fn make_host(cluster: &Cluster, host: &Host) -> Result<(), DevError> {
    netns::create(&host.namespace)?;
    let path = netns::path(&host.namespace);
    let target = netns::open(&path)?;
    netlink(Some(&netns::path(&cluster.state.name.switch())), async |handle| {
        plug(&handle, &port(host.index), HOST_LINK, &target).await
    })?;
    netlink(Some(&path), async |handle| {
        set_up(&handle, "lo").await?;
        give_address(&handle, HOST_LINK, host.address, cluster.state.subnet).await?;
        set_up(&handle, HOST_LINK).await
    })
}

/// Cuts a host off, or mends the cut: its port is taken out of the bridge, so that frames vanish in
/// both directions and neither end sees its cable pulled. Its loopback is untouched.
pub(super) fn set_cut(cluster: &mut Cluster, index: u8, cut: bool) -> Result<(), DevError> {
    if cluster.host(index)?.cut == cut {
        return Ok(());
    }
    // A cut is recorded before it is made, so that `heal` knows of it.
    if cut {
        cluster.host_mut(index)?.cut = true;
        cluster.save()?;
    }
    netlink(Some(&netns::path(&cluster.state.name.switch())), async |handle| {
        let message = LinkUnspec::new_with_index(index_of(&handle, &port(index)).await?);
        let message = if cut { message.nocontroller() } else { message.controller(index_of(&handle, BRIDGE).await?) };
        let done = handle.link().set(message.build()).execute().await;
        done.map_err(failed(format!("host {index}: cannot change its port on the switch")))
    })?;
    if !cut {
        cluster.host_mut(index)?.cut = false;
        cluster.save()?;
    }
    Ok(())
}

/// Removes the machine's end of the switch at once; with its namespace it would go a little later.
pub(super) fn remove_uplink(name: &ClusterName) -> Result<(), DevError> {
    let uplink = name.uplink();
    if !Path::new("/sys/class/net").join(&uplink).exists() {
        return Ok(());
    }
    netlink(None, async |handle| {
        let Ok(index) = index_of(&handle, &uplink).await else { return Ok(()) };
        handle.link().del(index).execute().await.map_err(failed(format!("cannot remove {uplink}")))
    })
}

/// The subnet asked for, checked, or a free one: a network no route of the machine leads to.
pub(super) fn choose_subnet(args: &UpArgs) -> Result<Ipv4Net, DevError> {
    let used = used_networks()?;
    let overlaps =
        |net: &Ipv4Net| used.iter().find(|u| u.contains(&net.network()) || net.contains(&u.network())).copied();
    if let Some(net) = args.subnet {
        let net = net.trunc();
        let refuse = |why: String| Err(DevError::Subnet { subnet: net, why });
        // Network, broadcast, the machine, and the hosts.
        if net.hosts().count() < usize::from(args.nodes) + 1 {
            return refuse(format!("too small for {} hosts and this machine", args.nodes));
        }
        return match overlaps(&net) {
            Some(other) => refuse(format!("this machine has a route to {other} already")),
            None => Ok(net),
        };
    }
    let first = args.name.name.hash() % POOL_NETS;
    (0..POOL_NETS)
        .map(|n| (first + n) % POOL_NETS)
        .filter_map(|n| {
            let [a, b] = POOL;
            let net = u32::from_be_bytes([a, b, 0, 0]) + (n << 8);
            Ipv4Net::new(Ipv4Addr::from(net), 24).ok()
        })
        .find(|net| overlaps(net).is_none())
        .ok_or(DevError::NoSubnet)
}

/// Destinations of the machine's routes, without the default route.
fn used_networks() -> Result<Vec<Ipv4Net>, DevError> {
    netlink(None, async |handle| {
        let routes = handle.route().get(RouteMessageBuilder::<Ipv4Addr>::new().build()).execute();
        let routes: Vec<_> = routes.try_collect().await.map_err(failed("cannot list the routes of this machine"))?;
        Ok(routes
            .iter()
            .filter_map(|route| {
                let address = route.attributes.iter().find_map(|a| match a {
                    RouteAttribute::Destination(RouteAddress::Inet(ip)) => Some(*ip),
                    _ => None,
                })?;
                Ipv4Net::new(address, route.header.destination_prefix_length).ok()
            })
            .filter(|net| net.prefix_len() > 0)
            .collect())
    })
}

/// Whether an interface of that name is on the machine.
pub(super) fn has_uplink(name: &ClusterName) -> bool {
    Path::new("/sys/class/net").join(name.uplink()).exists()
}
