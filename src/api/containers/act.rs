//! What is done to a container as a whole, and its log.

use super::{find, is_active};
use crate::call::{Call, Outcome, empty};
use crate::error::ApiError;
use crate::logs;
use crate::ports::ContainerState;
use axum::http::StatusCode;

pub async fn container_logs(call: Call, id: &str) -> Outcome {
    let options = logs::options(&call.query)?;
    let container = find(&call, id).await?;
    let records = call.ports.local.container_logs(&container.id, options).await?;
    Ok(logs::respond(&call, records, container.tty))
}

pub async fn kill(call: Call, id: &str) -> Outcome {
    let container = find(&call, id).await?;
    if !is_active(&container) {
        let message = format!("cannot kill container: {id}: container {} is not running", container.id);
        return Err(ApiError::new(StatusCode::CONFLICT, message));
    }
    call.ports.local.kill(&container.id, call.query.text("signal")).await?;
    empty(StatusCode::NO_CONTENT)
}

/// Seconds to wait before it is killed; `None` is the container's own time.
fn timeout_s(call: &Call) -> Result<Option<i64>, ApiError> {
    match call.query.text("t") {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| ApiError::bad(format!("t: \"{text}\" is not a number of seconds"))),
    }
}

pub async fn stop(call: Call, id: &str) -> Outcome {
    let (container, timeout_s) = (find(&call, id).await?, timeout_s(&call)?);
    if !is_active(&container) {
        return empty(StatusCode::NOT_MODIFIED);
    }
    call.ports.local.stop(&container.id, call.query.text("signal"), timeout_s).await?;
    call.ports.local.tell(&container.id, "stop", &[]);
    empty(StatusCode::NO_CONTENT)
}

/// A task runs once. Docker starts its container again, and its swarm, which took the end for the task's, replaces it
/// all the same; so here it is stopped, and the service makes another as its restart policy says.
pub async fn restart(call: Call, id: &str) -> Outcome {
    let (container, timeout_s) = (find(&call, id).await?, timeout_s(&call)?);
    if !is_active(&container) {
        let message = format!(
            "cannot restart container {}: it is of a task that does not run, and a task runs once: update its service with force",
            container.id
        );
        return Err(ApiError::new(StatusCode::CONFLICT, message));
    }
    call.ports.local.stop(&container.id, call.query.text("signal"), timeout_s).await?;
    for action in ["stop", "restart"] {
        call.ports.local.tell(&container.id, action, &[]);
    }
    empty(StatusCode::NO_CONTENT)
}

pub async fn pause(call: Call, id: &str) -> Outcome {
    let container = find(&call, id).await?;
    let refused = match container.state {
        ContainerState::Running => None,
        ContainerState::Paused => Some("is already paused"),
        ContainerState::Created | ContainerState::Exited => Some("is not running"),
    };
    if let Some(why) = refused {
        return Err(ApiError::new(StatusCode::CONFLICT, format!("container {} {why}", container.id)));
    }
    call.ports.local.pause(&container.id).await?;
    call.ports.local.tell(&container.id, "pause", &[]);
    empty(StatusCode::NO_CONTENT)
}

pub async fn unpause(call: Call, id: &str) -> Outcome {
    let container = find(&call, id).await?;
    if container.state != ContainerState::Paused {
        return Err(ApiError::new(StatusCode::CONFLICT, format!("container {} is not paused", container.id)));
    }
    call.ports.local.unpause(&container.id).await?;
    call.ports.local.tell(&container.id, "unpause", &[]);
    empty(StatusCode::NO_CONTENT)
}

/// `v` changes nothing: the volumes without a name of a task go with its container, as nobody could find them again.
pub async fn remove(call: Call, id: &str) -> Outcome {
    if call.query.flag("link") {
        return Err(ApiError::bad("link: links between containers are not supported"));
    }
    let container = find(&call, id).await?;
    let refused = match container.state {
        _ if call.query.flag("force") => None,
        ContainerState::Running => Some("container is running: stop the container before removing or force remove"),
        ContainerState::Paused => Some("container is paused and must be unpaused first"),
        ContainerState::Created | ContainerState::Exited => None,
    };
    if let Some(why) = refused {
        let message = format!("cannot remove container \"/{}\": {why}", container.name);
        return Err(ApiError::new(StatusCode::CONFLICT, message));
    }
    call.ports.local.remove(&container.id).await?;
    empty(StatusCode::NO_CONTENT)
}
