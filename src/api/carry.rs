//! One socket, whole cluster: a request for a container of another node is taken to that node and served there.
//!
//! What is carried is the request itself, over a connection between the two daemons on which the other one answers
//! as it does its own clients. So a terminal, a log that is followed or an archive of any size comes back as it
//! would from that node, and what the API learns tomorrow is carried without a word here.
//!
//! The manager a client came to decides what the client may do; the node it is carried to asks no further. That is
//! why a request counts as carried by where it arrived ([`Origin`], set where connections are accepted, and only a
//! manager can open such a connection) and never by anything written in it. Of a client's headers only those are
//! passed on that say how to read its body and its answer: no credentials leave the manager.

mod frames;

use crate::call::{Call, Outcome};
use crate::error::ApiError;
use crate::logs::MULTIPLEXED_STREAM;
use crate::ports::{Connections, Failure, Io};
use crate::stream::{GONE_LOOK, still_there};
use crate::version::{self, ApiVersion};
use crate::{Server, routes};
use axum::body::Body;
use axum::http::header::{ACCEPT, CONNECTION, CONTENT_TYPE, HOST, TRANSFER_ENCODING, UPGRADE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use frames::Frames;
use futures_util::{StreamExt as _, stream};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use swarm_core::NodeId;
use swarm_core::model::Task;
use swarm_core::store::View;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;

/// To reach a node, its greeting included: several losses on a LAN, and short enough for a person to wait.
const DIAL: Duration = Duration::from_secs(3);
/// How long a manager may take from the connection to the end of the request's head.
const HEAD: Duration = Duration::from_secs(10);
/// Of a stream that was taken over, passed on at once.
const PIECE_BYTES: usize = 16 * 1024;
/// What of a client's headers is passed on.
const PASSED: [HeaderName; 2] = [ACCEPT, CONTENT_TYPE];
/// Headers that speak of one connection (RFC 9110 section 7.6.1), which the next one has its own of.
const OF_A_CONNECTION: [HeaderName; 4] =
    [CONNECTION, TRANSFER_ENCODING, UPGRADE, HeaderName::from_static("keep-alive")];

/// Where a request came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// At a socket of this daemon.
    Client,
    /// Carried here by a manager, for what this node has: it is answered here or not at all.
    Manager,
}

/// Serves the connections that managers carry here, until `shutdown` of the server.
pub async fn serve(mut connections: Connections, server: Server) {
    let shutdown = server.shutdown.clone();
    while let Some(Some(io)) = shutdown.run_until_cancelled(connections.next()).await {
        tokio::spawn(serve_one(io, server.clone()));
    }
}

async fn serve_one(io: Io, server: Server) {
    let shutdown = server.shutdown.clone();
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let server = server.clone();
        async move { Ok::<_, Infallible>(routes::respond(&server, request.map(Body::new), Origin::Manager).await) }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD);
    let connection = http.serve_connection(TokioIo::new(io), service).with_upgrades();
    let ended = tokio::select! {
        ended = connection => ended,
        () = shutdown.cancelled_owned() => Ok(()),
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a carried connection broke");
    }
}

/// What a manager may ask of a node for its clients: about containers that are there, nothing else. Making and
/// pruning containers is for the clients of the node itself.
pub fn is_carried(method: &str, path: &[&str]) -> bool {
    match path {
        ["containers", "json"] => method == "GET",
        ["containers", _] => method == "DELETE",
        ["containers", _, _, ..] | ["exec", _, ..] => true,
        _ => false,
    }
}

/// A container, or what belongs to one, on another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elsewhere {
    pub node: NodeId,
    /// Name of the node, as people know it.
    pub name: String,
    /// The path to ask for there, without version and query.
    path: String,
}

impl Elsewhere {
    /// The containers of a node.
    pub fn list(node: NodeId, name: String) -> Self {
        Self { node, name, path: "/containers/json".to_owned() }
    }

    pub fn path(&self) -> &str {
        &self.path
    }
}

/// This node, when it is a manager that was asked by a client: then other nodes are looked at too.
pub fn entered(call: &Call) -> Option<NodeId> {
    let status = call.ports.cluster.status();
    status.node.filter(|_| status.manager && call.origin == Origin::Client)
}

