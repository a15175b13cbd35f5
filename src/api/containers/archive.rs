//! `/containers/{id}/archive`, `/export` and `/changes`: files in and out of a container.

use super::find;
use crate::call::{Call, Outcome, empty, ok};
use crate::error::ApiError;
use crate::images::upload;
use crate::json::rfc3339_ns;
use crate::ports::{Archive, ArchiveTarget, ChangeKind, ContainerRecord, Failure, PathStat};
use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

const PATH_STAT: HeaderName = HeaderName::from_static("x-docker-container-path-stat");
const TAR: HeaderValue = HeaderValue::from_static("application/x-tar");

/// Bits of Go's `fs.FileMode`, in which clients read modes.
const GO_DIR: u32 = 1 << 31;
const GO_SYMLINK: u32 = 1 << 27;
const GO_DEVICE: u32 = 1 << 26;
const GO_NAMED_PIPE: u32 = 1 << 25;
const GO_SOCKET: u32 = 1 << 24;
const GO_SETUID: u32 = 1 << 23;
const GO_SETGID: u32 = 1 << 22;
const GO_CHAR_DEVICE: u32 = 1 << 21;
const GO_STICKY: u32 = 1 << 20;

/// A mode of stat(2) as Go has it.
fn go_mode(mode: u32) -> u32 {
    let kind = match mode & 0o170_000 {
        0o040_000 => GO_DIR,
        0o120_000 => GO_SYMLINK,
        0o060_000 => GO_DEVICE,
        0o020_000 => GO_DEVICE | GO_CHAR_DEVICE,
        0o010_000 => GO_NAMED_PIPE,
        0o140_000 => GO_SOCKET,
        _ => 0,
    };
    let bits = [(0o4000, GO_SETUID), (0o2000, GO_SETGID), (0o1000, GO_STICKY)];
    let special: u32 = bits.iter().filter(|(bit, _)| mode & bit != 0).map(|(_, go)| go).sum();
    kind | special | (mode & 0o777)
}

/// Base64 of API `ContainerPathStat`.
fn header(stat: &PathStat) -> Result<HeaderValue, ApiError> {
    let written = json!({
        "name": stat.name,
        "size": stat.size,
        "mode": go_mode(stat.mode),
        "mtime": rfc3339_ns(stat.modified_ns),
        "linkTarget": stat.link_target,
    });
    let text = STANDARD.encode(written.to_string());
    HeaderValue::from_str(&text).map_err(|_| ApiError::from(Failure::Internal("base64 is no header".to_owned())))
}

/// The container, and the path that must be there.
async fn target(call: &Call, id: &str) -> Result<(ContainerRecord, String), ApiError> {
    let path = call.query.text("path").to_owned();
    if path.is_empty() {
        return Err(ApiError::bad("bad parameter: 'path' cannot be empty"));
    }
    Ok((find(call, id).await?, path))
}

/// Docker's words for a path that is not there.
fn worded(failure: Failure, path: &str, id: &str) -> ApiError {
    match failure {
        Failure::NotFound(_) => ApiError::not_found(format!("Could not find the file {path} in container {id}")),
        Failure::Invalid(_)
        | Failure::Forbidden(_)
        | Failure::Conflict(_)
        | Failure::Internal(_)
        | Failure::NotImplemented(_)
        | Failure::Unavailable(_) => failure.into(),
    }
}

/// `HEAD /containers/{id}/archive`.
pub async fn stat(call: Call, id: &str) -> Outcome {
    let (container, path) = target(&call, id).await?;
    let found = call.ports.local.path_stat(&container.id, &path).await;
    let stat = found.map_err(|failure| worded(failure, &path, id))?;
    Ok(([(PATH_STAT, header(&stat)?)], Body::empty()).into_response())
}

fn tar(archive: Archive) -> Response {
    ([(CONTENT_TYPE, TAR)], Body::from_stream(archive)).into_response()
}

/// `GET /containers/{id}/archive`.
pub async fn read(call: Call, id: &str) -> Outcome {
    let (container, path) = target(&call, id).await?;
    let found = call.ports.local.read_archive(&container.id, &path).await;
    let (stat, archive) = found.map_err(|failure| worded(failure, &path, id))?;
    let mut response = tar(archive);
    response.headers_mut().insert(PATH_STAT, header(&stat)?);
    call.ports.local.tell(&container.id, "archive-path", &[]);
    Ok(response)
}

/// `PUT /containers/{id}/archive`.
pub async fn write(mut call: Call, id: &str) -> Outcome {
    let (container, path) = target(&call, id).await?;
    let target = ArchiveTarget {
        path: path.clone(),
        no_overwrite_dir_non_dir: call.query.flag("noOverwriteDirNonDir"),
        as_container_user: call.query.flag("copyUIDGID"),
    };
    let archive = upload(&mut call);
    let written = call.ports.local.write_archive(&container.id, target, archive).await;
    written.map_err(|failure| worded(failure, &path, id))?;
    call.ports.local.tell(&container.id, "extract-to-dir", &[]);
    empty(StatusCode::OK)
}

/// `GET /containers/{id}/export`.
pub async fn export(call: Call, id: &str) -> Outcome {
    let container = find(&call, id).await?;
    let archive = call.ports.local.export(&container.id).await?;
    call.ports.local.tell(&container.id, "export", &[]);
    let mut response = tar(archive);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    Ok(response)
}

/// `GET /containers/{id}/changes`; null when there are none, as Docker.
pub async fn changes(call: Call, id: &str) -> Outcome {
    let container = find(&call, id).await?;
    let changes = call.ports.local.changes(&container.id).await?;
    let written = changes.iter().map(|change| {
        let kind = match change.kind {
            ChangeKind::Modified => 0,
            ChangeKind::Added => 1,
            ChangeKind::Deleted => 2,
        };
        json!({ "Path": change.path, "Kind": kind })
    });
    let written: Vec<Value> = written.collect();
    ok(if written.is_empty() { Value::Null } else { Value::from(written) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_is_told_in_the_bits_of_go() {
        assert_eq!(go_mode(0o100_644), 0o644);
        assert_eq!(go_mode(0o040_755), GO_DIR | 0o755);
        assert_eq!(go_mode(0o120_777), GO_SYMLINK | 0o777);
        assert_eq!(go_mode(0o104_755), GO_SETUID | 0o755);
        assert_eq!(go_mode(0o041_777), GO_DIR | GO_STICKY | 0o777);
        assert_eq!(go_mode(0o020_666), GO_DEVICE | GO_CHAR_DEVICE | 0o666);
    }
}
