//! Certificates for tests of this crate: a cluster with one call per node.

use std::time::Duration;

use swarm_core::model::NodeRole;
use swarm_core::trust::{CertSpec, Validity};
use swarm_core::{ClusterId, NodeId, WallTime};

use super::{ClusterCa, NodeIdentity, NodeKey, SigningRequest};

/// A CA and the cluster it is of.
pub(crate) struct TestCluster {
    pub ca: ClusterCa,
    pub id: ClusterId,
}

/// The test's present.
pub(crate) fn now() -> WallTime {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    WallTime(i64::try_from(since.as_millis()).unwrap())
}

impl TestCluster {
    pub(crate) fn new(id: u128) -> Self {
        let id = ClusterId(id);
        Self { ca: ClusterCa::create(id, now()).unwrap(), id }
    }

    /// A node with a certificate issued now, for an hour.
    pub(crate) fn node(&self, node: u128, role: NodeRole) -> NodeIdentity {
        self.node_valid(node, role, Validity::issued(now(), Duration::from_secs(3600)))
    }

    pub(crate) fn manager(&self, node: u128) -> NodeIdentity {
        self.node(node, NodeRole::Manager)
    }

    pub(crate) fn worker(&self, node: u128) -> NodeIdentity {
        self.node(node, NodeRole::Worker)
    }

    pub(crate) fn node_valid(&self, node: u128, role: NodeRole, validity: Validity) -> NodeIdentity {
        let key = NodeKey::generate().unwrap();
        let request = key.signing_request(NodeId(node)).unwrap();
        let request = SigningRequest::parse(&request).unwrap();
        let spec = CertSpec { node: NodeId(node), role, cluster: self.id, validity };
        let certificate = self.ca.issue(&request, &spec).unwrap();
        let ca_der = self.ca.certificate_der().to_vec();
        NodeIdentity::from_issued(&key, certificate, ca_der, Some(self.ca.digest())).unwrap()
    }
}
