//! The contract between nodes: protobuf messages generated from `proto/`, and their conversions to and
//! from the types of `core`. The only crate that names protobuf types.
//!
//! Callers speak in core types: `encode_entry`, `decode_entry`, `encode_snapshot`, and [`Wire`] for
//! single objects inside the conversations' messages.
#![forbid(unsafe_code)]

/// Generated from `proto/`; a test keeps it true.
#[allow(clippy::all, clippy::unwrap_used, missing_docs)]
#[rustfmt::skip]
pub mod pb {
    pub mod objects { include!("generated/swarm.objects.rs"); }
    pub mod raft { include!("generated/swarm.raft.rs"); }
    pub mod trust { include!("generated/swarm.trust.rs"); }
    pub mod control { include!("generated/swarm.control.rs"); }
    pub mod dispatch { include!("generated/swarm.dispatch.rs"); }
    pub mod logs { include!("generated/swarm.logs.rs"); }
    pub mod engine { include!("generated/swarm.engine.rs"); }
}

mod convert;
mod dispatch;
mod fabric;
mod log;
mod objects;
mod txn;

pub use convert::{Wire, WireError};
pub use log::{decode_entry, decode_snapshot, encode_entry, encode_snapshot};
pub use prost::Message;
