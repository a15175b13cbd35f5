//! A node's own identity: key, certificate and the cluster's CA, in memory and on disk.
//!
//! On disk it is one PEM file (private key, certificate, CA certificate; mode 0600), so that a
//! renewal replaces key and certificate together.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::RootCertStore;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::pki_types::pem::{PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, UnixTime};
use rustls::server::ParsedCertificate;
use swarm_core::Sensitive;
use swarm_core::trust::CaDigest;

use super::tls::provider;
use super::{NodeKey, PeerIdentity, TrustError, write_private_file};

/// Characters per line of PEM (RFC 7468 section 2).
const PEM_LINE: usize = 64;
/// Largest identity file read: key, certificate and CA need about 2 KiB.
const IDENTITY_FILE_BYTES_MAX: u64 = 64 * 1024;

/// A node's key, certificate and CA, checked to fit each other.
#[derive(Clone)]
pub struct NodeIdentity {
    peer: PeerIdentity,
    key_pkcs8: Sensitive<Vec<u8>>,
    certificate_der: Vec<u8>,
    ca_der: Vec<u8>,
}

impl std::fmt::Debug for NodeIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("NodeIdentity").field(&self.peer).finish()
    }
}

impl NodeIdentity {
    /// Puts an issued certificate and its key together.
    ///
    /// Fails when the certificate is not for this key or not signed by this CA, and when `pinned`
    /// is given and is not the CA's digest.
    pub fn from_issued(
        key: &NodeKey,
        certificate_der: Vec<u8>,
        ca_der: Vec<u8>,
        pinned: Option<CaDigest>,
    ) -> Result<Self, TrustError> {
        if pinned.is_some_and(|digest| digest != CaDigest::of(&ca_der)) {
            return Err(TrustError::WrongDigest);
        }
        let peer = PeerIdentity::from_der("the node's certificate", &certificate_der)?;
        check_key(key, &certificate_der)?;
        check_signature(&peer, &certificate_der, &ca_der)?;
        Ok(Self { peer, key_pkcs8: key.to_pkcs8(), certificate_der, ca_der })
    }

    /// The same node trusting another CA: a combination no check lets through, to test what the
    /// other side makes of it.
    #[cfg(test)]
    pub(crate) fn trusting(&self, ca_der: &[u8]) -> Self {
        Self { ca_der: ca_der.to_vec(), ..self.clone() }
    }

    /// Node id, role, cluster and validity.
    #[must_use]
    pub fn peer(&self) -> PeerIdentity {
        self.peer
    }

    /// The node's certificate, DER.
    #[must_use]
    pub fn certificate_der(&self) -> &[u8] {
        &self.certificate_der
    }

    /// The cluster's CA certificate, DER.
    #[must_use]
    pub fn ca_der(&self) -> &[u8] {
        &self.ca_der
    }

    /// PKCS#8 DER of the private key.
    #[must_use]
    pub fn key_pkcs8(&self) -> &Sensitive<Vec<u8>> {
        &self.key_pkcs8
    }

    /// Writes the identity file, whole or not at all.
    pub fn save(&self, path: &Path) -> Result<(), TrustError> {
        let mut text = String::new();
        push_pem(&mut text, "PRIVATE KEY", self.key_pkcs8.expose());
        push_pem(&mut text, "CERTIFICATE", &self.certificate_der);
        push_pem(&mut text, "CERTIFICATE", &self.ca_der);
        write_private_file(path, text.as_bytes()).map_err(|source| TrustError::File {
            action: "write",
            path: path.to_owned(),
            source,
        })
    }

    /// Reads an identity file; `None`: there is none, the node never joined.
    pub fn load(path: &Path) -> Result<Option<Self>, TrustError> {
        let Some(text) = read_bounded(path)? else { return Ok(None) };
        let incomplete = |what| TrustError::Incomplete { path: path.to_owned(), what };
        let key = PrivatePkcs8KeyDer::from_pem_slice(&text).map_err(|_| incomplete("private key"))?;
        let mut certificates = <(SectionKind, Vec<u8>)>::pem_slice_iter(&text)
            .filter_map(Result::ok)
            .filter_map(|(kind, der)| (kind == SectionKind::Certificate).then_some(der));
        let certificate = certificates.next().ok_or_else(|| incomplete("certificate"))?;
        let ca = certificates.next().ok_or_else(|| incomplete("CA certificate"))?;
        let key = NodeKey::from_pkcs8(key.secret_pkcs8_der())?;
        Self::from_issued(&key, certificate, ca, None).map(Some)
    }
}

fn read_bounded(path: &Path) -> Result<Option<Vec<u8>>, TrustError> {
    use std::io::Read;
    let failed = |source| TrustError::File { action: "read", path: path.to_owned(), source };
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut text = Vec::new();
    file.take(IDENTITY_FILE_BYTES_MAX).read_to_end(&mut text).map_err(failed)?;
    Ok(Some(text))
}

fn push_pem(text: &mut String, label: &str, der: &[u8]) {
    text.push_str(&format!("-----BEGIN {label}-----\n"));
    let encoded = STANDARD.encode(der);
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(PEM_LINE));
        text.push_str(line);
        text.push('\n');
        rest = tail;
    }
    text.push_str(&format!("-----END {label}-----\n"));
}

fn check_key(key: &NodeKey, certificate_der: &[u8]) -> Result<(), TrustError> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate_der)
        .map_err(|error| TrustError::BadCertificate { what: "the node's certificate", detail: error.to_string() })?;
    if parsed.public_key().subject_public_key.data.as_ref() == key.public_raw() {
        Ok(())
    } else {
        Err(TrustError::Mismatch { with: "key" })
    }
}

/// Checks the signature as of the certificate's own first second: whether it is valid *now* is
/// asked at each handshake.
fn check_signature(peer: &PeerIdentity, der: &[u8], ca_der: &[u8]) -> Result<(), TrustError> {
    let mismatch = |_| TrustError::Mismatch { with: "CA" };
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(ca_der)).map_err(mismatch)?;
    let der = CertificateDer::from(der);
    let parsed = ParsedCertificate::try_from(&der).map_err(mismatch)?;
    let at_secs = u64::try_from(peer.validity.not_before.0 / 1000).unwrap_or(0);
    let at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(at_secs));
    let algorithms = provider().signature_verification_algorithms.all;
    verify_server_cert_signed_by_trust_anchor(&parsed, &roots, &[], at, algorithms).map_err(mismatch)
}

#[cfg(test)]
#[path = "identity_tests.rs"]
mod tests;
