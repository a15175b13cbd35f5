//! Connections over time: renewal, removal, restarts, silent deaths.

use std::collections::BTreeSet;
use std::time::Instant;

use swarm_core::WallTime;
use swarm_core::trust::KnownManagers;
use tokio::runtime::Runtime;

use super::*;
use crate::trust::testing::now;

/// A server in its own runtime. Ending the runtime ends the server as SIGKILL would: no packet
/// says goodbye.
struct Mortal {
    runtime: Runtime,
    address: SocketAddr,
}

impl Mortal {
    fn start(identity: NodeIdentity, address: SocketAddr) -> Self {
        let runtime = Runtime::new().unwrap();
        let address = runtime.block_on(async move {
            let endpoint = Endpoint::bind(address, Some(identity)).unwrap();
            let echo = serve_echo(&endpoint, &CONTROL);
            let hold = endpoint.serve(&DISPATCH, |_peer: Peer, mut stream: Stream| async move {
                let _ = stream.send("session").await;
                // Ends when the client does.
                let _ = stream.receive().await;
            });
            let address = endpoint.local_address().unwrap();
            tokio::spawn(async move {
                std::future::pending::<()>().await;
                drop((endpoint, echo, hold));
            });
            address
        });
        Self { runtime, address }
    }

    fn kill(self) {
        self.runtime.shutdown_background();
    }
}

fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// Binds again as soon as the former owner's socket is gone.
fn restart(identity: NodeIdentity, address: SocketAddr) -> Mortal {
    let deadline = Instant::now() + WITHIN;
    while std::net::UdpSocket::bind(address).is_err() {
        assert!(Instant::now() < deadline, "the old socket is still open");
        std::thread::yield_now();
    }
    Mortal::start(identity, address)
}

#[test]
fn a_restarted_node_is_reached_again_long_before_the_idle_timeout() {
    let cluster = TestCluster::new(1);
    let identity = cluster.manager(10);
    let server = Mortal::start(identity.clone(), any_port());
    let address = server.address;
    let runtime = Runtime::new().unwrap();
    let client = runtime.block_on(async { bind(cluster.worker(11)).0 });
    let call = |text: &'static str| runtime.block_on(client.call(address, Expect::Manager, &CONTROL, text, WITHIN));
    assert_eq!(call("one").unwrap(), echo_of(11, "one"));
    server.kill();
    let server = restart(identity, address);
    let start = Instant::now();
    // The first call may be the one that learns of the restart.
    let second = call("two").or_else(|_| call("two"));
    assert_eq!(second.unwrap(), echo_of(11, "two"));
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    server.kill();
}

