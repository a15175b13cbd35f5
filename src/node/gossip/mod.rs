//! The gossip socket: one task owns the membership and a UDP port, and seals every packet.
//!
//! Owns the key ring and the socket; what is believed of whom is decided in
//! `swarm_core::membership`. The daemon starts it once per process and keeps the [`GossipHandle`];
//! everyone else watches members through clones of it. Must never place tasks or judge nodes.

mod generation;
mod handle;
mod keyring;
mod task;

pub use generation::{GenerationError, next_generation};
pub use handle::{Counts, GossipHandle, Snapshot};
pub use keyring::{KeyRing, KeyRingError, SEAL_BYTES};
pub use task::{GOSSIP_PORT, GossipConfig, GossipError, start};

#[cfg(test)]
mod tests;
