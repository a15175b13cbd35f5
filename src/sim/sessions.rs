//! The leader's side of its sessions with nodes (`node::manager::sessions`): owns the [`Dispatch`] of the term.

use crate::call::Packet;
use crate::host::address;
use crate::leader::TermWake;
use crate::manager::{ManagerWake, Waiter, Written};
use crate::mutate::Mutation;
use crate::net::HostId;
use crate::stream::{End, Frame, Info, Side};
use crate::table::Source;
use crate::world::World;
use std::collections::BTreeMap;
use swarm_core::dispatch::{Dispatch, Effects, Input, Liveness, Message, SessionId};
use swarm_core::model::{NodeDescription, NodeRole};
use swarm_core::store::{Txn, View};
use swarm_core::{Mono, NodeId};

/// A session that is open.
#[derive(Debug)]
struct Open {
    node: NodeId,
    stream: u64,
    told: Option<Info>,
}

/// The dispatch of one term and its streams.
pub struct Sessions {
    dispatch: Dispatch,
    open: BTreeMap<SessionId, Open>,
    alive: BTreeMap<NodeId, bool>,
    next: u64,
    token: u64,
}

impl Sessions {
    pub fn new(now: Mono, view: View) -> Self {
        Self { dispatch: Dispatch::new(now, view), open: BTreeMap::new(), alive: BTreeMap::new(), next: 0, token: 0 }
    }

    pub fn streams(&self) -> Vec<u64> {
        self.open.values().map(|open| open.stream).collect()
    }

    fn session(&self, stream: u64) -> Option<SessionId> {
        self.open.iter().find(|(_, open)| open.stream == stream).map(|(id, _)| *id)
    }
}

impl World {
    pub fn sessions_begin(&mut self, host: HostId, term: u64) {
        self.gossip_to_leader(host);
        self.dispatch(host, term, Input::Tick);
    }

    fn dispatch(&mut self, host: HostId, number: u64, input: Input) {
        let (now, wall) = (self.mono(host), self.leader_wall(host));
        let Some(term) = self.term(host, number) else { return };
        let mut out = Effects::default();
        term.sessions.dispatch.input(now, wall, input, &mut out);
        term.sessions.token += 1;
        let token = term.sessions.token;
        if let Some(at) = out.wake_at {
            let after = self.until(host, at);
            let wake = TermWake::Dispatch { token };
            self.wake_manager(host, after, ManagerWake::Term { term: number, wake });
        }
        for (session, message) in out.sends {
            self.tell(host, number, session, message);
        }
        if let Some(changes) = out.write {
            let txn = Txn { wall, changes, ..Txn::default() };
            self.propose_in_term(host, number, txn, Source::Statuses, Waiter::Statuses { term: number });
        }
        if out.confirm {
            let after = self.command_lag();
            self.wake_manager(host, after, ManagerWake::Confirm { term: number });
        }
    }

    /// A quorum was asked whether this host leads. Who leads in the term when the answer is there led when it was asked.
    pub fn sessions_confirmed(&mut self, host: HostId, number: u64, ready: bool) {
        let Some(manager) = self.manager(host) else { return };
        let leads = ready && manager.role.is_leader && manager.role.term == number;
        let view = manager.store.view();
        self.dispatch(host, number, Input::Committed(view));
        self.dispatch(host, number, Input::Confirmed { leads });
    }

    pub fn sessions_tick(&mut self, host: HostId, number: u64, token: u64) {
        if self.term(host, number).is_some_and(|term| term.sessions.token == token) {
            self.dispatch(host, number, Input::Tick);
        }
    }

    pub fn sessions_committed(&mut self, host: HostId, number: u64) {
        let Some(view) = self.manager(host).map(|manager| manager.store.view()) else { return };
        self.dispatch(host, number, Input::Committed(view.clone()));
        self.tell_cluster(host, number, &view);
    }

    pub fn statuses_written(&mut self, host: HostId, number: u64, written: &Written) {
        let Some(view) = self.manager(host).map(|manager| manager.store.view()) else { return };
        // What was written is in this view: decided on an older one, it would be written again.
        self.dispatch(host, number, Input::Committed(view));
        let committed = matches!(written, Written::Done(_, Ok(())));
        self.dispatch(host, number, Input::Written { committed });
    }

    /// What gossip at this host says now, as far as it differs.
    pub fn sessions_gossip(&mut self, host: HostId, alive: &BTreeMap<NodeId, bool>) {
        let Some(term) = self.manager(host).and_then(|manager| manager.term.as_mut()) else { return };
        let number = term.number;
        let before = std::mem::replace(&mut term.sessions.alive, alive.clone());
        let changed: Vec<(NodeId, Liveness)> = alive
            .iter()
            .filter(|(node, alive)| before.get(node) != Some(alive))
            .map(|(node, alive)| (*node, if *alive { Liveness::Up } else { Liveness::Down }))
            .collect();
        if changed.is_empty() {
            return;
        }
        for (node, liveness) in &changed {
            let of = self.nodes.get(node).copied();
            self.note(&format!("h{host} gossip: {of:?} {liveness:?}"));
        }
        self.dispatch(host, number, Input::Gossip(changed));
    }

