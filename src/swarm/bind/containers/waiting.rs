//! Waiting for the end of a container, or until it is gone (API `ContainerWait`).

use super::failure;
use api::ports::{ContainerEnd, Failure, WaitFor};
use node::engine::Event;
use runtime::Containers;
use runtime::container::{Error, Status};
use runtime::shim::Exit;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

/// `events`: listened to since before anything was looked at.
pub async fn wait(
    containers: Containers,
    mut events: Receiver<Event>,
    id: String,
    until: WaitFor,
) -> Result<ContainerEnd, Failure> {
    let status = containers.status(&id).await.map_err(failure)?;
    let ended = match (status, until) {
        (Status::Created { .. }, WaitFor::NotRunning) => Some(ContainerEnd::default()),
        (Status::Exited(exit), WaitFor::NotRunning | WaitFor::Removed) => Some(end(exit)),
        // It has to be started again first, which is not for this to see: then only its removal ends the wait.
        (Status::Exited(_), WaitFor::NextExit) => None,
        (Status::Created { .. } | Status::Running { .. } | Status::Paused { .. }, _) => {
            Some(end(containers.wait(&id).await.map_err(failure)?))
        }
    };
    match (ended, until) {
        (Some(end), WaitFor::NotRunning | WaitFor::NextExit) => Ok(end),
        (ended, _) => {
            let next = next_end(&containers, &mut events, &id, until).await?;
            Ok(next.or(ended).unwrap_or_default())
        }
    }
}

fn end(exit: Exit) -> ContainerEnd {
    ContainerEnd { exit_code: exit.code.into(), error: exit.error.unwrap_or_default() }
}

/// Follows events until the container is gone, or has ended once more if that is waited for.
async fn next_end(
    containers: &Containers,
    events: &mut Receiver<Event>,
    id: &str,
    until: WaitFor,
) -> Result<Option<ContainerEnd>, Failure> {
    loop {
        if matches!(containers.spec(id), Err(Error::NotFound(_))) {
            return Ok(None);
        }
        match events.recv().await {
            Ok(event) if event.kind != "container" || event.id != id => {}
            Ok(event) if event.action == "destroy" => return Ok(None),
            Ok(event) if event.action == "die" && until == WaitFor::NextExit => {
                let code = event.attributes.get("exitCode").and_then(|code| code.parse().ok());
                return Ok(Some(ContainerEnd { exit_code: code.unwrap_or(-1), error: String::new() }));
            }
            // What was missed shows in the next look.
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return Err(Failure::Unavailable("the daemon is shutting down".to_owned())),
        }
    }
}
