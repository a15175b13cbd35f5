//! Connections from within the network of a container: they reach what it listens at also when that is its loopback
//! alone, or when it has no network.

use crate::error::chain;
use crate::netns::Netns;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use tokio::net::{TcpSocket, TcpStream};

/// Connects to `addr` as a program in the namespace at `netns` would. Only the socket is made there: it belongs to the
/// namespace for good, wherever it is used.
///
/// # Errors
/// Those of connecting; `Other` when the namespace cannot be entered.
pub async fn connect(netns: &Path, addr: SocketAddr) -> io::Result<TcpStream> {
    let place = Netns::At(netns.to_path_buf());
    let socket = move || match addr {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    };
    let made = tokio::task::spawn_blocking(move || place.enter(socket)).await.map_err(io::Error::other)?;
    made.map_err(|error| io::Error::other(chain(&error)))??.connect(addr).await
}
