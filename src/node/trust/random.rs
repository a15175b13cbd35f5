//! Random bytes for keys, secrets and nonces.

use ring::rand::{SecureRandom, SystemRandom};

use super::TrustError;

/// `N` bytes from the system's cryptographic random source.
pub fn random_bytes<const N: usize>() -> Result<[u8; N], TrustError> {
    let mut bytes = [0u8; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| TrustError::NoRandomness)?;
    Ok(bytes)
}
