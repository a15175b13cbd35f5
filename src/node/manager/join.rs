//! Certificates: for new nodes that show a token, and for members that renew theirs.

use super::control::{Answering, failure};
use super::machine::StoreFeed;
use super::write::{WriteError, Writer};
use crate::clock::Clock;
use crate::trust::{ClusterCa, PeerIdentity, SealingKey, SigningRequest};
use std::net::IpAddr;
use std::time::Duration;
use swarm_core::model::{
    Availability, Cluster, Meta, Node, NodeDescription, NodeRole, NodeSpec, NodeState, NodeStatus,
};
use swarm_core::store::{Change, Txn, View};
use swarm_core::trust::{IssueRequest, KnownNode, Requester, TokenSecret, admit, may_issue};
use swarm_core::{NodeId, Sensitive, WallTime};
use tokio::time::timeout;
use wire::pb::control::{FailureKind, reply::Reply};
use wire::{Wire, pb};

/// What the CA's key is sealed for.
pub const CA_KEY_CONTEXT: &str = "key of the cluster's certificate authority";
/// Clocks may differ by this much: certificates are dated back an hour.
const SKEW_MAX: Duration = Duration::from_secs(3600);

/// For a token that was just made to be known at this manager: a round or two of log messages.
const TOKEN_WAIT: Duration = Duration::from_millis(500);

/// Why no certificate was given.
#[derive(Clone, Debug)]
pub struct Refusal {
    kind: FailureKind,
    pub message: String,
}

impl Refusal {
    /// The request itself is wrong.
    pub fn invalid(message: &str) -> Self {
        Self { kind: FailureKind::Invalid, message: message.to_owned() }
    }

    fn denied(error: impl std::fmt::Display) -> Self {
        Self { kind: FailureKind::Denied, message: error.to_string() }
    }

    pub(super) fn into_reply(self) -> Reply {
        failure(self.kind, &self.message)
    }
}

impl From<WriteError> for Refusal {
    fn from(error: WriteError) -> Self {
        let kind = match error {
            WriteError::NoLeader => FailureKind::NoLeader,
            WriteError::Uncertain => FailureKind::Uncertain,
            WriteError::Refused(_) | WriteError::TooLarge { .. } => FailureKind::Conflict,
        };
        Self { kind, message: error.to_string() }
    }
}

/// Issues certificates with the CA in the store.
#[derive(Debug)]
pub struct Issuer {
    sealing: SealingKey,
    clock: Clock,
}

impl Issuer {
    /// An issuer that opens the CA's key with `sealing_key`.
    pub fn new(sealing_key: &Sensitive<[u8; 32]>, clock: Clock) -> Self {
        Self { sealing: SealingKey::new(sealing_key), clock }
    }

    fn ca(&self, cluster: &Cluster) -> Result<ClusterCa, Refusal> {
        let broken = |error: String| Refusal { kind: FailureKind::Denied, message: error };
        let key = self.sealing.open(CA_KEY_CONTEXT, cluster.ca.sealed_key.expose());
        let key = key.map_err(|error| broken(error.to_string()))?;
        ClusterCa::load(&cluster.ca.certificate_der, &key).map_err(|error| broken(crate::error::chain(&error)))
    }

    /// A certificate for a node that asks for `request`.
    fn issue(
        &self,
        view: &View,
        requester: Requester,
        csr: &SigningRequest,
    ) -> Result<(pb::trust::Identity, NodeRole), Refusal> {
        let cluster = view.cluster().ok_or_else(|| Refusal::invalid("the cluster is not made yet"))?;
        let node = csr.node();
        let known = match view.node(node) {
            Some(member) => KnownNode::Member { role: member.spec.role },
            None => KnownNode::Absent,
        };
        let request = IssueRequest { requester, node };
        let spec = may_issue(cluster.id, request, known, cluster.spec.node_cert_expiry, self.clock.wall())
            .map_err(Refusal::denied)?;
        let certificate = self.ca(cluster)?.issue(csr, &spec).map_err(|e| Refusal::denied(crate::error::chain(&e)))?;
        let identity = pb::trust::Identity {
            cluster: cluster.id.to_wire(),
            node: node.to_wire(),
            role: spec.role.to_wire(),
            certificate_der: certificate,
            ca_certificate_der: cluster.ca.certificate_der.clone(),
        };
        Ok((identity, spec.role))
    }

