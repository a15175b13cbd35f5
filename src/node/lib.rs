//! The daemon's cluster side: one node, its trust, its transport and gossip, its agent, and, when it is a
//! manager, its share of the log and of leading.
//!
//! Binds the pure machines of `core` to sockets, disks and clocks, and the agent's ports to the crates
//! `runtime` and `overlay`. The binary (crate `swarm`) binds what is exported here to the API's ports.

pub mod agent;
pub mod carry;
pub mod clock;
pub mod disk;
pub mod engine;
pub mod error;
pub mod gossip;
pub mod gossip_view;
pub mod logs;
pub mod manager;
pub mod managers;
mod member;
pub mod node;
pub mod raft;
pub mod storage;
pub mod transport;
pub mod trust;

#[cfg(test)]
mod cluster_tests;
