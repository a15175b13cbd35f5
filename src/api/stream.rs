//! The two directions of a process' streams over a connection that was taken over, and their output alone as a body.

use crate::call::Call;
use crate::error::ApiError;
use crate::logs::{MULTIPLEXED_SINCE, framed, number};
use crate::ports::LogStream;
use crate::version::ApiVersion;
use axum::body::Body;
use axum::http::header::{CONNECTION, CONTENT_TYPE, UPGRADE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Bytes of input handed on at once.
const INPUT_CHUNK_BYTES: usize = 16 * 1024;
/// Between two looks whether a client that closed its input is there at all, while there is nothing to write.
pub const GONE_LOOK: Duration = Duration::from_secs(5);
/// Keys of a sequence that detaches: more than anybody could type.
const DETACH_KEYS_MAX: usize = 16;
pub const RAW_STREAM: HeaderValue = HeaderValue::from_static("application/vnd.docker.raw-stream");
pub const MULTIPLEXED_STREAM: HeaderValue = HeaderValue::from_static(crate::logs::MULTIPLEXED_STREAM);

/// Pieces as they go over the connection.
pub type Output = BoxStream<'static, Bytes>;

/// How the streams came to their end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The process closed its output, or the daemon ends.
    Output,
    /// The client went away first.
    Client,
    /// The client typed the keys to detach with.
    Detached,
}

/// `raw`: there is a terminal, whose output has no frames.
pub fn frames(output: BoxStream<'static, std::io::Result<(LogStream, Bytes)>>, raw: bool) -> Output {
    let frames = output.filter_map(move |item| async move {
        match item {
            Ok((_, bytes)) if raw => Some(bytes),
            Ok((stream, bytes)) => Some(framed(number(stream), &bytes)),
            Err(error) => {
                tracing::warn!(%error, "the output of a process broke off");
                None
            }
        }
    });
    frames.boxed()
}

/// What the client is told the streams are. Older ones know one word, whether there are frames or not.
pub fn media_type(version: ApiVersion, tty: bool) -> HeaderValue {
    if tty || version < MULTIPLEXED_SINCE { RAW_STREAM } else { MULTIPLEXED_STREAM }
}

/// Takes the connection over, if the client asked for it.
pub fn upgrade(call: &mut Call) -> Option<hyper::upgrade::OnUpgrade> {
    if call.headers.contains_key(UPGRADE) { call.upgrade.take() } else { None }
}

/// The answer that gives the connection away.
pub fn switching(media_type: HeaderValue) -> Response {
    let headers = [(CONNECTION, HeaderValue::from_static("Upgrade")), (UPGRADE, HeaderValue::from_static("tcp"))];
    let mut response = (StatusCode::SWITCHING_PROTOCOLS, headers).into_response();
    response.headers_mut().insert(CONTENT_TYPE, media_type);
    response
}

/// For clients that did not ask for an upgrade: output alone, as the body of the answer.
pub fn plain(output: Output, media_type: HeaderValue) -> Response {
    let body = Body::from_stream(output.map(Ok::<_, std::convert::Infallible>));
    ([(CONTENT_TYPE, media_type)], body).into_response()
}

/// Keys that take a client off a terminal without a word to the program (API `detachKeys`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetachKeys(Vec<u8>);

impl Default for DetachKeys {
    /// `ctrl-p,ctrl-q`.
    fn default() -> Self {
        Self(vec![0x10, 0x11])
    }
}

impl DetachKeys {
    /// `ctrl-<letter or one of @[\]^_>` or single characters, separated by commas; empty is the default.
    pub fn parse(text: &str) -> Result<Self, ApiError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let wrong =
            |key: &str| ApiError::bad(format!("Invalid escape keys (\"{text}\") provided: unknown key {key:?}"));
        let keys: Result<Vec<u8>, ApiError> =
            text.split(',').map(|key| key_byte(key).ok_or_else(|| wrong(key))).collect();
        let keys = keys?;
        if keys.len() > DETACH_KEYS_MAX {
            return Err(ApiError::bad(format!("detachKeys: more than {DETACH_KEYS_MAX} keys")));
        }
        Ok(Self(keys))
    }
}

fn key_byte(key: &str) -> Option<u8> {
    match key.strip_prefix("ctrl-").map(str::as_bytes) {
        Some([letter @ b'a'..=b'z']) => Some(letter - b'a' + 1),
        Some(b"@") => Some(0),
        Some([symbol @ b'['..=b'_']) => Some(symbol - b'[' + 27),
        Some(_) => None,
        None => match key.as_bytes() {
            [one] if one.is_ascii() => Some(*one),
            _ => None,
        },
    }
}

/// Looks for the keys in what is typed. The beginning of a sequence is held back until it is known not to be one.
struct Watch {
    keys: DetachKeys,
    seen: usize,
}

impl Watch {
    /// What of `typed` goes to the program, and whether the keys were there.
    fn pass(&mut self, typed: &[u8]) -> (BytesMut, bool) {
        let keys = &self.keys.0;
        let mut out = BytesMut::with_capacity(typed.len() + self.seen);
        for byte in typed {
            if *byte == keys[self.seen] {
                self.seen += 1;
                if self.seen == keys.len() {
                    return (out, true);
                }
                continue;
            }
            out.extend_from_slice(&keys[..self.seen]);
            self.seen = usize::from(*byte == keys[0]);
            if self.seen == 0 {
                out.extend_from_slice(&[*byte]);
            }
        }
        (out, false)
    }
}

