//! The transactions of one step so far, and the view they lead to.

use super::oversize::Oversize;
use super::{STEP_CHANGES_MAX, TXN_CHANGES_MAX};
use crate::WallTime;
use crate::model::{ResourceNames, Task, TaskAttachment, TaskStatus};
use crate::store::{Change, Object, Store, Txn, View};

/// Estimated bytes of one transaction at most, unless a single group of changes is larger: a third of
/// what fits into a log entry, so that the estimate may be wrong.
const TXN_BYTES_MAX: usize = 1 << 20;
/// Bytes of a change without its specs and texts: ids, addresses and numbers.
const CHANGE_BYTES: usize = 300;
/// Bytes of a port, an address or an entry of a list beyond its text.
const ENTRY_BYTES: usize = 40;

pub(super) struct Draft {
    store: Store,
    pub view: View,
    now: WallTime,
    pub txns: Vec<Txn>,
    pub changes: usize,
    /// Estimated bytes of the last transaction.
    bytes: usize,
    oversize: Oversize,
}

/// What of a change may be of any length is counted: specs, labels, names and sentences.
pub(super) fn bytes(change: &Change) -> usize {
    let more = match change {
        Change::Create(Object::Task(task)) => task_bytes(task),
        // The leader makes and replaces nothing else.
        Change::Create(_) | Change::Replace(_) | Change::SecretSpec { .. } | Change::ConfigSpec { .. } => TXN_BYTES_MAX,
        Change::TaskStatus { status, .. } => status_bytes(status),
        Change::TaskAssigned { message, reason, resources, .. } => {
            message.len() + reason.len() + resources.iter().map(|(kind, names)| unit_bytes(kind, names)).sum::<usize>()
        }
        Change::TaskAllocated { attachments, reason, .. } => {
            reason.len() + attachments.iter().flatten().map(attachment_bytes).sum::<usize>()
        }
        Change::ServiceEndpoint { endpoint, .. } => {
            let entries = endpoint.spec.ports.len() + endpoint.ports.len() + endpoint.vips.len();
            endpoint.pending_reason.len() + entries * ENTRY_BYTES
        }
        Change::ServiceUpdateStatus { status, .. } => status.message.len(),
        Change::ServiceRollback { message, .. } => message.len(),
        Change::NetworkAllocated { reason, .. } => reason.len(),
        Change::Delete(_)
        | Change::TaskDesired { .. }
        | Change::NodeStatus { .. }
        | Change::NodeDescription { .. }
        | Change::NodeRaft { .. }
        | Change::NodeCertificate { .. }
        | Change::ServiceScaled { .. }
        | Change::ServiceContents { .. }
        | Change::ContentDropped { .. } => 0,
    };
    CHANGE_BYTES + more
}

/// A new task carries its whole spec, and what else of its service it needs.
fn task_bytes(task: &Task) -> usize {
    let spec = serde_json::to_vec(&task.spec).map_or(TXN_BYTES_MAX, |spec| spec.len());
    let labels = task.service_labels.iter().map(|(key, value)| key.len() + value.len() + ENTRY_BYTES).sum::<usize>();
    let entries = task.host_ports.len() + task.restarts.attempts.len();
    let attachments = task.attachments.iter().map(attachment_bytes).sum::<usize>();
    let names = task.service_name.len() + task.preempted_by.len();
    spec + labels + entries * ENTRY_BYTES + attachments + names + status_bytes(&task.status)
}

fn status_bytes(status: &TaskStatus) -> usize {
    status.message.len() + status.err.len() + status.host_ports.len() * ENTRY_BYTES
}

fn attachment_bytes(attachment: &TaskAttachment) -> usize {
    ENTRY_BYTES + attachment.aliases.iter().map(|alias| alias.len() + ENTRY_BYTES).sum::<usize>()
}

fn unit_bytes(kind: &str, units: &ResourceNames) -> usize {
    kind.len() + ENTRY_BYTES + units.names.iter().map(|name| name.len() + ENTRY_BYTES).sum::<usize>()
}

impl Draft {
    pub fn new(view: &View, now: WallTime, oversize: Oversize) -> Self {
        let (store, view) = (Store::from_view(view.clone()), view.clone());
        Self { store, view, now, txns: Vec::new(), changes: 0, bytes: 0, oversize }
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
            let instead = self.oversize.instead(&self.store.view(), &changes, self.now);
            let changes = instead.unwrap_or(changes);
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
