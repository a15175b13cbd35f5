//! Pure decisions of the cluster: what is wanted, what is there, what to do next.
//!
//! Nothing here reads a clock, a file, a socket or a global random source: time, randomness and ids
//! come in as arguments, so that the same inputs give the same outputs on every manager and in the
//! simulator. The shells around it live in the crates `node`, `overlay` and `runtime`.
#![forbid(unsafe_code)]

pub mod allocator;
pub mod audit;
pub mod autoscale;
pub mod compose;
pub mod consensus;
pub mod constraint;
pub mod control;
pub mod dependency;
pub mod dispatch;
pub mod dns;
pub mod fabric;
pub mod ids;
pub mod leader;
pub mod lease;
pub mod membership;
pub mod model;
pub mod plan;
pub mod rehearsal;
pub mod scheduler;
pub mod sensitive;
pub mod spec;
pub mod store;
pub mod template;
pub mod time;
pub mod trust;
pub mod worker;

pub use ids::{ClusterId, ConfigId, NetworkId, NodeId, SecretId, ServiceId, TaskId};
pub use sensitive::Sensitive;
pub use time::{Mono, Stamp, WallTime};
