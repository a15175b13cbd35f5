//! A node's key pair and its certificate signing request.

use rcgen::{
    CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType, DnValue, KeyPair,
    PKCS_ECDSA_P256_SHA256, PublicKeyData,
};
use rustls::pki_types::CertificateSigningRequestDer;
use swarm_core::{NodeId, Sensitive};

use super::TrustError;

/// An ECDSA P-256 key pair of a node.
pub struct NodeKey {
    pair: KeyPair,
}

impl std::fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NodeKey(***)")
    }
}

impl NodeKey {
    /// A new key pair.
    pub fn generate() -> Result<Self, TrustError> {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
            .map_err(|source| TrustError::Make { what: "a node key", source })?;
        Ok(Self { pair })
    }

    /// From PKCS#8 DER.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, TrustError> {
        Ok(Self { pair: p256_pair("the node's key", der)? })
    }

    /// PKCS#8 DER, for the identity file.
    #[must_use]
    pub fn to_pkcs8(&self) -> Sensitive<Vec<u8>> {
        Sensitive::new(self.pair.serialize_der())
    }

    /// The raw public point, as certificates carry it.
    #[must_use]
    pub fn public_raw(&self) -> &[u8] {
        self.pair.public_key_raw()
    }

    /// A PKCS#10 request in DER for a certificate of `node`, signed with this key.
    pub fn signing_request(&self, node: NodeId) -> Result<Vec<u8>, TrustError> {
        let mut params = CertificateParams::default();
        let mut name = DistinguishedName::new();
        name.push(DnType::CommonName, node.to_string());
        params.distinguished_name = name;
        let request = params
            .serialize_request(&self.pair)
            .map_err(|source| TrustError::Make { what: "a signing request", source })?;
        Ok(request.der().to_vec())
    }
}

/// Reads a PKCS#8 DER key of the only kind the cluster uses.
pub(super) fn p256_pair(what: &'static str, der: &[u8]) -> Result<KeyPair, TrustError> {
    KeyPair::from_pkcs8_der_and_sign_algo(&der.into(), &PKCS_ECDSA_P256_SHA256)
        .map_err(|source| TrustError::BadKey { what, source })
}

/// A received request: parsed, and proved to be signed by the key it carries.
#[derive(Debug)]
pub struct SigningRequest {
    parsed: CertificateSigningRequestParams,
    node: NodeId,
}

impl SigningRequest {
    /// Parses and checks a PKCS#10 request in DER. Only its key and node id are used: everything
    /// else in a certificate is the issuer's decision.
    pub fn parse(der: &[u8]) -> Result<Self, TrustError> {
        let der = CertificateSigningRequestDer::from(der);
        let parsed =
            CertificateSigningRequestParams::from_der(&der).map_err(|source| TrustError::BadRequest { source })?;
        if PublicKeyData::algorithm(&parsed.public_key) != &PKCS_ECDSA_P256_SHA256 {
            return Err(TrustError::WrongKeyType);
        }
        let node = parsed
            .params
            .distinguished_name
            .get(&DnType::CommonName)
            .and_then(name_text)
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| TrustError::BadCertificate {
                what: "the signing request",
                detail: "its common name is not a node id".to_owned(),
            })?;
        Ok(Self { parsed, node })
    }

    /// The node id asked for.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// The key to certify.
    pub(super) fn public_key(&self) -> &impl PublicKeyData {
        &self.parsed.public_key
    }
}

fn name_text(value: &DnValue) -> Option<&str> {
    match value {
        DnValue::Utf8String(text) => Some(text),
        DnValue::PrintableString(text) => Some(text.as_str()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_carries_the_node_id_and_proves_its_key() {
        let key = NodeKey::generate().unwrap();
        let der = key.signing_request(NodeId(5)).unwrap();
        let request = SigningRequest::parse(&der).unwrap();
        assert_eq!(request.node(), NodeId(5));
        assert_eq!(request.public_key().der_bytes(), key.public_raw());
    }

    #[test]
    fn an_altered_request_is_refused() {
        let mut der = NodeKey::generate().unwrap().signing_request(NodeId(5)).unwrap();
        let last = der.len() - 1;
        der[last] ^= 1;
        assert!(matches!(SigningRequest::parse(&der), Err(TrustError::BadRequest { .. })));
        assert!(SigningRequest::parse(b"junk").is_err());
    }

    #[test]
    fn a_key_survives_its_pkcs8_form() {
        let key = NodeKey::generate().unwrap();
        let again = NodeKey::from_pkcs8(key.to_pkcs8().expose()).unwrap();
        assert_eq!(key.public_raw(), again.public_raw());
        assert!(NodeKey::from_pkcs8(b"junk").is_err());
    }
}
