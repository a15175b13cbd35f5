//! Why no node takes a task, counted: each node under the first filter that leaves it out.
//!
//! Follows a single node that changes at the cost of that node, and comes to what counting all of them anew does.

use super::demand::Demand;
use super::filter::{Blame, Cause, blame};
use super::nodes::NodeInfo;
use std::collections::BTreeMap;

/// Begins the words of a task that fits on no node.
pub(super) const NO_NODE: &str = "no node fits: ";

/// Amounts that are told of what nodes have free: the largest.
pub(super) const FREES_TOLD_MAX: usize = 5;

/// The nodes that one cause leaves out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LeftOut {
    pub nodes: usize,
    /// What they have free of what they lack, and how many have it.
    pub free: BTreeMap<i64, usize>,
}

impl LeftOut {
    /// The largest amounts, the largest first.
    pub fn told(&self) -> impl Iterator<Item = i64> {
        self.free.iter().rev().flat_map(|(free, nodes)| std::iter::repeat_n(*free, *nodes)).take(FREES_TOLD_MAX)
    }

    /// Whatever comes or goes of that much is not told.
    fn is_untold(&self, free: i64) -> bool {
        self.told().nth(FREES_TOLD_MAX - 1).is_some_and(|least| free < least)
    }
}

/// All that leave the nodes out which were added. For one demand, the same for each call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    causes: BTreeMap<Cause, LeftOut>,
    nodes: usize,
}

impl Tally {
    pub fn of<'a>(nodes: impl Iterator<Item = &'a NodeInfo>, demand: &Demand) -> Self {
        let mut tally = Self::default();
        for info in nodes {
            tally.add(blame(demand, info));
        }
        tally
    }

    /// Counts a node anew that changed; `None` where it was or is not there. Whether other words follow, or `None` when
    /// nothing leaves the node out any more: then it is not counted.
    pub fn follow(&mut self, demand: &Demand, before: Option<&NodeInfo>, now: Option<&NodeInfo>) -> Option<bool> {
        let causes = |info: Option<&NodeInfo>| info.map(|info| blame(demand, info));
        let (was, is) = (causes(before), causes(now));
        if is.as_ref().is_some_and(Vec::is_empty) {
            return None;
        }
        if was == is {
            return Some(false);
        }
        let is_untold = match (was.as_deref(), is.as_deref()) {
            (Some([(cause, Some(had))]), Some([(same, Some(has))])) if cause == same => {
                self.causes.get(cause).is_some_and(|left_out| left_out.is_untold(*had.max(has)))
            }
            (Some(_) | None, Some(_) | None) => false,
        };
        was.into_iter().for_each(|causes| self.remove(causes));
        is.into_iter().for_each(|causes| self.add(causes));
        Some(!is_untold)
    }

    fn add(&mut self, causes: Vec<Blame>) {
        self.nodes += 1;
        for (cause, free) in causes {
            let left_out = self.causes.entry(cause).or_default();
            left_out.nodes += 1;
            if let Some(free) = free {
                *left_out.free.entry(free).or_default() += 1;
            }
        }
    }

    fn remove(&mut self, causes: Vec<Blame>) {
        self.nodes = self.nodes.saturating_sub(1);
        for (cause, free) in causes {
            let Some(left_out) = self.causes.get_mut(&cause) else { continue };
            left_out.nodes = left_out.nodes.saturating_sub(1);
            if let Some(free) = free
                && let Some(count) = left_out.free.get_mut(&free)
            {
                *count -= 1;
                if *count == 0 {
                    left_out.free.remove(&free);
                }
            }
            if left_out.nodes == 0 {
                self.causes.remove(&cause);
            }
        }
    }

    /// In words, in the order the filters are asked.
    pub fn words(&self, demand: &Demand) -> String {
        let mut reasons: Vec<String> =
            self.causes.iter().map(|(cause, left_out)| cause.words(demand, left_out)).collect();
        if self.nodes == 0 {
            let what = if demand.task.node.is_some() { "its node is gone" } else { "the cluster has no nodes" };
            reasons.push(what.to_owned());
        }
        format!("{NO_NODE}{}", reasons.join(", "))
    }
}
