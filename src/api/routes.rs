//! Which handler answers which method and path.
//!
//! Matched by hand: names of images contain slashes in the middle of a path
//! (`/images/library/redis/json`), which no pattern router takes.

use crate::call::{Call, Outcome, Query, segments};
use crate::carry::{Origin, is_carried};
use crate::error::ApiError;
use crate::version::{self, ApiVersion};
use crate::{
    Server, configs, containers, events, exec, images, networks, nodes, plugins, refused, rehearsals, secrets,
    services, swarm, system, tasks, volumes,
};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};

/// Parts of the Engine API known and not served: method, and path where `*` is one segment and `**` one or more.
const UNSERVED: &[(&str, &str)] = &[
    ("POST", "auth"),
    ("POST", "commit"),
    ("POST", "containers/create"),
    ("POST", "containers/prune"),
    ("POST", "containers/*/rename"),
    ("POST", "containers/*/start"),
    ("POST", "containers/*/update"),
    ("GET", "images/get"),
    ("GET", "images/**/get"),
    ("POST", "images/prune"),
    ("POST", "images/**/push"),
    ("POST", "volumes/prune"),
];

/// Answers one request of a client.
pub async fn dispatch(State(server): State<Server>, request: Request) -> Response {
    respond(&server, request, Origin::Client).await
}

/// Answers one request.
pub async fn respond(server: &Server, request: Request, origin: Origin) -> Response {
    let method = request.method().clone();
    let mut response = match answer(server, request, origin).await {
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

async fn answer(server: &Server, request: Request, origin: Origin) -> Outcome {
    let (mut parts, body) = request.into_parts();
    let (version, path) = version::split(parts.uri.path())?;
    let segments = segments(path)?;
    let path: Vec<&str> = segments.iter().map(String::as_str).collect();
    let call = Call {
        ports: server.ports.clone(),
        version,
        origin,
        query: Query::parse(&parts.uri)?,
        headers: parts.headers,
        body: body.into(),
        shutdown: server.shutdown.clone(),
        upgrade: parts.extensions.remove::<hyper::upgrade::OnUpgrade>(),
        uri: parts.uri.clone(),
    };
    let (first, rest) = path.split_first().ok_or_else(ApiError::page_not_found)?;
    let method = parts.method.as_str();
    if origin == Origin::Manager && !is_carried(method, &path) {
        let words = format!("{method} /{} is not asked of another node", path.join("/"));
        return Err(ApiError::new(StatusCode::FORBIDDEN, words));
    }
    refused::parameters(method, &path, &call.query)?;
    match *first {
        "_ping" | "version" | "info" | "system" | "build" => system::route(call, method, first, rest).await,
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
        "plugins" => plugins::route(&call, method, rest),
        _ => Err(unknown(method, &path)),
    }
}

/// 501 for parts of the Engine API that are not served, 404 for everything else.
pub fn unknown(method: &str, path: &[&str]) -> ApiError {
    if let Some(refusal) = refused::endpoint(method, path) {
        return refusal;
    }
    let known = |(verb, pattern): &&(&str, &str)| *verb == method && matches(pattern, path);
    match UNSERVED.iter().find(known) {
        Some(_) => ApiError::not_implemented(&format!("{method} /{}", path.join("/"))),
        None => ApiError::page_not_found(),
    }
}

fn matches(pattern: &str, path: &[&str]) -> bool {
    let pattern: Vec<&str> = pattern.split('/').collect();
    let alike = |pattern: &[&str], path: &[&str]| {
        pattern.len() == path.len() && pattern.iter().zip(path).all(|(one, segment)| *one == "*" || one == segment)
    };
    match pattern.iter().position(|one| *one == "**") {
        None => alike(&pattern, path),
        Some(at) => {
            let (before, after) = (&pattern[..at], &pattern[at + 1..]);
            path.len() > before.len() + after.len()
                && alike(before, &path[..at])
                && alike(after, &path[path.len() - after.len()..])
        }
    }
}

/// `unknown` for a path below `first`.
pub fn unknown_below(method: &str, first: &str, rest: &[&str]) -> ApiError {
    let mut path = vec![first];
    path.extend(rest);
    unknown(method, &path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_takes_one_segment_or_as_many_as_a_name_has() {
        assert!(matches("containers/*/pause", &["containers", "web", "pause"]));
        assert!(!matches("containers/*/pause", &["containers", "a", "b", "pause"]));
        assert!(matches("images/**/push", &["images", "registry:5000", "a", "b", "push"]));
        assert!(matches("plugins/**", &["plugins", "x"]));
        assert!(!matches("images/**/push", &["images", "push"]) && !matches("plugins/**", &["plugins"]));
    }

    #[test]
    fn what_is_known_and_not_served_is_told_from_what_there_is_not() {
        let told = unknown("POST", &["images", "library", "redis", "push"]);
        assert_eq!(told.message, "POST /images/library/redis/push is not implemented yet");
        assert_eq!(unknown("DELETE", &["images", "library", "redis", "push"]), ApiError::page_not_found());
        assert_eq!(unknown("GET", &["nothing"]), ApiError::page_not_found());
    }
}
