//! The leader's dispatch task: owns the [`Dispatch`] of the term and the streams of the sessions.

use super::leader::LeaderParts;
use crate::clock::Clock;
use crate::transport::{FrameReceiver, FrameSender, Stream};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use swarm_core::autoscale::{Loads, Sampling};
use swarm_core::dispatch::{Dispatch, Effects, Input, Liveness, Message as ToNode, SessionId};
use swarm_core::model::{NodeDescription, NodeRole, NodeStatus, TaskStatus};
use swarm_core::store::{Change, Txn, View};
use swarm_core::{Mono, NodeId, TaskId};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use wire::{Message, Wire, WireError, pb};

/// Inputs of all sessions that may wait.
const INPUTS: usize = 4096;
/// Messages one session may leave unread; then it is closed and begins anew.
const OUTBOX: usize = 256;
/// For one message to fit into what a node has not read yet.
const SEND: Duration = Duration::from_secs(30);
/// Bytes of one part of assignments: well below the 4 MiB of a frame, with one config of 1 MB over it.
const PART_BYTES: usize = 2 * 1024 * 1024;

/// A session of a node, its opening read.
pub struct SessionOffer {
    pub node: NodeId,
    pub addr: IpAddr,
    pub description: NodeDescription,
    pub stream: Stream,
}

struct Open {
    node: NodeId,
    outbox: mpsc::Sender<pb::dispatch::ToNode>,
    told: Option<pb::dispatch::ClusterInfo>,
}

/// The autoscaler's side: what nodes tell of their tasks goes there, and from there comes of which services.
pub struct LoadParts {
    pub loads: mpsc::Sender<(NodeId, Loads)>,
    pub sampling: watch::Receiver<Arc<Sampling>>,
}

/// What comes from a session.
enum Seen {
    Input(Input),
    Loads(SessionId, Loads),
}

struct Shell {
    parts: LeaderParts,
    loads: mpsc::Sender<(NodeId, Loads)>,
    sampling: Arc<Sampling>,
    term: u64,
    dispatch: Dispatch,
    sessions: BTreeMap<SessionId, Open>,
    /// What gossip said last.
    alive: BTreeMap<NodeId, bool>,
    next: u64,
    inputs: mpsc::Sender<Seen>,
    wake_at: Option<Mono>,
}

/// Runs until the term ends.
pub async fn run(
    term: u64,
    parts: LeaderParts,
    mut offers: mpsc::Receiver<Box<SessionOffer>>,
    LoadParts { loads, mut sampling }: LoadParts,
) {
    let mut views = parts.writer.feed.views.clone();
    let view = views.borrow_and_update().clone();
    let mut gossip = parts.addresses.gossip.clone();
    let (inputs, mut seen) = mpsc::channel(INPUTS);
    let clock = parts.clock.host().clone();
    let dispatch = Dispatch::new(clock.mono(), view);
    let (sessions, alive) = (BTreeMap::new(), BTreeMap::new());
    let asked = Arc::default();
    let mut shell =
        Shell { parts, loads, sampling: asked, term, dispatch, sessions, alive, next: 0, inputs, wake_at: None };
    shell.gossip(&gossip.borrow_and_update().clone());
    shell.input(Input::Tick);
    loop {
        let wake = shell.wake_at;
        tokio::select! {
            changed = views.changed() => {
                if changed.is_err() { return }
                let view = views.borrow_and_update().clone();
                shell.input(Input::Committed(view.clone()));
                shell.tell_cluster(&view);
            }
            Some(input) = seen.recv() => shell.seen(input),
            Ok(()) = sampling.changed() => {
                let asked = sampling.borrow_and_update().clone();
                shell.ask(asked);
            }
            offer = offers.recv() => match offer {
                Some(offer) => shell.open(*offer),
                None => return,
            },
            changed = gossip.changed() => {
                if changed.is_err() { return }
                let state = gossip.borrow_and_update().clone();
                shell.gossip(&state);
                let view = shell.parts.writer.feed.view();
                shell.tell_cluster(&view);
            }
            () = clock.sleep_until(wake), if wake.is_some() => {
                // Who was heard is not silent, however long its word has waited here.
                for _ in 0..INPUTS {
                    let Ok(input) = seen.try_recv() else { break };
                    shell.seen(input);
                }
                shell.input(Input::Tick);
            }
        }
    }
}

impl Shell {
    fn input(&mut self, input: Input) {
        let mut out = Effects::default();
        self.dispatch.input(self.parts.clock.mono(), self.parts.clock.wall(), input, &mut out);
        self.wake_at = out.wake_at;
        for (session, message) in out.sends {
            self.send(session, message);
        }
        if let Some(changes) = out.write {
            self.write(changes);
        }
        if out.confirm {
            self.confirm();
        }
    }

