//! Readiness and liveness, from the engine to what managers know.

use super::*;
use std::sync::atomic::Ordering;
use swarm_core::model::{Probe, ProbeAction};

/// A probe that is made ten times a second.
fn often() -> Probe {
    Probe { interval: Duration::from_millis(100), ..Probe::of(ProbeAction::Tcp { port: 80 }) }
}

async fn service(hosts: &[Host], edit: impl FnOnce(&mut TaskSpec)) -> ServiceId {
    let mode = ServiceMode::Replicated { replicas: 1 };
    hosts[0].service_with("web", mode, &[format!("node.id=={}", hosts[1].id())], edit).await
}

fn err(view: &View, service: ServiceId) -> String {
    running(view, service).first().map(|task| task.status.err.clone()).unwrap_or_default()
}

fn is_up(view: &View, service: ServiceId) -> bool {
    running(view, service).iter().any(|task| task.is_up())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_is_up_while_it_is_ready_and_runs_on_while_it_is_not_also_over_a_restart_of_the_daemon() {
    let mut hosts = cluster(27, &[NodeRole::Worker]).await;
    let mute = |hosts: &[Host], mute| hosts[1].engine.mute.store(mute, Ordering::Relaxed);
    mute(&hosts, true);
    let web = service(&hosts, |task| task.container.readiness = Some(often())).await;
    let view = hosts[0].until("it says why", |view| err(view, web).starts_with("not ready: no answer")).await;
    assert!(!is_up(&view, web));
    let task = running(&view, web)[0].id;
    mute(&hosts, false);
    let view = hosts[0].until("it is ready", |view| is_up(view, web)).await;
    assert_eq!(err(&view, web), "");
    hosts[1].kill().await;
    mute(&hosts, true);
    hosts[1].resume().await;
    // It goes on as ready: as many failures as asked for turn it.
    let view = hosts[0].until("it is no longer", |view| !is_up(view, web)).await;
    assert!(err(&view, web).starts_with("not ready: no answer (") && err(&view, web).ends_with(" in a row)"));
    mute(&hosts, false);
    hosts[0].until("it is ready again", |view| is_up(view, web)).await;
    assert_eq!(hosts[1].engine.running().get(&task), Some(&1), "it was not started again for any of it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_is_not_alive_is_replaced() {
    let hosts = cluster(28, &[NodeRole::Worker]).await;
    let web = service(&hosts, |task| task.container.liveness = Some(often())).await;
    let view = hosts[0].until("it runs", |view| running(view, web).len() == 1).await;
    let task = running(&view, web)[0].id;
    hosts[1].engine.mute.store(true, Ordering::Relaxed);
    let failed = |view: &View| view.task(task).is_some_and(|task| task.status.state == TaskState::Failed);
    let view = hosts[0].until("it failed", failed).await;
    let status = &view.task(task).expect("the task").status;
    assert_eq!(status.err, "not alive: no answer (3 in a row)");
    hosts[1].engine.mute.store(false, Ordering::Relaxed);
    hosts[0].until("another runs", |view| running(view, web).iter().any(|other| other.id != task)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_is_not_judged_while_its_container_is_paused() {
    let hosts = cluster(29, &[NodeRole::Worker]).await;
    let once = Probe { failures: 1, ..often() };
    let web = service(&hosts, |task| task.container.readiness = Some(once)).await;
    hosts[0].until("it is ready", |view| is_up(view, web)).await;
    let engine = &hosts[1].engine;
    engine.paused.send_replace(true);
    engine.held.subscribe().wait_for(|held| *held > 0).await.expect("a probe waits");
    engine.mute.store(true, Ordering::Relaxed);
    let view = hosts[0].until("it is known", |view| running(view, web).len() == 1).await;
    assert!(is_up(&view, web), "nobody asks it");
    engine.paused.send_replace(false);
    hosts[0].until("it is asked again", |view| !is_up(view, web)).await;
}
