//! Which nodes changed since somebody looked, and what they were then.

use super::nodes::NodeInfo;
use crate::NodeId;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Changes kept at most: who is so far behind looks at all nodes, which costs little more.
const CHANGES_MAX: usize = 4096;

/// A moment of the trail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mark(u64);

/// Empty while nobody has a mark.
#[derive(Clone, Debug, Default)]
pub(super) struct Trail {
    is_kept: bool,
    /// Mark of the first change in it.
    first: u64,
    changes: VecDeque<(NodeId, Option<NodeInfo>)>,
    /// Nodes noted since the last mark: what they were at a mark is what counts.
    noted: BTreeSet<NodeId>,
}

impl Trail {
    /// A node is about to change from `before`; `None` when it was not there.
    pub fn note(&mut self, id: NodeId, before: Option<&NodeInfo>) {
        if !self.is_kept || !self.noted.insert(id) {
            return;
        }
        self.changes.push_back((id, before.cloned()));
        if self.changes.len() > CHANGES_MAX {
            self.first += self.changes.len() as u64;
            self.changes.clear();
        }
    }

    pub fn mark(&mut self) -> Mark {
        self.is_kept = true;
        self.noted.clear();
        Mark(self.first + self.changes.len() as u64)
    }

    /// What the nodes were at `mark` that changed since; `None` when it is not known any more.
    pub fn since(&self, mark: Mark) -> Option<BTreeMap<NodeId, Option<&NodeInfo>>> {
        let skipped = usize::try_from(mark.0.checked_sub(self.first)?).ok()?;
        let mut changed = BTreeMap::new();
        for (id, before) in self.changes.range(skipped.min(self.changes.len())..) {
            changed.entry(*id).or_insert(before.as_ref());
        }
        Some(changed)
    }

    /// Nobody will ask for what changed before `mark`; `None`: for anything.
    pub fn forget_before(&mut self, mark: Option<Mark>) {
        let Some(mark) = mark else {
            *self = Self { first: self.first + self.changes.len() as u64, ..Self::default() };
            return;
        };
        let over = usize::try_from(mark.0.saturating_sub(self.first)).unwrap_or(usize::MAX).min(self.changes.len());
        self.changes.drain(..over);
        self.first += over as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_too_far_behind_is_told_so_and_who_is_not_is_not() {
        let mut trail = Trail::default();
        let (early, ids) = (trail.mark(), (0..).map(NodeId));
        ids.clone().take(CHANGES_MAX).for_each(|id| trail.note(id, None));
        assert_eq!(trail.since(early).map(|changed| changed.len()), Some(CHANGES_MAX));
        let late = trail.mark();
        trail.note(NodeId(7), None);
        assert_eq!((trail.since(early), trail.since(late)), (None, None), "the one before them is forgotten with them");
        let now = trail.mark();
        trail.note(NodeId(7), None);
        trail.note(NodeId(7), None);
        assert_eq!(trail.since(now).map(|changed| changed.len()), Some(1));
        trail.forget_before(Some(now));
        assert_eq!(trail.since(now).map(|changed| changed.len()), Some(1));
        trail.forget_before(None);
        trail.note(NodeId(8), None);
        assert!(trail.changes.is_empty(), "nobody asks");
    }
}
