//! A manager: its copy of the store, its share of the log, and what it answers to others.
//!
//! Started by the node when its certificate says manager, stopped when it says worker again. The tasks of
//! a leader are made by [`leader::LeaderTerm`] and nowhere else.

mod addresses;
mod autoscale;
mod control;
mod join;
mod keys;
mod leader;
mod machine;
mod members;
mod orchestrate;
mod peers;
mod raft;
mod reach;
mod sessions;
mod snapshot;
mod write;

pub use addresses::Addresses;
pub use join::{CA_KEY_CONTEXT, new_node};
pub use machine::{News, StoreFeed, StoreMachine};
pub use raft::Member;
pub use write::{WriteError, Writer};

use crate::clock::{Clock, TermClock};
use crate::raft::{LeaderState, RaftError, start as start_log};
use crate::storage::DataKey;
use crate::transport::{CONTROL, DISPATCH, Endpoint, JOIN, Peer, RAFT, ServeGuard, Stream};
use control::Answering;
use join::Issuer;
use leader::{LeaderParts, LeaderTerm};
use raft::RaftHandle;
use sessions::SessionOffer;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use swarm_core::consensus::Stop;
use swarm_core::model::NodeDescription;
use swarm_core::{NodeId, Sensitive};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use wire::{Message, Wire, pb};

/// Log messages on their way out: the log does not wait for more.
const OUTGOING: usize = 4096;
/// A node that opened a session says who it is within this time.
const OPENING: Duration = Duration::from_secs(3);

/// Between a term that ended from inside and the next attempt to lead.
const TERM_PAUSE: Duration = Duration::from_millis(500);

/// What a manager is made of.
pub struct ManagerParts<'a> {
    pub node: NodeId,
    pub log_path: &'a Path,
    pub data_key: &'a DataKey,
    pub sealing_key: Sensitive<[u8; 32]>,
    pub endpoint: Endpoint,
    pub addresses: Addresses,
    pub clock: Clock,
}

/// How a manager's share of the log ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ManagerEnd {
    /// As it was told.
    Stopped,
    /// The group goes on without it: what it has on disk is worth nothing any more.
    Removed,
    /// Disk or log failed; it is still a member, and what is on disk counts.
    Failed(String),
}

/// A running manager. Dropping it does not stop it: see [`Manager::stop`].
pub struct Manager {
    writer: Writer,
    stop: CancellationToken,
    ended: watch::Receiver<Option<ManagerEnd>>,
    _serving: [ServeGuard; 4],
}

type CurrentTerm = Arc<Mutex<Option<LeaderTerm>>>;

impl Manager {
    /// Takes part in the group with the log at `log_path`.
    pub async fn start(parts: ManagerParts<'_>) -> Result<Self, RaftError> {
        let (machine, feed) = StoreMachine::new(parts.clock.clone());
        let (outgoing, to_send) = mpsc::channel(OUTGOING);
        let running = start_log(parts.log_path, parts.data_key, machine, outgoing).await?;
        let stop = CancellationToken::new();
        let log = running.handle.clone();
        let way =
            peers::Way { endpoint: parts.endpoint.clone(), addresses: parts.addresses.clone(), feed: feed.clone() };
        tokio::spawn(peers::send_all(way, to_send, log.clone(), stop.clone()));
        let writer = Writer {
            raft: RaftHandle::new(log.clone()),
            feed,
            endpoint: parts.endpoint.clone(),
            managers: parts.addresses.managers.clone(),
        };
        let (ended, ended_seen) = watch::channel(None);
        tokio::spawn(async move {
            let end = match running.ended.await {
                Ok(Ok(())) => ManagerEnd::Stopped,
                Ok(Err(RaftError::Stopped(Stop::Removed))) => ManagerEnd::Removed,
                Ok(Err(error)) => ManagerEnd::Failed(crate::error::chain(&error)),
                Err(error) => ManagerEnd::Failed(error.to_string()),
            };
            ended.send_replace(Some(end));
        });
        let answering = Answering {
            node: parts.node,
            writer: writer.clone(),
            addresses: parts.addresses.clone(),
            issuer: Arc::new(Issuer::new(&parts.sealing_key, parts.clock.clone())),
            sealing_key: parts.sealing_key,
            clock: parts.clock.clone(),
        };
        let term = CurrentTerm::default();
        // Each term begins with a clock of its own.
        let clock = TermClock::begin(parts.clock, writer.feed.time(), &writer.feed.view());
        let leader_parts = LeaderParts { writer: writer.clone(), addresses: parts.addresses, clock };
        tokio::spawn(lead(leader_parts, term.clone(), stop.clone()));
        let serving = serve(&parts.endpoint, answering, term, log);
        Ok(Self { writer, stop, ended: ended_seen, _serving: serving })
    }

    /// Reads and writes of the store.
    pub fn writer(&self) -> &Writer {
        &self.writer
    }

    /// How the manager ended; `None` while it runs.
    pub fn ended(&self) -> watch::Receiver<Option<ManagerEnd>> {
        self.ended.clone()
    }

