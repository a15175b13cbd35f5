//! The node is there and takes new tasks.

use crate::model::{Availability, NodeState};
use crate::scheduler::nodes::NodeInfo;

/// Why a node takes nothing; `None` when it does.
fn obstacle(node: &NodeInfo) -> Option<&'static str> {
    match node.node.spec.availability {
        Availability::Drain => return Some("drained"),
        Availability::Pause => return Some("paused"),
        Availability::Active => {}
    }
    match node.node.status.state {
        NodeState::Ready => None,
        NodeState::Down => Some("down"),
        NodeState::Unknown => Some("not heard of yet"),
        NodeState::Disconnected => Some("disconnected"),
    }
}

pub fn accepts(node: &NodeInfo) -> bool {
    obstacle(node).is_none()
}

pub fn explain(rejected: &[&NodeInfo], reasons: &mut Vec<String>) {
    for word in ["down", "drained", "paused", "disconnected", "not heard of yet"] {
        let count = rejected.iter().filter(|node| obstacle(node) == Some(word)).count();
        if count > 0 {
            reasons.push(format!("{count} {word}"));
        }
    }
}
