//! Log streams: which part is asked for, and how records are framed for `docker logs`.

use crate::call::{Call, Outcome, Query};
use crate::error::ApiError;
use crate::json::{parse_timestamp_ns, rfc3339_ns};
use crate::ports::{Failure, LogOptions, LogRecord, LogRecords, LogSelector, LogSource, LogStream};
use crate::version::ApiVersion;
use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::{StreamExt as _, stream};
use std::convert::Infallible;

/// First version whose clients know the media type of multiplexed streams.
pub const MULTIPLEXED_SINCE: ApiVersion = ApiVersion { major: 1, minor: 42 };
/// Media type of a stream of frames.
pub const MULTIPLEXED_STREAM: &str = "application/vnd.docker.multiplexed-stream";
/// Stream numbers of a frame's header (API `ContainerAttach`, "Stream format").
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
/// An error of ours; the client prints it and stops.
pub const SYSTEM_ERROR: u8 = 3;

/// How records are printed.
#[derive(Clone, Copy, Debug)]
pub struct Framing {
    /// No frames: the container has a terminal.
    pub raw: bool,
    pub timestamps: bool,
    /// Node, service and task in front of each line.
    pub details: bool,
}

/// Reads the parameters of a log request.
pub fn options(query: &Query) -> Result<LogOptions, ApiError> {
    let (stdout, stderr) = (query.flag("stdout"), query.flag("stderr"));
    if !stdout && !stderr {
        return Err(ApiError::bad("Bad parameters: you must choose at least one stream"));
    }
    let tail = match query.text("tail") {
        "" | "all" => None,
        text => Some(text.parse().map_err(|_| ApiError::bad(format!("tail: \"{text}\" is neither a number nor all")))?),
    };
    Ok(LogOptions {
        follow: query.flag("follow"),
        stdout,
        stderr,
        since_ns: parse_timestamp_ns("since", query.text("since"))?,
        until_ns: parse_timestamp_ns("until", query.text("until"))?,
        tail,
    })
}

/// Answers with the logs of tasks.
pub async fn answer(call: &Call, selector: LogSelector, tty: bool) -> Outcome {
    let options = options(&call.query)?;
    let records = call.ports.cluster.logs(selector, options).await?;
    Ok(respond(call, records, tty))
}

/// Frames records as the request asks.
pub fn respond(call: &Call, records: LogRecords, tty: bool) -> Response {
    let framing = Framing { raw: tty, timestamps: call.query.flag("timestamps"), details: call.query.flag("details") };
    let media_type = if !tty && call.version >= MULTIPLEXED_SINCE {
        MULTIPLEXED_STREAM
    } else {
        "application/vnd.docker.raw-stream"
    };
    let until = call.shutdown.clone().cancelled_owned();
    let body = Body::from_stream(frames(records, framing).take_until(until).map(Ok::<_, Infallible>));
    ([(CONTENT_TYPE, media_type)], body).into_response()
}

/// What one node could not tell ends up after what the others told: a client stops at an error.
fn frames(records: LogRecords, framing: Framing) -> impl futures_util::Stream<Item = Bytes> {
    let start = (records, Vec::<Failure>::new(), false);
    stream::unfold(start, move |(mut records, mut failures, mut ended)| async move {
        loop {
            if ended {
                let failure = failures.pop()?;
                return Some((failure_frame(&failure, framing), (records, failures, ended)));
            }
            match records.next().await {
                Some(Ok(record)) => return Some((frame(&record, framing), (records, failures, ended))),
                Some(Err(failure)) => {
                    tracing::warn!(%failure, "part of a log is missing");
                    if failures.is_empty() {
                        failures.push(failure);
                    }
                }
                None => ended = true,
            }
        }
    })
}

fn failure_frame(failure: &Failure, framing: Framing) -> Bytes {
    let text = format!("Error grabbing logs: {failure}\n");
    if framing.raw { Bytes::from(text) } else { framed(SYSTEM_ERROR, text.as_bytes()) }
}

fn frame(record: &LogRecord, framing: Framing) -> Bytes {
    let mut line = Vec::with_capacity(record.line.len() + 128);
    if framing.timestamps {
        line.extend_from_slice(rfc3339_nano_fixed(record.time_ns).as_bytes());
        line.push(b' ');
    }
    if framing.details {
        line.extend_from_slice(record.source.map(details).unwrap_or_default().as_bytes());
        line.push(b' ');
    }
    line.extend_from_slice(&record.line);
    if framing.raw {
        return Bytes::from(line);
    }
    framed(number(record.stream), &line)
}

/// Sorted by key, as clients expect.
fn details(source: LogSource) -> String {
    let LogSource { node, service, task } = source;
    format!("com.docker.swarm.node.id={node},com.docker.swarm.service.id={service},com.docker.swarm.task.id={task}")
}

/// Nanoseconds always with nine digits, so that columns align.
fn rfc3339_nano_fixed(time_ns: i64) -> String {
    let whole = rfc3339_ns(time_ns - time_ns.rem_euclid(1_000_000_000));
    let seconds = whole.trim_end_matches('Z');
    format!("{seconds}.{:09}Z", time_ns.rem_euclid(1_000_000_000))
}

/// Stream number, three zero bytes, length of the payload in 4 bytes big endian, payload.
pub fn framed(number: u8, payload: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(8 + payload.len());
    out.put_slice(&[number, 0, 0, 0]);
    out.put_u32(u32::try_from(payload.len()).unwrap_or(u32::MAX));
    out.put_slice(&payload[..payload.len().min(u32::MAX as usize)]);
    out.freeze()
}

/// The frame number of a stream of a process.
pub fn number(stream: LogStream) -> u8 {
    match stream {
        LogStream::Stdout => STDOUT,
        LogStream::Stderr => STDERR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_has_its_stream_and_length_in_front() {
        let record = LogRecord {
            time_ns: 1_500_000_000,
            stream: LogStream::Stderr,
            source: None,
            line: Bytes::from_static(b"hi\n"),
        };
        let plain = frame(&record, Framing { raw: false, timestamps: false, details: false });
        assert_eq!(&plain[..], b"\x02\0\0\0\0\0\0\x03hi\n");
        let raw = frame(&record, Framing { raw: true, timestamps: true, details: false });
        assert_eq!(&raw[..], b"1970-01-01T00:00:01.500000000Z hi\n");
    }

    #[tokio::test]
    async fn an_error_of_one_node_comes_after_the_records_of_the_others() {
        let record = LogRecord { time_ns: 1, stream: LogStream::Stdout, source: None, line: Bytes::from_static(b"x") };
        let records = vec![Err(Failure::Unavailable("node b is away".into())), Ok(record)];
        let framing = Framing { raw: true, timestamps: false, details: false };
        let out: Vec<Bytes> = frames(stream::iter(records).boxed(), framing).collect().await;
        assert_eq!(out, [Bytes::from_static(b"x"), Bytes::from_static(b"Error grabbing logs: node b is away\n")]);
    }
}
