//! Nodes that take tasks, by the values of some labels, each group in the order of its load.

use super::demand::SpreadKey;
use super::filter::takes_tasks;
use super::nodes::NodeInfo;
use super::score::Load;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

/// The order of nodes for one way of spreading. Without keys there is one branch, with the empty path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shelf {
    keys: Vec<SpreadKey>,
    packs: bool,
    branches: BTreeMap<Vec<String>, BTreeSet<Load>>,
}

/// The node's values of the keys.
pub(super) fn path(keys: &[SpreadKey], info: &NodeInfo) -> Vec<String> {
    keys.iter().map(|key| key.value(&info.node).to_owned()).collect()
}

impl Shelf {
    pub fn new(keys: Vec<SpreadKey>, packs: bool) -> Self {
        Self { keys, packs, branches: BTreeMap::new() }
    }

    /// What it is ordered by.
    pub fn order(&self) -> (&[SpreadKey], bool) {
        (&self.keys, self.packs)
    }

    /// Puts a node where it belongs by what is on it.
    pub fn insert(&mut self, info: &NodeInfo) {
        if takes_tasks(info) {
            self.branches.entry(path(&self.keys, info)).or_default().insert(Load::of(info, self.packs));
        }
    }

    /// Takes it away; it is as it was when it was put.
    pub fn remove(&mut self, info: &NodeInfo) {
        if !takes_tasks(info) {
            return;
        }
        let path = path(&self.keys, info);
        if let Some(branch) = self.branches.get_mut(&path) {
            branch.remove(&Load::of(info, self.packs));
            if branch.is_empty() {
                self.branches.remove(&path);
            }
        }
    }

    /// The paths of all branches.
    pub fn paths(&self) -> impl Iterator<Item = &Vec<String>> {
        self.branches.keys()
    }

    /// The nodes of a branch after `cursor`, the best first.
    pub fn after(&self, path: &[String], cursor: Option<Load>) -> impl Iterator<Item = Load> {
        let from = cursor.map_or(Bound::Unbounded, Bound::Excluded);
        self.branches.get(path).into_iter().flat_map(move |branch| branch.range((from, Bound::Unbounded)).copied())
    }
}
