//! Rule sets as text for `nft`: what each network's namespace and the host's contain, and the least
//! change from one content to the next. Pure.
//!
//! Per network, table `overlay`:
//! - `services`: virtual address -> chain that picks a receiving task in turn (numgen). A service
//!   without any leads to the gateway, where nothing listens: the client is refused at once.
//! - `published` (ingress): port of the uplink -> chain that picks a task. The client's address stays. A counter of the
//!   chain's name counts new connections, for as long as the port is published.
//! - `host_ports`: port of the uplink -> one task.
//! - `hairpin`: tasks here that may be picked for their own connection; they see the gateway then.
//! - replies of tasks to clients that came in by another node are marked and routed into the tunnel.
//!
//! On the host, table `swarm_<tag>`: ports of the host -> ports of the uplinks; the tasks' way out;
//! nothing else goes to an uplink.

use crate::api::Net4;
use crate::names::{NETWORK_TABLE, TUN, UPLINK};
use crate::plan::{Backends, HostPort, LinkPort, NetworkPlan};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::Ipv4Addr;

/// Mark, and routing table, of replies that go back through the tunnel.
pub(crate) const REPLY_MARK: u32 = 1;
pub(crate) const REPLY_TABLE: u32 = 100;

/// Adds a line. Writing to a string cannot fail.
macro_rules! line {
    ($out:expr, $($arg:tt)*) => {{ let _ = writeln!($out, $($arg)*); }};
}

/// The changing content of a network's table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NetworkContent {
    services: BTreeMap<Ipv4Addr, Backends>,
    pub published: BTreeMap<LinkPort, Backends>,
    pub host_ports: BTreeMap<LinkPort, (Ipv4Addr, u16)>,
    hairpin: BTreeSet<Ipv4Addr>,
}

impl NetworkContent {
    pub fn new(plan: &NetworkPlan) -> Self {
        Self {
            services: plan.services.clone(),
            published: plan.published.clone(),
            host_ports: plan.host_ports.clone(),
            hairpin: plan.local.clone(),
        }
    }

    /// Whether a service or port without tasks gets some in `new`: until now its clients were sent to
    /// the gateway, and those of UDP would be for as long as they keep sending.
    pub fn refuses_less_in(&self, new: &Self) -> bool {
        fn empty<K: Ord>(old: &BTreeMap<K, Backends>, new: &BTreeMap<K, Backends>) -> bool {
            old.iter().any(|(k, b)| b.addrs.is_empty() && new.get(k).is_some_and(|n| !n.addrs.is_empty()))
        }
        empty(&self.services, &new.services) || empty(&self.published, &new.published)
    }
}

/// The table of `net`, without content; replaces one that is there.
pub(crate) fn network_base(net: &Net4, link_addr: Option<Ipv4Addr>) -> String {
    let (subnet, gateway) = (net.subnet, net.gateway);
    let mut s = String::new();
    s += &no_table(NETWORK_TABLE);
    line!(s, "table ip {NETWORK_TABLE} {{");
    line!(s, "map services {{ type ipv4_addr : verdict; }}");
    line!(s, "map published {{ type inet_proto . inet_service : verdict; }}");
    line!(s, "map host_ports {{ type inet_proto . inet_service : ipv4_addr . inet_service; }}");
    line!(s, "set hairpin {{ type ipv4_addr . ipv4_addr; }}");
    line!(s, "chain prerouting {{\ntype nat hook prerouting priority dstnat; policy accept;");
    if let Some(addr) = link_addr {
        line!(s, "iifname {UPLINK} ip daddr {addr} meta l4proto . th dport vmap @published");
        line!(s, "iifname {UPLINK} ip daddr {addr} dnat ip to meta l4proto . th dport map @host_ports");
    }
    line!(s, "iifname != {TUN} ip daddr vmap @services\n}}");
    line!(s, "chain postrouting {{\ntype nat hook postrouting priority srcnat; policy accept;");
    line!(s, "ip saddr . ip daddr @hairpin snat to {gateway}");
    if link_addr.is_some() {
        line!(s, "oifname {UPLINK} ip saddr {subnet} masquerade");
    }
    line!(s, "}}");
    line!(s, "chain forward {{\ntype filter hook forward priority filter; policy accept;");
    line!(s, "ct state established,related accept");
    line!(s, "iifname {TUN} oifname {{ {TUN}, {UPLINK} }} drop");
    line!(s, "iifname {UPLINK} ct status dnat accept\niifname {UPLINK} drop");
    if net.ingress {
        // Tasks of unrelated services: they reach the outside and published ports, not each other.
        line!(s, "iifname != {TUN} oifname != {UPLINK} ct status dnat accept");
        line!(s, "iifname != {TUN} oifname != {UPLINK} drop");
    }
    line!(s, "}}");
    if net.ingress {
        line!(s, "chain replies {{\ntype filter hook prerouting priority mangle; policy accept;");
        line!(s, "iifname {TUN} ip saddr != {subnet} ct mark set {REPLY_MARK}");
        line!(s, "iifname != {TUN} ct direction reply ct mark {REPLY_MARK} meta mark set {REPLY_MARK}\n}}");
    }
    line!(s, "}}");
    s
}

