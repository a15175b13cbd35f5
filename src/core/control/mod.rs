//! From a user's wish to a write: checks it against a snapshot and words the transaction.
//!
//! Called by the API on the manager that was asked. Pure: ids, secrets and the time come in. Every
//! transaction carries the preconditions under which its checks hold, so that two managers deciding
//! at once can't both be obeyed. Messages are worded as Docker's where clients match on them.

mod autoscale;
mod cluster;
mod content;
mod dependencies;
mod image;
mod mode;
mod names;
mod network;
mod node;
mod once;
mod probes;
mod references;
mod rollback;
mod service;
mod templates;
mod validate;

pub use cluster::{JoinRotation, rotate_join_secrets, update_cluster, validate_cluster_spec};
pub use content::{
    ContentWish, create_config, create_secret, remove_config, remove_secret, update_config, update_secret,
};
pub use names::fresh_service_name;
pub use network::{create_network, predefined_networks, remove_network};
pub use node::{check_demotion, remove_node, update_node};
pub use rollback::{promote_service, rollback_service, rollback_service_to};
pub use service::{create_service, remove_service, update_service};
pub use validate::{name_pattern_holds, validate_mounts, validate_service};

use crate::WallTime;
use crate::store::{Change, Precondition, Txn};

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
    /// The version given is not the stored one (HTTP 409).
    #[error("update out of sequence")]
    OutOfSequence { given: u64, stored: u64 },
    /// Docker has no such change, and so have we not (HTTP 501).
    #[error("{0}")]
    Unsupported(&'static str),
}

fn invalid<T>(message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::Invalid(message.into()))
}

fn txn(now: WallTime, preconditions: Vec<Precondition>, changes: Vec<Change>) -> Txn {
    Txn { term: None, wall: now, preconditions, changes }
}

fn check_version(given: u64, stored: u64) -> Result<(), Refusal> {
    if given == stored { Ok(()) } else { Err(Refusal::OutOfSequence { given, stored }) }
}

#[cfg(test)]
mod tests;
