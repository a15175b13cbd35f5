//! The UDP socket of a shard: many datagrams per system call, large buffers.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// Datagrams per system call.
pub(crate) const BATCH: usize = 32;
/// Bytes of the largest datagram taken: an MTU of 9000 and room for headers.
pub(crate) const DATAGRAM_BYTES_MAX: usize = 9216;
/// Bytes of each socket buffer. With the kernel's default of 208 KiB a burst of one TCP flow already
/// loses tens of thousands of packets a second; more than this gains nothing.
const SOCKET_BUFFER_BYTES: libc::c_int = 4 << 20;
/// Bytes of datagrams that wait for one system call.
const ARENA_BYTES: usize = BATCH * DATAGRAM_BYTES_MAX;

/// Binds `listen` with large buffers; must run in the namespace it is for.
pub(crate) fn bind(listen: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(listen)?;
    for (forced, plain) in [(libc::SO_RCVBUFFORCE, libc::SO_RCVBUF), (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF)] {
        // The forced form passes the host's limit and needs CAP_NET_ADMIN in the first user namespace.
        set_buffer(&socket, forced).or_else(|_| set_buffer(&socket, plain))?;
    }
    Ok(socket)
}

fn set_buffer(socket: &UdpSocket, option: libc::c_int) -> io::Result<()> {
    let bytes = SOCKET_BUFFER_BYTES;
    // SAFETY: the option takes one int, whose address and size are given.
    let code = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            (&raw const bytes).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if code < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A socket address as the kernel wants it.
#[derive(Clone, Copy)]
#[repr(C)]
union RawAddr {
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

const NO_ADDR: RawAddr = RawAddr {
    v6: libc::sockaddr_in6 {
        sin6_family: 0,
        sin6_port: 0,
        sin6_flowinfo: 0,
        sin6_addr: libc::in6_addr { s6_addr: [0; 16] },
        sin6_scope_id: 0,
    },
};

fn to_raw(addr: SocketAddr, v6_socket: bool) -> (RawAddr, libc::socklen_t) {
    let v6 = match addr {
        SocketAddr::V4(a) if !v6_socket => {
            let v4 = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: a.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from(*a.ip()).to_be() },
                sin_zero: [0; 8],
            };
            return (RawAddr { v4 }, size_of::<libc::sockaddr_in>() as libc::socklen_t);
        }
        SocketAddr::V4(a) => SocketAddrV6::new(a.ip().to_ipv6_mapped(), a.port(), 0, 0),
        SocketAddr::V6(a) => a,
    };
    let v6 = libc::sockaddr_in6 {
        sin6_family: libc::AF_INET6 as libc::sa_family_t,
        sin6_port: v6.port().to_be(),
        sin6_flowinfo: 0,
        sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
        sin6_scope_id: v6.scope_id(),
    };
    (RawAddr { v6 }, size_of::<libc::sockaddr_in6>() as libc::socklen_t)
}

fn from_raw(raw: &RawAddr) -> Option<SocketAddr> {
    // SAFETY: the family is at the same place in both forms, and all bytes are initialised.
    let family = libc::c_int::from(unsafe { raw.v4.sin_family });
    match family {
        libc::AF_INET => {
            // SAFETY: the family says that the kernel wrote a sockaddr_in.
            let v4 = unsafe { raw.v4 };
            let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Some(SocketAddr::V4(SocketAddrV4::new(ip, u16::from_be(v4.sin_port))))
        }
        libc::AF_INET6 => {
            // SAFETY: the family says that the kernel wrote a sockaddr_in6.
            let v6 = unsafe { raw.v6 };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            let port = u16::from_be(v6.sin6_port);
            Some(match ip.to_canonical() {
                IpAddr::V4(ip) => SocketAddr::V4(SocketAddrV4::new(ip, port)),
                IpAddr::V6(ip) => SocketAddr::V6(SocketAddrV6::new(ip, port, 0, v6.sin6_scope_id)),
            })
        }
        _ => None,
    }
}

/// Sends and receives in batches.
pub(crate) struct Socket {
    socket: UdpSocket,
    v6: bool,
    arena: Vec<u8>,
    used: usize,
    queued: Vec<(usize, usize, SocketAddr)>,
    received: Vec<u8>,
}

impl Socket {
    pub fn new(socket: UdpSocket) -> io::Result<Self> {
        let v6 = socket.local_addr()?.is_ipv6();
        Ok(Self {
            socket,
            v6,
            arena: vec![0; ARENA_BYTES],
            used: 0,
            queued: Vec::with_capacity(BATCH),
            received: vec![0; BATCH * DATAGRAM_BYTES_MAX],
        })
    }

    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Room for one datagram of the largest size; `queue` takes it. Call `flush` first when `full`.
    pub fn space(&mut self) -> &mut [u8] {
        &mut self.arena[self.used..]
    }

    /// Whether another datagram of the largest size fits.
    pub fn full(&self) -> bool {
        self.queued.len() == BATCH || self.arena.len() - self.used < DATAGRAM_BYTES_MAX
    }

    /// Queues the first `bytes` of `space` for `to`.
    pub fn queue(&mut self, bytes: usize, to: SocketAddr) {
        self.queued.push((self.used, bytes, to));
        self.used += bytes;
    }

