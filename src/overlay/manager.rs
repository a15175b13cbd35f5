//! Brings the kernel and the data path to what is wanted: one pass over the difference, errors
//! collected, everything else built.
//!
//! Owned by the fabric's thread. The order of a pass matters: peers and networks before the rules
//! that send packets to them, rules before what they no longer name is removed.

use crate::api::{AttachSpec, Attached, FabricOptions, Net4};
use crate::error::{FabricError, Result};
use crate::names::Names;
use crate::netlink::Netlink;
use crate::netns::Netns;
use crate::network::{Host, Network};
use crate::plan::{NetworkPlan, Plan};
use crate::ports::Ports;
use crate::record::Record;
use crate::resolver::{Resolver, ResolverOptions};
use crate::rules::{self, HostContent, NetworkContent};
use crate::shard::{Command, ShardHandle, socket};
use crate::status::{FabricStatus, NetworkStatus, PeerStatus};
use crate::{conntrack, container, firewall, keys, nft};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use swarm_core::NodeId;
use swarm_core::dns::Zones;
use swarm_core::fabric::{FabricPeer, FabricState};
use tokio::sync::watch;

/// Bytes WireGuard and our header take from each packet, with the underlay's IP and UDP headers.
const OVERHEAD_V4: u32 = 80;
const OVERHEAD_V6: u32 = 100;
/// What every host can carry at least (IPv6's minimum), and what our buffers take at most.
const MTU_MIN: u32 = 1280;
const MTU_MAX: u32 = 8920;
/// When no peer says otherwise: Ethernet.
const UNDERLAY_MTU_DEFAULT: u32 = 1500;

/// One attachment: its record, and its name server.
struct Attachment {
    record: Record,
    resolver: Option<Resolver>,
}

/// All state of the fabric.
pub(crate) struct Manager {
    options: FabricOptions,
    names: Names,
    host: Netns,
    host_netlink: Netlink,
    shard: ShardHandle,
    runtime: tokio::runtime::Handle,
    zones: watch::Sender<Arc<Zones>>,
    state: Arc<FabricState>,
    attachments: BTreeMap<String, Attachment>,
    networks: BTreeMap<u32, Network>,
    peers: BTreeMap<NodeId, (u32, FabricPeer)>,
    ports: Ports,
    /// What the host's table holds, and for which own address; `None` when there is no table.
    host_content: Option<(Option<Ipv4Addr>, HostContent)>,
    /// The host may have a table of an earlier daemon.
    host_table_unknown: bool,
    mtu: u32,
    /// The way to the peers is to be looked at (again).
    mtu_unknown: bool,
    /// Attachments came or went since the last pass.
    unsettled: bool,
    /// Addresses of tasks that went, by network.
    pending_forget: BTreeMap<u32, BTreeSet<Ipv4Addr>>,
}

impl Manager {
    /// Takes over what an earlier daemon of this instance left, with the last state it knew.
    pub async fn start(options: FabricOptions, runtime: tokio::runtime::Handle) -> Result<Self> {
        let names = Names::new(&options.instance, &options.run_dir);
        let host = options.host_netns.clone().map_or(Netns::Own, Netns::At);
        let host_netlink = Netlink::open(&host)?;
        let bound = host.enter(|| socket::bind(options.listen))?;
        let socket = bound.map_err(|source| FabricError::Socket {
            what: format!("bind the overlay's port {}/udp", options.listen),
            source,
        })?;
        let shard = ShardHandle::start(socket, *options.wireguard_private_key.expose())?;
        let mut manager = Self {
            names,
            host,
            host_netlink,
            shard,
            runtime,
            zones: watch::Sender::new(Arc::new(Zones::default())),
            state: Arc::new(FabricState::default()),
            attachments: BTreeMap::new(),
            networks: BTreeMap::new(),
            peers: BTreeMap::new(),
            ports: Ports::default(),
            host_content: None,
            host_table_unknown: true,
            mtu: UNDERLAY_MTU_DEFAULT - OVERHEAD_V4,
            mtu_unknown: true,
            unsettled: false,
            pending_forget: BTreeMap::new(),
            options,
        };
        manager.make_dirs()?;
        manager.adopt().await?;
        Ok(manager)
    }

