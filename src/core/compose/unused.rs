//! Networks and volumes that are declared and that no service uses: they are not made, so what is wrong with them stops
//! nothing. It is told all the same: it will, once they are used.
//!
//! Called by `stack` for a merged tree.

use super::interpolate::join;
use super::stack::{Context, driver_trouble};
use super::value::{Entry, Node};

const NOT_USED: &str = "no service uses it, so it is not made";

/// Warns of unused networks and volumes that could not be made.
pub(crate) fn warn(context: &mut Context<'_>) {
    let root = context.root;
    let is_external = |entry: &Entry| entry.node.get("external").and_then(Node::as_bool) == Some(true);
    let members = |section| root.get(section).map_or(&[][..], Node::entries).iter();
    for entry in members("networks").filter(|entry| !is_external(entry) && !context.used_networks.contains(&entry.key))
    {
        let driver = entry.node.get("driver");
        if let Some(driver) = driver
            && let Some(trouble) = driver_trouble(driver.as_text().unwrap_or_default())
        {
            let path = format!("networks.{}.driver", entry.key);
            context.report.warn(driver.pos, &path, format!("{trouble}; {NOT_USED}"));
        }
        for option in entry.node.get("driver_opts").map_or(&[][..], Node::entries) {
            if option.key != "encrypted" {
                let path = join(&format!("networks.{}.driver_opts", entry.key), &option.key);
                context.report.warn(option.pos, &path, format!("is not supported; {NOT_USED}"));
            }
        }
    }
    let services = root.get("services").map_or(&[][..], Node::entries).iter();
    let mounts: Vec<&Node> =
        services.flat_map(|service| service.node.get("volumes").map_or(&[][..], Node::items)).collect();
    let mounted = |name: &str| mounts.iter().any(|mount| mount.get("source").and_then(Node::as_text) == Some(name));
    for entry in members("volumes").filter(|entry| !is_external(entry) && !mounted(&entry.key)) {
        let driver = entry.node.get("driver").filter(|driver| !matches!(driver.as_text(), Some("" | "local")));
        let options = entry.node.get("driver_opts").filter(|options| !options.is_zero());
        for (key, node) in [("driver", driver), ("driver_opts", options)] {
            if let Some(node) = node {
                let path = format!("volumes.{}.{key}", entry.key);
                let message = format!("only driver local without options is supported; {NOT_USED}");
                context.report.warn(node.pos, &path, message);
            }
        }
    }
}
