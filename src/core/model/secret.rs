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
    /// The data is a template, filled in for each task (API `Templating`, driver `golang`).
    pub templated: bool,
}

/// An earlier content of a secret, kept while a service or task refers to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretContent {
    pub version: u64,
    pub data: Sensitive<Vec<u8>>,
    pub templated: bool,
}

/// The stored secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    pub id: SecretId,
    pub meta: Meta,
    pub spec: SecretSpec,
    /// Version of the content in `spec`: 1 at first, one more with each change of it.
    pub content_version: u64,
    /// Contents before it, oldest first.
    pub older: Vec<SecretContent>,
}
