//! Not more tasks of the service on one node than it allows.

use crate::scheduler::demand::Demand;
use crate::scheduler::nodes::NodeInfo;

fn limit(demand: &Demand) -> u64 {
    demand.task.spec.placement.max_replicas_per_node
}

pub fn accepts(demand: &Demand, node: &NodeInfo) -> bool {
    limit(demand) == 0 || u64::from(node.of_service(demand.task.service)) < limit(demand)
}

pub fn words(demand: &Demand) -> String {
    format!("have the most replicas allowed per node ({})", limit(demand))
}