    /// Waits until the others know that this member left the group, `within` a time.
    pub async fn wait_removed(&self, within: Duration) {
        let mut ended = self.ended.clone();
        // Whoever waits too long leaves anyway: the removal is committed.
        let _ = timeout(within, ended.wait_for(Option::is_some)).await;
    }

    /// Hands leadership over if it has it, and closes the log.
    pub async fn stop(self) {
        let voters = self.writer.raft.members().await.iter().filter(|member| member.voter).count();
        if self.writer.raft.leader().is_some_and(|(_, own)| own)
            && voters > 1
            && let Err(error) = self.writer.raft.log().transfer_leader(None).await
        {
            tracing::debug!(%error, "leadership was not handed over");
        }
        self.stop.cancel();
        self.writer.raft.log().shutdown().await;
        let mut ended = self.ended.clone();
        // An error means that it has ended.
        let _ = ended.wait_for(Option::is_some).await;
    }
}

fn serve(endpoint: &Endpoint, answering: Answering, term: CurrentTerm, log: raft::LogHandle) -> [ServeGuard; 4] {
    let control = answering.clone();
    let joining = answering.clone();
    [
        endpoint.serve(&RAFT, move |peer: Peer, stream: Stream| peers::receive(peer, stream, log.clone())),
        endpoint.serve_calls(&CONTROL, move |peer, request| {
            let control = control.clone();
            async move { control.control(peer, request).await }
        }),
        endpoint.serve_calls(&JOIN, move |peer, request| {
            let joining = joining.clone();
            async move { joining.join(peer, request).await }
        }),
        endpoint.serve(&DISPATCH, move |peer, stream| session(answering.clone(), term.clone(), peer, stream)),
    ]
}

/// Begins and ends leader terms as the log says.
async fn lead(parts: LeaderParts, current: CurrentTerm, stop: CancellationToken) {
    let mut leadership = parts.writer.raft.leadership();
    let set = |term: Option<LeaderTerm>| *current.lock().unwrap_or_else(PoisonError::into_inner) = term;
    loop {
        let state = *leadership.borrow_and_update();
        // The agent of this node finds the new leader without waiting for the old one.
        if let Some(leader) = state.leader
            && let Some(address) = parts.addresses.of(&parts.writer.feed.view(), leader)
        {
            parts.addresses.managers.set_leader(leader, address);
        }
        let same =
            |now: &LeaderState| (now.is_leader, now.term, now.leader) == (state.is_leader, state.term, state.leader);
        let over = if state.is_leader {
            tracing::info!(term = state.term, "this manager leads");
            let feed = &parts.writer.feed;
            let clock = TermClock::begin(parts.clock.host().clone(), feed.time(), &feed.view());
            let term = LeaderTerm::begin(state.term, LeaderParts { clock, ..parts.clone() });
            let over = term.ended();
            set(Some(term));
            over
        } else {
            set(None);
            CancellationToken::new()
        };
        tokio::select! {
            () = stop.cancelled() => break,
            // A leader task that ended leaves a leader that does not lead: the term begins anew.
            () = over.cancelled() => {
                set(None);
                tokio::time::sleep(TERM_PAUSE).await;
            }
            changed = async { leadership.wait_for(|now| !same(now)).await.map(drop) } => if changed.is_err() { break },
        }
    }
    set(None);
}

/// A node opens a session: taken in by the leader, sent on by the others.
async fn session(answering: Answering, current: CurrentTerm, peer: Peer, mut stream: Stream) {
    let Some(identity) = peer.identity else { return };
    let opening = match timeout(OPENING, stream.receive()).await {
        Ok(Ok(Some(frame))) => opening(&frame),
        Ok(Ok(None) | Err(_)) | Err(_) => return,
    };
    let Ok((description, addr)) = opening else {
        tracing::warn!(node = %identity.node, "a node introduces itself in words this version does not understand");
        return;
    };
    let offer = Box::new(SessionOffer {
        node: identity.node,
        addr: addr.unwrap_or(peer.address.ip().to_canonical()),
        description,
        stream,
    });
    let rejected = {
        let term = current.lock().unwrap_or_else(PoisonError::into_inner);
        match term.as_ref() {
            Some(term) => term.offer(offer).err(),
            None => Some(offer),
        }
    };
    let Some(mut offer) = rejected else { return };
    let wire::pb::control::reply::Reply::Failure(failure) = answering.not_leader() else { return };
    let message = pb::dispatch::ToNode { message: Some(pb::dispatch::to_node::Message::Failure(failure)) };
    if offer.stream.send(message.encode_to_vec()).await.is_ok() {
        offer.stream.finish();
    }
}

fn opening(frame: &[u8]) -> Result<(NodeDescription, Option<IpAddr>), wire::WireError> {
    let message = pb::dispatch::FromNode::decode(frame)?;
    let Some(pb::dispatch::from_node::Message::Open(open)) = message.message else {
        return Err(wire::WireError::Missing("FromNode.open"));
    };
    let description = open.description.ok_or(wire::WireError::Missing("Open.description"))?;
    let addr = match open.addr.as_str() {
        "" => None,
        text => Some(IpAddr::from_wire(text.to_owned())?),
    };
    Ok((NodeDescription::from_wire(description)?, addr))
}
