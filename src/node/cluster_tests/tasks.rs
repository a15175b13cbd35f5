//! Tasks over sessions: assigned, reported, told again, and never run twice.

use super::*;
use crate::agent::engine::LogQuery;
use futures_util::StreamExt;

fn on(host: &Host) -> Vec<String> {
    vec![format!("node.id=={}", host.id())]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_runs_where_it_is_assigned_and_its_log_is_read_from_there() {
    let hosts = cluster(20, &[NodeRole::Worker]).await;
    let service = hosts[0].service("web", ServiceMode::Replicated { replicas: 1 }, &on(&hosts[1])).await;
    let view = hosts[0].until("it runs", |view| running(view, service).len() == 1).await;
    let task = running(&view, service)[0].id;
    assert_eq!(hosts[1].engine.running().keys().copied().collect::<Vec<_>>(), [task]);
    let member = hosts[0].node().status().member.unwrap();
    let address = member.addresses.of(&view, hosts[1].id()).unwrap();
    let query = LogQuery { stdout: true, ..LogQuery::default() };
    let fetch = async |addresses: &[SocketAddr]| {
        crate::logs::fetch(&member.endpoint, hosts[1].id(), addresses, &[task], &query).await
    };
    // An address that is another node's by now does not hide the right one; that there is none is said.
    let lines = fetch(&[hosts[0].listen(), address]).await.unwrap();
    assert!(fetch(&[]).await.err().unwrap().contains("no address"));
    let lines: Vec<_> = timeout(SOON, lines.collect()).await.expect("the log ends");
    assert_eq!(lines.len(), 1);
    let (from, line) = lines[0].as_ref().unwrap();
    assert_eq!((*from, &line.data[..]), (task, format!("hello from {task}").as_bytes()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exit_while_the_managers_were_away_is_told_to_the_next_leader() {
    let mut hosts = cluster(21, &[NodeRole::Worker]).await;
    let service = hosts[0].service("web", ServiceMode::Replicated { replicas: 1 }, &on(&hosts[1])).await;
    let view = hosts[0].until("it runs", |view| running(view, service).len() == 1).await;
    let task = running(&view, service)[0].id;
    hosts[0].kill().await;
    hosts[1].engine.end(task, 3);
    hosts[0].resume().await;
    let ended = |view: &View| view.task(task).is_some_and(|task| task.status.state == TaskState::Failed);
    let view = hosts[0].until("its end is known", ended).await;
    assert_eq!(view.task(task).unwrap().status.container.as_ref().unwrap().exit_code, Some(3));
    hosts[0].until("another runs", |view| running(view, service).iter().any(|other| other.id != task)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exit_while_the_daemon_was_away_is_reported_and_what_runs_is_kept() {
    let mut hosts = cluster(22, &[NodeRole::Worker]).await;
    let service = hosts[0].service("web", ServiceMode::Replicated { replicas: 2 }, &on(&hosts[1])).await;
    let view = hosts[0].until("both run", |view| running(view, service).len() == 2).await;
    let (gone, kept) = (running(&view, service)[0].id, running(&view, service)[1].id);
    hosts[1].kill().await;
    hosts[1].engine.end(gone, 5);
    hosts[1].resume().await;
    let ended = |view: &View| view.task(gone).is_some_and(|task| task.status.state == TaskState::Failed);
    let view = hosts[0].until("its end is known", ended).await;
    assert_eq!(view.task(gone).unwrap().status.container.as_ref().unwrap().exit_code, Some(5));
    let view = hosts[0].until("two run", |view| running(view, service).len() == 2).await;
    assert!(running(&view, service).iter().any(|task| task.id == kept));
    assert_eq!(hosts[1].engine.running().get(&kept), Some(&1), "it was not started again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_whose_container_is_lost_has_failed_and_is_not_run_again() {
    let mut hosts = cluster(23, &[NodeRole::Worker]).await;
    let service = hosts[0].service("web", ServiceMode::Replicated { replicas: 1 }, &on(&hosts[1])).await;
    let view = hosts[0].until("it runs", |view| running(view, service).len() == 1).await;
    let task = running(&view, service)[0].id;
    hosts[1].kill().await;
    hosts[1].engine.reboot();
    hosts[1].resume().await;
    let ended = |view: &View| view.task(task).is_some_and(|task| task.status.state == TaskState::Failed);
    let view = hosts[0].until("it failed", ended).await;
    assert!(view.task(task).unwrap().status.err.contains("lost"), "{:?}", view.task(task).unwrap().status);
    hosts[0].until("another runs", |view| running(view, service).iter().any(|other| other.id != task)).await;
    assert!(!hosts[1].engine.running().contains_key(&task));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_of_a_node_that_leaves_run_elsewhere_and_nothing_stays_on_it() {
    let hosts = cluster(24, &[NodeRole::Worker]).await;
    let service = hosts[0].service("web", ServiceMode::Replicated { replicas: 4 }, &[]).await;
    hosts[0].until("all run", |view| running(view, service).len() == 4).await;
    let left = hosts[1].id();
    assert!(!hosts[1].engine.running().is_empty(), "they are spread");
    hosts[1].node().leave(false).await.unwrap();
    assert!(hosts[1].engine.running().is_empty());
    assert!(hosts[1].engine.closed.load(std::sync::atomic::Ordering::Relaxed), "what they shared is given back");
    hosts[0]
        .until("all run on the other", |view| {
            let tasks = running(view, service);
            tasks.len() == 4 && tasks.iter().all(|task| task.node != Some(left))
        })
        .await;
    assert_eq!(hosts[0].engine.running().len(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_that_does_not_answer_holds_up_no_other_service_no_removal_and_no_leave() {
    let hosts = cluster(25, &[NodeRole::Worker]).await;
    // More than are prepared at once: they must not hold up what needs no pull.
    let mode = ServiceMode::Replicated { replicas: 10 };
    let service = hosts[0].service_of(fake::SILENT_IMAGE, "stuck", mode.clone(), &on(&hosts[1])).await;
    let mut pulling = hosts[1].engine.pulling.subscribe();
    let _ = timeout(SOON, pulling.wait_for(|count| *count == 10)).await.expect("they are pulled").unwrap();
    let one = ServiceMode::Replicated { replicas: 1 };
    let other = hosts[0].service_of("here/image", "other", one, &on(&hosts[1])).await;
    hosts[0].until("one whose image is here runs", |view| running(view, other).len() == 1).await;
    let writer = hosts[0].writer().await;
    for service in [service, other] {
        let view = writer.read().await.unwrap();
        let txn = swarm_core::control::remove_service(&view, service, WallTime(0)).unwrap();
        writer.submit(&txn).await.unwrap();
    }
    hosts[0].until("all is removed", |view| view.tasks().next().is_none()).await;
    assert_eq!(*pulling.borrow_and_update(), 0);
    hosts[0].service_of(fake::SILENT_IMAGE, "again", mode, &on(&hosts[1])).await;
    let _ = timeout(SOON, pulling.wait_for(|count| *count == 10)).await.expect("they are pulled").unwrap();
    timeout(SOON, hosts[1].node().leave(false)).await.expect("it leaves in time").unwrap();
    assert_eq!(*pulling.borrow(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_crash_left_of_a_task_that_was_made_ready_is_removed_though_no_manager_answers() {
    let mut hosts = cluster(26, &[NodeRole::Worker]).await;
    let mode = ServiceMode::Replicated { replicas: 1 };
    hosts[0].service_of(fake::SILENT_IMAGE, "stuck", mode, &on(&hosts[1])).await;
    let mut pulling = hosts[1].engine.pulling.subscribe();
    let _ = timeout(SOON, pulling.wait_for(|count| *count == 1)).await.expect("it is pulled").unwrap();
    hosts[0].kill().await;
    hosts[1].kill().await;
    assert_eq!(hosts[1].engine.remnants().len(), 1);
    hosts[1].resume().await;
    assert_eq!(hosts[1].engine.remnants().len(), 0);
}
