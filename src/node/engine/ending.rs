//! What became of a container, told only when it is certain: who hears that a task has ended may start another over
//! the same volumes.

use super::{Notes, container_id, exited};
use crate::agent::engine::Found;
use crate::agent::probing;
use crate::error::chain;
use runtime::Containers;
use runtime::container::{Error, Status};
use runtime::shim::Exit;
use std::time::Duration;
use swarm_core::model::Task;
use swarm_core::worker::has_run;
use tokio::time::sleep;

/// Between two tries of what must succeed: at first, and at most.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Looks at a container whose shim gives no answer, before it is taken for running.
const LOOKS_MAX: u32 = 3;

/// Doubles from one try to the next.
struct Pauses(Duration);

impl Pauses {
    fn new() -> Self {
        Self(PAUSE_MIN)
    }

    async fn pause(&mut self) {
        sleep(self.0).await;
        self.0 = (self.0 * 2).min(PAUSE_MAX);
    }
}

/// Lets the program run. On an error it does not.
pub(super) async fn start(containers: &Containers, id: &str) -> Result<(), Error> {
    let result = containers.start(id).await;
    // It may have been started all the same, such as by a shim that answered too late.
    if let Err(error) = &result
        && !matches!(error, Error::Start { .. })
    {
        put_down(containers, id).await;
    }
    result
}

/// Waits for the end. A container whose shim is gone is killed first; any other failure says nothing of it.
pub(super) async fn end_of(containers: &Containers, id: &str) -> Exit {
    let mut pauses = Pauses::new();
    loop {
        let error = match containers.wait(id).await {
            Ok(exit) => return exit,
            Err(error) => error,
        };
        // Asked twice: a shim that lives may have closed one connection.
        if matches!(error, Error::NotFound(_))
            && let Err(Error::NotFound(_)) = containers.status(id).await
        {
            tracing::error!(container = id, "the shim of a container is gone; killing what is left of it");
            return put_down(containers, id).await;
        }
        tracing::warn!(container = id, error = %chain(&error), "a container cannot be waited for; trying again");
        pauses.pause().await;
    }
}

/// Kills what cannot be followed. Returns when nothing of it runs.
pub(super) async fn put_down(containers: &Containers, id: &str) -> Exit {
    let mut pauses = Pauses::new();
    loop {
        match containers.put_down(id).await {
            Ok(exit) => return exit,
            Err(error) => {
                tracing::error!(container = id, error = %chain(&error), "a container was not killed; trying again");
            }
        }
        pauses.pause().await;
    }
}

/// What there is of a task that an earlier daemon had.
pub(super) async fn find(containers: &Containers, task: &Task) -> Found {
    let id = container_id(task.id);
    let mut pauses = Pauses::new();
    for _ in 0..LOOKS_MAX {
        match containers.status(&id).await {
            Ok(Status::Running { pid, .. } | Status::Paused { pid, .. }) => {
                return running(containers, task, id, u32::try_from(pid).unwrap_or(0));
            }
            Ok(Status::Exited(exit)) => return Found::Exited(exited(exit)),
            // Not started: it is made anew.
            Ok(Status::Created { .. }) => return Found::Nothing,
            Err(Error::NotFound(_)) => {
                put_down(containers, &id).await;
                return Found::Nothing;
            }
            Err(error) => {
                tracing::warn!(container = %id, error = %chain(&error), "a container does not tell how it is");
                pauses.pause().await;
            }
        }
    }
    match &task.status.container {
        // Its end will be told when it is known.
        Some(recorded) if has_run(&task.status) => running(containers, task, id, recorded.pid),
        Some(_) | None => {
            put_down(containers, &id).await;
            Found::Nothing
        }
    }
}

fn running(containers: &Containers, task: &Task, container_id: String, pid: u32) -> Found {
    let spec = containers.spec(&container_id).ok();
    let image = spec.and_then(|spec| Notes::of(&spec).health);
    let health = probing::merge(task.spec.container.health_check.as_ref(), image);
    Found::Running { container_id, pid, health }
}

#[cfg(test)]
#[path = "ending_tests.rs"]
mod tests;
