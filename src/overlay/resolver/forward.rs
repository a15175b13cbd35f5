//! Asks other name servers, from the host's namespace, and passes their answers on unchanged.

use super::{ResolverOptions, UDP_BYTES_MAX};
use crate::netns::Netns;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// How long one server may take. A client of the C library asks again after 5 s: two servers fit.
const SERVER_WAIT: Duration = Duration::from_secs(2);
/// Servers that are asked for one question (the C library's MAXNS).
const SERVERS_MAX: usize = 3;
const PORT: u16 = 53;
/// Response codes (RFC 1035, section 4.1.1) after which the next server is asked.
const SERVFAIL: u8 = 2;
const REFUSED: u8 = 5;

/// The servers of one container.
#[derive(Debug)]
pub(super) struct Upstreams {
    own: Vec<IpAddr>,
    host: Netns,
    host_resolv_conf: PathBuf,
}

/// The servers a resolv.conf(5) names.
fn servers(text: &str) -> Vec<IpAddr> {
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"))
        .filter_map(|rest| rest.trim().split('%').next()?.parse().ok())
        .collect()
}

/// Whether `answer` is one to the question, and what it says.
fn code(query: &[u8], answer: &[u8]) -> Option<u8> {
    let same = query.get(..2)? == answer.get(..2)? && answer.get(2)? & 0x80 != 0;
    same.then(|| answer.get(3).map(|b| b & 0x0f)).flatten()
}

impl Upstreams {
    pub fn new(options: &ResolverOptions) -> Self {
        Self {
            own: options.servers.clone(),
            host: options.host.clone(),
            host_resolv_conf: options.host_resolv_conf.clone(),
        }
    }

    /// Read anew for each question: the host may move to another network.
    fn list(&self) -> Vec<SocketAddr> {
        let found = if self.own.is_empty() {
            servers(&std::fs::read_to_string(&self.host_resolv_conf).unwrap_or_default())
        } else {
            self.own.clone()
        };
        found.into_iter().take(SERVERS_MAX).map(|ip| SocketAddr::new(ip, PORT)).collect()
    }

    /// The first useful answer over UDP, or the last useless one; `None` when nobody answers.
    pub async fn ask_udp(&self, query: &[u8]) -> Option<Vec<u8>> {
        let mut useless = None;
        for server in self.list() {
            match timeout(SERVER_WAIT, self.exchange_udp(server, query)).await {
                Ok(Ok((answer, SERVFAIL | REFUSED))) => useless = Some(answer),
                Ok(Ok((answer, _))) => return Some(answer),
                Ok(Err(_)) | Err(_) => {}
            }
        }
        useless
    }

    async fn exchange_udp(&self, server: SocketAddr, query: &[u8]) -> io::Result<(Vec<u8>, u8)> {
        let any = match server {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        // A socket for each question: its random port is what a forger must guess (RFC 5452).
        let open = || -> io::Result<_> {
            let socket = std::net::UdpSocket::bind((any, 0))?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        let socket = UdpSocket::from_std(self.host.enter(open).map_err(io::Error::other)??)?;
        socket.connect(server).await?;
        socket.send(query).await?;
        let mut answer = vec![0; UDP_BYTES_MAX];
        loop {
            let bytes = socket.recv(&mut answer).await?;
            if let Some(code) = code(query, &answer[..bytes]) {
                answer.truncate(bytes);
                return Ok((answer, code));
            }
        }
    }

    /// The same over TCP.
    pub async fn ask_tcp(&self, query: &[u8]) -> Option<Vec<u8>> {
        let mut useless = None;
        for server in self.list() {
            match timeout(SERVER_WAIT, self.exchange_tcp(server, query)).await {
                Ok(Ok((answer, SERVFAIL | REFUSED))) => useless = Some(answer),
                Ok(Ok((answer, _))) => return Some(answer),
                Ok(Err(_)) | Err(_) => {}
            }
        }
        useless
    }

    async fn exchange_tcp(&self, server: SocketAddr, query: &[u8]) -> io::Result<(Vec<u8>, u8)> {
        let make = || if server.is_ipv4() { tokio::net::TcpSocket::new_v4() } else { tokio::net::TcpSocket::new_v6() };
        let socket = self.host.enter(make).map_err(io::Error::other)??;
        let mut stream: TcpStream = socket.connect(server).await?;
        let length = u16::try_from(query.len()).map_err(io::Error::other)?;
        let mut framed = length.to_be_bytes().to_vec();
        framed.extend(query);
        stream.write_all(&framed).await?;
        let length = stream.read_u16().await?;
        let mut answer = vec![0; usize::from(length)];
        stream.read_exact(&mut answer).await?;
        let code = code(query, &answer).ok_or(io::ErrorKind::InvalidData)?;
        Ok((answer, code))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read_from_resolv_conf() {
        let text = "# x\nnameserver 192.0.2.1\n nameserver\tfe80::1%eth0\nnameserver nonsense\nsearch a\n";
        assert_eq!(servers(text), ["192.0.2.1".parse::<IpAddr>().expect("v4"), "fe80::1".parse().expect("v6")]);
    }

    #[test]
    fn only_an_answer_with_the_questions_id_counts() {
        let query = [1, 2, 1, 0];
        assert_eq!(code(&query, &[1, 2, 0x81, 0x83]), Some(3));
        assert_eq!(code(&query, &[1, 3, 0x81, 0x80]), None);
        assert_eq!(code(&query, &[1, 2, 0x01, 0x00]), None);
        assert_eq!(code(&query, &[1]), None);
    }
}
