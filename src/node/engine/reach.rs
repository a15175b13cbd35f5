//! Probes over the network: HTTP and TCP, from within the network of the container, with nothing needed in its image.

use crate::agent::engine::Probed;
use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Bytes of headers that are read of an answer. Its body is not read.
const HEADERS_BYTES_MAX: usize = 64 << 10;

/// Where a container can be reached.
pub(super) struct Place {
    pub netns: PathBuf,
    /// Its own addresses.
    pub addrs: Vec<IpAddr>,
}

/// A port is open when something accepts a connection.
pub(super) async fn tcp(place: &Place, port: u16, limit: Duration) -> Probed {
    match timeout(limit, connect(place, port)).await {
        Ok(Ok(_)) => Probed { good: true, words: format!("connected to :{port}") },
        Ok(Err(error)) => Probed { good: false, words: format!("connect :{port}: {}", words_of(&error)) },
        Err(_) => Probed { good: false, words: format!("connect :{port}: no answer within {limit:?}") },
    }
}

/// GET. 200 to 399 is good (as Kubernetes' probes): a redirect is an answer, and is not followed.
pub(super) async fn http(place: &Place, port: u16, path: &str, host: &str, limit: Duration) -> Probed {
    let what = format!("GET :{port}{path}");
    match timeout(limit, get(place, port, path, host)).await {
        Ok(Ok(status)) => {
            let good = status.is_success() || status.is_redirection();
            Probed { good, words: format!("{what} answered {}", status.as_u16()) }
        }
        Ok(Err(words)) => Probed { good: false, words: format!("{what}: {words}") },
        Err(_) => Probed { good: false, words: format!("{what}: no answer within {limit:?}") },
    }
}

async fn get(place: &Place, port: u16, path: &str, host: &str) -> Result<StatusCode, String> {
    let stream = connect(place, port).await.map_err(|error| words_of(&error))?;
    let address = stream.peer_addr().map_err(|error| words_of(&error))?.to_string();
    let request = Request::get(path)
        .header(HOST, if host.is_empty() { address.as_str() } else { host })
        .header(USER_AGENT, concat!("swarm-probe/", env!("CARGO_PKG_VERSION")))
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let mut client = http1::Builder::new();
    client.max_buf_size(HEADERS_BYTES_MAX);
    let not_http = |error: hyper::Error| format!("no HTTP answer: {}", crate::error::chain(&error));
    let (mut sender, connection) = client.handshake(TokioIo::new(stream)).await.map_err(not_http)?;
    let answer = sender.send_request(request);
    tokio::pin!(answer);
    // The connection has to be driven while the answer is waited for; both end with this call.
    let answer = tokio::select! {
        biased;
        answer = &mut answer => answer,
        _ = connection => answer.await,
    };
    answer.map(|answer| answer.status()).map_err(not_http)
}

/// Where the program listens: at the container's own addresses, as its peers reach it, or at its loopback alone.
async fn connect(place: &Place, port: u16) -> io::Result<TcpStream> {
    let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    let mut failed = None;
    for addr in place.addrs.iter().copied().chain(loopback) {
        match overlay::connect(&place.netns, SocketAddr::new(addr, port)).await {
            Ok(stream) => return Ok(stream),
            // The first says how its peers would fare.
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    Err(failed.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into()))
}

/// `connection refused`, without the number of it.
fn words_of(error: &io::Error) -> String {
    let text = error.to_string();
    match error.raw_os_error() {
        Some(_) => text.split(" (os error").next().unwrap_or_default().to_lowercase(),
        None => text,
    }
}

#[cfg(test)]
#[path = "reach_tests.rs"]
mod tests;