fn service_chain(vip: Ipv4Addr) -> String {
    let [a, b, c, d] = vip.octets();
    format!("s_{a}_{b}_{c}_{d}")
}

/// Also the name of the port's counter.
pub(crate) fn published_chain((transport, port): LinkPort) -> String {
    format!("p_{}_{port}", transport.as_str())
}

/// The rules of a chain that picks one of `backends`.
fn pick(s: &mut String, chain: &str, backends: &Backends, gateway: Ipv4Addr, transport: Option<&str>) {
    let rule = format!("add rule ip {NETWORK_TABLE} {chain}");
    if transport.is_none() {
        line!(s, "{rule} icmp type echo-request dnat to {gateway}");
    }
    if transport.is_some() {
        // NAT chains see the first packet of a connection only.
        line!(s, "{rule} counter name {chain}");
    }
    let only = transport.map_or(String::new(), |t| format!("meta l4proto {t} "));
    let port = match (backends.port, transport) {
        (Some(port), Some(_)) => format!(":{port}"),
        (Some(_), None) | (None, _) => String::new(),
    };
    match backends.addrs.as_slice() {
        [] => line!(s, "{rule} {only}dnat to {gateway}"),
        [one] => line!(s, "{rule} {only}dnat to {one}{port}"),
        many => {
            let map: Vec<String> = many.iter().enumerate().map(|(i, a)| format!("{i} : {a}")).collect();
            line!(s, "{rule} {only}dnat to numgen inc mod {} map {{ {} }}{port}", many.len(), map.join(", "));
        }
    }
}

/// Writes the change of a map of chains from `old` to `new`.
fn diff_chains<K: Ord + Copy>(
    s: &mut String,
    map: &str,
    old: &BTreeMap<K, Backends>,
    new: &BTreeMap<K, Backends>,
    name: impl Fn(K) -> String,
    key: impl Fn(K) -> String,
    fill: impl Fn(&mut String, &str, K, &Backends),
) {
    for gone in old.keys().filter(|k| !new.contains_key(k)) {
        let chain = name(*gone);
        line!(s, "delete element ip {NETWORK_TABLE} {map} {{ {} }}", key(*gone));
        line!(s, "flush chain ip {NETWORK_TABLE} {chain}\ndelete chain ip {NETWORK_TABLE} {chain}");
    }
    for (at, backends) in new {
        let chain = name(*at);
        match old.get(at) {
            Some(now) if now == backends => continue,
            Some(_) => line!(s, "flush chain ip {NETWORK_TABLE} {chain}"),
            None => line!(s, "add chain ip {NETWORK_TABLE} {chain}"),
        }
        fill(s, &chain, *at, backends);
        if !old.contains_key(at) {
            line!(s, "add element ip {NETWORK_TABLE} {map} {{ {} : goto {chain} }}", key(*at));
        }
    }
}

