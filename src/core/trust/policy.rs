//! What certificate a node may be issued.

use std::time::Duration;

use crate::model::node::NodeRole;
use crate::{ClusterId, NodeId, WallTime};

use super::validity::Validity;

/// A role as a certificate's organisational unit: `swarm-worker` or `swarm-manager`.
#[must_use]
pub fn organizational_unit(role: NodeRole) -> &'static str {
    match role {
        NodeRole::Worker => "swarm-worker",
        NodeRole::Manager => "swarm-manager",
    }
}

/// The inverse of [`organizational_unit`]; `None`: not a node's certificate.
#[must_use]
pub fn role_of_unit(text: &str) -> Option<NodeRole> {
    [NodeRole::Worker, NodeRole::Manager].into_iter().find(|role| organizational_unit(*role) == text)
}

/// Who asks for a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requester {
    /// Someone without a certificate, admitted by a token for `role`.
    Token {
        /// What the token opens.
        role: NodeRole,
    },
    /// A node that proved its present certificate.
    Node {
        /// The certificate's node.
        node: NodeId,
        /// The certificate's cluster.
        cluster: ClusterId,
    },
}

/// What is asked for. The public key is checked apart, where keys are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IssueRequest {
    /// Who asks.
    pub requester: Requester,
    /// The node id the certificate is to carry.
    pub node: NodeId,
}

/// What the store knows of the node asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KnownNode {
    /// Nothing: the id is free.
    Absent,
    /// It is a member and is to have this role.
    Member {
        /// The role the managers want it to have.
        role: NodeRole,
    },
    /// It was removed and must not come back under this id.
    Removed,
}

/// What a certificate will say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CertSpec {
    /// Common name.
    pub node: NodeId,
    /// Organisational unit.
    pub role: NodeRole,
    /// Organisation.
    pub cluster: ClusterId,
    /// From when to when.
    pub validity: Validity,
}

/// Why no certificate is issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IssueRefusal {
    /// A token was used to ask for an id that a member has.
    #[error(
        "node id {node} already belongs to a member of the cluster (remove it first with: swarm node rm {node}, or let the node rejoin with its own certificate)"
    )]
    IdTaken {
        /// The id asked for.
        node: NodeId,
    },
    /// A node asked for another node's certificate.
    #[error("node {asker} may renew only its own certificate, not that of {node}")]
    NotYours {
        /// Who asked.
        asker: NodeId,
        /// For whom.
        node: NodeId,
    },
    /// The node was removed or never was a member.
    #[error(
        "node {node} is not a member of the cluster any more (leave with: swarm leave --force, then join with a token)"
    )]
    NotAMember {
        /// The node.
        node: NodeId,
    },
    /// The certificate shown is of another cluster.
    #[error("the certificate belongs to cluster {shown}, but this is cluster {own} (check the address)")]
    OtherCluster {
        /// What the certificate says.
        shown: ClusterId,
        /// Ours.
        own: ClusterId,
    },
}

/// Decides what certificate, if any, a request gets at `now` in cluster `own`; `lifetime` is the
/// cluster's setting.
///
/// A token makes a *new* node of the token's role and never takes over a member's id; a node with
/// a certificate renews itself, and gets the role the store wants for it, which is how promotion
/// and demotion reach the certificate.
pub fn may_issue(
    own: ClusterId,
    request: IssueRequest,
    known: KnownNode,
    lifetime: Duration,
    now: WallTime,
) -> Result<CertSpec, IssueRefusal> {
    let node = request.node;
    let role = match (request.requester, known) {
        (Requester::Token { .. }, KnownNode::Member { .. }) => {
            return Err(IssueRefusal::IdTaken { node });
        }
        (Requester::Token { .. }, KnownNode::Removed) => {
            return Err(IssueRefusal::NotAMember { node });
        }
        (Requester::Token { role }, KnownNode::Absent) => role,
        (Requester::Node { cluster, .. }, _) if cluster != own => {
            return Err(IssueRefusal::OtherCluster { shown: cluster, own });
        }
        (Requester::Node { node: asker, .. }, _) if asker != node => {
            return Err(IssueRefusal::NotYours { asker, node });
        }
        (Requester::Node { .. }, KnownNode::Absent | KnownNode::Removed) => {
            return Err(IssueRefusal::NotAMember { node });
        }
        (Requester::Node { .. }, KnownNode::Member { role }) => role,
    };
    let validity = Validity::issued(now, lifetime);
    Ok(CertSpec { node, role, cluster: own, validity })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: ClusterId = ClusterId(9);
    const ME: NodeId = NodeId(1);

    fn ask(requester: Requester, known: KnownNode) -> Result<NodeRole, IssueRefusal> {
        let request = IssueRequest { requester, node: ME };
        let lifetime = Duration::from_secs(3600);
        may_issue(OWN, request, known, lifetime, WallTime(1_000_000)).map(|spec| {
            assert_eq!((spec.node, spec.cluster), (ME, OWN));
            spec.role
        })
    }

    #[test]
    fn a_token_makes_a_new_node_of_its_role() {
        for role in [NodeRole::Worker, NodeRole::Manager] {
            assert_eq!(ask(Requester::Token { role }, KnownNode::Absent), Ok(role));
        }
    }

    #[test]
    fn a_token_never_takes_over_a_members_id() {
        let token = Requester::Token { role: NodeRole::Manager };
        assert_eq!(ask(token, KnownNode::Member { role: NodeRole::Worker }), Err(IssueRefusal::IdTaken { node: ME }));
        assert_eq!(ask(token, KnownNode::Removed), Err(IssueRefusal::NotAMember { node: ME }));
    }

    #[test]
    fn a_node_renews_itself_with_the_role_the_store_wants() {
        let me = Requester::Node { node: ME, cluster: OWN };
        assert_eq!(ask(me, KnownNode::Member { role: NodeRole::Manager }), Ok(NodeRole::Manager));
        assert_eq!(ask(me, KnownNode::Removed), Err(IssueRefusal::NotAMember { node: ME }));
        assert_eq!(ask(me, KnownNode::Absent), Err(IssueRefusal::NotAMember { node: ME }));
    }

    #[test]
    fn a_node_gets_no_certificate_for_another_or_from_another_cluster() {
        let other = Requester::Node { node: NodeId(2), cluster: OWN };
        let member = KnownNode::Member { role: NodeRole::Worker };
        assert_eq!(ask(other, member), Err(IssueRefusal::NotYours { asker: NodeId(2), node: ME }));
        let stranger = Requester::Node { node: ME, cluster: ClusterId(8) };
        assert_eq!(ask(stranger, member), Err(IssueRefusal::OtherCluster { shown: ClusterId(8), own: OWN }));
    }
}
