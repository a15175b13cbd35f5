//! The image runs on the node's system and processor.

use crate::scheduler::demand::{Demand, platform_matches};
use crate::scheduler::nodes::NodeInfo;

pub fn accepts(demand: &Demand, node: &NodeInfo) -> bool {
    platform_matches(demand.platforms(), &node.node)
}

pub fn explain(demand: &Demand, rejected: &[&NodeInfo], reasons: &mut Vec<String>) {
    let wanted: Vec<String> = demand.platforms().iter().map(|p| format!("{}/{}", p.os, p.architecture)).collect();
    reasons.push(format!("{} have another platform (want {})", rejected.len(), wanted.join(" or ")));
}
