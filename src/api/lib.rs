//! The Docker Engine API over the daemon's unix socket.
//!
//! Owns the HTTP side: paths, versions, JSON in and out, streams. What it needs of the rest of the
//! daemon are the traits in [`ports`], bound by the binary. It never decides anything about the
//! cluster (that is `swarm_core::control`) and never touches a container or a peer itself.
#![forbid(unsafe_code)]

pub mod ports;

use ports::{Cluster, Local};
use std::sync::Arc;

/// The two ports, as handlers share them.
#[derive(Clone)]
pub struct Ports {
    pub cluster: Arc<dyn Cluster>,
    pub local: Arc<dyn Local>,
}
