//! The filters a node must pass, each in its own file with the words for what it leaves out.

mod constraints;
mod host_ports;
mod max_replicas;
mod platform;
mod ready;
mod resources;

use super::demand::Demand;
use super::nodes::NodeInfo;

/// In the order they are asked: what a person can't change quickly comes first, so that the reason
/// names what stands in the way of the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filter {
    Ready,
    Platform,
    Constraints,
    MaxReplicas,
    Resources,
    HostPorts,
}

impl Filter {
    pub const ALL: [Self; 6] =
        [Self::Ready, Self::Platform, Self::Constraints, Self::MaxReplicas, Self::Resources, Self::HostPorts];

    pub fn accepts(self, demand: &Demand, node: &NodeInfo) -> bool {
        match self {
            Self::Ready => ready::accepts(node),
            Self::Platform => platform::accepts(demand, node),
            Self::Constraints => constraints::accepts(demand, node),
            Self::MaxReplicas => max_replicas::accepts(demand, node),
            Self::Resources => resources::accepts(demand, node),
            Self::HostPorts => host_ports::accepts(demand, node),
        }
    }

    /// Adds the reasons why it left out `rejected`: a number of nodes, then what they are or lack, and in parentheses
    /// what is wanted.
    pub fn explain(self, demand: &Demand, rejected: &[&NodeInfo], reasons: &mut Vec<String>) {
        match self {
            Self::Ready => ready::explain(rejected, reasons),
            Self::Platform => platform::explain(demand, rejected, reasons),
            Self::Constraints => constraints::explain(demand, rejected, reasons),
            Self::MaxReplicas => max_replicas::explain(demand, rejected, reasons),
            Self::Resources => resources::explain(demand, rejected, reasons),
            Self::HostPorts => host_ports::explain(demand, rejected, reasons),
        }
    }
}

/// Every filter lets the node pass.
pub(super) fn accepts(demand: &Demand, node: &NodeInfo) -> bool {
    Filter::ALL.into_iter().all(|filter| filter.accepts(demand, node))
}

/// The node would do, if only what is on it left.
pub(super) fn could_accept(demand: &Demand, node: &NodeInfo) -> bool {
    [Filter::Ready, Filter::Platform, Filter::Constraints].into_iter().all(|filter| filter.accepts(demand, node))
}

/// The node is there and takes new tasks, whatever they ask for.
pub fn takes_tasks(node: &NodeInfo) -> bool {
    ready::accepts(node)
}