/// The change of a network's table from `old` to `new`; empty when there is none.
pub(crate) fn network_diff(net: &Net4, old: &NetworkContent, new: &NetworkContent) -> String {
    let mut s = String::new();
    let gateway = net.gateway;
    diff_chains(
        &mut s,
        "services",
        &old.services,
        &new.services,
        service_chain,
        |vip| vip.to_string(),
        |s, chain, _, backends| pick(s, chain, backends, gateway, None),
    );
    for port in new.published.keys().filter(|port| !old.published.contains_key(port)) {
        line!(s, "add counter ip {NETWORK_TABLE} {}", published_chain(*port));
    }
    diff_chains(
        &mut s,
        "published",
        &old.published,
        &new.published,
        published_chain,
        |(transport, port)| format!("{} . {port}", transport.as_str()),
        |s, chain, (transport, _), backends| pick(s, chain, backends, gateway, Some(transport.as_str())),
    );
    for port in old.published.keys().filter(|port| !new.published.contains_key(port)) {
        line!(s, "delete counter ip {NETWORK_TABLE} {}", published_chain(*port));
    }
    let element = |(transport, port): &LinkPort| format!("{} . {port}", transport.as_str());
    diff_elements(&mut s, NETWORK_TABLE, "host_ports", &old.host_ports, &new.host_ports, element, |(addr, port)| {
        format!(" : {addr} . {port}")
    });
    diff_set(&mut s, NETWORK_TABLE, "hairpin", &old.hairpin, &new.hairpin, |a| format!("{a} . {a}"));
    s
}

/// Writes the change of a plain map or set from `old` to `new`.
fn diff_elements<K: Ord, V: PartialEq>(
    s: &mut String,
    table: &str,
    map: &str,
    old: &BTreeMap<K, V>,
    new: &BTreeMap<K, V>,
    key: impl Fn(&K) -> String,
    value: impl Fn(&V) -> String,
) {
    let gone: Vec<String> = old.iter().filter(|(k, v)| new.get(k) != Some(v)).map(|(k, _)| key(k)).collect();
    let come: Vec<String> =
        new.iter().filter(|(k, v)| old.get(k) != Some(v)).map(|(k, v)| format!("{}{}", key(k), value(v))).collect();
    if !gone.is_empty() {
        line!(s, "delete element ip {table} {map} {{ {} }}", gone.join(", "));
    }
    if !come.is_empty() {
        line!(s, "add element ip {table} {map} {{ {} }}", come.join(", "));
    }
}

/// The same for a set.
fn diff_set<K: Ord>(
    s: &mut String,
    table: &str,
    set: &str,
    old: &BTreeSet<K>,
    new: &BTreeSet<K>,
    key: impl Fn(&K) -> String,
) {
    let [old, new] = [old, new].map(|set| set.iter().map(|k| (k, ())).collect::<BTreeMap<_, _>>());
    diff_elements(s, table, set, &old, &new, |k| key(k), |()| String::new());
}

/// The changing content of the host's table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct HostContent {
    /// Ports of the host to addresses and ports of uplinks.
    pub ports: BTreeMap<HostPort, (Ipv4Addr, u16)>,
    /// Addresses of all uplinks.
    pub links: BTreeSet<Ipv4Addr>,
    /// Links of the host that nothing passes between.
    pub apart: BTreeSet<String>,
}

