//! The client of the Docker Engine API: requests over the daemon's socket, answers as JSON or as streams.
//!
//! Answers stay JSON on purpose (see [`crate::json`]): generated models drop fields they do not know,
//! such as the host address of a published port, and an update made with them would lose those.
//! One connection per request: commands make few of them.

use crate::error::{CliError, Result};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt, stream::BoxStream};
use http_body_util::{BodyExt, BodyStream, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Frame, Incoming};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// Newest version of the Engine API this client was written for, as (major, minor).
const API_VERSION: (u32, u32) = (1, 55);
/// Longest answer that is read as one, in bytes: far above a list of 100 000 tasks, far below memory.
const ANSWER_BYTES_MAX: usize = 1 << 30;
/// Longest line of a stream of JSON, in bytes.
const LINE_BYTES_MAX: usize = 16 << 20;
/// Unreserved characters of RFC 3986, section 2.3, stay as they are.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Where the daemon is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    Unix(PathBuf),
    Tcp(String),
}

impl Host {
    /// Reads `unix://PATH`, `tcp://HOST:PORT`, `http://HOST:PORT`.
    pub fn parse(text: &str) -> Result<Self> {
        if let Some(path) = text.strip_prefix("unix://").filter(|path| path.starts_with('/')) {
            return Ok(Self::Unix(PathBuf::from(path)));
        }
        let tcp = text.strip_prefix("tcp://").or_else(|| text.strip_prefix("http://"));
        match tcp.map(|rest| rest.trim_end_matches('/')) {
            Some(address) if address.contains(':') => Ok(Self::Tcp(address.to_owned())),
            Some(_) | None => Err(CliError::hinted(
                format!("unable to parse docker host `{text}`"),
                "use unix:///PATH or tcp://HOST:PORT",
            )),
        }
    }

    /// The socket's path, when it is one of this machine.
    pub fn socket(&self) -> Option<&Path> {
        match self {
            Self::Unix(path) => Some(path),
            Self::Tcp(_) => None,
        }
    }
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// Parameters of a request, without those that are none.
pub type Query<'a> = &'a [(&'a str, Option<&'a str>)];

/// A client of one daemon.
#[derive(Clone, Debug)]
pub struct Client {
    pub host: Host,
    /// Such as `/v1.55`.
    prefix: String,
}

/// A segment of a path, escaped.
pub fn segment(name: &str) -> String {
    utf8_percent_encode(name, ESCAPED).to_string()
}

/// The name of an image in a path: its slashes stay.
pub fn image_segment(name: &str) -> String {
    name.split('/').map(segment).collect::<Vec<_>>().join("/")
}

impl Client {
    /// Connects and agrees on a version.
    ///
    /// # Errors
    /// [`CliError::Connect`] when nobody listens.
    pub async fn connect(host: Host) -> Result<Self> {
        let mut client = Self { host, prefix: String::new() };
        let response = client.send(Method::GET, "/_ping", &[], &[], empty()).await?;
        let header = response.headers().get("api-version").and_then(|value| value.to_str().ok());
        let server = header.and_then(|text| {
            let (major, minor) = text.split_once('.')?;
            Some((major.parse().ok()?, minor.parse().ok()?))
        });
        let (major, minor) = server.unwrap_or(API_VERSION).min(API_VERSION);
        client.prefix = format!("/v{major}.{minor}");
        Ok(client)
    }

    /// The version of the API that is spoken, such as `1.50`.
    pub fn version(&self) -> &str {
        self.prefix.trim_start_matches("/v")
    }

    /// The newest version of the API this client knows.
    pub fn newest_version() -> String {
        let (major, minor) = API_VERSION;
        format!("{major}.{minor}")
    }

    pub async fn get(&self, path: &str) -> Result<Value> {
        self.get_with(path, &[]).await
    }

    pub async fn get_with(&self, path: &str, query: Query<'_>) -> Result<Value> {
        self.json(Method::GET, path, query, &[], None).await
    }

    pub async fn get_with_headers(&self, path: &str, headers: &[(&str, String)]) -> Result<Value> {
        self.json(Method::GET, path, &[], headers, None).await
    }

    /// The list under `path`.
    pub async fn list(&self, path: &str, query: Query<'_>) -> Result<Vec<Value>> {
        match self.get_with(path, query).await? {
            Value::Array(items) => Ok(items),
            Value::Null => Ok(Vec::new()),
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
                Err(self.broken(format!("GET {path} did not answer with a list")))
            }
        }
    }

