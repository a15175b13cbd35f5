//! What the log and the snapshots carry in place of bytes: numbers of transactions and of states, kept here.
//!
//! `core` has no encoding of its own, and the simulator may not use the wire's. An entry is the number of a
//! transaction (and padding, so that logs grow to where snapshots are taken), a snapshot the number of a list of
//! objects. Both are values: nothing that a process keeps in memory is reached through them.

use bytes::Bytes;
use std::sync::Arc;
use swarm_core::store::{Object, Store, Txn};

/// Whose write it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The leader's orchestration.
    Decision,
    /// The leader's dispatch: node states and what agents report.
    Statuses,
    /// The leader's care for managers and keys.
    Members,
    /// The leader's autoscaler.
    Scaling,
    /// What a leader begins with.
    Barrier,
    /// A node got a certificate for its role.
    Certificate,
    /// A user's wish.
    User,
}

/// A transaction as proposed.
#[derive(Debug)]
pub struct Entry {
    pub txn: Txn,
    pub source: Source,
    /// Of the leadership in which it was decided, whatever the transaction itself says.
    pub decided: Option<u64>,
}

/// A state of the store, as a snapshot holds it.
#[derive(Debug)]
struct State {
    index: u64,
    objects: Vec<Object>,
}

/// All of them, of the whole simulation.
#[derive(Debug, Default)]
pub struct Tables {
    entries: Vec<Arc<Entry>>,
    states: Vec<State>,
}

const NUMBER_BYTES: usize = 8;

fn number(bytes: &Bytes) -> Option<usize> {
    let head = bytes.get(..NUMBER_BYTES)?;
    usize::try_from(u64::from_be_bytes(head.try_into().ok()?)).ok()
}

fn padded(number: usize, padding: usize) -> Bytes {
    let mut bytes = vec![0; NUMBER_BYTES + padding];
    bytes[..NUMBER_BYTES].copy_from_slice(&(number as u64).to_be_bytes());
    bytes.into()
}

impl Tables {
    /// The bytes that stand for `entry` in the log.
    pub fn encode(&mut self, entry: Entry, padding: usize) -> (usize, Bytes) {
        self.entries.push(Arc::new(entry));
        let number = self.entries.len() - 1;
        (number, padded(number, padding))
    }

    /// The transaction behind the bytes of an entry.
    pub fn entry(&self, bytes: &Bytes) -> Option<(usize, Arc<Entry>)> {
        let number = number(bytes)?;
        Some((number, Arc::clone(self.entries.get(number)?)))
    }

    /// The bytes that stand for the state of `store`.
    pub fn pack(&mut self, store: &Store) -> Bytes {
        self.states.push(State { index: store.view().index(), objects: store.objects() });
        padded(self.states.len() - 1, 0)
    }

    /// The store behind the bytes of a snapshot.
    pub fn unpack(&self, bytes: &Bytes) -> Option<Store> {
        let state = self.states.get(number(bytes)?)?;
        Some(Store::restore(state.index, state.objects.iter().cloned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use swarm_core::WallTime;

    #[test]
    fn an_entry_is_found_by_its_bytes_whatever_their_padding() {
        let mut tables = Tables::default();
        for padding in [0, 100] {
            let txn = Txn { wall: WallTime(padding as i64), ..Txn::default() };
            let (number, bytes) = tables.encode(Entry { txn, source: Source::User, decided: None }, padding);
            assert_eq!(bytes.len(), NUMBER_BYTES + padding);
            let (found, entry) = tables.entry(&bytes).expect("known");
            assert_eq!((found, entry.txn.wall), (number, WallTime(padding as i64)));
        }
        assert!(tables.entry(&Bytes::from_static(b"short")).is_none());
    }
}
