//! `POST /containers/{id}/wait`: an answer that begins at once and ends when the container has.

use super::find;
use crate::call::{Call, Outcome, ok};
use crate::error::ApiError;
use crate::json::Fields;
use crate::ports::{ContainerEnd, Failure, WaitFor};
use crate::version::ApiVersion;
use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse as _;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use std::convert::Infallible;

/// First version with conditions, and with an answer that begins before the end.
const CONDITIONS_SINCE: ApiVersion = ApiVersion { major: 1, minor: 30 };

pub async fn wait(call: Call, id: &str) -> Outcome {
    let early = call.version >= CONDITIONS_SINCE;
    let until = match call.query.text("condition") {
        _ if !early => WaitFor::NotRunning,
        "" | "not-running" => WaitFor::NotRunning,
        "next-exit" => WaitFor::NextExit,
        "removed" => WaitFor::Removed,
        other => return Err(ApiError::bad(format!("invalid condition: {other:?}"))),
    };
    let container = find(&call, id).await?;
    // Begun before the answer: a client starts the container when it has the head of it.
    let waiting = call.ports.local.wait(container.id, until);
    if !early {
        return ok(write(waiting.await));
    }
    let written = async move { Bytes::from(format!("{}\n", write(waiting.await))) };
    let body = stream::once(written).take_until(call.shutdown.clone().cancelled_owned()).map(Ok::<_, Infallible>);
    Ok(([(CONTENT_TYPE, "application/json")], Body::from_stream(body)).into_response())
}

/// API `ContainerWaitResponse`.
fn write(end: Result<ContainerEnd, Failure>) -> Value {
    let (exit_code, error) = match end {
        Ok(end) => (end.exit_code, end.error),
        Err(failure) => (-1, failure.to_string()),
    };
    let error = (!error.is_empty()).then(|| json!({ "Message": error }));
    Fields::new().set("StatusCode", exit_code).opt("Error", error).into()
}
