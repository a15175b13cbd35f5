//! What the Engine API has and this server will not do: refused by name, with what to do instead.

use crate::call::Query;
use crate::error::ApiError;
use axum::http::StatusCode;

/// Words for an endpoint that is refused for good; `None` for all others.
pub fn endpoint(method: &str, path: &[&str]) -> Option<ApiError> {
    let words = match (method, path) {
        ("POST", ["build"]) => {
            "building images is not supported: build with docker buildx, then push or load the image"
        }
        ("POST", ["session" | "grpc"]) => {
            "build sessions are not supported: build with docker buildx, then push or load the image"
        }
        ("GET", ["images", "search"]) => "searching a registry is not supported: use the registry's own search",
        ("GET", ["images", .., "attestations"]) => {
            "attestations of images are not supported: ask the registry for them (docker buildx imagetools inspect)"
        }
        ("GET", ["containers", _, "attach", "ws"]) => {
            "attaching over a websocket is not supported: use POST /containers/{id}/attach"
        }
        ("PUT", ["volumes", _]) => "cluster volumes (CSI) are not supported: there is nothing of a volume to update",
        ("GET", ["plugins", "privileges"]) | ("POST", ["plugins", "pull" | "create"]) => {
            "plugins are not supported: network, volume and log drivers are built in"
        }
        _ => return None,
    };
    Some(ApiError::new(StatusCode::NOT_IMPLEMENTED, words))
}

/// Parameters of a query that Docker knows and we do not honour. An unknown one is ignored, as Docker does.
fn unhonoured(method: &str, path: &[&str], query: &Query) -> &'static [&'static str] {
    match (method, path) {
        ("GET", ["images", "json"]) => &["shared-size", "manifests", "identity", "filter"],
        ("GET", ["images", .., "json"]) => &["manifests", "platform"],
        ("GET", ["images", .., "history"]) => &["platform"],
        ("POST", ["images", "create"]) if !query.text("fromSrc").is_empty() => &["platform"],
        ("POST", ["images", "load"]) => &["platform"],
        ("DELETE", ["images", ..]) => &["platforms"],
        _ => &[],
    }
}

/// Refuses a known parameter that says something and would be dropped.
pub fn parameters(method: &str, path: &[&str], query: &Query) -> Result<(), ApiError> {
    match unhonoured(method, path, query).iter().find(|name| query.flag(name)) {
        Some(name) => {
            Err(ApiError::new(StatusCode::NOT_IMPLEMENTED, format!("query parameter {name} is not supported")))
        }
        None => Ok(()),
    }
}
