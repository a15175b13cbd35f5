//! One connection to one shim.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::shim::protocol::{Request, Response, SOCKET, decode, encode};
use crate::shim::{receive, send};

/// Longest wait for an answer that should come at once, in milliseconds. A shim answers within one; starting a
/// program on a starved host takes hundreds.
const ANSWER_MS_MAX: u64 = 30_000;

pub(super) struct Link {
    stream: UnixStream,
    buffer: Vec<u8>,
    fds: Vec<OwnedFd>,
}

impl Link {
    /// The socket of the container with this run directory.
    pub(super) async fn connect(run_dir: &Path) -> io::Result<Self> {
        // An address has at most 108 bytes (unix(7)); through a descriptor every path is short.
        let directory = std::fs::File::open(run_dir)?;
        let address = format!("/proc/self/fd/{}/{SOCKET}", directory.as_raw_fd());
        let connecting = UnixStream::connect(address);
        let stream = timeout(Duration::from_millis(ANSWER_MS_MAX), connecting).await.map_err(late)??;
        Ok(Self { stream, buffer: Vec::new(), fds: Vec::new() })
    }

    /// One request, one answer, in bounded time.
    pub(super) async fn ask(&mut self, request: &Request) -> io::Result<Response> {
        timeout(Duration::from_millis(ANSWER_MS_MAX), self.converse(request)).await.map_err(late)?
    }

    /// One request, one answer, whenever it comes.
    pub(super) async fn converse(&mut self, request: &Request) -> io::Result<Response> {
        match self.send(request, &[]).await {
            Ok(()) => self.answer().await,
            // Refused before it was heard: the reason may have come already.
            Err(error) => self.answer().await.map_err(|_| error),
        }
    }

    /// Sends a request, with descriptors.
    pub(super) async fn send(&self, request: &Request, fds: &[i32]) -> io::Result<()> {
        let bytes = encode(request)?;
        let mut sent = 0;
        while sent < bytes.len() {
            let fds = if sent == 0 { fds } else { &[] };
            let rest = &bytes[sent..];
            sent += self.stream.async_io(Interest::WRITABLE, || send(self.stream.as_raw_fd(), rest, fds)).await?;
        }
        Ok(())
    }

    /// The next answer, in bounded time.
    pub(super) async fn answer_soon(&mut self) -> io::Result<Response> {
        timeout(Duration::from_millis(ANSWER_MS_MAX), self.answer()).await.map_err(late)?
    }

    /// The next answer, whenever it comes.
    pub(super) async fn answer(&mut self) -> io::Result<Response> {
        loop {
            let found = decode(&self.buffer).map_err(io::Error::other)?;
            if let Some((body, length)) = found {
                let response = serde_json::from_slice(body)?;
                self.buffer.drain(..length);
                return Ok(response);
            }
            let mut piece = [0u8; 4096];
            let (count, fds) =
                self.stream.async_io(Interest::READABLE, || receive(self.stream.as_raw_fd(), &mut piece)).await?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.buffer.extend_from_slice(&piece[..count]);
            self.fds.extend(fds);
        }
    }

    /// A descriptor that came with an answer.
    pub(super) fn take_fd(&mut self) -> Option<OwnedFd> {
        self.fds.pop()
    }

    /// The connection itself, and what has been read of it already.
    pub(super) fn into_parts(self) -> (UnixStream, Vec<u8>) {
        (self.stream, self.buffer)
    }
}

fn late(_: tokio::time::error::Elapsed) -> io::Error {
    io::ErrorKind::TimedOut.into()
}
