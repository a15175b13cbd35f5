//! What the leader does about the cluster as it is: allocate, plan, place and clean up, as transactions.
//!
//! The leader's shell calls [`Ledger::step`] with its newest view whenever something changed or
//! [`Step::wake_at`] has come, proposes the transactions in order under its term, and calls again with
//! the view they led to until there are none. Each decision sees the result of the ones before it, so
//! a whole deployment goes through in one step. Level-triggered: a transaction that is lost, or made
//! void by what a user wrote meanwhile, is decided anew by the next step. The ledger decides nothing: a
//! step with a new one, which looks at everything, comes to the same ([`step`]).

mod affected;
mod clock;
mod draft;
mod evening;
mod ledger;
mod oversize;

pub use clock::Clock;
pub use ledger::Ledger;

use crate::store::{Txn, View};
use crate::{ServiceId, WallTime};
use rand::RngCore;
use std::collections::BTreeSet;

/// Changes in one transaction at most: a log entry is applied in a few milliseconds.
pub const TXN_CHANGES_MAX: usize = 500;
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
    /// When to call again though nothing changed, by the same clock as `now`.
    pub wake_at: Option<WallTime>,
}

/// Decides what is to be done about `view` at `now`, the leaders' time ([`Clock`]); `rng` is used for ids only.
/// For whoever has no [`Ledger`]: it reads everything.
pub fn step<R: RngCore>(view: &View, now: WallTime, scope: &Scope, rng: &mut R) -> Step {
    let services = match scope {
        Scope::All => view.services().map(|service| service.id).collect(),
        Scope::Services(some) => some.clone(),
    };
    Ledger::at(view, services).step(view, now, rng)
}

#[cfg(test)]
mod tests;
