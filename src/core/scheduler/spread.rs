//! The best node for one task after the other of a kind: a tree of the values of the spread labels, whose
//! leaves give their nodes in order of preference and look no further than they are asked.
//!
//! While tasks of one kind are placed nodes only get fuller: a node a filter left out stays left out, so
//! that each is looked at once. Made for a run of tasks, and never kept beyond it.

use super::demand::Demand;
use super::filter;
use super::nodes::NodeInfo;
use super::score::{Load, Score};
use super::shelf::path;
use super::table::NodeTable;
use crate::NodeId;
use std::collections::{BTreeMap, BTreeSet};

/// What a branch is chosen by, smallest first: the tasks of the service in it, in the branch chosen below
/// and so on, and the score of the node this leads to.
type Key = (Vec<u32>, Score);

/// A value of a spread label, within the values of the labels before it.
#[derive(Debug, Default)]
struct Branch {
    /// Where it is in the order of its parent.
    parent: Option<(usize, Option<Key>)>,
    path: Vec<String>,
    /// Tasks of the service in it, on whichever nodes.
    tasks: u32,
    /// Branches below that have a node, the best first; none in a leaf.
    below: BTreeSet<(Key, usize)>,
    /// Of a leaf: nodes without a task of the service are looked at up to here, in the order of the shelf.
    cursor: Option<Load>,
    /// The first of those that fits; what comes after it is worse.
    unused: Option<Load>,
    /// Of a leaf: nodes that fit and have tasks of the service, or are avoided.
    used: BTreeSet<Score>,
}

/// The tree for tasks of one kind.
#[derive(Debug)]
pub(super) struct Tree {
    avoided: BTreeSet<NodeId>,
    shelf: usize,
    /// The root is the first.
    branches: Vec<Branch>,
    by_path: BTreeMap<Vec<String>, usize>,
    /// Nodes that have tasks of the service are in. They come after those without in a leaf, so they are
    /// not looked at before a leaf has run out of those.
    has_used: bool,
}

/// A node found, and the leaf it is in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub node: NodeId,
    leaf: usize,
}

impl Found {
    /// The node a task is bound to: no tree was asked.
    pub fn bound(node: NodeId) -> Self {
        Self { node, leaf: 0 }
    }
}

impl Tree {
    /// Of all nodes but the avoided.
    pub fn new(table: &mut NodeTable, demand: &Demand, avoided: &BTreeSet<NodeId>) -> Self {
        let mut tree = Self::grown(table, demand, avoided);
        // Where tasks are packed it is of no matter whose are on a node.
        tree.has_used = demand.packs;
        for leaf in tree.leaves(demand) {
            tree.advance(table, demand, leaf);
        }
        tree
    }

    /// Of the avoided nodes alone.
    pub fn of_avoided(table: &mut NodeTable, demand: &Demand, avoided: &BTreeSet<NodeId>) -> Self {
        let mut tree = Self::grown(table, demand, avoided);
        tree.has_used = true;
        for info in avoided.iter().filter_map(|id| table.get(*id)) {
            if let Some(leaf) = tree.by_path.get(&path(&demand.spread, info)).copied() {
                tree.offer(demand, leaf, info);
            }
        }
        for leaf in tree.leaves(demand) {
            tree.rank(leaf);
        }
        tree
    }

    /// All branches with their counts and no nodes.
    fn grown(table: &mut NodeTable, demand: &Demand, avoided: &BTreeSet<NodeId>) -> Self {
        let shelf = table.shelve(&demand.spread, demand.packs);
        let by_path = BTreeMap::from([(Vec::new(), 0)]);
        let mut tree =
            Self { avoided: avoided.clone(), shelf, branches: vec![Branch::default()], by_path, has_used: false };
        for path in table.shelf(shelf).paths() {
            let mut at = 0;
            for depth in 1..=path.len() {
                at = match tree.by_path.get(&path[..depth]) {
                    Some(known) => *known,
                    None => {
                        let path = path[..depth].to_vec();
                        tree.by_path.insert(path.clone(), tree.branches.len());
                        tree.branches.push(Branch { parent: Some((at, None)), path, ..Branch::default() });
                        tree.branches.len() - 1
                    }
                };
            }
        }
        // Without labels there is nothing to choose between.
        let service = demand.task.service;
        let counted = table.of_service(service).filter(|_| !demand.spread.is_empty());
        for info in counted {
            let path = path(&demand.spread, info);
            for depth in 0..=path.len() {
                if let Some(at) = tree.by_path.get(&path[..depth]) {
                    tree.branches[*at].tasks += info.of_service(service);
                }
            }
        }
        tree
    }

