//! Running one more process in a container, and attaching to its first one.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use super::link::Link;
use super::{Containers, Error, Exit, Output, Result};
use crate::shim::protocol::{Request, Response};
use crate::spec::ProcessSpec;

/// Bytes of one frame of attached output: the shim sends what one read gave, at most 16 KiB.
const FRAME_BYTES_MAX: usize = 64 << 10;

/// A process that runs in a container. Dropping it closes its streams; the process itself goes on, unless it minds.
pub struct ExecHandle {
    /// As the host numbers it.
    pub pid: i32,
    pub streams: ExecStreams,
    link: Link,
    id: String,
}

/// Its streams. Taking one out and dropping it closes it.
pub enum ExecStreams {
    /// The terminal: reading gives the output, writing is the input.
    Tty(FdStream),
    Pipes {
        stdin: Option<FdStream>,
        stdout: Option<FdStream>,
        stderr: Option<FdStream>,
    },
}

impl ExecHandle {
    /// Waits for its end. Streams are the caller's to read meanwhile: a process that nobody reads does not end.
    pub async fn wait(&mut self) -> Result<Exit> {
        match self.link.answer().await {
            Ok(Response::Exited { exit }) => Ok(exit),
            Ok(Response::Failed { code, message }) => Err(Error::Exec { id: self.id.clone(), code, message }),
            Ok(Response::Done | Response::State { .. } | Response::Running { .. }) | Err(_) => {
                Err(Error::NotFound(self.id.clone()))
            }
        }
    }

    /// Sets the size of its terminal; without one nothing happens.
    pub fn resize(&self, rows: u16, columns: u16) {
        if let ExecStreams::Tty(stream) = &self.streams {
            stream.resize(rows, columns);
        }
    }
}

impl Containers {
    /// Runs a process in a running container.
    pub async fn exec(&self, id: &str, process: &ProcessSpec) -> Result<ExecHandle> {
        let failed = |error: io::Error| self.link_error(id, error);
        let mut link = self.link(id).await?;
        let mut ours = Vec::new();
        let mut theirs: Vec<OwnedFd> = Vec::new();
        if !process.tty {
            let (read, write) = io::pipe().map_err(failed)?;
            theirs.push(read.into());
            ours.push(FdStream::new(write.into()).map_err(failed)?);
            for _ in 0..2 {
                let (read, write) = io::pipe().map_err(failed)?;
                theirs.push(write.into());
                ours.push(FdStream::new(read.into()).map_err(failed)?);
            }
        }
        let fds: Vec<i32> = theirs.iter().map(AsRawFd::as_raw_fd).collect();
        link.send(&Request::Exec { process: process.clone() }, &fds).await.map_err(failed)?;
        drop(theirs);
        let pid = match link.answer_soon().await.map_err(failed)? {
            Response::Running { pid } => pid,
            Response::Failed { code: 0, message } => return Err(Error::Refused { id: id.to_owned(), message }),
            Response::Failed { code, message } => return Err(Error::Exec { id: id.to_owned(), code, message }),
            Response::Done | Response::State { .. } | Response::Exited { .. } => {
                return Err(Error::Refused { id: id.to_owned(), message: "the shim gave a strange answer".to_owned() });
            }
        };
        let streams = match link.take_fd() {
            Some(master) => ExecStreams::Tty(FdStream::new(master).map_err(failed)?),
            None => {
                let mut ours = ours.into_iter();
                ExecStreams::Pipes { stdin: ours.next(), stdout: ours.next(), stderr: ours.next() }
            }
        };
        Ok(ExecHandle { pid, streams, link, id: id.to_owned() })
    }

    /// Streams the first process's output from now on, and takes its input if it has one.
    pub async fn attach(&self, id: &str, options: AttachOptions) -> Result<Attached> {
        let AttachOptions { stdin, stdout, stderr, keep_input_open } = options;
        let mut link = self.link(id).await?;
        let request = Request::Attach { stdin, stdout, stderr, keep_input_open };
        match link.ask(&request).await.map_err(|error| self.link_error(id, error))? {
            Response::Failed { message, .. } => Err(Error::Refused { id: id.to_owned(), message }),
            Response::Done | Response::State { .. } | Response::Running { .. } | Response::Exited { .. } => {
                let (stream, read) = link.into_parts();
                Ok(Attached { stream, buffer: BytesMut::from(&read[..]) })
            }
        }
    }
}

