//! The network between containers: encrypted between hosts, isolated by network, with names, service
//! addresses and published ports.
//!
//! Called by the node daemon through [`Fabric`]: it hands in what must be ([`FabricState`]) and the
//! tasks it starts ([`AttachSpec`]), and gets namespaces and texts for its containers. This crate
//! decides nothing about placement or membership, and runs no container.
//!
//! How a packet goes: from the task by a veth into the namespace of its network, where service
//! addresses become tasks (nftables); from there to a task on this host by another veth, or into a TUN
//! device, whose reader (the shard) finds the peer that owns the address and sends the packet through
//! WireGuard. Published ports enter by a veth between the host and the network's namespace.
//!
//! Limits of this version: IPv4 inside the networks (IPv6 is refused by name), one shard, no offloads;
//! UDP and TCP ports (SCTP is refused).
//!
//! [`FabricState`]: swarm_core::fabric::FabricState

mod api;
mod conntrack;
mod container;
mod error;
mod fabric;
mod firewall;
mod forwarding;
pub mod keys;
mod manager;
mod names;
mod netlink;
mod netns;
mod network;
mod nft;
mod plan;
mod ports;
mod reach;
mod record;
mod resolver;
mod rules;
mod shard;
mod stale;
mod status;
mod tun;

pub use api::{AttachSpec, Attached, FabricOptions, PORT_DEFAULT};
pub use error::{FabricError, Result, chain};
pub use fabric::Fabric;
pub use reach::connect;
pub use status::{Drops, FabricStatus, NetworkStatus, PeerStatus};