/// Where the container `text` of the path is, when it is elsewhere: of full id, name, or unique start of the id.
///
/// A container of this host is found although no leader answers, and nothing is asked of the others.
pub async fn locate(call: &Call, text: &str) -> Result<Option<Elsewhere>, ApiError> {
    let Some(own) = entered(call) else { return Ok(None) };
    let there = |view: &View, task: &Task| elsewhere(call, view, own, task);
    // A container never moves: what is known to be somewhere is there, however old the knowledge.
    if let Some(view) = call.ports.cluster.known()
        && let Some(task) = exactly(&view, text)
    {
        return Ok(there(&view, task));
    }
    let here = call.ports.local.containers().await?;
    if here.iter().any(|container| container.id == text || container.name == text.trim_start_matches('/')) {
        return Ok(None);
    }
    let here = here.iter().filter(|container| container.id.starts_with(text)).count();
    let view = match call.ports.cluster.read().await {
        Ok(view) => view,
        Err(_) if here > 0 => return Ok(None),
        Err(unavailable) => return Err(unavailable.into()),
    };
    if let Some(task) = exactly(&view, text) {
        return Ok(there(&view, task));
    }
    let started: Vec<_> =
        view.tasks().filter(|task| task.node != Some(own) && container_id(task).starts_with(text)).collect();
    match (here, started.as_slice()) {
        (_, []) => Ok(None),
        (0, [task]) => Ok(there(&view, task)),
        (here, many) => {
            let found = here + many.len();
            Err(ApiError::bad(format!("container {text} is ambiguous ({found} matches found)")))
        }
    }
}

/// Empty before there is one.
pub fn container_id(task: &Task) -> &str {
    task.status.container.as_ref().map_or("", |container| container.container_id.as_str())
}

/// The task whose container has this id or name. The name of a task ends with its id.
fn exactly<'a>(view: &'a View, text: &str) -> Option<&'a Arc<Task>> {
    let name = text.trim_start_matches('/');
    let by_name = name.rsplit('.').next().and_then(|id| id.parse().ok()).and_then(|id| view.task(id));
    let by_name = by_name.filter(|task| task.name() == name);
    by_name
        .or_else(|| view.tasks().find(|task| container_id(task) == text))
        .filter(|task| !container_id(task).is_empty())
}

fn elsewhere(call: &Call, view: &View, own: NodeId, task: &Task) -> Option<Elsewhere> {
    let node = task.node.filter(|node| *node != own)?;
    // In full: what is a start of one id here may be the start of several there.
    let mut path = format!("/containers/{}", container_id(task));
    for segment in raw_path(call).split('/').filter(|segment| !segment.is_empty()).skip(2) {
        path.push('/');
        path.push_str(segment);
    }
    Some(Elsewhere { node, name: node_name(view, node), path })
}

/// As the client wrote it, without the version.
fn raw_path(call: &Call) -> &str {
    version::split(call.uri.path()).map_or("", |(_, path)| path)
}

/// The name people know a node by.
pub fn node_name(view: &View, node: NodeId) -> String {
    view.node(node).map_or_else(|| node.to_string(), |node| node.display_name())
}

/// An id for an exec of this node: any manager sees in it where the exec is. Half of it stays random.
pub fn exec_id(call: &Call) -> String {
    let node = call.ports.cluster.status().node.map_or_else(|| call.ports.cluster.random(), |node| node.0);
    format!("{node:032x}{:032x}", call.ports.cluster.random())
}

