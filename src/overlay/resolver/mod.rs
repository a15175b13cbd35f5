//! The name server of one container: sockets inside its namespace, served by the daemon.
//!
//! It answers what it knows from the latest [`Zones`] and forwards the rest. Started by the manager;
//! dropping it ends it. Every question is bounded in size and time, and their number at once.

mod forward;
mod message;

use crate::error::{FabricError, Result};
use crate::names::CONTAINER_TABLE;
use crate::netns::Netns;
use crate::{nft, rules};
use forward::Upstreams;
use message::{Reply, Request};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use swarm_core::NetworkId;
use swarm_core::dns::Zones;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

/// Where containers ask (the address Docker uses).
const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
/// Bytes of a question or answer over UDP (the size EDNS clients announce is 4096 at most in practice).
const UDP_BYTES_MAX: usize = 4096;
/// Questions of one container that may wait for other servers at once; more are dropped and asked
/// again by the client. A busy web crawler has some dozens.
const WAITING_MAX: usize = 256;
/// Connections of one container at once.
const CONNECTIONS_MAX: usize = 64;
/// A connection without a question for so long is closed (RFC 7766, section 6.2.3 asks for seconds).
const CONNECTION_IDLE: Duration = Duration::from_secs(10);

/// Whom a container's questions go to.
#[derive(Clone, Debug)]
pub(crate) struct ResolverOptions {
    /// In the order in which they are looked through.
    pub networks: Vec<NetworkId>,
    /// Servers of the task's own; empty: the host's.
    pub servers: Vec<std::net::IpAddr>,
    /// False on internal networks: nothing is forwarded, unknown names do not exist.
    pub forwards: bool,
    pub host: Netns,
    pub host_resolv_conf: PathBuf,
}

struct Shared {
    options: ResolverOptions,
    upstreams: Upstreams,
    zones: watch::Receiver<Arc<Zones>>,
    rotation: AtomicUsize,
    waiting: Arc<Semaphore>,
}

/// A running resolver.
#[derive(Debug)]
pub(crate) struct Resolver {
    tasks: [JoinHandle<()>; 2],
}

impl Drop for Resolver {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Resolver {
    /// Opens the sockets in `place`, whose loopback is up, and serves them on `runtime`.
    pub fn start(
        place: &Netns,
        runtime: &tokio::runtime::Handle,
        options: ResolverOptions,
        zones: watch::Receiver<Arc<Zones>>,
    ) -> Result<Self> {
        let open = || -> io::Result<_> {
            let at = SocketAddr::from((ADDRESS, 0));
            let (udp, tcp) = (std::net::UdpSocket::bind(at)?, std::net::TcpListener::bind(at)?);
            udp.set_nonblocking(true)?;
            tcp.set_nonblocking(true)?;
            Ok((udp.local_addr()?.port(), tcp.local_addr()?.port(), udp, tcp))
        };
        let err = |source| FabricError::Socket { what: "open the resolver's sockets in a container".into(), source };
        let (udp_port, tcp_port, udp, tcp) = place.enter(open)?.map_err(err)?;
        nft::apply(place, "a container's resolver", &rules::resolver(CONTAINER_TABLE, udp_port, tcp_port))?;
        let shared = Arc::new(Shared {
            upstreams: Upstreams::new(&options),
            options,
            zones,
            rotation: AtomicUsize::new(0),
            waiting: Arc::new(Semaphore::new(WAITING_MAX)),
        });
        let guard = runtime.enter();
        let udp = UdpSocket::from_std(udp).map_err(err)?;
        let tcp = TcpListener::from_std(tcp).map_err(err)?;
        drop(guard);
        let tasks = [runtime.spawn(serve_udp(Arc::new(udp), shared.clone())), runtime.spawn(serve_tcp(tcp, shared))];
        Ok(Self { tasks })
    }
}

impl Shared {
    /// What is known at once; `None` when others must be asked.
    fn answer(&self, request: &Request) -> Option<Reply> {
        let zones = self.zones.borrow().clone();
        let rotation = self.rotation.fetch_add(1, Ordering::Relaxed);
        match request.answer(&zones, &self.options.networks, rotation) {
            Reply::Forward if !self.options.forwards => Some(Reply::NoName),
            Reply::Forward => None,
            known => Some(known),
        }
    }
}

async fn serve_udp(socket: Arc<UdpSocket>, shared: Arc<Shared>) {
    let mut buffer = [0u8; UDP_BYTES_MAX];
    loop {
        let (bytes, from) = match socket.recv_from(&mut buffer).await {
            Ok(got) => got,
            // An ICMP error for an answer sent before (the client has gone) shows here.
            Err(error) => {
                tracing::debug!(%error, "a resolver's socket");
                tokio::task::yield_now().await;
                continue;
            }
        };
        // Answers to our own address come back to us.
        if from.ip() == ADDRESS {
            continue;
        }
        let query = &buffer[..bytes];
        let request = match Request::parse(query) {
            Ok(request) => request,
            Err(answer) if answer.is_empty() => continue,
            Err(answer) => {
                // A client that has gone misses nothing.
                let _ = socket.send_to(&answer, from).await;
                continue;
            }
        };
        if let Some(reply) = shared.answer(&request) {
            let _ = socket.send_to(&request.encode(&reply, request.udp_bytes()), from).await;
            continue;
        }
        let Ok(permit) = shared.waiting.clone().try_acquire_owned() else { continue };
        let (query, socket, shared) = (query.to_vec(), socket.clone(), shared.clone());
        tokio::spawn(async move {
            let answer = match shared.upstreams.ask_udp(&query).await {
                Some(answer) => answer,
                None => request.encode(&Reply::Failed, request.udp_bytes()),
            };
            let _ = socket.send_to(&answer, from).await;
            drop(permit);
        });
    }
}

async fn serve_tcp(listener: TcpListener, shared: Arc<Shared>) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = connections.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let shared = shared.clone();
                tokio::spawn(async move {
                    // How a client's connection ends is the client's business.
                    let _ = serve_connection(stream, &shared).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "a resolver's listener");
                tokio::task::yield_now().await;
            }
        }
    }
}

/// Questions of a connection, one after the other (RFC 1035, section 4.2.2: two bytes of length first).
async fn serve_connection(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    loop {
        let length = tokio::time::timeout(CONNECTION_IDLE, stream.read_u16()).await??;
        let mut query = vec![0; usize::from(length)];
        tokio::time::timeout(CONNECTION_IDLE, stream.read_exact(&mut query)).await??;
        let answer = match Request::parse(&query) {
            Err(answer) if answer.is_empty() => return Ok(()),
            Err(answer) => answer,
            Ok(request) => match shared.answer(&request) {
                Some(reply) => request.encode(&reply, usize::from(u16::MAX)),
                None => match shared.upstreams.ask_tcp(&query).await {
                    Some(answer) => answer,
                    None => request.encode(&Reply::Failed, usize::from(u16::MAX)),
                },
            },
        };
        let mut framed = (answer.len() as u16).to_be_bytes().to_vec();
        framed.extend(answer);
        tokio::time::timeout(CONNECTION_IDLE, stream.write_all(&framed)).await??;
    }
}
