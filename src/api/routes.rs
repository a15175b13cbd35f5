//! Which handler answers which method and path.
//!
//! Matched by hand: names of images contain slashes in the middle of a path
//! (`/images/library/redis/json`), which no pattern router takes.

use crate::call::{Call, Outcome, Query, segments};
use crate::error::ApiError;
use crate::version::{self, ApiVersion};
use crate::{
    Server, configs, containers, events, exec, images, networks, nodes, rehearsals, secrets, services, swarm, system,
    tasks, volumes,
};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method};
use axum::response::{IntoResponse, Response};

/// Parts of the Engine API known and not served: first segment, and the last one where it matters.
const UNSERVED: [(&str, &str); 26] = [
    ("auth", ""),
    ("build", ""),
    ("commit", ""),
    ("containers", "create"),
    ("containers", "prune"),
    ("containers", "archive"),
    ("containers", "attach"),
    ("containers", "changes"),
    ("containers", "export"),
    ("containers", "pause"),
    ("containers", "rename"),
    ("containers", "resize"),
    ("containers", "restart"),
    ("containers", "start"),
    ("containers", "stats"),
    ("containers", "top"),
    ("containers", "unpause"),
    ("containers", "update"),
    ("containers", "wait"),
    ("images", "get"),
    ("images", "prune"),
    ("images", "push"),
    ("images", "search"),
    ("plugins", ""),
    ("session", ""),
    ("volumes", "prune"),
];

/// Answers one request.
pub async fn dispatch(State(server): State<Server>, request: Request) -> Response {
    let method = request.method().clone();
    let mut response = match answer(&server, request).await {
        Ok(response) => response,
        Err(error) => error.into_response(),
    };
    if method == Method::HEAD {
        *response.body_mut() = Body::empty();
    }
    let headers = response.headers_mut();
    headers.insert("Docker-Experimental", HeaderValue::from_static("false"));
    headers.insert("Ostype", HeaderValue::from_static("linux"));
    if let Ok(version) = HeaderValue::from_str(&ApiVersion::MAX.to_string()) {
        headers.insert("Api-Version", version);
    }
    headers.insert("Server", HeaderValue::from_static(concat!("swarm/", env!("CARGO_PKG_VERSION"), " (linux)")));
    response
}

async fn answer(server: &Server, request: Request) -> Outcome {
    let (mut parts, body) = request.into_parts();
    let (version, path) = version::split(parts.uri.path())?;
    let segments = segments(path)?;
    let path: Vec<&str> = segments.iter().map(String::as_str).collect();
    let call = Call {
        ports: server.ports.clone(),
        version,
        query: Query::parse(&parts.uri)?,
        headers: parts.headers,
        body: body.into(),
        shutdown: server.shutdown.clone(),
        upgrade: parts.extensions.remove::<hyper::upgrade::OnUpgrade>(),
    };
    let (first, rest) = path.split_first().ok_or_else(ApiError::page_not_found)?;
    let method = parts.method.as_str();
    match *first {
        "_ping" | "version" | "info" | "system" => system::route(call, method, first, rest).await,
        "swarm" => swarm::route(call, method, rest).await,
        "nodes" => nodes::route(call, method, rest).await,
        "services" => services::route(call, method, rest).await,
        "rehearsal" => rehearsals::route(call, method, rest).await,
        "tasks" => tasks::route(call, method, rest).await,
        "networks" => networks::route(call, method, rest).await,
        "secrets" => secrets::route(call, method, rest).await,
        "configs" => configs::route(call, method, rest).await,
        "images" | "distribution" => images::route(call, method, first, rest).await,
        "volumes" => volumes::route(call, method, rest).await,
        "containers" => containers::route(call, server, method, rest).await,
        "exec" => exec::route(call, server, method, rest).await,
        "events" => events::route(call, server, method, rest).await,
        _ => Err(unknown(method, &path)),
    }
}

/// 501 for parts of the Engine API that are not served, 404 for everything else.
pub fn unknown(method: &str, path: &[&str]) -> ApiError {
    let (first, last) = (path.first().copied().unwrap_or(""), path.last().copied().unwrap_or(""));
    let known = |(head, tail): &&(&str, &str)| *head == first && (tail.is_empty() || *tail == last);
    match UNSERVED.iter().find(known) {
        Some(_) => ApiError::not_implemented(&format!("{method} /{}", path.join("/"))),
        None => ApiError::page_not_found(),
    }
}

/// `unknown` for a path below `first`.
pub fn unknown_below(method: &str, first: &str, rest: &[&str]) -> ApiError {
    let mut path = vec![first];
    path.extend(rest);
    unknown(method, &path)
}
