//! The image runs on the node's system and processor.

use crate::scheduler::demand::{Demand, platform_matches};
use crate::scheduler::nodes::NodeInfo;

pub fn accepts(demand: &Demand, node: &NodeInfo) -> bool {
    platform_matches(demand.platforms(), &node.node)
}

pub fn words(demand: &Demand) -> String {
    let wanted: Vec<String> = demand.platforms().iter().map(|p| format!("{}/{}", p.os, p.architecture)).collect();
    format!("have another platform (want {})", wanted.join(" or "))
}
