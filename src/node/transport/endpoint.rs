//! The endpoint: one UDP socket, our identity, dialling and serving.

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use swarm_core::trust::{CaDigest, KnownManagers};
use swarm_core::{ClusterId, NodeId};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::accept::{Acceptor, Handler, Peer, Registry, STRANGER_TIME, STRANGERS_MAX, ServeGuard, Standing};
use super::config::{DialTrust, endpoint_config, server_config};
use super::conversation::{Conversation, JOIN};
use super::dial::{Established, Expect, dial};
use super::error::{Refusal, TransportError};
use super::pool::{Pool, SWEEP_PERIOD};
use super::stream::Stream;
use crate::trust::{NodeIdentity, PeerIdentity};

/// UDP port on which nodes listen for each other.
pub const QUIC_PORT: u16 = 2377;
/// How long a peer may take to send a request that it has begun.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long closing waits for the last packets to be acknowledged.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Our identity and its number: connections made with an older one are not used again.
#[derive(Clone)]
struct Current {
    number: u64,
    identity: Option<Arc<NodeIdentity>>,
}

struct Inner {
    quic: quinn::Endpoint,
    pool: Pool,
    registry: Arc<Registry>,
    current: watch::Sender<Current>,
    own_cluster: watch::Sender<Option<ClusterId>>,
    standing: watch::Sender<Standing>,
    closing: CancellationToken,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.closing.cancel();
        self.quic.close(Refusal::ShuttingDown.code(), b"");
    }
}

/// Handle of the transport. Clones share one socket.
#[derive(Clone)]
pub struct Endpoint {
    inner: Arc<Inner>,
}

impl Endpoint {
    /// Opens the socket and, with an identity, starts accepting. Without one only
    /// [`Endpoint::join_call`] works until [`Endpoint::set_identity`]. Needs a tokio runtime.
    pub fn bind(address: SocketAddr, identity: Option<NodeIdentity>) -> Result<Self, TransportError> {
        Self::bind_with(address, identity, STRANGER_TIME)
    }

    /// [`Endpoint::bind`] where peers without a certificate may stay for `stranger_time`.
    pub(super) fn bind_with(
        address: SocketAddr,
        identity: Option<NodeIdentity>,
        stranger_time: Duration,
    ) -> Result<Self, TransportError> {
        let bind = |source| TransportError::Bind { address, source: Arc::new(source) };
        let socket = UdpSocket::bind(address).map_err(bind)?;
        let server = identity.as_ref().map(server_config).transpose()?;
        let config = endpoint_config(identity.as_ref())?;
        let runtime = Arc::new(quinn::TokioRuntime);
        let quic = quinn::Endpoint::new(config, server, socket, runtime).map_err(bind)?;
        let (own_cluster, own_cluster_seen) = watch::channel(identity.as_ref().map(|identity| identity.peer().cluster));
        let (standing, standing_seen) = watch::channel(Standing::default());
        let (current, _) = watch::channel(Current { number: 0, identity: identity.map(Arc::new) });
        let registry = Arc::new(Registry::default());
        let inner = Arc::new(Inner {
            quic,
            pool: Pool::default(),
            registry: Arc::clone(&registry),
            current,
            own_cluster,
            standing,
            closing: CancellationToken::new(),
        });
        let strangers = Arc::new(Semaphore::new(STRANGERS_MAX));
        let (own_cluster, standing) = (own_cluster_seen, standing_seen);
        let acceptor = Acceptor { registry, own_cluster, standing, strangers, stranger_time };
        tokio::spawn(acceptor.run(inner.quic.clone()));
        tokio::spawn(sweep(Arc::downgrade(&inner), inner.closing.clone()));
        Ok(Self { inner })
    }

    /// The address the socket is bound to.
    pub fn local_address(&self) -> Result<SocketAddr, TransportError> {
        self.inner.quic.local_addr().map_err(|_| TransportError::Closed)
    }