    /// A node asks for a session.
    pub fn session_asked(&mut self, host: HostId, from: HostId, life: u64, attempt: u64, description: NodeDescription) {
        let node = self.hosts[from].node;
        let Some(manager) = self.manager(host) else { return };
        let view = manager.store.view();
        let (epoch, leader) = (manager.epoch, manager.role.leader);
        // One that is merely not there yet is on its way in; all nodes of the simulation were there from the begin.
        if view.cluster().is_some() && view.node(node).is_none() {
            let answer = Packet::NotOpened { life, attempt, leader: None, removed: true };
            self.send_reliably(host, from, answer);
            return;
        }
        let Some(number) = manager.term.as_ref().map(|term| term.number) else {
            let own = self.hosts[host].node;
            let leader = leader.filter(|leader| *leader != own);
            self.send_reliably(host, from, Packet::NotOpened { life, attempt, leader, removed: false });
            return;
        };
        let agent = End { host: from, life, epoch: 0, term: 0 };
        let own_life = self.hosts[host].daemon.as_ref().map_or(0, |daemon| daemon.life);
        let stream = self.stream_open(agent, End { host, life: own_life, epoch, term: number });
        self.stream_send(stream, Side::Agent, Frame::Opened { attempt });
        let Some(term) = self.term(host, number) else { return };
        term.sessions.next += 1;
        let session = SessionId(term.sessions.next);
        term.sessions.open.insert(session, Open { node, stream, told: None });
        let sampling = term.scaling.sampling.clone();
        if !sampling.services.is_empty() {
            self.stream_send(stream, Side::Agent, Frame::Sampling(sampling));
        }
        self.note(&format!("h{host} session {} with h{from}", session.0));
        self.tell_cluster(host, number, &view);
        let addr = address(from);
        self.dispatch(host, number, Input::Opened { session, node, addr, description });
    }

    fn tell(&mut self, host: HostId, number: u64, session: SessionId, message: Message) {
        let Some(view) = self.manager(host).map(|manager| manager.store.view()) else { return };
        let leak = self.settings.mutation == Some(Mutation::LeakSecret);
        let Some(term) = self.term(host, number) else { return };
        let Some(open) = term.sessions.open.get(&session) else { return };
        let (node, stream) = (open.node, open.stream);
        let message = match message {
            Message::Assign(mut assignments) => {
                if leak && let Some(secret) = view.secrets().next() {
                    assignments.secrets.push(secret.clone());
                }
                self.check.assigned(&view, node, &assignments);
                Message::Assign(assignments)
            }
            other => other,
        };
        let last = matches!(message, Message::End { .. });
        self.stream_send(stream, Side::Agent, Frame::Told(message));
        if last {
            self.stream_close(stream, Side::Leader);
            if let Some(term) = self.term(host, number) {
                term.sessions.open.remove(&session);
            }
        }
    }

    /// Tells each session what changed of managers, keys and its role.
    fn tell_cluster(&mut self, host: HostId, number: u64, view: &View) {
        let Some(cluster) = view.cluster() else { return };
        let managers: Vec<NodeId> = view.nodes().filter(|node| node.raft.is_some()).map(|node| node.id).collect();
        let gossip_key = cluster.gossip_keys.first().map_or(0, |key| key.id);
        let Some(term) = self.term(host, number) else { return };
        let mut tell = Vec::new();
        for open in term.sessions.open.values_mut() {
            let role = view.node(open.node).map_or(NodeRole::Worker, |node| node.spec.role);
            let info = Info { managers: managers.clone(), role, gossip_key };
            if open.told.as_ref() != Some(&info) {
                open.told = Some(info.clone());
                tell.push((open.stream, info));
            }
        }
        for (stream, info) in tell {
            self.stream_send(stream, Side::Agent, Frame::Cluster(info));
        }
    }

    /// From a node.
    pub fn leader_frame(&mut self, end: End, stream: u64, frame: Frame) {
        let (host, number) = (end.host, end.term);
        let heard = self.mono(host);
        let Some(session) = self.term(host, number).and_then(|term| term.sessions.session(stream)) else { return };
        match frame {
            Frame::Heartbeat { sequence } => {
                self.dispatch(host, number, Input::Heartbeat { session, sequence, heard });
            }
            Frame::Reports { sequence, reports } => {
                self.dispatch(host, number, Input::Reported { session, heard, sequence, reports });
            }
            Frame::Loads(loads) => {
                let from = self.streams.get(&stream).map(|stream| stream.end(Side::Agent).host);
                from.into_iter().for_each(|from| self.loads_told(host, number, from, loads.clone()));
            }
            Frame::Opened { .. } | Frame::Told(_) | Frame::Cluster(_) | Frame::Sampling(_) | Frame::End => {}
        }
    }

    pub fn leader_stream_over(&mut self, end: End, stream: u64) {
        let (host, number) = (end.host, end.term);
        let Some(term) = self.term(host, number) else { return };
        let Some(session) = term.sessions.session(stream) else { return };
        term.sessions.open.remove(&session);
        self.dispatch(host, number, Input::Closed { session });
    }
}
