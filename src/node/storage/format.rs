//! Tables and records of the database.

use redb::TableDefinition;
use swarm_core::NodeId;

pub(super) const FORMAT: &str = "swarm raft 1";
pub(super) const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
pub(super) const LOG: TableDefinition<u64, &[u8]> = TableDefinition::new("log");
pub(super) const CHUNKS: TableDefinition<u32, &[u8]> = TableDefinition::new("snapshot");

pub(super) const KEY_FORMAT: &str = "format";
pub(super) const KEY_CHECK: &str = "check";
pub(super) const KEY_IDENTITY: &str = "identity";
pub(super) const KEY_HARD_STATE: &str = "hard_state";
pub(super) const KEY_SNAPSHOT: &str = "snapshot";

/// Plain text of the record that tells a wrong key from a damaged file.
pub(super) const CHECK: &[u8] = b"this key opens";

/// Bytes of one chunk of a snapshot, so that no value is so large that the database has to grow for it at once.
pub(super) const CHUNK_BYTES: usize = 1024 * 1024;

/// Whose database this is. Written once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Of this period of membership.
    pub raft_id: u64,
    pub node: NodeId,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct IdentityRecord {
    #[prost(uint64, tag = "1")]
    pub raft_id: u64,
    #[prost(bytes = "vec", tag = "2")]
    pub node: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct SnapshotRecord {
    #[prost(uint64, tag = "1")]
    pub index: u64,
    #[prost(bytes = "bytes", tag = "2")]
    pub meta: bytes::Bytes,
    #[prost(bytes = "bytes", tag = "3")]
    pub floor: bytes::Bytes,
    #[prost(uint32, tag = "4")]
    pub chunks: u32,
    #[prost(uint64, tag = "5")]
    pub bytes: u64,
}

pub(super) fn place_of_meta(key: &str) -> String {
    format!("meta/{key}")
}

pub(super) fn place_of_entry(index: u64) -> String {
    format!("log/{index}")
}

pub(super) fn place_of_chunk(snapshot_index: u64, number: u32) -> String {
    format!("snapshot/{snapshot_index}/{number}")
}
