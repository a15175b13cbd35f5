//! The accepting side: who is let in, and which handler gets the stream.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use quinn::{Connection, Incoming};
use swarm_core::model::NodeRole;
use swarm_core::trust::{KnownManagers, check_validity};
use swarm_core::{ClusterId, NodeId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::conversation::{Conversation, Dialler, by_alpn};
use super::dial::{WELCOME, dialled_peer, wall_now};
use super::error::Refusal;
use super::stream::Stream;
use crate::trust::PeerIdentity;

/// A handler's future.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Connections accepted at once: every node of the largest cluster with a few conversations each.
const CONNECTIONS_MAX: usize = 8192;
/// Of these, peers that show no certificate: hosts that join at the same moment. Nodes of the cluster always find
/// a place beside them.
pub(super) const STRANGERS_MAX: usize = 64;
/// How long such a peer may stay: a join may have to wait for an election.
pub(super) const STRANGER_TIME: Duration = Duration::from_secs(15);
/// How long it may take to read its answer.
const ANSWER_READ_TIMEOUT: Duration = Duration::from_secs(2);
/// From this many on, a caller must prove its address first (RFC 9000 section 8.1.2).
const RETRY_FROM: usize = CONNECTIONS_MAX / 4;
/// How long a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the first byte of a stream may take to follow the stream itself.
const OPENING_TIMEOUT: Duration = Duration::from_secs(5);
/// Streams handled at once per conversation.
const STREAMS_MAX: usize = 1024;

/// Who opened a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Its certificate's subject; `None` only in the joining conversation.
    pub identity: Option<PeerIdentity>,
    /// Where its packets come from.
    pub address: SocketAddr,
}

/// Serves the streams of one conversation. Closures of the same form are handlers.
pub trait Handler: Send + Sync + 'static {
    /// Serves one stream. Dropping the stream unfinished tells the peer that it was given up.
    fn handle(&self, peer: Peer, stream: Stream) -> BoxFuture<()>;
}

impl<F, Fut> Handler for F
where
    F: Fn(Peer, Stream) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    fn handle(&self, peer: Peer, stream: Stream) -> BoxFuture<()> {
        Box::pin(self(peer, stream))
    }
}

#[derive(Clone)]
struct Registration {
    handler: Arc<dyn Handler>,
    permits: Arc<Semaphore>,
    ended: CancellationToken,
}

/// Which conversations are served now.
#[derive(Default)]
pub(super) struct Registry {
    by_alpn: RwLock<BTreeMap<&'static str, Registration>>,
}

impl Registry {
    fn find(&self, conversation: &Conversation) -> Option<Registration> {
        let map = self.by_alpn.read().unwrap_or_else(PoisonError::into_inner);
        map.get(conversation.alpn).cloned()
    }

    /// Registers a handler in place of any other.
    pub(super) fn serve(
        self: &Arc<Self>,
        conversation: &'static Conversation,
        handler: Arc<dyn Handler>,
    ) -> ServeGuard {
        let ended = CancellationToken::new();
        let permits = Arc::new(Semaphore::new(STREAMS_MAX));
        let registration = Registration { handler, permits, ended: ended.clone() };
        let mut map = self.by_alpn.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = map.insert(conversation.alpn, registration) {
            old.ended.cancel();
        }
        drop(map);
        ServeGuard { registry: Arc::clone(self), conversation, ended }
    }
}

/// Serves while it lives: dropping it closes the conversation's connections and refuses new ones.
#[must_use = "the conversation is served only while this lives"]
pub struct ServeGuard {
    registry: Arc<Registry>,
    conversation: &'static Conversation,
    ended: CancellationToken,
}

impl Drop for ServeGuard {
    fn drop(&mut self) {
        if self.ended.is_cancelled() {
            return; // Another handler took over.
        }
        self.ended.cancel();
        let mut map = self.registry.by_alpn.write().unwrap_or_else(PoisonError::into_inner);
        map.remove(self.conversation.alpn);
    }
}

/// What is known of nodes beyond their certificates, which outlive it.
#[derive(Default)]
pub(super) struct Standing {
    /// Removed from the cluster.
    pub removed: BTreeSet<NodeId>,
    /// `None`: not known, and the certificate counts.
    pub managers: Option<KnownManagers>,
}

/// What the accepting side needs to know, cheap to copy into each connection's task.
#[derive(Clone)]
pub(super) struct Acceptor {
    pub registry: Arc<Registry>,
    pub own_cluster: watch::Receiver<Option<ClusterId>>,
    pub standing: watch::Receiver<Standing>,
    /// Places of peers without identity, and for how long they have one.
    pub strangers: Arc<Semaphore>,
    pub stranger_time: Duration,
}

