//! The connection of a session: data arrives in order, late or not at all, and a side that hears nothing for long
//! gives up.

use crate::net::{HostId, IDLE_US};
use crate::settings::MS;
use crate::world::{Event, World};
use std::collections::VecDeque;
use std::sync::Arc;
use swarm_core::autoscale::{Loads, Sampling};
use swarm_core::dispatch::Message;
use swarm_core::model::{NodeRole, TaskStatus};
use swarm_core::{NodeId, TaskId};

/// Between looks whether the other side is heard.
const CHECK_US: u64 = 500 * MS;
/// Between attempts to get through a way that is closed.
const AGAIN_US: u64 = 100 * MS;

/// One of the two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Agent,
    Leader,
}

impl Side {
    fn other(self) -> Self {
        match self {
            Side::Agent => Side::Leader,
            Side::Leader => Side::Agent,
        }
    }
}

/// What a session carries.
#[derive(Clone, Debug)]
pub enum Frame {
    /// The first one, to the attempt that asked for it.
    Opened {
        attempt: u64,
    },
    Told(Message),
    Cluster(Info),
    Heartbeat {
        sequence: u64,
    },
    Reports {
        sequence: u64,
        reports: Vec<(TaskId, TaskStatus)>,
    },
    /// Of which services the agent is to tell what they use.
    Sampling(Arc<Sampling>),
    Loads(Loads),
    /// The other side ended it in order.
    End,
}

/// What the leader says of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    pub managers: Vec<NodeId>,
    pub role: NodeRole,
    pub gossip_key: u8,
}

/// Who has an end. The epoch is that of the daemon's life, and on the leader's side that of its manager.
#[derive(Clone, Copy, Debug)]
pub struct End {
    pub host: HostId,
    pub life: u64,
    pub epoch: u64,
    pub term: u64,
}

/// A connection.
#[derive(Debug)]
pub struct Stream {
    agent: End,
    leader: End,
    to_agent: VecDeque<Frame>,
    to_leader: VecDeque<Frame>,
    heard: [u64; 2],
    open: [bool; 2],
    carrying: [bool; 2],
}

fn at(side: Side) -> usize {
    match side {
        Side::Agent => 0,
        Side::Leader => 1,
    }
}

impl Stream {
    pub fn end(&self, side: Side) -> End {
        match side {
            Side::Agent => self.agent,
            Side::Leader => self.leader,
        }
    }

    fn queue(&mut self, to: Side) -> &mut VecDeque<Frame> {
        match to {
            Side::Agent => &mut self.to_agent,
            Side::Leader => &mut self.to_leader,
        }
    }
}

impl World {
    /// A connection that both sides have.
    pub fn stream_open(&mut self, agent: End, leader: End) -> u64 {
        let id = self.number();
        let stream = Stream {
            agent,
            leader,
            to_agent: VecDeque::new(),
            to_leader: VecDeque::new(),
            heard: [self.now; 2],
            open: [true; 2],
            carrying: [false; 2],
        };
        self.streams.insert(id, stream);
        self.push(CHECK_US, Event::StreamCheck { stream: id });
        id
    }

    /// Sends a frame to a side.
    pub fn stream_send(&mut self, id: u64, to: Side, frame: Frame) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        if !stream.open[at(to.other())] {
            return;
        }
        stream.queue(to).push_back(frame);
        if !std::mem::replace(&mut stream.carrying[at(to)], true) {
            self.carry(id, to);
        }
    }

    fn carry(&mut self, id: u64, to: Side) {
        let Some(stream) = self.streams.get(&id) else { return };
        let (from, host) = (stream.end(to.other()).host, stream.end(to).host);
        let after = self.net.segment(&mut self.rng, from, host);
        self.push(after, Event::StreamData { stream: id, to });
    }

    /// A side has no more use for it; the other one is told in order.
    pub fn stream_close(&mut self, id: u64, by: Side) {
        self.stream_send(id, by.other(), Frame::End);
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.open[at(by)] = false;
        }
    }

    fn is_there(&self, end: End, side: Side) -> bool {
        let Some(daemon) = self.hosts[end.host].daemon.as_ref().filter(|daemon| daemon.life == end.life) else {
            return false;
        };
        match side {
            Side::Agent => true,
            Side::Leader => daemon.manager.as_ref().is_some_and(|manager| manager.epoch == end.epoch),
        }
    }

    pub fn stream_arrives(&mut self, id: u64, to: Side) {
        let Some(stream) = self.streams.get(&id) else { return };
        let (from, end) = (stream.end(to.other()), stream.end(to));
        if !self.net.is_open(from.host, end.host) {
            self.push(AGAIN_US, Event::StreamData { stream: id, to });
            return;
        }
        let there = self.is_there(end, to);
        let now = self.now;
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let frame = stream.queue(to).pop_front();
        if stream.queue(to).is_empty() {
            stream.carrying[at(to)] = false;
        } else {
            self.push(20, Event::StreamData { stream: id, to });
        }
        let Some(stream) = self.streams.get_mut(&id) else { return };
        stream.heard[at(to)] = now;
        let (Some(frame), true, true) = (frame, there, stream.open[at(to)]) else { return };
        if let Frame::End = frame {
            stream.open[at(to)] = false;
            self.stream_over(id, to, end);
            return;
        }
        match to {
            Side::Agent => self.session_frame(end.host, id, frame),
            Side::Leader => self.leader_frame(end, id, frame),
        }
    }

    /// Keep-alives go both ways all the time; who hears none gives up.
    pub fn stream_check(&mut self, id: u64) {
        let now = self.now;
        for side in [Side::Agent, Side::Leader] {
            let Some(stream) = self.streams.get(&id) else { return };
            let (end, other) = (stream.end(side), stream.end(side.other()));
            if !stream.open[at(side)] {
                continue;
            }
            let there = self.is_there(end, side);
            let heard = self.net.is_open(other.host, end.host)
                && self.is_there(other, side.other())
                && self.hosts[other.host].paused_until <= now;
            let Some(stream) = self.streams.get_mut(&id) else { return };
            if heard {
                stream.heard[at(side)] = now;
            } else if !there {
                stream.open[at(side)] = false;
            } else if now >= stream.heard[at(side)] + IDLE_US && self.hosts[end.host].paused_until <= now {
                stream.open[at(side)] = false;
                self.stream_over(id, side, end);
            }
        }
        if self.streams.get(&id).is_some_and(|stream| stream.open == [false; 2]) {
            self.streams.remove(&id);
        } else {
            self.push(CHECK_US, Event::StreamCheck { stream: id });
        }
    }

    fn stream_over(&mut self, id: u64, side: Side, end: End) {
        match side {
            Side::Agent => self.session_over(end.host, id),
            Side::Leader => self.leader_stream_over(end, id),
        }
    }
}