    /// Asks a quorum whether this is the leader still (Raft section 6.4). Who leads in this term when the answer is
    /// there led in it when it was asked.
    fn confirm(&self) {
        let (raft, term, inputs) = (self.parts.writer.raft.clone(), self.term, self.inputs.clone());
        tokio::spawn(async move {
            let answered = raft.read_barrier().await.is_ok();
            let state = *raft.leadership().borrow();
            let leads = answered && state.is_leader && state.term == term;
            let _ = inputs.send(Seen::Input(Input::Confirmed { leads })).await;
        });
    }

    fn seen(&mut self, seen: Seen) {
        let input = match seen {
            Seen::Input(input) => input,
            Seen::Loads(session, loads) => {
                if let Some(open) = self.sessions.get(&session) {
                    // Told again soon: nothing waits for it.
                    let _ = self.loads.try_send((open.node, loads));
                }
                return;
            }
        };
        if matches!(input, Input::Written { .. } | Input::Confirmed { .. }) {
            // What was written is in this view: decided on an older one, it would be written again. And a node is told
            // what was decided of its tasks before it is granted a lease for them.
            let view = self.parts.writer.feed.view();
            self.input(Input::Committed(view));
        }
        self.input(input);
    }

    fn write(&self, changes: Vec<Change>) {
        let txn = Txn { term: Some(self.term), wall: self.parts.clock.wall(), preconditions: Vec::new(), changes };
        let (writer, inputs) = (self.parts.writer.clone(), self.inputs.clone());
        tokio::spawn(async move {
            let written = writer.propose(&txn).await;
            if let Err(error) = &written {
                tracing::debug!(%error, "statuses were not written");
            }
            let _ = inputs.send(Seen::Input(Input::Written { committed: written.is_ok() })).await;
        });
    }

    fn gossip(&mut self, state: &crate::gossip_view::GossipView) {
        let mut changes = Vec::new();
        for (node, member) in &state.members {
            if self.alive.insert(*node, member.alive) != Some(member.alive) {
                changes.push((*node, if member.alive { Liveness::Up } else { Liveness::Down }));
            }
        }
        self.alive.retain(|node, _| state.members.contains_key(node));
        if !changes.is_empty() {
            self.input(Input::Gossip(changes));
        }
    }

    fn open(&mut self, offer: SessionOffer) {
        self.next += 1;
        let session = SessionId(self.next);
        let (sender, receiver) = offer.stream.split();
        let (outbox, waiting) = mpsc::channel(OUTBOX);
        tokio::spawn(send_all(sender, waiting));
        tokio::spawn(read_all(session, receiver, self.parts.clock.host().clone(), self.inputs.clone()));
        let view = self.parts.writer.feed.view();
        let period = view.cluster().map(|cluster| cluster.spec.heartbeat_period).unwrap_or(Duration::from_secs(1));
        let opened = pb::dispatch::Opened { heartbeat_period: period.to_wire() };
        let _ = outbox.try_send(frame(pb::dispatch::to_node::Message::Opened(opened)));
        if !self.sampling.services.is_empty() {
            let _ = outbox.try_send(frame(pb::dispatch::to_node::Message::Sampling(self.sampling.to_wire())));
        }
        self.sessions.insert(session, Open { node: offer.node, outbox, told: None });
        let (node, addr, description) = (offer.node, offer.addr, offer.description);
        self.tell_cluster(&view);
        self.input(Input::Opened { session, node, addr, description });
    }

    fn send(&mut self, session: SessionId, message: ToNode) {
        use pb::dispatch::to_node::Message as To;
        let Some(open) = self.sessions.get(&session) else { return };
        let mut last = false;
        let frames = match message {
            ToNode::Assign(assignments) => split(assignments).map(To::Assignments).collect(),
            ToNode::HeartbeatAck => vec![To::HeartbeatAck(pb::dispatch::HeartbeatAck { sequence: 0 })],
            ToNode::Lease { sequence } => vec![To::Lease(pb::dispatch::Lease { sequence })],
            ToNode::ReportsAck { sequence } => vec![To::StatusesAck(pb::dispatch::StatusesAck { sequence })],
            ToNode::End { reason } => {
                last = true;
                let kind = pb::control::FailureKind::Denied as i32;
                vec![To::Failure(pb::control::Failure { kind, message: reason, leader: None })]
            }
        };
        let full = frames.into_iter().any(|message| open.outbox.try_send(frame(message)).is_err());
        if full {
            tracing::warn!(node = %open.node, "a node does not read its assignments: its session is closed");
        }
        if full || last {
            // Dropping the outbox ends the stream.
            self.sessions.remove(&session);
        }
        if full {
            let inputs = self.inputs.clone();
            tokio::spawn(async move { inputs.send(Seen::Input(Input::Closed { session })).await });
        }
    }

    /// Tells each session of which services it is to tell. One that does not take it is full, and closed for it.
    fn ask(&mut self, sampling: Arc<Sampling>) {
        self.sampling = sampling;
        let asked = self.sampling.to_wire();
        for open in self.sessions.values() {
            let _ = open.outbox.try_send(frame(pb::dispatch::to_node::Message::Sampling(asked.clone())));
        }
    }