    /// A member renews its certificate and gets the role it should have.
    pub async fn renew(
        &self,
        writer: &Writer,
        peer: PeerIdentity,
        csr_der: &[u8],
    ) -> Result<pb::trust::Identity, Refusal> {
        let csr = SigningRequest::parse(csr_der).map_err(Refusal::denied)?;
        let view = writer.read().await?;
        let requester = Requester::Node { node: peer.node, cluster: peer.cluster };
        let (identity, role) = self.issue(&view, requester, &csr)?;
        if view.node(peer.node).is_some_and(|node| node.certificate_role != role) {
            let changes = vec![Change::NodeCertificate { node: peer.node, role }];
            writer.submit(&Txn { wall: self.clock.wall(), changes, ..Txn::default() }).await?;
        }
        Ok(identity)
    }

    /// A new node with a token.
    pub async fn join(
        &self,
        answering: &Answering,
        from: IpAddr,
        request: pb::trust::JoinRequest,
    ) -> Result<pb::trust::JoinReply, Refusal> {
        let now = self.clock.wall();
        check_clock(now, WallTime(request.wall))?;
        let secret: TokenSecret = request.secret.parse().map_err(Refusal::denied)?;
        admit_here(&answering.writer.feed, &secret, now).await?;
        let view = answering.writer.read().await?;
        let cluster = view.cluster().ok_or_else(|| Refusal::invalid("the cluster is not made yet"))?;
        let role = admit(cluster, &secret, now).map_err(Refusal::denied)?;
        let csr = SigningRequest::parse(&request.csr_der).map_err(Refusal::denied)?;
        let (identity, role) = self.issue(&view, Requester::Token { role }, &csr)?;
        let availability = Availability::from_wire(request.availability).map_err(Refusal::denied)?;
        let addr = match request.advertise_addr.as_str() {
            "" => from,
            given => given.parse().map_err(|_| Refusal::invalid("the address to advertise is not an IP address"))?,
        };
        let node = new_node(csr.node(), role, availability, request.hostname, addr, now);
        let changes = vec![Change::Create(node.into())];
        answering.writer.submit(&Txn { wall: now, changes, ..Txn::default() }).await?;
        let managers = view.nodes().filter(|node| node.raft.is_some());
        let managers = managers.filter_map(|node| {
            let addr = answering.addresses.of(&view, node.id)?;
            Some(pb::trust::ManagerAddress { node: node.id.to_wire(), addr: addr.to_wire() })
        });
        Ok(pb::trust::JoinReply {
            identity: Some(identity),
            managers: managers.collect(),
            gossip_keys: cluster.gossip_keys.to_wire(),
            advertise_addr: addr.to_string(),
        })
    }
}

/// Whoever has no token makes no work for the other managers. A new token may be on its way to this one.
async fn admit_here(feed: &StoreFeed, secret: &TokenSecret, now: WallTime) -> Result<(), Refusal> {
    let admits = |view: &View| view.cluster().is_none_or(|cluster| admit(cluster, secret, now).is_ok());
    let mut views = feed.views.clone();
    if timeout(TOKEN_WAIT, views.wait_for(admits)).await.is_ok() {
        return Ok(());
    }
    match feed.view().cluster() {
        Some(cluster) => admit(cluster, secret, now).map(drop).map_err(Refusal::denied),
        None => Ok(()),
    }
}

fn check_clock(own: WallTime, theirs: WallTime) -> Result<(), Refusal> {
    let ahead = theirs.since(own).max(own.since(theirs));
    if ahead < SKEW_MAX {
        return Ok(());
    }
    let direction = if theirs > own { "ahead of" } else { "behind" };
    let message = format!(
        "the clock of the joining host is {} s {direction} the manager's (set both, e.g. with an NTP client)",
        ahead.as_secs()
    );
    Err(Refusal { kind: FailureKind::Denied, message })
}

/// A node as it enters the store.
pub fn new_node(
    id: NodeId,
    role: NodeRole,
    availability: Availability,
    hostname: String,
    addr: IpAddr,
    now: WallTime,
) -> Node {
    let message = "waiting for its first session".to_owned();
    Node {
        id,
        meta: Meta::default(),
        spec: NodeSpec { role, availability, ..NodeSpec::default() },
        description: Some(NodeDescription { hostname, ..NodeDescription::default() }),
        status: NodeStatus { state: NodeState::Unknown, message, addr: Some(addr), since: now },
        raft: None,
        certificate_role: role,
    }
}
