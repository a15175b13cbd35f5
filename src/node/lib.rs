//! node

pub mod trust;
