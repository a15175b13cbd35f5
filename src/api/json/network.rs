//! Networks, both ways.

use super::fields::{Fields, strings};
use super::object::Object;
use super::time::rfc3339_ms;
use crate::error::ApiError;
use ipnet::IpNet;
use serde_json::json;
use swarm_core::NetworkId;
use swarm_core::model::*;
use swarm_core::store::View;

type Read<T> = Result<T, ApiError>;

/// Length of a network's prefix; that of a single address when it is gone or not allocated.
pub(super) fn prefix_len(view: &View, id: NetworkId) -> u8 {
    let allocation = view.network(id).and_then(|network| network.allocation.as_ref());
    allocation.map_or(32, |allocation| allocation.subnet.prefix_len())
}

/// Reads API `NetworkCreateRequest`.
pub fn read_network_spec(mut object: Object) -> Read<NetworkSpec> {
    let driver = match object.string("Driver")?.as_str() {
        "overlay" => NetworkDriver::Overlay,
        "host" => NetworkDriver::Host,
        "null" => NetworkDriver::None,
        "" | "bridge" => {
            return Err(ApiError::bad(
                "Driver: networks of a single host (bridge) are not supported, use --driver overlay",
            ));
        }
        other => {
            return Err(ApiError::bad(format!("Driver: network driver \"{other}\" is not supported, use overlay")));
        }
    };
    object.word("Scope", &[("", ()), ("swarm", ()), ("global", ())])?;
    // A name is unique here in any case.
    object.bool("CheckDuplicate")?;
    // IPv4 can't be turned off.
    if object.opt_bool("EnableIPv4")? == Some(false) {
        return Err(ApiError::bad("EnableIPv4: a network without IPv4 is not supported"));
    }
    let spec = NetworkSpec {
        name: object.string("Name")?,
        labels: object.map("Labels")?,
        driver,
        driver_options: read_options(&mut object)?,
        internal: object.bool("Internal")?,
        attachable: object.bool("Attachable")?,
        ingress: object.bool("Ingress")?,
        ipv6: object.bool("EnableIPv6")?,
        ipam: read_ipam(&mut object)?,
    };
    object.finish()?;
    Ok(spec)
}

/// Every overlay network is encrypted here, so that may be asked for; nothing else is honoured.
fn read_options(object: &mut Object) -> Read<std::collections::BTreeMap<String, String>> {
    let options = object.map("Options")?;
    match options.keys().find(|key| key.as_str() != "encrypted") {
        Some(key) => Err(ApiError::bad(format!("{}.{key} is not supported", object.path("Options")))),
        None => Ok(options),
    }
}

fn read_ipam(object: &mut Object) -> Read<Vec<IpamSubnet>> {
    let Some(mut ipam) = object.object("IPAM")? else {
        return Ok(Vec::new());
    };
    ipam.word("Driver", &[("default", ()), ("", ())])?;
    let mut subnets = Vec::new();
    for mut config in ipam.objects("Config")? {
        let (subnet, range, gateway) = (config.string("Subnet")?, config.string("IPRange")?, config.string("Gateway")?);
        let place =
            |name: &str, text: &str| ApiError::bad(format!("{}: invalid address \"{text}\"", config.path(name)));
        if !(subnet.is_empty() && range.is_empty() && gateway.is_empty()) {
            let net = |name: &str, text: &str| text.parse::<IpNet>().map_err(|_| place(name, text));
            let parsed = IpamSubnet {
                subnet: net("Subnet", &subnet)?,
                gateway: match gateway.as_str() {
                    "" => None,
                    text => Some(text.parse().map_err(|_| place("Gateway", text))?),
                },
                range: if range.is_empty() { None } else { Some(net("IPRange", &range)?) },
            };
            subnets.push(parsed);
        }
        config.finish()?;
    }
    ipam.finish()?;
    Ok(subnets)
}

fn driver_name(driver: NetworkDriver) -> &'static str {
    match driver {
        NetworkDriver::Overlay => "overlay",
        NetworkDriver::Host => "host",
        NetworkDriver::None => "null",
    }
}

/// `host` and `none` are of each node by itself.
pub fn scope_name(driver: NetworkDriver) -> &'static str {
    match driver {
        NetworkDriver::Overlay => "swarm",
        NetworkDriver::Host | NetworkDriver::None => "local",
    }
}

fn write_ipam_config(network: &Network) -> Vec<Fields> {
    if let Some(allocation) = &network.allocation {
        let range = network.spec.ipam.first().and_then(|ipam| ipam.range);
        let config = Fields::new()
            .set("Subnet", allocation.subnet.to_string())
            .opt("IPRange", range.map(|range| range.to_string()))
            .set("Gateway", allocation.gateway.to_string());
        return vec![config];
    }
    let configs = network.spec.ipam.iter().map(|ipam| {
        Fields::new()
            .set("Subnet", ipam.subnet.to_string())
            .opt("IPRange", ipam.range.map(|range| range.to_string()))
            .opt("Gateway", ipam.gateway.map(|gateway| gateway.to_string()))
    });
    configs.collect()
}

fn write_options(network: &Network) -> Fields {
    let mut options = network.spec.driver_options.clone();
    if let Some(allocation) = &network.allocation {
        options.insert("com.docker.network.driver.overlay.vxlanid_list".to_owned(), allocation.overlay_id.to_string());
    }
    strings(&options)
}

/// API `NetworkInspect`. `PendingReason` is ours: why it has no addresses yet.
pub fn write_network(network: &Network) -> Fields {
    let spec = &network.spec;
    Fields::new()
        .set("Name", spec.name.as_str())
        .set("Id", network.id.to_string())
        .set("Created", rfc3339_ms(network.meta.created.wall))
        .set("Scope", scope_name(spec.driver))
        .set("Driver", driver_name(spec.driver))
        .set("EnableIPv4", true)
        .set("EnableIPv6", spec.ipv6)
        .set("IPAM", json!({ "Driver": "default", "Options": {}, "Config": write_ipam_config(network) }))
        .set("Internal", spec.internal)
        .set("Attachable", spec.attachable)
        .set("Ingress", spec.ingress)
        .set("ConfigFrom", json!({ "Network": "" }))
        .set("ConfigOnly", false)
        .set("Options", write_options(network))
        .set("Labels", strings(&spec.labels))
        .filled("PendingReason", network.pending_reason.as_str())
}

/// The network inside a task's attachment.
pub(super) fn write_network_of_task(network: &Network) -> Fields {
    let spec = &network.spec;
    let described = Fields::new()
        .set("Name", spec.name.as_str())
        .set("Labels", strings(&spec.labels))
        .set("DriverConfiguration", json!({ "Name": driver_name(spec.driver) }))
        .filled("Internal", spec.internal)
        .filled("Attachable", spec.attachable)
        .filled("Ingress", spec.ingress)
        .set("Scope", scope_name(spec.driver));
    Fields::new()
        .set("ID", network.id.to_string())
        .set("Version", json!({ "Index": network.meta.version }))
        .set("CreatedAt", rfc3339_ms(network.meta.created.wall))
        .set("UpdatedAt", rfc3339_ms(network.meta.updated.wall))
        .set("Spec", described)
        .set("DriverState", json!({ "Name": driver_name(spec.driver), "Options": write_options(network) }))
        .set("IPAMOptions", json!({ "Driver": { "Name": "default" }, "Configs": write_ipam_config(network) }))
}
