//! The agent's session with the leader: finds it, says who this node is, carries assignments in and
//! statuses out, and begins again when it is lost.

use crate::clock::Clock;
use crate::managers::{Managers, ManagersWatch};
use crate::transport::{DISPATCH, Endpoint, Expect, FrameReceiver, FrameSender, Refusal, TransportError};
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use swarm_core::autoscale::{Loads, Sampling};
use swarm_core::dispatch::Assignments;
use swarm_core::model::{GossipKey, NodeDescription, NodeRole, TaskStatus};
use swarm_core::{Mono, NodeId, TaskId};
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
/// A session that lasted this long was a good one: the next is asked for at once.
const LASTING: Duration = Duration::from_secs(2);
/// What a busy agent may leave unread: assignments are few and large.
const INBOX: usize = 64;

/// What a session tells the agent.
#[derive(Debug)]
pub enum FromSession {
    /// A session is open: everything reported must be told again.
    Opened,
    Assigned(Box<Assignments>),
    /// A leader that a quorum follows answered the heartbeat sent then: tasks may run for their lease from it.
    Leased {
        sent: Mono,
    },
    /// Reports up to this sequence are committed.
    Acked(u64),
    Cluster(ClusterInfo),
    /// Of which services loads are to be told from now on.
    Sampling(Sampling),
    /// A manager says that this node is not in the cluster any more.
    Removed,
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

/// What is for the leader.
pub struct Outgoing {
    pub reports: mpsc::Receiver<Report>,
    pub loads: mpsc::Receiver<Loads>,
}

/// Who this node says it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Introduction {
    pub description: NodeDescription,
    pub addr: Option<IpAddr>,
}

/// What the agent wants of its sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionWish {
    /// No session now.
    pub hold: bool,
    /// Each increase begins the session anew.
    pub anew: u64,
}

/// What ends a session from this side when it changes.
#[derive(Clone)]
pub struct Wishes {
    pub me: watch::Receiver<Introduction>,
    pub wish: watch::Receiver<SessionWish>,
}

/// Runs until the reports are closed.
pub async fn run(
    endpoint: Endpoint,
    managers: Managers,
    clock: Clock,
    mut wishes: Wishes,
    mut outgoing: Outgoing,
    inbox: mpsc::Sender<FromSession>,
) {
    let mut retry = RETRY_MIN;
    let mut book = managers.watch();
    loop {
        if !wanted(&mut wishes, &mut outgoing.reports).await {
            return;
        }
        wishes.me.borrow_and_update();
        // A session that ends at once is as good as none: without the pause, a manager that turns this node away
        // would be asked without end.
        let next = match connect(&endpoint, &managers, &wishes.me).await {
            Ok((leader, sender, receiver, period)) => {
                let since = Instant::now();
                if inbox.send(FromSession::Opened).await.is_err() {
                    return;
                }
                // Those of an earlier time say nothing about now.
                while outgoing.loads.try_recv().is_ok() {}
                let (streams, leads) = ((sender, receiver), (leader, &managers));
                let pulse = Pulse::new(clock.clone(), period);
                let reason = converse(streams, pulse, &mut outgoing, &inbox, &mut wishes, leads).await;
                if inbox.send(FromSession::Lost).await.is_err() || reason == Over::Agent {
                    return;
                }
                if managers.leader().is_some_and(|(node, _)| node == leader) {
                    managers.forget_leader();
                }
                tracing::info!(?reason, "the session with the manager ended");
                match reason {
                    _ if since.elapsed() >= LASTING => Next::Now,
                    Over::Leader => Next::Soon,
                    Over::Agent | Over::Changed | Over::Peer(_) => Next::Later,
                }
            }
            Err(Failed { reason, removed }) => {
                tracing::debug!(reason, "no session with a manager");
                if removed && inbox.send(FromSession::Removed).await.is_err() {
                    return;
                }
                if removed { Next::Later } else { Next::Soon }
            }
        };
        tokio::select! {
            () = pause(next, &mut retry, &mut book) => {}
            // What could not be reported is told again when a session opens.
            () = drain(&mut outgoing.reports) => return,
        }
    }
}

