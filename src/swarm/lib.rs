//! The binary `swarm`: command line, daemon, and a cluster on one machine.

pub mod bind;
pub mod daemon;
pub mod dev;
mod host;

/// Version of this binary.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
