//! The API's socket, with care for clients that read ahead.
//!
//! A client that takes a connection over (`exec`, `attach`) reads the head of the answer through a buffer, and many,
//! docker-py among them, go on with the bare socket: what came along with the head stays in the buffer and is lost.
//! So what follows such a head is sent when the client has read the head, and not before.

use api::Listener;
use std::io;
use std::os::fd::AsRawFd as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::unix::SocketAddr;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::{Instant, Sleep, sleep};

/// How the answer begins that gives a connection away (RFC 9110 section 15.2.2).
const SWITCHING: &[u8] = b"HTTP/1.1 101 ";
/// Between two looks whether the head was read. No event tells it.
const LOOK: Duration = Duration::from_millis(1);
/// A client that has not read the head by then gets what follows all the same: it may be waiting for it.
const PATIENCE: Duration = Duration::from_secs(1);

/// Accepts clients of the API.
pub struct Socket(pub UnixListener);

impl Listener for Socket {
    type Io = Careful;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Careful, SocketAddr) {
        let (stream, address) = Listener::accept(&mut self.0).await;
        (Careful { stream, stage: Stage::Http }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// One client's connection.
pub struct Careful {
    stream: UnixStream,
    stage: Stage,
}

enum Stage {
    Http,
    /// The head is on its way.
    Head {
        until: Instant,
        look: Pin<Box<Sleep>>,
    },
    /// The client reads the bare stream.
    Taken,
}

// SAFETY of the call that this makes: the kernel writes one int to where the third argument points.
nix::ioctl_read_bad!(bytes_unread, libc::TIOCOUTQ, libc::c_int);

/// Whether the other side has read all that was written.
fn all_read(stream: &UnixStream) -> io::Result<bool> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is open as long as `stream` is, and `bytes` lives over the call.
    unsafe { bytes_unread(stream.as_raw_fd(), &raw mut bytes) }?;
    Ok(bytes == 0)
}

impl AsyncWrite for Careful {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if let Stage::Head { until, look } = &mut this.stage {
            while !all_read(&this.stream)? && Instant::now() < *until {
                ready!(look.as_mut().poll(cx));
                look.as_mut().reset(Instant::now() + LOOK);
            }
            this.stage = Stage::Taken;
        }
        let written = ready!(Pin::new(&mut this.stream).poll_write(cx, bytes))?;
        if matches!(this.stage, Stage::Http) && bytes.starts_with(SWITCHING) {
            this.stage = Stage::Head { until: Instant::now() + PATIENCE, look: Box::pin(sleep(LOOK)) };
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl AsyncRead for Careful {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    const HEAD: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\n\r\n";

    fn pair() -> (Careful, UnixStream) {
        let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
        (Careful { stream: ours, stage: Stage::Http }, theirs)
    }

    /// What one read gives when both pieces were written before it, as far as they go.
    async fn first_read(head: &'static [u8]) -> Vec<u8> {
        let (mut ours, mut theirs) = pair();
        let writing = tokio::spawn(async move {
            ours.write_all(head).await.expect("the head is written");
            ours.write_all(b"stream").await.expect("the stream is written");
        });
        // Time in which a writer that does not wait is done with both.
        sleep(20 * LOOK).await;
        let mut bytes = vec![0; 8192];
        let length = theirs.read(&mut bytes).await.expect("something is read");
        bytes.truncate(length);
        let mut rest = Vec::new();
        theirs.read_to_end(&mut rest).await.expect("the rest is read");
        writing.await.expect("the writer ends");
        assert_eq!([bytes.as_slice(), &rest].concat(), [head, b"stream"].concat());
        bytes
    }

    #[tokio::test]
    async fn what_follows_the_head_of_an_upgrade_comes_after_the_head_was_read() {
        assert_eq!(first_read(HEAD).await, HEAD);
    }

    #[tokio::test]
    async fn other_answers_are_not_held_up() {
        assert_eq!(first_read(b"HTTP/1.1 200 OK\r\n\r\n").await, b"HTTP/1.1 200 OK\r\n\r\nstream");
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_gets_it_all_the_same() {
        let (mut ours, mut theirs) = pair();
        ours.write_all(HEAD).await.expect("the head is written");
        let begun = Instant::now();
        ours.write_all(b"stream").await.expect("the stream is written");
        assert!(begun.elapsed() >= PATIENCE);
        let mut bytes = vec![0; HEAD.len() + 6];
        theirs.read_exact(&mut bytes).await.expect("both are there");
        assert!(bytes.ends_with(b"stream"));
    }
}
