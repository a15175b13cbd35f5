//! New connections to published ports, as the rules count them.

use super::Manager;
use crate::error::Result;
use crate::names::NETWORK_TABLE;
use crate::{nft, rules};
use std::collections::BTreeMap;
use swarm_core::ServiceId;

impl Manager {
    /// Connections that came in by this node since the ports were published here. One look per network with published
    /// ports, which is one.
    pub fn connections(&self) -> Result<BTreeMap<ServiceId, u64>> {
        let publishers = self.plan().publishers;
        let mut counted: BTreeMap<u32, BTreeMap<String, u64>> = BTreeMap::new();
        for (overlay_id, _) in publishers.keys() {
            let Some(network) = self.networks.get(overlay_id).filter(|_| !counted.contains_key(overlay_id)) else {
                continue;
            };
            let listed = nft::list(&network.place, &["list", "counters", "table", "ip", NETWORK_TABLE])?;
            counted.insert(*overlay_id, counters(&listed));
        }
        let mut connections = BTreeMap::new();
        for ((overlay_id, port), service) in publishers {
            let name = rules::published_chain(port);
            if let Some(packets) = counted.get(&overlay_id).and_then(|counters| counters.get(&name)) {
                *connections.entry(service).or_insert(0u64) += packets;
            }
        }
        Ok(connections)
    }
}

/// libnftables-json(5): `{"nftables": [{"counter": {"name": ..., "packets": ...}}, ...]}`.
fn counters(listed: &serde_json::Value) -> BTreeMap<String, u64> {
    let items = listed.get("nftables").and_then(serde_json::Value::as_array).into_iter().flatten();
    let counters = items.filter_map(|item| item.get("counter"));
    let read = counters.filter_map(|counter| Some((counter.get("name")?.as_str()?, counter.get("packets")?.as_u64()?)));
    read.map(|(name, packets)| (name.to_owned(), packets)).collect()
}
