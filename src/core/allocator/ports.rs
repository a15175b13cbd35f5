//! Published ports: which service holds which on every node.

use crate::ServiceId;
use crate::model::{PortConfig, Protocol, PublishMode, Service};
use crate::store::View;
use std::ops::RangeInclusive;
use std::sync::Arc;

/// Where ports come from when none is named (as in Docker's swarm mode).
const DYNAMIC_PORTS: RangeInclusive<u16> = 30000..=32767;

/// Ports of all services as allocated.
pub(super) struct PortTable {
    held: Vec<(PortConfig, ServiceId, String)>,
}

fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    }
}

/// Both can't listen on one node. Two host-mode ports may be the same: the scheduler keeps them apart.
fn collide(one: &PortConfig, other: &PortConfig) -> bool {
    let both_host = one.mode == PublishMode::Host && other.mode == PublishMode::Host;
    let apart = match (one.host_ip, other.host_ip) {
        (Some(one), Some(other)) => one != other && !one.is_unspecified() && !other.is_unspecified(),
        (None, _) | (_, None) => false,
    };
    !both_host && !apart && one.protocol == other.protocol && one.published_port == other.published_port
}

impl PortTable {
    pub fn of(view: &View) -> Self {
        let mut table = Self { held: Vec::new() };
        for service in view.services() {
            table.hold(service, &service.endpoint.ports);
        }
        table
    }

    fn hold(&mut self, service: &Service, ports: &[PortConfig]) {
        let numbered = ports.iter().filter(|port| port.published_port != 0);
        self.held.extend(numbered.map(|port| (port.clone(), service.id, service.spec.name.clone())));
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
        self.held.retain(|(_, owner, _)| *owner != service.id);
        self.hold(service, &ports);
        Ok(ports)
    }

    fn check(&self, service: ServiceId, port: &PortConfig) -> Result<(), String> {
        match self.held.iter().find(|(held, owner, _)| *owner != service && collide(held, port)) {
            None => Ok(()),
            Some((_, _, name)) => Err(format!(
                "port {}/{} is already published by service \"{name}\"",
                port.published_port,
                protocol(port.protocol)
            )),
        }
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
            self.check(service, &numbered).is_ok() && !own.iter().any(|other| collide(other, &numbered))
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