    /// Sends what is queued; waits while the socket's buffer is full. Returns how many datagrams the
    /// kernel refused.
    pub fn flush(&mut self) -> u64 {
        if self.queued.is_empty() {
            return 0;
        }
        let mut addrs = [NO_ADDR; BATCH];
        let mut parts = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; BATCH];
        // SAFETY: mmsghdr is plain data for which all zeroes are a valid value.
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { std::mem::zeroed() };
        for (i, (at, bytes, to)) in self.queued.iter().enumerate() {
            let (addr, length) = to_raw(*to, self.v6);
            addrs[i] = addr;
            parts[i] = libc::iovec { iov_base: self.arena[*at..at + bytes].as_mut_ptr().cast(), iov_len: *bytes };
            headers[i].msg_hdr.msg_name = (&raw mut addrs[i]).cast();
            headers[i].msg_hdr.msg_namelen = length;
            headers[i].msg_hdr.msg_iov = &raw mut parts[i];
            headers[i].msg_hdr.msg_iovlen = 1;
        }
        let count = self.queued.len();
        let (mut sent, mut refused) = (0, 0);
        while sent < count {
            // SAFETY: headers[sent..count] point into arrays and an arena that outlive the call.
            let n = unsafe {
                libc::sendmmsg(self.socket.as_raw_fd(), &raw mut headers[sent], (count - sent) as libc::c_uint, 0)
            };
            if n > 0 {
                sent += n as usize;
            } else if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
                // The first one left was refused (no route, too long): the others may pass.
                sent += 1;
                refused += 1;
            }
        }
        self.queued.clear();
        self.used = 0;
        refused
    }

    /// Takes what has arrived, up to one batch, without waiting: (bytes, sender) of each. The bytes are
    /// at `datagram(i)` until the next call. Datagrams too long or of no known family have 0 bytes.
    pub fn receive(&mut self, out: &mut Vec<(usize, SocketAddr)>) {
        out.clear();
        let mut addrs = [NO_ADDR; BATCH];
        let mut parts = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; BATCH];
        // SAFETY: mmsghdr is plain data for which all zeroes are a valid value.
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { std::mem::zeroed() };
        for (i, buffer) in self.received.chunks_exact_mut(DATAGRAM_BYTES_MAX).enumerate() {
            parts[i] = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: DATAGRAM_BYTES_MAX };
            headers[i].msg_hdr.msg_name = (&raw mut addrs[i]).cast();
            headers[i].msg_hdr.msg_namelen = size_of::<RawAddr>() as libc::socklen_t;
            headers[i].msg_hdr.msg_iov = &raw mut parts[i];
            headers[i].msg_hdr.msg_iovlen = 1;
        }
        // SAFETY: all headers point into arrays and a buffer that outlive the call.
        let n = unsafe {
            libc::recvmmsg(
                self.socket.as_raw_fd(),
                headers.as_mut_ptr(),
                BATCH as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        for i in 0..usize::try_from(n).unwrap_or(0) {
            let cut = headers[i].msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
            match from_raw(&addrs[i]) {
                Some(from) if !cut => out.push((headers[i].msg_len as usize, from)),
                _ => out.push((0, SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0)))),
            }
        }
    }

    /// The `i`th datagram of the last `receive`, `bytes` long.
    pub fn datagram(&self, i: usize, bytes: usize) -> &[u8] {
        &self.received[i * DATAGRAM_BYTES_MAX..][..bytes]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_arrives_whole_and_in_order() {
        let a = bind("127.0.0.1:0".parse().expect("address")).expect("bind");
        let b = bind("127.0.0.1:0".parse().expect("address")).expect("bind");
        let (from, to) = (a.local_addr().expect("address"), b.local_addr().expect("address"));
        let (mut a, mut b) = (Socket::new(a).expect("socket"), Socket::new(b).expect("socket"));
        for byte in 0..5u8 {
            let bytes = usize::from(byte) + 1;
            a.space()[..bytes].fill(byte);
            a.queue(bytes, to);
        }
        assert_eq!(a.flush(), 0);
        let mut got = Vec::new();
        // Loopback delivers before sendmmsg returns.
        b.receive(&mut got);
        assert_eq!(got.len(), 5);
        for (i, (bytes, sender)) in got.iter().enumerate() {
            assert_eq!((*bytes, *sender), (i + 1, from));
            assert_eq!(b.datagram(i, *bytes), vec![i as u8; i + 1]);
        }
    }

    #[test]
    fn a_refused_datagram_does_not_stop_the_others() {
        let a = bind("127.0.0.1:0".parse().expect("address")).expect("bind");
        let b = bind("127.0.0.1:0".parse().expect("address")).expect("bind");
        let to = b.local_addr().expect("address");
        let (mut a, mut b) = (Socket::new(a).expect("socket"), Socket::new(b).expect("socket"));
        // A socket bound to loopback may not send elsewhere.
        a.queue(1, "192.0.2.1:9".parse().expect("address"));
        a.queue(1, to);
        assert_eq!(a.flush(), 1);
        let mut got = Vec::new();
        b.receive(&mut got);
        assert_eq!(got.len(), 1);
    }
}
