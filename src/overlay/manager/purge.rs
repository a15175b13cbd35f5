//! The end: everything that carries the instance's names is removed.

use super::Manager;
use crate::error::{FabricError, Result};
use crate::names::Names;
use crate::netlink::Netlink;
use crate::netns::Netns;
use crate::network::Network;
use crate::ports::Ports;
use crate::shard::Command;
use crate::{firewall, forwarding, nft, rules};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use swarm_core::dns::Zones;
use swarm_core::fabric::FabricState;

impl Manager {
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
        purge(&self.names, Some((&self.host, &self.host_netlink)), &self.state_path()).await
    }
}

/// Removes everything that carries the instance's names, whoever made it. `host` is `None` when the
/// host's own namespace is gone already, and with it what was inside.
pub(crate) async fn purge(names: &Names, host: Option<(&Netns, &Netlink)>, state: &Path) -> Result<()> {
    let mut result = Ok(());
    let mut keep = |step: Result<()>| {
        if let Err(error) = step {
            tracing::warn!(error = %crate::error::chain(&error), "cannot be removed");
            result = Err(error);
        }
    };
    for entry in fs::read_dir(names.netns_dir()).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        match name.strip_prefix("net-").and_then(|n| n.parse().ok()) {
            Some(overlay_id) => keep(Network::remove_inside(names, overlay_id).await),
            None => keep(Netns::remove(&entry.path())),
        }
    }
    if let Some((place, netlink)) = host {
        match netlink.links().await {
            Ok(links) => {
                for link in links.iter().filter(|l| l.name.starts_with(&names.link_prefix())) {
                    keep(netlink.remove(&link.name).await);
                }
            }
            Err(error) => keep(Err(error)),
        }
        firewall::close(place, &names.link_prefix()).into_iter().for_each(|error| keep(Err(error)));
        keep(forwarding::turn_off(place, netlink, names).await);
        keep(nft::apply(place, "this host", &rules::no_table(&names.host_table())));
    }
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
