//! The namespace of one task: links, addresses, routes, and the texts of resolv.conf and hosts.

use crate::api::{AttachSpec, Attached};
use crate::error::Result;
use crate::names::{Names, container_link};
use crate::netlink::Netlink;
use crate::netns::Netns;
use crate::network::Network;
use crate::record::{Leg, Record};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::Ipv4Addr;

const MAIN_TABLE: u32 = 254;

/// Makes the namespace of `record` and links it to its networks, which must be built. On failure the
/// caller removes what was made.
pub(crate) async fn wire(names: &Names, record: &Record, networks: &BTreeMap<u32, Network>) -> Result<Netns> {
    let path = names.task_netns(&record.id);
    let place = Netns::create(&path)?;
    place.sysctl(&[
        // There is no IPv6 on these networks; on loopback it stays, programs expect ::1.
        ("ipv6/conf/default/disable_ipv6".into(), "1"),
        // As Docker sets for every container: ports below 1024 and ping need no privilege.
        ("ipv4/ip_unprivileged_port_start".into(), "0"),
        ("ipv4/ping_group_range".into(), "0\t2147483647"),
    ])?;
    let netlink = Netlink::open(&place)?;
    let lo = netlink.link("lo").await?;
    netlink.set_up(&lo, lo.mtu).await?;
    for (index, leg) in record.legs()?.iter().enumerate() {
        let Some(network) = networks.get(&leg.net.overlay_id) else {
            return Err(crate::error::FabricError::UnknownNetwork {
                id: record.id.clone(),
                network: leg.net.name.clone(),
            });
        };
        link(&record.id, index, leg, network, &place, &netlink).await?;
    }
    Ok(place)
}

/// One link: `eth<index>` in the container, all its routes by the gateway, so that the container
/// never asks (ARP) for any other address.
async fn link(id: &str, index: usize, leg: &Leg, network: &Network, place: &Netns, netlink: &Netlink) -> Result<()> {
    let outer = container_link(id, index);
    let inner = format!("eth{index}");
    network.netlink.add_veth(&outer, &inner, &place.open()?, network.mtu).await?;
    let outer = network.netlink.link(&outer).await?;
    network.admit(&outer, leg.addr).await?;
    let inner = netlink.link(&inner).await?;
    netlink.add_address(&inner, leg.addr).await?;
    netlink.set_up(&inner, network.mtu).await?;
    let gateway = leg.net.gateway;
    netlink.route_direct(gateway, 32, &inner, MAIN_TABLE).await?;
    let (subnet, prefix) = (leg.net.subnet.network(), leg.net.subnet.prefix_len());
    netlink.route_via(subnet, prefix, gateway, &inner, Some(leg.addr)).await?;
    if leg.default {
        netlink.route_via(Ipv4Addr::UNSPECIFIED, 0, gateway, &inner, Some(leg.addr)).await?;
    }
    Ok(())
}

/// Removes the routes and the namespace of `record`; what is not there is fine.
///
/// The links are left to the kernel, which removes those of many namespaces at once in the background:
/// one by one each costs tens of milliseconds of waiting. Without their routes they carry nothing.
/// Should a process still hold the namespace, the manager removes them later.
pub(crate) async fn unwire(names: &Names, record: &Record, networks: &BTreeMap<u32, Network>) -> Result<()> {
    for (index, leg) in record.legs()?.iter().enumerate() {
        if let Some(network) = networks.get(&leg.net.overlay_id)
            && let Some(link) = network.netlink.find(&container_link(&record.id, index)).await?
        {
            network.dismiss(&link, leg.addr).await?;
        }
    }
    Netns::remove(&names.task_netns(&record.id))
}

/// What the caller gets for `record`. `host_resolv` is the host's resolv.conf: its search domains
/// count when the task names none (as Docker does).
pub(crate) fn attached(names: &Names, record: &Record, host_resolv: &str) -> Attached {
    Attached {
        netns: names.task_netns(&record.id),
        resolv_conf: resolv_conf(&record.spec, host_resolv),
        hosts: hosts(&record.spec),
    }
}

fn resolv_conf(spec: &AttachSpec, host_resolv: &str) -> String {
    if spec.attachments.is_empty() {
        return "# no network\n".into();
    }
    let mut text = String::from("nameserver 127.0.0.11\n");
    let search = if spec.dns.search.is_empty() {
        let line = host_resolv.lines().rev().find_map(|l| l.trim().strip_prefix("search "));
        line.unwrap_or("").split_whitespace().map(str::to_owned).collect()
    } else {
        // "." alone is the way to say: none at all.
        spec.dns.search.iter().filter(|s| *s != ".").cloned().collect::<Vec<_>>()
    };
    if !search.is_empty() {
        let _ = writeln!(text, "search {}", search.join(" "));
    }
    // Names of services have no dot: without ndots:0 they would be tried under the search domains first.
    let ndots = spec.dns.options.iter().any(|o| o.starts_with("ndots:"));
    let options: Vec<&str> = spec.dns.options.iter().map(String::as_str).chain((!ndots).then_some("ndots:0")).collect();
    let _ = writeln!(text, "options {}", options.join(" "));
    text
}

fn hosts(spec: &AttachSpec) -> String {
    let mut text = String::from(
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n\
         ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n",
    );
    for line in &spec.extra_hosts {
        let mut words = line.split_whitespace();
        if let Some(addr) = words.next() {
            let _ = writeln!(text, "{addr}\t{}", words.collect::<Vec<_>>().join(" "));
        }
    }
    if !spec.hostname.is_empty() {
        for attachment in &spec.attachments {
            let _ = writeln!(text, "{}\t{}", attachment.addr, spec.hostname);
        }
        if spec.attachments.is_empty() {
            let _ = writeln!(text, "127.0.1.1\t{}", spec.hostname);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use swarm_core::NetworkId;
    use swarm_core::model::TaskAttachment;

    fn spec() -> AttachSpec {
        let addr = "10.0.1.5".parse().expect("address");
        AttachSpec {
            attachments: vec![TaskAttachment { network: NetworkId(1), addr, aliases: Vec::new() }],
            hostname: "web1".into(),
            extra_hosts: vec!["192.0.2.9 db  db.example".into()],
            ..AttachSpec::default()
        }
    }

    #[test]
    fn resolv_conf_names_the_resolver_and_the_hosts_search_domains() {
        let host = "nameserver 192.0.2.1\nsearch a.example b.example\n";
        assert_eq!(resolv_conf(&spec(), host), "nameserver 127.0.0.11\nsearch a.example b.example\noptions ndots:0\n");
        let mut own = spec();
        own.dns.search = vec!["c.example".into()];
        own.dns.options = vec!["ndots:2".into()];
        assert_eq!(resolv_conf(&own, host), "nameserver 127.0.0.11\nsearch c.example\noptions ndots:2\n");
        own.dns.search = vec![".".into()];
        assert!(!resolv_conf(&own, host).contains("search"));
    }

    #[test]
    fn hosts_has_the_hostname_and_the_extra_lines() {
        let text = hosts(&spec());
        assert!(text.contains("10.0.1.5\tweb1\n"));
        assert!(text.contains("192.0.2.9\tdb db.example\n"));
    }
}
