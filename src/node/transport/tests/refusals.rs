//! Each way two nodes do not come together, and how it is named.

use std::time::Instant;

use swarm_core::model::NodeRole;
use swarm_core::trust::{CaDigest, Validity, ValidityError};
use swarm_core::{ClusterId, WallTime};

use super::*;
use crate::transport::config::DialTrust;
use crate::transport::dial::dial;
use crate::trust::PeerError;
use crate::trust::testing::now;

fn at(offset_secs: i64) -> WallTime {
    WallTime(now().0 + offset_secs * 1000)
}

async fn refused(client: &Endpoint, address: SocketAddr) -> TransportError {
    let reply = client.call(address, Expect::Anyone, &CONTROL, "hi", WITHIN).await;
    let error = reply.expect_err("the call must not succeed");
    assert!(!error.to_string().contains('\n'));
    error
}

#[tokio::test]
async fn a_node_of_another_cluster_is_named() {
    let (server, address) = bind(TestCluster::new(1).manager(10));
    let _serving = serve_echo(&server, &CONTROL);
    let (client, _) = bind(TestCluster::new(2).worker(11));
    let error = refused(&client, address).await;
    let own = ClusterId(2);
    let expected = PeerError::OtherCluster { shown: ClusterId(1), own };
    assert!(matches!(&error, TransportError::Peer { reason, .. } if *reason == expected), "{error}");
    assert!(error.to_string().contains("it belongs to cluster"), "{error}");
}

#[tokio::test]
async fn another_ca_under_the_same_cluster_id_is_named() {
    let (server, address) = bind(TestCluster::new(1).manager(10));
    let _serving = serve_echo(&server, &CONTROL);
    let (client, _) = bind(TestCluster::new(1).worker(11));
    let error = refused(&client, address).await;
    let expected = PeerError::WrongCa;
    assert!(matches!(&error, TransportError::Peer { reason, .. } if *reason == expected), "{error}");
}

#[tokio::test]
async fn a_certificate_that_the_server_does_not_trust_is_named() {
    let cluster = TestCluster::new(1);
    let (server, address) = bind(cluster.manager(10));
    let _serving = serve_echo(&server, &CONTROL);
    let stranger = TestCluster::new(1).worker(11);
    let (client, _) = bind(stranger.trusting(cluster.ca.certificate_der()));
    let error = refused(&client, address).await;
    assert!(matches!(error, TransportError::CertificateRefused { .. }), "{error}");
}

#[tokio::test]
async fn an_expired_certificate_and_a_skewed_clock_are_told_apart() {
    let cluster = TestCluster::new(1);
    let (client, _) = bind(cluster.worker(11));
    let past = Validity { not_before: at(-7200), not_after: at(-3600) };
    let (expired, address) = bind(cluster.node_valid(10, NodeRole::Manager, past));
    let _serving = serve_echo(&expired, &CONTROL);
    let error = refused(&client, address).await;
    let TransportError::Peer { reason: PeerError::Validity(ValidityError::Expired { ago }), .. } = error else {
        panic!("{error}");
    };
    assert!((3600..3660).contains(&ago.as_secs()));

    let future = Validity { not_before: at(1800), not_after: at(3600) };
    let (early, address) = bind(cluster.node_valid(12, NodeRole::Manager, future));
    let _serving = serve_echo(&early, &CONTROL);
    let error = refused(&client, address).await;
    assert!(error.to_string().contains("clock skew"), "{error}");
}

#[tokio::test]
async fn ones_own_expired_certificate_is_named_before_anything_is_sent() {
    let cluster = TestCluster::new(1);
    let past = Validity { not_before: at(-7200), not_after: at(-3600) };
    let (client, _) = bind(cluster.node_valid(11, NodeRole::Worker, past));
    let error = refused(&client, "127.0.0.1:9".parse().unwrap()).await;
    assert!(matches!(error, TransportError::OwnCertificate(ValidityError::Expired { .. })));
}

#[tokio::test]
async fn a_worker_may_not_open_a_managers_conversation() {
    let cluster = TestCluster::new(1);
    let (server, address) = bind(cluster.manager(10));
    let _serving = serve_echo(&server, &RAFT);
    let (worker, _) = bind(cluster.worker(11));
    let error = worker.call(address, Expect::Manager, &RAFT, "x", WITHIN).await.unwrap_err();
    assert!(matches!(error, TransportError::Refused { refusal: Refusal::WrongRole, .. }), "{error}");
}