/// How a connection is served.
pub struct Pump {
    pub output: Output,
    pub input: Option<mpsc::Sender<Bytes>>,
    /// For a terminal.
    pub detach: Option<DetachKeys>,
    pub shutdown: CancellationToken,
}

impl Pump {
    /// Moves bytes both ways until one side has had enough. Gives the output back for who must read it to its end.
    pub async fn run(self, upgrade: hyper::upgrade::OnUpgrade) -> (Ended, Output, Option<Connection>) {
        let Self { mut output, input, detach, shutdown } = self;
        let upgraded = match upgrade.await {
            Ok(upgraded) => upgraded,
            Err(error) => {
                tracing::debug!(%error, "a client went away before its streams began");
                return (Ended::Client, output, None);
            }
        };
        let (reader, writer) = tokio::io::split(TokioIo::new(upgraded));
        let (over, mut input_over) = oneshot::channel();
        let reading = tokio::spawn(async move {
            let (detached, _input) = read_input(reader, input, detach).await;
            // Before the input is closed, which may end the process. Whoever asked may have ended first.
            let _ = over.send(detached);
        });
        let mut connection = Connection { writer: Box::new(writer), reading };
        let mut half_closed = false;
        loop {
            let chunk = tokio::select! {
                biased;
                detached = &mut input_over, if !half_closed => {
                    if detached == Ok(true) {
                        return (Ended::Detached, output, Some(connection));
                    }
                    half_closed = true;
                    continue;
                }
                () = shutdown.cancelled() => None,
                chunk = output.next() => chunk,
                () = tokio::time::sleep(GONE_LOOK), if half_closed => {
                    if still_there(&mut connection.writer).await.is_err() {
                        return (Ended::Client, output, None);
                    }
                    continue;
                }
            };
            let Some(chunk) = chunk else { return (Ended::Output, output, Some(connection)) };
            if write_all(&mut connection.writer, &chunk).await.is_err() {
                return (Ended::Client, output, None);
            }
        }
    }
}

/// What is left of a connection whose streams have ended.
pub struct Connection {
    writer: Box<dyn AsyncWrite + Send + Unpin>,
    reading: tokio::task::JoinHandle<()>,
}

impl Connection {
    pub async fn close(mut self) {
        self.reading.abort();
        // The client may have closed first.
        let _ = self.writer.shutdown().await;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

/// Says nothing to a client, and fails when nobody is there.
pub async fn still_there(client: &mut (impl AsyncWrite + Unpin)) -> std::io::Result<()> {
    client.write(&[]).await.map(|_none| ())
}

async fn write_all(writer: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> std::io::Result<()> {
    writer.write_all(bytes).await?;
    writer.flush().await
}

/// Hands input on until the client closes its side; dropping the sender, which is given back, closes the process' input.
/// True when the client detached. Without anybody to hand it to, input is thrown away.
async fn read_input(
    mut reader: impl AsyncRead + Unpin,
    input: Option<mpsc::Sender<Bytes>>,
    detach: Option<DetachKeys>,
) -> (bool, Option<mpsc::Sender<Bytes>>) {
    let mut watch = detach.map(|keys| Watch { keys, seen: 0 });
    let mut input = input;
    loop {
        let mut chunk = BytesMut::with_capacity(INPUT_CHUNK_BYTES);
        match reader.read_buf(&mut chunk).await {
            Ok(0) | Err(_) => return (false, input),
            Ok(_) => {}
        }
        let (chunk, detached) = match &mut watch {
            Some(watch) => watch.pass(&chunk),
            None => (chunk, false),
        };
        if let Some(to) = &input
            && !chunk.is_empty()
            && to.send(chunk.freeze()).await.is_err()
        {
            input = None;
        }
        if detached {
            return (true, input);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_to_detach_are_read_as_docker_writes_them() {
        assert_eq!(DetachKeys::parse(""), Ok(DetachKeys(vec![16, 17])));
        assert_eq!(DetachKeys::parse("ctrl-a,d,ctrl-@,ctrl-["), Ok(DetachKeys(vec![1, b'd', 0, 27])));
        for wrong in ["ctrl-", "ctrl-A", "escape", "a,", "ü"] {
            assert!(DetachKeys::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_beginning_of_the_keys_goes_on_when_it_was_none() {
        let mut watch = Watch { keys: DetachKeys::default(), seen: 0 };
        assert_eq!(watch.pass(b"a\x10"), (BytesMut::from(&b"a"[..]), false));
        assert_eq!(watch.pass(b"b\x10\x10c"), (BytesMut::from(&b"\x10b\x10\x10c"[..]), false));
        assert_eq!(watch.pass(b"x\x10\x11y"), (BytesMut::from(&b"x"[..]), true));
        let mut one = Watch { keys: DetachKeys(vec![1]), seen: 0 };
        assert_eq!(one.pass(b"a\x01b"), (BytesMut::from(&b"a"[..]), true));
    }
}
