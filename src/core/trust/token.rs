//! The join token, `SWMTKN-1-<digest>-<secret>`.
//!
//! The digest (SHA-256 of the cluster CA's certificate in DER, 50 base-36 digits) lets a joining
//! node recognise the cluster over an untrusted network; the secret (25 base-36 digits) lets the
//! cluster recognise someone who was invited. The shape is Docker's, so existing tools that pass
//! tokens around keep working.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::base36::{self, DecodeError};

/// What every token starts with; the `1` is the version of the format.
pub const TOKEN_PREFIX: &str = "SWMTKN-1-";
/// Base-36 digits of a SHA-256 digest (256 bit need 49.5).
const DIGEST_DIGITS: usize = 50;
/// Base-36 digits of a 128-bit secret (they need 24.8).
const SECRET_DIGITS: usize = 25;

/// SHA-256 of a CA certificate's DER form. Shown as 50 base-36 digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CaDigest([u8; 32]);

impl CaDigest {
    /// Digest of a certificate in DER form.
    #[must_use]
    pub fn of(ca_certificate_der: &[u8]) -> Self {
        Self(Sha256::digest(ca_certificate_der).into())
    }

    /// The 32 bytes of the digest.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for CaDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base36::encode(&self.0, DIGEST_DIGITS))
    }
}

impl fmt::Debug for CaDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CaDigest({self})")
    }
}

/// The secret part of a token: 128 random bits. Never printed by `Debug`; `==` takes the same
/// time wherever the first difference is.
#[derive(Clone, Serialize, Deserialize)]
pub struct TokenSecret([u8; 16]);

impl TokenSecret {
    /// Makes a secret of 16 bytes from a cryptographic random source.
    #[must_use]
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The secret's 25 base-36 digits, for the token and for nothing else.
    #[must_use]
    pub fn reveal(&self) -> String {
        base36::encode(&self.0, SECRET_DIGITS)
    }
}

impl PartialEq for TokenSecret {
    fn eq(&self, other: &Self) -> bool {
        let difference = self.0.iter().zip(&other.0).fold(0u8, |sum, (a, b)| sum | (a ^ b));
        std::hint::black_box(difference) == 0
    }
}

impl Eq for TokenSecret {}

impl fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenSecret(***)")
    }
}

impl FromStr for TokenSecret {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        decode_part("secret", text, SECRET_DIGITS).map(Self)
    }
}

/// A parsed join token. `Display` prints the secret, because printing the token is its purpose;
/// `Debug` does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// Which CA the cluster must prove to have.
    pub digest: CaDigest,
    /// What the joining node proves to know.
    pub secret: TokenSecret,
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{TOKEN_PREFIX}{}-{}", self.digest, self.secret.reveal())
    }
}

/// Why a text is not a join token. None of them repeats the token, which is a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The text does not start with `SWMTKN-1-`.
    #[error("this is not a join token: it must start with {TOKEN_PREFIX} (print one with: swarm join-token worker)")]
    WrongPrefix,
    /// A later format than this binary knows.
    #[error(
        "join token format {version} is not known to this version of swarm, which knows 1 (install the version the cluster runs)"
    )]
    UnknownVersion {
        /// What stood between `SWMTKN-` and the next dash.
        version: String,
    },
    /// Not two parts after the prefix.
    #[error(
        "join token is incomplete: after {TOKEN_PREFIX} it has a digest, a dash and a secret (copy the whole token)"
    )]
    WrongShape,
    /// A part has the wrong number of digits.
    #[error("the {part} in the join token has {found} characters instead of {expected} (copy the whole token)")]
    WrongLength {
        /// `digest` or `secret`.
        part: &'static str,
        /// Characters there.
        found: usize,
        /// Characters wanted.
        expected: usize,
    },
    /// A character that no token contains.
    #[error(
        "mistyped join token: character {position} of its {part} is {found:?}, but only 0-9 and a-z occur (copy the token instead of typing it)"
    )]
    BadCharacter {
        /// `digest` or `secret`.
        part: &'static str,
        /// Counted from 1.
        position: usize,
        /// What stands there.
        found: char,
    },
    /// Legal characters, but a value no token has.
    #[error("mistyped join token: its {part} is not a possible value (copy the token instead of typing it)")]
    Impossible {
        /// `digest` or `secret`.
        part: &'static str,
    },
}

impl FromStr for JoinToken {
    type Err = TokenError;

    /// Parses a token; blanks around it are ignored.
    fn from_str(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        let Some(rest) = text.strip_prefix(TOKEN_PREFIX) else {
            return Err(match text.strip_prefix("SWMTKN-").and_then(|rest| rest.split_once('-')) {
                Some((version, _)) if version.bytes().all(|b| b.is_ascii_digit()) && !version.is_empty() => {
                    TokenError::UnknownVersion { version: version.chars().take(8).collect() }
                }
                Some(_) | None => TokenError::WrongPrefix,
            });
        };
        let (digest, secret) = rest.split_once('-').ok_or(TokenError::WrongShape)?;
        Ok(Self { digest: CaDigest(decode_part("digest", digest, DIGEST_DIGITS)?), secret: secret.parse()? })
    }
}

fn decode_part<const N: usize>(part: &'static str, text: &str, expected: usize) -> Result<[u8; N], TokenError> {
    let found = text.chars().count();
    if found != expected {
        return Err(TokenError::WrongLength { part, found, expected });
    }
    base36::decode::<N>(text).map_err(|error| match error {
        DecodeError::BadDigit { position, found } => TokenError::BadCharacter { part, position: position + 1, found },
        DecodeError::TooLarge => TokenError::Impossible { part },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn token() -> JoinToken {
        JoinToken { digest: CaDigest::of(b"a certificate"), secret: TokenSecret::from_random([7; 16]) }
    }

    #[test]
    fn a_printed_token_parses_to_the_same_token() {
        let text = token().to_string();
        assert_eq!(text.len(), TOKEN_PREFIX.len() + 50 + 1 + 25);
        assert_eq!(format!(" {text}\n").parse(), Ok(token()));
    }

    #[test]
    fn each_mistake_has_its_own_error() {
        let text = token().to_string();
        let parse = |text: &str| text.parse::<JoinToken>().expect_err("a broken token");
        assert_eq!(parse("hello"), TokenError::WrongPrefix);
        assert_eq!(parse(""), TokenError::WrongPrefix);
        assert_eq!(parse(&text.replace("SWMTKN-1", "SWMTKN-2")), TokenError::UnknownVersion { version: "2".into() });
        assert_eq!(parse("SWMTKN-1-abc"), TokenError::WrongShape);
        assert_eq!(parse(&text[..text.len() - 3]), TokenError::WrongLength { part: "secret", found: 22, expected: 25 });
        let mut typo = text.clone();
        typo.replace_range(9..10, "O");
        assert_eq!(parse(&typo), TokenError::BadCharacter { part: "digest", position: 1, found: 'O' });
        let mut typo = text;
        typo.replace_range(60..85, &"z".repeat(25));
        assert_eq!(parse(&typo), TokenError::Impossible { part: "secret" });
    }

    #[test]
    fn neither_debug_form_nor_error_shows_the_secret() {
        let secret = token().secret.reveal();
        assert!(!format!("{:?}", token()).contains(&secret));
        let broken = format!("{}x", token());
        let error = broken.parse::<JoinToken>().expect_err("too long");
        assert!(!error.to_string().contains(&secret));
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "(SWMTKN-1-)?\\PC{0,120}") {
            let _ = text.parse::<JoinToken>();
        }
    }
}
