//! Writes and reads of the store at any manager: writes go to the leader, reads wait until this manager
//! has everything acknowledged before.

use super::machine::{Outcome, StoreFeed};
use super::raft::{ProposeError, RaftHandle};
use crate::managers::Managers;
use crate::transport::{CONTROL, Endpoint, Expect, Refusal, TransportError};
use std::net::SocketAddr;
use std::time::Duration;
use swarm_core::NodeId;
use swarm_core::consensus::limits::PROPOSAL_BYTES_MAX;
use swarm_core::store::{Conflict, Txn, View};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use wire::{Message, Wire, encode_entry, pb};

/// A write or read that finds no leader within this time says so: two elections and some.
const LEADER_WAIT: Duration = Duration::from_secs(6);
/// For one attempt at the leader.
const CALL: Duration = Duration::from_secs(5);
/// Between attempts while there is no leader.
const PAUSE: Duration = Duration::from_millis(50);

/// Why a write was not, or may not have been, done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// Refused by the store; nothing changed.
    #[error(transparent)]
    Refused(#[from] Conflict),
    /// Nothing was done.
    #[error(
        "The swarm does not have a leader. It's possible that too few managers are online. Make sure more than half of the managers are online."
    )]
    NoLeader,
    /// It may have been done.
    #[error("the outcome of the write is not known: the leader was lost meanwhile (look before you repeat it)")]
    Uncertain,
    /// Too large for the log.
    #[error("the change is too large: {bytes} bytes, at most {limit} fit")]
    TooLarge { bytes: usize, limit: usize },
}

/// Largest transaction: one log entry and one frame.
const TXN_BYTES_MAX: usize = 3 * 1024 * 1024;

/// Writes and reads at this manager.
#[derive(Clone)]
pub struct Writer {
    pub raft: RaftHandle,
    pub feed: StoreFeed,
    pub endpoint: Endpoint,
    pub managers: Managers,
}

enum Attempt {
    Committed(u64),
    /// Nothing was done: try again, at this leader if it is known.
    Again(Option<(NodeId, SocketAddr)>),
    Uncertain,
}

impl Writer {
    /// Commits a transaction and waits until it is applied here. Returns its index.
    pub async fn submit(&self, txn: &Txn) -> Result<u64, WriteError> {
        let entry = encode_entry(txn);
        if entry.len() > TXN_BYTES_MAX {
            return Err(WriteError::TooLarge { bytes: entry.len(), limit: TXN_BYTES_MAX });
        }
        let deadline = Instant::now() + LEADER_WAIT;
        loop {
            let attempt = match self.raft.leader() {
                Some((_, true)) => self.propose_here(entry.clone()).await,
                Some((leader, false)) => self.propose_there(leader, txn).await,
                None => Attempt::Again(None),
            };
            match attempt {
                Attempt::Committed(index) => return self.applied(index).await,
                Attempt::Uncertain => return Err(WriteError::Uncertain),
                Attempt::Again(hint) => {
                    if let Some((leader, address)) = hint {
                        self.managers.set_leader(leader, address);
                    }
                }
            }
            if Instant::now() + PAUSE > deadline {
                return Err(WriteError::NoLeader);
            }
            sleep(PAUSE).await;
        }
    }

    /// Proposes at this manager only, as its leader: for the leader's own loops, whose writes are fenced by
    /// their term.
    pub async fn propose(&self, txn: &Txn) -> Result<u64, WriteError> {
        let entry = encode_entry(txn);
        if entry.len() > PROPOSAL_BYTES_MAX {
            return Err(WriteError::TooLarge { bytes: entry.len(), limit: PROPOSAL_BYTES_MAX });
        }
        let proposed = match txn.term {
            Some(term) => self.raft.propose_in_term(term, entry).await,
            None => self.raft.propose(entry).await,
        };
        match proposed {
            Ok(index) => self.applied(index).await,
            Err(ProposeError::NotDone) => Err(WriteError::NoLeader),
            Err(ProposeError::Uncertain) => Err(WriteError::Uncertain),
        }
    }

    /// Commits for another manager: the index is where it finds the outcome.
    pub async fn propose_for_other(&self, txn: &Txn) -> Result<u64, ProposeError> {
        self.raft.propose(encode_entry(txn)).await
    }

    /// A view that has every write acknowledged anywhere before the call.
    pub async fn read(&self) -> Result<View, WriteError> {
        let deadline = Instant::now() + LEADER_WAIT;
        loop {
            if let Ok(Ok(())) = timeout_at(deadline, self.raft.read_barrier()).await {
                return Ok(self.feed.view());
            }
            if Instant::now() + PAUSE > deadline {
                return Err(WriteError::NoLeader);
            }
            sleep(PAUSE).await;
        }
    }

    async fn applied(&self, index: u64) -> Result<u64, WriteError> {
        match timeout(LEADER_WAIT, self.feed.outcome(index)).await {
            Ok(Some(Outcome::Applied)) => Ok(index),
            Ok(Some(Outcome::Refused(conflict))) => Err(conflict.into()),
            Ok(Some(Outcome::Unknown) | None) | Err(_) => Err(WriteError::Uncertain),
        }
    }

    async fn propose_here(&self, entry: Vec<u8>) -> Attempt {
        match self.raft.propose(entry).await {
            Ok(index) => Attempt::Committed(index),
            Err(ProposeError::NotDone) => Attempt::Again(None),
            Err(ProposeError::Uncertain) => Attempt::Uncertain,
        }
    }

    async fn propose_there(&self, leader: NodeId, txn: &Txn) -> Attempt {
        let Some(address) = self.managers.address(leader) else { return Attempt::Again(None) };
        let request = pb::control::Request { request: Some(pb::control::request::Request::Submit(txn.to_wire())) };
        // A leader that died answers nothing. Another one's election tells before the deadline of the call does.
        let mut leadership = self.raft.leadership();
        let replaced = leadership.wait_for(|state| state.leader.is_some_and(|other| other != leader));
        let call = tokio::select! {
            call = self.endpoint.call(address, Expect::Node(leader), &CONTROL, request.encode_to_vec(), CALL) => call,
            // The raft task ended, or someone else leads: either way nobody will answer.
            _ = replaced => return Attempt::Uncertain,
        };
        let reply = match call {
            Ok(reply) => reply,
            Err(error) if not_carried_out(&error) => return Attempt::Again(None),
            Err(error) => {
                tracing::debug!(%error, "a forwarded write was lost");
                return Attempt::Uncertain;
            }
        };
        match pb::control::Reply::decode(reply).ok().and_then(|reply| reply.reply) {
            Some(pb::control::reply::Reply::Submitted(submitted)) => Attempt::Committed(submitted.index),
            Some(pb::control::reply::Reply::Failure(failure)) => {
                let kind = failure.kind();
                let hint = failure.leader.and_then(|leader| {
                    Some((NodeId::from_wire(leader.node).ok()?, SocketAddr::from_wire(leader.addr).ok()?))
                });
                match kind {
                    pb::control::FailureKind::NotLeader | pb::control::FailureKind::NoLeader => Attempt::Again(hint),
                    _ => Attempt::Uncertain,
                }
            }
            Some(_) | None => Attempt::Uncertain,
        }
    }
}

/// The request never reached a handler.
fn not_carried_out(error: &TransportError) -> bool {
    match error {
        TransportError::Lost { .. } | TransportError::Deadline { .. } | TransportError::EndedEarly { .. } => false,
        TransportError::Refused { refusal, .. } => *refusal != Refusal::Abandoned,
        _other => true,
    }
}