/// Where the exec of this id is, when it is elsewhere.
pub fn locate_exec(call: &Call, id: &str) -> Option<Elsewhere> {
    let own = entered(call)?;
    let node = id.get(..32).filter(|_| id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    let node = NodeId(u128::from_str_radix(node, 16).ok()?);
    let view = call.ports.cluster.known()?;
    view.node(node).filter(|_| node != own)?;
    Some(Elsewhere { node, name: node_name(&view, node), path: raw_path(call).to_owned() })
}

/// Takes the request there, and its answer back.
pub async fn pass(mut call: Call, method: &str, there: Elsewhere) -> Outcome {
    let body = call.take_body();
    let mut request = begin(&call.headers, method);
    let upgrade = call.upgrade.take().filter(|_| call.headers.contains_key(UPGRADE));
    if let (Some(_), Some(protocol)) = (&upgrade, call.headers.get(UPGRADE)) {
        request = request.header(CONNECTION, "Upgrade").header(UPGRADE, protocol);
    }
    let request = |version: ApiVersion| {
        let version = version.min(call.version);
        let query = call.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        request.uri(format!("/v{version}{}{query}", there.path)).body(body)
    };
    let response = send(&call, &there, DIAL, request).await?;
    Ok(answer(response, upgrade, &there, call.shutdown))
}

fn begin(headers: &HeaderMap, method: &str) -> axum::http::request::Builder {
    let mut request = Request::builder().method(method).header(HOST, "node");
    for name in PASSED {
        if let Some(value) = headers.get(&name) {
            request = request.header(name, value);
        }
    }
    request
}

/// Sends one request to a node; `request` makes it for the newest version that node has.
pub async fn send(
    call: &Call,
    there: &Elsewhere,
    within: Duration,
    request: impl FnOnce(ApiVersion) -> Result<Request<Body>, axum::http::Error>,
) -> Result<Response<Incoming>, ApiError> {
    let name = &there.name;
    let unreachable = |why: &str| ApiError::unavailable(format!("node {name} cannot be reached: {why}"));
    let dialled = call.ports.cluster.dial(there.node, within).await.map_err(|failure| match failure {
        Failure::Unavailable(why) => unreachable(&why),
        other => other.into(),
    })?;
    let newest = version::parse(&dialled.api_version)
        .ok_or_else(|| unreachable(&format!("it serves version \"{}\" of the API", dialled.api_version)))?;
    let request = request(newest).map_err(|error| ApiError::bad(error.to_string()))?;
    let connected = hyper::client::conn::http1::handshake(TokioIo::new(dialled.io)).await;
    let (mut sender, connection) = connected.map_err(|error| unreachable(&chain(&error)))?;
    // Ends with the request and its answer: nothing else holds it.
    tokio::spawn(connection.with_upgrades());
    sender.send_request(request).await.map_err(|error| {
        let why = chain(&error);
        ApiError::unavailable(format!("node {name} went away before it answered ({why}): what was asked may be done"))
    })
}

/// An error and its causes as one line, each said once.
fn chain(error: &dyn std::error::Error) -> String {
    let mut all = Vec::new();
    for words in std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string) {
        if !all.contains(&words) {
            all.push(words);
        }
    }
    all.join(": ")
}

fn answer(
    mut response: Response<Incoming>,
    near: Option<OnUpgrade>,
    there: &Elsewhere,
    shutdown: CancellationToken,
) -> Response {
    let far = hyper::upgrade::on(&mut response);
    let (mut parts, body) = response.into_parts();
    let protocol = parts.headers.get(UPGRADE).cloned();
    for name in OF_A_CONNECTION {
        parts.headers.remove(name);
    }
    let multiplexed = parts.headers.get(CONTENT_TYPE).is_some_and(|of| of.as_bytes() == MULTIPLEXED_STREAM.as_bytes());
    let told = Told { node: there.name.clone(), frames: multiplexed.then(Frames::default) };
    if parts.status != StatusCode::SWITCHING_PROTOCOLS {
        return Response::from_parts(parts, streamed(body, told, shutdown));
    }
    let Some(near) = near else {
        let words = format!("node {} took over a connection that nobody offered", there.name);
        return ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, words).into_response();
    };
    parts.headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    if let Some(protocol) = protocol {
        parts.headers.insert(UPGRADE, protocol);
    }
    tokio::spawn(join(near, far, told, shutdown));
    Response::from_parts(parts, Body::empty())
}

/// What a client has been told so far, and how to tell it that no more comes.
struct Told {
    node: String,
    /// Of a stream that has frames.
    frames: Option<Frames>,
}

impl Told {
    fn pass(&mut self, bytes: &[u8]) {
        if let Some(frames) = &mut self.frames {
            frames.pass(bytes);
        }
    }

