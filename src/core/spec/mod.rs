//! What must hold of a specification by itself: names, ranges, and what goes together.
//!
//! Asked twice for every specification: by `control`, which words the refusal to the user, and by the store when the
//! transaction is applied, with what must hold against the rest of the state (`store::fits`). Every manager has to come
//! to the same answer, so a rule counts from the number in [`RULES`] on that came with it, and is kept as it is.
//! Fields are named by their path in the API, with the remedy. Knows no other object.

mod autoscale;
mod cluster;
mod container;
mod content;
mod dependencies;
mod endpoint;
mod image;
mod mode;
mod mounts;
mod network;
mod node;
mod once;
mod probes;
mod references;
mod service;
mod templates;

pub use cluster::cluster;
pub use content::{config, secret};
pub use dependencies::cycle;
pub use mounts::mounts;
pub use network::{PREDEFINED_NETWORKS, network};
pub use node::node;
pub use once::outlasts_heartbeats;
pub use service::service;
pub use templates::{config_of, secret_of};

use crate::model::Labels;

/// The present rules. A transaction says by which it was checked; a manager that does not know them stops rather than
/// come to another store. To add a rule: raise this, and let the rule pass what says a lower number.
pub const RULES: u32 = 1;

/// Characters of the name of a secret, config or network (as in swarmkit's `controlapi` for secrets and configs).
const OBJECT_NAME_LEN_MAX: usize = 64;

/// Why a wish was refused. Nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The request itself is wrong, whatever the state (HTTP 400).
    #[error("{0}")]
    Invalid(String),
    /// The state does not allow it (HTTP 400, as gRPC's FailedPrecondition in Docker).
    #[error("{0}")]
    NotNow(String),
    /// It will never be allowed (HTTP 403).
    #[error("{0}")]
    Forbidden(String),
    /// It names what is not there (HTTP 404).
    #[error("{0}")]
    NotFound(String),
    /// A name or id is taken (HTTP 409).
    #[error("{0}")]
    Exists(String),
    /// The version given is not the stored one (HTTP 500, as in Docker).
    #[error("update out of sequence")]
    OutOfSequence { given: u64, stored: u64 },
    /// Docker has no such change, and so have we not (HTTP 501).
    #[error("{0}")]
    Unsupported(&'static str),
}

pub(crate) fn invalid<T>(message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::Invalid(message.into()))
}

/// Whether a name is letters, digits and `extra`, with a letter or digit at both ends, and not too long.
pub fn name_pattern_holds(name: &str, extra: &[u8], len_max: usize) -> bool {
    let bytes = name.as_bytes();
    let edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    name.len() <= len_max
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || extra.contains(b))
}

/// Names of secrets, configs and networks.
fn object_name(name: &str) -> Result<(), Refusal> {
    if name_pattern_holds(name, b"-_.", OBJECT_NAME_LEN_MAX) {
        return Ok(());
    }
    invalid(format!(
        "Name: invalid name, only {OBJECT_NAME_LEN_MAX} [a-zA-Z0-9-_.] characters allowed, and the start and end character must be [a-zA-Z0-9]"
    ))
}

/// Label keys may not be empty.
fn labels(place: &str, labels: &Labels) -> Result<(), Refusal> {
    if labels.keys().any(String::is_empty) { invalid(format!("{place}: label key cannot be empty")) } else { Ok(()) }
}
