//! The filters a node must pass, each in its own file with the words for what it leaves out.

mod constraints;
mod host_ports;
mod max_replicas;
mod platform;
mod ready;
mod resources;

use super::demand::Demand;
use super::nodes::NodeInfo;
use super::tally::LeftOut;
pub(super) use ready::Obstacle;
pub(super) use resources::Lack;

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

    /// Why it leaves a node out, and of what the node lacks how much it has; empty when it does not.
    fn blame(self, demand: &Demand, node: &NodeInfo) -> Vec<Blame> {
        let one = |cause: Option<Cause>| cause.map(|cause| (cause, None)).into_iter().collect();
        match self {
            Self::Ready => one(ready::obstacle(node).map(Cause::Ready)),
            Self::Platform => one((!platform::accepts(demand, node)).then_some(Cause::Platform)),
            Self::Constraints => one(constraints::broken(demand, node).map(Cause::Constraint)),
            Self::MaxReplicas => one((!max_replicas::accepts(demand, node)).then_some(Cause::MaxReplicas)),
            Self::Resources => {
                let lack = resources::lack(demand, node);
                lack.map(|lack| (resources::free(&lack, node), lack))
                    .map(|(free, lack)| (Cause::Lack(lack), Some(free)))
                    .into_iter()
                    .collect()
            }
            Self::HostPorts => host_ports::taken(demand, node).map(|port| (Cause::HostPort(port), None)).collect(),
        }
    }
}

/// What leaves a node out, and what it has free of what it lacks.
pub(super) type Blame = (Cause, Option<i64>);

/// What leaves a node out; in the order it is told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cause {
    Ready(Obstacle),
    Platform,
    /// The first constraint it breaks, by its place.
    Constraint(usize),
    MaxReplicas,
    /// What it lacks first.
    Lack(Lack),
    /// A port that is in use there, by its place.
    HostPort(usize),
}

impl Cause {
    /// A number of nodes, then what they are or lack, and in parentheses what is wanted.
    pub fn words(&self, demand: &Demand, left_out: &LeftOut) -> String {
        let what = match self {
            Self::Ready(obstacle) => obstacle.word().to_owned(),
            Self::Platform => platform::words(demand),
            Self::Constraint(at) => constraints::words(demand, *at),
            Self::MaxReplicas => max_replicas::words(demand),
            Self::Lack(lack) => resources::words(demand, lack, left_out),
            Self::HostPort(at) => host_ports::words(demand, *at),
        };
        format!("{} {what}", left_out.nodes)
    }
}

/// Why the first filter that leaves the node out does so; empty when none does.
pub(super) fn blame(demand: &Demand, node: &NodeInfo) -> Vec<Blame> {
    let mut all = Filter::ALL.into_iter().map(|filter| filter.blame(demand, node));
    all.find(|causes| !causes.is_empty()).unwrap_or_default()
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
