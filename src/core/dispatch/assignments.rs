//! What one node needs to know to do its part, as differences.

use crate::fabric::{self, FabricDelta, FabricState};
use crate::model::{Config, Secret, Task, TaskState};
use crate::store::View;
use crate::{ConfigId, NodeId, SecretId, TaskId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A message of assignments. With `complete`, what is not named is not assigned any more.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Assignments {
    pub complete: bool,
    /// Log index it was derived from.
    pub index: u64,
    pub tasks: Vec<Arc<Task>>,
    pub removed_tasks: Vec<TaskId>,
    pub secrets: Vec<Arc<Secret>>,
    pub removed_secrets: Vec<SecretId>,
    pub configs: Vec<Arc<Config>>,
    pub removed_configs: Vec<ConfigId>,
    pub fabric: Option<FabricDelta>,
}

/// What a session has been told: tasks and contents by the version sent.
#[derive(Debug)]
pub struct NodeWork {
    node: NodeId,
    /// By desired state: the only part of a task that changes for its agent.
    tasks: BTreeMap<TaskId, TaskState>,
    secrets: BTreeMap<SecretId, u64>,
    configs: BTreeMap<ConfigId, u64>,
    fabric: Arc<FabricState>,
}

impl NodeWork {
    /// Nothing sent yet.
    pub fn new(node: NodeId) -> Self {
        Self {
            node,
            tasks: BTreeMap::new(),
            secrets: BTreeMap::new(),
            configs: BTreeMap::new(),
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
        let mut out = Assignments { index: view.index(), ..Assignments::default() };
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
        self.contents(view, &wanted, &mut out);
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

    /// Secrets and configs go only to nodes that run a task which needs them.
    fn contents(&mut self, view: &View, wanted: &BTreeMap<TaskId, Arc<Task>>, out: &mut Assignments) {
        let live = || wanted.values().filter(|task| !task.status.state.is_terminal());
        let mut secrets = BTreeMap::new();
        for reference in live().flat_map(|task| &task.spec.container.secrets) {
            if let Some(secret) = view.secret(reference.id) {
                secrets.insert(secret.id, secret.meta.version);
                if self.secrets.get(&secret.id) != Some(&secret.meta.version) && !secrets_has(&out.secrets, secret) {
                    out.secrets.push(secret.clone());
                }
            }
        }
        let mut configs = BTreeMap::new();
        for reference in live().flat_map(|task| &task.spec.container.configs) {
            if let Some(config) = view.config(reference.id) {
                configs.insert(config.id, config.meta.version);
                let again = out.configs.iter().any(|sent| sent.id == config.id);
                if self.configs.get(&config.id) != Some(&config.meta.version) && !again {
                    out.configs.push(config.clone());
                }
            }
        }
        out.removed_secrets = self.secrets.keys().filter(|id| !secrets.contains_key(id)).copied().collect();
        out.removed_configs = self.configs.keys().filter(|id| !configs.contains_key(id)).copied().collect();
        self.secrets = secrets;
        self.configs = configs;
    }
}

fn secrets_has(list: &[Arc<Secret>], secret: &Secret) -> bool {
    list.iter().any(|sent| sent.id == secret.id)
}
