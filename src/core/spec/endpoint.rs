//! Ports a service publishes.

use super::{Refusal, invalid};
use crate::model::*;

/// Ports that every node of a cluster listens at, unless told otherwise: the managers, gossip, and the overlay. A
/// service published there could never be reached.
const OWN_UDP_PORTS: [u16; 3] = [2377, 7946, 4789];

pub(super) fn endpoint(endpoint: &EndpointSpec) -> Result<(), Refusal> {
    for (index, port) in endpoint.ports.iter().enumerate() {
        let place = format!("EndpointSpec.Ports[{index}]");
        if port.target_port == 0 {
            return invalid(format!("{place}.TargetPort: must be 1 to 65535"));
        }
        if endpoint.mode == EndpointMode::Dnsrr && port.mode == PublishMode::Ingress {
            return invalid(format!(
                "{place}.PublishMode: port published with ingress mode can't be used with dnsrr mode"
            ));
        }
        if port.protocol == Protocol::Udp && OWN_UDP_PORTS.contains(&port.published_port) {
            return invalid(format!(
                "{place}.PublishedPort: port {}/udp is used by the cluster itself on every node",
                port.published_port
            ));
        }
        if port.protocol == Protocol::Sctp {
            return invalid(format!("{place}.Protocol: sctp is not supported, use tcp or udp"));
        }
        if endpoint.ports[..index].iter().any(|earlier| earlier.meets(port)) {
            return invalid(format!(
                "{place}.PublishedPort: duplicate published ports provided: {}/{}",
                port.published_port,
                protocol_word(port.protocol)
            ));
        }
    }
    Ok(())
}

fn protocol_word(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    }
}
