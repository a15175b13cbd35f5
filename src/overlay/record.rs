//! Records of attachments: what a later daemon must know to take over a running container.

use crate::api::{AttachSpec, Net4};
use crate::error::{FabricError, Result};
use crate::keys::replace;
use crate::names::Names;
use serde::{Deserialize, Serialize};
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use swarm_core::NetworkId;

/// Characters of an attachment's id.
const ID_CHARACTERS_MAX: usize = 64;

/// One attachment, as kept in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub id: String,
    pub spec: AttachSpec,
}

/// One link of a container.
#[derive(Clone, Debug)]
pub(crate) struct Leg {
    pub net: Net4,
    pub addr: Ipv4Addr,
    /// The way out leads through it.
    pub default: bool,
}

impl Record {
    /// Checks what came from outside.
    ///
    /// # Errors
    /// `BadId`, `UnknownNetwork`, `Unsupported`, `NoWayOut`.
    pub fn new(id: &str, spec: AttachSpec) -> Result<Self> {
        let fits = (1..=ID_CHARACTERS_MAX).contains(&id.len())
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        if !fits {
            return Err(FabricError::BadId(id.chars().take(ID_CHARACTERS_MAX).collect()));
        }
        let record = Self { id: id.into(), spec };
        let legs = record.legs()?;
        if !record.spec.host_ports.is_empty() && !legs.iter().any(|l| l.default) {
            return Err(FabricError::NoWayOut(id.into()));
        }
        Ok(record)
    }

    /// The links, in order. The way out is through the network of published ports if the task is on
    /// it (so that whatever a task sends to a client of a published port leaves by the link it came
    /// in, UDP servers without a bound address included), else through the first network that is
    /// not internal.
    pub fn legs(&self) -> Result<Vec<Leg>> {
        let mut legs = Vec::new();
        for attachment in &self.spec.attachments {
            let Some(network) = self.spec.networks.get(&attachment.network) else {
                let network = attachment.network.to_string();
                return Err(FabricError::UnknownNetwork { id: self.id.clone(), network });
            };
            let net = Net4::new(attachment.network, network)?;
            let IpAddr::V4(addr) = attachment.addr else {
                return Err(FabricError::Unsupported(format!("the IPv6 address {}", attachment.addr)));
            };
            legs.push(Leg { net, addr, default: false });
        }
        let way = legs.iter().position(|l| l.net.ingress).or_else(|| legs.iter().position(|l| l.net.has_way_out()));
        if let Some(way) = way {
            legs[way].default = true;
        }
        Ok(legs)
    }

    /// The networks whose names the task may ask for.
    pub fn networks(&self) -> Vec<NetworkId> {
        self.spec.attachments.iter().map(|a| a.network).collect()
    }

    pub fn save(&self, names: &Names) -> Result<()> {
        let path = names.record(&self.id);
        let err = |source| FabricError::File { path: path.display().to_string(), what: "write it", source };
        let text = serde_json::to_vec(self).map_err(|e| err(e.into()))?;
        replace(&path, &text, false).map_err(err)
    }

    /// All records, and the files that hold none.
    pub fn load_all(names: &Names) -> Result<(Vec<Self>, Vec<FabricError>)> {
        let dir = names.record_dir();
        let err = |source| FabricError::File { path: dir.display().to_string(), what: "list it", source };
        let (mut records, mut bad) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(&dir).map_err(err)? {
            let path = entry.map_err(err)?.path();
            if path.extension().is_some_and(|e| e == "json") {
                match Self::load(&path) {
                    Ok(record) => records.push(record),
                    Err(error) => bad.push(error),
                }
            }
        }
        Ok((records, bad))
    }

    fn load(path: &Path) -> Result<Self> {
        let text = fs::read(path).map_err(|source| FabricError::File {
            path: path.display().to_string(),
            what: "read it",
            source,
        })?;
        serde_json::from_slice(&text).map_err(|e| FabricError::Corrupt {
            path: path.display().to_string(),
            what: format!("holds no attachment: {e}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use swarm_core::fabric::FabricNetwork;
    use swarm_core::model::TaskAttachment;

    fn spec(networks: &[(u128, bool, bool)]) -> AttachSpec {
        let mut spec = AttachSpec::default();
        for (id, internal, ingress) in networks {
            let subnet: ipnet::IpNet = format!("10.0.{id}.0/24").parse().expect("subnet");
            let network = FabricNetwork {
                name: format!("n{id}"),
                subnet,
                gateway: subnet.hosts().next().expect("hosts"),
                overlay_id: *id as u32,
                internal: *internal,
                ingress: *ingress,
            };
            spec.networks.insert(NetworkId(*id), network);
            let addr = subnet.hosts().nth(4).expect("hosts");
            spec.attachments.push(TaskAttachment { network: NetworkId(*id), addr, aliases: Vec::new() });
        }
        spec
    }

    fn way_out(networks: &[(u128, bool, bool)]) -> Option<u32> {
        let record = Record::new("t", spec(networks)).expect("valid");
        record.legs().expect("valid").iter().find(|l| l.default).map(|l| l.net.overlay_id)
    }

    #[test]
    fn the_way_out_is_the_ingress_network_else_the_first_that_is_not_internal() {
        assert_eq!(way_out(&[(1, true, false), (2, false, false), (3, false, false)]), Some(2));
        assert_eq!(way_out(&[(1, false, false), (2, false, true)]), Some(2));
        assert_eq!(way_out(&[(1, true, false)]), None);
        assert_eq!(way_out(&[]), None);
    }

    #[test]
    fn ids_that_are_no_file_names_and_unknown_networks_are_refused() {
        for id in ["", "a/b", "..\0", &"x".repeat(65)] {
            assert!(matches!(Record::new(id, AttachSpec::default()), Err(FabricError::BadId(_))), "{id}");
        }
        let mut spec = spec(&[(1, false, false)]);
        spec.networks.clear();
        assert!(matches!(Record::new("t", spec), Err(FabricError::UnknownNetwork { .. })));
    }
}
