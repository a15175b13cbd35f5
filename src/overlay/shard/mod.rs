//! A shard: one plain thread that owns a UDP socket, a WireGuard session per peer and a tunnel
//! descriptor per network. It holds no lock and waits in one place (epoll).
//!
//! Called by the fabric's thread through [`ShardHandle`]: a bounded channel and an eventfd to wake it.
//! It must never do anything that can wait for another thread, a file or the network's other end.

mod flow;
mod packet;
mod path;
pub(crate) mod socket;

use crate::error::{FabricError, Result};
use crate::status::Drops;
use ipnet::Ipv4Net;
use nix::sys::eventfd::{EfdFlags, EventFd};
use path::Paths;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Commands that may wait; the sender waits when there are more. A whole state fits: one command per
/// changed peer or network.
const COMMANDS_MAX: usize = 1024;
/// How long a status may take: the shard answers between two batches of packets.
const STATUS_WAIT: Duration = Duration::from_secs(2);

/// What a shard is told.
pub(crate) enum Command {
    /// A new peer, or a new endpoint of a known one; another key makes a new session.
    Peer {
        slot: u32,
        endpoint: SocketAddr,
        key: [u8; 32],
    },
    RemovePeer {
        slot: u32,
    },
    Network {
        overlay_id: u32,
        tun: OwnedFd,
        subnet: Ipv4Net,
        ingress: bool,
    },
    RemoveNetwork {
        overlay_id: u32,
    },
    /// Addresses and the slots of the peers that own them; `None` removes.
    Routes {
        overlay_id: u32,
        changes: Vec<(Ipv4Addr, Option<u32>)>,
    },
    Status(SyncSender<Counters>),
    Stop,
}

/// Counters of one peer.
#[derive(Clone, Debug)]
pub(crate) struct PeerCounters {
    pub slot: u32,
    pub endpoint: SocketAddr,
    pub last_handshake: Option<Duration>,
    pub rx_bytes: u64,
    pub tx_bytes: u64,
    pub handshake_rtt_ms: Option<u32>,
    pub drops: Drops,
}

/// Counters of a shard.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counters {
    pub peers: Vec<PeerCounters>,
    /// Overlay id, packets received, packets sent.
    pub networks: Vec<(u32, u64, u64)>,
    pub drops: Drops,
}

/// The way to a running shard. Dropping it stops the thread.
pub(crate) struct ShardHandle {
    commands: SyncSender<Command>,
    wake: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
}

impl ShardHandle {
    /// Starts a shard on `socket`.
    pub fn start(socket: UdpSocket, private_key: [u8; 32]) -> Result<Self> {
        let failed = |source| FabricError::Socket { what: "start the overlay's data path".into(), source };
        let wake = EventFd::from_value_and_flags(0, EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)
            .map_err(|e| failed(io::Error::from(e)))?;
        let wake = Arc::new(wake);
        let (commands, inbox) = sync_channel(COMMANDS_MAX);
        let paths = Paths::new(socket, private_key, wake.clone()).map_err(failed)?;
        let thread =
            std::thread::Builder::new().name("overlay-0".into()).spawn(move || run(paths, &inbox)).map_err(failed)?;
        Ok(Self { commands, wake, thread: Some(thread) })
    }

    /// Hands over `command`.
    ///
    /// # Errors
    /// `Stopped` when the thread has ended.
    pub fn send(&self, command: Command) -> Result<()> {
        self.commands.send(command).map_err(|_| FabricError::Stopped)?;
        // The counter can only be full if the shard has 2^64-2 wakes pending: it is awake then.
        let _ = self.wake.write(1);
        Ok(())
    }

    /// The counters now.
    pub fn counters(&self) -> Result<Counters> {
        let (answer, counters) = sync_channel(1);
        self.send(Command::Status(answer))?;
        counters.recv_timeout(STATUS_WAIT).map_err(|_| FabricError::Stopped)
    }
}

impl Drop for ShardHandle {
    fn drop(&mut self) {
        let _ = self.send(Command::Stop);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the overlay's data path panicked");
        }
    }
}

/// The thread. Ends on `Stop`, when the handle is gone, or when epoll itself fails.
fn run(mut paths: Paths, inbox: &Receiver<Command>) {
    loop {
        match paths.turn() {
            Ok(false) => continue,
            Ok(true) => {}
            Err(error) => {
                tracing::error!(%error, "the overlay's data path cannot wait for packets and stops");
                return;
            }
        }
        loop {
            use std::sync::mpsc::TryRecvError;
            match inbox.try_recv() {
                Ok(Command::Stop) | Err(TryRecvError::Disconnected) => return,
                Ok(command) => paths.command(command),
                Err(TryRecvError::Empty) => break,
            }
        }
    }
}
