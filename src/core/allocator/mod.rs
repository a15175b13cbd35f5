//! Addresses, subnets, tunnel ids and published ports.
//!
//! Pure functions of one snapshot, called by the leader in this order: networks, services, tasks. What
//! is free and what is used is read from the snapshot each time; nothing is kept beside it that could
//! drift. Whatever cannot be served says why, with what is used and of how much, on the object that waits.

mod networks;
mod pool;
mod ports;
mod services;
mod tasks;

pub use networks::allocate_networks;
pub use services::{Obstacle, allocate_services};
pub use tasks::allocate_tasks;

#[cfg(test)]
mod tests;
