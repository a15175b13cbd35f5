//! The agent's session with the leader (`node::agent::session`): finds it, keeps it alive, and begins again.

use crate::call::Packet;
use crate::host::description;
use crate::net::HostId;
use crate::settings::{MS, SECOND};
use crate::stream::{Frame, Side};
use crate::world::{Wake, World};
use std::collections::{BTreeMap, VecDeque};
use swarm_core::dispatch::Message;
use swarm_core::worker::Input;
use swarm_core::{Mono, NodeId};

/// As the daemon's.
const OPEN_US: u64 = 3 * SECOND;
const RETRY_MIN_US: u64 = 100 * MS;
const RETRY_MAX_US: u64 = 2 * SECOND;
const LASTING_US: u64 = 2 * SECOND;
const PERIOD_US: u64 = SECOND;
const SILENT_PERIODS: u64 = 2;
/// Heartbeats remembered: a later lease is worth nothing.
const BEATS_MAX: usize = 64;

#[derive(Debug, Default)]
enum State {
    #[default]
    Waiting,
    /// Asks one manager after the other.
    Asking {
        attempt: u64,
        asked: NodeId,
        rest: VecDeque<NodeId>,
        redirected: bool,
    },
    Open {
        stream: u64,
        leader: NodeId,
        since: u64,
        heard: u64,
    },
}

/// Where the agent is with its session.
#[derive(Debug)]
pub struct Session {
    state: State,
    retry_us: u64,
    scheduled: bool,
    /// When heartbeats were sent, for the leases that answer them.
    beats: BTreeMap<u64, Mono>,
}

impl Default for Session {
    fn default() -> Self {
        Self { state: State::Waiting, retry_us: RETRY_MIN_US, scheduled: false, beats: BTreeMap::new() }
    }
}

impl Session {
    pub fn stream(&self) -> Option<u64> {
        match &self.state {
            State::Open { stream, .. } => Some(*stream),
            State::Waiting | State::Asking { .. } => None,
        }
    }
}

impl World {
    pub fn session(&mut self, host: HostId) -> Option<&mut Session> {
        self.daemon(host).map(|daemon| &mut daemon.agent.session)
    }

    fn session_later(&mut self, host: HostId, after: u64) {
        let Some(session) = self.session(host) else { return };
        if !std::mem::replace(&mut session.scheduled, true) {
            self.wake(host, after, Wake::SessionTry);
        }
    }

    /// Begins to ask for the leader.
    pub fn session_try(&mut self, host: HostId) {
        let Some(daemon) = self.daemon(host) else { return };
        let rest = daemon.book.in_order().into();
        let session = &mut daemon.agent.session;
        session.scheduled = false;
        if !matches!(session.state, State::Waiting) {
            return;
        }
        self.ask_next(host, rest);
    }

    fn ask_next(&mut self, host: HostId, mut rest: VecDeque<NodeId>) {
        match rest.pop_front() {
            Some(node) => self.ask(host, node, rest, false),
            None => {
                let Some(session) = self.session(host) else { return };
                session.state = State::Waiting;
                let after = session.retry_us;
                session.retry_us = (after * 2).min(RETRY_MAX_US);
                self.session_later(host, after);
            }
        }
    }

    fn ask(&mut self, host: HostId, asked: NodeId, rest: VecDeque<NodeId>, redirected: bool) {
        let attempt = self.number();
        let Some(daemon) = self.daemon(host) else { return };
        let life = daemon.life;
        daemon.agent.session.state = State::Asking { attempt, asked, rest, redirected };
        if let Some(to) = self.nodes.get(&asked).copied() {
            let description = Box::new(description(self.settings.asks, host));
            self.send_reliably(host, to, Packet::Open { from: host, life, attempt, description });
        }
        self.wake(host, OPEN_US, Wake::SessionTimeout { attempt });
    }

    pub fn session_timeout(&mut self, host: HostId, attempt: u64) {
        let Some(session) = self.session(host) else { return };
        let State::Asking { attempt: current, rest, .. } = &mut session.state else { return };
        if *current == attempt {
            let rest = std::mem::take(rest);
            self.ask_next(host, rest);
        }
    }

    pub fn session_refused(&mut self, host: HostId, life: u64, attempt: u64, leader: Option<NodeId>, removed: bool) {
        let Some(daemon) = self.daemon(host).filter(|daemon| daemon.life == life) else { return };
        let State::Asking { attempt: current, asked, rest, redirected } = &mut daemon.agent.session.state else {
            return;
        };
        if *current != attempt {
            return;
        }
        let (asked, rest, redirected) = (*asked, std::mem::take(rest), *redirected);
        if let Some(leader) = leader {
            daemon.book.set_leader(leader);
        }
        if removed {
            self.note(&format!("h{host} is told that it was removed"));
            self.node_removed(host);
            self.ask_next(host, VecDeque::new());
        } else if let (Some(leader), false) = (leader.filter(|leader| *leader != asked), redirected) {
            self.ask(host, leader, rest, true);
        } else {
            self.ask_next(host, rest);
        }
    }

