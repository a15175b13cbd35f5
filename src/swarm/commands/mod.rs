//! One file per group of commands: arguments, requests, output.

mod ca;
pub mod cluster;
pub mod common;
pub mod containers;
pub mod content;
pub mod contexts;
mod drain;
pub mod events;
pub mod image;
pub mod info;
pub mod inspect;
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
mod unlock;
pub mod unserved;
mod usage;
pub mod version;
pub mod volume;
