//! What others see of the membership: a map of members, and notices of its changes.

use crate::{Mono, NodeId};

use super::hints::EndpointHint;
use super::identity::MemberIdentity;

/// What this node believes of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberState {
    /// It answers.
    Alive,
    /// Somebody got no answer; it may still speak up. New connections go elsewhere meanwhile.
    Suspect,
    /// It did not speak up, or it left.
    Down,
}

impl MemberState {
    pub(super) fn from_foca(state: foca::State) -> Self {
        match state {
            foca::State::Alive => Self::Alive,
            foca::State::Suspect => Self::Suspect,
            foca::State::Down => Self::Down,
        }
    }
}

/// Another node as this one sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its latest life.
    pub identity: MemberIdentity,
    /// What is believed of it.
    pub state: MemberState,
    /// Since when, by this process's clock.
    pub since: Mono,
}

/// All other nodes ever heard of, by id. Cloning is cheap.
pub type Members = imbl::OrdMap<NodeId, Member>;

/// A change, in the order it happened. The members map already shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// New, or back.
    Up(NodeId),
    /// Nobody hears it, for now.
    Suspected(NodeId),
    /// A suspect spoke up.
    Recovered(NodeId),
    /// Given up, or it left.
    Down(NodeId),
    /// Still there, but with another generation or other addresses.
    Changed(NodeId),
    /// A node says of a task of its own whether it takes connections.
    Hint(EndpointHint),
    /// This node was believed dead and came back with a higher generation.
    Rejoined {
        /// The new generation.
        generation: u64,
    },
    /// This node keeps being declared dead: probably another host runs with a copy of its data.
    Contested,
}