    fn session_opened(&mut self, host: HostId, attempt: u64, stream: u64) {
        let now = self.now;
        let Some(daemon) = self.daemon(host) else { return };
        let agent = &mut daemon.agent;
        let asked = match &agent.session.state {
            State::Asking { attempt: current, asked, .. } if *current == attempt => *asked,
            State::Asking { .. } | State::Waiting | State::Open { .. } => {
                self.stream_close(stream, Side::Agent);
                return;
            }
        };
        agent.session.state = State::Open { stream, leader: asked, since: now, heard: now };
        // Whatever was under way may be lost: everything is told again.
        agent.unsent = agent.worker.statuses().into_iter().collect();
        daemon.book.leads(asked);
        self.send_reports(host);
        self.wake(host, 0, Wake::Heartbeat { stream });
    }

    pub fn heartbeat(&mut self, host: HostId, stream: u64) {
        let now = self.now;
        let Some(session) = self.session(host) else { return };
        let State::Open { stream: open, heard, .. } = &session.state else { return };
        if *open != stream {
            return;
        }
        if now > heard + PERIOD_US * SILENT_PERIODS {
            self.stream_close(stream, Side::Agent);
            self.session_over(host, stream);
            return;
        }
        let (sequence, sent) = (self.number(), self.mono(host));
        let Some(session) = self.session(host) else { return };
        session.beats.insert(sequence, sent);
        while session.beats.len() > BEATS_MAX {
            session.beats.pop_first();
        }
        self.stream_send(stream, Side::Leader, Frame::Heartbeat { sequence });
        self.wake(host, PERIOD_US, Wake::Heartbeat { stream });
    }

    /// The leader still led when it heard this heartbeat.
    fn leased(&mut self, host: HostId, sequence: u64) {
        let sent = self.session(host).and_then(|session| session.beats.remove(&sequence));
        if let Some(sent) = sent {
            self.worker_input(host, Input::Leased { sent });
        }
    }

    pub fn session_frame(&mut self, host: HostId, stream: u64, frame: Frame) {
        if let Frame::Opened { attempt } = frame {
            self.session_opened(host, attempt, stream);
            return;
        }
        let now = self.now;
        let Some(session) = self.session(host) else { return };
        let State::Open { stream: open, heard, .. } = &mut session.state else { return };
        if *open != stream {
            return;
        }
        *heard = now;
        match frame {
            Frame::Told(Message::Assign(assignments)) => self.assignments(host, assignments),
            Frame::Told(Message::HeartbeatAck | Message::ReportsAck { .. }) => {}
            Frame::Told(Message::Lease { sequence }) => self.leased(host, sequence),
            Frame::Told(Message::End { .. }) => self.session_over(host, stream),
            Frame::Cluster(info) => self.cluster_told(host, &info),
            Frame::Sampling(sampling) => self.sampling_told(host, sampling),
            Frame::Opened { .. } | Frame::Heartbeat { .. } | Frame::Reports { .. } | Frame::Loads(_) | Frame::End => {}
        }
    }

    /// The session ended, from whichever side.
    pub fn session_over(&mut self, host: HostId, stream: u64) {
        let now = self.now;
        let Some(daemon) = self.daemon(host) else { return };
        let State::Open { stream: open, leader, since, .. } = daemon.agent.session.state else { return };
        if open != stream {
            return;
        }
        daemon.agent.session.state = State::Waiting;
        daemon.agent.sampler.session_over();
        if daemon.book.leader == Some(leader) {
            daemon.book.forget_leader();
        }
        let session = &mut daemon.agent.session;
        let after = if now - since >= LASTING_US {
            session.retry_us = RETRY_MIN_US;
            20
        } else {
            let after = session.retry_us;
            session.retry_us = (after * 2).min(RETRY_MAX_US);
            after
        };
        self.session_later(host, after);
    }

    /// The manager of this host knows who leads: a session with another one ends.
    pub fn session_leader_known(&mut self, host: HostId) {
        let Some(daemon) = self.daemon(host) else { return };
        if let State::Open { stream, leader, .. } = daemon.agent.session.state
            && daemon.book.leader.is_some_and(|known| known != leader)
        {
            self.stream_close(stream, Side::Agent);
            self.session_over(host, stream);
        }
    }
}
