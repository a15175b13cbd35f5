//! Connections between the APIs of two nodes.

use futures_util::stream::BoxStream;
use tokio::io::{AsyncRead, AsyncWrite};

/// Bytes both ways. Ending the writing direction leaves the other; dropping it is a failure at the other end.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Duplex for T {}

/// Some connection.
pub type Io = Box<dyn Duplex>;

/// Connections that managers opened to this node's API.
pub type Connections = BoxStream<'static, Io>;

/// A connection to the API of another node, on which it answers what concerns its containers.
pub struct Dialled {
    pub io: Io,
    /// Newest version of the API that node serves, as in its paths: `1.53`.
    pub api_version: String,
}
