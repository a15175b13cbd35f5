//! The agent's session with the leader: finds it, says who this node is, carries assignments in and
//! statuses out, and begins again when it is lost.

use crate::managers::Managers;
use crate::transport::{DISPATCH, Endpoint, Expect, FrameReceiver, FrameSender};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use swarm_core::dispatch::Assignments;
use swarm_core::model::{GossipKey, NodeDescription, NodeRole, TaskStatus};
use swarm_core::{NodeId, TaskId};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use wire::{Message, Wire, WireError, pb};

/// To find the leader by asking a manager.
const OPEN_TIMEOUT: Duration = Duration::from_secs(3);
/// Between attempts: the first retry is at once for a leader that just changed, then slower.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(2);
/// Heartbeats without an answer after which the manager is given up.
const SILENT_PERIODS: u32 = 2;
/// What a busy agent may leave unread: assignments are few and large.
const INBOX: usize = 64;

/// What a session tells the agent.
#[derive(Debug)]
pub enum FromSession {
    /// A session is open: everything reported must be told again.
    Opened,
    Assigned(Box<Assignments>),
    /// Reports up to this sequence are committed.
    Acked(u64),
    Cluster(ClusterInfo),
    Lost,
}

/// What changes rarely.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterInfo {
    pub managers: Vec<(NodeId, SocketAddr)>,
    pub gossip_keys: Vec<GossipKey>,
    /// The role this node should have.
    pub role: NodeRole,
}

/// What the agent tells.
#[derive(Debug)]
pub struct Report {
    pub sequence: u64,
    pub reports: Vec<(TaskId, TaskStatus)>,
}

/// Who this node says it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Introduction {
    pub description: NodeDescription,
    pub addr: Option<IpAddr>,
}

/// Runs until `reports` is closed. `me` may change: the session begins anew with it.
pub async fn run(
    endpoint: Endpoint,
    managers: Managers,
    me: watch::Receiver<Introduction>,
    mut reports: mpsc::Receiver<Report>,
    inbox: mpsc::Sender<FromSession>,
) {
    let mut retry = RETRY_MIN;
    let mut book = managers.watch();
    loop {
        match connect(&endpoint, &managers, &me).await {
            Ok((leader, sender, receiver, period)) => {
                retry = RETRY_MIN;
                let mut me = me.clone();
                me.borrow_and_update();
                if inbox.send(FromSession::Opened).await.is_err() {
                    return;
                }
                let streams = (sender, receiver);
                let reason = converse(streams, period, &mut reports, &inbox, &mut me, (leader, &managers)).await;
                if inbox.send(FromSession::Lost).await.is_err() || reason == Over::Agent {
                    return;
                }
                if managers.leader().is_some_and(|(node, _)| node == leader) {
                    managers.forget_leader();
                }
                tracing::info!(?reason, "the session with the manager ended");
            }
            Err(reason) => {
                tracing::debug!(reason, "no session with a manager");
                tokio::select! {
                    () = sleep(retry) => {}
                    // What could not be reported is told again when a session opens.
                    gone = drain(&mut reports) => if gone { return },
                    () = book.changed() => {}
                }
                retry = (retry * 2).min(RETRY_MAX);
            }
        }
    }
}

/// Throws reports away until the agent is gone.
async fn drain(reports: &mut mpsc::Receiver<Report>) -> bool {
    while reports.recv().await.is_some() {}
    true
}

async fn connect(
    endpoint: &Endpoint,
    managers: &Managers,
    me: &watch::Receiver<Introduction>,
) -> Result<(NodeId, FrameSender, FrameReceiver, Duration), String> {
    let mut last = "no manager is known".to_owned();
    for (node, address) in managers.in_order() {
        match timeout(OPEN_TIMEOUT, try_one(endpoint, node, address, me)).await {
            Err(_) => last = format!("manager {address} did not answer"),
            Ok(Err(reason)) => last = reason,
            Ok(Ok(Answer::Open(sender, receiver, period))) => {
                managers.leads(node);
                return Ok((node, *sender, *receiver, period));
            }
            Ok(Ok(Answer::Elsewhere(leader, at))) => {
                managers.set_leader(leader, at);
                let at = managers.address(leader).unwrap_or(at);
                match timeout(OPEN_TIMEOUT, try_one(endpoint, leader, at, me)).await {
                    Ok(Ok(Answer::Open(sender, receiver, period))) => return Ok((leader, *sender, *receiver, period)),
                    Ok(Ok(Answer::Elsewhere(..))) => last = format!("{at} is not the leader any more"),
                    Ok(Err(reason)) => last = reason,
                    Err(_) => last = format!("leader {at} did not answer"),
                }
            }
        }
    }
    Err(last)
}