/// Which streams of the first process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttachOptions {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    /// The program's input does not end with the client's: another may come.
    pub keep_input_open: bool,
}

/// An attached client of the first process.
#[derive(Debug)]
pub struct Attached {
    stream: UnixStream,
    buffer: BytesMut,
}

/// The output of an [`Attached`].
#[derive(Debug)]
pub struct AttachedOutput {
    stream: OwnedReadHalf,
    buffer: BytesMut,
}

/// The input of an [`Attached`]; dropping it is its end.
#[derive(Debug)]
pub struct AttachedInput {
    stream: OwnedWriteHalf,
}

/// Reads one of Docker's stream frames (protocol of the shim).
async fn next_frame(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
) -> io::Result<Option<(Output, Bytes)>> {
    loop {
        if let Some(header) = buffer.first_chunk::<8>() {
            let length = u32::from_be_bytes([header[4], header[5], header[6], header[7]]) as usize;
            let output = if header[0] == Output::Stderr.number() { Output::Stderr } else { Output::Stdout };
            if length > FRAME_BYTES_MAX {
                return Err(io::Error::other("the shim sent a frame over the limit"));
            }
            if buffer.len() >= 8 + length {
                buffer.advance(8);
                return Ok(Some((output, buffer.split_to(length).freeze())));
            }
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}

impl AttachedOutput {
    /// The next piece of output; `None` when the container has ended.
    pub async fn next(&mut self) -> io::Result<Option<(Output, Bytes)>> {
        next_frame(&mut self.stream, &mut self.buffer).await
    }
}

impl AttachedInput {
    /// Gives input to the program.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }
}

impl Attached {
    /// Output and input for two tasks.
    pub fn split(self) -> (AttachedOutput, AttachedInput) {
        let (reader, stream) = self.stream.into_split();
        (AttachedOutput { stream: reader, buffer: self.buffer }, AttachedInput { stream })
    }

    /// The next piece of output; `None` when the container has ended.
    pub async fn next(&mut self) -> io::Result<Option<(Output, Bytes)>> {
        next_frame(&mut self.stream, &mut self.buffer).await
    }

    /// Gives input to the program.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// The end of the program's input.
    pub async fn close_input(&mut self) -> io::Result<()> {
        self.stream.shutdown().await
    }
}

/// A pipe's end or a terminal's master as an asynchronous stream. Clones are the same end, which closes with the
/// last of them; at most one may read and one write at a time.
#[derive(Clone, Debug)]
pub struct FdStream {
    fd: Arc<AsyncFd<OwnedFd>>,
}

impl FdStream {
    fn new(fd: OwnedFd) -> io::Result<Self> {
        // SAFETY: fcntl(2) with plain numbers on an open descriptor; the flag is this end's alone.
        if unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) } < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is owned by what is registered, so it stays open for as long.
        Ok(Self { fd: Arc::new(unsafe { AsyncFd::register(fd) }?) })
    }

    /// Sets the size of a terminal.
    pub fn resize(&self, rows: u16, columns: u16) {
        let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: TIOCSWINSZ reads one winsize, which outlives the call.
        unsafe { libc::ioctl(self.fd.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
    }
}

impl AsyncRead for FdStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.fd.poll_read_ready(cx))?;
            let space = buffer.initialize_unfilled();
            let result = guard.try_io(|fd| {
                // SAFETY: the buffer outlives the call and its true length is given.
                let count = unsafe { libc::read(fd.as_raw_fd(), space.as_mut_ptr().cast(), space.len()) };
                usize::try_from(count).map_err(|_| io::Error::last_os_error())
            });
            match result {
                Ok(Ok(count)) => {
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
                // A terminal whose last process is gone.
                Ok(Err(error)) if error.raw_os_error() == Some(libc::EIO) => return Poll::Ready(Ok(())),
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_would_block) => {}
            }
        }
    }
}

impl AsyncWrite for FdStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.fd.poll_write_ready(cx))?;
            let result = guard.try_io(|fd| {
                // SAFETY: the buffer outlives the call and its true length is given.
                let count = unsafe { libc::write(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) };
                usize::try_from(count).map_err(|_| io::Error::last_os_error())
            });
            match result {
                Ok(result) => return Poll::Ready(result),
                Err(_would_block) => {}
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// A pipe ends when it is dropped.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
