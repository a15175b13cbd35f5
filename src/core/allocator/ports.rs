//! Published ports: which service holds which on every node.

use crate::ServiceId;
use crate::model::{PortConfig, Protocol, PublishMode, Service};
use crate::store::View;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Arc;

/// Where ports come from when none is named (as in Docker's swarm mode).
const DYNAMIC_PORTS: RangeInclusive<u16> = 30000..=32767;

/// Ports of all services as allocated, looked up by number in the snapshot.
pub(super) struct PortTable<'a> {
    view: &'a View,
    /// What services got here, in place of what the snapshot says they hold.
    served: BTreeMap<ServiceId, (String, Vec<PortConfig>)>,
    /// Who got a port of this number here.
    by_number: BTreeMap<(Protocol, u16), BTreeSet<ServiceId>>,
}

fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    }
}

impl<'a> PortTable<'a> {
    pub fn of(view: &'a View) -> Self {
        Self { view, served: BTreeMap::new(), by_number: BTreeMap::new() }
    }

    /// The service's ports with their numbers; what it had is kept. Fails with the words for the service.
    pub fn serve(&mut self, service: &Arc<Service>) -> Result<Vec<PortConfig>, String> {
        let mut ports = service.spec.endpoint.ports.clone();
        let mut kept = service.endpoint.ports.clone();
        for port in ports.iter().filter(|port| port.published_port != 0) {
            self.check(service.id, port)?;
        }
        for index in 0..ports.len() {
            let port = &ports[index];
            if port.published_port != 0 || port.mode == PublishMode::Host {
                continue;
            }
            let number = self.number_for(service.id, port, &ports, &mut kept)?;
            ports[index].published_port = number;
        }
        for port in ports.iter().filter(|port| port.published_port != 0) {
            self.by_number.entry((port.protocol, port.published_port)).or_default().insert(service.id);
        }
        self.served.insert(service.id, (service.spec.name.clone(), ports.clone()));
        Ok(ports)
    }

    fn check(&self, service: ServiceId, port: &PortConfig) -> Result<(), String> {
        match self.holder(service, port) {
            None => Ok(()),
            Some(holder) => Err(format!(
                "port {}/{} is already published by {holder}",
                port.published_port,
                protocol(port.protocol)
            )),
        }
    }

    /// Another service that holds the port, in words.
    fn holder(&self, service: ServiceId, port: &PortConfig) -> Option<String> {
        let collides = |ports: &[PortConfig]| ports.iter().any(|held| held.excludes(port));
        let before = self.view.publishers(port.protocol, port.published_port);
        let before = before.filter(|other| other.id != service && !self.served.contains_key(&other.id));
        let mut before = before.filter(|other| collides(&other.endpoint.ports));
        if let Some(other) = before.next() {
            let end = if other.removing { ", which is being removed" } else { "" };
            return Some(format!("service \"{}\"{end}", other.spec.name));
        }
        let now = self.by_number.get(&(port.protocol, port.published_port)).into_iter().flatten();
        let mut now = now.filter(|other| **other != service).filter_map(|other| self.served.get(other));
        now.find(|(_, ports)| collides(ports)).map(|(name, _)| format!("service \"{name}\""))
    }

    fn number_for(
        &self,
        service: ServiceId,
        port: &PortConfig,
        own: &[PortConfig],
        kept: &mut Vec<PortConfig>,
    ) -> Result<u16, String> {
        let usable = |number: u16| {
            let numbered = PortConfig { published_port: number, ..port.clone() };
            self.check(service, &numbered).is_ok() && !own.iter().any(|other| other.excludes(&numbered))
        };
        let same = |had: &PortConfig| PortConfig { published_port: 0, ..had.clone() } == *port;
        let had = kept.iter().position(|had| had.published_port != 0 && same(had) && usable(had.published_port));
        if let Some(had) = had {
            return Ok(kept.swap_remove(had).published_port);
        }
        DYNAMIC_PORTS.clone().find(|number| usable(*number)).ok_or_else(|| {
            let all = DYNAMIC_PORTS.len();
            format!(
                "no free port to publish: {all} of {all} {} ports from {} to {} in use",
                protocol(port.protocol),
                DYNAMIC_PORTS.start(),
                DYNAMIC_PORTS.end()
            )
        })
    }
}
