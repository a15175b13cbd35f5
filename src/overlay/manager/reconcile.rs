//! One pass over the difference between what is there and what is wanted.
//!
//! The order matters: peers and networks before the rules that send packets to them, rules before what
//! they no longer name is removed.

use super::{Forget, Manager};
use crate::api::Net4;
use crate::conntrack::Tracked;
use crate::error::{FabricError, Result};
use crate::network::Network;
use crate::plan::{NetworkPlan, Plan};
use crate::rules::{self, HostContent, NetworkContent};
use crate::shard::Command;
use crate::{conntrack, firewall, forwarding, nft};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use swarm_core::NodeId;

/// Bytes WireGuard and our header take from each packet, with the underlay's IP and UDP headers.
const OVERHEAD_V4: u32 = 80;
const OVERHEAD_V6: u32 = 100;
/// What every host can carry at least (IPv6's minimum), and what our buffers take at most.
const MTU_MIN: u32 = 1280;
const MTU_MAX: u32 = 8920;
/// When no peer says otherwise: Ethernet below.
pub(super) const MTU_DEFAULT: u32 = 1500 - OVERHEAD_V4;

impl Manager {
    /// One pass: from what is there to what is wanted.
    pub async fn reconcile(&mut self) -> Vec<FabricError> {
        let mut plan = self.plan();
        let mut errors = std::mem::take(&mut plan.errors);
        if !plan.networks.is_empty() {
            errors.extend(self.make_dirs().err());
        }
        let peers = self.sync_peers(&plan);
        if (!matches!(peers, Ok(false)) || self.mtu_unknown)
            && let Err(error) = self.sync_mtu(&plan).await
        {
            errors.push(error);
        }
        errors.extend(peers.err());
        for network in plan.networks.values() {
            match self.sync_network(network).await {
                Ok(()) => self.forget_connections(network.net.overlay_id),
                // The old rules would lead the next packet to the same place: forgotten with the new ones.
                Err(error) => errors.push(error),
            }
        }
        self.sync_host(&plan, &mut errors);
        self.pending_forget.retain(|id, _| self.networks.contains_key(id));
        self.unsettled = false;
        let gone: Vec<u32> = self.networks.keys().filter(|id| !plan.networks.contains_key(id)).copied().collect();
        for overlay_id in gone {
            if let Err(error) = self.remove_network(overlay_id).await {
                errors.push(error);
            }
        }
        errors
    }

    /// Whether anything changed. Slots are small and reused, because they are the first 24 bits of
    /// WireGuard's index.
    fn sync_peers(&mut self, plan: &Plan) -> Result<bool> {
        let mut changed = false;
        let gone: Vec<NodeId> = self.peers.keys().filter(|id| !plan.peers.contains_key(id)).copied().collect();
        for id in gone {
            changed = true;
            if let Some((slot, _)) = self.peers.remove(&id) {
                self.shard.send(Command::RemovePeer { slot })?;
                // A later peer may get the slot: nothing may still lead there.
                for network in self.networks.values_mut() {
                    let lost: Vec<Ipv4Addr> =
                        network.routes.iter().filter(|(_, s)| **s == slot).map(|(a, _)| *a).collect();
                    network.routes.retain(|_, s| *s != slot);
                    self.pending_forget.entry(network.net.overlay_id).or_default().addrs.extend(&lost);
                    let changes = lost.into_iter().map(|a| (a, None)).collect();
                    self.shard.send(Command::Routes { overlay_id: network.net.overlay_id, changes })?;
                }
            }
        }
        for (id, peer) in &plan.peers {
            let slot = match self.peers.get(id) {
                Some((_, known)) if known == peer => continue,
                Some((slot, _)) => *slot,
                None => {
                    let used: BTreeSet<u32> = self.peers.values().map(|(slot, _)| *slot).collect();
                    (0..).find(|slot| !used.contains(slot)).unwrap_or(0)
                }
            };
            self.shard.send(Command::Peer { slot, endpoint: peer.endpoint, key: peer.wireguard_key })?;
            self.peers.insert(*id, (slot, peer.clone()));
            changed = true;
        }
        Ok(changed)
    }

    /// What fits one packet to the peer with the narrowest first link.
    async fn sync_mtu(&mut self, plan: &Plan) -> Result<()> {
        let mut mtu = None::<u32>;
        let mut overhead = OVERHEAD_V4;
        for addr in plan.peers.values().map(|p| p.endpoint.ip()) {
            if addr.is_ipv6() {
                overhead = OVERHEAD_V6;
            }
            if let Some(link) = self.host_netlink.mtu_towards(addr).await? {
                mtu = Some(mtu.map_or(link, |m| m.min(link)));
            }
        }
        // Without a way to any peer nothing is known: stay.
        let Some(mtu) = mtu else { return Ok(()) };
        self.mtu = (mtu.saturating_sub(overhead)).clamp(MTU_MIN, MTU_MAX);
        for network in self.networks.values_mut() {
            network.set_mtu(self.mtu).await?;
        }
        self.mtu_unknown = false;
        Ok(())
    }

