//! Binds what the API needs ([`api::ports`]) to the node of this process.

mod addresses;
mod cluster;
mod containers;
mod exec;
mod images;
mod local;
mod logs;
mod usage;

pub use cluster::BoundCluster;
pub use local::BoundLocal;

use api::ports::Failure;

/// A failed operation of our side, with its causes.
fn internal(error: &dyn std::error::Error) -> Failure {
    Failure::Internal(node::error::chain(error))
}
