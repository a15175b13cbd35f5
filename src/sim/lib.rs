//! A whole virtual cluster over `core`, on one event queue: managers, nodes, users and everything that can go wrong.
//!
//! Owns the shells around core's state machines (the daemon's are in `node`; these are written after them and must
//! follow them), a network, disks and engines that fail, and the invariants. Never: threads within a run, a clock, or
//! a second source of randomness. The same seed and code give the same log, line for line.
#![forbid(unsafe_code)]

mod agent;
mod call;
mod check;
mod check_nodes;
pub mod command;
mod contents;
mod converge;
mod disk;
mod effects;
mod engine;
mod faults;
mod gossip;
mod host;
mod leader;
mod log;
mod manager;
pub mod many;
mod members;
mod mutate;
mod net;
mod operation;
mod places;
mod probing;
mod record;
pub mod replay;
mod role;
mod run;
mod scaling;
pub mod scenarios;
mod script;
mod session;
mod sessions;
mod settings;
mod shim;
mod spec;
mod stream;
mod submit;
mod table;
#[cfg(test)]
mod tests;
mod user;
mod world;

pub use log::Sink;
pub use mutate::Mutation;
pub use run::{Outcome, run, run_until};
pub use settings::Settings;
