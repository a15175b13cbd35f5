//! What the leader keeps between steps: what is free, who waits, and which services are to be looked at.
//!
//! All of it but when nodes are evened out (`evening`) and what is too large (`oversize`) follows from the view it was brought to, so nothing in it can
//! drift or get lost: it is brought to the next view by what differs between the two, whatever became of the
//! transactions of the last step.
//! A service is looked at until there is nothing to do about it, and then not before something it depends
//! on differs from what was looked at, or a time it named has come.

use super::affected::affected;
use super::draft::Draft;
use super::evening::Evening;
use super::oversize::Oversize;
use super::{ROUNDS_MAX, STEP_CHANGES_MAX, Step};
use crate::allocator::{self, Books};
use crate::model::ContentId;
use crate::plan::{self, Memo, Phase, ROUND_MOVES_MAX};
use crate::scheduler::{self, Board};
use crate::store::{Change, Delta, View};
use crate::{NetworkId, ServiceId, WallTime};
use rand::RngCore;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

/// Tasks of the services that one call of [`Ledger::look`] adds, about: some milliseconds of work.
const LOOK_TASKS: usize = 2000;

/// Changes of one step after which no further service is looked at: the other half is for addresses and nodes, so that
/// what is made is placed however much there is to make.
const RECONCILE_CHANGES_MAX: usize = STEP_CHANGES_MAX / 2;

/// Owned by the leader's shell for one term.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// Where all of the below is at.
    view: View,
    board: Board,
    books: Books,
    /// Services that are gone and have tasks.
    strays: BTreeSet<ServiceId>,
    /// Networks that are being removed.
    leaving: BTreeSet<NetworkId>,
    /// Secrets and configs with earlier contents that something may have needed last.
    contents: BTreeSet<ContentId>,
    /// Services to look at.
    dirty: BTreeSet<ServiceId>,
    wakes: Wakes,
    evening: Evening,
    oversize: Oversize,
    /// The last service that was looked at where not all were.
    reconciled: Option<ServiceId>,
    /// Where the next look over all services goes on.
    looked: Option<ServiceId>,
}

/// When something is to be done though nothing changes; `None` stands for the tasks without a service.
#[derive(Clone, Debug, Default)]
struct Wakes {
    by_service: BTreeMap<Option<ServiceId>, WallTime>,
    by_time: BTreeSet<(WallTime, Option<ServiceId>)>,
}

impl Wakes {
    fn set(&mut self, service: Option<ServiceId>, at: Option<WallTime>) {
        if let Some(old) = self.by_service.remove(&service) {
            self.by_time.remove(&(old, service));
        }
        if let Some(at) = at {
            self.by_service.insert(service, at);
            self.by_time.insert((at, service));
        }
    }

    fn next(&self) -> Option<WallTime> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Those whose time has come.
    fn due(&self, now: WallTime) -> impl Iterator<Item = ServiceId> {
        self.by_time.iter().take_while(move |(at, _)| *at <= now).filter_map(|(_, service)| *service)
    }
}

impl Ledger {
    /// At `view`; only `services` are to be looked at, and what changes from here on.
    pub fn at(view: &View, services: BTreeSet<ServiceId>) -> Self {
        let mut ledger = Self::default();
        ledger.follow(view);
        Self { dirty: services, ..ledger }
    }

    /// What is to be done about `view` at `now`, the leaders' time; `rng` is used for ids only. The
    /// first step looks at everything, each one after it at what changed.
    pub fn step<R: RngCore>(&mut self, view: &View, now: WallTime, rng: &mut R) -> Step {
        self.follow(view);
        self.dirty.extend(self.wakes.due(now));
        self.evening.note(now);
        let mut draft = Draft::new(view, now, self.oversize.clone());
        let mut is_evened = false;
        for _ in 0..ROUNDS_MAX {
            let before = draft.changes;
            if self.round(&mut draft, now, rng) {
                return Step { txns: draft.txns, wake_at: None };
            }
            // Once, when the rest is done.
            if draft.changes == before && !is_evened {
                is_evened = true;
                self.even_out(&mut draft, now, rng);
            }
            if draft.changes == before || draft.room() == 0 {
                break;
            }
        }
        self.evening.note(now);
        let evening = self.evening.wake_at().filter(|_| evens_out(view));
        Step { txns: draft.txns, wake_at: self.wakes.next().into_iter().chain(evening).min() }
    }

    /// Looks again at some services though nothing tells that they changed: those that wait for a time, which
    /// is wrong when the clock is set, and a part of all, another one each time. To be called now and then.
    pub fn look(&mut self) {
        self.dirty.extend(self.wakes.by_service.keys().flatten());
        let mut tasks = 0;
        let after = self.looked.take();
        for service in self.view.services_after(after) {
            self.dirty.insert(service.id);
            tasks += 1 + self.view.count_tasks(service.id);
            if tasks >= LOOK_TASKS {
                self.looked = Some(service.id);
                break;
            }
        }
    }

    /// A change alone did not fit into the log: it is left out from here on, and its service, task or network says so.
    /// False when that was told before.
    pub fn too_large(&mut self, change: &Change, bytes: usize, limit: usize) -> bool {
        self.oversize.note(change, bytes, limit)
    }

    /// All that is kept but what to look at is what a new one has.
    #[cfg(test)]
    pub(super) fn assert_follows(&self, view: &View) {
        let (mut kept, fresh) = (self.clone(), Self::at(view, BTreeSet::new()));
        kept.follow(view);
        assert_eq!(kept.board, fresh.board);
        assert_eq!(kept.books, fresh.books);
        assert_eq!((kept.strays, kept.leaving), (fresh.strays, fresh.leaving));
        assert_eq!(kept.evening.moves(), fresh.evening.moves());
    }

