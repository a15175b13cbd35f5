//! The task that owns the membership and its socket.

use std::io;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use swarm_core::NodeId;
use swarm_core::membership::{Effects, Input, MemberInfo, MemberInfoError, Membership, Notice, PACKET_BYTES_MAX};
use swarm_core::model::GossipKey;
use tokio::net::UdpSocket;
use tokio::sync::{broadcast, mpsc, watch};
use tracing::{debug, info, warn};

use super::handle::{Command, GossipHandle, Meters, Snapshot};
use super::keyring::{KeyRing, KeyRingError, SEAL_BYTES};
use crate::clock::Clock;

/// UDP port of gossip unless another is given.
pub const GOSSIP_PORT: u16 = 7946;
/// Commands waiting for the task: they are few and quickly done.
const COMMANDS_MAX: usize = 64;
/// Notices kept for slow receivers: a cluster of a thousand that changes at once.
const NOTICES_MAX: usize = 1024;
/// Packets taken in before timers get their turn.
const PACKETS_PER_TURN: usize = 64;
/// Pause after the socket reports an error, so that a broken one does not take a whole core.
const ERROR_PAUSE: Duration = Duration::from_millis(20);
/// Largest sealed packet.
const SEALED_BYTES_MAX: usize = PACKET_BYTES_MAX + SEAL_BYTES;

/// What the task needs to start.
#[derive(Debug, Clone)]
pub struct GossipConfig {
    /// Where to listen (UDP).
    pub bind: SocketAddr,
    /// This node.
    pub node: NodeId,
    /// Higher than in any earlier life: see [`super::next_generation`].
    pub generation: u64,
    /// What others are told. A gossip port of 0 becomes the port the socket got.
    pub info: MemberInfo,
    /// The cluster's key ring.
    pub keys: Vec<GossipKey>,
}

