//! Ports of the host that are ours: held by a socket each, so that a published port never takes
//! traffic away from another process, and no other process is given the port later.
//!
//! Packets never reach these sockets: the rules send them on before.

use crate::error::{FabricError, Result};
use crate::netns::Netns;
use crate::plan::{HostPort, Transport};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

/// Keeps a port by being open.
#[derive(Debug)]
enum Held {
    Tcp { _socket: TcpListener },
    Udp { _socket: UdpSocket },
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
            Transport::Tcp => TcpListener::bind(at).map(|s| Held::Tcp { _socket: s }),
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
