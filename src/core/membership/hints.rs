//! Hints that a task's endpoint stopped or resumed taking connections, spread with the gossip.
//!
//! Hints only subtract or restore endpoints of tables that come from managers. Each hint carries a
//! number that its origin increases, so the newest wins whatever order packets arrive in.

use std::collections::{BTreeMap, VecDeque};
use std::sync::mpsc;

use serde::{Deserialize, Serialize};

use super::codec::{PacketError, decode_all, encode};
use super::identity::{Horizon, MemberIdentity};
use crate::{NodeId, TaskId};

/// Endpoints whose latest hint is remembered: all tasks of a large cluster that change within a
/// minute. Forgetting one costs at most a few repeated packets.
const REMEMBERED_MAX: usize = 8192;

/// Something a node says of a task of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndpointHint {
    /// The node that runs the task.
    pub origin: NodeId,
    /// The task.
    pub task: TaskId,
    /// Whether new connections should go there.
    pub reachable: bool,
}

/// The form on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Wire {
    origin: [u8; 16],
    /// The origin's generation when it said so, then its own count: orders hints over restarts.
    order: (u64, u64),
    task: [u8; 16],
    reachable: bool,
}

/// Encodes a hint of this node.
pub(super) fn encode_hint(hint: &EndpointHint, generation: u64, count: u64) -> Option<Vec<u8>> {
    let wire = Wire {
        origin: hint.origin.to_bytes(),
        order: (generation, count),
        task: hint.task.to_bytes(),
        reachable: hint.reachable,
    };
    encode(&wire).ok()
}

/// Tells foca which hints are about the same endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct HintKey {
    origin: NodeId,
    task: TaskId,
}

impl foca::Invalidates for HintKey {
    fn invalidates(&self, other: &Self) -> bool {
        self == other
    }
}

/// foca's handler of broadcasts. New hints leave through a channel, because foca keeps its handler
/// to itself; the machine empties it after every input.
pub(super) struct HintHandler {
    latest: BTreeMap<HintKey, (u64, u64)>,
    order_of_arrival: VecDeque<HintKey>,
    fresh: mpsc::Sender<EndpointHint>,
    horizon: Horizon,
}

impl HintHandler {
    pub(super) fn new(horizon: Horizon) -> (Self, mpsc::Receiver<EndpointHint>) {
        let (fresh, receiver) = mpsc::channel();
        let handler = Self { latest: BTreeMap::new(), order_of_arrival: VecDeque::new(), fresh, horizon };
        (handler, receiver)
    }

    fn remember(&mut self, key: HintKey, order: (u64, u64)) {
        if self.latest.insert(key, order).is_none() {
            self.order_of_arrival.push_back(key);
        }
        if self.latest.len() > REMEMBERED_MAX
            && let Some(oldest) = self.order_of_arrival.pop_front()
        {
            self.latest.remove(&oldest);
        }
    }
}

impl foca::BroadcastHandler<MemberIdentity> for HintHandler {
    type Key = HintKey;
    type Error = PacketError;

    fn receive_item(&mut self, data: &[u8], _sender: Option<&MemberIdentity>) -> Result<Option<HintKey>, PacketError> {
        let wire: Wire = decode_all(data)?;
        let key =
            HintKey { origin: NodeId(u128::from_be_bytes(wire.origin)), task: TaskId(u128::from_be_bytes(wire.task)) };
        if !self.horizon.allows(wire.order.0) {
            return Err(PacketError::Generation(key.origin));
        }
        if self.latest.get(&key).is_some_and(|latest| *latest >= wire.order) {
            return Ok(None);
        }
        self.remember(key, wire.order);
        let hint = EndpointHint { origin: key.origin, task: key.task, reachable: wire.reachable };
        // The receiver lives as long as this handler: both are fields of the machine.
        let _ = self.fresh.send(hint);
        Ok(Some(key))
    }
}
