//! Sealing of gossip packets: ChaCha20-Poly1305 (RFC 8439) with keys all nodes share.
//!
//! Form: key id, 12 bytes of random nonce, cipher text, 16 bytes of tag. The first key seals, every
//! key opens, so keys are rotated by adding a new one, then putting it first, then dropping the old.
//! Replayed packets are harmless to the membership: it ignores what is older than what it knows.

use bytes::Bytes;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use swarm_core::model::GossipKey;

/// Bytes a seal adds to a packet.
pub const SEAL_BYTES: usize = HEADER_BYTES + 16;
const HEADER_BYTES: usize = 1 + NONCE_LEN;
/// Keys in a ring: the one in use, the next and the previous, and one to spare.
const KEYS_MAX: usize = 4;
/// What is authenticated besides the packet, so that a key used elsewhere opens nothing here.
const CONTEXT: &[u8] = b"swarm gossip 1";

/// Keys that make no ring.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyRingError {
    /// None.
    #[error("there is no gossip key (the node has not joined, or its state is damaged)")]
    Empty,
    /// Too many.
    #[error("{0} gossip keys are more than {KEYS_MAX} (drop old ones)")]
    TooMany(usize),
    /// Two with one id.
    #[error("two gossip keys have the id {0} (give a new key a new id)")]
    SameId(u8),
}

/// The keys, ready for use.
pub struct KeyRing {
    keys: Vec<(u8, LessSafeKey)>,
    random: SystemRandom,
}

impl std::fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|(id, _)| id)).finish()
    }
}

impl KeyRing {
    /// A ring whose first key seals.
    pub fn new(keys: &[GossipKey]) -> Result<Self, KeyRingError> {
        if keys.is_empty() {
            return Err(KeyRingError::Empty);
        }
        if keys.len() > KEYS_MAX {
            return Err(KeyRingError::TooMany(keys.len()));
        }
        let mut ring: Vec<(u8, LessSafeKey)> = Vec::with_capacity(keys.len());
        for key in keys {
            if ring.iter().any(|(id, _)| *id == key.id) {
                return Err(KeyRingError::SameId(key.id));
            }
            #[expect(clippy::expect_used, reason = "32 bytes are the key length of this algorithm")]
            let opened = UnboundKey::new(&CHACHA20_POLY1305, key.key.expose()).expect("a 256-bit key");
            ring.push((key.id, LessSafeKey::new(opened)));
        }
        Ok(Self { keys: ring, random: SystemRandom::new() })
    }

    /// Seals a packet with the first key; `None`: the system gave no random nonce.
    #[must_use]
    pub fn seal(&self, packet: &[u8]) -> Option<Vec<u8>> {
        let (id, key) = self.keys.first()?;
        let mut nonce = [0u8; NONCE_LEN];
        self.random.fill(&mut nonce).ok()?;
        let mut text = packet.to_vec();
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(CONTEXT), &mut text).ok()?;
        let mut sealed = Vec::with_capacity(HEADER_BYTES + text.len());
        sealed.push(*id);
        sealed.extend_from_slice(&nonce);
        sealed.append(&mut text);
        Some(sealed)
    }

    /// Opens a packet with the key it names; `None`: not sealed by a node of this cluster.
    #[must_use]
    pub fn open(&self, sealed: &[u8]) -> Option<Bytes> {
        let (id, rest) = sealed.split_first()?;
        let (nonce, text) = rest.split_at_checked(NONCE_LEN)?;
        let (_, key) = self.keys.iter().find(|(known, _)| known == id)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut text = text.to_vec();
        let length = key.open_in_place(nonce, Aad::from(CONTEXT), &mut text).ok()?.len();
        text.truncate(length);
        Some(text.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use swarm_core::Sensitive;

    fn key(id: u8, byte: u8) -> GossipKey {
        GossipKey { id, key: Sensitive::new([byte; 32]) }
    }

    fn ring(keys: &[GossipKey]) -> KeyRing {
        KeyRing::new(keys).unwrap()
    }

    #[test]
    fn a_sealed_packet_opens_in_a_ring_that_has_its_key() {
        let sealed = ring(&[key(1, 1)]).seal(b"hello").unwrap();
        assert_eq!(sealed.len(), 5 + SEAL_BYTES);
        assert_eq!(ring(&[key(2, 2), key(1, 1)]).open(&sealed).unwrap(), "hello".as_bytes());
        assert!(ring(&[key(2, 2)]).open(&sealed).is_none(), "no such key");
        assert!(ring(&[key(1, 9)]).open(&sealed).is_none(), "another key of that id");
    }

    #[test]
    fn the_first_key_seals() {
        assert_eq!(ring(&[key(7, 1), key(8, 2)]).seal(b"x").unwrap()[0], 7);
    }

    #[test]
    fn altered_and_short_packets_do_not_open() {
        let ring = ring(&[key(1, 1)]);
        let sealed = ring.seal(b"hello").unwrap();
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            assert!(ring.open(&altered).is_none(), "byte {at}");
            assert!(ring.open(&sealed[..at]).is_none(), "length {at}");
        }
    }

    #[test]
    fn keys_that_make_no_ring_are_refused() {
        assert_eq!(KeyRing::new(&[]).unwrap_err(), KeyRingError::Empty);
        assert_eq!(KeyRing::new(&[key(1, 1), key(1, 2)]).unwrap_err(), KeyRingError::SameId(1));
        let five: Vec<_> = (0..5).map(|id| key(id, id)).collect();
        assert_eq!(KeyRing::new(&five).unwrap_err(), KeyRingError::TooMany(5));
    }
}