    /// Builds `net` unless it is there as it should be.
    pub(super) async fn build_network(&mut self, net: Net4) -> Result<()> {
        let overlay_id = net.overlay_id;
        match self.networks.get(&overlay_id) {
            Some(there) if there.net == net => return Ok(()),
            Some(_) => self.remove_network(overlay_id).await?,
            None => {}
        }
        let (subnet, ingress) = (net.subnet, net.ingress);
        let (network, tun) = Network::build(&self.host(), net, self.mtu).await?;
        self.shard.send(Command::Network { overlay_id, tun, subnet, ingress })?;
        let opens = network.link_addr.is_some();
        self.networks.insert(overlay_id, network);
        if opens {
            self.open_firewalls();
        }
        Ok(())
    }

    /// Others' firewalls are others': what cannot be changed there stops nothing here, and is said once.
    fn open_firewalls(&mut self) {
        let errors = firewall::open(&self.host, &self.names.link_prefix());
        let said: Vec<String> = errors.iter().map(|error| crate::error::chain(error)).collect();
        if said != self.firewalls_said {
            said.iter().for_each(|error| tracing::warn!(%error, "a firewall of this host may stop containers"));
            self.firewalls_said = said;
        }
    }

    async fn remove_network(&mut self, overlay_id: u32) -> Result<()> {
        self.shard.send(Command::RemoveNetwork { overlay_id })?;
        self.networks.remove(&overlay_id);
        self.pending_forget.remove(&overlay_id);
        Network::remove(&self.host(), overlay_id).await
    }

    async fn sync_network(&mut self, plan: &NetworkPlan) -> Result<()> {
        self.build_network(plan.net.clone()).await?;
        let overlay_id = plan.net.overlay_id;
        let wanted: BTreeMap<Ipv4Addr, u32> = plan
            .remote
            .iter()
            .filter_map(|(addr, node)| self.peers.get(node).map(|(slot, _)| (*addr, *slot)))
            .collect();
        let Some(network) = self.networks.get_mut(&overlay_id) else { return Ok(()) };
        let pending = self.pending_forget.entry(overlay_id).or_default();
        // An address that moved to another node is another task's.
        pending.addrs.extend(network.routes.iter().filter(|(a, s)| wanted.get(a) != Some(s)).map(|(a, _)| *a));
        let gone = network.routes.keys().filter(|a| !wanted.contains_key(a));
        let mut changes: Vec<(Ipv4Addr, Option<u32>)> = gone.map(|a| (*a, None)).collect();
        changes.extend(wanted.iter().filter(|(a, s)| network.routes.get(a) != Some(s)).map(|(a, s)| (*a, Some(*s))));
        if !changes.is_empty() {
            self.shard.send(Command::Routes { overlay_id, changes })?;
            network.routes = wanted;
        }
        let content = NetworkContent::new(plan);
        if network.content.as_ref() != Some(&content) {
            if network.content.as_ref().is_some_and(|now| now.refuses_less_in(&content)) {
                pending.addrs.insert(network.net.gateway);
            }
            pending.ports |= network.content.as_ref().is_none_or(|now| now.moves_ports_in(&content));
            network.set_content(content)?;
        }
        Ok(())
    }

    /// Connections to addresses that are gone go on nowhere: their next packet must find another task.
    /// So must those to ports that lead elsewhere now.
    fn forget_connections(&mut self, overlay_id: u32) {
        let Some(Forget { addrs, ports }) = self.pending_forget.remove(&overlay_id) else { return };
        let Some(network) = self.networks.get(&overlay_id) else { return };
        if addrs.is_empty() && !ports {
            return;
        }
        let misled = |c: &Tracked| match (&network.content, network.link_addr) {
            (Some(content), Some(link)) => ports && content.misleads(c, link),
            (None, _) | (_, None) => false,
        };
        let forgotten = conntrack::forget(&network.place, |c| {
            addrs.contains(&c.reply_src) || addrs.contains(&c.orig_src) || addrs.contains(&c.orig_dst) || misled(c)
        });
        if let Err(error) = forgotten {
            tracing::warn!(error = %crate::error::chain(&error), network = network.net.name, "stale connections stay");
        }
    }