#[tokio::test]
async fn a_worker_is_no_manager_and_one_node_is_not_another() {
    let cluster = TestCluster::new(1);
    let (server, address) = bind(cluster.worker(10));
    let _serving = serve_echo(&server, &CONTROL);
    let (client, _) = bind(cluster.worker(11));
    let error = client.call(address, Expect::Manager, &CONTROL, "x", WITHIN).await.unwrap_err();
    assert!(matches!(error, TransportError::NotAManager { .. }), "{error}");
    let other = Expect::Node(NodeId(77));
    let error = client.call(address, other, &CONTROL, "x", WITHIN).await.unwrap_err();
    assert!(
        matches!(error, TransportError::WrongNode { expected, found, .. }
            if expected == NodeId(77) && found == NodeId(10)),
        "{error}"
    );
}

#[tokio::test]
async fn a_joining_node_reaches_the_ca_of_its_token_and_no_other() {
    let cluster = TestCluster::new(1);
    let (server, address) = bind(cluster.manager(10));
    let _join = serve_echo(&server, &JOIN);
    let joiner = Endpoint::bind("127.0.0.1:0".parse().unwrap(), None).unwrap();
    let reply = joiner.join_call(address, cluster.ca.digest(), "let me in", WITHIN).await;
    assert_eq!(reply.unwrap(), "nobody:let me in");

    let digest = CaDigest::of(b"another CA");
    let error = joiner.join_call(address, digest, "let me in", WITHIN).await.unwrap_err();
    let expected = PeerError::WrongTokenDigest { shown: Some(cluster.ca.digest()) };
    assert!(matches!(&error, TransportError::Peer { reason, .. } if *reason == expected), "{error}");
}

#[tokio::test]
async fn without_a_certificate_nothing_but_joining_is_open() {
    let cluster = TestCluster::new(1);
    let (server, address) = bind(cluster.manager(10));
    let _serving = serve_echo(&server, &CONTROL);
    let joiner = Endpoint::bind("127.0.0.1:0".parse().unwrap(), None).unwrap();
    let error = joiner.call(address, Expect::Anyone, &CONTROL, "x", WITHIN).await.unwrap_err();
    assert!(matches!(error, TransportError::NoIdentity), "{error}");

    let quic = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let deadline = tokio::time::Instant::now() + WITHIN;
    for conversation in CONVERSATIONS.iter().filter(|one| one.dialler != Dialler::Anyone) {
        let trust = DialTrust::Pinned(cluster.ca.digest());
        let error = dial(&quic, address, Expect::Anyone, conversation, &trust, deadline).await.unwrap_err();
        assert!(
            matches!(error, TransportError::Refused { refusal: Refusal::NoCertificate, .. }),
            "{}: {error}",
            conversation.alpn
        );
    }
}

#[tokio::test]
async fn an_address_that_does_not_answer_is_unreachable_and_then_fails_fast() {
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let (client, _) = bind(TestCluster::new(1).worker(11));
    let within = Duration::from_millis(300);
    let error = client.call(address, Expect::Anyone, &CONTROL, "x", within).await.unwrap_err();
    assert!(matches!(error, TransportError::Unreachable { .. }), "{error}");
    assert!(error.to_string().starts_with("no answer from 127.0.0.1:"), "{error}");
    let start = Instant::now();
    let again = client.call(address, Expect::Anyone, &CONTROL, "x", WITHIN).await.unwrap_err();
    assert!(matches!(again, TransportError::Unreachable { .. }), "{again}");
    assert!(start.elapsed() < within, "the backoff answers without dialling");
}

#[tokio::test]
async fn a_quic_server_of_something_else_is_not_a_swarm_node() {
    let cluster = TestCluster::new(1);
    let identity = cluster.manager(10);
    let tls = crate::trust::tls::server_config(&identity, &[b"h3"]).unwrap();
    let crypto = quinn::crypto::rustls::QuicServerConfig::try_from(tls).unwrap();
    let config = quinn::ServerConfig::with_crypto(std::sync::Arc::new(crypto));
    let other = quinn::Endpoint::server(config, "127.0.0.1:0".parse().unwrap()).unwrap();
    let address = other.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        while let Some(incoming) = other.accept().await {
            let _ = incoming.await;
        }
    });
    let (client, _) = bind(cluster.worker(11));
    let error = refused(&client, address).await;
    assert!(matches!(error, TransportError::NotASwarmNode { .. }), "{error}");
    serving.abort();
}

#[tokio::test]
async fn a_conversation_nobody_serves_is_declined() {
    let cluster = TestCluster::new(1);
    let (_server, address) = bind(cluster.manager(10));
    let (client, _) = bind(cluster.worker(11));
    let error = refused(&client, address).await;
    assert!(matches!(error, TransportError::Refused { refusal: Refusal::NotServed, .. }), "{error}");
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let cluster = TestCluster::new(1);
    let (_first, address) = bind(cluster.manager(10));
    let error = Endpoint::bind(address, Some(cluster.manager(11))).err().unwrap();
    assert!(error.to_string().starts_with(&format!("cannot listen on UDP {address}")), "{error}");
}
