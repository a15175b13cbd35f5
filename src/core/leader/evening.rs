//! When to look whether nodes can be evened out, which looks at every task: only after something changed that may have
//! made them uneven, and not for each single task.
//!
//! What it waits for is the one thing a ledger knows that does not follow from its view; a new one looks at once.

use super::affected::matters;
use crate::model::{Service, Task, TaskOrigin};
use crate::plan::{BUDGET_TIME, Budget};
use crate::scheduler::FAILURES_WINDOW;
use crate::store::{Changed, Delta, View};
use crate::{TaskId, WallTime};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// After services changed, or tasks that were moved: they do so in numbers, as when a stack is deployed.
const AFTER_SERVICES: Duration = Duration::from_secs(5);
/// After tasks ended, came up or changed nodes, which they do all the time in a large cluster. Each is placed where it is
/// needed anyway.
const AFTER_TASKS: Duration = Duration::from_secs(60);

/// What changed, by how soon it asks for a look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum News {
    Nothing,
    Tasks,
    Services,
    /// Nodes or settings, or nobody has looked yet.
    #[default]
    Nodes,
}

impl News {
    fn after(self) -> Option<Duration> {
        match self {
            Self::Nothing => None,
            Self::Tasks => Some(AFTER_TASKS),
            Self::Services => Some(AFTER_SERVICES),
            Self::Nodes => Some(Duration::ZERO),
        }
    }
}

/// Kept by the ledger.
#[derive(Clone, Debug, Default)]
pub(super) struct Evening {
    /// Tasks that were made to move, by when they were made. Follows from the view.
    moves: BTreeSet<(WallTime, TaskId)>,
    /// Not noted yet.
    news: News,
    /// When to look because of what changed.
    due: Option<WallTime>,
    /// When the budget lets more tasks be moved.
    budget: Option<WallTime>,
    /// Until then it lets none.
    is_used_up: bool,
}

impl Evening {
    /// Goes on by `delta`.
    pub fn follow(&mut self, delta: &Delta) {
        let at = |task: &Task| (task.meta.created.wall, task.id);
        let is_move = |task: &Arc<Task>| task.origin == TaskOrigin::Move;
        for task in &delta.tasks {
            if let Some(old) = task.old.as_ref().filter(|task| is_move(task)) {
                self.moves.remove(&at(old));
            }
            if let Some(new) = task.new.as_ref().filter(|task| is_move(task)) {
                self.moves.insert(at(new));
            }
        }
        self.news = self.news.max(news(delta));
    }

    /// What it was shown until `now` asks for a look.
    pub fn note(&mut self, now: WallTime) {
        let due = std::mem::replace(&mut self.news, News::Nothing).after().map(|after| now + after);
        self.due = self.due.into_iter().chain(due).min();
    }

    /// A look is due, if anything may be moved at all.
    pub fn is_due(&self, now: WallTime) -> bool {
        // Farther ahead than any is put, it was before the clock was set back.
        let is_due = |at: WallTime| at <= now || at.since(now) > FAILURES_WINDOW.max(BUDGET_TIME);
        self.due.is_some_and(is_due) || self.budget.is_some_and(is_due)
    }

    /// When a look is due though nothing changes.
    pub fn wake_at(&self) -> Option<WallTime> {
        self.due.filter(|_| !self.is_used_up).into_iter().chain(self.budget).min()
    }

    /// What the budget leaves at `now`.
    pub fn budget(&mut self, view: &View, now: WallTime) -> Budget {
        let lately = WallTime(now.0.saturating_sub(i64::try_from(BUDGET_TIME.as_millis()).unwrap_or(i64::MAX)));
        let range = (lately, TaskId(0))..=(now + BUDGET_TIME, TaskId(u128::MAX));
        let budget = Budget::of(view, self.moves.range(range).filter_map(|(_, id)| view.task(*id)), now);
        (self.budget, self.is_used_up) = (budget.wake_at, budget.is_used_up());
        budget
    }

    /// It was looked at `now`; `more` could have been moved, or can be once a node is not avoided any more.
    pub fn looked(&mut self, now: WallTime, more: bool, forgiven_at: Option<WallTime>) {
        let later = forgiven_at.map(|at| at.max(now + AFTER_TASKS));
        self.due = if more { Some(now) } else { later };
    }

    /// What follows from the view alone.
    #[cfg(test)]
    pub fn moves(&self) -> &BTreeSet<(WallTime, TaskId)> {
        &self.moves
    }
}

fn news(delta: &Delta) -> News {
    if delta.cluster || delta.nodes.iter().any(matters) {
        return News::Nodes;
    }
    let of_service = |service: &Option<Arc<Service>>| {
        service.as_ref().map(|service| {
            let under_way = service.update_status.as_ref().map(|status| status.state);
            (Arc::clone(&service.spec), under_way, service.scaled.as_ref().map(|scaled| scaled.replicas))
        })
    };
    if delta.services.iter().any(|service| of_service(&service.old) != of_service(&service.new)) {
        return News::Services;
    }
    let of_task = |task: &Option<Arc<Task>>| task.as_ref().map(|task| (task.node, task.is_wanted(), task.is_up()));
    let changed: Vec<&Changed<Task>> =
        delta.tasks.iter().filter(|task| of_task(&task.old) != of_task(&task.new)).collect();
    // One that came up or ended makes room for the next of its service.
    let moved = changed.iter().filter_map(|task| task.old.as_ref()).any(|task| task.origin == TaskOrigin::Move);
    match (moved, changed.is_empty()) {
        (true, _) => News::Services,
        (false, false) => News::Tasks,
        (false, true) => News::Nothing,
    }
}
