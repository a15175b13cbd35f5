//! Secrets: small contents handed to containers, never shown.

use super::{Labels, Meta};
use crate::{SecretId, Sensitive};
use serde::{Deserialize, Serialize};

/// Most bytes a secret may hold (Engine API: 500 KiB).
pub const SECRET_BYTES_MAX: usize = 500 * 1024;

/// API `SecretSpec`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretSpec {
    pub name: String,
    pub labels: Labels,
    pub data: Sensitive<Vec<u8>>,
}

/// The stored secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    pub id: SecretId,
    pub meta: Meta,
    pub spec: SecretSpec,
}
