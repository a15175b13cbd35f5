//! A stream of frames as a connection of bytes.
//!
//! Holds at most one frame of each direction: whoever reads slowly slows the writer on the other node down, by the
//! flow control of the stream below.

use crate::transport::{ENGINE, FrameReceiver, FrameSender, Stream, TransportError};
use bytes::{Buf, Bytes};
use futures_util::future::BoxFuture;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::DropGuard;

/// One end of a carried connection.
///
/// `shutdown` ends the writing direction and leaves the other; dropping it without is a failure at the other end,
/// not an end.
pub struct CarriedIo {
    sending: Sending,
    receiving: Receiving,
    /// What was received and not read yet.
    received: Bytes,
    _gone: Option<DropGuard>,
}

// A frame that is being received or sent is never dropped half way: the futures live here, not in a caller's poll.
enum Receiving {
    Idle(FrameReceiver),
    Busy(BoxFuture<'static, (FrameReceiver, Result<Option<Bytes>, TransportError>)>),
    Over,
}

enum Sending {
    Idle(FrameSender),
    Busy(BoxFuture<'static, (FrameSender, Result<(), TransportError>)>),
    Over,
}

impl CarriedIo {
    pub(super) fn new(stream: Stream) -> Self {
        let (sender, receiver) = stream.split();
        Self {
            sending: Sending::Idle(sender),
            receiving: Receiving::Idle(receiver),
            received: Bytes::new(),
            _gone: None,
        }
    }

    /// Drops `guard` when it is dropped itself.
    pub(super) fn telling(self, guard: DropGuard) -> Self {
        Self { _gone: Some(guard), ..self }
    }

    /// Waits for the frame under way.
    fn poll_sent(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Sending::Busy(sending) = &mut self.sending {
            let (sender, sent) = ready!(sending.as_mut().poll(context));
            self.sending = match sent {
                Ok(()) => Sending::Idle(sender),
                Err(error) => {
                    self.sending = Sending::Over;
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::BrokenPipe, error)));
                }
            };
        }
        Poll::Ready(Ok(()))
    }

    /// The next frame, into `received`; leaves it empty at the end.
    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match std::mem::replace(&mut self.receiving, Receiving::Over) {
                Receiving::Over => return Poll::Ready(Ok(())),
                Receiving::Idle(mut receiver) => {
                    self.receiving = Receiving::Busy(Box::pin(async move {
                        let frame = receiver.receive().await;
                        (receiver, frame)
                    }));
                }
                Receiving::Busy(mut receiving) => match receiving.as_mut().poll(context) {
                    Poll::Pending => {
                        self.receiving = Receiving::Busy(receiving);
                        return Poll::Pending;
                    }
                    Poll::Ready((receiver, frame)) => return Poll::Ready(self.take(receiver, frame)),
                },
            }
        }
    }

    fn take(&mut self, receiver: FrameReceiver, frame: Result<Option<Bytes>, TransportError>) -> io::Result<()> {
        match frame {
            Ok(Some(frame)) if frame.is_empty() => {
                Err(io::Error::new(io::ErrorKind::InvalidData, "an empty piece of a carried connection"))
            }
            Ok(Some(frame)) => {
                (self.received, self.receiving) = (frame, Receiving::Idle(receiver));
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(error) => Err(io::Error::new(io::ErrorKind::ConnectionReset, error)),
        }
    }
}

impl AsyncRead for CarriedIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.received.is_empty() {
            ready!(self.poll_receive(context))?;
        }
        let length = self.received.len().min(buffer.remaining());
        buffer.put_slice(&self.received[..length]);
        self.received.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for CarriedIo {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_sent(context))?;
        if bytes.is_empty() {
            // As on a socket: a way to ask whether anybody is there.
            return Poll::Ready(match &self.sending {
                Sending::Idle(sender) if !sender.is_stopped() => Ok(0),
                Sending::Idle(_) | Sending::Busy(_) | Sending::Over => Err(io::ErrorKind::BrokenPipe.into()),
            });
        }
        match std::mem::replace(&mut self.sending, Sending::Over) {
            Sending::Idle(mut sender) => {
                let length = bytes.len().min(ENGINE.frame_bytes_max as usize);
                let frame = Bytes::copy_from_slice(&bytes[..length]);
                self.sending = Sending::Busy(Box::pin(async move {
                    let sent = sender.send(frame).await;
                    (sender, sent)
                }));
                Poll::Ready(Ok(length))
            }
            Sending::Busy(_) | Sending::Over => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_sent(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_sent(context))?;
        if let Sending::Idle(mut sender) = std::mem::replace(&mut self.sending, Sending::Over) {
            sender.finish();
        }
        Poll::Ready(Ok(()))
    }
}