/// When a session is tried again.
enum Next {
    /// The last one was good.
    Now,
    /// After a pause, or a short one when something is heard of the managers.
    Soon,
    /// After a pause.
    Later,
}

async fn pause(next: Next, retry: &mut Duration, book: &mut ManagersWatch) {
    let whole = *retry;
    *retry = (*retry * 2).min(RETRY_MAX);
    match next {
        Next::Now => *retry = RETRY_MIN,
        Next::Soon => {
            // The attempt itself may have changed the book: without a least pause, it would follow itself.
            sleep(RETRY_MIN).await;
            tokio::select! {
                () = sleep(whole.saturating_sub(RETRY_MIN)) => {}
                () = book.changed() => {}
            }
        }
        Next::Later => sleep(whole).await,
    }
}

/// Waits until a session is wanted; `false`: the agent is gone.
async fn wanted(wishes: &mut Wishes, reports: &mut mpsc::Receiver<Report>) -> bool {
    tokio::select! {
        wish = wishes.wish.wait_for(|wish| !wish.hold) => wish.is_ok(),
        () = drain(reports) => false,
    }
}

/// Throws reports away until the agent is gone.
async fn drain(reports: &mut mpsc::Receiver<Report>) {
    while reports.recv().await.is_some() {}
}

/// Why there is no session.
struct Failed {
    reason: String,
    /// A manager, by its certificate, says that this node was removed.
    removed: bool,
}

impl Failed {
    fn because(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), removed: false }
    }
}

impl From<TransportError> for Failed {
    fn from(error: TransportError) -> Self {
        let removed = matches!(error, TransportError::Refused { refusal: Refusal::Removed, .. });
        Self { reason: error.to_string(), removed }
    }
}

impl From<WireError> for Failed {
    fn from(error: WireError) -> Self {
        Self::because(error.to_string())
    }
}

