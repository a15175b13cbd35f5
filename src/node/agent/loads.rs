//! What tasks of this node use, and how many connections come in by it: read from the counters of engine and network
//! while the leader asks for it.
//!
//! Every reading goes to the leader as what happened since the one before. One that the session does not take is lost:
//! the leader is told again soon, and never takes silence for idleness.

use super::engine::{Engine, Fabric, Usage};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use swarm_core::autoscale::{Loads, SAMPLE_EVERY, ServiceLoad, TaskLoad};
use swarm_core::{ServiceId, TaskId};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};

/// What is to be looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    pub tasks: BTreeSet<TaskId>,
    /// Services whose connections count.
    pub counted: BTreeSet<ServiceId>,
}

/// Counters at one moment.
struct Reading {
    at: Instant,
    tasks: BTreeMap<TaskId, Usage>,
    connections: BTreeMap<ServiceId, u64>,
}

/// Runs until `asked` is closed.
pub async fn run(
    engine: Arc<dyn Engine>,
    fabric: Arc<dyn Fabric>,
    mut asked: watch::Receiver<Asked>,
    loads: mpsc::Sender<Loads>,
) {
    let mut last: Option<Reading> = None;
    let mut due = interval(SAMPLE_EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let something = asked.wait_for(|asked| *asked != Asked::default());
        if something.await.is_err() {
            return;
        }
        due.tick().await;
        let Asked { tasks, counted } = asked.borrow_and_update().clone();
        let tasks = engine.usage(tasks.into_iter().collect()).await;
        let now = Reading { at: Instant::now(), tasks, connections: connections(&*fabric, &counted).await };
        if let Some(told) = last.as_ref().and_then(|last| between(last, &now)) {
            // A full channel waits for the session; the next reading covers its own time.
            let _ = loads.try_send(told);
        }
        last = Some(now);
    }
}

async fn connections(fabric: &dyn Fabric, counted: &BTreeSet<ServiceId>) -> BTreeMap<ServiceId, u64> {
    if counted.is_empty() {
        return BTreeMap::new();
    }
    let all = fabric.connections().await.unwrap_or_else(|error| {
        tracing::debug!(%error, "connections are not counted");
        BTreeMap::new()
    });
    all.into_iter().filter(|(service, _)| counted.contains(service)).collect()
}

/// What happened between two readings; `None` when nothing is known of it. A counter that began anew says nothing.
fn between(last: &Reading, now: &Reading) -> Option<Loads> {
    let over = now.at.checked_duration_since(last.at).filter(|over| *over >= Duration::from_millis(1))?;
    let tasks = now.tasks.iter().filter_map(|(task, after)| {
        let cpu_ns = after.cpu_ns.checked_sub(last.tasks.get(task)?.cpu_ns)?;
        let nano_cpus = u64::try_from(u128::from(cpu_ns) * 1_000_000_000 / over.as_nanos()).unwrap_or(u64::MAX);
        Some(TaskLoad { task: *task, over, nano_cpus, memory_bytes: after.memory_bytes })
    });
    let services = now.connections.iter().filter_map(|(service, after)| {
        let connections = after.checked_sub(*last.connections.get(service)?)?;
        Some(ServiceLoad { service: *service, over, connections })
    });
    let loads = Loads { tasks: tasks.collect(), services: services.collect() };
    (loads != Loads::default()).then_some(loads)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(start: Instant, seconds: u64, cpu_ns: u64, connections: u64) -> Reading {
        Reading {
            at: start + Duration::from_secs(seconds),
            tasks: [(TaskId(1), Usage { cpu_ns, memory_bytes: 7 })].into(),
            connections: [(ServiceId(2), connections)].into(),
        }
    }

    #[test]
    fn a_load_is_what_happened_between_two_readings() {
        let start = Instant::now();
        let told = between(&reading(start, 0, 1_000, 10), &reading(start, 4, 2_000_001_000, 30)).expect("loads");
        let over = Duration::from_secs(4);
        assert_eq!(told.tasks, [TaskLoad { task: TaskId(1), over, nano_cpus: 500_000_000, memory_bytes: 7 }]);
        assert_eq!(told.services, [ServiceLoad { service: ServiceId(2), over, connections: 20 }]);
        assert_eq!(between(&reading(start, 1, 9, 9), &reading(start, 1, 9, 9)), None, "no time passed");
        assert_eq!(between(&reading(start, 0, 9, 9), &reading(start, 1, 8, 8)), None, "counters that begin anew");
    }
}
