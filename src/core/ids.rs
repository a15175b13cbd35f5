//! Identifiers: one newtype per kind of object, 128 random bits, shown as 25 characters of base 36
//! (the form of swarm object ids in the Docker Engine API).

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// Characters of an id as text. 36^25 > 2^128, so every id fits.
pub const ID_TEXT_LEN: usize = 25;

/// A text that is no id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is not an id: an id is {ID_TEXT_LEN} characters of 0-9 and a-z")]
pub struct BadId {
    text: String,
}

/// Digits that fit 64 bits.
const CHUNK_LEN: usize = 12;
const CHUNK: u128 = 36u128.pow(CHUNK_LEN as u32);

fn encode(mut value: u128) -> [u8; ID_TEXT_LEN] {
    let mut out = [b'0'; ID_TEXT_LEN];
    // By chunks: a division of 128 bits takes many times longer than one of 64.
    for places in out.rchunks_mut(CHUNK_LEN) {
        let mut chunk = (value % CHUNK) as u64;
        value /= CHUNK;
        for place in places.iter_mut().rev() {
            *place = b"0123456789abcdefghijklmnopqrstuvwxyz"[(chunk % 36) as usize];
            chunk /= 36;
        }
    }
    out
}

fn decode(text: &str) -> Result<u128, BadId> {
    let bad = || BadId { text: text.chars().take(64).collect() };
    if text.len() != ID_TEXT_LEN {
        return Err(bad());
    }
    text.bytes().try_fold(0u128, |value, byte| {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'z' => byte - b'a' + 10,
            _ => return Err(bad()),
        };
        value.checked_mul(36).and_then(|v| v.checked_add(u128::from(digit))).ok_or_else(bad)
    })
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u128);

        impl $name {
            /// The id drawn from `rng`.
            pub fn random(rng: &mut impl rand::RngCore) -> Self {
                let mut bytes = [0u8; 16];
                rng.fill_bytes(&mut bytes);
                Self(u128::from_be_bytes(bytes))
            }

            /// 16 bytes, big endian: the form on the wire.
            pub fn to_bytes(self) -> [u8; 16] {
                self.0.to_be_bytes()
            }

            /// From the form on the wire; `None` unless there are exactly 16 bytes.
            pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
                Some(Self(u128::from_be_bytes(bytes.try_into().ok()?)))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let text = encode(self.0);
                // `pad` honours width and precision: `{:.12}` is the short form people see.
                f.pad(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = BadId;
            fn from_str(text: &str) -> Result<Self, BadId> {
                decode(text).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id!(/// The cluster itself.
    ClusterId);
id!(/// A host that joined; kept over restarts and changes of address.
    NodeId);
id!(/// A service.
    ServiceId);
id!(/// One attempt to run one slot of a service.
    TaskId);
id!(/// A network of the cluster.
    NetworkId);
id!(/// A secret.
    SecretId);
id!(/// A config.
    ConfigId);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_id_survives_its_text(value: u128) {
            let id = NodeId(value);
            prop_assert_eq!(id.to_string().len(), ID_TEXT_LEN);
            prop_assert_eq!(id.to_string().parse::<NodeId>(), Ok(id));
            prop_assert_eq!(NodeId::from_bytes(&id.to_bytes()), Some(id));
        }

        #[test]
        fn any_text_parses_or_is_refused_without_panic(text: String) {
            let _ = text.parse::<TaskId>();
        }
    }

    #[test]
    fn a_text_above_128_bits_is_refused() {
        assert!("zzzzzzzzzzzzzzzzzzzzzzzzz".parse::<NodeId>().is_err());
    }

    #[test]
    fn the_short_form_is_the_first_twelve_characters() {
        let id: NodeId = "0123456789abcdefghijklmno".parse().unwrap();
        assert_eq!(format!("{id:.12}"), "0123456789ab");
    }
}