/// The host's table, without content; replaces one that is there. `own` is the address tasks see for
/// clients on this host, whose own addresses (loopback, uplinks) mean nothing on another node.
pub(crate) fn host_base(table: &str, link_prefix: &str, own: Option<Ipv4Addr>) -> String {
    let mut s = String::new();
    s += &no_table(table);
    line!(s, "table ip {table} {{");
    line!(s, "map ports {{ type inet_proto . inet_service : ipv4_addr . inet_service; }}");
    line!(s, "map ports_at {{ type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }}");
    line!(s, "set links {{ type ipv4_addr; }}");
    line!(s, "set apart {{ type ifname; }}");
    line!(s, "chain publish {{");
    line!(s, "dnat ip to ip daddr . meta l4proto . th dport map @ports_at");
    line!(s, "dnat ip to meta l4proto . th dport map @ports\n}}");
    // Just before the usual priorities of NAT (-100 and 100): ports are reserved, so nobody else's rule
    // for the same port can be meant.
    line!(s, "chain prerouting {{\ntype nat hook prerouting priority -105; policy accept;");
    line!(s, "fib daddr type local jump publish\n}}");
    line!(s, "chain output {{\ntype nat hook output priority -105; policy accept;");
    line!(s, "fib daddr type local jump publish\n}}");
    line!(s, "chain postrouting {{\ntype nat hook postrouting priority 95; policy accept;");
    let source = own.map_or_else(|| "masquerade".to_owned(), |own| format!("snat to {own}"));
    line!(s, "oifname \"{link_prefix}*\" ip saddr 127.0.0.0/8 {source}");
    line!(s, "oifname \"{link_prefix}*\" ip saddr @links {source}");
    line!(s, "oifname != \"{link_prefix}*\" ip saddr @links masquerade\n}}");
    // What goes to a network was sent to a port of the host or answers a task. An uplink's own address,
    // which neighbours and tasks of other networks can send to, would get around where a port is bound.
    line!(s, "chain forward {{\ntype filter hook forward priority filter; policy accept;");
    line!(s, "oifname \"{link_prefix}*\" ct state established,related accept");
    line!(s, "oifname \"{link_prefix}*\" ct status dnat accept");
    line!(s, "oifname \"{link_prefix}*\" drop");
    // But for what another's rules send that way, which they mean to pass.
    line!(s, "iifname @apart oifname @apart ct state established,related accept");
    line!(s, "iifname @apart oifname @apart ct status dnat accept");
    line!(s, "iifname @apart oifname @apart drop\n}}");
    line!(s, "}}");
    s
}

/// Removes `table`, there or not.
pub(crate) fn no_table(table: &str) -> String {
    format!("add table ip {table}\ndelete table ip {table}\n")
}

/// The change of the host's table from `old` to `new`; empty when there is none.
pub(crate) fn host_diff(table: &str, old: &HostContent, new: &HostContent) -> String {
    type Target = (Ipv4Addr, u16);
    let mut s = String::new();
    let part = |content: &HostContent, at: bool| -> BTreeMap<HostPort, Target> {
        content.ports.iter().filter(|((ip, ..), _)| ip.is_some() == at).map(|(k, v)| (*k, *v)).collect()
    };
    let key = |(ip, transport, port): &HostPort| {
        let ip = ip.map_or(String::new(), |ip| format!("{ip} . "));
        format!("{ip}{} . {port}", transport.as_str())
    };
    for (map, at) in [("ports", false), ("ports_at", true)] {
        diff_elements(&mut s, table, map, &part(old, at), &part(new, at), key, |(a, p)| format!(" : {a} . {p}"));
    }
    diff_set(&mut s, table, "links", &old.links, &new.links, ToString::to_string);
    diff_set(&mut s, table, "apart", &old.apart, &new.apart, |name| format!("\"{name}\""));
    s
}

/// A container's table: questions to 127.0.0.11:53 go to the resolver's own ports, so that port 53
/// stays free for a name server in the container. Ports are rewritten as packets pass, without
/// connection tracking, which would cost every packet of the container.
pub(crate) fn resolver(table: &str, udp: u16, tcp: u16) -> String {
    let mut s = String::new();
    s += &no_table(table);
    line!(s, "table ip {table} {{");
    line!(s, "chain output {{\ntype filter hook output priority raw; policy accept;");
    for (transport, port) in [("udp", udp), ("tcp", tcp)] {
        line!(s, "ip daddr 127.0.0.11 {transport} dport 53 {transport} dport set {port}");
        line!(s, "ip saddr 127.0.0.11 {transport} sport {port} {transport} sport set 53");
    }
    line!(s, "}}\n}}");
    s
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
