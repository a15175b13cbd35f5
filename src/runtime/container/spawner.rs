//! The daemon's end of the spawner: started when first needed, and again when it has gone.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream as StdStream;
use std::process::Stdio;

use tokio::io::{AsyncReadExt, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::process::Command;
use tokio::sync::Mutex;

use crate::shim::protocol::encode;
use crate::shim::send;
use crate::shim::spawner::{COMMAND, Request};

/// Bytes of the shim's one line: an error with its causes.
const LINE_BYTES_MAX: u64 = 64 << 10;
/// Attempts to get a shim: the second is with a fresh spawner, a third would fail the same way.
const ATTEMPTS: u32 = 2;

#[derive(Debug)]
pub(super) struct Spawner {
    /// The command that makes a shim.
    command: Vec<OsString>,
    socket: Mutex<Option<UnixStream>>,
}

impl Spawner {
    pub(super) fn new(command: Vec<OsString>) -> Self {
        Self { command, socket: Mutex::new(None) }
    }

    /// Makes a shim and returns its one line; empty when it ended without one.
    pub(super) async fn spawn(&self, args: Vec<OsString>) -> io::Result<String> {
        let request = encode(&Request { args })?;
        for _ in 0..ATTEMPTS {
            let (read, write) = io::pipe()?;
            let mut ready = pipe::Receiver::from_owned_fd(read.into())?;
            {
                let mut socket = self.socket.lock().await;
                let stream = match socket.take() {
                    Some(stream) => stream,
                    None => self.start()?,
                };
                if hand_over(&stream, &request, write.into()).await.is_err() {
                    continue; // It has gone; the socket stays empty.
                }
                *socket = Some(stream);
            }
            let mut line = Vec::new();
            let mut byte = [0u8; 4096];
            while !line.contains(&b'\n') && (line.len() as u64) < LINE_BYTES_MAX {
                let count = ready.read(&mut byte).await?;
                if count == 0 {
                    break;
                }
                line.extend_from_slice(&byte[..count]);
            }
            if !line.is_empty() {
                return Ok(String::from_utf8_lossy(&line).into_owned());
            }
            // It ended before the fork, or the shim did; a fresh one tells which.
            self.socket.lock().await.take();
        }
        Ok(String::new())
    }

    fn start(&self) -> io::Result<UnixStream> {
        let (ours, theirs) = StdStream::pair()?;
        let (program, first) = self.command.split_first().ok_or_else(|| io::Error::other("no shim command is set"))?;
        let mut child = Command::new(program)
            .args(first)
            .arg(COMMAND)
            .env_clear()
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        // Somebody has to collect it when it ends.
        tokio::spawn(async move { child.wait().await });
        ours.set_nonblocking(true)?;
        UnixStream::from_std(ours)
    }
}

/// Sends the request, with the stream on its first byte.
async fn hand_over(stream: &UnixStream, request: &[u8], ready: OwnedFd) -> io::Result<()> {
    let mut sent = 0;
    while sent < request.len() {
        let fds = [ready.as_raw_fd()];
        let fds = if sent == 0 { &fds[..] } else { &[] };
        sent += stream.async_io(Interest::WRITABLE, || send(stream.as_raw_fd(), &request[sent..], fds)).await?;
    }
    Ok(())
}
