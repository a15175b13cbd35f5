//! Binds what the API needs ([`api::ports`]) to the node of this process.

mod addresses;
mod carry;
mod cluster;
mod containers;
mod images;
mod local;
mod logs;
mod usage;
mod volumes;

pub use carry::connections;
pub use cluster::BoundCluster;
pub use local::BoundLocal;

use api::ports::Failure;

/// A failed operation of our side, with its causes.
fn internal(error: &dyn std::error::Error) -> Failure {
    Failure::Internal(node::error::chain(error))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Failure> + Send + 'static) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(internal(&error)),
    }
}