enum Answer {
    Open(Box<FrameSender>, Box<FrameReceiver>, Duration),
    Elsewhere(NodeId, SocketAddr),
}

async fn try_one(
    endpoint: &Endpoint,
    node: NodeId,
    address: SocketAddr,
    me: &watch::Receiver<Introduction>,
) -> Result<Answer, String> {
    let opened = endpoint.open(address, Expect::Node(node), &DISPATCH, OPEN_TIMEOUT).await;
    let (_, stream) = opened.map_err(|error| error.to_string())?;
    let (mut sender, mut receiver) = stream.split();
    let introduction = me.borrow().clone();
    let open = pb::dispatch::Open {
        description: Some(introduction.description.to_wire()),
        addr: introduction.addr.map(|addr| addr.to_string()).unwrap_or_default(),
    };
    let message = pb::dispatch::from_node::Message::Open(open);
    send(&mut sender, message).await.map_err(|error| error.to_string())?;
    let frame = receiver.receive().await.map_err(|error| error.to_string())?;
    let frame = frame.ok_or_else(|| format!("manager {address} ended the session at once"))?;
    let reply = pb::dispatch::ToNode::decode(frame).map_err(|error| error.to_string())?;
    match reply.message {
        Some(pb::dispatch::to_node::Message::Opened(opened)) => {
            let period = Duration::from_nanos(opened.heartbeat_period).max(Duration::from_millis(100));
            Ok(Answer::Open(Box::new(sender), Box::new(receiver), period))
        }
        Some(pb::dispatch::to_node::Message::Failure(failure)) => match failure.leader {
            Some(leader) => {
                let wrong = |error: WireError| error.to_string();
                Ok(Answer::Elsewhere(
                    NodeId::from_wire(leader.node).map_err(wrong)?,
                    SocketAddr::from_wire(leader.addr).map_err(wrong)?,
                ))
            }
            None => Err(failure.message),
        },
        Some(_) | None => Err(format!("manager {address} answered out of turn")),
    }
}

async fn send(
    sender: &mut FrameSender,
    message: pb::dispatch::from_node::Message,
) -> Result<(), crate::transport::TransportError> {
    sender.send(pb::dispatch::FromNode { message: Some(message) }.encode_to_vec()).await
}

/// Why a session ended.
#[derive(Debug, PartialEq, Eq)]
enum Over {
    /// The agent itself is gone.
    Agent,
    /// What this node says of itself changed.
    Changed,
    /// Another manager leads now.
    Leader,
    Peer(String),
}

async fn converse(
    (mut sender, receiver): (FrameSender, FrameReceiver),
    period: Duration,
    reports: &mut mpsc::Receiver<Report>,
    inbox: &mpsc::Sender<FromSession>,
    me: &mut watch::Receiver<Introduction>,
    (leader, managers): (NodeId, &Managers),
) -> Over {
    let (incoming, mut received) = mpsc::channel(INBOX);
    // Receiving is not cancel-safe: it has its own task, which ends with the session.
    let reader = tokio::spawn(read(receiver, incoming));
    let mut beat = interval(period);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sequence = 0;
    let mut book = managers.watch();
    let mut heard = Instant::now();
    let over = loop {
        tokio::select! {
            report = reports.recv() => {
                let Some(report) = report else { break Over::Agent };
                if let Err(error) = send(&mut sender, statuses(&report)).await {
                    break Over::Peer(error.to_string());
                }
            }
            // A manager of this node may know of a new leader before the old one is missed here.
            () = book.changed() => if managers.leader().is_some_and(|(node, _)| node != leader) {
                break Over::Leader;
            },
            message = received.recv() => {
                heard = Instant::now();
                match message {
                None => break Over::Peer("the stream ended".to_owned()),
                Some(Err(reason)) => break Over::Peer(reason),
                Some(Ok(Some(message))) => if inbox.send(message).await.is_err() { break Over::Agent },
                Some(Ok(None)) => {}
                }
            }
            _ = beat.tick() => {
                if heard.elapsed() > period * SILENT_PERIODS {
                    break Over::Peer("the manager is silent".to_owned());
                }
                sequence += 1;
                let heartbeat = pb::dispatch::Heartbeat { sequence };
                if let Err(error) = send(&mut sender, pb::dispatch::from_node::Message::Heartbeat(heartbeat)).await {
                    break Over::Peer(error.to_string());
                }
            }
            changed = me.changed() => break if changed.is_ok() { Over::Changed } else { Over::Agent },
        }
    };
    reader.abort();
    over
}