    fn leaves(&self, demand: &Demand) -> Vec<usize> {
        self.by_path.iter().filter(|(path, _)| path.len() == demand.spread.len()).map(|(_, at)| *at).collect()
    }

    /// The best node, if any fits.
    pub fn best(&self) -> Option<Found> {
        let mut at = 0;
        while let Some((_, below)) = self.branches[at].below.first() {
            at = *below;
        }
        let score = self.branches[at].best()?;
        Some(Found { node: score.load.node, leaf: at })
    }

    /// A task was placed on what was found, and the table knows it.
    pub fn placed(&mut self, table: &NodeTable, demand: &Demand, found: Found) {
        let leaf = &mut self.branches[found.leaf];
        let was_unused = leaf.unused.is_some_and(|load| load.node == found.node);
        if !was_unused {
            leaf.used.pop_first();
        }
        let mut at = Some(found.leaf);
        while let Some(branch) = at {
            self.branches[branch].tasks += 1;
            at = self.branches[branch].parent.as_ref().map(|(parent, _)| *parent);
        }
        if let Some(info) = table.get(found.node).filter(|_| self.has_used) {
            self.offer(demand, found.leaf, info);
        }
        if was_unused {
            self.advance(table, demand, found.leaf);
        } else {
            self.rank(found.leaf);
        }
    }

    /// Goes on to the next node of a leaf that has no task of the service and fits.
    fn advance(&mut self, table: &NodeTable, demand: &Demand, leaf: usize) {
        let branch = &mut self.branches[leaf];
        branch.unused = None;
        for load in table.shelf(self.shelf).after(&branch.path, branch.cursor) {
            branch.cursor = Some(load);
            let Some(info) = table.get(load.node) else { continue };
            let is_unused =
                (demand.packs || info.of_service(demand.task.service) == 0) && !self.avoided.contains(&load.node);
            if is_unused && filter::accepts(demand, info) {
                branch.unused = Some(load);
                break;
            }
        }
        let is_out = branch.unused.is_none();
        self.rank(leaf);
        if is_out && !self.has_used {
            self.take_in_used(table, demand);
        }
    }

    fn take_in_used(&mut self, table: &NodeTable, demand: &Demand) {
        self.has_used = true;
        for info in table.of_service(demand.task.service) {
            let leaf = self.by_path.get(&path(&demand.spread, info)).copied();
            if let Some(leaf) = leaf.filter(|_| !self.avoided.contains(&info.id())) {
                self.offer(demand, leaf, info);
            }
        }
        for leaf in self.leaves(demand) {
            self.rank(leaf);
        }
    }

    fn offer(&mut self, demand: &Demand, leaf: usize, info: &NodeInfo) {
        if filter::accepts(demand, info) {
            self.branches[leaf].used.insert(Score::of(info, demand));
        }
    }

    /// Puts a leaf, and what is above it, where they belong by now.
    fn rank(&mut self, leaf: usize) {
        let mut at = leaf;
        while let Some((parent, old)) = self.branches[at].parent.clone() {
            let key = self.branches[at].key();
            if let Some(old) = old {
                self.branches[parent].below.remove(&(old, at));
            }
            if let Some(key) = key.clone() {
                self.branches[parent].below.insert((key, at));
            }
            self.branches[at].parent = Some((parent, key));
            at = parent;
        }
    }
}

impl Branch {
    /// Of a leaf: its best node.
    fn best(&self) -> Option<Score> {
        self.unused.map(Score::without).into_iter().chain(self.used.first().copied()).min()
    }

    fn key(&self) -> Option<Key> {
        let (below, score) = match self.below.first() {
            Some(((below, score), _)) => (below.as_slice(), *score),
            None => (&[][..], self.best()?),
        };
        Some(([self.tasks].iter().chain(below).copied().collect(), score))
    }
}