#[test]
fn a_session_notices_a_silent_peer_within_about_three_seconds() {
    let cluster = TestCluster::new(1);
    let server = Mortal::start(cluster.manager(10), any_port());
    let address = server.address;
    let runtime = Runtime::new().unwrap();
    let (client, mut stream) = runtime.block_on(async {
        let client = bind(cluster.worker(11)).0;
        let (_, mut stream) = client.open(address, Expect::Manager, &DISPATCH, WITHIN).await.unwrap();
        assert_eq!(stream.receive().await.unwrap(), Some(Bytes::from("session")));
        (client, stream)
    });
    // The session is silent for longer than its idle timeout, and only the keep-alive keeps it.
    let quiet = DISPATCH.idle_timeout + Duration::from_secs(1);
    let silence = runtime.block_on(async { tokio::time::timeout(quiet, stream.receive()).await });
    assert!(silence.is_err(), "{silence:?}");
    server.kill();
    let start = Instant::now();
    let end = runtime.block_on(stream.receive());
    assert!(matches!(end, Err(TransportError::Lost { .. })), "{end:?}");
    assert!(start.elapsed() < Duration::from_millis(4500), "{:?}", start.elapsed());
    drop(client);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewed_certificate_is_used_at_once_and_cuts_no_stream() {
    let cluster = TestCluster::new(1);
    let (server, address) = bind(cluster.manager(10));
    let _raft = serve_echo(&server, &RAFT);
    let _sessions = server.serve(&DISPATCH, |_peer: Peer, mut stream: Stream| async move {
        while let Ok(Some(frame)) = stream.receive().await {
            if stream.send(frame).await.is_err() {
                return;
            }
        }
    });
    let (client, _) = bind(cluster.worker(11));
    let (_, mut session) = client.open(address, Expect::Manager, &DISPATCH, WITHIN).await.unwrap();
    let before = client.call(address, Expect::Manager, &RAFT, "x", WITHIN).await;
    assert!(matches!(before, Err(TransportError::Refused { refusal: Refusal::WrongRole, .. })));

    client.set_identity(cluster.manager(11)).unwrap();
    server.set_identity(cluster.manager(10)).unwrap();
    let after = client.call(address, Expect::Manager, &RAFT, "x", WITHIN).await;
    assert_eq!(after.unwrap(), echo_of(11, "x"));
    session.send("still here").await.unwrap();
    assert_eq!(session.receive().await.unwrap(), Some(Bytes::from("still here")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_node_is_cut_off_and_stays_out() {
    let cluster = TestCluster::new(1);
    let (server, address) = bind(cluster.manager(10));
    let _serving = serve_echo(&server, &CONTROL);
    let _sessions = server.serve(&DISPATCH, |_peer: Peer, mut stream: Stream| async move {
        let _ = stream.receive().await;
    });
    let (client, _) = bind(cluster.worker(11));
    let (_, mut session) = client.open(address, Expect::Manager, &DISPATCH, WITHIN).await.unwrap();
    session.send("hello").await.unwrap();
    server.set_removed(BTreeSet::from([NodeId(11)]));
    let removed = |error: &TransportError| matches!(error, TransportError::Refused { refusal: Refusal::Removed, .. });
    let end = session.receive().await.unwrap_err();
    assert!(removed(&end), "{end}");
    let again = client.call(address, Expect::Manager, &CONTROL, "x", WITHIN).await.unwrap_err();
    assert!(removed(&again), "{again}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_demoted_manager_is_cut_off_from_managers_conversations_only() {
    let cluster = TestCluster::new(1);
    let (server, address) = bind(cluster.manager(10));
    let _control = serve_echo(&server, &CONTROL);
    let _raft = server.serve(&RAFT, |_peer: Peer, mut stream: Stream| async move {
        let _ = stream.receive().await;
    });
    let (client, _) = bind(cluster.manager(11));
    let (_, mut stream) = client.open(address, Expect::Manager, &RAFT, WITHIN).await.unwrap();
    stream.send("hello").await.unwrap();
    let others = BTreeSet::from([NodeId(10)]);
    let as_of = |hours: i64| WallTime(now().0 + hours * 3_600_000);
    server.set_managers(Some(KnownManagers { nodes: others.clone(), as_of: as_of(1) }));
    let demoted =
        |error: &TransportError| matches!(error, TransportError::Refused { refusal: Refusal::NoLongerManager, .. });
    let end = stream.receive().await.unwrap_err();
    assert!(demoted(&end), "{end}");
    let again = client.open(address, Expect::Manager, &RAFT, WITHIN).await.unwrap_err();
    assert!(demoted(&again), "{again}");
    let reply = client.call(address, Expect::Manager, &CONTROL, "still a node", WITHIN).await;
    assert_eq!(reply.unwrap(), echo_of(11, "still a node"));
    // A copy of the store older than the certificate does not judge.
    server.set_managers(Some(KnownManagers { nodes: others, as_of: as_of(-1) }));
    let deadline = Instant::now() + WITHIN;
    while client.open(address, Expect::Manager, &RAFT, WITHIN).await.is_err() {
        assert!(Instant::now() < deadline, "it is not let in again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conversation_ends_with_its_guard_and_comes_back_with_the_next() {
    let cluster = TestCluster::new(1);
    let (server, address) = bind(cluster.manager(10));
    let (client, _) = bind(cluster.worker(11));
    let call = || client.call(address, Expect::Manager, &CONTROL, "x", WITHIN);
    let serving = serve_echo(&server, &CONTROL);
    call().await.unwrap();
    drop(serving);
    let error = call().await.unwrap_err();
    assert!(matches!(error, TransportError::Refused { refusal: Refusal::NotServed, .. }), "{error}");
    let _serving = serve_echo(&server, &CONTROL);
    let deadline = Instant::now() + WITHIN;
    while call().await.is_err() {
        assert!(Instant::now() < deadline, "the conversation does not come back");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_is_said_to_the_peers() {
    let cluster = TestCluster::new(1);
    let (server, address) = bind(cluster.manager(10));
    let _sessions = server.serve(&DISPATCH, |_peer: Peer, mut stream: Stream| async move {
        let _ = stream.send("session").await;
        let _ = stream.receive().await;
    });
    let (client, _) = bind(cluster.worker(11));
    let (_, mut session) = client.open(address, Expect::Manager, &DISPATCH, WITHIN).await.unwrap();
    assert!(session.receive().await.unwrap().is_some());
    server.close().await;
    let end = session.receive().await.unwrap_err();
    assert!(matches!(end, TransportError::Refused { refusal: Refusal::ShuttingDown, .. }), "{end}");
}
