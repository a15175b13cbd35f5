//! The order of preference among nodes that pass the filters: the only place that says which is better.
//!
//! First an even spread over the wanted labels, whose tree is in `spread`; within a branch by [`Score`],
//! smallest first. Nodes where the service failed lately come after all others, see `table`.

use super::nodes::NodeInfo;
use crate::{NodeId, ServiceId};

/// How loaded a node is, for whichever service: few tasks, then little reserved, and at last the id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Load {
    tasks: u32,
    reserved_permille: u64,
    pub node: NodeId,
}

impl Load {
    pub fn of(info: &NodeInfo) -> Self {
        Self { tasks: info.tasks(), reserved_permille: info.reserved_permille(), node: info.node.id }
    }
}

/// A node's place among others for a task of a service: few tasks of the service, then by [`Load`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Score {
    of_service: u32,
    pub load: Load,
}

impl Score {
    pub fn of(info: &NodeInfo, service: ServiceId) -> Self {
        Self { of_service: info.of_service(service), load: Load::of(info) }
    }

    /// Of a node without a task of the service.
    pub fn without(load: Load) -> Self {
        Self { of_service: 0, load }
    }
}
