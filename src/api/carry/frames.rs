//! Where in a multiplexed stream we are (API `ContainerAttach`, "Stream format"): why it breaks off can be said
//! between two frames only.

use crate::logs::{SYSTEM_ERROR, framed};
use bytes::Bytes;

/// Bytes in front of a frame's payload: its stream, three zeros, the payload's length.
const HEADER_BYTES: usize = 8;

/// Follows a stream of frames, however it is cut into pieces.
#[derive(Clone, Copy, Debug, Default)]
pub struct Frames {
    header: [u8; HEADER_BYTES],
    /// Of the header that is being read.
    have: usize,
    /// Of the payload that is being read.
    left: u32,
}

impl Frames {
    /// Takes note of the next piece of the stream.
    pub fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let payload = bytes.len().min(self.left as usize);
                self.left -= payload as u32;
                bytes = &bytes[payload..];
                continue;
            }
            let part = bytes.len().min(HEADER_BYTES - self.have);
            self.header[self.have..self.have + part].copy_from_slice(&bytes[..part]);
            self.have += part;
            bytes = &bytes[part..];
            if self.have == HEADER_BYTES {
                let [_, _, _, _, length @ ..] = self.header;
                (self.have, self.left) = (0, u32::from_be_bytes(length));
            }
        }
    }

    /// The frame by which a client is told an error, if it would be taken for one here.
    pub fn last_words(&self, words: &str) -> Option<Bytes> {
        let between = self.have == 0 && self.left == 0;
        between.then(|| framed(SYSTEM_ERROR, words.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_end_of_a_frame_is_known_however_the_stream_is_cut(
            payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 1..6),
            cut in 1usize..20,
        ) {
            let (mut stream, mut ends) = (Vec::new(), vec![0]);
            for payload in &payloads {
                stream.extend_from_slice(&framed(1, payload));
                ends.push(stream.len());
            }
            let mut frames = Frames::default();
            let mut passed = 0;
            for piece in stream.chunks(cut) {
                frames.pass(piece);
                passed += piece.len();
                prop_assert_eq!(frames.last_words("x").is_some(), ends.contains(&passed));
            }
        }
    }
}
