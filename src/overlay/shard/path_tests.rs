use super::*;
use crate::shard::socket;
use nix::sys::eventfd::EfdFlags;

const WAIT: Duration = Duration::from_secs(5);
/// More than are let through in a second without a cookie.
const FLOOD: u64 = HANDSHAKES_PER_SECOND + 100;

/// A shard with one peer, played by the test.
struct Stage {
    paths: Paths,
    at: SocketAddr,
    peer: Tunn,
    wire: UdpSocket,
}

fn wire() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
    socket.set_read_timeout(Some(WAIT)).expect("set");
    socket
}

fn heard(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = vec![0; 2048];
    let bytes = socket.recv(&mut buffer).expect("a datagram");
    buffer.truncate(bytes);
    buffer
}

impl Stage {
    fn new() -> Self {
        let wake = Arc::new(EventFd::from_value_and_flags(0, EfdFlags::EFD_NONBLOCK).expect("eventfd"));
        let ours = socket::bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("bound");
        let at = ours.local_addr().expect("address");
        let (key, peer_key) = ([1; 32], StaticSecret::from([2; 32]));
        let mut paths = Paths::new(ours, key, wake).expect("a shard");
        let wire = wire();
        let public = PublicKey::from(&StaticSecret::from(key));
        let peer_public = *PublicKey::from(&peer_key).as_bytes();
        let endpoint = wire.local_addr().expect("address");
        paths.command(Command::Peer { slot: 0, endpoint, key: peer_public });
        Self { paths, at, peer: Tunn::new(peer_key, public, None, None, 1, None), wire }
    }

    /// The peer's answer to the handshake that was begun.
    fn response(&mut self) -> Vec<u8> {
        let init = heard(&self.wire);
        let mut buffer = [0; 2048];
        match self.peer.decapsulate(None, &init, &mut buffer) {
            TunnResult::WriteToNetwork(answer) => answer.to_vec(),
            other => panic!("no response: {other:?}"),
        }
    }

    /// Lets the shard take what was sent to it.
    fn turns(&mut self) {
        let end = Instant::now() + Duration::from_millis(300);
        while Instant::now() < end {
            self.paths.turn().expect("epoll");
        }
    }

    fn endpoint(&self) -> SocketAddr {
        self.paths.counters().peers[0].endpoint
    }
}

#[test]
fn an_answer_that_is_proven_moves_the_endpoint_and_a_flood_of_replays_does_not() {
    let mut stage = Stage::new();
    let response = stage.response();
    // The peer has a new address.
    let moved = wire();
    moved.send_to(&response, stage.at).expect("sent");
    stage.turns();
    assert_eq!(stage.endpoint(), moved.local_addr().expect("address"));
    let thief = wire();
    for _ in 0..FLOOD {
        thief.send_to(&response, stage.at).expect("sent");
    }
    stage.turns();
    // It was asked for a cookie: the shard is under load, and has looked at what it sent.
    assert_eq!(heard(&thief).first(), Some(&COOKIE_REPLY));
    assert_eq!(stage.endpoint(), moved.local_addr().expect("address"));
}
