//! The cluster's certificate authority: one self-signed ECDSA P-256 certificate.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SerialNumber,
};
use rustls::pki_types::CertificateDer;
use swarm_core::trust::{CaDigest, CertSpec, Validity, organizational_unit};
use swarm_core::{ClusterId, Sensitive, WallTime};
use time::OffsetDateTime;

use super::key::p256_pair;
use super::tls::SERVER_NAME;
use super::{SigningRequest, TrustError, random_bytes};

/// Common name of the CA's subject.
const CA_COMMON_NAME: &str = "swarm-ca";
/// Life of the CA certificate: 20 years, longer than any cluster keeps its first CA.
const CA_LIFETIME: Duration = Duration::from_secs(20 * 365 * 24 * 3600);
/// Bytes of a certificate's serial number; the first bit is cleared so that it stays positive
/// (RFC 5280 section 4.1.2.2 allows 20).
const SERIAL_BYTES: usize = 16;

/// The CA with its private key. Lives on managers only.
pub struct ClusterCa {
    issuer: Issuer<'static, KeyPair>,
    certificate_der: Vec<u8>,
}

impl std::fmt::Debug for ClusterCa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ClusterCa({})", self.digest())
    }
}

impl ClusterCa {
    /// A new CA for a new cluster.
    pub fn create(cluster: ClusterId, now: WallTime) -> Result<Self, TrustError> {
        let make = |source| TrustError::Make { what: "the CA certificate", source };
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(make)?;
        let mut params = base_params(Validity::issued(now, CA_LIFETIME))?;
        params.distinguished_name = subject(CA_COMMON_NAME, None, cluster);
        // No intermediates: the CA signs nodes and nothing else.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate_der = params.self_signed(&pair).map_err(make)?.der().to_vec();
        Ok(Self { issuer: Issuer::new(params, pair), certificate_der })
    }

    /// The CA of an existing cluster, from its certificate and its PKCS#8 key.
    pub fn load(certificate_der: &[u8], key_pkcs8: &Sensitive<Vec<u8>>) -> Result<Self, TrustError> {
        let pair = p256_pair("the CA's key", key_pkcs8.expose())?;
        let bad = |detail: String| TrustError::BadCertificate { what: "the CA certificate", detail };
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate_der)
            .map_err(|error| bad(format!("it does not parse ({error})")))?;
        if parsed.public_key().subject_public_key.data.as_ref() != pair.public_key_raw() {
            return Err(bad("it is not the certificate of the CA's key".to_owned()));
        }
        let issuer = Issuer::from_ca_cert_der(&CertificateDer::from(certificate_der), pair)
            .map_err(|error| bad(error.to_string()))?;
        Ok(Self { issuer, certificate_der: certificate_der.to_vec() })
    }

    /// The CA certificate, DER.
    #[must_use]
    pub fn certificate_der(&self) -> &[u8] {
        &self.certificate_der
    }

    /// The private key, PKCS#8 DER: to be sealed before it is stored.
    #[must_use]
    pub fn key_pkcs8(&self) -> Sensitive<Vec<u8>> {
        Sensitive::new(self.issuer.key().serialize_der())
    }

    /// What join tokens carry.
    #[must_use]
    pub fn digest(&self) -> CaDigest {
        CaDigest::of(&self.certificate_der)
    }

    /// Issues a certificate (DER) that says what `spec` says, for the key of `request`.
    pub fn issue(&self, request: &SigningRequest, spec: &CertSpec) -> Result<Vec<u8>, TrustError> {
        let make = |source| TrustError::Make { what: "a node certificate", source };
        let node = spec.node.to_string();
        let mut params = base_params(spec.validity)?;
        for name in [SERVER_NAME, &node] {
            params.subject_alt_names.push(SanType::DnsName(name.try_into().map_err(make)?));
        }
        params.distinguished_name = subject(&node, Some(organizational_unit(spec.role)), spec.cluster);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        self.sign(&params, request.public_key())
    }

    fn sign(&self, params: &CertificateParams, key: &impl PublicKeyData) -> Result<Vec<u8>, TrustError> {
        let certificate = params
            .signed_by(key, &self.issuer)
            .map_err(|source| TrustError::Make { what: "a node certificate", source })?;
        Ok(certificate.der().to_vec())
    }
}

/// Parameters with a random serial number and the given validity in whole seconds.
fn base_params(validity: Validity) -> Result<CertificateParams, TrustError> {
    let mut serial: [u8; SERIAL_BYTES] = random_bytes()?;
    serial[0] &= 0x7f;
    let mut params = CertificateParams::default();
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.not_before = date(validity.not_before);
    params.not_after = date(validity.not_after);
    Ok(params)
}

/// The calendar date of a wall time; dates beyond the calendar become its last representable one.
fn date(at: WallTime) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(at.0.div_euclid(1000)).unwrap_or_else(|_| rcgen::date_time_ymd(9999, 12, 31))
}

fn subject(common_name: &str, unit: Option<&str>, cluster: ClusterId) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, cluster.to_string());
    if let Some(unit) = unit {
        name.push(DnType::OrganizationalUnitName, unit);
    }
    name.push(DnType::CommonName, common_name);
    name
}

#[cfg(test)]
mod tests {
    use super::super::{NodeKey, PeerIdentity};
    use super::*;
    use swarm_core::NodeId;
    use swarm_core::model::NodeRole;

    fn issue(ca: &ClusterCa, role: NodeRole) -> PeerIdentity {
        let request = NodeKey::generate().unwrap().signing_request(NodeId(3)).unwrap();
        let request = SigningRequest::parse(&request).unwrap();
        let spec = CertSpec {
            node: request.node(),
            role,
            cluster: ClusterId(4),
            validity: Validity { not_before: WallTime(1_000_000), not_after: WallTime(9_000_000) },
        };
        let der = ca.issue(&request, &spec).unwrap();
        PeerIdentity::from_der("a certificate", &der).unwrap()
    }

    #[test]
    fn a_certificate_says_node_role_cluster_and_validity() {
        let ca = ClusterCa::create(ClusterId(4), WallTime(1_800_000_000_000)).unwrap();
        for role in [NodeRole::Worker, NodeRole::Manager] {
            let identity = issue(&ca, role);
            assert_eq!(identity.node, NodeId(3));
            assert_eq!(identity.role, role);
            assert_eq!(identity.cluster, ClusterId(4));
            assert_eq!(identity.validity.not_after, WallTime(9_000_000));
        }
    }

    #[test]
    fn a_reloaded_ca_is_the_same_ca() {
        let ca = ClusterCa::create(ClusterId(4), WallTime(1_800_000_000_000)).unwrap();
        let again = ClusterCa::load(ca.certificate_der(), &ca.key_pkcs8()).unwrap();
        assert_eq!(ca.digest(), again.digest());
        issue(&again, NodeRole::Worker);
    }

    #[test]
    fn a_ca_does_not_load_with_the_key_of_another() {
        let one = ClusterCa::create(ClusterId(4), WallTime(0)).unwrap();
        let two = ClusterCa::create(ClusterId(4), WallTime(0)).unwrap();
        assert!(matches!(
            ClusterCa::load(one.certificate_der(), &two.key_pkcs8()),
            Err(TrustError::BadCertificate { .. })
        ));
    }
}