    /// For checks that nothing was missed: a new one that is to look at everything in `view`, and knows besides what
    /// does not follow from it.
    pub fn anew(&self, view: &View) -> Self {
        let mut kept = self.clone();
        kept.follow(view);
        let all = view.services().map(|service| service.id).collect();
        Self { evening: kept.evening, oversize: kept.oversize, ..Self::at(view, all) }
    }

    /// Goes on to `view`.
    fn follow(&mut self, view: &View) {
        let delta = Delta::between(&self.view, view);
        self.board.follow(&delta, view);
        self.books.follow(&delta, view);
        self.dirty.extend(affected(&delta, view));
        self.evening.follow(&delta);
        self.oversize.follow(&delta);
        let services = delta.services.iter().flat_map(|service| service.both().map(|service| service.id));
        let tasks = delta.tasks.iter().flat_map(|task| task.both().map(|task| task.service));
        for service in services.chain(tasks) {
            match view.service(service).is_none() && view.has_tasks(service) {
                true => self.strays.insert(service),
                false => self.strays.remove(&service),
            };
        }
        for network in &delta.networks {
            for id in network.both().map(|network| network.id) {
                match network.new.as_ref().is_some_and(|network| network.removing) {
                    true => self.leaving.insert(id),
                    false => self.leaving.remove(&id),
                };
            }
        }
        self.contents.extend(plan::released_contents(&delta, view));
        self.view = view.clone();
    }

    /// The services to look at; those that were left out last go first.
    fn turns(&self) -> Vec<ServiceId> {
        let Some(last) = self.reconciled else { return self.dirty.iter().copied().collect() };
        let after = self.dirty.range((Bound::Excluded(last), Bound::Unbounded));
        after.chain(self.dirty.range(..=last)).copied().collect()
    }

    /// One pass, each decision on the result of the last. True when the step is to end: a service takes new contents.
    ///
    /// Which contents, and as which version, is known only when that is written: users may write the service or the
    /// contents before. A task decided on what they are here could have the number of another version.
    fn round<R: RngCore>(&mut self, draft: &mut Draft, now: WallTime, rng: &mut R) -> bool {
        let mut is_raised = false;
        for service in self.turns() {
            if draft.changes >= RECONCILE_CHANGES_MAX {
                break;
            }
            is_raised |= self.reconcile(draft, service, now, rng);
            self.reconciled = Some(service);
        }
        if is_raised {
            self.follow(&draft.view);
            return true;
        }
        if draft.changes < RECONCILE_CHANGES_MAX {
            self.reconciled = None;
        }
        self.follow(&draft.view);
        let strays = plan::reap_strays(&draft.view, self.strays.iter().copied(), now);
        self.wakes.set(None, strays.wake_at);
        draft.take(strays.groups);
        draft.take(plan::reap_networks(&draft.view, self.leaving.iter().copied()).groups);
        let contents = plan::reap_contents(&draft.view, &mut self.contents);
        draft.take(contents.groups);
        for allocate in [allocator::allocate_networks, allocator::allocate_services, allocator::allocate_tasks] {
            self.follow(&draft.view);
            // The rest is for nodes.
            let changes = allocate(&draft.view, &self.books, draft.room().div_ceil(2));
            draft.take(each(changes));
        }
        self.follow(&draft.view);
        let mut evictions = Vec::new();
        let changes = scheduler::place(&draft.view, &mut self.board, now, draft.room(), &mut evictions);
        draft.take(each(changes));
        for eviction in evictions {
            let changes = plan::evict(&draft.view, &eviction, rng);
            draft.take(vec![changes]);
        }
        self.follow(&draft.view);
        false
    }

    fn even_out<R: RngCore>(&mut self, draft: &mut Draft, now: WallTime, rng: &mut R) {
        if !evens_out(&draft.view) || !self.evening.is_due(now) {
            return;
        }
        let budget = self.evening.budget(&draft.view, now);
        if budget.is_used_up() {
            return;
        }
        let moves = plan::even_out(&draft.view, &self.board, &budget, now, rng);
        self.evening.looked(now, moves.len() >= ROUND_MOVES_MAX, self.board.nodes().forgiven_at(now));
        draft.take(each(moves));
        self.follow(&draft.view);
        // What they leave.
        self.evening.budget(&draft.view, now);
    }

    /// All phases of one service, or the first alone when it takes new contents: true then. It need not be looked at
    /// again when none of them wanted anything.
    fn reconcile<R: RngCore>(&mut self, draft: &mut Draft, service: ServiceId, now: WallTime, rng: &mut R) -> bool {
        let mut wake_at: Option<WallTime> = None;
        let mut is_settled = true;
        let mut memo = Memo::default();
        for phase in Phase::ALL {
            if draft.room() == 0 {
                return false;
            }
            let plan = plan::reconcile(&draft.view, service, phase, now, rng, &mut memo);
            wake_at = wake_at.into_iter().chain(plan.wake_at).min();
            is_settled &= plan.is_empty();
            draft.take(plan.groups);
            if phase == Phase::Contents && !is_settled {
                return true;
            }
        }
        self.wakes.set(Some(service), wake_at);
        if is_settled {
            self.dirty.remove(&service);
        }
        false
    }
}

/// Nodes are evened out though nobody asks for it.
fn evens_out(view: &View) -> bool {
    view.cluster().is_some_and(|cluster| cluster.spec.rebalance_moves_per_minute > 0)
}

fn each(changes: Vec<Change>) -> Vec<Vec<Change>> {
    changes.into_iter().map(|change| vec![change]).collect()
}
