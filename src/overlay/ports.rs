//! Ports of the host that are ours: held by a socket each, so that a published port never takes
//! traffic away from another process, and no other process is given the port later.
//!
//! Packets never reach these sockets once the rules are there, which send them on before. Until then
//! (and should the rules be lost) a TCP client is refused: the sockets are bound but do not listen.

use crate::error::{FabricError, Result};
use crate::netns::Netns;
use crate::plan::{HostPort, Transport};
use nix::sys::socket::{Shutdown, setsockopt, shutdown, sockopt};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsRawFd;

/// Keeps a port by being open.
#[derive(Debug)]
enum Held {
    Tcp { _socket: TcpListener },
    Udp { _socket: UdpSocket },
}

/// Binds `at` so that nobody else can, and listens no longer.
///
/// Listening once finds every other user of the port: two sockets that allow reuse may both be bound
/// (and after a restart of the daemon ours must allow it, because of connections that linger in
/// TIME-WAIT), but one that listens conflicts with all. A socket shut down for reading stops listening
/// and stays bound; without reuse it then conflicts with whoever wants to listen.
fn bind_tcp(at: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpListener::bind(at)?;
    shutdown(socket.as_raw_fd(), Shutdown::Read)?;
    setsockopt(&socket, sockopt::ReuseAddr, &false)?;
    Ok(socket)
}

/// All ports held.
#[derive(Debug, Default)]
pub(crate) struct Ports {
    held: BTreeMap<HostPort, Held>,
}

impl Ports {
    /// Holds `port`; held already is fine.
    ///
    /// # Errors
    /// `PortInUse`; `Socket` for an address this host does not have.
    pub fn hold(&mut self, host: &Netns, port: HostPort) -> Result<()> {
        if self.held.contains_key(&port) {
            return Ok(());
        }
        let (addr, transport, number) = port;
        let at = SocketAddr::from((addr.unwrap_or(Ipv4Addr::UNSPECIFIED), number));
        let bound = host.enter(|| match transport {
            Transport::Tcp => bind_tcp(at).map(|s| Held::Tcp { _socket: s }),
            Transport::Udp => UdpSocket::bind(at).map(|s| Held::Udp { _socket: s }),
        })?;
        let held = bound.map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => FabricError::PortInUse {
                port: number,
                protocol: transport.as_str(),
                addr: IpAddr::V4(addr.unwrap_or(Ipv4Addr::UNSPECIFIED)),
                source,
            },
            _ => FabricError::Socket { what: format!("hold the port {at}/{}", transport.as_str()), source },
        })?;
        self.held.insert(port, held);
        Ok(())
    }

    /// Lets go of every port that `keep` does not name.
    pub fn retain(&mut self, keep: impl Fn(&HostPort) -> bool) {
        self.held.retain(|port, _| keep(port));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    #[test]
    fn a_held_port_is_nobody_elses_and_refuses_clients() {
        let mut ours = Ports::default();
        let free = TcpListener::bind("127.0.0.1:0").expect("bind").local_addr().expect("address").port();
        for transport in [Transport::Tcp, Transport::Udp] {
            let port = (Some(Ipv4Addr::LOCALHOST), transport, free);
            ours.hold(&Netns::Own, port).expect("held");
            ours.hold(&Netns::Own, port).expect("held already");
            let theirs = Ports::default().hold(&Netns::Own, port);
            assert!(matches!(theirs, Err(FabricError::PortInUse { .. })), "{theirs:?}");
        }
        assert_eq!(TcpListener::bind(("127.0.0.1", free)).expect_err("taken").kind(), io::ErrorKind::AddrInUse);
        assert_eq!(
            TcpStream::connect(("127.0.0.1", free)).expect_err("refused").kind(),
            io::ErrorKind::ConnectionRefused
        );
        ours.retain(|_| false);
        TcpListener::bind(("127.0.0.1", free)).expect("free again");
    }

    #[test]
    fn a_port_somebody_listens_on_is_in_use() {
        let theirs = TcpListener::bind("127.0.0.1:0").expect("bind");
        let port = theirs.local_addr().expect("address").port();
        for addr in [None, Some(Ipv4Addr::LOCALHOST)] {
            let held = Ports::default().hold(&Netns::Own, (addr, Transport::Tcp, port));
            assert!(matches!(held, Err(FabricError::PortInUse { .. })), "{held:?}");
        }
    }
}
