//! Containers that live in memory and outlive the daemon, as those of shims do; a network that only records.

use crate::agent::engine::*;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use swarm_core::fabric::FabricState;
use swarm_core::model::{Health, ProbeAction, Task};
use swarm_core::{ServiceId, TaskId};
use tokio::sync::watch;

/// An image whose registry does not answer.
pub const SILENT_IMAGE: &str = "silent/image";

struct Container {
    started: u32,
    /// `None` while it runs or waits to be started.
    exit: watch::Sender<Option<i32>>,
}

/// All containers of one host, by task.
#[derive(Default)]
pub struct FakeEngine {
    containers: Mutex<BTreeMap<TaskId, Container>>,
    /// Preparations that wait for a registry which does not answer.
    pub pulling: watch::Sender<usize>,
    /// Tasks of which there is something, short of a container.
    remnants: Mutex<BTreeSet<TaskId>>,
    /// Programs in containers do not answer probes.
    pub mute: AtomicBool,
    /// All containers are paused, and how many probes have waited for one that was.
    pub paused: watch::Sender<bool>,
    pub held: watch::Sender<u32>,
    /// What all tasks share was given back since the last start.
    pub closed: AtomicBool,
}

impl FakeEngine {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<TaskId, Container>> {
        self.containers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tasks whose containers run, each with how often it was started.
    pub fn running(&self) -> BTreeMap<TaskId, u32> {
        let containers = self.lock();
        let runs = containers.iter().filter(|(_, c)| c.started > 0 && c.exit.borrow().is_none());
        runs.map(|(task, c)| (*task, c.started)).collect()
    }

    /// Tasks of which there is something, short of a container.
    pub fn remnants(&self) -> MutexGuard<'_, BTreeSet<TaskId>> {
        self.remnants.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends a container, as its process does.
    pub fn end(&self, task: TaskId, code: i32) {
        if let Some(container) = self.lock().get(&task) {
            container.exit.send_replace(Some(code));
        }
    }

    /// The host was switched off: nothing is left of any container.
    pub fn reboot(&self) {
        self.lock().clear();
    }

    fn exited(code: i32) -> Exited {
        Exited { code, oom_killed: false, error: String::new() }
    }
}

/// The engine as the agent sees it.
pub struct Shared(pub Arc<FakeEngine>);

impl Engine for Shared {
    fn fetch(&self, task: Arc<Task>, progress: Progress) -> BoxFuture<'static, Result<(), EngineError>> {
        let engine = self.0.clone();
        Box::pin(async move {
            let _ = progress.words.try_send("pulling".to_owned());
            engine.remnants().insert(task.id);
            if task.spec.container.image == SILENT_IMAGE {
                engine.pulling.send_modify(|count| *count += 1);
                progress.given_up.cancelled().await;
                engine.pulling.send_modify(|count| *count -= 1);
                return Err(EngineError("given up".to_owned()));
            }
            Ok(())
        })
    }

