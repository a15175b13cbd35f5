//! Configs: small contents handed to containers, shown on request.

use super::{Labels, Meta};
use crate::ConfigId;
use serde::{Deserialize, Serialize};

/// Most bytes a config may hold (Engine API: 1000 KiB).
pub const CONFIG_BYTES_MAX: usize = 1000 * 1024;

/// API `ConfigSpec`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigSpec {
    pub name: String,
    pub labels: Labels,
    pub data: Vec<u8>,
}

/// The stored config.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    pub id: ConfigId,
    pub meta: Meta,
    pub spec: ConfigSpec,
}
