//! Keys and certificates: the cluster's CA, a node's identity, and the TLS settings made of them.
//!
//! Owns everything that touches private keys and X.509. The managers' trust service calls
//! [`ClusterCa`]; the daemon keeps a [`NodeIdentity`] on disk; the transport turns it into TLS 1.3
//! configurations. What may be issued to whom is decided in `swarm_core::trust`, never here. Private
//! keys leave this module only sealed ([`SealingKey`]) or into the identity file (mode 0600).

mod ca;
mod disk;
mod identity;
mod key;
mod peer;
mod random;
mod seal;
#[cfg(test)]
pub(crate) mod testing;
pub mod tls;

pub use ca::ClusterCa;
pub use disk::{IDENTITY_FILE_MODE, write_private_file, write_private_file_soon};
pub use identity::NodeIdentity;
pub use key::{NodeKey, SigningRequest};
pub use peer::{PeerError, PeerIdentity};
pub use random::random_bytes;
pub use seal::{SealError, SealingKey};

use std::path::PathBuf;

/// What goes wrong with keys and certificates on this side.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The system gave no random bytes. Nothing was made.
    #[error("no random bytes from the system (is /dev/urandom there?)")]
    NoRandomness,
    /// A certificate or key could not be made. Nothing was made.
    #[error("cannot make {what}")]
    Make {
        /// `the CA certificate`, `a node certificate`, ...
        what: &'static str,
        #[source]
        source: rcgen::Error,
    },
    /// A key that is not PKCS#8 ECDSA P-256.
    #[error("{what} is not an ECDSA P-256 key in PKCS#8 form")]
    BadKey {
        /// Which key.
        what: &'static str,
        #[source]
        source: rcgen::Error,
    },
    /// A certificate signing request that does not parse or is not signed by its key.
    #[error("the certificate signing request is not valid")]
    BadRequest {
        #[source]
        source: rcgen::Error,
    },
    /// A certificate signing request for a kind of key that the cluster does not use.
    #[error("the certificate signing request has a key that is not ECDSA P-256")]
    WrongKeyType,
    /// A certificate that does not parse or lacks what a certificate of ours has.
    #[error("{what} is not a certificate of a swarm node: {detail}")]
    BadCertificate {
        /// Which certificate.
        what: &'static str,
        /// What is wrong or missing.
        detail: String,
    },
    /// Certificate and key, or certificate and CA, are not of a piece.
    #[error("the node's certificate does not fit its {with} (restore both from one backup, or leave and join again)")]
    Mismatch {
        /// `key` or `CA`.
        with: &'static str,
    },
    /// The CA that came with an issued certificate is not the one the token names.
    #[error(
        "the CA certificate received does not have the digest in the join token (copy the token again from a manager)"
    )]
    WrongDigest,
    /// The TLS library refused the settings.
    #[error("cannot set up TLS")]
    Tls {
        #[source]
        source: rustls::Error,
    },
    /// The identity file could not be read or written. The old file, if any, is unchanged.
    #[error("cannot {action} {}", path.display())]
    File {
        /// `read`, `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// The identity file lacks a part.
    #[error("{} has no {what} (restore it from a backup, or leave and join again)", path.display())]
    Incomplete {
        /// The file.
        path: PathBuf,
        /// `private key`, `certificate`, `CA certificate`.
        what: &'static str,
    },
}
