//! Everything that crosses the switch between the hosts, as it is on the wire (packet(7)).

use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, recv, setsockopt, socket, sockopt};
use nix::sys::time::{TimeVal, TimeValLike as _};

use super::{Cluster, http, within};

/// Ethernet header and the longest frame a veth hands on in one piece (TCP segmentation offload).
const FRAME_BYTES_MAX: usize = 1 << 17;
/// A second of traffic at full speed; the kernel drops what does not fit, which the test would notice.
const BUFFER_BYTES: usize = 32 << 20;
/// How often the capture looks whether it is to end.
const STOP_POLL_MS: i64 = 20;
const ETHERTYPE_IPV4: [u8; 2] = [8, 0];
/// IPPROTO_UDP.
const UDP: u8 = 17;

/// An IPv4 packet between two addresses.
pub struct Packet {
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    pub is_udp: bool,
    pub bytes: Vec<u8>,
}

impl Packet {
    fn of(frame: &[u8]) -> Option<Self> {
        if frame.get(12..14)? != ETHERTYPE_IPV4 {
            return None;
        }
        let bytes = frame.get(14..)?;
        let address =
            |at: usize| -> Option<Ipv4Addr> { Some(<[u8; 4]>::try_from(bytes.get(at..at + 4)?).ok()?.into()) };
        Some(Self {
            source: address(12)?,
            destination: address(16)?,
            is_udp: *bytes.get(9)? == UDP,
            bytes: bytes.to_vec(),
        })
    }

    pub fn contains(&self, text: &str) -> bool {
        http::find(&self.bytes, text.as_bytes()).is_some()
    }
}

/// A running capture.
pub struct Capture {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Packet>>,
}

impl Capture {
    /// Starts; everything sent after the return is seen.
    pub fn start(cluster: &Cluster) -> Self {
        let socket = within(&cluster.switch(), || {
            let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll);
            let socket = socket.expect("root may capture");
            setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::milliseconds(STOP_POLL_MS))
                .expect("a timeout is set");
            setsockopt(&socket, sockopt::RcvBufForce, &BUFFER_BYTES).expect("root may set a large buffer");
            socket
        });
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        Self { stop, thread: std::thread::spawn(move || collect(&socket, &seen)) }
    }

    /// Ends, once what was sent before has been read.
    pub fn stop(self) -> Vec<Packet> {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().expect("the capture did not panic")
    }
}

fn collect(socket: &OwnedFd, stop: &AtomicBool) -> Vec<Packet> {
    let mut packets = Vec::new();
    let mut frame = vec![0; FRAME_BYTES_MAX];
    loop {
        // Read before asking: what is queued when the end is asked for still counts.
        let ending = stop.load(Ordering::SeqCst);
        match recv(socket.as_raw_fd(), &mut frame, nix::sys::socket::MsgFlags::empty()) {
            Ok(length) => packets.extend(frame.get(..length).and_then(Packet::of)),
            Err(nix::Error::EAGAIN) if ending => return packets,
            Err(nix::Error::EAGAIN | nix::Error::EINTR) => {}
            Err(e) => panic!("capture: {e}"),
        }
    }
}
