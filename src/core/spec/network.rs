//! A network's specification.

use super::{Refusal, invalid, labels, object_name};
use crate::model::*;
use ipnet::IpNet;

/// Names that belong to the system.
pub const PREDEFINED_NETWORKS: [&str; 4] = ["bridge", "default", "host", "none"];
/// Smallest subnet that can hold a gateway and tasks.
const PREFIX_LEN_MAX: u8 = 29;

/// Those that users make: the predefined ones are not among them.
pub fn network(spec: &NetworkSpec) -> Result<(), Refusal> {
    if spec.name.is_empty() {
        return invalid("Name: name must be provided");
    }
    if PREDEFINED_NETWORKS.contains(&spec.name.as_str()) {
        return Err(Refusal::Forbidden(format!(
            "Name: operation is not permitted on predefined {} network",
            spec.name
        )));
    }
    object_name(&spec.name)?;
    labels("Labels", &spec.labels)?;
    match spec.driver {
        NetworkDriver::Overlay => {}
        NetworkDriver::Host | NetworkDriver::None => {
            return Err(Refusal::Forbidden(
                "Driver: only one instance of \"host\" and \"null\" networks is allowed".to_owned(),
            ));
        }
    }
    // Every overlay network is encrypted, so that may be asked for; the API reads these from `Options`.
    if let Some(option) = spec.driver_options.keys().find(|option| *option != "encrypted") {
        return invalid(format!("Options.{option}: is not supported; only encrypted is, and every overlay network is"));
    }
    if spec.ipv6 {
        return invalid("EnableIPv6: IPv6 in overlay networks is not supported yet");
    }
    if spec.ingress && spec.attachable {
        return invalid("Attachable: ingress network cannot be attachable");
    }
    if spec.ingress && spec.internal {
        return invalid("Internal: ingress network cannot be internal");
    }
    ipam(spec)
}

fn ipam(spec: &NetworkSpec) -> Result<(), Refusal> {
    if spec.ipam.len() > 1 {
        return invalid("IPAM.Config: more than one subnet in a network is not supported yet");
    }
    let Some(wanted) = spec.ipam.first() else {
        return Ok(());
    };
    let subnet = wanted.subnet;
    let IpNet::V4(v4) = subnet else {
        return invalid(format!("IPAM.Config[0].Subnet: {subnet} is not IPv4, IPv6 is not supported yet"));
    };
    if v4.trunc() != v4 {
        return invalid(format!("IPAM.Config[0].Subnet: invalid subnet {subnet}: it should be {}", v4.trunc()));
    }
    if v4.prefix_len() > PREFIX_LEN_MAX {
        return invalid(format!("IPAM.Config[0].Subnet: {subnet} is too small, use /{PREFIX_LEN_MAX} or larger"));
    }
    if let Some(gateway) = wanted.gateway.filter(|gateway| !subnet.contains(gateway)) {
        return invalid(format!("IPAM.Config[0].Gateway: {gateway} is not in {subnet}"));
    }
    if let Some(range) = wanted.range.filter(|range| !subnet.contains(range)) {
        return invalid(format!("IPAM.Config[0].IPRange: {range} is not in {subnet}"));
    }
    Ok(())
}
