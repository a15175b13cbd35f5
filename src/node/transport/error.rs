//! What goes wrong between two nodes, each with what to do about it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::{ConnectionError, VarInt};
use swarm_core::NodeId;
use swarm_core::trust::ValidityError;

use crate::trust::{PeerError, TrustError};

/// Why the other side closed a connection or refused a stream: its code on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The conversation needs a certificate.
    NoCertificate,
    /// The conversation is for managers.
    WrongRole,
    /// The certificate is of another cluster.
    OtherCluster,
    /// The node was removed from the cluster.
    Removed,
    /// Nobody serves this conversation there, now.
    NotServed,
    /// Too many requests at once.
    Busy,
    /// The certificate expired during the connection.
    CertificateExpired,
    /// The endpoint shuts down.
    ShuttingDown,
    /// The handler gave up this request.
    Abandoned,
    /// A frame was longer than the conversation allows.
    FrameTooLong,
    /// The certificate is a manager's, the node is none any more.
    NoLongerManager,
}

impl Refusal {
    const ALL: [Self; 11] = [
        Self::NoCertificate,
        Self::WrongRole,
        Self::OtherCluster,
        Self::Removed,
        Self::NotServed,
        Self::Busy,
        Self::CertificateExpired,
        Self::ShuttingDown,
        Self::Abandoned,
        Self::FrameTooLong,
        Self::NoLongerManager,
    ];

    pub(super) fn code(self) -> VarInt {
        VarInt::from_u32(match self {
            Self::NoCertificate => 1,
            Self::WrongRole => 2,
            Self::OtherCluster => 3,
            Self::Removed => 4,
            Self::NotServed => 5,
            Self::Busy => 6,
            Self::CertificateExpired => 7,
            Self::ShuttingDown => 8,
            Self::Abandoned => 9,
            Self::FrameTooLong => 10,
            Self::NoLongerManager => 11,
        })
    }

    pub(super) fn from_code(code: VarInt) -> Option<Self> {
        Self::ALL.into_iter().find(|refusal| refusal.code() == code)
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NoCertificate => "it wants a node certificate first (join the cluster with a token)",
            Self::WrongRole => {
                "this node's certificate has the wrong role for that (promote the node with: swarm node promote)"
            }
            Self::OtherCluster => "this node's certificate is of another cluster (check the address)",
            Self::Removed => {
                "this node was removed from the cluster (leave with: swarm leave --force, then join with a token)"
            }
            Self::NotServed => "it does not serve this conversation (is it a manager, and has it finished starting?)",
            Self::Busy => "it has too many requests at once (try again)",
            Self::CertificateExpired => "this node's certificate expired (join again with a token)",
            Self::ShuttingDown => "it is shutting down (try another manager)",
            Self::Abandoned => "it gave up the request (see its log)",
            Self::FrameTooLong => "the message is longer than the conversation allows",
            Self::NoLongerManager => "this node is not a manager any more (promote it with: swarm node promote)",
        })
    }
}

/// Why a call, a stream or the endpoint itself failed.
///
/// Unless a variant says otherwise the request was not carried out.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TransportError {
    /// The socket could not be opened.
    #[error("cannot listen on UDP {address} (is another daemon using the port, and is the address one of this host?)")]
    Bind {
        /// Where.
        address: SocketAddr,
        #[source]
        source: Arc<io::Error>,
    },
    /// Nothing answered.
    #[error("no answer from {address} within {:.1} s (check the address, that the daemon runs there, and that the firewall lets UDP port {} through)", waited.as_secs_f64(), address.port())]
    Unreachable {
        /// Who was dialled.
        address: SocketAddr,
        /// How long.
        waited: Duration,
    },
    /// The address cannot be dialled from this socket (IPv6 from an IPv4 socket, port 0).
    #[error("cannot dial {address}: {detail}")]
    BadAddress {
        /// Who was dialled.
        address: SocketAddr,
        /// What is wrong with it.
        detail: String,
    },
    /// The other side's certificate was not accepted.
    #[error("{address} is refused: {reason}")]
    Peer {
        /// Who was dialled.
        address: SocketAddr,
        /// Why.
        reason: PeerError,
    },
    /// Something speaks QUIC or TLS there, but not our conversations.
    #[error("{address} is not a swarm node of this version: {detail} (check address and port)")]
    NotASwarmNode {
        /// Who was dialled.
        address: SocketAddr,
        /// What it said.
        detail: String,
    },
    /// A node of the cluster, but not the one that was meant.
    #[error(
        "{address} is node {found}, not {expected} (the address has moved to another node; it is corrected by gossip)"
    )]
    WrongNode {
        /// Who was dialled.
        address: SocketAddr,
        /// Who was meant.
        expected: NodeId,
        /// Who answered.
        found: NodeId,
    },
    /// A worker answered where a manager was meant.
    #[error("{address} is a worker, but only managers can do this (use the address of a manager; see: swarm node ls)")]
    NotAManager {
        /// Who was dialled.
        address: SocketAddr,
    },
    /// The other side does not accept our certificate.
    #[error(
        "{address} refuses this node's certificate: {detail} (check the clocks of both hosts, and that both belong to one cluster)"
    )]
    CertificateRefused {
        /// Who was dialled.
        address: SocketAddr,
        /// What it said.
        detail: String,
    },
    /// Our own certificate is not valid by our own clock.
    #[error("this node's own certificate cannot be used: {0}")]
    OwnCertificate(ValidityError),
    /// The other side understood and declined.
    #[error("{address} declines: {refusal}")]
    Refused {
        /// Who was dialled.
        address: SocketAddr,
        /// Why.
        refusal: Refusal,
    },
    /// The connection broke. The request may or may not have been carried out.
    #[error("the connection to {address} broke: {detail}")]
    Lost {
        /// The peer.
        address: SocketAddr,
        /// How.
        detail: String,
    },
    /// No reply in time. The request may or may not have been carried out.
    #[error("{address} did not reply within {:.1} s (it is overloaded, or just lost)", waited.as_secs_f64())]
    Deadline {
        /// The peer.
        address: SocketAddr,
        /// The deadline.
        waited: Duration,
    },
    /// The peer ended the stream where a reply was due, or in the middle of a frame.
    #[error("{address} ended the conversation too early")]
    EndedEarly {
        /// The peer.
        address: SocketAddr,
    },
    /// A frame of ours or theirs is longer than the conversation allows.
    #[error("a message of {bytes} bytes is too long for {conversation}, which allows {limit}")]
    FrameTooLong {
        /// ALPN name.
        conversation: &'static str,
        /// Its length.
        bytes: usize,
        /// The limit.
        limit: u32,
    },
    /// This node has no certificate.
    #[error("this node belongs to no cluster (make one with: swarm init, or join one with: swarm join)")]
    NoIdentity,
    /// The endpoint was closed.
    #[error("the transport is shut down")]
    Closed,
    /// Our own keys or certificates cannot be used.
    #[error("the transport cannot use this node's identity")]
    Trust {
        #[source]
        source: Arc<TrustError>,
    },
}