    /// Tells each session what changed of managers, keys and its role.
    fn tell_cluster(&mut self, view: &View) {
        let Some(cluster) = view.cluster() else { return };
        let members = view.nodes().filter(|node| node.raft.is_some());
        let managers: Vec<_> = members
            .filter_map(|node| {
                let addr = self.parts.addresses.of(view, node.id)?;
                Some(pb::trust::ManagerAddress { node: node.id.to_wire(), addr: addr.to_wire() })
            })
            .collect();
        for open in self.sessions.values_mut() {
            let role = view.node(open.node).map_or(NodeRole::Worker, |node| node.spec.role);
            let info = pb::dispatch::ClusterInfo {
                managers: managers.clone(),
                gossip_keys: cluster.gossip_keys.to_wire(),
                role: role.to_wire(),
            };
            if open.told.as_ref() != Some(&info)
                && open.outbox.try_send(frame(pb::dispatch::to_node::Message::Cluster(info.clone()))).is_ok()
            {
                open.told = Some(info);
            }
        }
    }
}

fn frame(message: pb::dispatch::to_node::Message) -> pb::dispatch::ToNode {
    pb::dispatch::ToNode { message: Some(message) }
}

/// Assignments cut so that each part fits a frame.
fn split(assignments: swarm_core::dispatch::Assignments) -> impl Iterator<Item = pb::dispatch::Assignments> {
    let mut first = assignments.to_wire();
    let tasks = std::mem::take(&mut first.tasks);
    let secrets = std::mem::take(&mut first.secrets);
    let configs = std::mem::take(&mut first.configs);
    let mut bytes = first.encoded_len();
    let mut parts = vec![first];
    let mut part = |size: usize, parts: &mut Vec<pb::dispatch::Assignments>| {
        bytes += size;
        if bytes > PART_BYTES {
            bytes = size;
            if let Some(last) = parts.last_mut() {
                last.more = true;
            }
            parts.push(pb::dispatch::Assignments::default());
        }
    };
    for task in tasks {
        part(task.encoded_len(), &mut parts);
        parts.last_mut().into_iter().for_each(|part| part.tasks.push(task.clone()));
    }
    for secret in secrets {
        part(secret.encoded_len(), &mut parts);
        parts.last_mut().into_iter().for_each(|part| part.secrets.push(secret.clone()));
    }
    for config in configs {
        part(config.encoded_len(), &mut parts);
        parts.last_mut().into_iter().for_each(|part| part.configs.push(config.clone()));
    }
    parts.into_iter()
}

async fn send_all(mut sender: FrameSender, mut waiting: mpsc::Receiver<pb::dispatch::ToNode>) {
    while let Some(message) = waiting.recv().await {
        match timeout(SEND, sender.send(message.encode_to_vec())).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!(%error, "a session's stream broke");
                return;
            }
            Err(_) => {
                tracing::warn!("a node does not read what it is told: its session is given up");
                return;
            }
        }
    }
    sender.finish();
}

async fn read_all(session: SessionId, mut receiver: FrameReceiver, clock: Clock, inputs: mpsc::Sender<Seen>) {
    loop {
        let input = match receiver.receive().await {
            Ok(Some(frame)) => understand(session, clock.mono(), &frame),
            Ok(None) => break,
            Err(error) => {
                tracing::debug!(%error, "a session ended");
                break;
            }
        };
        let Ok(input) = input else {
            tracing::warn!("a node sent what this version does not understand");
            break;
        };
        if let Some(input) = input
            && inputs.send(input).await.is_err()
        {
            return;
        }
    }
    let _ = inputs.send(Seen::Input(Input::Closed { session })).await;
}

fn understand(session: SessionId, heard: Mono, frame: &[u8]) -> Result<Option<Seen>, WireError> {
    use pb::dispatch::from_node::Message as From;
    Ok(match pb::dispatch::FromNode::decode(frame)?.message {
        Some(From::Heartbeat(beat)) => Some(Seen::Input(Input::Heartbeat { session, sequence: beat.sequence, heard })),
        Some(From::Loads(loads)) => Some(Seen::Loads(session, Loads::from_wire(loads)?)),
        Some(From::Statuses(statuses)) => {
            let one = |report: pb::dispatch::TaskReport| -> Result<(TaskId, TaskStatus), WireError> {
                let status = report.status.ok_or(WireError::Missing("TaskReport.status"))?;
                Ok((TaskId::from_wire(report.task)?, TaskStatus::from_wire(status)?))
            };
            let reports = statuses.reports.into_iter().map(one).collect::<Result<_, _>>()?;
            Some(Seen::Input(Input::Reported { session, heard, sequence: statuses.sequence, reports }))
        }
        Some(From::Open(_)) | None => None,
    })
}

/// A node that is gone from the cluster by its own will.
pub fn left(node: NodeId, wall: swarm_core::WallTime, addr: Option<IpAddr>) -> Change {
    let status = NodeStatus {
        state: swarm_core::model::NodeState::Down,
        message: "the node left the cluster".to_owned(),
        addr,
        since: wall,
    };
    Change::NodeStatus { node, status }
}
