//! The placement constraints hold.

use crate::scheduler::demand::Demand;
use crate::scheduler::nodes::NodeInfo;

pub fn accepts(demand: &Demand, node: &NodeInfo) -> bool {
    demand.constraints.iter().all(|constraint| constraint.matches(&node.node))
}

/// The first that the node breaks.
pub fn broken(demand: &Demand, node: &NodeInfo) -> Option<usize> {
    demand.constraints.iter().position(|constraint| !constraint.matches(&node.node))
}

pub fn words(demand: &Demand, at: usize) -> String {
    demand.constraints.get(at).map(|constraint| format!("do not match {constraint}")).unwrap_or_default()
}
