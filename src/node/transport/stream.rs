//! A stream of frames: four bytes of length (big-endian), then that many bytes.
//!
//! A sender that is dropped without [`FrameSender::finish`] resets the stream, so a receiver can
//! tell the end of a conversation from a peer that failed.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt as _;
use quinn::{ReadError, ReadExactError, RecvStream, SendStream, WriteError};

use super::Conversation;
use super::error::{Refusal, TransportError, from_connection};

/// Bytes of a frame's length prefix.
const PREFIX_BYTES: usize = 4;

/// First byte of every stream, sent by the side that opens it: a QUIC stream exists for the other
/// side only once something was sent on it, and the side that opens may be the one that listens.
const OPENING: [u8; 1] = [1];

/// Keeps a pooled connection from being closed as unused while one of its streams lives.
pub(super) type InUse = Option<Arc<()>>;

/// Both directions of a conversation.
#[derive(Debug)]
pub struct Stream {
    sender: FrameSender,
    receiver: FrameReceiver,
}

impl Stream {
    pub(super) fn new(
        conversation: &'static Conversation,
        address: SocketAddr,
        (send, receive): (SendStream, RecvStream),
        in_use: InUse,
    ) -> Self {
        Self {
            sender: FrameSender { stream: send, conversation, address, finished: false, _in_use: in_use.clone() },
            receiver: FrameReceiver { stream: receive, conversation, address, _in_use: in_use },
        }
    }

    /// Makes the stream known to the other side.
    pub(super) async fn announce(&mut self) -> Result<(), TransportError> {
        let address = self.sender.address;
        self.sender.stream.write_all(&OPENING).await.map_err(|error| write_error(address, &error))
    }

    /// Reads what [`Stream::announce`] sent; `false`: it is something else.
    pub(super) async fn expect_announcement(&mut self) -> bool {
        let mut opening = [0u8; OPENING.len()];
        self.receiver.stream.read_exact(&mut opening).await.is_ok() && opening == OPENING
    }

    /// Sends one frame. Waits while the peer reads slowly.
    pub async fn send(&mut self, frame: impl Into<Bytes>) -> Result<(), TransportError> {
        self.sender.send(frame).await
    }

    /// The next frame; `None`: the peer finished. Not cancel-safe: when the future is dropped half
    /// way, the stream is unusable. In a `select!`, use a task per direction or [`Stream::split`].
    pub async fn receive(&mut self) -> Result<Option<Bytes>, TransportError> {
        self.receiver.receive().await
    }

    /// Says that nothing more will be sent.
    pub fn finish(&mut self) {
        self.sender.finish();
    }

    /// The two directions, for two tasks.
    #[must_use]
    pub fn split(self) -> (FrameSender, FrameReceiver) {
        (self.sender, self.receiver)
    }

    /// Refuses the stream with a reason the peer can name.
    pub(super) fn refuse(mut self, refusal: Refusal) {
        self.sender.abandon(refusal);
    }
}

/// The sending half.
#[derive(Debug)]
pub struct FrameSender {
    stream: SendStream,
    conversation: &'static Conversation,
    address: SocketAddr,
    finished: bool,
    _in_use: InUse,
}

impl FrameSender {
    /// Sends one frame. Waits while the peer reads slowly.
    pub async fn send(&mut self, frame: impl Into<Bytes>) -> Result<(), TransportError> {
        let frame = frame.into();
        let limit = self.conversation.frame_bytes_max;
        let length = u32::try_from(frame.len()).ok().filter(|length| *length <= limit);
        let Some(length) = length else {
            let conversation = self.conversation.alpn;
            return Err(TransportError::FrameTooLong { conversation, bytes: frame.len(), limit });
        };
        let prefix = Bytes::copy_from_slice(&length.to_be_bytes());
        self.stream.write_all_chunks(&mut [prefix, frame]).await.map_err(|error| write_error(self.address, &error))
    }

    /// Says that nothing more will be sent.
    pub fn finish(&mut self) {
        self.finished = true;
        // Fails only on a stream that is already over.
        let _ = self.stream.finish();
    }

    /// Waits until the peer has everything sent before [`FrameSender::finish`], or stopped reading.
    pub async fn delivered(&mut self) {
        let _ = self.stream.stopped().await;
    }

    /// Whether the peer reads no more, or is gone, as far as is known.
    pub fn is_stopped(&self) -> bool {
        self.stream.stopped().now_or_never().is_some()
    }

    fn abandon(&mut self, refusal: Refusal) {
        self.finished = true;
        let _ = self.stream.reset(refusal.code());
    }
}

impl Drop for FrameSender {
    fn drop(&mut self) {
        if !self.finished {
            self.abandon(Refusal::Abandoned);
        }
    }
}

/// The receiving half.
#[derive(Debug)]
pub struct FrameReceiver {
    stream: RecvStream,
    conversation: &'static Conversation,
    address: SocketAddr,
    _in_use: InUse,
}

impl FrameReceiver {
    /// The next frame; `None`: the peer finished. Not cancel-safe.
    pub async fn receive(&mut self) -> Result<Option<Bytes>, TransportError> {
        let mut prefix = [0u8; PREFIX_BYTES];
        match self.stream.read_exact(&mut prefix).await {
            Ok(()) => {}
            Err(ReadExactError::FinishedEarly(0)) => return Ok(None),
            Err(error) => return Err(self.read_error(error)),
        }
        let length = u32::from_be_bytes(prefix);
        let limit = self.conversation.frame_bytes_max;
        if length > limit {
            let _ = self.stream.stop(Refusal::FrameTooLong.code());
            let conversation = self.conversation.alpn;
            let bytes = length as usize;
            return Err(TransportError::FrameTooLong { conversation, bytes, limit });
        }
        let mut frame = vec![0u8; length as usize];
        match self.stream.read_exact(&mut frame).await {
            Ok(()) => Ok(Some(frame.into())),
            Err(error) => Err(self.read_error(error)),
        }
    }

    fn read_error(&self, error: ReadExactError) -> TransportError {
        let address = self.address;
        match error {
            ReadExactError::FinishedEarly(_) => TransportError::EndedEarly { address },
            ReadExactError::ReadError(ReadError::Reset(code)) => match Refusal::from_code(code) {
                Some(refusal) => TransportError::Refused { address, refusal },
                None => TransportError::EndedEarly { address },
            },
            ReadExactError::ReadError(ReadError::ConnectionLost(error)) => from_connection(address, &error),
            ReadExactError::ReadError(
                error @ (ReadError::ClosedStream | ReadError::IllegalOrderedRead | ReadError::ZeroRttRejected),
            ) => TransportError::Lost { address, detail: error.to_string() },
        }
    }
}

fn write_error(address: SocketAddr, error: &WriteError) -> TransportError {
    match error {
        WriteError::Stopped(code) => match Refusal::from_code(*code) {
            Some(refusal) => TransportError::Refused { address, refusal },
            None => TransportError::EndedEarly { address },
        },
        WriteError::ConnectionLost(error) => from_connection(address, error),
        WriteError::ClosedStream | WriteError::ZeroRttRejected => {
            TransportError::Lost { address, detail: error.to_string() }
        }
    }
}
