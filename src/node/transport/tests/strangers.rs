//! Peers without a certificate: few, for a short time, one call each.

use super::*;
use crate::transport::accept::STRANGERS_MAX;
use crate::transport::config::DialTrust;
use crate::transport::dial::{Established, dial};
use tokio::time::Instant;

fn without_certificate() -> quinn::Endpoint {
    quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap()
}

async fn stranger(
    quic: &quinn::Endpoint,
    address: SocketAddr,
    cluster: &TestCluster,
) -> Result<Established, TransportError> {
    let trust = DialTrust::Pinned(cluster.ca.digest());
    dial(quic, address, Expect::Manager, &JOIN, &trust, Instant::now() + WITHIN).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_take_few_places_and_none_of_a_nodes() {
    let cluster = TestCluster::new(1);
    let (server, address) = bind(cluster.manager(10));
    let _join = serve_echo(&server, &JOIN);
    let _control = serve_echo(&server, &CONTROL);
    let quic = without_certificate();
    let mut kept = Vec::new();
    for _ in 0..STRANGERS_MAX {
        kept.push(stranger(&quic, address, &cluster).await.unwrap());
    }
    let error = stranger(&quic, address, &cluster).await.unwrap_err();
    assert!(matches!(error, TransportError::Refused { refusal: Refusal::Busy, .. }), "{error}");
    let (client, _) = bind(cluster.worker(11));
    let reply = client.call(address, Expect::Manager, &CONTROL, "hi", WITHIN).await;
    assert_eq!(reply.unwrap(), echo_of(11, "hi"));
    // Whoever goes makes room.
    kept.pop().unwrap().connection.close(quinn::VarInt::from_u32(0), b"");
    let deadline = Instant::now() + WITHIN;
    while stranger(&quic, address, &cluster).await.is_err() {
        assert!(Instant::now() < deadline, "the place is not free again");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_that_only_waits_is_closed() {
    let cluster = TestCluster::new(1);
    let at = "127.0.0.1:0".parse().unwrap();
    let server = Endpoint::bind_with(at, Some(cluster.manager(10)), Duration::from_millis(300)).unwrap();
    let _join = serve_echo(&server, &JOIN);
    let quic = without_certificate();
    let waiting = stranger(&quic, server.local_address().unwrap(), &cluster).await.unwrap();
    let end = tokio::time::timeout(WITHIN, waiting.connection.closed()).await.expect("it is closed");
    let code = Refusal::Abandoned.code();
    assert!(matches!(&end, quinn::ConnectionError::ApplicationClosed(close) if close.error_code == code), "{end}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_has_one_call() {
    let cluster = TestCluster::new(1);
    let (server, address) = bind(cluster.manager(10));
    let _join = serve_echo(&server, &JOIN);
    let quic = without_certificate();
    let connected = stranger(&quic, address, &cluster).await.unwrap();
    for (text, answered) in [("one", true), ("two", false)] {
        let halves = connected.connection.open_bi().await.unwrap();
        let mut stream = Stream::new(&JOIN, address, halves, None);
        stream.announce().await.unwrap();
        stream.send(text).await.unwrap();
        stream.finish();
        let reply = stream.receive().await;
        assert_eq!(reply.is_ok(), answered, "{reply:?}");
    }
}
