//! The placement constraints hold.

use crate::scheduler::demand::Demand;
use crate::scheduler::nodes::NodeInfo;

pub fn accepts(demand: &Demand, node: &NodeInfo) -> bool {
    demand.constraints.iter().all(|constraint| constraint.matches(&node.node))
}

/// Each node is counted under the first constraint it breaks.
pub fn explain(demand: &Demand, rejected: &[&NodeInfo], reasons: &mut Vec<String>) {
    for (index, constraint) in demand.constraints.iter().enumerate() {
        let breaks_first =
            |node: &&&NodeInfo| demand.constraints.iter().position(|c| !c.matches(&node.node)) == Some(index);
        let count = rejected.iter().filter(breaks_first).count();
        if count > 0 {
            reasons.push(format!("{count} do not match {constraint}"));
        }
    }
}
