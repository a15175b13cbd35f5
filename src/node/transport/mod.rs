//! Everything between nodes but gossip: QUIC on one UDP port, TLS 1.3, both sides authenticated.
//!
//! Owns the socket, the connections and the rule who may open which conversation. Bytes in, bytes
//! out: messages are encoded and understood by the callers (crate `wire`). A conversation has its
//! own ALPN name and its own connections, so that a busy one does not delay a quiet one and each
//! has its own idle timeout.
//!
//! Two shapes: [`Endpoint::call`] (one request, one reply, a deadline) and [`Endpoint::open`] (a
//! [`Stream`] of frames both ways). The other side registers a [`Handler`] per conversation with
//! [`Endpoint::serve`] or [`Endpoint::serve_calls`].
//!
//! Must never retry a request that may have been carried out: only the caller knows whether that
//! is harmless.

mod accept;
mod config;
mod conversation;
mod dial;
mod endpoint;
mod error;
mod pool;
mod stream;

pub use accept::{BoxFuture, Handler, Peer, ServeGuard};
pub use conversation::{
    CONTROL, CONVERSATIONS, Conversation, DISPATCH, Dialler, ENGINE, IMAGES, JOIN, LOGS, RAFT, SNAPSHOT, TRUST,
};
pub use dial::Expect;
pub use endpoint::{Endpoint, QUIC_PORT};
pub use error::{Refusal, TransportError};
pub use stream::{FrameReceiver, FrameSender, Stream};

#[cfg(test)]
mod tests;
