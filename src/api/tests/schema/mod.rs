//! Every answer that a test gets is checked against the published definition of its version.
//!
//! Where the definitions are absent that is said aloud, and answers are read into the published types of the newest.

mod document;
mod stubs;
mod validate;

use super::client::Answer;
use crate::version::{self, ApiVersion};
use axum::http::{Method, StatusCode};
use document::{Document, folder, of_version};
use serde_json::Value;
use validate::Validation;

/// Fields of ours, beyond the API.
const OURS: &[&str] = &[
    ".Canary",
    ".ContainerSpec.Privileged",
    ".ContainerSpec.ShmSize",
    ".ContainerStatus.OOMKilled",
    ".ContainerStatus.Ready",
    ".ContentVersion",
    ".Contents",
    ".HostIP",
    ".PendingReason",
    ".Scaled",
    ".Swarm",
    ".Waiting",
];

/// Fields that the engine sends and no definition has.
const UNPUBLISHED: &[&str] = &[
    ".ContainerSpec.Healthcheck",
    ".PreviousSpec",
    ".NetworksAttachments[].Aliases",
    ".NetworksAttachments[].Network.CreatedAt",
    ".NetworksAttachments[].Network.DriverState",
    ".NetworksAttachments[].Network.ID",
    ".NetworksAttachments[].Network.IPAMOptions",
    ".NetworksAttachments[].Network.Spec",
    ".NetworksAttachments[].Network.UpdatedAt",
    ".NetworksAttachments[].Network.Version",
];

/// Fields of specifications that are sent before a definition has them: a client that writes back what it read would
/// lose them. And what came unversioned, or was documented later than it came.
const KEPT: &[&str] = &[
    ".BindOptions.CreateMountpoint",
    ".ConfigFrom",
    ".ConfigOnly",
    ".Mode.GlobalJob",
    ".Mode.ReplicatedJob",
    ".ContainerSpec.Init",
    ".Networks[].DriverOpts",
    ".Peers",
    ".PortStatus",
    ".Services",
    ".VolumeOptions.Subpath",
    ".Warnings",
];

/// Before this version definitions lack much of what the engine sent then, by the list of changes.
const WHOLE_SINCE: u16 = 35;

/// Where a definition says what the engine does not do, and why we do as the engine does.
const EXCUSED: &[(&str, &str)] = &[
    // The engine calls it ID here, and so do clients.
    ("/secrets/create", ": Id must be there"),
    ("/secrets/create", ".ID: no such field in this version"),
    ("/configs/create", ": Id must be there"),
    ("/configs/create", ".ID: no such field in this version"),
    // Its words for these were never taken in.
    ("/services", ".UpdateStatus.State: \"rollback_"),
    ("/services/{id}", ".UpdateStatus.State: \"rollback_"),
    // Said of options up to 1.35 alone, and never so.
    ("/networks", ".IPAM.Options: {} is no array"),
    ("/networks/{id}", ".IPAM.Options: {} is no array"),
    // Up to 1.30: a list of strings, each in base64.
    ("/configs", ".Spec.Data: "),
    ("/configs/{id}", ".Spec.Data: "),
    // What it has none of is null here, and clients know that.
    ("/containers/json", ".Links: null, where there must be array"),
    ("/containers/{id}/json", ": null, where there must be"),
    ("/containers/{id}/stats", ".io_service_bytes_recursive: null, where there must be array"),
    // Not ended yet.
    ("/exec/{id}/json", ".ExitCode: null"),
];

/// What may be asked of us beyond the API: path patterns, `*` is a segment.
const OUR_PATHS: [&str; 4] = ["/rehearsal", "/services/*/history", "/services/*/promote", "/swarm/rebalance"];

/// What an error may always say, whatever a definition lists.
const ERRORS: [StatusCode; 10] = [
    StatusCode::BAD_REQUEST,
    StatusCode::UNAUTHORIZED,
    StatusCode::FORBIDDEN,
    StatusCode::NOT_FOUND,
    StatusCode::NOT_ACCEPTABLE,
    StatusCode::CONFLICT,
    StatusCode::PAYLOAD_TOO_LARGE,
    StatusCode::INTERNAL_SERVER_ERROR,
    StatusCode::NOT_IMPLEMENTED,
    StatusCode::SERVICE_UNAVAILABLE,
];

/// Panics with all that is wrong with an answer.
pub fn check(method: &Method, target: &str, answer: &Answer) {
    let faults = faults(method, target, answer);
    assert!(faults.is_empty(), "{method} {target} {}\n  {}", answer.status, faults.join("\n  "));
}

