//! Entries of the managers' log and snapshots of the store, as bytes.

use crate::convert::{Wire, WireError};
use crate::pb::raft as pb;
use prost::Message;
use swarm_core::store::{Object, Store, Txn};

/// A transaction as a log entry.
pub fn encode_entry(txn: &Txn) -> Vec<u8> {
    pb::Entry { kind: Some(pb::entry::Kind::Txn(txn.to_wire())) }.encode_to_vec()
}

/// A log entry. An unknown kind is an error the node must stop at: skipping it would make managers differ.
pub fn decode_entry(bytes: &[u8]) -> Result<Txn, WireError> {
    let entry = pb::Entry::decode(bytes)?;
    match entry.kind.ok_or(WireError::Missing("Entry.kind"))? {
        pb::entry::Kind::Txn(txn) => Txn::from_wire(txn),
    }
}

/// The whole store.
pub fn encode_snapshot(store: &Store) -> Vec<u8> {
    let objects = store.objects().iter().map(Wire::to_wire).collect();
    pb::Snapshot { index: store.view().index(), objects }.encode_to_vec()
}

/// A store from a snapshot.
pub fn decode_snapshot(bytes: &[u8]) -> Result<Store, WireError> {
    let snapshot = pb::Snapshot::decode(bytes)?;
    let objects = snapshot.objects.into_iter().map(Object::from_wire).collect::<Result<Vec<_>, _>>()?;
    Ok(Store::restore(snapshot.index, objects))
}
