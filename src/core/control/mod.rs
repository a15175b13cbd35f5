//! From a user's wish to a write: checks it against a snapshot and words the transaction.
//!
//! Called by the API on the manager that was asked. Pure: ids, secrets and the time come in. Every
//! transaction carries the preconditions under which its checks hold, so that two managers deciding
//! at once can't both be obeyed. Messages are worded as Docker's where clients match on them.

mod cluster;
mod content;
mod names;
mod network;
mod node;
mod references;
mod rollback;
mod service;

pub use cluster::{JoinRotation, rotate_join_secrets, update_cluster};
pub use content::{
    ContentWish, create_config, create_secret, remove_config, remove_secret, update_config, update_secret,
};
pub use names::fresh_service_name;
pub use network::{create_network, predefined_networks, remove_network};
pub use node::{check_demotion, remove_node, update_node};
pub use rollback::{promote_service, rollback_service, rollback_service_to};
pub use service::{create_service, remove_service, update_service};

pub use crate::spec::Refusal;

use crate::WallTime;
use crate::spec::{RULES, invalid};
use crate::store::{Change, Precondition, Txn, fits};

/// Specifications it writes are checked again when it is applied, on the state there is then.
fn txn(now: WallTime, mut preconditions: Vec<Precondition>, changes: Vec<Change>) -> Txn {
    if changes.iter().any(fits::writes_spec) {
        preconditions.push(Precondition::Rules(RULES));
    }
    Txn { term: None, wall: now, preconditions, changes }
}

fn check_version(given: u64, stored: u64) -> Result<(), Refusal> {
    if given == stored { Ok(()) } else { Err(Refusal::OutOfSequence { given, stored }) }
}

#[cfg(test)]
mod again_tests;
#[cfg(test)]
mod template_tests;
#[cfg(test)]
mod tests;
