//! What is done to a container as a whole, and its log.

use super::find;
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
    if container.state != ContainerState::Running {
        let message = format!("cannot kill container: {id}: container {} is not running", container.id);
        return Err(ApiError::new(StatusCode::CONFLICT, message));
    }
    call.ports.local.kill(&container.id, call.query.text("signal")).await?;
    empty(StatusCode::NO_CONTENT)
}

pub async fn stop(call: Call, id: &str) -> Outcome {
    let container = find(&call, id).await?;
    if container.state != ContainerState::Running {
        return empty(StatusCode::NOT_MODIFIED);
    }
    let timeout_s = match call.query.text("t") {
        "" => None,
        text => Some(text.parse().map_err(|_| ApiError::bad(format!("t: \"{text}\" is not a number of seconds")))?),
    };
    call.ports.local.stop(&container.id, call.query.text("signal"), timeout_s).await?;
    empty(StatusCode::NO_CONTENT)
}