    /// How many connections are open, dialled and accepted.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.inner.quic.open_connections()
    }

    /// Our present identity's subject; `None` before joining.
    #[must_use]
    pub fn identity(&self) -> Option<PeerIdentity> {
        self.inner.current.borrow().identity.as_ref().map(|identity| identity.peer())
    }

    /// Uses a new certificate for all new connections; open streams continue under the old one.
    pub fn set_identity(&self, identity: NodeIdentity) -> Result<(), TransportError> {
        let server = server_config(&identity)?;
        self.inner.own_cluster.send_replace(Some(identity.peer().cluster));
        self.inner.quic.set_server_config(Some(server));
        self.inner.current.send_modify(|current| {
            current.number += 1;
            current.identity = Some(Arc::new(identity));
        });
        Ok(())
    }

    /// Replaces the set of nodes that were removed from the cluster and whose certificates still
    /// live: their connections are closed and new ones refused.
    pub fn set_removed(&self, nodes: BTreeSet<NodeId>) {
        let gone = |established: &Established| nodes.contains(&established.peer.node);
        self.inner.pool.close_where(gone, Refusal::Removed.code());
        self.inner.standing.send_modify(|standing| standing.removed = nodes);
    }

    /// Who is taken for a manager besides having a manager's certificate; `None`: whoever has one. Connections of
    /// others in the conversations of managers are closed and new ones refused.
    pub fn set_managers(&self, managers: Option<KnownManagers>) {
        self.inner.standing.send_modify(|standing| standing.managers = managers);
    }

    /// Serves a conversation with a handler of streams while the guard lives.
    pub fn serve(&self, conversation: &'static Conversation, handler: impl Handler) -> ServeGuard {
        self.inner.registry.serve(conversation, Arc::new(handler))
    }

    /// Serves a conversation of calls: `answer` makes the reply to a request. `None` gives the
    /// request up (the caller sees [`Refusal::Abandoned`]); errors belong into the reply.
    pub fn serve_calls<F, Fut>(&self, conversation: &'static Conversation, answer: F) -> ServeGuard
    where
        F: Fn(Peer, Bytes) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Option<Bytes>> + Send + 'static,
    {
        let answer = Arc::new(answer);
        self.serve(conversation, move |peer, stream| {
            let answer = Arc::clone(&answer);
            async move { answer_one(peer, stream, conversation, &*answer).await }
        })
    }

    /// Sends one request and waits for its reply, `within` a time that includes dialling.
    ///
    /// A kept connection that turns out to be dead is replaced before anything is sent; a request
    /// that was sent is never sent again.
    pub async fn call(
        &self,
        address: SocketAddr,
        expect: Expect,
        conversation: &'static Conversation,
        request: impl Into<Bytes>,
        within: Duration,
    ) -> Result<Bytes, TransportError> {
        let deadline = Instant::now() + within;
        let (established, mut stream) = self.open_by(address, expect, conversation, deadline).await?;
        let heard = established.connection.stats().udp_rx.datagrams;
        let exchange = exchange(&mut stream, request.into(), address);
        let Ok(reply) = timeout_at(deadline, exchange).await else {
            self.forget_if_silent(address, expect, conversation, (&established, heard)).await;
            return Err(TransportError::Deadline { address, waited: within });
        };
        reply
    }

    /// Opens a stream of frames, `within` a time for dialling. Also returns who answered.
    pub async fn open(
        &self,
        address: SocketAddr,
        expect: Expect,
        conversation: &'static Conversation,
        within: Duration,
    ) -> Result<(PeerIdentity, Stream), TransportError> {
        let deadline = Instant::now() + within;
        let (established, stream) = self.open_by(address, expect, conversation, deadline).await?;
        Ok((established.peer, stream))
    }

    /// Opens a stream and sends its first frame, which the other side answers with one; `within` a time for all of
    /// it. A kept connection that says nothing is forgotten, so that the next attempt dials.
    pub async fn open_answered(
        &self,
        address: SocketAddr,
        expect: Expect,
        conversation: &'static Conversation,
        first: impl Into<Bytes>,
        within: Duration,
    ) -> Result<(Stream, Bytes), TransportError> {
        let deadline = Instant::now() + within;
        let (established, mut stream) = self.open_by(address, expect, conversation, deadline).await?;
        let heard = established.connection.stats().udp_rx.datagrams;
        let greeting = async {
            stream.send(first).await?;
            stream.receive().await?.ok_or(TransportError::EndedEarly { address })
        };
        let Ok(answer) = timeout_at(deadline, greeting).await else {
            self.forget_if_silent(address, expect, conversation, (&established, heard)).await;
            return Err(TransportError::Deadline { address, waited: within });
        };
        Ok((stream, answer?))
    }

    /// One call of the joining conversation, to a node that proves to have the CA of `digest`;
    /// this node shows no certificate. The connection is closed afterwards.
    pub async fn join_call(
        &self,
        address: SocketAddr,
        digest: CaDigest,
        request: impl Into<Bytes>,
        within: Duration,
    ) -> Result<Bytes, TransportError> {
        let deadline = Instant::now() + within;
        let trust = DialTrust::Pinned(digest);
        let quic = &self.inner.quic;
        let established = dial(quic, address, Expect::Manager, &JOIN, &trust, deadline).await?;
        let mut stream = self.stream_on(&established, address, &JOIN, deadline).await?;
        let reply = timeout_at(deadline, exchange(&mut stream, request.into(), address)).await;
        established.connection.close(quinn::VarInt::from_u32(0), b"");
        reply.unwrap_or(Err(TransportError::Deadline { address, waited: within }))
    }

    /// Closes all connections and the socket.
    pub async fn close(&self) {
        self.inner.closing.cancel();
        self.inner.quic.close(Refusal::ShuttingDown.code(), b"");
        if timeout(CLOSE_TIMEOUT, self.inner.quic.wait_idle()).await.is_err() {
            debug!("peers did not acknowledge the end of their connections");
        }
    }

    async fn open_by(
        &self,
        address: SocketAddr,
        expect: Expect,
        conversation: &'static Conversation,
        deadline: Instant,
    ) -> Result<(Established, Stream), TransportError> {
        let current = self.inner.current.borrow().clone();
        let identity = current.identity.ok_or(TransportError::NoIdentity)?;
        let quic = &self.inner.quic;
        let established = self
            .inner
            .pool
            .get(address, expect, conversation, current.number, deadline, async || {
                let trust = DialTrust::Cluster(&identity);
                dial(quic, address, expect, conversation, &trust, deadline).await
            })
            .await?;
        if self.inner.standing.borrow().removed.contains(&established.peer.node) {
            established.connection.close(Refusal::Removed.code(), b"");
            return Err(TransportError::Refused { address, refusal: Refusal::Removed });
        }
        let stream = self.stream_on(&established, address, conversation, deadline).await?;
        Ok((established, stream))
    }

    /// Forgets a kept connection on which nothing came since `heard` datagrams.
    async fn forget_if_silent(
        &self,
        address: SocketAddr,
        expect: Expect,
        conversation: &'static Conversation,
        (established, heard): (&Established, u64),
    ) {
        if established.connection.stats().udp_rx.datagrams == heard {
            self.inner.pool.forget(address, expect, conversation, established).await;
        }
    }

    /// Opens a stream on a connection; waits while the peer allows no further one.
    async fn stream_on(
        &self,
        established: &Established,
        address: SocketAddr,
        conversation: &'static Conversation,
        deadline: Instant,
    ) -> Result<Stream, TransportError> {
        let halves = match timeout_at(deadline, established.connection.open_bi()).await {
            Ok(Ok(halves)) => halves,
            Ok(Err(error)) => return Err(super::error::from_connection(address, &error)),
            Err(_) => {
                return Err(TransportError::Refused { address, refusal: Refusal::Busy });
            }
        };
        let in_use = Some(Arc::clone(&established.in_use));
        let mut stream = Stream::new(conversation, address, halves, in_use);
        stream.announce().await?;
        Ok(stream)
    }
}