impl From<TrustError> for TransportError {
    fn from(source: TrustError) -> Self {
        Self::Trust { source: Arc::new(source) }
    }
}

/// First of the QUIC error codes that carry a TLS alert (RFC 9001 section 4.8).
const CRYPTO_ERROR_BASE: u64 = 0x100;
/// TLS alerts (RFC 8446 section 6) by which a peer refuses a certificate of ours.
const CERTIFICATE_ALERTS: [u64; 9] = [
    0x2a, // bad_certificate
    0x2b, // unsupported_certificate
    0x2c, // certificate_revoked
    0x2d, // certificate_expired
    0x2e, // certificate_unknown
    0x30, // unknown_ca
    0x31, // access_denied
    0x33, // decrypt_error: signature of another CA with the same name
    0x74, // certificate_required
];
/// Longest text of a peer that is repeated in an error, in characters.
const PEER_TEXT_CHARS_MAX: usize = 120;

/// What a connection error before the handshake's end means.
pub(super) fn from_handshake(address: SocketAddr, error: &ConnectionError, waited: Duration) -> TransportError {
    match error {
        ConnectionError::TimedOut => TransportError::Unreachable { address, waited },
        ConnectionError::TransportError(error) => TransportError::NotASwarmNode { address, detail: error.to_string() },
        ConnectionError::VersionMismatch => {
            TransportError::NotASwarmNode { address, detail: "it speaks another version of QUIC".to_owned() }
        }
        ConnectionError::ConnectionClosed(_)
        | ConnectionError::ApplicationClosed(_)
        | ConnectionError::Reset
        | ConnectionError::LocallyClosed
        | ConnectionError::CidsExhausted => from_connection(address, error),
    }
}

/// What a connection error means once the handshake is over on our side. The other side's verdict
/// on our certificate arrives only then (RFC 8446 section 4.4: the client finishes first).
pub(super) fn from_connection(address: SocketAddr, error: &ConnectionError) -> TransportError {
    match error {
        ConnectionError::ConnectionClosed(close) => {
            let code = u64::from(close.error_code);
            let detail = peer_text(&close.reason);
            match code.checked_sub(CRYPTO_ERROR_BASE) {
                Some(alert) if CERTIFICATE_ALERTS.contains(&alert) => {
                    TransportError::CertificateRefused { address, detail }
                }
                Some(alert) if alert <= u64::from(u8::MAX) => TransportError::NotASwarmNode { address, detail },
                Some(_) | None => TransportError::Lost { address, detail },
            }
        }
        ConnectionError::ApplicationClosed(close) => match Refusal::from_code(close.error_code) {
            Some(refusal) => TransportError::Refused { address, refusal },
            None => TransportError::Lost { address, detail: "the peer closed it".to_owned() },
        },
        ConnectionError::Reset => TransportError::Lost { address, detail: "the peer was restarted".to_owned() },
        ConnectionError::TimedOut => TransportError::Lost { address, detail: "the peer went silent".to_owned() },
        ConnectionError::LocallyClosed => TransportError::Closed,
        ConnectionError::VersionMismatch | ConnectionError::TransportError(_) | ConnectionError::CidsExhausted => {
            TransportError::Lost { address, detail: error.to_string() }
        }
    }
}

fn peer_text(reason: &[u8]) -> String {
    let text = String::from_utf8_lossy(reason);
    let text: String = text.chars().filter(|c| !c.is_control()).take(PEER_TEXT_CHARS_MAX).collect();
    if text.is_empty() { "without a reason".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_survives_its_code() {
        for refusal in Refusal::ALL {
            assert_eq!(Refusal::from_code(refusal.code()), Some(refusal));
        }
        assert_eq!(Refusal::from_code(VarInt::from_u32(0)), None);
    }

    #[test]
    fn a_peers_text_is_cut_and_cleaned() {
        assert_eq!(peer_text(b""), "without a reason");
        assert_eq!(peer_text(b"a\x1b[2Jb"), "a[2Jb");
        assert_eq!(peer_text(&[b'x'; 500]).len(), PEER_TEXT_CHARS_MAX);
    }
}
