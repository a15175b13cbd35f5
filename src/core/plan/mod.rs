//! The orchestrator: from what services want and what their tasks do, to tasks made, started, stopped
//! and removed.
//!
//! Pure and level-triggered: everything is read from one snapshot and the clock handed in; progress is
//! kept in services and tasks, so a new leader goes on where the last one stopped. Called by the leader,
//! phase by phase, each on the result of the one before. It never chooses nodes or addresses, and it
//! never writes the status of a task that a node has, unless that node is gone.

mod backoff;
mod canary;
mod contents;
mod evict;
mod given_up;
mod global;
mod job;
mod moves;
mod once;
mod reap;
mod rebalance;
mod replicated;
mod restart;
mod slots;
mod start;
mod task;
mod update;
mod version;
mod waits;

pub use canary::update_message;
pub use contents::{reap_contents, released_contents};
pub use evict::evict;
pub use reap::{reap_networks, reap_service, reap_strays};
pub use rebalance::{BUDGET_TIME, Budget, ROUND_MOVES_MAX, Shift, even_out, rebalance, rebalance_round};
pub use slots::Memo;
pub use version::is_current;
pub use waits::{service_reason, waiting_reason};

use crate::model::{Service, ServiceMode};
use crate::store::{Change, View};
use crate::{ServiceId, WallTime};
use rand::RngCore;
use slots::{Slot, SlotKey};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Changes of one phase for one service at most; what is left is done in the next round.
pub const PHASE_CHANGES_MAX: usize = 400;

/// What a phase wants changed.
#[derive(Debug, Default)]
pub struct Plan {
    /// Changes that belong together: all of one group or none of it, in this order.
    pub groups: Vec<Vec<Change>>,
    /// When to look again though nothing changes.
    pub wake_at: Option<WallTime>,
    memo: Memo,
}

impl Plan {
    fn slots(&mut self, view: &View, service: &Service) -> Arc<BTreeMap<SlotKey, Slot>> {
        self.memo.slots(view, service)
    }

    fn add(&mut self, changes: Vec<Change>) {
        if !changes.is_empty() {
            self.groups.push(changes);
        }
    }

    fn wake(&mut self, at: WallTime) {
        self.wake_at = Some(self.wake_at.map_or(at, |earlier| earlier.min(at)));
    }

    /// How many changes there are.
    pub fn len(&self) -> usize {
        self.groups.iter().map(Vec::len).sum()
    }

    /// Nothing is to be changed.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    fn is_full(&self) -> bool {
        self.len() >= PHASE_CHANGES_MAX
    }
}

/// The phases of one service, in the order they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Take the newest contents of secrets and configs.
    Contents,
    /// Replace what ended or lost its node.
    Restart,
    /// As many slots as wanted.
    Scale,
    /// Bring tasks to the current spec.
    Update,
    /// Take tasks off nodes they must leave, where they can be there twice meanwhile.
    Move,
    /// Start what waited for its delay or its predecessor.
    Start,
    /// Forget what is over.
    Reap,
}

impl Phase {
    pub const ALL: [Self; 7] =
        [Self::Contents, Self::Restart, Self::Scale, Self::Update, Self::Move, Self::Start, Self::Reap];
}

/// What one phase does about one service. `rng` is only for ids; `memo` is for the phases of one service.
pub fn reconcile<R: RngCore>(
    view: &View,
    service: ServiceId,
    phase: Phase,
    now: WallTime,
    rng: &mut R,
    memo: &mut Memo,
) -> Plan {
    let mut plan = Plan { memo: std::mem::take(memo), ..Plan::default() };
    run(view, service, phase, now, rng, &mut plan);
    *memo = std::mem::take(&mut plan.memo);
    plan
}

fn run<R: RngCore>(view: &View, service: ServiceId, phase: Phase, now: WallTime, rng: &mut R, plan: &mut Plan) {
    let Some(service) = view.service(service) else {
        return;
    };
    match (phase, !service.removing) {
        (Phase::Contents, _) => contents::raise(view, service, plan),
        (Phase::Reap, _) => reap::reap_service(view, service, now, plan),
        (_, false) => {}
        (Phase::Restart, true) => {
            job::retire(view, service, plan);
            restart::restart(view, service, now, rng, plan);
        }
        (Phase::Scale, true) => match service.spec.mode {
            ServiceMode::Replicated { .. } => replicated::scale(view, service, rng, plan),
            ServiceMode::Global => global::scale(view, service, rng, plan),
            ServiceMode::ReplicatedJob { max_concurrent, total_completions } => {
                job::scale_replicated(view, service, max_concurrent, total_completions, rng, plan);
            }
            ServiceMode::GlobalJob => job::scale_global(view, service, rng, plan),
        },
        // What a job runs changes with its iteration only.
        (Phase::Update, true) if job::is_job(service) => {}
        (Phase::Update, true) => update::update(view, service, now, rng, plan),
        (Phase::Move, true) => moves::moves(view, service, rng, plan),
        (Phase::Start, true) => start::start(view, service, now, plan),
    }
}
