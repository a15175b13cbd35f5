//! Addresses, subnets, tunnel ids and published ports.
//!
//! Pure functions of one snapshot, called by the leader in this order: networks, services, tasks. What
//! is free and who waits is in [`Books`], which follow from the snapshot; the leader keeps them and brings
//! them up to date with what changed, so that nothing can drift. Whatever cannot be served says why, with what is used and of how much, on the object that waits.

mod books;
mod networks;
mod pool;
mod ports;
mod services;
mod tasks;

pub use books::Books;
pub use networks::allocate_networks;
pub use services::{Obstacle, allocate_services};
pub use tasks::allocate_tasks;

#[cfg(test)]
mod tests;
