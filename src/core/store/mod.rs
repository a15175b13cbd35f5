//! The desired and observed state of the cluster: tables over persistent maps.
//!
//! One `Store` per manager, fed by the committed Raft log: `apply` is the only way in and is a pure
//! function of the store, the index, the term and the transaction. Readers take a `View`. It must never
//! invent an id or a time, nor depend on anything but its arguments: every manager must come to
//! the same bytes.

mod apply;
mod contents;
mod delta;
pub mod fits;
mod index;
mod txn;
mod view;

pub use delta::{Changed, Delta, changed_tasks};
pub use txn::{Change, Conflict, Object, ObjectRef, Precondition, Txn};
pub use view::View;

use crate::Stamp;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What became of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Created(Object),
    Updated { old: Object, new: Object },
    Removed(Object),
}

impl Event {
    /// The object concerned, as it is now (or was, when removed).
    pub fn object(&self) -> &Object {
        match self {
            Event::Created(object) | Event::Removed(object) => object,
            Event::Updated { new, .. } => new,
        }
    }
}

/// The store of one manager.
#[derive(Clone, Debug, Default)]
pub struct Store {
    view: View,
}

impl Store {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// A store that goes on from `view`: to try transactions on before they are proposed.
    pub fn from_view(view: View) -> Self {
        Self { view }
    }

    /// The state now.
    pub fn view(&self) -> View {
        self.view.clone()
    }

    /// Applies a committed transaction of log entry (`index`, `term`): all of it or nothing.
    /// Returns what changed, in order. Asserts that `index` rises.
    pub fn apply(&mut self, index: u64, term: u64, txn: &Txn) -> Result<Vec<Event>, Conflict> {
        assert!(index > self.view.index, "log index went from {} to {index}", self.view.index);
        // The index moves even when the transaction is refused: every manager saw this entry.
        self.view.index = index;
        if let Some(decided) = txn.term.filter(|decided| *decided != term) {
            return Err(Conflict::Fenced { decided, current: term });
        }
        let mut next = self.view.clone();
        let stamp = Stamp { index, wall: txn.wall };
        for precondition in &txn.preconditions {
            apply::check(&next, *precondition)?;
        }
        let ruled = txn.preconditions.iter().any(|precondition| matches!(precondition, Precondition::Rules(_)));
        let mut events = Vec::with_capacity(txn.changes.len());
        for change in &txn.changes {
            if ruled {
                fits::change(&next, change).map_err(Conflict::Refused)?;
            }
            apply::change(&mut next, stamp, change, &mut events)?;
        }
        self.view = next;
        Ok(events)
    }

    /// Moves the index over a log entry that carries no transaction (an empty or membership entry).
    pub fn skip(&mut self, index: u64) {
        assert!(index > self.view.index, "log index went from {} to {index}", self.view.index);
        self.view.index = index;
    }

    /// All objects, for a snapshot; the order is fixed.
    pub fn objects(&self) -> Vec<Object> {
        let view = &self.view;
        let mut all = Vec::new();
        all.extend(view.cluster.iter().cloned().map(Object::Cluster));
        all.extend(view.nodes().cloned().map(Object::Node));
        all.extend(view.networks().cloned().map(Object::Network));
        all.extend(view.secrets().cloned().map(Object::Secret));
        all.extend(view.configs().cloned().map(Object::Config));
        all.extend(view.services().cloned().map(Object::Service));
        all.extend(view.tasks().cloned().map(Object::Task));
        all
    }

    /// A store that holds exactly these objects, as they are, at `index`.
    pub fn restore(index: u64, objects: impl IntoIterator<Item = Object>) -> Self {
        let mut view = View { index, ..View::default() };
        let mut specs = BTreeMap::new();
        for mut object in objects {
            if let Object::Task(task) = &mut object {
                let spec = specs.entry((task.service, task.spec_version)).or_insert_with(|| Arc::clone(&task.spec));
                apply::share_spec(task, spec);
            }
            let old = index::get(&view, object.object_ref());
            index::put(&mut view, object, old.as_ref());
        }
        Self { view }
    }
}

impl From<crate::model::Node> for Object {
    fn from(node: crate::model::Node) -> Self {
        Object::Node(Arc::new(node))
    }
}

#[cfg(test)]
mod tests;