    fn prepare(&self, task: Arc<Task>, _: Contents) -> BoxFuture<'static, Result<Prepared, EngineError>> {
        let engine = self.0.clone();
        Box::pin(async move {
            let container = Container { started: 0, exit: watch::Sender::new(None) };
            engine.lock().insert(task.id, container);
            Ok(Prepared { container_id: task.id.to_string(), health: None })
        })
    }

    fn start(&self, task: TaskId) -> BoxFuture<'static, Result<Started, NotStarted>> {
        let engine = self.0.clone();
        Box::pin(async move {
            let mut containers = engine.lock();
            let lost = || NotStarted { reason: "no container".to_owned(), exit_code: None };
            let container = containers.get_mut(&task).ok_or_else(lost)?;
            container.started += 1;
            engine.closed.store(false, Ordering::Relaxed);
            Ok(Started { pid: 7, host_ports: Vec::new() })
        })
    }

    fn lease(&self, _: TaskId, _: u64, _: Duration) -> BoxFuture<'static, Result<(), EngineError>> {
        Box::pin(async { Ok(()) })
    }

    fn wait(&self, task: TaskId) -> BoxFuture<'static, Exited> {
        let engine = self.0.clone();
        Box::pin(async move {
            let seen = engine.lock().get(&task).map(|container| container.exit.subscribe());
            let Some(mut seen) = seen else { return FakeEngine::exited(255) };
            let code = seen.wait_for(Option::is_some).await.ok().and_then(|code| *code);
            FakeEngine::exited(code.unwrap_or(255))
        })
    }

    fn stop(&self, task: TaskId, _: Duration) -> BoxFuture<'static, ()> {
        let engine = self.0.clone();
        Box::pin(async move { engine.end(task, 143) })
    }

    fn release(&self, _: TaskId) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }

    fn clean(&self, task: TaskId) -> BoxFuture<'static, ()> {
        let engine = self.0.clone();
        Box::pin(async move {
            engine.lock().remove(&task);
            engine.remnants().remove(&task);
        })
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        let engine = self.0.clone();
        Box::pin(async move {
            assert!(engine.lock().is_empty(), "it is closed after the last task was cleaned");
            engine.closed.store(true, Ordering::Relaxed);
        })
    }

    fn check_health(&self, _: TaskId, _: Vec<String>, _: Duration) -> BoxFuture<'static, Probed> {
        Box::pin(async { Probed { good: true, words: String::new() } })
    }

    fn probe(&self, _: TaskId, _: ProbeAction, _: Duration) -> BoxFuture<'static, Probed> {
        let good = !self.0.mute.load(Ordering::Relaxed);
        Box::pin(async move { Probed { good, words: if good { "fine" } else { "no answer" }.to_owned() } })
    }

    fn judged(&self, _: TaskId, _: Health, _: u32) {}

    fn unpaused(&self, _: TaskId) -> BoxFuture<'static, bool> {
        let (engine, mut paused) = (self.0.clone(), self.0.paused.subscribe());
        Box::pin(async move {
            let waited = *paused.borrow();
            if waited {
                engine.held.send_modify(|held| *held += 1);
            }
            paused.wait_for(|paused| !*paused).await.is_ok() && waited
        })
    }

    fn find(&self, task: Arc<Task>) -> BoxFuture<'static, Found> {
        let engine = self.0.clone();
        Box::pin(async move {
            let containers = engine.lock();
            let Some(container) = containers.get(&task.id) else { return Found::Nothing };
            let code = *container.exit.borrow();
            match code {
                Some(code) => Found::Exited(FakeEngine::exited(code)),
                None if container.started > 0 => {
                    Found::Running { container_id: task.id.to_string(), pid: 7, health: None }
                }
                None => Found::Nothing,
            }
        })
    }

    fn tasks(&self) -> BoxFuture<'static, Vec<TaskId>> {
        let engine = self.0.clone();
        Box::pin(async move { engine.lock().keys().copied().collect() })
    }

    fn usage(&self, _: Vec<TaskId>) -> BoxFuture<'static, BTreeMap<TaskId, Usage>> {
        Box::pin(async { BTreeMap::new() })
    }

    fn logs(&self, task: TaskId, _: LogQuery) -> BoxFuture<'static, Result<LogLines, EngineError>> {
        Box::pin(async move {
            let line = LogLine { stderr: false, time_ns: 1, data: format!("hello from {task}").into() };
            Ok(futures_util::stream::iter([Ok(line)]).boxed())
        })
    }
}

/// A network that is open or not.
#[derive(Default)]
pub struct FakeFabric {
    pub open: watch::Sender<bool>,
    /// `open` fails with these words.
    pub broken: Mutex<Option<String>>,
}

/// The network as the node sees it.
pub struct SharedFabric(pub Arc<FakeFabric>);

impl Fabric for SharedFabric {
    fn open(&self, _: FabricMember) -> BoxFuture<'static, Result<(), EngineError>> {
        let fabric = self.0.clone();
        Box::pin(async move {
            if let Some(words) = fabric.broken.lock().unwrap_or_else(PoisonError::into_inner).clone() {
                return Err(EngineError(words));
            }
            fabric.open.send_replace(true);
            Ok(())
        })
    }

    fn close(&self) -> BoxFuture<'static, Result<(), EngineError>> {
        let fabric = self.0.clone();
        Box::pin(async move {
            fabric.open.send_replace(false);
            Ok(())
        })
    }

    fn connections(&self) -> BoxFuture<'static, Result<BTreeMap<ServiceId, u64>, EngineError>> {
        Box::pin(async { Ok(BTreeMap::new()) })
    }

    fn apply(&self, _: Arc<FabricState>) -> BoxFuture<'static, Result<(), EngineError>> {
        Box::pin(async { Ok(()) })
    }
}
