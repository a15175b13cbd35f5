//! The transactions of one step so far, and the view they lead to.

use super::{STEP_CHANGES_MAX, TXN_CHANGES_MAX};
use crate::WallTime;
use crate::store::{Change, Object, Store, Txn, View};

/// Estimated bytes of one transaction at most, unless a single group of changes is larger: a third of
/// what fits into a log entry, so that the estimate may be wrong.
const TXN_BYTES_MAX: usize = 1 << 20;
/// Bytes of a change that carries no spec: ids, addresses and a sentence or two.
const CHANGE_BYTES: usize = 300;

pub(super) struct Draft {
    store: Store,
    pub view: View,
    now: WallTime,
    pub txns: Vec<Txn>,
    pub changes: usize,
    /// Estimated bytes of the last transaction.
    bytes: usize,
}

/// New tasks carry their whole spec, whose size is the user's choice.
pub(super) fn bytes(change: &Change) -> usize {
    match change {
        Change::Create(Object::Task(task)) => {
            CHANGE_BYTES + serde_json::to_vec(&task.spec).map_or(TXN_BYTES_MAX, |spec| spec.len())
        }
        // The leader makes and replaces nothing else.
        Change::Create(_) | Change::Replace(_) | Change::SecretSpec { .. } | Change::ConfigSpec { .. } => TXN_BYTES_MAX,
        Change::Delete(_)
        | Change::TaskStatus { .. }
        | Change::TaskDesired { .. }
        | Change::TaskAssigned { .. }
        | Change::TaskAllocated { .. }
        | Change::NodeStatus { .. }
        | Change::NodeDescription { .. }
        | Change::NodeRaft { .. }
        | Change::NodeCertificate { .. }
        | Change::ServiceEndpoint { .. }
        | Change::ServiceUpdateStatus { .. }
        | Change::ServiceRollback { .. }
        | Change::ServiceScaled { .. }
        | Change::ServiceContents { .. }
        | Change::ContentDropped { .. }
        | Change::NetworkAllocated { .. } => CHANGE_BYTES,
    }
}

impl Draft {
    pub fn new(view: &View, now: WallTime) -> Self {
        Self { store: Store::from_view(view.clone()), view: view.clone(), now, txns: Vec::new(), changes: 0, bytes: 0 }
    }

    /// Changes that may be added.
    pub fn room(&self) -> usize {
        STEP_CHANGES_MAX.saturating_sub(self.changes)
    }

    /// Adds the groups that apply. One that does not would refuse the transaction it came into.
    pub fn take(&mut self, groups: Vec<Vec<Change>>) {
        if groups.is_empty() {
            return;
        }
        for changes in groups {
            let trial = Txn { wall: self.now, changes, ..Txn::default() };
            match self.store.apply(self.store.view().index() + 1, 0, &trial) {
                // What changes nothing is not worth a log entry.
                Ok(events) if events.is_empty() => {}
                Ok(_) => self.put(trial.changes),
                Err(conflict) => tracing::debug!(%conflict, "a decision does not apply"),
            }
        }
        self.view = self.store.view();
    }

    fn put(&mut self, changes: Vec<Change>) {
        self.changes += changes.len();
        let bytes: usize = changes.iter().map(bytes).sum();
        match self.txns.last_mut() {
            Some(last)
                if last.changes.len() + changes.len() <= TXN_CHANGES_MAX && self.bytes + bytes <= TXN_BYTES_MAX =>
            {
                last.changes.extend(changes);
                self.bytes += bytes;
            }
            Some(_) | None => {
                self.txns.push(Txn { wall: self.now, changes, ..Txn::default() });
                self.bytes = bytes;
            }
        }
    }
}
