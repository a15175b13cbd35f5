//! What the API needs of the rest of the daemon. The API owns these traits; the daemon binds them.
//!
//! Two ports: [`Cluster`], the swarm this node is (or is not) part of, and [`Local`], what this one
//! host keeps: [`Host`], [`Images`], [`Volumes`], [`Containers`]. Both are object-safe, so that a
//! server is not generic. Methods with a default body answer 501 until the daemon binds them.

mod carry;
mod cluster;
mod containers;
mod host;
mod images;
mod logs;
mod volumes;

pub use carry::*;
pub use cluster::*;
pub use containers::*;
pub use host::*;
pub use images::*;
pub use logs::*;
pub use volumes::*;

use futures_util::future::BoxFuture;

/// Why something was not done, in one line a person can act on. Decides the HTTP status.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// 400: the request is wrong.
    #[error("{0}")]
    Invalid(String),
    /// 403: the request is right and will never be done.
    #[error("{0}")]
    Forbidden(String),
    /// 404: it names what is not there.
    #[error("{0}")]
    NotFound(String),
    /// 409: it contradicts what is there.
    #[error("{0}")]
    Conflict(String),
    /// 500: our side broke.
    #[error("{0}")]
    Internal(String),
    /// 501: a part of the API that is not served yet.
    #[error("{0} is not implemented yet")]
    NotImplemented(&'static str),
    /// 503: not now, or not on this node (no swarm, no leader, locked, not a manager).
    #[error("{0}")]
    Unavailable(String),
}

/// Answer of a port that has one object to give.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, Failure>>;

/// What this host keeps.
pub trait Local: Host + Images + Volumes + Containers {}

impl<T: Host + Images + Volumes + Containers> Local for T {}

fn not_implemented<T: Send + 'static>(what: &'static str) -> Answer<'static, T> {
    Box::pin(async move { Err(Failure::NotImplemented(what)) })
}