fn statuses(report: &Report) -> pb::dispatch::from_node::Message {
    let one = |(task, status): &(TaskId, TaskStatus)| pb::dispatch::TaskReport {
        task: task.to_wire(),
        status: Some(status.to_wire()),
    };
    let reports = report.reports.iter().map(one).collect();
    pb::dispatch::from_node::Message::Statuses(pb::dispatch::Statuses { sequence: report.sequence, reports })
}

async fn read(mut receiver: FrameReceiver, incoming: mpsc::Sender<Result<Option<FromSession>, String>>) {
    let mut parts = None;
    loop {
        let message = match receiver.receive().await {
            Ok(Some(frame)) => understand(&frame, &mut parts),
            Ok(None) => return,
            Err(error) => Err(error.to_string()),
        };
        let last = message.is_err();
        if incoming.send(message).await.is_err() || last {
            return;
        }
    }
}

/// A message of the manager; `None` for a mere sign of life, and for a part whose rest (gathered in `parts`) is
/// still to come.
fn understand(frame: &[u8], parts: &mut Option<pb::dispatch::Assignments>) -> Result<Option<FromSession>, String> {
    use pb::dispatch::to_node::Message as To;
    let wrong = |error: WireError| format!("the manager sent what this version does not understand: {error}");
    let message = pb::dispatch::ToNode::decode(frame).map_err(|error| wrong(error.into()))?;
    Ok(match message.message {
        Some(To::Assignments(part)) => {
            let more = part.more;
            let whole = match parts.take() {
                Some(gathered) => join(gathered, part)?,
                None => part,
            };
            if more {
                *parts = Some(whole);
                return Ok(None);
            }
            Some(FromSession::Assigned(Box::new(Assignments::from_wire(whole).map_err(wrong)?)))
        }
        Some(To::StatusesAck(ack)) => Some(FromSession::Acked(ack.sequence)),
        Some(To::Cluster(info)) => Some(FromSession::Cluster(cluster_info(info).map_err(wrong)?)),
        Some(To::Failure(failure)) => return Err(failure.message),
        Some(To::HeartbeatAck(_) | To::Opened(_)) | None => None,
    })
}

/// Assignments of a node in all: a thousand tasks of 4 KiB are 4 MiB.
const ASSIGNMENTS_BYTES_MAX: usize = 256 * 1024 * 1024;

fn join(
    mut gathered: pb::dispatch::Assignments,
    part: pb::dispatch::Assignments,
) -> Result<pb::dispatch::Assignments, String> {
    gathered.tasks.extend(part.tasks);
    gathered.secrets.extend(part.secrets);
    gathered.configs.extend(part.configs);
    if gathered.encoded_len() > ASSIGNMENTS_BYTES_MAX {
        return Err(format!("the manager assigned more than {ASSIGNMENTS_BYTES_MAX} bytes"));
    }
    Ok(gathered)
}

fn cluster_info(info: pb::dispatch::ClusterInfo) -> Result<ClusterInfo, WireError> {
    let address = |m: pb::trust::ManagerAddress| Ok((NodeId::from_wire(m.node)?, SocketAddr::from_wire(m.addr)?));
    Ok(ClusterInfo {
        managers: info.managers.into_iter().map(address).collect::<Result<_, WireError>>()?,
        gossip_keys: Vec::from_wire(info.gossip_keys)?,
        role: NodeRole::from_wire(info.role)?,
    })
}
