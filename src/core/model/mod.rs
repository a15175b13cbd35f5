//! The objects of the cluster: what users ask for (`XSpec`), and what the store holds (`X`).
//!
//! Field names, defaults and limits follow the Docker Engine API's definitions of the same names
//! unless a comment says otherwise. Durations are `std::time::Duration`, sizes are bytes.

pub mod cluster;
pub mod config;
pub mod container;
pub mod contents;
pub mod generic;
mod history;
pub mod network;
pub mod node;
pub mod probe;
pub mod secret;
pub mod service;
pub mod task;

pub use cluster::*;
pub use config::*;
pub use container::*;
pub use contents::*;
pub use generic::BadResource;
pub use network::*;
pub use node::*;
pub use probe::*;
pub use secret::*;
pub use service::*;
pub use task::*;

use crate::time::Stamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Labels of an object: key to value, sorted by key.
pub type Labels = BTreeMap<String, String>;

/// What every stored object has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// Log index of the last write: the API's `Version.Index`. Set by the store.
    pub version: u64,
    /// First write. Set by the store.
    pub created: Stamp,
    /// Last write. Set by the store.
    pub updated: Stamp,
}