    pub async fn post(&self, path: &str, query: Query<'_>, body: Option<&Value>) -> Result<Value> {
        self.json(Method::POST, path, query, &[], body).await
    }

    pub async fn post_with_headers(
        &self,
        path: &str,
        query: Query<'_>,
        headers: &[(&str, String)],
        body: &Value,
    ) -> Result<Value> {
        self.json(Method::POST, path, query, headers, Some(body)).await
    }

    pub async fn delete(&self, path: &str, query: Query<'_>) -> Result<Value> {
        self.json(Method::DELETE, path, query, &[], None).await
    }

    async fn json(
        &self,
        method: Method,
        path: &str,
        query: Query<'_>,
        headers: &[(&str, String)],
        body: Option<&Value>,
    ) -> Result<Value> {
        let mut headers = headers.to_vec();
        let body = match body {
            Some(body) => {
                headers.push(("content-type", "application/json".to_owned()));
                full(Bytes::from(body.to_string()))
            }
            None => empty(),
        };
        let response = self.send(method, path, query, &headers, body).await?;
        let bytes = self.collect(response.into_body()).await?;
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&bytes).map_err(|error| self.broken(format!("the answer to {path} is no JSON: {error}")))
    }

    /// A stream of bytes: logs.
    pub async fn bytes(&self, path: &str, query: Query<'_>) -> Result<ByteStream> {
        let response = self.send(Method::GET, path, query, &[], empty()).await?;
        let framed = is_framed(&response);
        Ok(ByteStream { stream: self.chunks(response), framed })
    }

    /// A stream of JSON objects: events, progress.
    pub async fn objects(
        &self,
        method: Method,
        path: &str,
        query: Query<'_>,
        headers: &[(&str, String)],
        upload: Option<Upload>,
    ) -> Result<BoxStream<'static, Result<Value>>> {
        let body = match upload {
            Some(upload) => UnsyncBoxBody::new(StreamBody::new(upload.map(|chunk| chunk.map(Frame::data)))),
            None => empty(),
        };
        let response = self.send(method, path, query, headers, body).await?;
        Ok(objects(self.chunks(response), self.clone()).boxed())
    }

    fn chunks(&self, response: Response<Incoming>) -> BoxStream<'static, Result<Bytes>> {
        let client = self.clone();
        let frames = BodyStream::new(response.into_body()).filter_map(move |frame| {
            let item = match frame {
                Ok(frame) => frame.into_data().ok().map(Ok),
                Err(error) => Some(Err(client.broken(chain(&error)))),
            };
            std::future::ready(item)
        });
        frames.boxed()
    }

    async fn collect(&self, body: Incoming) -> Result<Bytes> {
        let limited = http_body_util::Limited::new(body, ANSWER_BYTES_MAX);
        let collected = limited.collect().await.map_err(|error| self.broken(chain(error.as_ref())))?;
        Ok(collected.to_bytes())
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        query: Query<'_>,
        headers: &[(&str, String)],
        body: Body,
    ) -> Result<Response<Incoming>> {
        let uri = format!("{}{path}{}", self.prefix, encode(query));
        let mut request = Request::builder().method(method).uri(uri).header("host", "swarm");
        request = request.header("user-agent", concat!("swarm/", env!("CARGO_PKG_VERSION")));
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let request = request.body(body).map_err(|error| CliError::usage(format!("request for {path}: {error}")))?;
        let io = self.dial().await?;
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(io)).await;
        let (mut sender, connection) = handshake.map_err(|error| self.broken(chain(&error)))?;
        // Ends with the connection; its failure is seen by the request as well.
        tokio::spawn(connection.with_upgrades());
        let response = sender.send_request(request).await.map_err(|error| self.broken(chain(&error)))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let bytes = self.collect(response.into_body()).await?;
        let words = serde_json::from_slice::<Value>(&bytes).ok();
        let message = words.as_ref().and_then(|value| value["message"].as_str()).map(str::to_owned);
        let message = message.unwrap_or_else(|| format!("{status} {}", String::from_utf8_lossy(&bytes).trim()));
        Err(CliError::Daemon { status: status.as_u16(), message: message.trim().to_owned() })
    }

    async fn dial(&self) -> Result<Box<dyn Io>> {
        let io: std::io::Result<Box<dyn Io>> = match &self.host {
            Host::Unix(path) => UnixStream::connect(path).await.map(|io| Box::new(io) as Box<dyn Io>),
            Host::Tcp(address) => TcpStream::connect(address).await.map(|io| Box::new(io) as Box<dyn Io>),
        };
        io.map_err(|cause| CliError::Connect { host: self.host.to_string(), cause })
    }

    fn broken(&self, cause: String) -> CliError {
        CliError::Broken { host: self.host.to_string(), cause }
    }
}

