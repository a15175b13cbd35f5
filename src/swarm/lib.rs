//! The binary `swarm`: command line, daemon, and a cluster on one machine.

pub mod bind;
mod cli;
mod client;
mod commands;
mod config_file;
pub mod daemon;
pub mod dev;
mod difference;
mod error;
mod filter;
mod host;
mod json;
mod listener;
mod logs;
mod names;
mod progress;
mod prompt;
mod registry;
mod start;
mod table;
mod template;
mod tree;
mod units;

pub use cli::run;
pub use commands::stack::{config_of as stack_config, load_of as stack_load};

/// Version of this binary.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
