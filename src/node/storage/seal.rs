//! Sealing of single values: ChaCha20-Poly1305 (RFC 8439) under a key derived from the data key by HKDF-SHA256
//! (RFC 5869) with a salt drawn at each start, and a counter as the nonce. So no nonce repeats under a key however
//! many values are written, which random nonces of 96 bits could not promise.
//!
//! A sealed value: version (1 byte), salt (16), counter (8, big endian), ciphertext and tag.
//! The place of a value is authenticated with it, so a value moved to another place does not open.

use super::error::StorageError;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf;
use ring::rand::{SecureRandom, SystemRandom};
use std::collections::HashMap;
use std::fmt;
use swarm_core::Sensitive;

/// The key all values of a database are sealed under.
pub type DataKey = Sensitive<[u8; 32]>;

const VERSION: u8 = 1;
const SALT_LEN: usize = 16;
const COUNTER_LEN: usize = 8;
const HEADER_LEN: usize = 1 + SALT_LEN + COUNTER_LEN;
const PURPOSE: &[u8] = b"swarm raft storage";

type Salt = [u8; SALT_LEN];

pub(super) struct Sealer {
    data_key: DataKey,
    salt: Salt,
    counter: u64,
    /// By salt: a database holds values of as many starts as its log reaches back.
    keys: HashMap<Salt, LessSafeKey>,
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").field("counter", &self.counter).finish_non_exhaustive()
    }
}

fn derive(data_key: &DataKey, salt: &Salt) -> Result<LessSafeKey, StorageError> {
    let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(data_key.expose());
    let key = secret.expand(&[PURPOSE], &CHACHA20_POLY1305).map_err(|_| StorageError::Seal)?;
    Ok(LessSafeKey::new(UnboundKey::from(key)))
}

fn nonce(counter: &[u8; COUNTER_LEN]) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    bytes[NONCE_LEN - COUNTER_LEN..].copy_from_slice(counter);
    Nonce::assume_unique_for_key(bytes)
}

impl Sealer {
    pub fn new(data_key: DataKey) -> Result<Self, StorageError> {
        let mut salt = [0; SALT_LEN];
        SystemRandom::new().fill(&mut salt).map_err(|_| StorageError::Seal)?;
        let keys = HashMap::from([(salt, derive(&data_key, &salt)?)]);
        Ok(Self { data_key, salt, counter: 0, keys })
    }

    /// Seals `value` for `place`.
    pub fn seal(&mut self, place: &str, value: &[u8]) -> Result<Vec<u8>, StorageError> {
        self.counter = self.counter.checked_add(1).ok_or(StorageError::Seal)?;
        let counter = self.counter.to_be_bytes();
        let key = self.keys.get(&self.salt).ok_or(StorageError::Seal)?;
        let mut sealed = Vec::with_capacity(HEADER_LEN + value.len() + CHACHA20_POLY1305.tag_len());
        sealed.push(VERSION);
        sealed.extend_from_slice(&self.salt);
        sealed.extend_from_slice(&counter);
        sealed.extend_from_slice(value);
        let body = &mut sealed[HEADER_LEN..];
        let tag = key
            .seal_in_place_separate_tag(nonce(&counter), Aad::from(place.as_bytes()), body)
            .map_err(|_| StorageError::Seal)?;
        sealed.extend_from_slice(tag.as_ref());
        Ok(sealed)
    }

    /// Opens what was sealed for `place`; `None` when it was not, or was changed, or the key is another one.
    pub fn open(&mut self, place: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let (header, body) = sealed.split_at_checked(HEADER_LEN)?;
        let (version, rest) = header.split_first()?;
        if *version != VERSION {
            return None;
        }
        let (salt, counter) = rest.split_first_chunk::<SALT_LEN>()?;
        let counter: [u8; COUNTER_LEN] = counter.try_into().ok()?;
        if !self.keys.contains_key(salt) {
            self.keys.insert(*salt, derive(&self.data_key, salt).ok()?);
        }
        let mut body = body.to_vec();
        let opened = self.keys.get(salt)?.open_in_place(nonce(&counter), Aad::from(place.as_bytes()), &mut body);
        let len = opened.ok()?.len();
        body.truncate(len);
        Some(body)
    }

    /// Forgets the keys of earlier starts, once everything has been read.
    pub fn forget_old_keys(&mut self) {
        let own = self.salt;
        self.keys.retain(|salt, _| *salt == own);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer(byte: u8) -> Sealer {
        Sealer::new(Sensitive::new([byte; 32])).unwrap()
    }

    #[test]
    fn a_sealed_value_opens_at_its_place_under_its_key_also_after_a_restart() {
        let sealed = sealer(1).seal("log/7", b"value").unwrap();
        assert!(!sealed.windows(5).any(|window| window == b"value"));
        assert_eq!(sealer(1).open("log/7", &sealed).unwrap(), b"value");
        assert_eq!(sealer(1).open("log/8", &sealed), None, "another place");
        assert_eq!(sealer(2).open("log/7", &sealed), None, "another key");
    }

    #[test]
    fn any_changed_bit_is_noticed() {
        let sealed = sealer(1).seal("p", b"value").unwrap();
        for byte in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[byte] ^= 1;
            assert_eq!(sealer(1).open("p", &changed), None, "byte {byte}");
        }
        assert_eq!(sealer(1).open("p", &sealed[..10]), None);
        assert_eq!(sealer(1).open("p", b""), None);
    }

    #[test]
    fn equal_values_look_different() {
        let mut sealer = sealer(1);
        assert_ne!(sealer.seal("p", b"value").unwrap(), sealer.seal("p", b"value").unwrap());
    }

    #[test]
    fn the_key_is_not_printed() {
        assert!(!format!("{:?}", sealer(0xAB)).contains("171"));
    }
}
