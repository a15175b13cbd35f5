//! What managers answer: writes for other managers, certificates, joining the group, leaving.

use super::addresses::Addresses;
use super::join::{self, Issuer};
use super::raft::ProposeError;
use super::write::{WriteError, Writer};
use crate::clock::Clock;
use crate::transport::Peer;
use crate::trust::{PeerIdentity, random_bytes};
use bytes::Bytes;
use std::sync::Arc;
use swarm_core::model::NodeRole;
use swarm_core::store::{Change, Conflict, ObjectRef, Precondition, Txn};
use swarm_core::trust::begin_gossip_rotation;
use swarm_core::{NodeId, Sensitive};
use wire::pb::control::{FailureKind, reply::Reply, request::Request};
use wire::{Message, Wire, pb};

/// What answering needs.
#[derive(Clone)]
pub struct Answering {
    pub node: NodeId,
    pub writer: Writer,
    pub addresses: Addresses,
    pub issuer: Arc<Issuer>,
    pub sealing_key: Sensitive<[u8; 32]>,
    pub clock: Clock,
}

impl Answering {
    /// One call of the control conversation.
    pub async fn control(&self, peer: Peer, request: Bytes) -> Option<Bytes> {
        let identity = peer.identity?;
        let reply = match pb::control::Request::decode(request).ok().and_then(|request| request.request) {
            Some(request) => self.answer(identity, request).await,
            None => failure(FailureKind::Invalid, "the request is of a newer version of swarm"),
        };
        Some(pb::control::Reply { reply: Some(reply) }.encode_to_vec().into())
    }

    async fn answer(&self, peer: PeerIdentity, request: Request) -> Reply {
        match request {
            Request::Submit(txn) => {
                // The certificate may outlive the role.
                let known = self.writer.feed.view().node(peer.node).is_some_and(|n| n.spec.role == NodeRole::Manager);
                if peer.role != NodeRole::Manager || !known {
                    return failure(FailureKind::Denied, "only managers write");
                }
                match Txn::from_wire(txn) {
                    Ok(txn) => self.submit(&txn).await,
                    Err(error) => failure(FailureKind::Invalid, &error.to_string()),
                }
            }
            Request::Renew(request) => match self.issuer.renew(&self.writer, peer, &request.csr_der).await {
                Ok(identity) => Reply::Renewed(pb::trust::RenewReply { identity: Some(identity) }),
                Err(refusal) => refusal.into_reply(),
            },
            Request::JoinRaft(join) => self.join_raft(peer, join.raft_id).await,
            Request::Leave(leave) => self.leave(peer, leave.force).await,
            Request::Leader(_) => match self.leader() {
                Some(leader) => Reply::Leader(leader),
                None => failure(FailureKind::NoLeader, "there is no leader now"),
            },
        }
    }

    async fn submit(&self, txn: &Txn) -> Reply {
        match self.writer.propose_for_other(txn).await {
            Ok(index) => Reply::Submitted(pb::control::Submitted { index }),
            Err(ProposeError::NotDone) => self.not_leader(),
            Err(ProposeError::Uncertain) => failure(FailureKind::Uncertain, "the outcome is not known"),
        }
    }

    fn leader(&self) -> Option<pb::control::Leader> {
        let (leader, _) = self.writer.raft.leader()?;
        let addr = self.addresses.of(&self.writer.feed.view(), leader)?;
        Some(pb::control::Leader { node: leader.to_wire(), addr: addr.to_wire(), term: 0 })
    }

    /// Who to ask instead.
    pub fn not_leader(&self) -> Reply {
        let leader = self.leader().filter(|leader| leader.node != self.node.to_wire());
        let kind = if leader.is_some() { FailureKind::NotLeader } else { FailureKind::NoLeader };
        let message = "this manager is not the leader".to_owned();
        Reply::Failure(pb::control::Failure { kind: kind as i32, message, leader })
    }

    fn leads(&self) -> bool {
        self.writer.raft.leader() == Some((self.node, true))
    }

    /// A manager asks to be let into the group: as a learner first.
    async fn join_raft(&self, peer: PeerIdentity, raft_id: u64) -> Reply {
        if !self.leads() {
            return self.not_leader();
        }
        let view = self.writer.feed.view();
        let wanted = view.node(peer.node).is_some_and(|node| node.spec.role == NodeRole::Manager);
        if peer.role != NodeRole::Manager || !wanted {
            let words = "this node is not to be a manager (promote it with: swarm node promote)";
            return failure(FailureKind::Denied, words);
        }
        // An earlier membership of this node is void: its log is gone.
        let earlier = self.writer.raft.members().await.into_iter().find(|member| member.node == peer.node);
        if let Some(earlier) = earlier.as_ref().filter(|earlier| earlier.raft_id != raft_id)
            && let Err(reason) = self.writer.raft.remove(earlier.raft_id).await
        {
            return failure(FailureKind::NoLeader, &reason);
        }
        // Asked again, because the answer was lost: it is in already.
        let again = earlier.is_some_and(|earlier| earlier.raft_id == raft_id);
        if !again && let Err(reason) = self.writer.raft.add_learner(raft_id, peer.node).await {
            return failure(FailureKind::NoLeader, &reason);
        }
        let members = self.writer.raft.members().await;
        let peers = members.into_iter().filter_map(|member| {
            let addr = self.addresses.of(&view, member.node)?;
            Some(pb::control::RaftPeer {
                raft_id: member.raft_id,
                node: member.node.to_wire(),
                addr: addr.to_wire(),
                voter: member.voter,
            })
        });
        let sealing_key = self.sealing_key.expose().to_vec();
        Reply::JoinedRaft(pb::control::JoinedRaft { peers: peers.collect(), sealing_key })
    }

