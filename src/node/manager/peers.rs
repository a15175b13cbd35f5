//! Log messages between managers: one stream to each, a short queue before it. What does not fit or does
//! not arrive is dropped and said so; the log sends it again.

use super::addresses::Addresses;
use super::machine::StoreFeed;
use super::raft::LogHandle;
use crate::raft::Outgoing;
use crate::transport::{Endpoint, Expect, Peer, RAFT, Stream};
use std::collections::BTreeMap;
use std::time::Duration;
use swarm_core::NodeId;
use swarm_core::model::NodeRole;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use wire::{Message, pb};

/// Messages waiting for one peer: two or three rounds of appends in flight.
const QUEUE: usize = 256;
/// To reach a peer.
const DIAL: Duration = Duration::from_secs(2);
/// Before a peer that could not be reached is dialled again.
const PAUSE: Duration = Duration::from_millis(250);

/// Sends what comes out of the log to whom it is for, until `stop`.
pub async fn send_all(way: Way, mut outgoing: mpsc::Receiver<Outgoing>, log: LogHandle, stop: CancellationToken) {
    let mut peers: BTreeMap<NodeId, mpsc::Sender<Outgoing>> = BTreeMap::new();
    while let Some(Some(message)) = stop.run_until_cancelled(outgoing.recv()).await {
        let queue = peers.entry(message.to).or_insert_with(|| {
            let (queue, waiting) = mpsc::channel(QUEUE);
            let sender = Sender { way: way.clone(), log: log.clone(), failures: 0 };
            tokio::spawn(sender.run(message.to, waiting, stop.clone()));
            queue
        });
        if let Err(full) = queue.try_send(message) {
            lost(&log, &full.into_inner());
        }
    }
}

/// How peers are reached.
#[derive(Clone)]
pub struct Way {
    pub endpoint: Endpoint,
    pub addresses: Addresses,
    pub feed: StoreFeed,
}

struct Sender {
    way: Way,
    log: LogHandle,
    /// Of dialling, so far: each time another address is tried.
    failures: usize,
}

impl Sender {
    async fn run(mut self, node: NodeId, mut waiting: mpsc::Receiver<Outgoing>, stop: CancellationToken) {
        let mut stream: Option<Stream> = None;
        while let Some(Some(message)) = stop.run_until_cancelled(waiting.recv()).await {
            match stop.run_until_cancelled(self.send(node, &message, &mut stream)).await {
                None => return,
                Some(Ok(())) if message.snapshot => self.log.report_snapshot(message.raft_id, true),
                Some(Ok(())) => {}
                Some(Err(reason)) => {
                    tracing::debug!(%node, reason, "a log message was not sent");
                    stream = None;
                    lost(&self.log, &message);
                    // What waited meanwhile is old by now.
                    while let Ok(old) = waiting.try_recv() {
                        lost(&self.log, &old);
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn send(&mut self, node: NodeId, message: &Outgoing, stream: &mut Option<Stream>) -> Result<(), String> {
        if stream.is_none() {
            let all = self.way.addresses.all_of(&self.way.feed.view(), node);
            let turn = self.failures.checked_rem(all.len()).unwrap_or(0);
            let address = *all.get(turn).ok_or("its address is not known")?;
            let opened = self.way.endpoint.open(address, Expect::Node(node), &RAFT, DIAL).await;
            *stream = Some(match opened {
                Ok((_, stream)) => stream,
                Err(error) => {
                    self.failures = self.failures.wrapping_add(1);
                    return Err(error.to_string());
                }
            });
        }
        let Some(open) = stream.as_mut() else { return Err("no stream".to_owned()) };
        let envelope = pb::raft::Envelope { message: message.bytes.clone() };
        open.send(envelope.encode_to_vec()).await.map_err(|error| error.to_string())
    }
}

fn lost(log: &LogHandle, message: &Outgoing) {
    log.report_unreachable(message.raft_id);
    if message.snapshot {
        log.report_snapshot(message.raft_id, false);
    }
}

/// Serves the messages of one peer: who it is was proven by its certificate.
pub async fn receive(peer: Peer, mut stream: Stream, log: LogHandle) {
    let Some(identity) = peer.identity.filter(|identity| identity.role == NodeRole::Manager) else { return };
    loop {
        let frame = match stream.receive().await {
            Ok(Some(frame)) => frame,
            Ok(None) => return,
            Err(error) => {
                tracing::debug!(%error, "a stream of log messages ended");
                return;
            }
        };
        match pb::raft::Envelope::decode(frame) {
            Ok(envelope) => log.step(identity.node, envelope.message),
            Err(error) => {
                tracing::warn!(%error, "a log message does not parse");
                return;
            }
        }
    }
}
