//! Streams of logs: the frames of the API, and whose line it is.
//!
//! Frames: a number for the stream, three zero bytes, the length in 4 bytes big endian, then so many
//! bytes (API `ContainerAttach`, "Stream format"). Containers with a terminal have no frames.

use crate::client::ByteStream;
use crate::error::{CliError, Result};
use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::StreamExt as _;
use std::io::Write as _;

/// Longest frame that is taken, in bytes: the daemon cuts lines far below it.
const FRAME_BYTES_MAX: usize = 16 << 20;
const HEADER_BYTES: usize = 8;
const STDERR: u8 = 2;
const SYSTEM_ERROR: u8 = 3;

/// Which of our streams a record goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    Stdout,
    Stderr,
}

/// One frame, or a piece of a stream that has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub output: Output,
    pub bytes: Bytes,
}

/// The records of a log, one after the other.
pub struct Reader {
    log: ByteStream,
    raw: bool,
    buffer: BytesMut,
}

impl Reader {
    /// `tty`: the container has a terminal, so its log has no frames, unless the daemon says otherwise.
    pub fn new(log: ByteStream, tty: bool) -> Self {
        let raw = tty && log.framed != Some(true);
        Self { log, raw, buffer: BytesMut::new() }
    }

    /// The next record; none at the end of the log.
    ///
    /// # Errors
    /// When the stream breaks, or holds an error of the daemon.
    pub async fn next(&mut self) -> Result<Option<Record>> {
        loop {
            if let Some((number, bytes)) = self.frame()? {
                return match number {
                    SYSTEM_ERROR => {
                        let words = String::from_utf8_lossy(&bytes).trim().to_owned();
                        Err(CliError::usage(format!("error from daemon in stream: {words}")))
                    }
                    STDERR => Ok(Some(Record { output: Output::Stderr, bytes })),
                    _ => Ok(Some(Record { output: Output::Stdout, bytes })),
                };
            }
            match self.log.stream.next().await.transpose()? {
                Some(bytes) if self.raw => return Ok(Some(Record { output: Output::Stdout, bytes })),
                Some(bytes) => self.buffer.extend_from_slice(&bytes),
                None => return Ok(None),
            }
        }
    }

    /// The next whole frame, as its stream's number and payload.
    fn frame(&mut self) -> Result<Option<(u8, Bytes)>> {
        let Some(header) = self.buffer.get(..HEADER_BYTES) else { return Ok(None) };
        let stream = header[0];
        let length = u32::from_be_bytes([header[4], header[5], header[6], header[7]]) as usize;
        if stream > SYSTEM_ERROR || header[1..4] != [0, 0, 0] || length > FRAME_BYTES_MAX {
            return Err(CliError::usage("the daemon's log stream is not framed as expected"));
        }
        if self.buffer.len() < HEADER_BYTES + length {
            return Ok(None);
        }
        self.buffer.advance(HEADER_BYTES);
        Ok(Some((stream, self.buffer.split_to(length).freeze())))
    }
}

/// Writes bytes to one of our streams. A reader that went away ends the program quietly.
pub fn write(output: Output, parts: &[&[u8]]) {
    let bytes = parts.concat();
    let done = match output {
        Output::Stdout => {
            let mut out = std::io::stdout().lock();
            out.write_all(&bytes).and_then(|()| out.flush())
        }
        Output::Stderr => std::io::stderr().lock().write_all(&bytes),
    };
    if done.is_err() {
        std::process::exit(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;

    async fn collect(chunks: &[&'static [u8]], raw: bool) -> Result<Vec<Record>> {
        let chunks: Vec<Result<Bytes>> = chunks.iter().map(|chunk| Ok(Bytes::from_static(chunk))).collect();
        let mut reader = Reader::new(ByteStream { stream: stream::iter(chunks).boxed(), framed: None }, raw);
        let mut records = Vec::new();
        while let Some(record) = reader.next().await? {
            records.push(record);
        }
        Ok(records)
    }

    #[tokio::test]
    async fn frames_may_be_cut_anywhere() {
        let records = collect(&[b"\x01\0\0\0\0\0", b"\0\x03hi\n\x02\0\0\0\0\0\0\x01", b"x"], false).await;
        let expected = [
            Record { output: Output::Stdout, bytes: Bytes::from_static(b"hi\n") },
            Record { output: Output::Stderr, bytes: Bytes::from_static(b"x") },
        ];
        assert_eq!(records.unwrap_or_default(), expected);
    }

    #[tokio::test]
    async fn an_error_of_the_daemon_ends_the_log() {
        let error = collect(&[b"\x03\0\0\0\0\0\0\x04gone"], false).await.err();
        assert_eq!(error.map(|e| e.to_string()).unwrap_or_default(), "error from daemon in stream: gone");
        assert!(collect(&[b"no frames here"], false).await.is_err());
    }

    #[tokio::test]
    async fn a_terminals_log_is_passed_on_as_it_is() {
        let records = collect(&[b"\x01\0\0"], true).await.unwrap_or_default();
        assert_eq!(records[0].bytes, Bytes::from_static(b"\x01\0\0"));
    }
}
