//! The raft database of one manager: log, hard state and snapshot on disk, every value sealed.
//!
//! Owns: the redb file and its format. Called by: the storage thread of `crate::raft`, and by whoever makes a node a
//! manager (create) or starts one (open). Never: decides anything about raft, or writes a value in the clear.
//!
//! Each call of [`RaftStorage::persist`] is one transaction with one fsync: after it returns the batch is on disk
//! whole, and after a crash inside it the state before is found. Reads happen only at open.
//!
//! Format (redb, version 1):
//! - `meta`: `format` in the clear, so that a foreign file is recognised; sealed: `check` (tells a wrong key from a
//!   damaged file), `identity`, `hard_state`, `snapshot` (its head)
//! - `log`: index -> sealed entry
//! - `snapshot`: number -> sealed chunk

mod error;
mod format;
mod raft;
mod seal;
#[cfg(test)]
mod tests;

pub use error::StorageError;
pub use format::Identity;
pub use raft::RaftStorage;
pub use seal::DataKey;
