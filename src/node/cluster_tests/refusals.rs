//! What can go wrong on the way in: each has its own line, and nothing stays behind.

use super::*;
use crate::gossip::GOSSIP_PORT;
use swarm_core::control::{JoinRotation, rotate_join_secrets};
use swarm_core::model::{NodeState, NodeStatus};
use swarm_core::store::{Change, Object, Txn};
use swarm_core::trust::TokenSecret;

/// Fails to join, and leaves nothing on either side. Returns the words.
async fn refused(joiner: &Host, token: &str, managers: &[SocketAddr], manager: &Host) -> String {
    let error = joiner.join(token, managers).await.expect_err("it must not get in");
    let text = crate::error::chain(&error);
    assert!(!text.contains('\n'), "{text}");
    assert!(text.contains('('), "there is a hint: {text}");
    assert!(joiner.node().status().member.is_none());
    assert!(!joiner.dir.path().join("node/state").exists() && !joiner.dir.path().join("node/identity").exists());
    assert!(!*joiner.fabric.open.borrow());
    manager.until("only the manager is listed", |view| view.nodes().count() == 1).await;
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_way_of_not_getting_in_has_its_own_words() {
    let (hosts, other) = tokio::join!(cluster(40, &[]), cluster(41, &[]));
    let (manager, joiner) = (&hosts[0], Host::start(40, 2).await);
    let at = [manager.listen()];
    let good = manager.token(NodeRole::Worker).await;
    let mut said = Vec::new();

    let parsed: JoinToken = good.parse().unwrap();
    let wrong = JoinToken { secret: TokenSecret::from_random([9; 16]), ..parsed.clone() }.to_string();
    said.push((refused(&joiner, &wrong, &at, manager).await, "not valid for this cluster"));
    said.push((refused(&joiner, &good[..40], &at, manager).await, "join token"));
    let foreign = other[0].token(NodeRole::Worker).await;
    said.push((refused(&joiner, &foreign, &at, manager).await, "CA"));
    let nobody = SocketAddr::new(Ipv4Addr::new(127, 77, 40, 99).into(), QUIC_PORT);
    said.push((refused(&joiner, &good, &[nobody], manager).await, "no answer from"));
    // A refusal in words wins over an address nobody answers at.
    let words = refused(&joiner, &wrong, &[at[0], nobody], manager).await;
    assert!(words.contains("not valid for this cluster"), "{words}");

    let writer = manager.writer().await;
    let view = writer.read().await.unwrap();
    let mut cluster = (**view.cluster().unwrap()).clone();
    cluster.worker_secret.expires = Some(WallTime(1));
    let changes = vec![Change::Replace(Object::Cluster(Arc::new(cluster)))];
    writer.submit(&Txn { changes, ..Txn::default() }).await.unwrap();
    said.push((refused(&joiner, &good, &at, manager).await, "expired"));

    for (text, part) in &said {
        assert!(text.contains(part), "{part:?} is not in: {text}");
        assert!(!text.contains(parsed.secret.reveal().as_str()), "the secret is shown: {text}");
    }
    let mut distinct: Vec<_> = said.iter().map(|(text, _)| text).collect();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), said.len());

    // After all this the way in is open.
    let view = writer.read().await.unwrap();
    let rotation =
        JoinRotation { worker: Some(Sensitive::new(TokenSecret::from_random([3; 16]).reveal())), manager: None };
    let txn = rotate_join_secrets(&view, view.cluster().unwrap().meta.version, rotation, WallTime(0)).unwrap();
    writer.submit(&txn).await.unwrap();
    joiner.join(&manager.token(NodeRole::Worker).await, &at).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_token_is_refused_without_asking_the_other_managers() {
    let mut hosts = cluster(43, &[NodeRole::Manager]).await;
    hosts[0].until("two voters", |view| view.nodes().filter(|n| n.raft.is_some_and(|r| r.voter)).count() == 2).await;
    let good: JoinToken = hosts[0].token(NodeRole::Worker).await.parse().unwrap();
    hosts[1].kill().await;
    let joiner = Host::start(43, 3).await;
    let wrong = JoinToken { secret: TokenSecret::from_random([9; 16]), ..good }.to_string();
    let error = joiner.join(&wrong, &[hosts[0].listen()]).await.unwrap_err();
    assert!(error.to_string().contains("not valid for this cluster"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_let_in_and_can_not_start_is_forgotten_again() {
    let hosts = cluster(42, &[]).await;
    let (manager, joiner) = (&hosts[0], Host::start(42, 2).await);
    let token = manager.token(NodeRole::Manager).await;
    // Another program has the port of gossip.
    let taken = std::net::UdpSocket::bind((joiner.ip, GOSSIP_PORT)).unwrap();
    let words = refused(&joiner, &token, &[manager.listen()], manager).await;
    assert!(words.contains("for gossip"), "{words}");
    drop(taken);
    *joiner.fabric.broken.lock().unwrap() = Some("no device (load the module tun)".to_owned());
    let words = refused(&joiner, &token, &[manager.listen()], manager).await;
    assert!(words.contains("no device"), "{words}");
    *joiner.fabric.broken.lock().unwrap() = None;
    joiner.join(&token, &[manager.listen()]).await.unwrap();
    manager.until("two voters", |view| voters(view) == 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_counts_as_down_before_it_gave_up_joining_is_forgotten_too() {
    let hosts = cluster(44, &[]).await;
    let (manager, joiner) = (&hosts[0], Host::start(44, 2).await);
    let token = manager.token(NodeRole::Worker).await;
    let _taken = std::net::UdpSocket::bind((joiner.ip, GOSSIP_PORT)).unwrap();
    let mark_down = async {
        let view = manager.until("the joiner is listed", |view| view.nodes().count() == 2).await;
        let node = view.nodes().find(|node| node.status.state == NodeState::Unknown).unwrap();
        let status = NodeStatus { state: NodeState::Down, ..NodeStatus::default() };
        let changes = vec![Change::NodeStatus { node: node.id, status }];
        manager.writer().await.submit(&Txn { changes, ..Txn::default() }).await.unwrap();
    };
    let managers = [manager.listen()];
    let (words, ()) = tokio::join!(refused(&joiner, &token, &managers, manager), mark_down);
    assert!(words.contains("for gossip"), "{words}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_can_not_be_made_leaves_nothing_and_can_be_made_later() {
    let host = Host::start(43, 1).await;
    let request = InitRequest {
        listen: host.listen(),
        advertise: host.ip,
        data_path: host.ip,
        availability: Availability::Active,
        spec: ClusterSpec::default(),
    };
    *host.fabric.broken.lock().unwrap() = Some("no device (load the module tun)".to_owned());
    let error = host.node().init(request.clone()).await.unwrap_err();
    assert!(crate::error::chain(&error).contains("no device"), "{error}");
    assert!(!host.dir.path().join("manager/log").exists() && !host.dir.path().join("node/state").exists());
    *host.fabric.broken.lock().unwrap() = None;
    host.node().init(request.clone()).await.unwrap();
    let error = host.node().init(request).await.unwrap_err();
    assert!(error.to_string().contains("already part of a swarm"), "{error}");
}
