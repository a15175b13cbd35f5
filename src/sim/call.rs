//! Single messages between hosts, and calls: a request, its answer, and the time after which nobody waits for it.

use crate::net::HostId;
use crate::settings::{MS, SECOND};
use crate::table::Source;
use crate::world::{Event, World};
use bytes::Bytes;
use rand::Rng;
use std::net::SocketAddr;
use std::sync::Arc;
use swarm_core::NodeId;
use swarm_core::consensus::Send;
use swarm_core::model::NodeDescription;
use swarm_core::store::Txn;

/// As the daemon's: for one attempt at the leader.
const CALL_US: u64 = 5 * SECOND;
/// A connection that cannot be made fails after this.
const DIAL_US: u64 = 2 * SECOND;

/// What arrives at a host.
#[derive(Clone, Debug)]
pub enum Packet {
    Raft { from: NodeId, send: Send, epoch: u64 },
    Gossip { from: SocketAddr, data: Bytes },
    Open { from: HostId, life: u64, attempt: u64, description: Box<NodeDescription> },
    NotOpened { life: u64, attempt: u64, leader: Option<NodeId>, removed: bool },
    Request { call: u64, request: Request },
    Reply { call: u64, reply: Reply },
}

/// What managers are asked.
#[derive(Clone, Debug)]
pub enum Request {
    /// Write this for another manager.
    Submit { txn: Arc<Txn>, source: Source },
    /// A certificate for the role the asker should have.
    Renew,
    /// Into the group of managers.
    JoinRaft { raft_id: u64 },
}

/// What they answer.
#[derive(Clone, Debug)]
pub enum Reply {
    Submitted { index: u64 },
    NotLeader { leader: Option<NodeId> },
    Uncertain,
    Renewed { manager: bool },
    Joined { members: Vec<NodeId> },
    Failed,
}

/// What becomes of the answer.
#[derive(Clone, Copy, Debug)]
pub enum Then {
    Submission(u64),
    Renew,
    Join,
}

/// A call under way.
#[derive(Clone, Debug)]
pub struct Call {
    pub from: HostId,
    pub life: u64,
    pub to: HostId,
    pub then: Then,
}

/// How a call ended for who asked.
#[derive(Clone, Debug)]
pub enum Answer {
    Reply(Reply),
    /// The request never reached a handler.
    NotCarriedOut,
    Lost,
}

impl World {
    /// A packet of its own, which may be lost or come twice. Returns whether it is under way.
    pub fn send_packet(&mut self, from: HostId, to: HostId, packet: &Packet) -> bool {
        let arrivals = self.net.packet(&mut self.rng, from, to);
        for after in &arrivals {
            self.push(*after, Event::Packet { to, packet: packet.clone() });
        }
        !arrivals.is_empty()
    }

    /// A message over a connection: not lost while the way is open.
    pub fn send_reliably(&mut self, from: HostId, to: HostId, packet: Packet) {
        if self.net.is_linked(from, to) {
            let after = self.net.segment(&mut self.rng, from, to);
            self.push(after, Event::Packet { to, packet });
        }
    }

    /// Asks a manager; the answer, or that there is none, comes to `then`.
    pub fn call(&mut self, from: HostId, to: HostId, request: Request, then: Then) {
        let Some(life) = self.hosts[from].daemon.as_ref().map(|daemon| daemon.life) else { return };
        let call = self.number();
        self.calls.insert(call, Call { from, life, to, then });
        let there = self.net.is_linked(from, to) && self.hosts[to].daemon.is_some();
        // Without a connection the request is certainly not carried out; over an old one nobody knows.
        if !there && self.rng.random_bool(0.7) {
            self.push(DIAL_US, Event::CallTimeout { call });
            return;
        }
        self.send_reliably(from, to, Packet::Request { call, request });
        self.push(CALL_US, Event::CallTimeout { call });
    }

    /// Answers a call.
    pub fn reply(&mut self, call: u64, reply: Reply) {
        let Some(known) = self.calls.get(&call).cloned() else { return };
        self.send_reliably(known.to, known.from, Packet::Reply { call, reply });
    }

    pub fn call_timed_out(&mut self, call: u64) {
        let there = self.calls.get(&call).is_some_and(|c| self.hosts[c.to].daemon.is_some());
        let answer = if there { Answer::Lost } else { Answer::NotCarriedOut };
        // One that was under way when its manager died may have been carried out before.
        let answer = if self.chance(30) { Answer::Lost } else { answer };
        self.answered(call, answer);
    }

    fn answered(&mut self, call: u64, answer: Answer) {
        let Some(known) = self.calls.remove(&call) else { return };
        if self.hosts[known.from].daemon.as_ref().is_none_or(|daemon| daemon.life != known.life) {
            return;
        }
        match known.then {
            Then::Submission(submission) => self.submission_answered(submission, answer),
            Then::Renew => self.renewed(known.from, &answer),
            Then::Join => self.joined(known.from, &answer),
        }
    }

    /// Something arrived at a host: whoever runs there gets it.
    pub fn arrive(&mut self, to: HostId, packet: Packet) {
        if self.hosts[to].daemon.is_none() {
            if let Packet::Raft { from, send, epoch } = packet {
                self.raft_not_delivered(from, epoch, &send, 10 * MS);
            }
            return;
        }
        match packet {
            Packet::Raft { from, send, epoch } => self.raft_arrives(to, from, epoch, send),
            Packet::Gossip { from, data } => self.gossip_arrives(to, from, data),
            Packet::Open { from, life, attempt, description } => {
                self.session_asked(to, from, life, attempt, *description);
            }
            Packet::NotOpened { life, attempt, leader, removed } => {
                self.session_refused(to, life, attempt, leader, removed);
            }
            Packet::Request { call, request } => self.requested(to, call, request),
            Packet::Reply { call, reply } => self.answered(call, Answer::Reply(reply)),
        }
    }
}
