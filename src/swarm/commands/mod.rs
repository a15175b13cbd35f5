//! One file per group of commands: arguments, requests, output.

pub mod cluster;
pub mod common;
pub mod container;
pub mod content;
mod drain;
pub mod events;
pub mod image;
pub mod log_options;
pub mod network;
pub mod node;
pub mod rebalance;
pub mod rehearsal;
pub mod service;
pub mod settings;
pub mod stack;
pub mod system;
pub mod task;
pub mod tasks;
pub mod volume;
