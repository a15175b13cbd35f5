//! Images of this node: pulled from registries, loaded from archives, unpacked into layers, and mounted as
//! the root file systems of containers.
//!
//! The agent calls it to get the root of a task's container; the daemon's API to pull, load, import, list
//! and remove. It owns one directory and everything in it, starts no container, and knows nothing of
//! services and tasks. Whatever it does, a process killed at any moment leaves a store that opens again,
//! with every image whose call had returned.
//!
//! Downloading is async. Everything else works on the disk and blocks: call it from a blocking thread.

mod archive;
mod auth;
mod blobs;
mod catalog;
mod config;
mod digest;
mod disk;
mod error;
#[cfg(test)]
mod kill_tests;
pub(crate) mod layer;
mod manifest;
mod platform;
mod reference;
mod registry;
mod snapshot;
mod store;
#[cfg(test)]
mod testing;
pub(crate) mod tree;

pub use archive::{ImportOptions, Loaded};
pub use auth::RegistryAuth;
pub use config::{History, ImageConfig};
pub use digest::Digest;
pub use error::{ImageError, Result};
pub use platform::Platform;
pub use reference::{DEFAULT_REGISTRY, DEFAULT_TAG, Reference};
pub use registry::{PullProgress, PullState, Resolved, RetryPolicy};
pub use snapshot::{Prepared, RootParts, Rootfs};
pub use store::{Image, ImageStore, Pruned, Removed, StoreOptions};
