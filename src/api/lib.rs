//! The Docker Engine API over the daemon's unix socket.
//!
//! Owns the HTTP side: paths, versions, JSON in and out, streams. What it needs of the rest of the
//! daemon are the traits in [`ports`], bound by the binary. It never decides anything about the
//! cluster (that is `swarm_core::control`) and never touches a container or a peer itself.
#![forbid(unsafe_code)]

mod call;
mod carry;
mod compat;
mod configs;
mod containers;
mod disk_usage;
mod error;
mod events;
mod exec;
mod filters;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod gather;
mod images;
pub mod json;
mod logs;
mod lookup;
mod networks;
mod nodes;
mod plugins;
pub mod ports;
mod rebalance;
mod refused;
mod rehearsals;
mod routes;
mod secrets;
mod services;
mod stream;
mod swarm;
mod system;
mod tasks;
mod version;
mod versions;
mod volumes;

pub use axum::serve::Listener;
pub use error::ApiError;
pub use version::ApiVersion;

use axum::Router;
use ports::{Cluster, Connections, Local};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// The two ports, as handlers share them.
#[derive(Clone)]
pub struct Ports {
    pub cluster: Arc<dyn Cluster>,
    pub local: Arc<dyn Local>,
}

/// What all connections share.
#[derive(Clone)]
struct Server {
    ports: Ports,
    events: events::Hub,
    execs: exec::Execs,
    shutdown: CancellationToken,
}

/// Serves the API on a listener until `shutdown` is cancelled, and what concerns this node's containers on the
/// connections that managers carry here. The caller made the socket and set its mode. Connections that are open at
/// the end are told so.
pub async fn serve<L>(
    listener: L,
    carried: Connections,
    ports: Ports,
    shutdown: CancellationToken,
) -> std::io::Result<()>
where
    L: Listener,
    L::Addr: std::fmt::Debug,
{
    let events = events::Hub::start(&ports, shutdown.clone());
    let execs = exec::Execs::start(shutdown.clone());
    let server = Server { ports, events, execs, shutdown: shutdown.clone() };
    tokio::spawn(carry::serve(carried, server.clone()));
    let router = Router::new().fallback(routes::dispatch).with_state(server);
    axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned()).await
}

#[cfg(test)]
mod tests;
