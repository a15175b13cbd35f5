//! The data path itself: packets from tunnels to peers and back, and WireGuard's timers.

use super::flow::Flows;
use super::packet::{self, HEADER_BYTES, Inner};
use super::socket::{BATCH, DATAGRAM_BYTES_MAX, Socket};
use super::{Command, Counters, PeerCounters};
use crate::status::Drops;
use boringtun::noise::errors::WireGuardError;
use boringtun::noise::handshake::parse_handshake_anon;
use boringtun::noise::rate_limiter::RateLimiter;
use boringtun::noise::{Packet, Tunn, TunnResult};
use ipnet::Ipv4Net;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::EventFd;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};
use x25519_dalek::{PublicKey, StaticSecret};

/// Between two looks at WireGuard's timers, which count in seconds (WireGuard paper, section 6).
const TICK: Duration = Duration::from_millis(250);
/// Ticks between two resets of the rate limiter, which counts per second.
const TICKS_PER_SECOND: u32 = 4;
/// Handshakes a second before cookies are asked for. Each is checked twice here; at 1000 nodes that
/// all come back at once this still admits them within seconds.
const HANDSHAKES_PER_SECOND: u64 = 400;
/// Seconds of silence after which a session says that it lives: keeps sessions and the state of
/// firewalls between hosts (WireGuard's customary value).
const KEEPALIVE_SECONDS: u16 = 25;
/// Packets read from one tunnel, or batches from the socket, before the others get their turn.
const TUN_READS_PER_TURN: usize = 64;
const RECEIVES_PER_TURN: usize = 4;
/// Replies of unknown flows that are sent to every peer, per tick: enough to wake each stalled
/// connection after a restart, too few for a flood to be multiplied.
const SEARCHES_PER_TICK: u32 = 256;
/// Events taken from one wait.
const EVENTS: usize = 64;
/// Bytes WireGuard and our header add to a packet.
const OVERHEAD_BYTES: usize = 32 + HEADER_BYTES;

/// The type of the message that asks for, or brings, a cookie (WireGuard paper, section 5.4.7).
const COOKIE_REPLY: u8 = 3;

const TOKEN_SOCKET: u64 = u64::MAX;
const TOKEN_WAKE: u64 = u64::MAX - 1;

struct Peer {
    tunn: Tunn,
    key: [u8; 32],
    endpoint: SocketAddr,
    drops: Drops,
}

struct Network {
    tun: File,
    subnet: Ipv4Net,
    ingress: bool,
    /// Remote addresses and the slots of their peers.
    routes: HashMap<Ipv4Addr, u32>,
    flows: Flows,
    rx_packets: u64,
    tx_packets: u64,
}

/// All state of a shard.
pub(super) struct Paths {
    epoll: Epoll,
    wake: Arc<EventFd>,
    socket: Socket,
    private: StaticSecret,
    public: PublicKey,
    limiter: Arc<RateLimiter>,
    peers: Vec<Option<Peer>>,
    by_key: HashMap<[u8; 32], u32>,
    networks: HashMap<u32, Network>,
    drops: Drops,
    next_tick: Instant,
    ticks: u32,
    searches: u32,
    /// One packet on its way out, our header in front.
    outgoing: Vec<u8>,
    /// One packet on its way in.
    incoming: Vec<u8>,
    received: Vec<(usize, SocketAddr)>,
}