    /// For the client, where there is a way to say it.
    fn broke_off(&self, error: &dyn std::error::Error) -> Option<Bytes> {
        let words = format!("node {} went away: {}", self.node, chain(error));
        tracing::warn!(words, "an answer of another node broke off");
        self.frames.and_then(|frames| frames.last_words(&words))
    }
}

/// Ends in failure, not as if it were whole, when the node goes away; ends with the daemon.
fn streamed(body: Incoming, mut told: Told, shutdown: CancellationToken) -> Body {
    let pieces = Body::new(body).into_data_stream().flat_map(move |piece| match piece {
        Ok(bytes) => {
            told.pass(&bytes);
            stream::once(std::future::ready(Ok(bytes))).left_stream()
        }
        Err(error) => {
            let words = stream::iter(told.broke_off(&error).map(Ok));
            // An error cuts off what was not sent yet: it comes only when the connection asks again.
            let end = async {
                tokio::task::yield_now().await;
                Err(error)
            };
            words.chain(stream::once(end)).right_stream()
        }
    });
    Body::from_stream(pieces.take_until(shutdown.cancelled_owned()))
}

/// Passes bytes both ways. The client may end its direction and go on listening; when the node has ended its own,
/// all is said.
async fn join(near: OnUpgrade, far: OnUpgrade, told: Told, shutdown: CancellationToken) {
    let (near, far) = match tokio::join!(near, far) {
        (Ok(near), Ok(far)) => (TokioIo::new(near), TokioIo::new(far)),
        (Err(error), _) | (_, Err(error)) => {
            tracing::debug!(node = told.node, %error, "a connection to another node was not taken over");
            return;
        }
    };
    let (mut from_client, to_client) = tokio::io::split(near);
    let (from_node, mut to_node) = tokio::io::split(far);
    let input = async move {
        tokio::io::copy(&mut from_client, &mut to_node).await?;
        to_node.shutdown().await?;
        // Not dropped: it is one of two halves.
        Ok((from_client, to_node))
    };
    let ended = tokio::select! {
        ended = both(input, from_node, to_client, told) => ended,
        () = shutdown.cancelled() => Ok(()),
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to another node broke");
    }
}

async fn both<T>(
    input: impl Future<Output = io::Result<T>>,
    mut from_node: impl AsyncRead + Unpin,
    mut to_client: impl AsyncWrite + Unpin,
    mut told: Told,
) -> io::Result<()> {
    let mut input = std::pin::pin!(input);
    let mut input_over = None;
    let mut piece = vec![0u8; PIECE_BYTES];
    loop {
        let read = tokio::select! {
            // First: where the node went away both directions fail, and this one has words for it.
            biased;
            read = from_node.read(&mut piece) => read,
            over = &mut input, if input_over.is_none() => {
                input_over = Some(over?);
                continue;
            }
            () = tokio::time::sleep(GONE_LOOK), if input_over.is_some() => {
                still_there(&mut to_client).await?;
                continue;
            }
        };
        match read {
            Ok(0) => return to_client.shutdown().await,
            Ok(length) => {
                told.pass(&piece[..length]);
                to_client.write_all(&piece[..length]).await?;
                to_client.flush().await?;
            }
            Err(error) => {
                if let Some(words) = told.broke_off(&error) {
                    to_client.write_all(&words).await?;
                    to_client.shutdown().await?;
                }
                return Err(error);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_concerns_the_containers_of_a_node_is_carried() {
        let carried = [
            ("GET", &["containers", "json"][..]),
            ("GET", &["containers", "x", "json"]),
            ("PUT", &["containers", "x", "archive"]),
            ("GET", &["containers", "x", "attach", "ws"]),
            ("DELETE", &["containers", "x"]),
            ("POST", &["exec", "x", "start"]),
        ];
        assert!(carried.iter().all(|(method, path)| is_carried(method, path)));
        let not = [
            ("POST", &["containers", "create"][..]),
            ("POST", &["containers", "prune"]),
            ("GET", &["containers"]),
            ("POST", &["services", "create"]),
            ("GET", &["info"]),
            ("POST", &["images", "create"]),
        ];
        assert!(not.iter().all(|(method, path)| !is_carried(method, path)));
    }
}
