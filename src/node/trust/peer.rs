//! What a certificate says about the node that shows it.

use swarm_core::model::NodeRole;
use swarm_core::trust::{CaDigest, Validity, ValidityError, role_of_unit};
use swarm_core::{ClusterId, NodeId, WallTime};
use x509_parser::prelude::{FromDer, X509Certificate, X509Name};

use super::TrustError;

/// The subject of a node certificate. Only worth something once the certificate was verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerIdentity {
    /// Common name.
    pub node: NodeId,
    /// Organisational unit.
    pub role: NodeRole,
    /// Organisation.
    pub cluster: ClusterId,
    /// From when to when the certificate is valid.
    pub validity: Validity,
}

impl PeerIdentity {
    /// Reads subject and validity of a certificate in DER; verifies no signature.
    pub fn from_der(what: &'static str, der: &[u8]) -> Result<Self, TrustError> {
        let bad = |detail: String| TrustError::BadCertificate { what, detail };
        let (_, certificate) =
            X509Certificate::from_der(der).map_err(|error| bad(format!("it does not parse ({error})")))?;
        let subject = certificate.subject();
        let part = |name: &str, text: Option<String>| text.ok_or_else(|| bad(format!("its subject has no {name}")));
        let node = part("common name", common_name(subject))?;
        let unit = part(
            "organisational unit",
            subject.iter_organizational_unit().next().and_then(|v| v.as_str().ok()).map(str::to_owned),
        )?;
        let cluster = part("organisation", organization(subject))?;
        let validity = certificate.validity();
        Ok(Self {
            node: node.parse().map_err(|_| bad("its common name is not a node id".to_owned()))?,
            role: role_of_unit(&unit).ok_or_else(|| bad("its organisational unit is not a swarm role".to_owned()))?,
            cluster: cluster.parse().map_err(|_| bad("its organisation is not a cluster id".to_owned()))?,
            validity: Validity {
                not_before: wall_time(validity.not_before.timestamp()),
                not_after: wall_time(validity.not_after.timestamp()),
            },
        })
    }
}

fn common_name(name: &X509Name<'_>) -> Option<String> {
    name.iter_common_name().next().and_then(|v| v.as_str().ok()).map(str::to_owned)
}

fn organization(name: &X509Name<'_>) -> Option<String> {
    name.iter_organization().next().and_then(|v| v.as_str().ok()).map(str::to_owned)
}

/// Whole seconds of Unix time as wall time.
pub(super) fn wall_time(unix_secs: i64) -> WallTime {
    WallTime(unix_secs.saturating_mul(1000))
}

/// Why the other side's certificate was not accepted. The transport adds the address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// Signed by a CA that is not the cluster's, though it names the same cluster or none.
    #[error(
        "its certificate is signed by another CA than this cluster's (check the address; if the cluster was made anew, leave with: swarm leave --force, and join again)"
    )]
    WrongCa,
    /// A node of another cluster.
    #[error("it belongs to cluster {shown}, this node to cluster {own} (check the address)")]
    OtherCluster {
        /// What its certificate says.
        shown: ClusterId,
        /// Ours.
        own: ClusterId,
    },
    /// No certificate it sent has the digest in the join token.
    #[error("it does not have the CA that the join token names (copy the token again from a manager of that cluster, and check the address); its CA has digest {}", shown.map_or_else(|| "unknown".to_owned(), |digest| digest.to_string()))]
    WrongTokenDigest {
        /// Digest of the CA it sent, if it sent one.
        shown: Option<CaDigest>,
    },
    /// Its certificate is not valid now.
    #[error("its certificate is refused: {0}")]
    Validity(ValidityError),
    /// It has some certificate, but not one of a swarm node.
    #[error("it is not a swarm node: {detail} (check address and port)")]
    NotASwarmNode {
        /// What is wrong with it.
        detail: String,
    },
}
