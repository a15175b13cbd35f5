//! The order of preference among nodes that pass the filters: the only place that says which is better.
//!
//! First an even spread over the wanted labels, whose tree is in `spread`; within a branch by [`Score`],
//! smallest first. Nodes where the service failed lately come after all others, see `table`.

use super::demand::Demand;
use super::nodes::NodeInfo;
use crate::NodeId;

/// How loaded a node is, for whichever service: few tasks, then little reserved, and at last the id. Where tasks are
/// packed the other way round: much reserved, then many tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Load {
    order: (u64, u64),
    pub node: NodeId,
}

impl Load {
    pub fn of(info: &NodeInfo, packs: bool) -> Self {
        let (tasks, reserved) = (u64::from(info.tasks()), info.reserved_permille());
        let order = if packs { (u64::MAX - reserved, u64::MAX - tasks) } else { (tasks, reserved) };
        Self { order, node: info.node.id }
    }
}

/// A node's place among others for a task: few tasks of its service unless it is packed, then by [`Load`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Score {
    of_service: u32,
    pub load: Load,
}

impl Score {
    pub fn of(info: &NodeInfo, demand: &Demand) -> Self {
        let of_service = if demand.packs { 0 } else { info.of_service(demand.task.service) };
        Self { of_service, load: Load::of(info, demand.packs) }
    }

    /// Of a node without a task of the service.
    pub fn without(load: Load) -> Self {
        Self { of_service: 0, load }
    }
}
