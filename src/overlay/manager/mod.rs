//! Brings the kernel and the data path to what is wanted: one pass over the difference, errors
//! collected, everything else built.
//!
//! Owned by the fabric's thread.

mod count;
mod purge;
mod reconcile;
mod tasks;

pub(crate) use purge::purge;

use crate::api::FabricOptions;
use crate::error::{FabricError, Result};
use crate::names::Names;
use crate::netlink::Netlink;
use crate::netns::Netns;
use crate::network::{Host, Network};
use crate::plan::Plan;
use crate::ports::Ports;
use crate::record::Record;
use crate::resolver::Resolver;
use crate::rules::HostContent;
use crate::shard::{ShardHandle, socket};
use crate::status::{FabricStatus, NetworkStatus, PeerStatus};
use crate::{keys, nft};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::Ipv4Addr;
use std::sync::Arc;
use swarm_core::NodeId;
use swarm_core::dns::Zones;
use swarm_core::fabric::{FabricPeer, FabricState};
use tokio::sync::watch;

/// One attachment: its record, and its name server.
struct Attachment {
    record: Record,
    resolver: Option<Resolver>,
}

/// Tracked connections that must end.
#[derive(Default)]
struct Forget {
    /// Addresses of tasks that went.
    addrs: BTreeSet<Ipv4Addr>,
    /// Ports came, went or lead elsewhere.
    ports: bool,
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
    /// What was said last about others' firewalls.
    firewalls_said: Vec<String>,
    mtu: u32,
    /// The way to the peers is to be looked at (again).
    mtu_unknown: bool,
    /// Attachments came or went since the last pass.
    unsettled: bool,
    /// By network, until its rules are those of the plan.
    pending_forget: BTreeMap<u32, Forget>,
}

impl Manager {
    /// Takes over what an earlier daemon of this instance left, with the last state it knew.
    pub async fn start(options: FabricOptions, runtime: tokio::runtime::Handle) -> Result<Self> {
        let names = Names::new(&options.instance, &options.run_dir);
        let host = options.host_netns.clone().map_or(Netns::Own, Netns::At);
        let host_netlink = Netlink::open(&host)?;
        // Found missing now, not with the first task.
        nft::list(&host, &["list", "tables"])?;
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
            firewalls_said: Vec::new(),
            mtu: reconcile::MTU_DEFAULT,
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
}
