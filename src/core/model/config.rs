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
    /// The data is a template, filled in for each task (API `Templating`, driver `golang`).
    pub templated: bool,
}

/// An earlier content of a config, kept while a service or task refers to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigContent {
    pub version: u64,
    pub data: Vec<u8>,
    pub templated: bool,
}

/// The stored config.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    pub id: ConfigId,
    pub meta: Meta,
    pub spec: ConfigSpec,
    /// Version of the content in `spec`: 1 at first, one more with each change of it.
    pub content_version: u64,
    /// Contents before it, oldest first.
    pub older: Vec<ConfigContent>,
}