/// What is sent as a body piece by piece.
pub type Upload = BoxStream<'static, std::io::Result<Bytes>>;

/// Bytes of a log; framed when the API says or, before version 1.42, when the first frame looks like one.
pub struct ByteStream {
    pub stream: BoxStream<'static, Result<Bytes>>,
    /// None: the server does not say.
    pub framed: Option<bool>,
}

fn is_framed(response: &Response<Incoming>) -> Option<bool> {
    let media = response.headers().get("content-type")?.to_str().ok()?;
    match media {
        "application/vnd.docker.multiplexed-stream" => Some(true),
        // Servers before version 1.42 of the API say this for both.
        "application/vnd.docker.raw-stream" => None,
        _ => None,
    }
}

/// An error and its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut out = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !out.contains(&words) {
            out.push_str(": ");
            out.push_str(&words);
        }
        source = cause.source();
    }
    out
}

fn encode(query: Query<'_>) -> String {
    let pairs = query.iter().filter_map(|(key, value)| Some(format!("{key}={}", segment(value.as_ref()?))));
    let pairs: Vec<String> = pairs.collect();
    if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
}

fn empty() -> Body {
    full(Bytes::new())
}

fn full(bytes: Bytes) -> Body {
    UnsyncBoxBody::new(Full::new(bytes).map_err(|error: Infallible| match error {}))
}

/// Splits a stream into the JSON objects in it, one a line.
fn objects(chunks: BoxStream<'static, Result<Bytes>>, client: Client) -> impl Stream<Item = Result<Value>> + Send {
    let state = (chunks, BytesMut::new(), false, client);
    futures_util::stream::unfold(state, |(mut chunks, mut buffer, mut ended, client)| async move {
        loop {
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let line = match end {
                Some(end) => buffer.split_to(end + 1),
                None if ended && !buffer.is_empty() => buffer.split(),
                None if ended => return None,
                None if buffer.len() > LINE_BYTES_MAX => {
                    let error = client.broken("a line of the answer is too long".to_owned());
                    return Some((Err(error), (futures_util::stream::empty().boxed(), BytesMut::new(), true, client)));
                }
                None => {
                    match chunks.next().await {
                        Some(Ok(chunk)) => buffer.extend_from_slice(&chunk),
                        Some(Err(error)) => return Some((Err(error), (chunks, BytesMut::new(), true, client))),
                        None => ended = true,
                    }
                    continue;
                }
            };
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let object = serde_json::from_slice(&line)
                .map_err(|error| client.broken(format!("a line of the answer is no JSON: {error}")));
            return Some((object, (chunks, buffer, ended, client)));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_socket_or_an_address() {
        assert_eq!(Host::parse("unix:///run/a.sock").ok(), Some(Host::Unix("/run/a.sock".into())));
        assert_eq!(Host::parse("tcp://127.0.0.1:2375").ok(), Some(Host::Tcp("127.0.0.1:2375".into())));
        assert!(Host::parse("ssh://x").is_err());
        assert!(Host::parse("/run/a.sock").is_err());
    }

    #[test]
    fn parameters_are_escaped_and_absent_ones_left_out() {
        assert_eq!(encode(&[("a", Some("x y&z")), ("b", None)]), "?a=x%20y%26z");
        assert_eq!(image_segment("library/redis:7"), "library/redis%3A7");
    }

    #[tokio::test]
    async fn objects_may_be_cut_anywhere() {
        let client = Client { host: Host::Tcp("x:1".into()), prefix: String::new() };
        let chunks = ["{\"a\":", "1}\r\n{\"a\"", ":2}"].map(|chunk| Ok(Bytes::from_static(chunk.as_bytes())));
        let stream = objects(futures_util::stream::iter(chunks).boxed(), client);
        let values: Vec<Value> = stream.filter_map(|value| std::future::ready(value.ok())).collect().await;
        assert_eq!(values, [serde_json::json!({"a": 1}), serde_json::json!({"a": 2})]);
    }
}
