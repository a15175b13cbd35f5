//! The binary `swarm`: command line, daemon, and a cluster on one machine.

pub mod dev;
