//! Who is there: the SWIM membership of all nodes (foca) as a pure state machine.
//!
//! Owns what this node believes of every other: identity, addresses, and alive, suspect or down.
//! One shell per process feeds it packets and time and carries out its [`Effects`]; it is `node`'s
//! gossip task, or the simulator. It decides nothing about tasks: placement is the leader's.
//!
//! Beliefs about a failed node are kept, so that a healed partition finds itself again. Only the
//! node itself, as a newer generation, replaces its record: members are told apart by node id and
//! generation, never by address, so a host that comes up on another's address evicts nobody.
//!
//! References: SWIM (Das, Gupta, Motivala 2002) for probing and suspicion; Lifeguard (Dadgar,
//! Phillips, Currey 2018) for timeouts that grow while this node itself is slow.

mod codec;
mod driver;
mod hints;
mod identity;
mod machine;
mod random;
mod sync;
mod timing;
mod view;

pub use codec::PACKET_BYTES_MAX;
pub use hints::EndpointHint;
pub use identity::{MemberIdentity, MemberInfo, MemberInfoError, NAME_BYTES_MAX};
pub use machine::{Counters, Effects, Input, Membership};
pub use view::{Member, MemberState, Members, Notice};

#[cfg(test)]
mod tests;
