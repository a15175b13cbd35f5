//! `POST /containers/{id}/attach`: the streams of a container's own program, and the size of its terminal.

use super::find;
use crate::call::{Call, Outcome, empty};
use crate::error::ApiError;
use crate::ports::{AttachRequest, ContainerState, LogOptions, LogStream};
use crate::stream::{self, DetachKeys, Ended, Pump};
use axum::http::StatusCode;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;

type Pieces = BoxStream<'static, std::io::Result<(LogStream, Bytes)>>;

pub async fn attach(mut call: Call, id: &str) -> Outcome {
    let keys = DetachKeys::parse(call.query.text("detachKeys"))?;
    let container = find(&call, id).await?;
    if container.state == ContainerState::Paused {
        let message = format!("container {id} is paused, unpause the container before attach");
        return Err(ApiError::new(StatusCode::CONFLICT, message));
    }
    let (streams, logs) = (call.query.flag("stream"), call.query.flag("logs"));
    let (stdout, stderr) = (call.query.flag("stdout"), call.query.flag("stderr"));
    let request = AttachRequest { stdin: call.query.flag("stdin"), stdout, stderr };
    let mut live: Pieces = futures_util::stream::empty().boxed();
    let mut input = None;
    // Before the log is read, so that nothing written meanwhile is missed.
    if streams && container.state != ContainerState::Exited {
        let session = call.ports.local.attach(&container.id, request).await?;
        (live, input) = (session.output, session.input);
    }
    let pieces = if logs { past(&call, &container.id, request).await?.chain(live).boxed() } else { live };
    let local = call.ports.local.clone();
    local.tell(&container.id, "attach", &[]);
    let (output, media_type) = (stream::frames(pieces, container.tty), stream::media_type(call.version, container.tty));
    let Some(upgrade) = stream::upgrade(&mut call) else { return Ok(stream::plain(output, media_type)) };
    let detach = container.tty.then_some(keys);
    let pump = Pump { output, input, detach, shutdown: call.shutdown.clone() };
    tokio::spawn(async move {
        let (ended, _, connection) = pump.run(upgrade).await;
        if ended == Ended::Detached {
            local.tell(&container.id, "detach", &[]);
        }
        if let Some(connection) = connection {
            connection.close().await;
        }
    });
    Ok(stream::switching(media_type))
}

/// What the container has written so far.
async fn past(call: &Call, id: &str, request: AttachRequest) -> Result<Pieces, ApiError> {
    let AttachRequest { stdout, stderr, .. } = request;
    let options = LogOptions { stdout, stderr, ..LogOptions::default() };
    let records = call.ports.local.container_logs(id, options).await?;
    let piece = |record: Result<crate::ports::LogRecord, crate::ports::Failure>| match record {
        Ok(record) => Ok((record.stream, record.line)),
        Err(failure) => Err(std::io::Error::other(failure)),
    };
    Ok(records.map(piece).boxed())
}

pub async fn resize(call: Call, id: &str) -> Outcome {
    let (rows, columns) = crate::exec::size(call.query.text("h"), call.query.text("w"))?;
    let container = find(&call, id).await?;
    if !matches!(container.state, ContainerState::Running | ContainerState::Paused) {
        let message = format!("cannot resize a stopped container: container {} is not running", container.id);
        return Err(ApiError::new(StatusCode::CONFLICT, message));
    }
    call.ports.local.resize(&container.id, rows, columns).await?;
    let size = [("height", rows.to_string()), ("width", columns.to_string())];
    call.ports.local.tell(&container.id, "resize", &size);
    empty(StatusCode::OK)
}
