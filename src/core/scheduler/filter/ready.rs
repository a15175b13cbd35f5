//! The node is there and takes new tasks.

use crate::model::{Availability, NodeState};
use crate::scheduler::nodes::NodeInfo;

/// In the order it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Obstacle {
    Down,
    Drained,
    Paused,
    Disconnected,
    Unheard,
}

impl Obstacle {
    pub fn word(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Drained => "drained",
            Self::Paused => "paused",
            Self::Disconnected => "disconnected",
            Self::Unheard => "not heard of yet",
        }
    }
}

/// Why a node takes nothing; `None` when it does.
pub fn obstacle(node: &NodeInfo) -> Option<Obstacle> {
    match node.node.spec.availability {
        Availability::Drain => return Some(Obstacle::Drained),
        Availability::Pause => return Some(Obstacle::Paused),
        Availability::Active => {}
    }
    match node.node.status.state {
        NodeState::Ready => None,
        NodeState::Down => Some(Obstacle::Down),
        NodeState::Unknown => Some(Obstacle::Unheard),
        NodeState::Disconnected => Some(Obstacle::Disconnected),
    }
}

pub fn accepts(node: &NodeInfo) -> bool {
    obstacle(node).is_none()
}