async fn connect(
    endpoint: &Endpoint,
    managers: &Managers,
    me: &watch::Receiver<Introduction>,
) -> Result<(NodeId, FrameSender, FrameReceiver, Duration), Failed> {
    let mut last = Failed::because("no manager is known");
    for (node, address) in managers.in_order() {
        match timeout(OPEN_TIMEOUT, try_one(endpoint, node, address, me)).await {
            Err(_) => last = Failed::because(format!("manager {address} did not answer")),
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
                    Ok(Ok(Answer::Elsewhere(..))) => {
                        last = Failed::because(format!("{at} is not the leader any more"));
                    }
                    Ok(Err(reason)) => last = reason,
                    Err(_) => last = Failed::because(format!("leader {at} did not answer")),
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
) -> Result<Answer, Failed> {
    let (_, stream) = endpoint.open(address, Expect::Node(node), &DISPATCH, OPEN_TIMEOUT).await?;
    let (mut sender, mut receiver) = stream.split();
    let introduction = me.borrow().clone();
    let open = pb::dispatch::Open {
        description: Some(introduction.description.to_wire()),
        addr: introduction.addr.map(|addr| addr.to_string()).unwrap_or_default(),
    };
    let message = pb::dispatch::from_node::Message::Open(open);
    send(&mut sender, message).await?;
    let frame = receiver.receive().await?;
    let frame = frame.ok_or_else(|| Failed::because(format!("manager {address} ended the session at once")))?;
    let reply = pb::dispatch::ToNode::decode(frame).map_err(WireError::from)?;
    match reply.message {
        Some(pb::dispatch::to_node::Message::Opened(opened)) => {
            let period = Duration::from_nanos(opened.heartbeat_period).max(Duration::from_millis(100));
            Ok(Answer::Open(Box::new(sender), Box::new(receiver), period))
        }
        Some(pb::dispatch::to_node::Message::Failure(failure)) => match failure.leader {
            Some(leader) => Ok(Answer::Elsewhere(NodeId::from_wire(leader.node)?, SocketAddr::from_wire(leader.addr)?)),
            None => Err(Failed::because(failure.message)),
        },
        Some(_) | None => Err(Failed::because(format!("manager {address} answered out of turn"))),
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
    /// This side wants it: what this node says of itself changed, for example.
    Changed,
    /// Another manager leads now.
    Leader,
    Peer(String),
}

/// Heartbeats that may be answered with a lease still; an answer that is older is worth none.
const BEATS_MAX: usize = 64;

/// The heartbeats of a session, and when each was sent.
struct Pulse {
    clock: Clock,
    period: Duration,
    sequence: u64,
    sent: VecDeque<(u64, Mono)>,
}

impl Pulse {
    fn new(clock: Clock, period: Duration) -> Self {
        Self { clock, period, sequence: 0, sent: VecDeque::new() }
    }

    /// The next one, which is sent after this.
    fn beat(&mut self) -> pb::dispatch::Heartbeat {
        self.sequence += 1;
        self.sent.push_back((self.sequence, self.clock.mono()));
        if self.sent.len() > BEATS_MAX {
            self.sent.pop_front();
        }
        pb::dispatch::Heartbeat { sequence: self.sequence }
    }

    fn sent(&self, sequence: u64) -> Option<Mono> {
        self.sent.iter().find(|(number, _)| *number == sequence).map(|(_, at)| *at)
    }
}

async fn converse(
    (mut sender, receiver): (FrameSender, FrameReceiver),
    mut pulse: Pulse,
    outgoing: &mut Outgoing,
    inbox: &mpsc::Sender<FromSession>,
    wishes: &mut Wishes,
    (leader, managers): (NodeId, &Managers),
) -> Over {
    let (incoming, mut received) = mpsc::channel(INBOX);
    // Receiving is not cancel-safe: it has its own task, which ends with the session.
    let reader = tokio::spawn(read(receiver, incoming));
    let period = pulse.period;
    let mut beat = interval(period);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut book = managers.watch();
    let mut heard = Instant::now();
    let over = loop {
        tokio::select! {
            report = outgoing.reports.recv() => {
                let Some(report) = report else { break Over::Agent };
                if let Err(error) = send(&mut sender, statuses(&report)).await {
                    break Over::Peer(error.to_string());
                }
            }
            Some(loads) = outgoing.loads.recv() => {
                let message = pb::dispatch::from_node::Message::Loads(loads.to_wire());
                if let Err(error) = send(&mut sender, message).await {
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
                Some(Ok(Some(Heard::Lease(sequence)))) => if let Some(sent) = pulse.sent(sequence)
                    && inbox.send(FromSession::Leased { sent }).await.is_err() { break Over::Agent },
                Some(Ok(Some(Heard::Message(message)))) => if inbox.send(message).await.is_err() { break Over::Agent },
                Some(Ok(None)) => {}
                }
            }
            _ = beat.tick() => {
                if heard.elapsed() > period * SILENT_PERIODS {
                    break Over::Peer("the manager is silent".to_owned());
                }
                let heartbeat = pulse.beat();
                if let Err(error) = send(&mut sender, pb::dispatch::from_node::Message::Heartbeat(heartbeat)).await {
                    break Over::Peer(error.to_string());
                }
            }
            changed = wishes.me.changed() => break if changed.is_ok() { Over::Changed } else { Over::Agent },
            changed = wishes.wish.changed() => break if changed.is_ok() { Over::Changed } else { Over::Agent },
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

/// What a manager said.
enum Heard {
    Message(FromSession),
    /// In answer to the heartbeat of this number.
    Lease(u64),
}

async fn read(mut receiver: FrameReceiver, incoming: mpsc::Sender<Result<Option<Heard>, String>>) {
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
fn understand(frame: &[u8], parts: &mut Option<pb::dispatch::Assignments>) -> Result<Option<Heard>, String> {
    use pb::dispatch::to_node::Message as To;
    let wrong = |error: WireError| format!("the manager sent what this version does not understand: {error}");
    let message = pb::dispatch::ToNode::decode(frame).map_err(|error| wrong(error.into()))?;
    let message = match message.message {
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
        Some(To::Sampling(sampling)) => Some(FromSession::Sampling(Sampling::from_wire(sampling).map_err(wrong)?)),
        Some(To::Failure(failure)) => return Err(failure.message),
        Some(To::Lease(lease)) => return Ok(Some(Heard::Lease(lease.sequence))),
        Some(To::HeartbeatAck(_) | To::Opened(_)) | None => None,
    };
    Ok(message.map(Heard::Message))
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