/// All that is wrong with an answer.
pub fn faults(method: &Method, target: &str, answer: &Answer) -> Vec<String> {
    let path = target.split('?').next().unwrap_or(target);
    let (version, path) = version::split(path).unwrap_or((ApiVersion::MAX, path));
    if answer.status.is_client_error() || answer.status.is_server_error() {
        return error_faults(method, answer);
    }
    let is_ours = target.contains("dryRun=") || OUR_PATHS.iter().any(|pattern| is_like(pattern, path));
    match of_version(version.minor) {
        _ if is_ours => Vec::new(),
        Some(document) => success_faults(&document, version, method, path, answer),
        None => stubs::faults(method, path, answer),
    }
}

fn is_like(pattern: &str, path: &str) -> bool {
    let (pattern, path): (Vec<_>, Vec<_>) = (pattern.split('/').collect(), path.split('/').collect());
    pattern.len() == path.len() && pattern.iter().zip(&path).all(|(one, other)| *one == "*" || one == other)
}

/// API `ErrorResponse`, of every version.
fn error_faults(method: &Method, answer: &Answer) -> Vec<String> {
    let mut faults = Vec::new();
    if !ERRORS.contains(&answer.status) {
        faults.push("no status of an error of the API".to_owned());
    }
    let value: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let says = value["message"].as_str().is_some_and(|words| !words.is_empty());
    let alone = value.as_object().is_some_and(|fields| fields.len() == 1);
    if method != Method::HEAD && !(says && alone) {
        faults.push(format!("no error response: {}", answer.text()));
    }
    faults
}

fn success_faults(document: &Document, asked: ApiVersion, method: &Method, path: &str, answer: &Answer) -> Vec<String> {
    let Some((pattern, operations)) = document.path(path) else {
        return vec![format!("v1.{} has no such path", document.minor)];
    };
    let operation = &operations[method.as_str().to_lowercase()];
    if operation.is_null() {
        return vec![format!("v1.{} has {pattern} without {method}", document.minor)];
    }
    let Some(response) = operation["responses"].get(answer.status.as_str()) else {
        return vec![format!("v1.{} has no such status for {method} {pattern}", document.minor)];
    };
    let is_json = answer.headers.get("content-type").is_some_and(|kind| kind == "application/json");
    let (Some(schema), true) = (response.get("schema"), is_json && method != Method::HEAD) else {
        return Vec::new();
    };
    let beyond = [OURS, UNPUBLISHED, KEPT].concat();
    let tells_all = document.minor == asked.minor && asked.has(WHOLE_SINCE);
    let mut validation = Validation::new(document, tells_all.then_some(beyond.as_slice()));
    // Events come one after the other.
    for value in serde_json::Deserializer::from_slice(&answer.body).into_iter::<Value>() {
        match value {
            Ok(value) => validation.check("", schema, &value),
            Err(error) => validation.faults.push(format!("no JSON: {error}")),
        }
    }
    let excused = |fault: &String| EXCUSED.iter().any(|(path, words)| *path == pattern && fault.contains(words));
    validation.faults.into_iter().filter(|fault| !excused(fault)).collect()
}

#[test]
fn the_published_definitions_are_there_or_it_is_said() {
    match folder() {
        Some(_) => assert!(!document::published().is_empty(), "the folder of the definitions has none"),
        None => eprintln!(
            "THE PUBLISHED DEFINITIONS OF THE ENGINE API ARE ABSENT: answers were checked against the types of one \
             version alone. Put them into shared/engine-api beside the checkout, or name their folder in SWARM_ENGINE_API."
        ),
    }
}

#[test]
fn the_validator_finds_what_is_wrong() {
    let Some(document) = of_version(ApiVersion::MAX.minor) else { return };
    let schema = serde_json::json!({ "$ref": "#/definitions/Node" });
    let value = serde_json::json!({
        "ID": 7, "CreatedAt": "yesterday", "Odd": 1, "Spec": { "Role": "king", "Labels": { "a": "b", "c": 1 } },
    });
    let mut validation = Validation::new(&document, Some(&[]));
    validation.check("", &schema, &value);
    validation.faults.sort();
    let expected = [
        ".CreatedAt: \"yesterday\" is no time",
        ".ID: 7 is no string",
        ".Odd: no such field in this version",
        ".Spec.Labels.c: 1 is no string",
        ".Spec.Role: \"king\" is none of [\"worker\",\"manager\"]",
    ];
    assert_eq!(validation.faults, expected);
}