/// One request and its reply.
async fn exchange(stream: &mut Stream, request: Bytes, address: SocketAddr) -> Result<Bytes, TransportError> {
    stream.send(request).await?;
    stream.finish();
    stream.receive().await?.ok_or(TransportError::EndedEarly { address })
}

/// The serving side of a call.
async fn answer_one<F, Fut>(peer: Peer, mut stream: Stream, conversation: &'static Conversation, answer: &F)
where
    F: Fn(Peer, Bytes) -> Fut,
    Fut: Future<Output = Option<Bytes>>,
{
    let request = match timeout(REQUEST_TIMEOUT, stream.receive()).await {
        Ok(Ok(Some(request))) => request,
        Ok(Ok(None)) | Err(_) => return,
        Ok(Err(error)) => {
            debug!(conversation = conversation.alpn, %error, "a request did not arrive");
            return;
        }
    };
    let Some(reply) = answer(peer, request).await else { return };
    match stream.send(reply).await {
        Ok(()) => stream.finish(),
        Err(error) => debug!(conversation = conversation.alpn, %error, "a reply was not delivered"),
    }
}

async fn sweep(inner: std::sync::Weak<Inner>, closing: CancellationToken) {
    let mut ticks = interval(SWEEP_PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while closing.run_until_cancelled(ticks.tick()).await.is_some() {
        match inner.upgrade() {
            Some(inner) => inner.pool.sweep(),
            None => return,
        }
    }
}
