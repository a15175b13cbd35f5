//! Carried connections between endpoints on loopback, with real certificates.

use super::*;
use crate::transport::Refusal;
use crate::trust::NodeIdentity;
use crate::trust::testing::TestCluster;
use std::collections::BTreeSet;
use std::net::UdpSocket;
use swarm_core::trust::KnownManagers;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Long enough on a loaded machine, short enough to fail a test that hangs.
const WITHIN: Duration = Duration::from_secs(10);
const NODE: NodeId = NodeId(10);

fn bind(identity: NodeIdentity) -> (Endpoint, SocketAddr) {
    let endpoint = Endpoint::bind("127.0.0.1:0".parse().unwrap(), Some(identity)).unwrap();
    let address = endpoint.local_address().unwrap();
    (endpoint, address)
}

/// A worker that takes carried connections, and a manager.
struct World {
    cluster: TestCluster,
    node: Endpoint,
    address: SocketAddr,
    manager: Endpoint,
    connections: mpsc::Receiver<CarriedIo>,
    _serving: ServeGuard,
}

impl World {
    fn new() -> Self {
        let cluster = TestCluster::new(1);
        let (node, address) = bind(cluster.worker(10));
        let (manager, _) = bind(cluster.manager(11));
        let (carrier, connections) = carrier("1.53".to_owned());
        let _serving = serve(&node, carrier);
        Self { cluster, node, address, manager, connections, _serving }
    }

    async fn dial(&self) -> Result<CarriedIo, CarryError> {
        let dialled = dial(&self.manager, NODE, &[self.address], WITHIN).await?;
        assert_eq!(dialled.api_version, "1.53");
        Ok(dialled.io)
    }

    async fn both_ends(&mut self) -> (CarriedIo, CarriedIo) {
        let near = self.dial().await.unwrap();
        (near, timeout(WITHIN, self.connections.recv()).await.unwrap().unwrap())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_direction_of_a_carried_connection_ends_while_the_other_goes_on() {
    let mut world = World::new();
    let (mut near, mut far) = world.both_ends().await;
    let serving = tokio::spawn(async move {
        let mut heard = Vec::new();
        far.read_to_end(&mut heard).await.unwrap();
        for _ in 0..2 {
            far.write_all(&heard).await.unwrap();
        }
        far.shutdown().await.unwrap();
    });
    // Many frames, and not a whole number of them.
    let sent: Vec<u8> = (0..1_000_001u32).map(|number| number.to_le_bytes()[1]).collect();
    near.write_all(&sent).await.unwrap();
    near.shutdown().await.unwrap();
    let mut back = Vec::new();
    timeout(WITHIN, near.read_to_end(&mut back)).await.unwrap().unwrap();
    serving.await.unwrap();
    assert!(back.len() == 2 * sent.len() && back[..sent.len()] == sent && back[sent.len()..] == sent);
    assert!(near.write_all(b"more").await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_is_dropped_is_a_failure_at_the_other_and_no_end() {
    let mut world = World::new();
    let (mut near, mut far) = world.both_ends().await;
    far.write_all(b"part").await.unwrap();
    far.flush().await.unwrap();
    let mut part = [0u8; 4];
    near.read_exact(&mut part).await.unwrap();
    drop(far);
    let end = timeout(WITHIN, near.read(&mut part)).await.unwrap();
    assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    // Also whoever only writes can learn of it, without saying anything.
    let gone = async {
        while near.write(&[]).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(WITHIN, gone).await.expect("the other end is known to be gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_s_certificate_carries_nothing() {
    let mut world = World::new();
    let (worker, _) = bind(world.cluster.worker(12));
    let refused = dial(&worker, NODE, &[world.address], WITHIN).await.err().expect("a refusal");
    let CarryError::Transport(TransportError::Refused { refusal, .. }) = refused else { panic!("{refused}") };
    assert_eq!(refusal, Refusal::WrongRole);
    assert!(world.connections.try_recv().is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manager_that_is_one_no_longer_loses_the_connections_it_has_and_gets_no_new_one() {
    let mut world = World::new();
    let (mut near, _far) = world.both_ends().await;
    world.node.set_managers(Some(KnownManagers::exactly(BTreeSet::from([NodeId(99)]))));
    let mut byte = [0u8; 1];
    assert!(timeout(WITHIN, near.read(&mut byte)).await.unwrap().is_err());
    let refused = world.dial().await.err().expect("a refusal");
    let CarryError::Transport(TransportError::Refused { refusal, .. }) = refused else { panic!("{refused}") };
    assert_eq!(refusal, Refusal::NoLongerManager);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_connections_than_the_api_takes_are_refused_in_words() {
    let mut world = World::new();
    let mut kept = Vec::new();
    for _ in 0..AHEAD {
        kept.push(world.dial().await.unwrap());
    }
    assert!(world.dial().await.err().unwrap().to_string().contains("too busy"));
    drop(world.connections.recv().await.unwrap());
    world.dial().await.unwrap();
    world.connections.close();
    assert!(world.dial().await.err().unwrap().to_string().contains("not served now"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_where_nobody_answers_does_not_hide_one_where_the_node_is() {
    let world = World::new();
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addresses = [silent.local_addr().unwrap(), world.address];
    assert!(dial(&world.manager, NODE, &addresses, WITHIN).await.is_ok());
    let within = Duration::from_millis(200);
    let failure = dial(&world.manager, NODE, &addresses[..1], within).await.err().unwrap();
    assert!(failure.to_string().contains("no answer from"), "{failure}");
    let failure = dial(&world.manager, NODE, &[], within).await.err().unwrap();
    assert_eq!(failure.to_string(), "no address of it is known");
}
