//! Two or three endpoints on loopback, with real certificates.

mod lifecycle;
mod refusals;
mod strangers;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use swarm_core::NodeId;

use super::*;
use crate::trust::NodeIdentity;
use crate::trust::testing::TestCluster;

/// Long enough on a loaded machine, short enough to fail a test that hangs.
const WITHIN: Duration = Duration::from_secs(10);

fn bind(identity: NodeIdentity) -> (Endpoint, SocketAddr) {
    let endpoint = Endpoint::bind("127.0.0.1:0".parse().unwrap(), Some(identity)).unwrap();
    let address = endpoint.local_address().unwrap();
    (endpoint, address)
}

/// Serves echoes: the reply is the asking node's id, a colon and the request.
fn serve_echo(endpoint: &Endpoint, conversation: &'static Conversation) -> ServeGuard {
    endpoint.serve_calls(conversation, |peer, request| async move {
        let node = peer.identity.map_or_else(|| "nobody".to_owned(), |it| it.node.to_string());
        Some(Bytes::from(format!("{node}:{}", String::from_utf8_lossy(&request))))
    })
}

fn echo_of(node: u128, text: &str) -> Bytes {
    Bytes::from(format!("{}:{text}", NodeId(node)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_reaches_the_node_that_is_meant_and_names_the_caller() {
    let cluster = TestCluster::new(1);
    let (server, address) = bind(cluster.manager(10));
    let _serving = serve_echo(&server, &CONTROL);
    let (client, _) = bind(cluster.worker(11));
    for expect in [Expect::Node(NodeId(10)), Expect::Manager, Expect::Anyone] {
        let reply = client.call(address, expect, &CONTROL, "hi", WITHIN).await.unwrap();
        assert_eq!(reply, echo_of(11, "hi"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_can_call_itself() {
    let cluster = TestCluster::new(1);
    let (node, address) = bind(cluster.manager(10));
    let _serving = serve_echo(&node, &CONTROL);
    let reply = node.call(address, Expect::Node(NodeId(10)), &CONTROL, "me", WITHIN).await;
    assert_eq!(reply.unwrap(), echo_of(10, "me"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_calls_at_once_share_one_connection() {
    let cluster = TestCluster::new(1);
    let (server, address) = bind(cluster.manager(10));
    let _serving = serve_echo(&server, &CONTROL);
    let (client, _) = bind(cluster.worker(11));
    let calls = (0..200).map(|number| {
        let client = client.clone();
        async move {
            let text = number.to_string();
            let reply = client.call(address, Expect::Manager, &CONTROL, text.clone(), WITHIN).await.unwrap();
            assert_eq!(reply, echo_of(11, &text));
        }
    });
    futures_util::future::join_all(calls).await;
    assert_eq!(client.connections(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_carries_frames_both_ways_until_each_side_finishes() {
    let cluster = TestCluster::new(1);
    let (server, address) = bind(cluster.manager(10));
    let _serving = server.serve(&DISPATCH, |_peer: Peer, mut stream: Stream| async move {
        while let Ok(Some(frame)) = stream.receive().await {
            if stream.send(frame).await.is_err() {
                return;
            }
        }
        stream.finish();
    });
    let (client, _) = bind(cluster.worker(11));
    let (peer, stream) = client.open(address, Expect::Manager, &DISPATCH, WITHIN).await.unwrap();
    assert_eq!(peer.node, NodeId(10));
    let (mut sender, mut receiver) = stream.split();
    let frames: Vec<Bytes> = [0usize, 1, 70_000, 3_000_000].map(|length| Bytes::from(vec![7u8; length])).into();
    let sent = frames.clone();
    let sending = tokio::spawn(async move {
        for frame in sent {
            sender.send(frame).await.unwrap();
        }
        sender.finish();
    });
    for frame in frames {
        assert_eq!(receiver.receive().await.unwrap(), Some(frame));
    }
    assert_eq!(receiver.receive().await.unwrap(), None);
    sending.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_gives_up_does_not_look_like_one_that_finished() {
    let cluster = TestCluster::new(1);
    let (server, address) = bind(cluster.manager(10));
    let _streams = server.serve(&LOGS, |_peer: Peer, mut stream: Stream| async move {
        let _ = stream.send("part").await;
    });
    let _calls = server.serve_calls(&CONTROL, |_peer, _request| async { None });
    let (client, _) = bind(cluster.manager(11));
    let (_, mut stream) = client.open(address, Expect::Manager, &LOGS, WITHIN).await.unwrap();
    stream.finish();
    let end = loop {
        match stream.receive().await {
            Ok(Some(_)) => {}
            other => break other,
        }
    };
    assert!(matches!(end, Err(TransportError::Refused { refusal: Refusal::Abandoned, .. })));
    let reply = client.call(address, Expect::Manager, &CONTROL, "x", WITHIN).await;
    assert!(matches!(reply, Err(TransportError::Refused { refusal: Refusal::Abandoned, .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_beyond_the_limit_is_refused_on_both_sides() {
    let cluster = TestCluster::new(1);
    let (server, address) = bind(cluster.manager(10));
    let _serving = serve_echo(&server, &TRUST);
    let (client, _) = bind(cluster.worker(11));
    let too_long = Bytes::from(vec![0u8; TRUST.frame_bytes_max as usize + 1]);
    let error = client.call(address, Expect::Manager, &TRUST, too_long, WITHIN).await.unwrap_err();
    assert!(error.to_string().contains("too long for swarm-trust/1"), "{error}");
    // The echo adds the caller's id, so this reply is too long although the request is not.
    let just_fits = Bytes::from(vec![b'x'; TRUST.frame_bytes_max as usize]);
    let error = client.call(address, Expect::Manager, &TRUST, just_fits, WITHIN).await.unwrap_err();
    assert!(matches!(error, TransportError::Refused { refusal: Refusal::Abandoned, .. }));
}