    fn make_dirs(&self) -> Result<()> {
        for dir in [self.names.netns_dir(), self.names.record_dir(), self.options.state_dir.clone()] {
            fs::create_dir_all(&dir).map_err(|source| FabricError::File {
                path: dir.display().to_string(),
                what: "make it",
                source,
            })?;
        }
        Ok(())
    }

    fn host(&self) -> Host<'_> {
        Host { place: &self.host, netlink: &self.host_netlink, names: &self.names }
    }

    /// Finds attachments and the last state; removes what belongs to neither.
    async fn adopt(&mut self) -> Result<()> {
        let (records, bad) = Record::load_all(&self.names)?;
        for error in bad {
            tracing::warn!(error = %crate::error::chain(&error), "an attachment is lost");
        }
        for record in records {
            if Netns::exists(&self.names.task_netns(&record.id)) {
                self.attachments.insert(record.id.clone(), Attachment { record, resolver: None });
            } else {
                self.forget_record(&record.id)?;
            }
        }
        self.state = Arc::new(self.load_state());
        self.zones.send_replace(Arc::new(Zones::new(&self.state)));
        self.remove_strays().await?;
        for error in self.reconcile().await {
            tracing::warn!(error = %crate::error::chain(&error), "the network as it was cannot be restored as a whole");
        }
        for id in self.attachments.keys().cloned().collect::<Vec<_>>() {
            if let Err(error) = self.readmit(&id).await {
                tracing::warn!(%id, error = %crate::error::chain(&error), "an attachment cannot be taken over as a whole");
            }
        }
        Ok(())
    }

    /// Namespaces that no record and no network of the last state explains.
    async fn remove_strays(&self) -> Result<()> {
        let plan = self.plan();
        let dir = self.names.netns_dir();
        let err = |source| FabricError::File { path: dir.display().to_string(), what: "list it", source };
        for entry in fs::read_dir(&dir).map_err(err)? {
            let path = entry.map_err(err)?.path();
            let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            if let Some(id) = name.strip_prefix("task-") {
                if !self.attachments.contains_key(id) {
                    Netns::remove(&path)?;
                }
            } else if let Some(id) = name.strip_prefix("net-").and_then(|n| n.parse().ok())
                && !plan.networks.contains_key(&id)
            {
                Network::remove(&self.host(), id).await?;
            }
        }
        Ok(())
    }

    /// After a restart: the container's end is as it was; this end is checked, its resolver opened.
    async fn readmit(&mut self, id: &str) -> Result<()> {
        let Some(attachment) = self.attachments.get(id) else { return Ok(()) };
        for (index, leg) in attachment.record.legs()?.iter().enumerate() {
            if let Some(network) = self.networks.get(&leg.net.overlay_id) {
                let link = network.netlink.link(&crate::names::container_link(id, index)).await?;
                network.admit(&link, leg.addr).await?;
            }
        }
        self.start_resolver(id)
    }

    fn start_resolver(&mut self, id: &str) -> Result<()> {
        let Some(attachment) = self.attachments.get_mut(id) else { return Ok(()) };
        let record = &attachment.record;
        if record.spec.attachments.is_empty() {
            return Ok(());
        }
        let options = ResolverOptions {
            networks: record.networks(),
            servers: record.spec.dns.nameservers.clone(),
            forwards: record.legs()?.iter().any(|l| l.default),
            host: self.host.clone(),
            host_resolv_conf: self.options.resolv_conf.clone(),
        };
        let place = Netns::At(self.names.task_netns(id));
        attachment.resolver = Some(Resolver::start(&place, &self.runtime, options, self.zones.subscribe())?);
        Ok(())
    }

    fn plan(&self) -> Plan {
        Plan::new(&self.state, self.options.node, self.attachments.values().map(|a| &a.record))
    }

    /// Takes `state` as what is wanted. What could not be done is returned and tried again by the
    /// next call.
    pub async fn apply(&mut self, state: Arc<FabricState>) -> Vec<FabricError> {
        let changed = *self.state != *state;
        self.state = state;
        let mut errors = Vec::new();
        if changed {
            self.zones.send_replace(Arc::new(Zones::new(&self.state)));
            errors.extend(self.save_state().err());
        }
        errors.extend(self.reconcile().await);
        errors
    }

    /// Wires a task. The same id and spec again gives the same answer.
    pub async fn attach(&mut self, id: &str, spec: AttachSpec) -> Result<Attached> {
        let record = Record::new(id, spec)?;
        let host_resolv = fs::read_to_string(&self.options.resolv_conf).unwrap_or_default();
        if let Some(there) = self.attachments.get(id) {
            if there.record.spec != record.spec {
                return Err(FabricError::AttachedOtherwise(id.into()));
            }
            return Ok(container::attached(&self.names, &record, &host_resolv));
        }
        self.make_dirs()?;
        // Before anything is made in the kernel: a daemon that dies now finds what to remove.
        record.save(&self.names)?;
        self.attachments.insert(id.into(), Attachment { record: record.clone(), resolver: None });
        match self.make(id, &record).await {
            Ok(()) => Ok(container::attached(&self.names, &record, &host_resolv)),
            Err(error) => {
                if let Err(second) = self.detach(id).await {
                    tracing::warn!(%id, error = %crate::error::chain(&second), "a half-made attachment cannot be removed");
                }
                Err(error)
            }
        }
    }

    async fn make(&mut self, id: &str, record: &Record) -> Result<()> {
        let plan = self.plan();
        // Ports of this task first: if one is taken, the task cannot run here at all.
        for (port, _) in plan.ports.iter().filter(|(_, f)| f.owner.as_deref() == Some(id)) {
            self.ports.hold(&self.host, *port)?;
        }
        for leg in record.legs()? {
            self.build_network(leg.net).await?;
        }
        // A namespace left by an attempt that failed half-way would be somebody's with old links.
        Netns::remove(&self.names.task_netns(id))?;
        container::wire(&self.names, record, &self.networks).await?;
        self.start_resolver(id)?;
        self.unsettled = true;
        if !record.spec.host_ports.is_empty() {
            // Its ports are open when the caller is told so.
            self.settle().await;
        }
        Ok(())
    }

    /// Removes a task's links, namespace and ports; one that is not attached is fine.
    pub async fn detach(&mut self, id: &str) -> Result<()> {
        let Some(attachment) = self.attachments.remove(id) else { return Ok(()) };
        let record = attachment.record;
        for leg in record.legs()? {
            self.pending_forget.entry(leg.net.overlay_id).or_default().insert(leg.addr);
        }
        self.unsettled = true;
        container::unwire(&self.names, &record, &self.networks).await?;
        self.forget_record(id)
    }

    /// The second half of attaching and detaching, once for all that came together: rules that name
    /// the tasks, ports of the host, networks that are no longer needed, connections of tasks gone.
    pub async fn settle(&mut self) {
        if !std::mem::take(&mut self.unsettled) {
            return;
        }
        for error in self.reconcile().await {
            tracing::warn!(error = %crate::error::chain(&error), "the network is not as it should be");
        }
    }

    fn forget_record(&self, id: &str) -> Result<()> {
        let path = self.names.record(id);
        match fs::remove_file(&path) {
            Ok(()) => Ok(()),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(FabricError::File { path: path.display().to_string(), what: "remove it", source }),
        }
    }

    /// Ids of what is attached.
    pub fn attached(&self) -> Vec<String> {
        self.attachments.keys().cloned().collect()
    }

    /// One pass: from what is there to what is wanted.
    pub async fn reconcile(&mut self) -> Vec<FabricError> {
        let mut plan = self.plan();
        let mut errors = std::mem::take(&mut plan.errors);
        errors.extend(self.make_dirs().err());
        let peers = self.sync_peers(&plan);
        if (!matches!(peers, Ok(false)) || self.mtu_unknown)
            && let Err(error) = self.sync_mtu(&plan).await
        {
            errors.push(error);
        }
        errors.extend(peers.err());
        for network in plan.networks.values() {
            if let Err(error) = self.sync_network(network).await {
                errors.push(error);
            }
        }
        self.sync_host(&plan, &mut errors);
        let gone = std::mem::take(&mut self.pending_forget);
        self.forget_connections(&gone);
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
    async fn build_network(&mut self, net: Net4) -> Result<()> {
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
            firewall::open(&self.host, &self.names.link_prefix())?;
        }
        Ok(())
    }

    async fn remove_network(&mut self, overlay_id: u32) -> Result<()> {
        self.shard.send(Command::RemoveNetwork { overlay_id })?;
        self.networks.remove(&overlay_id);
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
        let gone: BTreeSet<Ipv4Addr> = network.routes.keys().filter(|a| !wanted.contains_key(a)).copied().collect();
        let mut changes: Vec<(Ipv4Addr, Option<u32>)> = gone.iter().map(|a| (*a, None)).collect();
        changes.extend(wanted.iter().filter(|(a, s)| network.routes.get(a) != Some(s)).map(|(a, s)| (*a, Some(*s))));
        if !changes.is_empty() {
            self.shard.send(Command::Routes { overlay_id, changes })?;
            network.routes = wanted;
        }
        let content = NetworkContent::new(plan);
        let mut forget = gone;
        if network.content.as_ref() != Some(&content) {
            if network.content.as_ref().is_some_and(|now| now.refuses_less_in(&content)) {
                forget.insert(network.net.gateway);
            }
            network.set_content(content)?;
        }
        if !forget.is_empty() {
            self.forget_connections(&[(overlay_id, forget)].into());
        }
        Ok(())
    }

    /// Connections to addresses that are gone go on nowhere: their next packet must find another task.
    fn forget_connections(&self, gone: &BTreeMap<u32, BTreeSet<Ipv4Addr>>) {
        for (overlay_id, addrs) in gone {
            let Some(network) = self.networks.get(overlay_id) else { continue };
            let forgotten = conntrack::forget(&network.place, |c| {
                addrs.contains(&c.reply_src) || addrs.contains(&c.orig_src) || addrs.contains(&c.orig_dst)
            });
            if let Err(error) = forgotten {
                tracing::warn!(error = %crate::error::chain(&error), network = network.net.name, "stale connections stay");
            }
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
                self.host_content = None;
                self.host_table_unknown = false;
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
        self.host_content = Some((own, content));
        self.host_table_unknown = false;
        Ok(())
    }

    /// What must be looked at from time to time: others' firewalls are reloaded, routes change, a
    /// port in use becomes free.
    pub async fn tick(&mut self) {
        self.mtu_unknown = true;
        let mut errors = self.reconcile().await;
        if self.networks.values().any(|n| n.link_addr.is_some()) {
            errors.extend(firewall::open(&self.host, &self.names.link_prefix()).err());
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

    fn state_path(&self) -> std::path::PathBuf {
        self.options.state_dir.join("fabric.json")
    }

    /// So that a daemon that starts without any manager in reach goes on with what it had.
    fn save_state(&self) -> Result<()> {
        let path = self.state_path();
        let err = |source| FabricError::File { path: path.display().to_string(), what: "write it", source };
        let text = serde_json::to_vec(&*self.state).map_err(|e| err(e.into()))?;
        keys::replace(&path, &text, false).map_err(err)
    }

    fn load_state(&self) -> FabricState {
        let path = self.state_path();
        let Ok(text) = fs::read(&path) else { return FabricState::default() };
        serde_json::from_slice(&text).unwrap_or_else(|error| {
            tracing::warn!(path = %path.display(), %error, "the last state cannot be read; the next one replaces it");
            FabricState::default()
        })
    }

    /// Counters, with the names people know.
    pub fn status(&self) -> Result<FabricStatus> {
        let counters = self.shard.counters()?;
        let mut status = FabricStatus { applied_index: self.state.index, drops: counters.drops, ..Default::default() };
        let by_slot: BTreeMap<u32, (&NodeId, &FabricPeer)> =
            self.peers.iter().map(|(id, (slot, peer))| (*slot, (id, peer))).collect();
        for peer in counters.peers {
            let Some((id, known)) = by_slot.get(&peer.slot) else { continue };
            let entry = PeerStatus {
                name: known.name.clone(),
                endpoint: peer.endpoint,
                last_handshake: peer.last_handshake,
                rx_bytes: peer.rx_bytes,
                tx_bytes: peer.tx_bytes,
                handshake_rtt_ms: peer.handshake_rtt_ms,
                drops: peer.drops,
            };
            status.peers.insert(**id, entry);
        }
        for (overlay_id, rx_packets, tx_packets) in counters.networks {
            let Some(network) = self.networks.get(&overlay_id) else { continue };
            let name = network.net.name.clone();
            let entry = NetworkStatus { name, overlay_id, mtu: network.mtu, rx_packets, tx_packets };
            status.networks.insert(network.net.id, entry);
        }
        Ok(status)
    }

    /// Removes everything of this instance; the last error is returned after all was tried.
    pub async fn teardown(&mut self) -> Result<()> {
        self.attachments.clear();
        self.state = Arc::new(FabricState::default());
        self.zones.send_replace(Arc::new(Zones::default()));
        for overlay_id in std::mem::take(&mut self.networks).into_keys() {
            self.shard.send(Command::RemoveNetwork { overlay_id })?;
        }
        self.ports = Ports::default();
        self.host_content = None;
        purge(&self.names, &self.host, &self.host_netlink, &self.state_path()).await
    }
}

/// Removes everything that carries the instance's names, whoever made it.
pub(crate) async fn purge(names: &Names, host: &Netns, netlink: &Netlink, state: &std::path::Path) -> Result<()> {
    let mut result = Ok(());
    let mut keep = |step: Result<()>| {
        if let Err(error) = step {
            tracing::warn!(error = %crate::error::chain(&error), "cannot be removed");
            result = Err(error);
        }
    };
    let place = Host { place: host, netlink, names };
    for entry in fs::read_dir(names.netns_dir()).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        match name.strip_prefix("net-").and_then(|n| n.parse().ok()) {
            Some(overlay_id) => keep(Network::remove(&place, overlay_id).await),
            None => keep(Netns::remove(&path)),
        }
    }
    match netlink.links().await {
        Ok(links) => {
            for link in links.iter().filter(|l| l.name.starts_with(&names.link_prefix())) {
                keep(netlink.remove(&link.name).await);
            }
        }
        Err(error) => keep(Err(error)),
    }
    keep(firewall::close(host, &names.link_prefix()));
    let table = names.host_table();
    keep(nft::apply(host, "this host", &rules::no_table(&table)));
    for dir in [names.netns_dir(), names.record_dir()] {
        match fs::remove_dir_all(&dir) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                keep(Err(FabricError::File { path: dir.display().to_string(), what: "remove it", source: e }));
            }
            Ok(()) | Err(_) => {}
        }
    }
    match fs::remove_file(state) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            keep(Err(FabricError::File { path: state.display().to_string(), what: "remove it", source: e }));
        }
        Ok(()) | Err(_) => {}
    }
    result
}
