//! The Engine API of this node at a manager, and the other way round: connections of clients carried between nodes.
//!
//! Owns the conversation `swarm-engine/1`: who may open it (managers, by certificate and by what is known of the
//! managers now), its greeting, and the connection it becomes. What is said on it is not understood here: the
//! daemon takes accepted connections from a queue and serves its API on them. That a connection came out of this
//! queue is all the proof there is of its being a manager's: nothing a client says can stand for it.
//!
//! Must never retry: what was carried may have been done.

mod io;

pub use io::CarriedIo;

use crate::transport::{ENGINE, Endpoint, Expect, Peer, ServeGuard, Stream, TransportError};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::net::SocketAddr;
use std::time::Duration;
use swarm_core::NodeId;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use wire::Message;
use wire::pb::engine::{EngineOpen, EngineReady, EngineReply, engine_reply::Reply};

/// Connections accepted ahead of the API: it takes one in no time, except while the daemon starts.
const AHEAD: usize = 64;
/// How long the first frame may take to follow the stream.
const GREETING: Duration = Duration::from_secs(5);

/// Where accepted connections go.
#[derive(Clone)]
pub struct Carrier {
    api_version: String,
    accepted: mpsc::Sender<CarriedIo>,
}

/// The hook for whoever serves the Engine API in its version `api_version`: it takes the connections.
pub fn carrier(api_version: String) -> (Carrier, mpsc::Receiver<CarriedIo>) {
    let (accepted, connections) = mpsc::channel(AHEAD);
    (Carrier { api_version, accepted }, connections)
}

/// A connection to another node's API.
pub struct Dialled {
    pub io: CarriedIo,
    /// Newest version of the Engine API that node serves.
    pub api_version: String,
}

/// Why there is none. Nothing was asked of the node.
#[derive(Debug, thiserror::Error)]
pub enum CarryError {
    #[error("no address of it is known")]
    NoAddress,
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// By the node, in its words.
    #[error("{0}")]
    Refused(String),
    #[error("it answered in words this version does not understand")]
    NotUnderstood,
}

/// Takes in connections from managers while the guard lives.
pub fn serve(endpoint: &Endpoint, carrier: Carrier) -> ServeGuard {
    endpoint.serve(&ENGINE, move |_manager: Peer, stream: Stream| accept(carrier.clone(), stream))
}

async fn accept(carrier: Carrier, mut stream: Stream) {
    let Ok(Ok(Some(frame))) = timeout(GREETING, stream.receive()).await else { return };
    let refusal = match (EngineOpen::decode(frame), carrier.accepted.try_reserve()) {
        (Ok(_), Ok(place)) => {
            let ready = EngineReady { api_version: carrier.api_version.clone() };
            if stream.send(reply(Reply::Ready(ready))).await.is_ok() {
                let gone = CancellationToken::new();
                place.send(CarriedIo::new(stream).telling(gone.clone().drop_guard()));
                // A stream counts among those handled at once for as long as it is in use.
                gone.cancelled().await;
            }
            return;
        }
        (Err(error), _) => format!("the request to carry a connection is not understood: {error}"),
        (Ok(_), Err(mpsc::error::TrySendError::Full(()))) => {
            "its API is too busy to take another connection (try again)".to_owned()
        }
        (Ok(_), Err(mpsc::error::TrySendError::Closed(()))) => "its API is not served now".to_owned(),
    };
    if stream.send(reply(Reply::Failure(refusal))).await.is_ok() {
        stream.finish();
    }
}

fn reply(reply: Reply) -> Vec<u8> {
    EngineReply { reply: Some(reply) }.encode_to_vec()
}

/// A connection to the API of `node`, `within` a time. All its addresses are tried at once: an address that leads
/// nowhere costs as long as one that leads to a node which is down.
pub async fn dial(
    endpoint: &Endpoint,
    node: NodeId,
    addresses: &[SocketAddr],
    within: Duration,
) -> Result<Dialled, CarryError> {
    let mut attempts: FuturesUnordered<_> =
        addresses.iter().map(|address| greet(endpoint, node, *address, within)).collect();
    let mut failure = CarryError::NoAddress;
    while let Some(attempt) = attempts.next().await {
        match attempt {
            Ok(dialled) => return Ok(dialled),
            // What the node itself says tells more than an address where nobody is.
            Err(error) => match (&failure, &error) {
                (CarryError::NoAddress, _) | (_, CarryError::Refused(_)) => failure = error,
                (CarryError::Transport(_) | CarryError::Refused(_) | CarryError::NotUnderstood, _) => {}
            },
        }
    }
    Err(failure)
}

async fn greet(
    endpoint: &Endpoint,
    node: NodeId,
    address: SocketAddr,
    within: Duration,
) -> Result<Dialled, CarryError> {
    let open = EngineOpen {}.encode_to_vec();
    let (stream, answer) = endpoint.open_answered(address, Expect::Node(node), &ENGINE, open, within).await?;
    let answer = EngineReply::decode(answer).map_err(|_| CarryError::NotUnderstood)?;
    match answer.reply.ok_or(CarryError::NotUnderstood)? {
        Reply::Ready(ready) => Ok(Dialled { io: CarriedIo::new(stream), api_version: ready.api_version }),
        Reply::Failure(words) => Err(CarryError::Refused(words)),
    }
}

#[cfg(test)]
mod tests;
