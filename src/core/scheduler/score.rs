//! The order of preference among nodes that pass the filters: the only place that says which is better.
//!
//! First an even spread over the wanted labels, whose tree is in `spread`; within a branch by [`Score`],
//! smallest first. Nodes where the service failed lately come after all others, see `table`.

use super::demand::Demand;
use super::nodes::NodeInfo;
use crate::NodeId;

/// Thousandths of a node's load that count as the same: a task more or less is told by the number of tasks, and nodes of
/// one size get as many of them.
const LOAD_STEP_PERMILLE: u64 = 100;

/// How loaded a node is, for whichever service: a small share in use, in tenths, then few tasks, then exactly by the
/// share, and at last the id. Where tasks are packed the other way round: much reserved, then many tasks.
///
/// The share is the larger one of CPU and memory that is reserved (Kubernetes' `LeastAllocated` and Nomad's `spread` go by
/// it as well; swarmkit by the number of tasks alone). It is that before the task is placed, for which one order of the
/// nodes serves all tasks; a node that is too small for the task is left out by the filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Load {
    order: (u64, u64),
    pub node: NodeId,
}

impl Load {
    pub fn of(info: &NodeInfo, packs: bool) -> Self {
        let tasks = u64::from(info.tasks());
        let order = match packs {
            true => (u64::MAX - info.reserved_permille(), u64::MAX - tasks),
            false => {
                let load = info.load_permille();
                ((u64::from(step(load)) << 32) + tasks, load)
            }
        };
        Self { order, node: info.node.id }
    }
}

/// The share of a node that is in use, in tenths.
pub fn load_step(info: &NodeInfo) -> u32 {
    step(info.load_permille())
}

fn step(load_permille: u64) -> u32 {
    u32::try_from(load_permille / LOAD_STEP_PERMILLE).unwrap_or(u32::MAX)
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