    /// This host's ports, and its table.
    fn sync_host(&mut self, plan: &Plan, errors: &mut Vec<FabricError>) {
        let mut content = HostContent::default();
        content.links.extend(self.networks.values().filter_map(|n| n.link_addr));
        self.ports.retain(|port| plan.ports.contains_key(port));
        for (port, forward) in &plan.ports {
            let Some(link) = self.networks.get(&forward.overlay_id).and_then(|n| n.link_addr) else { continue };
            match self.ports.hold(&self.host, *port) {
                Ok(()) => drop(content.ports.insert(*port, (link, forward.link_port))),
                // A port published at one address is for the node that has the address.
                Err(FabricError::Socket { source, .. })
                    if forward.owner.is_none() && source.kind() == std::io::ErrorKind::AddrNotAvailable => {}
                Err(error) => errors.push(error),
            }
        }
        if !content.links.is_empty() {
            content.apart = forwarding::apart(&self.names);
        }
        if let Err(error) = self.write_host(self.own_addr(plan), content) {
            errors.push(error);
        }
    }

    fn own_addr(&self, plan: &Plan) -> Option<Ipv4Addr> {
        let listen = Some(self.options.listen.ip());
        [self.options.advertise, plan.own_addr, listen].into_iter().flatten().find_map(|addr| match addr {
            IpAddr::V4(addr) if !addr.is_unspecified() => Some(addr),
            IpAddr::V4(_) | IpAddr::V6(_) => None,
        })
    }

    fn write_host(&mut self, own: Option<Ipv4Addr>, content: HostContent) -> Result<()> {
        let table = self.names.host_table();
        if content == HostContent::default() {
            if self.host_content.is_some() || self.host_table_unknown {
                nft::apply(&self.host, "this host", &rules::no_table(&table))?;
                let old = self.host_content.take().map(|(_, old)| old);
                self.host_table_unknown = false;
                self.forget_host_connections(&old.unwrap_or_default(), &content);
            }
            return Ok(());
        }
        let script = match &self.host_content {
            Some((same, old)) if *same == own => rules::host_diff(&table, old, &content),
            // Old content goes and new content comes in one step.
            Some(_) | None => {
                let base = rules::host_base(&table, &self.names.link_prefix(), own);
                base + &rules::host_diff(&table, &HostContent::default(), &content)
            }
        };
        nft::apply(&self.host, "this host", &script)?;
        let old = self.host_content.replace((own, content.clone())).map(|(_, old)| old);
        self.host_table_unknown = false;
        self.forget_host_connections(&old.unwrap_or_default(), &content);
        Ok(())
    }

    /// After a change from `old` to `new`: senders to ports of the host that lead elsewhere now.
    fn forget_host_connections(&self, old: &HostContent, new: &HostContent) {
        if new.ports == old.ports {
            return;
        }
        let forgotten = self
            .host_addresses()
            .and_then(|local| conntrack::forget(&self.host, |c| new.misleads(c, &local, &old.links)));
        if let Err(error) = forgotten {
            tracing::warn!(error = %crate::error::chain(&error), "stale connections to ports of this host stay");
        }
    }

    fn host_addresses(&self) -> Result<BTreeSet<Ipv4Addr>> {
        let list = || -> nix::Result<BTreeSet<Ipv4Addr>> {
            Ok(nix::ifaddrs::getifaddrs()?.filter_map(|a| Some(a.address?.as_sockaddr_in()?.ip())).collect())
        };
        let failed =
            |e: nix::errno::Errno| FabricError::Socket { what: "list the host's addresses".into(), source: e.into() };
        self.host.enter(list)?.map_err(failed)
    }

    /// What must be looked at from time to time: others' firewalls are reloaded, routes change, a
    /// port in use becomes free.
    pub async fn tick(&mut self) {
        self.mtu_unknown = true;
        let mut errors = self.reconcile().await;
        if self.networks.values().any(|n| n.link_addr.is_some()) {
            self.open_firewalls();
        }
        for network in self.networks.values() {
            errors.extend(self.remove_stray_links(network).await.err());
        }
        for error in errors {
            tracing::debug!(error = %crate::error::chain(&error), "the network is not as it should be");
        }
    }

    /// Links of tasks that went while something still held their namespace.
    async fn remove_stray_links(&self, network: &Network) -> Result<()> {
        let mut expected = BTreeSet::new();
        for attachment in self.attachments.values() {
            let legs = attachment.record.legs()?.len();
            expected.extend((0..legs).map(|index| crate::names::container_link(&attachment.record.id, index)));
        }
        for link in network.netlink.links().await? {
            if crate::names::is_container_link(&link.name) && !expected.contains(&link.name) {
                network.netlink.remove(&link.name).await?;
            }
        }
        Ok(())
    }
}
