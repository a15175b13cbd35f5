//! node

pub mod transport;
pub mod storage;
pub mod trust;