    /// A node leaves: a manager goes out of the group first.
    async fn leave(&self, peer: PeerIdentity, force: bool) -> Reply {
        if !self.leads() {
            return self.not_leader();
        }
        let member = self.writer.raft.members().await.into_iter().find(|member| member.node == peer.node);
        if let Some(member) = member {
            if !force {
                return failure(FailureKind::Denied, "the node is a manager: demote it first, or leave with force");
            }
            if peer.node == self.node {
                // A leader cannot take itself out: it hands over, and asks the next one.
                if let Err(error) = self.writer.raft.log().transfer_leader(None).await {
                    return failure(FailureKind::NoLeader, &error.to_string());
                }
                return failure(FailureKind::NoLeader, "leadership was handed over; ask the next leader");
            }
            let demoted = self.demote(peer.node).await;
            if let Err(error) = demoted {
                return refused(&error);
            }
            if let Err(reason) = self.writer.raft.remove(member.raft_id).await {
                return failure(FailureKind::NoLeader, &reason);
            }
        }
        self.strike_off(peer).await
    }

    /// Writes that a node is gone, and begins to change the gossip keys it knows.
    async fn strike_off(&self, peer: PeerIdentity) -> Reply {
        let wall = self.clock.wall();
        let view = self.writer.feed.view();
        let change = match view.node(peer.node) {
            // It never had a session: joining failed half way, and nothing of it stays. It may count as down by now.
            Some(node) if node.description.as_ref().is_none_or(|d| d.wireguard_key == [0; 32]) => {
                Change::Delete(ObjectRef::Node(peer.node))
            }
            Some(node) => super::sessions::left(peer.node, wall, node.status.addr),
            None => return Reply::Left(pb::control::Left {}),
        };
        let Ok(key) = random_bytes() else {
            return failure(FailureKind::NoLeader, "the system gave no random bytes");
        };
        let rotation = begin_gossip_rotation(&view, Sensitive::new(key));
        let (preconditions, mut changes): (Vec<_>, Vec<_>) = rotation.into_iter().unzip();
        changes.push(change);
        match self.writer.propose(&Txn { wall, preconditions, changes, ..Txn::default() }).await {
            // Someone wrote of the cluster meanwhile: the node asks again.
            Err(WriteError::Refused(Conflict::OutOfSequence { .. })) => {
                failure(FailureKind::NoLeader, "the cluster was changed at the same moment")
            }
            Ok(_) => Reply::Left(pb::control::Left {}),
            Err(error) => refused(&error),
        }
    }

    /// Sets the wanted role, so that the group does not take the node back.
    async fn demote(&self, node: NodeId) -> Result<(), WriteError> {
        let view = self.writer.feed.view();
        let Some(known) = view.node(node) else { return Ok(()) };
        let mut demoted = (**known).clone();
        demoted.spec.role = NodeRole::Worker;
        let object = ObjectRef::Node(node);
        let txn = Txn {
            wall: self.clock.wall(),
            preconditions: vec![Precondition::Version(object, known.meta.version)],
            changes: vec![Change::Replace(demoted.into())],
            ..Txn::default()
        };
        self.writer.propose(&txn).await.map(|_| ())
    }

    /// One call of the joining conversation.
    pub async fn join(&self, peer: Peer, request: Bytes) -> Option<Bytes> {
        let reply = match pb::trust::JoinRequest::decode(request) {
            Ok(request) => self.issuer.join(self, peer.address.ip().to_canonical(), request).await,
            Err(_) => Err(join::Refusal::invalid("the request is of a newer version of swarm")),
        };
        let reply = match reply {
            Ok(joined) => pb::trust::joined::Result::Reply(joined),
            Err(refusal) => pb::trust::joined::Result::Refusal(refusal.message),
        };
        Some(pb::trust::Joined { result: Some(reply) }.encode_to_vec().into())
    }
}

pub(super) fn failure(kind: FailureKind, message: &str) -> Reply {
    Reply::Failure(pb::control::Failure { kind: kind as i32, message: message.to_owned(), leader: None })
}

fn refused(error: &WriteError) -> Reply {
    let kind = match error {
        WriteError::Refused(Conflict::OutOfSequence { .. }) => FailureKind::OutOfSequence,
        WriteError::Refused(_) => FailureKind::Conflict,
        WriteError::NoLeader => FailureKind::NoLeader,
        WriteError::Uncertain => FailureKind::Uncertain,
        WriteError::TooLarge { .. } => FailureKind::Invalid,
    };
    failure(kind, &error.to_string())
}
