//! Sealing of secrets at rest: ChaCha20-Poly1305 (RFC 8439) under a key-encrypting key.
//!
//! Form: version byte 1, 12 bytes of random nonce, cipher text, 16 bytes of tag. The caller's
//! context (what is sealed, for which cluster) is authenticated but not stored, so a sealed value
//! cannot be passed off as another.

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use swarm_core::Sensitive;

use super::{TrustError, random_bytes};

const VERSION: u8 = 1;
const HEADER_LEN: usize = 1 + NONCE_LEN;

/// Why a sealed value stays closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Shorter than a sealed nothing, or of an unknown version.
    #[error("the {what} is not in sealed form (damaged, or written by a newer version)")]
    Form {
        /// The context.
        what: String,
    },
    /// The tag does not fit: other key, other context, or altered bytes.
    #[error("the {what} cannot be unsealed: the key is wrong or the data is damaged")]
    Closed {
        /// The context.
        what: String,
    },
}

/// A key-encrypting key.
pub struct SealingKey(LessSafeKey);

impl std::fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealingKey(***)")
    }
}

impl SealingKey {
    /// Makes a key of 32 random bytes.
    #[must_use]
    pub fn new(key: &Sensitive<[u8; 32]>) -> Self {
        #[expect(clippy::expect_used, reason = "32 bytes are the key length of this algorithm")]
        let key = UnboundKey::new(&CHACHA20_POLY1305, key.expose()).expect("a 256-bit key");
        Self(LessSafeKey::new(key))
    }

    /// Seals `plain`; `context` must be given again to unseal, and is what errors call the value.
    pub fn seal(&self, context: &str, plain: &[u8]) -> Result<Vec<u8>, TrustError> {
        let nonce: [u8; NONCE_LEN] = random_bytes()?;
        let mut sealed = Vec::with_capacity(HEADER_LEN + plain.len() + CHACHA20_POLY1305.tag_len());
        sealed.push(VERSION);
        sealed.extend_from_slice(&nonce);
        let mut text = plain.to_vec();
        self.0
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(context.as_bytes()), &mut text)
            .map_err(|_| TrustError::NoRandomness)?;
        sealed.append(&mut text);
        Ok(sealed)
    }

    /// Unseals what [`SealingKey::seal`] made with the same key and context.
    pub fn open(&self, context: &str, sealed: &[u8]) -> Result<Sensitive<Vec<u8>>, SealError> {
        let form = || SealError::Form { what: context.to_owned() };
        let (version, rest) = sealed.split_first().ok_or_else(form)?;
        if *version != VERSION || rest.len() < NONCE_LEN + CHACHA20_POLY1305.tag_len() {
            return Err(form());
        }
        let (nonce, text) = rest.split_at(NONCE_LEN);
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| form())?;
        let mut text = text.to_vec();
        let plain = self
            .0
            .open_in_place(nonce, Aad::from(context.as_bytes()), &mut text)
            .map_err(|_| SealError::Closed { what: context.to_owned() })?;
        Ok(Sensitive::new(plain.to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> SealingKey {
        SealingKey::new(&Sensitive::new([byte; 32]))
    }

    #[test]
    fn what_is_sealed_opens_with_the_same_key_and_context() {
        let sealed = key(1).seal("CA key", b"secret").unwrap();
        assert!(!sealed.windows(6).any(|part| part == b"secret"));
        assert_eq!(key(1).open("CA key", &sealed).unwrap().expose(), b"secret");
    }

    #[test]
    fn another_key_another_context_and_altered_bytes_do_not_open() {
        let sealed = key(1).seal("CA key", b"secret").unwrap();
        let closed = SealError::Closed { what: "CA key".into() };
        assert_eq!(key(2).open("CA key", &sealed).unwrap_err(), closed);
        assert!(key(1).open("raft log", &sealed).is_err());
        for at in 1..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            assert_eq!(key(1).open("CA key", &altered).unwrap_err(), closed, "byte {at}");
        }
    }

    #[test]
    fn what_was_never_sealed_is_named_as_such() {
        let form = SealError::Form { what: "CA key".into() };
        assert_eq!(key(1).open("CA key", b"").unwrap_err(), form);
        assert_eq!(key(1).open("CA key", &[1; 20]).unwrap_err(), form);
        assert_eq!(key(1).open("CA key", &[9; 64]).unwrap_err(), form);
    }
}
