//! What the leader does about the cluster as it is: allocate, plan, place and clean up, as transactions.
//!
//! Owns nothing: the leader's shell calls [`step`] with its newest view whenever something changed or
//! [`Step::wake_at`] has come, proposes the transactions in order under its term, and calls again with
//! the view they led to until there are none. Each decision sees the result of the ones before it, so
//! a whole deployment goes through in one step. Level-triggered: a transaction that is lost, or made
//! void by what a user wrote meanwhile, is decided anew by the next step.

use crate::plan::Phase;
use crate::store::{Change, Object, Store, Txn, View};
use crate::{ServiceId, WallTime, allocator, plan, scheduler};
use rand::RngCore;
use std::collections::BTreeSet;

/// Changes in one transaction at most: a log entry is applied in a few milliseconds.
pub const TXN_CHANGES_MAX: usize = 500;
/// Estimated bytes of one transaction at most, unless a single group of changes is larger: a third of
/// what fits into a log entry, so that the estimate may be wrong.
const TXN_BYTES_MAX: usize = 1 << 20;
/// Bytes of a change that carries no spec: ids, addresses and a sentence or two.
const CHANGE_BYTES: usize = 300;
/// Changes decided in one step at most: the leader gets back to its queue in between.
pub const STEP_CHANGES_MAX: usize = 5000;
/// Rounds of decisions in one step at most. A service goes from nothing to placed in two; more only
/// follow one another when something is undone as often as it is done.
const ROUNDS_MAX: usize = 12;

/// Which services to look at. What does not belong to a service is always looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every service: after a change of leader, of a node, of the cluster, and when the time has come.
    All,
    /// These alone: those that changed or whose tasks did.
    Services(BTreeSet<ServiceId>),
}

/// What is to be done now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// To be proposed in this order, each at most [`TXN_CHANGES_MAX`] changes. `term` is not set: the
    /// caller puts its own. Empty: nothing is to be done.
    pub txns: Vec<Txn>,
    /// When to call again with [`Scope::All`] though nothing changed, by the same clock as `now`.
    pub wake_at: Option<WallTime>,
}

/// Decides what is to be done about `view` at `now`, the leader's wall clock; `rng` is used for ids only.
pub fn step<R: RngCore>(view: &View, now: WallTime, scope: &Scope, rng: &mut R) -> Step {
    let mut draft = Draft::new(view, now);
    let mut wake_at = None;
    for _ in 0..ROUNDS_MAX {
        let before = draft.changes;
        wake_at = round(&mut draft, scope, now, rng);
        if draft.changes == before || draft.room() == 0 {
            break;
        }
    }
    Step { txns: draft.txns, wake_at }
}

/// One pass over everything, each decision on the result of the last. Returns when to look again.
fn round<R: RngCore>(draft: &mut Draft, scope: &Scope, now: WallTime, rng: &mut R) -> Option<WallTime> {
    let mut wakes: Vec<WallTime> = Vec::new();
    for service in services(&draft.view, scope) {
        for phase in Phase::ALL {
            if draft.room() == 0 {
                return Some(now);
            }
            let plan = plan::reconcile(&draft.view, service, phase, now, rng);
            wakes.extend(plan.wake_at);
            draft.take(plan.groups);
        }
    }
    let strays = plan::reap_strays(&draft.view, now);
    wakes.extend(strays.wake_at);
    draft.take(strays.groups);
    draft.take(plan::reap_networks(&draft.view).groups);
    for allocate in [allocator::allocate_networks, allocator::allocate_services, allocator::allocate_tasks] {
        let changes = allocate(&draft.view, draft.room());
        draft.take(changes.into_iter().map(|change| vec![change]).collect());
    }
    let mut board = scheduler::Board::of(&draft.view);
    let changes = scheduler::place(&draft.view, &mut board, now, draft.room());
    draft.take(changes.into_iter().map(|change| vec![change]).collect());
    wakes.into_iter().min()
}

fn services(view: &View, scope: &Scope) -> Vec<ServiceId> {
    match scope {
        Scope::All => view.services().map(|service| service.id).collect(),
        Scope::Services(some) => some.iter().copied().collect(),
    }
}

/// The transactions so far, and the view they lead to.
struct Draft {
    store: Store,
    view: View,
    now: WallTime,
    txns: Vec<Txn>,
    changes: usize,
    /// Estimated bytes of the last transaction.
    bytes: usize,
}

/// New tasks carry their whole spec, whose size is the user's choice.
fn bytes(change: &Change) -> usize {
    match change {
        Change::Create(Object::Task(task)) => {
            CHANGE_BYTES + serde_json::to_vec(&task.spec).map_or(TXN_BYTES_MAX, |spec| spec.len())
        }
        // The leader makes and replaces nothing else.
        Change::Create(_) | Change::Replace(_) => TXN_BYTES_MAX,
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
        | Change::NetworkAllocated { .. } => CHANGE_BYTES,
    }
}

impl Draft {
    fn new(view: &View, now: WallTime) -> Self {
        Self { store: Store::from_view(view.clone()), view: view.clone(), now, txns: Vec::new(), changes: 0, bytes: 0 }
    }

    fn room(&self) -> usize {
        STEP_CHANGES_MAX.saturating_sub(self.changes)
    }

    /// Adds the groups that apply. One that does not would refuse the transaction it came into.
    fn take(&mut self, groups: Vec<Vec<Change>>) {
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

#[cfg(test)]
mod tests;