impl Acceptor {
    /// Accepts until the endpoint is closed.
    pub(super) async fn run(self, endpoint: quinn::Endpoint) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        while let Some(incoming) = endpoint.accept().await {
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                incoming.refuse();
                continue;
            };
            let taken = CONNECTIONS_MAX - places.available_permits();
            if taken > RETRY_FROM && incoming.may_retry() && !incoming.remote_address_validated() {
                // Refused only if the address is validated already, which was just excluded.
                let _ = incoming.retry();
                continue;
            }
            let acceptor = self.clone();
            tokio::spawn(async move {
                acceptor.connection(incoming).await;
                drop(place);
            });
        }
    }

    async fn connection(mut self, incoming: Incoming) {
        let address = incoming.remote_address();
        let connection = match timeout(HANDSHAKE_TIMEOUT, incoming).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => {
                info!(peer = %address, %error, "handshake of an incoming connection failed");
                return;
            }
            Err(_) => {
                debug!(peer = %address, "handshake of an incoming connection took too long");
                return;
            }
        };
        let Some(conversation) = negotiated(&connection) else {
            connection.close(Refusal::NotServed.code(), b"");
            return;
        };
        let peer = Peer { identity: dialled_peer(&connection), address };
        match self.let_in(conversation, &peer) {
            Ok((registration, None)) => {
                if welcome(&connection).await {
                    self.streams(&connection, conversation, peer, &registration).await;
                }
            }
            Ok((registration, Some(_place))) => {
                let call = one_call(&connection, conversation, peer, &registration);
                if timeout(self.stranger_time, call).await.is_err() {
                    debug!(peer = %address, "a peer without a certificate took too long");
                }
                connection.close(Refusal::Abandoned.code(), b"");
            }
            Err(refusal) => {
                info!(peer = %address, conversation = conversation.alpn, reason = %refusal, "declined a connection");
                connection.close(refusal.code(), b"");
                // The close must reach the peer before the connection is forgotten.
                connection.closed().await;
            }
        }
    }

    /// What serves the peer, and, if nobody knows it, its place among such.
    fn let_in(
        &mut self,
        conversation: &Conversation,
        peer: &Peer,
    ) -> Result<(Registration, Option<OwnedSemaphorePermit>), Refusal> {
        self.admit(conversation, peer)?;
        let registration = self.registry.find(conversation).ok_or(Refusal::NotServed)?;
        let place = match peer.identity {
            Some(_) => None,
            None => Some(Arc::clone(&self.strangers).try_acquire_owned().map_err(|_| Refusal::Busy)?),
        };
        Ok((registration, place))
    }

    fn admit(&mut self, conversation: &Conversation, peer: &Peer) -> Result<(), Refusal> {
        let Some(identity) = &peer.identity else {
            return match conversation.dialler {
                Dialler::Anyone => Ok(()),
                Dialler::Node | Dialler::Manager => Err(Refusal::NoCertificate),
            };
        };
        if *self.own_cluster.borrow_and_update() != Some(identity.cluster) {
            return Err(Refusal::OtherCluster);
        }
        let standing = self.standing.borrow_and_update();
        if standing.removed.contains(&identity.node) {
            return Err(Refusal::Removed);
        }
        match (conversation.dialler, identity.role) {
            (Dialler::Manager, NodeRole::Worker) => Err(Refusal::WrongRole),
            (Dialler::Manager, NodeRole::Manager) => {
                let accepted = |known: &KnownManagers| known.accepts(identity.node, identity.validity);
                if standing.managers.as_ref().is_none_or(accepted) { Ok(()) } else { Err(Refusal::NoLongerManager) }
            }
            (Dialler::Anyone | Dialler::Node, _) => Ok(()),
        }
    }

    /// Hands streams to the handler until the connection ends or must end.
    async fn streams(
        &mut self,
        connection: &Connection,
        conversation: &'static Conversation,
        peer: Peer,
        registration: &Registration,
    ) {
        loop {
            let halves = tokio::select! {
                halves = connection.accept_bi() => halves,
                () = registration.ended.cancelled() => {
                    connection.close(Refusal::NotServed.code(), b"");
                    return;
                }
                changed = self.standing.changed() => {
                    if changed.is_err() {
                        connection.close(Refusal::ShuttingDown.code(), b"");
                        return;
                    }
                    if let Err(refusal) = self.admit(conversation, &peer) {
                        connection.close(refusal.code(), b"");
                        return;
                    }
                    continue;
                }
            };
            let Ok(halves) = halves else { return };
            if peer.identity.is_some_and(|it| check_validity(it.validity, wall_now()).is_err()) {
                connection.close(Refusal::CertificateExpired.code(), b"");
                return;
            }
            let mut stream = Stream::new(conversation, peer.address, halves, None);
            match Arc::clone(&registration.permits).try_acquire_owned() {
                Ok(permit) => {
                    let handler = Arc::clone(&registration.handler);
                    tokio::spawn(async move {
                        if let Ok(true) = timeout(OPENING_TIMEOUT, stream.expect_announcement()).await {
                            handler.handle(peer, stream).await;
                        }
                        drop(permit);
                    });
                }
                Err(_) => stream.refuse(Refusal::Busy),
            }
        }
    }
}

/// The one stream of a peer without identity: it asks, reads its answer, and goes.
async fn one_call(
    connection: &Connection,
    conversation: &'static Conversation,
    peer: Peer,
    registration: &Registration,
) {
    if !welcome(connection).await {
        return;
    }
    let Ok(halves) = connection.accept_bi().await else { return };
    let mut stream = Stream::new(conversation, peer.address, halves, None);
    if let Ok(true) = timeout(OPENING_TIMEOUT, stream.expect_announcement()).await {
        let answering = registration.handler.handle(peer, stream);
        if registration.ended.run_until_cancelled(answering).await.is_none() {
            return;
        }
    }
    // It closes when it has its answer.
    let _ = timeout(ANSWER_READ_TIMEOUT, connection.closed()).await;
}

fn negotiated(connection: &Connection) -> Option<&'static Conversation> {
    let data = connection.handshake_data()?;
    let data = data.downcast::<quinn::crypto::rustls::HandshakeData>().ok()?;
    by_alpn(data.protocol.as_deref()?)
}

/// Tells the dialling side that it is accepted.
async fn welcome(connection: &Connection) -> bool {
    let Ok(mut stream) = connection.open_uni().await else { return false };
    stream.write_all(&WELCOME).await.is_ok() && stream.finish().is_ok()
}
