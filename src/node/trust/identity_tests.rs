use super::*;
use crate::trust::{ClusterCa, SigningRequest};
use swarm_core::model::NodeRole;
use swarm_core::trust::{CertSpec, Validity};
use swarm_core::{ClusterId, NodeId, WallTime};

const NOW: WallTime = WallTime(1_800_000_000_000);

fn issue(ca: &ClusterCa, key: &NodeKey) -> Vec<u8> {
    let request = SigningRequest::parse(&key.signing_request(NodeId(3)).unwrap()).unwrap();
    let validity = Validity::issued(NOW, std::time::Duration::from_secs(3600));
    let spec = CertSpec { node: NodeId(3), role: NodeRole::Worker, cluster: ClusterId(4), validity };
    ca.issue(&request, &spec).unwrap()
}

fn new_ca() -> ClusterCa {
    ClusterCa::create(ClusterId(4), NOW).unwrap()
}

#[test]
fn an_identity_survives_its_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("identity.pem");
    assert!(NodeIdentity::load(&path).unwrap().is_none());
    let (ca, key) = (new_ca(), NodeKey::generate().unwrap());
    let ca_der = ca.certificate_der().to_vec();
    let identity = NodeIdentity::from_issued(&key, issue(&ca, &key), ca_der, Some(ca.digest())).unwrap();
    identity.save(&path).unwrap();
    let again = NodeIdentity::load(&path).unwrap().unwrap();
    assert_eq!(again.peer(), identity.peer());
    assert_eq!(again.certificate_der(), identity.certificate_der());
    assert_eq!(again.ca_der(), identity.ca_der());
    assert_eq!(again.key_pkcs8(), identity.key_pkcs8());
}

#[test]
fn a_certificate_for_another_key_or_from_another_ca_is_refused() {
    let (ca, key) = (new_ca(), NodeKey::generate().unwrap());
    let certificate = issue(&ca, &key);
    let other = NodeKey::generate().unwrap();
    let ca_der = ca.certificate_der().to_vec();
    assert!(matches!(
        NodeIdentity::from_issued(&other, certificate.clone(), ca_der.clone(), None),
        Err(TrustError::Mismatch { with: "key" })
    ));
    let forged = new_ca().certificate_der().to_vec();
    assert!(matches!(
        NodeIdentity::from_issued(&key, certificate.clone(), forged.clone(), None),
        Err(TrustError::Mismatch { with: "CA" })
    ));
    assert!(matches!(
        NodeIdentity::from_issued(&key, certificate, forged, Some(ca.digest())),
        Err(TrustError::WrongDigest)
    ));
}

#[test]
fn a_damaged_file_names_the_part_that_is_missing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("identity.pem");
    std::fs::write(&path, "").unwrap();
    let error = NodeIdentity::load(&path).unwrap_err();
    assert!(error.to_string().contains("has no private key"), "{error}");
    let mut text = String::new();
    push_pem(&mut text, "PRIVATE KEY", NodeKey::generate().unwrap().to_pkcs8().expose());
    std::fs::write(&path, text).unwrap();
    let error = NodeIdentity::load(&path).unwrap_err();
    assert!(error.to_string().contains("has no certificate"), "{error}");
}
