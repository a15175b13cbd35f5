//! One connection to the shim: bytes in, bytes and descriptors out, without ever blocking the loop.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use serde::Serialize;

use super::create::{receive, send};
use super::protocol::{FRAME_BYTES_MAX, encode};

/// Bytes waiting for a reader before the container's output is held back: Docker's pipe has 64 KiB.
pub(super) const OUTPUT_BYTES_HELD: usize = 64 << 10;
/// Longest time a client may hold the output back, in milliseconds, before it is cut off: a container must not
/// stand still because somebody suspended a terminal.
const STALL_MS_MAX: u128 = 10_000;

/// What a connection is for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Its request has not come yet.
    Asking,
    /// Waits for the program to run.
    Starting,
    /// Waits for the end of the container.
    Waiting,
    /// Waits for a process to run, then for its end, which comes with the client's when it is bound.
    Executing { pid: Option<i32>, bound: bool },
    /// Gets the output and may give input.
    Attached { stdin: bool, stdout: bool, stderr: bool, keep_input_open: bool },
    /// Is closed when its output has gone.
    Answered,
}

pub(super) struct Client {
    pub number: u64,
    pub role: Role,
    pub input: Vec<u8>,
    /// Descriptors that came with the request.
    pub fds: Vec<OwnedFd>,
    /// The peer closed its side; only an attached client may go on listening.
    pub input_over: bool,
    pub ended: bool,
    stream: UnixStream,
    output: Vec<u8>,
    /// A descriptor to send with the first byte of the output.
    attachment: Option<OwnedFd>,
    stalled: Option<Instant>,
}

impl Client {
    pub(super) fn new(stream: UnixStream, number: u64) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self {
            number,
            role: Role::Asking,
            input: Vec::new(),
            fds: Vec::new(),
            input_over: false,
            ended: false,
            stream,
            output: Vec::new(),
            attachment: None,
            stalled: None,
        })
    }

    pub(super) fn fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }

    pub(super) fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    /// Whether the container's output should wait for this client.
    pub(super) fn is_slow(&self) -> bool {
        self.output.len() >= OUTPUT_BYTES_HELD
    }

    pub(super) fn is_stalled(&self) -> bool {
        self.stalled.is_some_and(|since| since.elapsed().as_millis() > STALL_MS_MAX)
    }

    pub(super) fn is_finished(&self) -> bool {
        self.ended || (self.role == Role::Answered && !self.has_output())
    }

    pub(super) fn answer(&mut self, response: &impl Serialize) {
        match encode(response) {
            Ok(bytes) => self.output.extend(bytes),
            Err(_) => self.ended = true,
        }
    }

    /// An answer with a descriptor.
    pub(super) fn answer_with(&mut self, response: &impl Serialize, fd: Option<OwnedFd>) {
        self.attachment = fd;
        self.answer(response);
    }

    /// One of Docker's stream frames: number, three zeros, big-endian length.
    pub(super) fn stream(&mut self, number: u8, bytes: &[u8]) {
        self.output.extend([number, 0, 0, 0]);
        self.output.extend((bytes.len() as u32).to_be_bytes());
        self.output.extend(bytes);
    }

    /// Reads what has come. At the end of the stream only attached clients stay, whose input is then over.
    pub(super) fn read(&mut self) {
        let mut buffer = [0u8; 16 << 10];
        match receive(self.fd(), &mut buffer) {
            Ok((0, _)) => {
                self.input_over = true;
                self.ended |= !matches!(self.role, Role::Attached { .. });
            }
            Ok((count, fds)) => {
                self.input.extend_from_slice(&buffer[..count]);
                self.fds.extend(fds);
                self.ended |= self.input.len() > FRAME_BYTES_MAX + 4;
            }
            Err(error) => self.ended |= !retry(&error),
        }
    }

    pub(super) fn write(&mut self) {
        while !self.output.is_empty() {
            let fds: Vec<RawFd> = self.attachment.iter().map(AsRawFd::as_raw_fd).collect();
            match send(self.fd(), &self.output, &fds) {
                Ok(count) => {
                    self.output.drain(..count);
                    self.attachment = None;
                    self.stalled = None;
                }
                Err(error) if retry(&error) => {
                    self.stalled.get_or_insert_with(Instant::now);
                    return;
                }
                Err(_) => {
                    self.ended = true;
                    return;
                }
            }
        }
        if self.output.capacity() > OUTPUT_BYTES_HELD {
            self.output = Vec::new();
        }
    }
}

pub(super) fn retry(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
