//! What one node needs to know to do its part, as differences.

use crate::fabric::{self, FabricDelta, FabricState};
use crate::model::{Config, Secret, Task, TaskState};
use crate::store::{Delta, View};
use crate::{ConfigId, NodeId, SecretId, TaskId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A message of assignments. With `complete`, what is not named is not assigned any more.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Assignments {
    pub complete: bool,
    /// Log index it was derived from.
    pub index: u64,
    pub tasks: Vec<Arc<Task>>,
    pub removed_tasks: Vec<TaskId>,
    /// Each with one content: what a task refers to. Two contents of one secret are two of these.
    pub secrets: Vec<Arc<Secret>>,
    /// With the version of the content.
    pub removed_secrets: Vec<(SecretId, u64)>,
    /// As for secrets.
    pub configs: Vec<Arc<Config>>,
    pub removed_configs: Vec<(ConfigId, u64)>,
    pub fabric: Option<FabricDelta>,
}

/// What a session has been told.
#[derive(Debug)]
pub struct NodeWork {
    node: NodeId,
    /// By desired state: the only part of a task that changes for its agent.
    tasks: BTreeMap<TaskId, TaskState>,
    /// By version of the content, which never changes.
    secrets: BTreeSet<(SecretId, u64)>,
    configs: BTreeSet<(ConfigId, u64)>,
    fabric: Arc<FabricState>,
}

/// What a new view may change for nodes.
#[derive(Debug, Default)]
pub(super) struct Touched {
    /// Those that differ, or whose tasks do; of the old view and of the new.
    pub nodes: BTreeSet<NodeId>,
    /// Secrets or configs differ: that may be so for any node.
    pub contents: bool,
}

impl Touched {
    pub fn between(old: &View, new: &View) -> Self {
        let delta = Delta::between(old, new);
        let nodes = delta.nodes.iter().flat_map(|node| node.both().map(|node| node.id));
        let of_tasks = delta.tasks.iter().flat_map(|task| task.both().filter_map(|task| task.node));
        Self {
            nodes: nodes.chain(of_tasks).collect(),
            contents: !delta.secrets.is_empty() || !delta.configs.is_empty(),
        }
    }
}

impl NodeWork {
    /// Nothing sent yet.
    pub fn new(node: NodeId) -> Self {
        Self {
            node,
            tasks: BTreeMap::new(),
            secrets: BTreeSet::new(),
            configs: BTreeSet::new(),
            fabric: Arc::default(),
        }
    }

    /// Everything, for the begin of a session.
    pub fn whole(&mut self, view: &View) -> Assignments {
        *self = Self::new(self.node);
        let mut all = self.changes(view).unwrap_or_default();
        all.complete = true;
        all.index = view.index();
        let state = fabric::derive(view, self.node);
        all.fabric = Some(FabricDelta::complete(&state));
        self.fabric = Arc::new(state);
        all
    }

    /// What is new since the last call; `None` when nothing is.
    pub fn changes(&mut self, view: &View) -> Option<Assignments> {
        self.news(view, true)
    }

    /// What is new since the last call, when neither the tasks of the node nor what they refer to differ.
    pub fn changes_around(&mut self, view: &View) -> Option<Assignments> {
        self.news(view, false)
    }

    fn news(&mut self, view: &View, of_node: bool) -> Option<Assignments> {
        let mut out = Assignments { index: view.index(), ..Assignments::default() };
        if of_node {
            self.tasks(view, &mut out);
        }
        let fabric = fabric::derive(view, self.node);
        if let Some(delta) = fabric::diff(&self.fabric, &fabric) {
            out.fabric = Some(delta);
            self.fabric = Arc::new(fabric);
        }
        let nothing = out.tasks.is_empty()
            && out.removed_tasks.is_empty()
            && out.secrets.is_empty()
            && out.removed_secrets.is_empty()
            && out.configs.is_empty()
            && out.removed_configs.is_empty()
            && out.fabric.is_none();
        (!nothing).then_some(out)
    }

    fn tasks(&mut self, view: &View, out: &mut Assignments) {
        let wanted: BTreeMap<TaskId, Arc<Task>> = view
            .tasks_of_node(self.node)
            .filter(|task| task.status.state >= TaskState::Assigned && task.status.state != TaskState::Orphaned)
            .map(|task| (task.id, task.clone()))
            .collect();
        for (id, task) in &wanted {
            // Ended tasks are named too: the agent keeps their logs for as long as they are.
            if self.tasks.insert(*id, task.desired) != Some(task.desired) {
                out.tasks.push(task.clone());
            }
        }
        out.removed_tasks = self.tasks.keys().filter(|id| !wanted.contains_key(id)).copied().collect();
        self.tasks.retain(|id, _| wanted.contains_key(id));
        self.contents(view, &wanted, out);
    }

    /// Contents of secrets and configs go only to nodes that run a task which needs them: those it needs, and no
    /// other versions.
    fn contents(&mut self, view: &View, wanted: &BTreeMap<TaskId, Arc<Task>>, out: &mut Assignments) {
        let live = || wanted.values().filter(|task| !task.status.state.is_terminal());
        let mut secrets = BTreeSet::new();
        for reference in live().flat_map(|task| &task.spec.container.secrets) {
            let key = (reference.id, reference.version);
            let Some(secret) = view.secret(reference.id).filter(|secret| secret.has(reference.version)) else {
                continue;
            };
            if secrets.insert(key) && !self.secrets.contains(&key) {
                out.secrets.extend(secret.at(reference.version));
            }
        }
        let mut configs = BTreeSet::new();
        for reference in live().flat_map(|task| &task.spec.container.configs) {
            let key = (reference.id, reference.version);
            let Some(config) = view.config(reference.id).filter(|config| config.has(reference.version)) else {
                continue;
            };
            if configs.insert(key) && !self.configs.contains(&key) {
                out.configs.extend(config.at(reference.version));
            }
        }
        out.removed_secrets = self.secrets.difference(&secrets).copied().collect();
        out.removed_configs = self.configs.difference(&configs).copied().collect();
        self.secrets = secrets;
        self.configs = configs;
    }
}
