//! Three gossip tasks on loopback.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use swarm_core::membership::{MemberInfo, MemberState, Notice};
use swarm_core::model::{GossipKey, NodeRole};
use swarm_core::{NodeId, Sensitive, TaskId};
use tokio::time::{Instant, timeout};

use super::*;
use crate::clock::Clock;

/// Long enough on a loaded machine, short enough to fail a test that hangs.
const WITHIN: Duration = Duration::from_secs(20);

fn key(id: u8) -> GossipKey {
    GossipKey { id, key: Sensitive::new([id; 32]) }
}

fn config(node: u128, keys: Vec<GossipKey>) -> GossipConfig {
    static GENERATION: AtomicU64 = AtomicU64::new(1);
    let loopback: SocketAddr = "127.0.0.1:0".parse().unwrap();
    GossipConfig {
        bind: loopback,
        node: NodeId(node),
        generation: GENERATION.fetch_add(1, Ordering::Relaxed),
        info: MemberInfo {
            gossip: loopback,
            control_port: 2377,
            overlay: "127.0.0.1:4789".parse().unwrap(),
            wireguard_key: [node as u8; 32],
            role: NodeRole::Manager,
            name: format!("host{node}"),
        },
        keys,
    }
}

fn node(node: u128) -> GossipHandle {
    start(config(node, vec![key(1)]), Clock::new()).unwrap()
}

/// Waits until a node's view of another satisfies `done`.
async fn sees(observer: &GossipHandle, node: u128, done: impl Fn(Option<MemberState>) -> bool) {
    let mut members = observer.members();
    let wait = members.wait_for(|snapshot| done(snapshot.members.get(&NodeId(node)).map(|member| member.state)));
    timeout(WITHIN, wait).await.expect("the view changes in time").expect("the task runs");
}

async fn sees_alive(observer: &GossipHandle, node: u128) {
    sees(observer, node, |state| state == Some(MemberState::Alive)).await;
}

async fn sees_down(observer: &GossipHandle, node: u128) {
    sees(observer, node, |state| state == Some(MemberState::Down)).await;
}

async fn three() -> [GossipHandle; 3] {
    let nodes = [node(1), node(2), node(3)];
    let seed = nodes[0].local_address();
    for joining in &nodes[1..] {
        joining.join(vec![seed]).await;
    }
    for (at, observer) in nodes.iter().enumerate() {
        for other in (0..3).filter(|other| *other != at) {
            sees_alive(observer, other as u128 + 1).await;
        }
    }
    nodes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_find_each_other_and_notice_a_death_in_time() {
    let [first, second, third] = three().await;
    let told = first.members().borrow().members[&NodeId(3)].identity.info.clone();
    assert_eq!(told.name, "host3");
    assert_eq!(told.wireguard_key, [3; 32]);
    assert_eq!(told.gossip, third.local_address());
    let start = Instant::now();
    drop(third);
    sees_down(&first, 3).await;
    sees_down(&second, 3).await;
    assert!(start.elapsed() < Duration::from_millis(3500), "{:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_starts_again_is_back_under_its_id() {
    let [first, second, third] = three().await;
    drop(third);
    sees_down(&first, 3).await;
    let third = node(3);
    third.join(vec![second.local_address()]).await;
    sees_alive(&first, 3).await;
    sees_alive(&second, 3).await;
    sees_alive(&third, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_goodbye_is_heard_at_once() {
    let [first, _second, third] = three().await;
    let start = Instant::now();
    third.leave().await;
    sees_down(&first, 3).await;
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_without_the_key_is_not_heard_and_is_counted() {
    let [first, _second, _third] = three().await;
    let stranger = start(config(4, vec![key(9)]), Clock::new()).unwrap();
    stranger.join(vec![first.local_address()]).await;
    let deadline = Instant::now() + WITHIN;
    while first.counts().not_opened == 0 {
        assert!(Instant::now() < deadline, "the stranger's packets arrive");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(!first.members().borrow().members.contains_key(&NodeId(4)));
    assert!(!stranger.members().borrow().connected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_rotated_without_losing_anyone() {
    let nodes = three().await;
    let mut notices = nodes[0].notices();
    for ring in [vec![key(1), key(2)], vec![key(2), key(1)], vec![key(2)]] {
        for node in &nodes {
            node.set_keys(&ring).await.unwrap();
        }
    }
    assert_eq!(nodes[0].set_keys(&[]).await, Err(KeyRingError::Empty));
    // A change told under the new key is heard by all.
    let mut info = nodes[2].members().borrow().own.info.clone();
    info.name = "renamed".to_owned();
    nodes[2].update_self(info).await.unwrap();
    for node in &nodes[..2] {
        let mut members = node.members();
        let renamed = members.wait_for(|snapshot| snapshot.members[&NodeId(3)].identity.info.name == "renamed");
        timeout(WITHIN, renamed).await.expect("the change is heard").expect("the task runs");
    }
    while let Ok(notice) = notices.try_recv() {
        assert!(!matches!(notice, Notice::Down(_)), "{notice:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hints_arrive_as_notices() {
    let [first, _second, third] = three().await;
    let mut notices = first.notices();
    third.hint(TaskId(5), false).await;
    let heard = timeout(WITHIN, async {
        loop {
            if let Notice::Hint(hint) = notices.recv().await.expect("the task runs") {
                return hint;
            }
        }
    });
    let hint = heard.await.expect("the hint is heard");
    assert_eq!((hint.origin, hint.task, hint.reachable), (NodeId(3), TaskId(5), false));
}

#[tokio::test]
async fn a_port_in_use_and_bad_information_are_named() {
    let first = node(1);
    let mut taken = config(2, vec![key(1)]);
    taken.bind = first.local_address();
    let error = start(taken, Clock::new()).unwrap_err();
    assert!(error.to_string().starts_with("cannot listen on UDP 127.0.0.1:"), "{error}");
    let mut nowhere = config(2, vec![key(1)]);
    nowhere.info.overlay = "0.0.0.0:4789".parse().unwrap();
    let error = start(nowhere, Clock::new()).unwrap_err();
    assert!(error.to_string().contains("--advertise-addr"), "{error}");
    let error = start(config(2, vec![]), Clock::new()).unwrap_err();
    assert!(matches!(error, GossipError::Keys(KeyRingError::Empty)));
}