/// Why gossip does not start. Nothing was left open.
#[derive(Debug, thiserror::Error)]
pub enum GossipError {
    /// The socket could not be opened.
    #[error(
        "cannot listen on UDP {address} for gossip (is another daemon using the port, and is the address one of this host?)"
    )]
    Bind {
        /// Where.
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    /// This node's own information is unusable.
    #[error(transparent)]
    Info(#[from] MemberInfoError),
    /// The keys are unusable.
    #[error(transparent)]
    Keys(#[from] KeyRingError),
}

/// Opens the socket and starts the task. Needs a tokio runtime.
pub fn start(config: GossipConfig, clock: Clock) -> Result<GossipHandle, GossipError> {
    let GossipConfig { bind, node, generation, mut info, keys } = config;
    let keys = KeyRing::new(&keys)?;
    let failed = |source| GossipError::Bind { address: bind, source };
    let socket = std::net::UdpSocket::bind(bind).map_err(failed)?;
    socket.set_nonblocking(true).map_err(failed)?;
    let socket = UdpSocket::from_std(socket).map_err(failed)?;
    let local = socket.local_addr().map_err(failed)?;
    if info.gossip.port() == 0 {
        info.gossip.set_port(local.port());
    }
    let seed = rand::random();
    let membership = Membership::new(node, generation, info, seed, clock.mono())?;
    let (command_sender, commands) = mpsc::channel(COMMANDS_MAX);
    let (snapshot, snapshot_seen) = watch::channel(snapshot_of(&membership));
    let (notices, _) = broadcast::channel(NOTICES_MAX);
    let meters = Arc::new(Meters::default());
    let handle = GossipHandle {
        commands: command_sender,
        snapshot: snapshot_seen,
        notices: notices.clone(),
        meters: Arc::clone(&meters),
        local,
    };
    let told_revision = membership.revision();
    let task = Task { membership, socket, keys, clock, commands, snapshot, told_revision, notices, meters };
    tokio::spawn(task.run());
    Ok(handle)
}

struct Task {
    membership: Membership,
    socket: UdpSocket,
    keys: KeyRing,
    clock: Clock,
    commands: mpsc::Receiver<Command>,
    snapshot: watch::Sender<Snapshot>,
    /// Revision of the members in the snapshot.
    told_revision: u64,
    notices: broadcast::Sender<Notice>,
    meters: Arc<Meters>,
}

impl Task {
    async fn run(mut self) {
        // One byte more than allowed, so that a longer packet is recognised.
        let mut buffer = vec![0u8; SEALED_BYTES_MAX + 1];
        loop {
            let wake_at = self.membership.wake_at();
            // Packets first: they may answer what a timer would judge.
            let flow = tokio::select! {
                biased;
                readable = self.socket.readable() => match readable {
                    Ok(()) => {
                        self.take_packets(&mut buffer).await;
                        ControlFlow::Continue(())
                    }
                    Err(error) => {
                        warn!(%error, "the gossip socket failed");
                        tokio::time::sleep(ERROR_PAUSE).await;
                        ControlFlow::Continue(())
                    }
                },
                command = self.commands.recv() => match command {
                    Some(command) => self.command(command),
                    None => ControlFlow::Break(()),
                },
                () = self.clock.sleep_until(wake_at) => ControlFlow::Continue(()),
            };
            if flow.is_break() {
                return;
            }
            let now = self.clock.mono();
            if self.membership.wake_at().is_some_and(|due| due <= now) {
                self.input(Input::Tick);
            }
        }
    }

    /// Takes in what has arrived, up to a turn's worth.
    async fn take_packets(&mut self, buffer: &mut [u8]) {
        for _ in 0..PACKETS_PER_TURN {
            match self.socket.try_recv_from(buffer) {
                Ok((length, from)) => self.packet(from, &buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    debug!(%error, "receiving gossip failed");
                    tokio::time::sleep(ERROR_PAUSE).await;
                    return;
                }
            }
        }
    }

    fn packet(&mut self, from: SocketAddr, sealed: &[u8]) {
        let opened = if sealed.len() > SEALED_BYTES_MAX { None } else { self.keys.open(sealed) };
        let Some(data) = opened else {
            self.meters.not_opened.fetch_add(1, Ordering::Relaxed);
            return;
        };
        self.meters.received.fetch_add(1, Ordering::Relaxed);
        self.input(Input::Packet { from, data });
    }

    fn command(&mut self, command: Command) -> ControlFlow<()> {
        match command {
            Command::Join(seeds) => self.input(Input::Join { seeds }),
            Command::UpdateSelf(info) => self.input(Input::UpdateSelf(info)),
            Command::Hint { task, reachable } => self.input(Input::Hint { task, reachable }),
            Command::Forget(node) => self.input(Input::Forget(node)),
            Command::SetKeys(keys) => self.keys = keys,
            Command::Leave(done) => {
                self.input(Input::Leave);
                // Nobody waits any more if this fails.
                let _ = done.send(());
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }

    fn input(&mut self, input: Input) {
        let mut effects = Effects::default();
        self.membership.input(self.clock.mono(), self.clock.wall(), input, &mut effects);
        for (to, data) in effects.sends {
            self.send(to, &data);
        }
        self.meters.refused.store(self.membership.counters().packets_refused, Ordering::Relaxed);
        self.publish(effects.notices);
    }

    /// Sends or drops: gossip repeats itself, and a full buffer must not stop the task.
    fn send(&self, to: SocketAddr, data: &[u8]) {
        let Some(sealed) = self.keys.seal(data) else {
            self.meters.send_failed.fetch_add(1, Ordering::Relaxed);
            return;
        };
        match self.socket.try_send_to(&sealed, to) {
            Ok(_) => {
                self.meters.sent.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                self.meters.send_failed.fetch_add(1, Ordering::Relaxed);
                debug!(%to, %error, "gossip not sent");
            }
        }
    }

    /// The snapshot first, so that whoever hears a notice finds it in the members.
    fn publish(&mut self, notices: Vec<Notice>) {
        let same = {
            let told = self.snapshot.borrow();
            self.membership.revision() == self.told_revision
                && told.own == *self.membership.identity()
                && told.connected == self.membership.connected()
        };
        if !same {
            self.told_revision = self.membership.revision();
            self.snapshot.send_replace(snapshot_of(&self.membership));
        }
        for notice in notices {
            log(&notice);
            // Nobody listens if this fails.
            let _ = self.notices.send(notice);
        }
    }
}

fn snapshot_of(membership: &Membership) -> Snapshot {
    Snapshot {
        own: membership.identity().clone(),
        members: membership.members().clone(),
        connected: membership.connected(),
    }
}

fn log(notice: &Notice) {
    match notice {
        Notice::Up(node) => info!(%node, "node is up"),
        Notice::Suspected(node) => debug!(%node, "node is suspected"),
        Notice::Recovered(node) => debug!(%node, "node speaks again"),
        Notice::Down(node) => warn!(%node, "node is down"),
        Notice::Changed(node) => debug!(%node, "node changed"),
        Notice::Hint(hint) => {
            debug!(node = %hint.origin, task = %hint.task, reachable = hint.reachable, "endpoint hint")
        }
        Notice::Rejoined { generation } => {
            info!(generation, "this node was believed dead and rejoined");
        }
        Notice::Contested => {
            warn!("this node keeps being declared dead: does another host run with a copy of its data directory?");
        }
    }
}
