//! What differs between two views, at the cost of what differs: persistent maps share what did not change.

use super::View;
use crate::model::*;
use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use std::sync::Arc;

/// An object before and after: `None` where it is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed<T> {
    pub old: Option<Arc<T>>,
    pub new: Option<Arc<T>>,
}

impl<T> Changed<T> {
    /// Both, or the one there is.
    pub fn both(&self) -> impl Iterator<Item = &Arc<T>> {
        self.old.iter().chain(&self.new)
    }
}

/// What leads from one view to another; each list is ordered by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    pub cluster: bool,
    pub nodes: Vec<Changed<Node>>,
    pub services: Vec<Changed<Service>>,
    pub tasks: Vec<Changed<Task>>,
    pub networks: Vec<Changed<Network>>,
    pub secrets: Vec<Changed<Secret>>,
    pub configs: Vec<Changed<Config>>,
}

impl Delta {
    /// From `old` to `new`. They need not be of one history, but what they do not share is compared.
    pub fn between(old: &View, new: &View) -> Self {
        Self {
            cluster: old.cluster != new.cluster,
            nodes: changed(&old.nodes, &new.nodes),
            services: changed(&old.services, &new.services),
            tasks: changed(&old.tasks, &new.tasks),
            networks: changed(&old.networks, &new.networks),
            secrets: changed(&old.secrets, &new.secrets),
            configs: changed(&old.configs, &new.configs),
        }
    }
}

/// What differs between the tasks of two views, ordered by id.
pub fn changed_tasks(old: &View, new: &View) -> Vec<Changed<Task>> {
    changed(&old.tasks, &new.tasks)
}

fn changed<K: Ord, T: Eq>(old: &OrdMap<K, Arc<T>>, new: &OrdMap<K, Arc<T>>) -> Vec<Changed<T>> {
    old.diff(new)
        .map(|item| match item {
            DiffItem::Add(_, new) => Changed { old: None, new: Some(Arc::clone(new)) },
            DiffItem::Update { old: (_, old), new: (_, new) } => {
                Changed { old: Some(Arc::clone(old)), new: Some(Arc::clone(new)) }
            }
            DiffItem::Remove(_, old) => Changed { old: Some(Arc::clone(old)), new: None },
        })
        .collect()
}