impl Paths {
    pub fn new(socket: UdpSocket, private_key: [u8; 32], wake: Arc<EventFd>) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let private = StaticSecret::from(private_key);
        let public = PublicKey::from(&private);
        let socket = Socket::new(socket)?;
        epoll.add(socket.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, TOKEN_SOCKET))?;
        epoll.add(wake.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, TOKEN_WAKE))?;
        Ok(Self {
            epoll,
            wake,
            socket,
            limiter: Arc::new(RateLimiter::new(&public, HANDSHAKES_PER_SECOND)),
            private,
            public,
            peers: Vec::new(),
            by_key: HashMap::new(),
            networks: HashMap::new(),
            drops: Drops::default(),
            next_tick: Instant::now() + TICK,
            ticks: 0,
            searches: 0,
            outgoing: vec![0; DATAGRAM_BYTES_MAX],
            incoming: vec![0; DATAGRAM_BYTES_MAX],
            received: Vec::with_capacity(BATCH),
        })
    }

    /// Waits for packets or commands and handles the packets. True: there are commands.
    pub fn turn(&mut self) -> io::Result<bool> {
        let mut events = [EpollEvent::empty(); EVENTS];
        let wait = self.next_tick.saturating_duration_since(Instant::now());
        // Rounded up, so that the tick is due after the wait.
        let wait = EpollTimeout::from(wait.as_millis() as u16 + 1);
        let count = match self.epoll.wait(&mut events, wait) {
            Ok(count) => count,
            Err(nix::errno::Errno::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        let mut commands = false;
        for event in &events[..count] {
            match event.data() {
                TOKEN_SOCKET => self.socket_readable(),
                TOKEN_WAKE => {
                    // An empty counter is a spurious wake: there is nothing to lose.
                    let _ = self.wake.read();
                    commands = true;
                }
                overlay_id => self.tun_readable(overlay_id as u32),
            }
        }
        if Instant::now() >= self.next_tick {
            self.next_tick = Instant::now() + TICK;
            self.tick();
        }
        self.flush();
        Ok(commands)
    }

    fn flush(&mut self) {
        self.drops.not_sent += self.socket.flush();
    }

    /// Makes room for one more datagram.
    fn make_room(&mut self) {
        if self.socket.full() {
            self.flush();
        }
    }

    // From a tunnel to a peer.

    fn tun_readable(&mut self, overlay_id: u32) {
        for _ in 0..TUN_READS_PER_TURN {
            let Some(network) = self.networks.get_mut(&overlay_id) else { return };
            let bytes = match network.tun.read(&mut self.outgoing[HEADER_BYTES..]) {
                Ok(0) => return,
                Ok(bytes) => bytes,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                // Nothing left, or the device is down: epoll tells when there is more.
                Err(_) => return,
            };
            network.tx_packets += 1;
            if bytes + OVERHEAD_BYTES > DATAGRAM_BYTES_MAX {
                self.drops.malformed += 1;
                continue;
            }
            // What is not IPv4 (router solicitations of the kernel) is nobody's.
            let Some(inner) = Inner::parse(&self.outgoing[HEADER_BYTES..HEADER_BYTES + bytes]) else {
                self.drops.no_route += 1;
                continue;
            };
            let slot = match network.routes.get(&inner.dst) {
                Some(slot) => *slot,
                None if network.ingress && !network.subnet.contains(&inner.dst) => match network.flows.find(&inner) {
                    Some(slot) => slot,
                    None => {
                        self.search(overlay_id, bytes);
                        continue;
                    }
                },
                None => {
                    self.drops.no_route += 1;
                    continue;
                }
            };
            self.send(slot, overlay_id, bytes);
        }
    }

    /// A reply whose flow was forgotten (this daemon has been restarted, and the client waits for the
    /// server) goes to every peer. The one it came by knows the connection and passes it on; all
    /// others drop it. The client's next packet brings the memory back.
    fn search(&mut self, overlay_id: u32, bytes: usize) {
        if self.searches >= SEARCHES_PER_TICK {
            self.drops.no_flow += 1;
            return;
        }
        self.searches += 1;
        for slot in 0..self.peers.len() {
            if self.peers[slot].is_some() {
                self.send(slot as u32, overlay_id, bytes);
            }
        }
    }

    /// Sends the `bytes` in `outgoing` behind the header.
    fn send(&mut self, slot: u32, overlay_id: u32, bytes: usize) {
        self.make_room();
        let Some(Some(peer)) = self.peers.get_mut(slot as usize) else {
            self.drops.no_peer += 1;
            return;
        };
        if let Some(header) = self.outgoing.first_chunk_mut() {
            packet::write_header(header, overlay_id, bytes);
        }
        match peer.tunn.encapsulate(&self.outgoing[..HEADER_BYTES + bytes], self.socket.space()) {
            TunnResult::WriteToNetwork(datagram) => {
                let bytes = datagram.len();
                self.socket.queue(bytes, peer.endpoint);
            }
            // Without a session the packet waits inside, bounded, and a handshake is under way.
            TunnResult::Done => {}
            TunnResult::Err(_) | TunnResult::WriteToTunnelV4(..) | TunnResult::WriteToTunnelV6(..) => {
                peer.drops.not_sent += 1;
            }
        }
    }

    // From a peer to a tunnel.

    fn socket_readable(&mut self) {
        for _ in 0..RECEIVES_PER_TURN {
            let mut received = std::mem::take(&mut self.received);
            self.socket.receive(&mut received);
            for (i, (bytes, from)) in received.iter().enumerate() {
                self.datagram(i, *bytes, *from);
            }
            let more = received.len() == BATCH;
            self.received = received;
            if !more {
                return;
            }
        }
    }

    /// The slot of the peer a datagram is from, by what it claims; authentication comes after.
    fn sender(&mut self, i: usize, bytes: usize, from: SocketAddr) -> Option<u32> {
        let data = self.socket.datagram(i, bytes);
        let index = |at: usize| {
            let b = data.get(at..at + 4)?;
            Some(u32::from_le_bytes([b[0], b[1], b[2], b[3]]) >> 8)
        };
        // WireGuard paper, section 5.4: types 2, 3 and 4 name the receiver's index, which we chose.
        match data.first()? {
            1 => {
                let mut cookie = [0u8; 64];
                match self.limiter.verify_packet(Some(from.ip()), data, &mut cookie) {
                    Ok(Packet::HandshakeInit(init)) => {
                        let half = parse_handshake_anon(&self.private, &self.public, &init).ok()?;
                        self.by_key.get(&half.peer_static_public).copied()
                    }
                    Err(TunnResult::WriteToNetwork(cookie)) => {
                        let bytes = cookie.len();
                        let cookie = cookie.to_vec();
                        self.make_room();
                        self.socket.space()[..bytes].copy_from_slice(&cookie);
                        self.socket.queue(bytes, from);
                        None
                    }
                    Ok(_) | Err(_) => None,
                }
            }
            2 => index(8),
            3 | 4 => index(4),
            _ => None,
        }
    }

    fn datagram(&mut self, i: usize, bytes: usize, from: SocketAddr) {
        let Some(slot) = self.sender(i, bytes, from) else {
            self.drops.malformed += 1;
            return;
        };
        // Only what the peer alone can have sent moves its endpoint. Cookies prove nothing, neither one
        // that came nor one that is asked for.
        let cookie_came = self.socket.datagram(i, bytes).first() == Some(&COOKIE_REPLY);
        let mut first = true;
        loop {
            self.make_room();
            let Some(Some(peer)) = self.peers.get_mut(slot as usize) else {
                self.drops.undecryptable += 1;
                return;
            };
            let data = if first { self.socket.datagram(i, bytes) } else { &[] };
            first = false;
            match peer.tunn.decapsulate(Some(from.ip()), data, &mut self.incoming) {
                TunnResult::Done => {
                    if !cookie_came {
                        peer.endpoint = from;
                    }
                    return;
                }
                TunnResult::WriteToNetwork(answer) => {
                    let bytes = answer.len();
                    let cookie_asked = answer.first() == Some(&COOKIE_REPLY);
                    self.socket.space()[..bytes].copy_from_slice(answer);
                    self.socket.queue(bytes, from);
                    if cookie_asked {
                        return;
                    }
                    peer.endpoint = from;
                }
                TunnResult::WriteToTunnelV4(packet, _) => {
                    peer.endpoint = from;
                    let bytes = packet.len();
                    self.deliver(slot, bytes);
                    return;
                }
                TunnResult::WriteToTunnelV6(..) => {
                    peer.drops.malformed += 1;
                    return;
                }
                TunnResult::Err(_) => {
                    peer.drops.undecryptable += 1;
                    return;
                }
            }
        }
    }

    /// Checks the packet in `incoming` from the peer in `slot` and writes it to its network.
    fn deliver(&mut self, slot: u32, bytes: usize) {
        let Some(Some(peer)) = self.peers.get_mut(slot as usize) else { return };
        let Some((overlay_id, inner)) = packet::split(&self.incoming[..bytes]) else {
            peer.drops.malformed += 1;
            return;
        };
        let Some(network) = self.networks.get_mut(&overlay_id) else {
            peer.drops.unknown_network += 1;
            return;
        };
        let Some(parsed) = Inner::parse(inner) else {
            peer.drops.malformed += 1;
            return;
        };
        match network.routes.get(&parsed.src) {
            Some(owner) if *owner == slot => {}
            // A client's packet that came in at the peer's published port.
            None if network.ingress && !network.subnet.contains(&parsed.src) => network.flows.learn(&parsed, slot),
            Some(_) | None => {
                peer.drops.spoofed += 1;
                return;
            }
        }
        network.rx_packets += 1;
        if network.tun.write(inner).is_err() {
            peer.drops.not_delivered += 1;
        }
    }

    // Timers and commands.

    fn tick(&mut self) {
        self.ticks += 1;
        self.searches = 0;
        if self.ticks.is_multiple_of(TICKS_PER_SECOND) {
            self.limiter.reset_count();
        }
        for slot in 0..self.peers.len() {
            self.make_room();
            let Some(Some(peer)) = self.peers.get_mut(slot) else { continue };
            let mut result = peer.tunn.update_timers(self.socket.space());
            // A peer silent for 90 s gives up for ever unless asked again.
            if matches!(result, TunnResult::Err(WireGuardError::ConnectionExpired)) {
                result = peer.tunn.format_handshake_initiation(self.socket.space(), false);
            }
            if let TunnResult::WriteToNetwork(datagram) = result {
                let bytes = datagram.len();
                self.socket.queue(bytes, peer.endpoint);
            }
        }
    }

    pub fn command(&mut self, command: Command) {
        match command {
            Command::Peer { slot, endpoint, key } => self.put_peer(slot, endpoint, key),
            Command::RemovePeer { slot } => self.remove_peer(slot),
            Command::Network { overlay_id, tun, subnet, ingress } => self.put_network(overlay_id, tun, subnet, ingress),
            // Closing the descriptor takes it out of epoll.
            Command::RemoveNetwork { overlay_id } => drop(self.networks.remove(&overlay_id)),
            Command::Routes { overlay_id, changes } => {
                let Some(network) = self.networks.get_mut(&overlay_id) else { return };
                for (addr, slot) in changes {
                    match slot {
                        Some(slot) => network.routes.insert(addr, slot),
                        None => network.routes.remove(&addr),
                    };
                }
            }
            // Nobody waits for it any more: nothing to do.
            Command::Status(answer) => drop(answer.try_send(self.counters())),
            Command::Stop => {}
        }
        self.flush();
    }

    fn put_peer(&mut self, slot: u32, endpoint: SocketAddr, key: [u8; 32]) {
        if let Some(Some(peer)) = self.peers.get_mut(slot as usize)
            && peer.key == key
        {
            peer.endpoint = endpoint;
            return;
        }
        self.remove_peer(slot);
        let mut tunn = Tunn::new(
            self.private.clone(),
            PublicKey::from(key),
            None,
            Some(KEEPALIVE_SECONDS),
            slot,
            Some(self.limiter.clone()),
        );
        self.make_room();
        // At once: the peer may hold a session of a daemon before this one, which nothing else ends.
        if let TunnResult::WriteToNetwork(datagram) = tunn.format_handshake_initiation(self.socket.space(), false) {
            let bytes = datagram.len();
            self.socket.queue(bytes, endpoint);
        }
        let at = slot as usize;
        if self.peers.len() <= at {
            self.peers.resize_with(at + 1, || None);
        }
        self.peers[at] = Some(Peer { tunn, key, endpoint, drops: Drops::default() });
        self.by_key.insert(key, slot);
    }

    fn remove_peer(&mut self, slot: u32) {
        if let Some(peer) = self.peers.get_mut(slot as usize).and_then(Option::take)
            && self.by_key.get(&peer.key) == Some(&slot)
        {
            self.by_key.remove(&peer.key);
        }
    }

    fn put_network(&mut self, overlay_id: u32, tun: std::os::fd::OwnedFd, subnet: Ipv4Net, ingress: bool) {
        let tun = File::from(tun);
        self.networks.remove(&overlay_id);
        if let Err(error) = self.epoll.add(tun.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, u64::from(overlay_id))) {
            tracing::error!(overlay_id, %error, "cannot wait for packets of a network");
            return;
        }
        let network =
            Network { tun, subnet, ingress, routes: HashMap::new(), flows: Flows::new(), rx_packets: 0, tx_packets: 0 };
        self.networks.insert(overlay_id, network);
    }

    fn counters(&self) -> Counters {
        let peer = |(slot, peer): (usize, &Option<Peer>)| {
            let peer = peer.as_ref()?;
            let (last_handshake, tx_bytes, rx_bytes, _, handshake_rtt_ms) = peer.tunn.stats();
            Some(PeerCounters {
                slot: slot as u32,
                endpoint: peer.endpoint,
                last_handshake,
                rx_bytes: rx_bytes as u64,
                tx_bytes: tx_bytes as u64,
                handshake_rtt_ms,
                drops: peer.drops,
            })
        };
        Counters {
            peers: self.peers.iter().enumerate().filter_map(peer).collect(),
            networks: self.networks.iter().map(|(id, n)| (*id, n.rx_packets, n.tx_packets)).collect(),
            drops: self.drops,
        }
    }
}

#[cfg(test)]
#[path = "path_tests.rs"]
mod tests;
