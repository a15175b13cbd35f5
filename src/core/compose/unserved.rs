//! What docker drops from a stack although the service is another one without it. `stack config` prints it with a
//! warning, as docker prints it; a stack is not deployed with it.
//!
//! Called by `compose` with merged trees.

use super::interpolate::join;
use super::value::{Node, Pos};

/// A key, with its place and what to do instead.
pub(crate) struct Unserved {
    pub pos: Pos,
    pub path: String,
    pub instead: &'static str,
}

/// All of them, in the order of the file.
pub(crate) fn find(root: &Node) -> Vec<Unserved> {
    let mut found = Vec::new();
    for entry in root.get("services").map_or(&[][..], Node::entries) {
        let path = join("services", &entry.key);
        if let Some(node) = entry.node.get("network_mode")
            && let Some(instead) = network_mode(node.as_text().unwrap_or_default())
        {
            found.push(Unserved { pos: node.pos, path: join(&path, "network_mode"), instead });
        }
        for network in entry.node.get("networks").map_or(&[][..], Node::entries) {
            for key in ["ipv4_address", "ipv6_address"] {
                if let Some(node) = network.node.get(key).filter(|node| !node.is_zero()) {
                    let path = format!("{path}.networks.{}.{key}", network.key);
                    let instead = "addresses are given by the network; use the service name or networks.*.aliases";
                    found.push(Unserved { pos: node.pos, path, instead });
                }
            }
        }
    }
    found
}

/// `bridge` is what every service has without a word: a network namespace of its own.
fn network_mode(mode: &str) -> Option<&'static str> {
    match mode {
        "" | "bridge" | "default" => None,
        "host" => Some("services cannot be on the host's own network yet; publish ports with mode: host"),
        "none" => Some("services cannot be without a network yet; attach it to one with internal: true"),
        mode if mode.starts_with("service:") || mode.starts_with("container:") => {
            Some("containers do not share a network namespace; put both on one network and use the service name")
        }
        _ => Some("name the networks of the service below networks:"),
    }
}
