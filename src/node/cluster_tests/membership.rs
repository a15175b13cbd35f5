//! Coming in, changing role, going away and coming back.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_and_managers_join_and_are_ready() {
    let hosts = cluster(1, &[NodeRole::Worker, NodeRole::Manager]).await;
    let ids: Vec<NodeId> = hosts.iter().map(Host::id).collect();
    let view =
        hosts[0].until("all ready", |view| ids.iter().all(|id| state_of(view, *id) == Some(NodeState::Ready))).await;
    assert_eq!(view.node(ids[1]).unwrap().spec.role, NodeRole::Worker);
    assert!(hosts[1].node().status().member.unwrap().writer.is_none());
    // Both managers have the same store, and either takes writes.
    hosts[2].until("the second manager votes", |view| voters(view) == 2).await;
    let service = hosts[2].service("one", ServiceMode::Replicated { replicas: 1 }, &[]).await;
    hosts[0].until("the write of the other", |view| view.service(service).is_some()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_promoted_and_demoted_and_promoted_again() {
    let hosts = cluster(2, &[NodeRole::Manager, NodeRole::Worker]).await;
    let id = hosts[2].id();
    for _ in 0..2 {
        hosts[0].set_role(id, NodeRole::Manager).await;
        hosts[0].until("three voters", |view| voters(view) == 3).await;
        hosts[2].until("its own copy", |view| voters(view) == 3).await;
        hosts[0].set_role(id, NodeRole::Worker).await;
        hosts[0].until("two voters", |view| voters(view) == 2).await;
        let mut status = hosts[2].node().watch();
        let demoted = status.wait_for(|status| status.member.as_ref().is_some_and(|member| member.writer.is_none()));
        timeout(SOON, demoted).await.expect("demoted in time").unwrap();
        hosts[0]
            .until("its certificate says so", |view| view.node(id).unwrap().certificate_role == NodeRole::Worker)
            .await;
    }
    hosts[0].until("it is still ready", |view| state_of(view, id) == Some(NodeState::Ready)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_node_comes_back_under_its_id() {
    let mut hosts = cluster(3, &[NodeRole::Manager, NodeRole::Manager]).await;
    hosts[0].until("three voters", |view| voters(view) == 3).await;
    for number in [2, 0] {
        let id = hosts[number].id();
        hosts[number].kill().await;
        hosts[1].until("it is down", |view| state_of(view, id) == Some(NodeState::Down)).await;
        hosts[number].resume().await;
        assert_eq!(hosts[number].id(), id);
        hosts[1].until("it is back", |view| state_of(view, id) == Some(NodeState::Ready)).await;
        hosts[number].writer().await.read().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manager_that_has_just_died_does_not_answer() {
    let mut hosts = cluster(8, &[NodeRole::Manager, NodeRole::Manager]).await;
    let view = hosts[0].until("three voters", |view| voters(view) == 3).await;
    let ids: Vec<NodeId> = hosts.iter().map(Host::id).collect();
    let member = hosts[0].node().status().member.unwrap();
    let writer = member.writer.unwrap();
    assert_eq!(writer.answering(&member.addresses).await, ids.iter().copied().collect());
    hosts[2].kill().await;
    let answering = writer.answering(&member.addresses).await;
    assert_eq!(answering, ids[..2].iter().copied().collect());
    let own = view.node(ids[0]).unwrap();
    let refusal = swarm_core::control::check_demotion(&view, own, |node| answering.contains(&node)).unwrap_err();
    assert!(refusal.to_string().contains("only 1 of the 2 managers left are reachable"), "{refusal}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_leaves_is_down_at_once_and_can_join_again() {
    let hosts = cluster(4, &[NodeRole::Worker]).await;
    let id = hosts[1].id();
    hosts[0].until("ready", |view| state_of(view, id) == Some(NodeState::Ready)).await;
    hosts[1].node().leave(false).await.unwrap();
    hosts[0].until("down", |view| state_of(view, id) == Some(NodeState::Down)).await;
    assert!(hosts[1].node().status().member.is_none());
    assert!(!*hosts[1].fabric.open.borrow());
    let again = hosts[1].join(&hosts[0].token(NodeRole::Worker).await, &[hosts[0].listen()]).await.unwrap();
    assert_ne!(again, id);
    hosts[0].until("ready again", |view| state_of(view, again) == Some(NodeState::Ready)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manager_that_was_demoted_leaves_at_once_without_force() {
    let hosts = cluster(32, &[NodeRole::Manager]).await;
    hosts[0].until("two voters", |view| voters(view) == 2).await;
    let id = hosts[1].id();
    let mut status = hosts[1].node().watch();
    hosts[0].set_role(id, NodeRole::Worker).await;
    let demoted = status.wait_for(|status| status.member.as_ref().is_some_and(|member| member.writer.is_none()));
    timeout(SOON, demoted).await.expect("demoted in time").unwrap();
    hosts[1].node().leave(false).await.unwrap();
    hosts[0]
        .until("one voter, and the other down", |view| voters(view) == 1 && state_of(view, id) == Some(NodeState::Down))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manager_leaves_only_by_force_and_the_others_go_on() {
    let hosts = cluster(5, &[NodeRole::Manager, NodeRole::Manager]).await;
    hosts[0].until("three voters", |view| voters(view) == 3).await;
    let error = hosts[0].node().leave(false).await.unwrap_err();
    assert!(error.to_string().contains("participating as a manager"), "{error}");
    // The one that leaves may be the leader.
    hosts[0].node().leave(true).await.unwrap();
    hosts[1].until("two voters", |view| voters(view) == 2).await;
    hosts[1].service("after", ServiceMode::Global, &[]).await;
    assert!(hosts[0].dir.path().join("node").read_dir().unwrap().all(|f| f.unwrap().file_name() == "generation"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_node_stops_its_tasks_and_is_turned_away() {
    let hosts = cluster(6, &[NodeRole::Worker]).await;
    let id = hosts[1].id();
    let service = hosts[0].service("all", ServiceMode::Global, &[]).await;
    hosts[0].until("both run", |view| running(view, service).len() == 2).await;
    assert_eq!(hosts[1].engine.running().len(), 1);
    let writer = hosts[0].writer().await;
    let view = writer.read().await.unwrap();
    let old_key = view.cluster().unwrap().gossip_keys[0].clone();
    let key = Sensitive::new([9; 32]);
    let txn = swarm_core::control::remove_node(&view, id, true, key.clone(), WallTime(0)).unwrap();
    writer.submit(&txn).await.unwrap();
    let stopped = async {
        while !hosts[1].engine.running().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(SOON, stopped).await.expect("its tasks are stopped");
    assert!(state_of(&writer.feed.view(), id).is_none(), "it does not come back by itself");
    // It knows the old gossip key: the others change to the new one. By its time the removal was long ago.
    let keys = |view: &View| -> Vec<_> { view.cluster().unwrap().gossip_keys.iter().map(|k| k.key.clone()).collect() };
    hosts[0]
        .until("the new key seals, the old one opens", |view| keys(view) == [key.clone(), old_key.key.clone()])
        .await;
    hosts[1].node().leave(true).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_last_manager_goes_on_where_it_was() {
    let mut hosts = cluster(7, &[]).await;
    let service = hosts[0].service("kept", ServiceMode::Replicated { replicas: 2 }, &[]).await;
    hosts[0].until("both run", |view| running(view, service).len() == 2).await;
    let before = hosts[0].engine.running();
    hosts[0].stop().await;
    assert_eq!(hosts[0].engine.running(), before, "no container ends with the daemon");
    hosts[0].resume().await;
    hosts[0].until("both run", |view| running(view, service).len() == 2).await;
    assert_eq!(hosts[0].engine.running(), before, "none was started again");
}
