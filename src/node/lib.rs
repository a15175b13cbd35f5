//! node

pub mod transport;
pub mod trust;
