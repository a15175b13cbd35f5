//! Dialling one node: handshake, who answered, and whether it accepts us.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::{Connection, ConnectionError};
use rustls::pki_types::CertificateDer;
use swarm_core::model::NodeRole;
use swarm_core::trust::check_validity;
use swarm_core::{NodeId, WallTime};
use tokio::time::{Instant, timeout_at};

use super::config::{DialTrust, client_config};
use super::conversation::Conversation;
use super::error::{TransportError, from_connection, from_handshake};
use crate::trust::tls::SERVER_NAME;
use crate::trust::{PeerError, PeerIdentity};

/// How long a node may take to answer the first packet and finish the handshake: several losses on
/// a LAN, and short enough for a person to wait.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// What the accepting side sends when it accepts: the version of the transport's own contract.
pub(super) const WELCOME: [u8; 1] = [1];

/// Who is meant to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Expect {
    /// This node and no other.
    Node(NodeId),
    /// Some manager.
    Manager,
    /// Some node of the cluster.
    Anyone,
}

/// A connection whose both sides have accepted each other.
#[derive(Debug, Clone)]
pub(super) struct Established {
    pub connection: Connection,
    pub peer: PeerIdentity,
    /// One reference here, one in each half of each stream.
    pub in_use: Arc<()>,
}

/// Now, by the clock certificates are checked with.
pub(super) fn wall_now() -> WallTime {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    WallTime(since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX)))
}

pub(super) async fn dial(
    endpoint: &quinn::Endpoint,
    address: SocketAddr,
    expect: Expect,
    conversation: &'static Conversation,
    trust: &DialTrust<'_>,
    deadline: Instant,
) -> Result<Established, TransportError> {
    let start = Instant::now();
    let deadline = deadline.min(start + CONNECT_TIMEOUT);
    if let DialTrust::Cluster(identity) = trust {
        check_validity(identity.peer().validity, wall_now()).map_err(TransportError::OwnCertificate)?;
    }
    let (config, failure) = client_config(trust, conversation)?;
    let connecting = endpoint.connect_with(config, address, SERVER_NAME).map_err(|error| match error {
        quinn::ConnectError::EndpointStopping => TransportError::Closed,
        error => TransportError::BadAddress { address, detail: error.to_string() },
    })?;
    let unreachable = || TransportError::Unreachable { address, waited: start.elapsed() };
    let connection = match timeout_at(deadline, connecting).await {
        Err(_) => return Err(unreachable()),
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => {
            return Err(match failure.get() {
                Some(reason) => TransportError::Peer { address, reason: reason.clone() },
                None => from_handshake(address, &error, start.elapsed()),
            });
        }
    };
    let peer = match dialled_peer(&connection) {
        Some(peer) => peer,
        None => {
            let detail = "its certificate has no node in it".to_owned();
            let reason = PeerError::NotASwarmNode { detail };
            return Err(TransportError::Peer { address, reason });
        }
    };
    check_expected(address, expect, &peer)?;
    match timeout_at(deadline, welcome(&connection)).await {
        Err(_) => Err(unreachable()),
        Ok(Ok(true)) => Ok(Established { connection, peer, in_use: Arc::new(()) }),
        Ok(Ok(false)) => Err(TransportError::NotASwarmNode {
            address,
            detail: "it speaks another version of the transport".to_owned(),
        }),
        Ok(Err(error)) => Err(from_connection(address, &error)),
    }
}

fn check_expected(address: SocketAddr, expect: Expect, peer: &PeerIdentity) -> Result<(), TransportError> {
    match (expect, peer.role) {
        (Expect::Node(expected), _) if expected != peer.node => {
            Err(TransportError::WrongNode { address, expected, found: peer.node })
        }
        (Expect::Manager, NodeRole::Worker) => Err(TransportError::NotAManager { address }),
        (Expect::Node(_) | Expect::Anyone, _) | (Expect::Manager, NodeRole::Manager) => Ok(()),
    }
}

/// Waits for the other side's word that it accepts us; an error is its refusal.
async fn welcome(connection: &Connection) -> Result<bool, ConnectionError> {
    let mut stream = connection.accept_uni().await?;
    let mut greeting = [0u8; WELCOME.len()];
    match stream.read_exact(&mut greeting).await {
        Ok(()) => Ok(greeting == WELCOME),
        Err(quinn::ReadExactError::ReadError(quinn::ReadError::ConnectionLost(error))) => Err(error),
        Err(_) => Ok(false),
    }
}

/// The verified certificate's subject, if the other side showed a certificate of a node.
pub(super) fn dialled_peer(connection: &Connection) -> Option<PeerIdentity> {
    let chain = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    PeerIdentity::from_der("the peer's certificate", chain.first()?).ok()
}
