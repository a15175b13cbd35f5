//! TLS 1.3 settings: both sides show a certificate of the cluster's CA and check the other's.
//!
//! A joining node is the one exception: it shows no certificate, and trusts exactly the CA whose
//! digest its token carries. Sessions are never resumed, so every connection proves itself anew.

use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};
use swarm_core::trust::{CaDigest, check_validity};
use swarm_core::{ClusterId, WallTime};

use super::{NodeIdentity, PeerError, PeerIdentity, TrustError};

/// The name every node's certificate carries. Which node it is says the subject, not this name.
pub const SERVER_NAME: &str = "swarm-node";

/// Where a verifier leaves the precise reason of a refusal: TLS alerts have no room for it.
pub type FailureSlot = Arc<OnceLock<PeerError>>;

/// The one crypto provider of this program.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(rustls::crypto::ring::default_provider())))
}

/// Settings for accepting: asks for a client certificate of the cluster's CA; a client without any
/// is let through the handshake and must be held to the joining conversation by the transport.
pub fn server_config(identity: &NodeIdentity, alpns: &[&[u8]]) -> Result<ServerConfig, TrustError> {
    let tls = |source| TrustError::Tls { source };
    let roots = Arc::new(roots_of(identity.ca_der())?);
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider())
        .allow_unauthenticated()
        .build()
        .map_err(|error| tls(rustls::Error::General(error.to_string())))?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(tls)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain(identity), key(identity).into())
        .map_err(tls)?;
    config.alpn_protocols = alpns.iter().map(|alpn| alpn.to_vec()).collect();
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// Settings for dialling another node of the cluster.
pub fn client_config(identity: &NodeIdentity, alpn: &[u8]) -> Result<(ClientConfig, FailureSlot), TrustError> {
    let roots = roots_of(identity.ca_der())?;
    let trust = Trust::Cluster { roots, own: identity.peer().cluster };
    let (verifier, failure) = Verifier::new(trust);
    let config = client_builder(verifier)?
        .with_client_auth_cert(chain(identity), key(identity).into())
        .map_err(|source| TrustError::Tls { source })?;
    Ok((finish_client(config, alpn), failure))
}

/// Settings for a node without a certificate: trusts exactly the CA with this digest.
pub fn joining_client_config(digest: CaDigest, alpn: &[u8]) -> Result<(ClientConfig, FailureSlot), TrustError> {
    let (verifier, failure) = Verifier::new(Trust::Pinned { digest });
    let config = client_builder(verifier)?.with_no_client_auth();
    Ok((finish_client(config, alpn), failure))
}

fn client_builder(
    verifier: Arc<Verifier>,
) -> Result<rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>, TrustError> {
    Ok(ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|source| TrustError::Tls { source })?
        .dangerous()
        .with_custom_certificate_verifier(verifier))
}

fn finish_client(mut config: ClientConfig, alpn: &[u8]) -> ClientConfig {
    config.alpn_protocols = vec![alpn.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    config
}

/// The chain shown to others includes the CA: a joining node must see it to compare its digest.
fn chain(identity: &NodeIdentity) -> Vec<CertificateDer<'static>> {
    [identity.certificate_der(), identity.ca_der()].into_iter().map(|der| CertificateDer::from(der.to_vec())).collect()
}

fn key(identity: &NodeIdentity) -> PrivatePkcs8KeyDer<'static> {
    PrivatePkcs8KeyDer::from(identity.key_pkcs8().expose().clone())
}

fn roots_of(ca_der: &[u8]) -> Result<RootCertStore, TrustError> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(ca_der)).map_err(|source| TrustError::Tls { source })?;
    Ok(roots)
}

#[derive(Debug)]
enum Trust {
    Cluster { roots: RootCertStore, own: ClusterId },
    Pinned { digest: CaDigest },
}

/// Checks the dialled node's certificate and notes why it was refused.
#[derive(Debug)]
struct Verifier {
    trust: Trust,
    failure: FailureSlot,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    fn new(trust: Trust) -> (Arc<Self>, FailureSlot) {
        let failure = FailureSlot::default();
        let algorithms = provider().signature_verification_algorithms;
        let verifier = Self { trust, failure: Arc::clone(&failure), algorithms };
        (Arc::new(verifier), failure)
    }

    fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        sent: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), PeerError> {
        let pinned;
        let roots = match &self.trust {
            Trust::Cluster { roots, .. } => roots,
            Trust::Pinned { digest } => {
                pinned = pinned_root(*digest, sent)?;
                &pinned
            }
        };
        let not_ours = |error: &dyn std::fmt::Display| PeerError::NotASwarmNode {
            detail: format!("its certificate cannot be used ({error})"),
        };
        let parsed = ParsedCertificate::try_from(end_entity).map_err(|error| not_ours(&error))?;
        let all = self.algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, roots, &[], now, all)
            .map_err(|error| self.explain(&error, end_entity, now))?;
        verify_server_name(&parsed, name).map_err(|error| not_ours(&error))?;
        let peer = PeerIdentity::from_der("its certificate", end_entity).map_err(|error| not_ours(&error))?;
        match &self.trust {
            Trust::Cluster { own, .. } if peer.cluster != *own => {
                Err(PeerError::OtherCluster { shown: peer.cluster, own: *own })
            }
            Trust::Cluster { .. } | Trust::Pinned { .. } => Ok(()),
        }
    }

    /// Turns the library's verdict into words a person can act on.
    fn explain(&self, error: &rustls::Error, end_entity: &CertificateDer<'_>, now: UnixTime) -> PeerError {
        let Ok(shown) = PeerIdentity::from_der("its certificate", end_entity) else {
            return PeerError::NotASwarmNode { detail: "its certificate is not a swarm node's".to_owned() };
        };
        if let rustls::Error::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        ) = error
            && let Err(validity) = check_validity(shown.validity, wall_time_of(now))
        {
            return PeerError::Validity(validity);
        }
        match &self.trust {
            Trust::Cluster { own, .. } if shown.cluster != *own => {
                PeerError::OtherCluster { shown: shown.cluster, own: *own }
            }
            Trust::Cluster { .. } | Trust::Pinned { .. } => PeerError::WrongCa,
        }
    }
}

fn pinned_root(digest: CaDigest, sent: &[CertificateDer<'_>]) -> Result<RootCertStore, PeerError> {
    let shown = sent.last().map(|der| CaDigest::of(der));
    let wrong = || PeerError::WrongTokenDigest { shown };
    let ca = sent.iter().find(|der| CaDigest::of(der) == digest).ok_or_else(wrong)?;
    roots_of(ca).map_err(|_| wrong())
}

fn wall_time_of(now: UnixTime) -> WallTime {
    WallTime(i64::try_from(now.as_secs()).unwrap_or(i64::MAX).saturating_mul(1000))
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.verify(end_entity, intermediates, server_name, now) {
            Ok(()) => Ok(ServerCertVerified::assertion()),
            Err(failure) => {
                let verdict = match &failure {
                    PeerError::WrongCa | PeerError::OtherCluster { .. } | PeerError::WrongTokenDigest { .. } => {
                        CertificateError::UnknownIssuer
                    }
                    PeerError::Validity(_) => CertificateError::Expired,
                    PeerError::NotASwarmNode { .. } => CertificateError::ApplicationVerificationFailure,
                };
                // One verifier serves one connection, so the first refusal is the only one.
                let _ = self.failure.set(failure);
                Err(rustls::Error::InvalidCertificate(verdict))
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::PeerIncompatible(rustls::PeerIncompatible::Tls12NotOffered))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
