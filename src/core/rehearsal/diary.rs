//! From what becomes of tasks to what people call it: started, stopped, replaced, moved.

use crate::model::*;
use crate::store::{Event, Object, View};
use crate::{NodeId, ServiceId, TaskId, WallTime};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// A place of a service: a number, or a node for global ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    Slot(u64),
    Node(NodeId),
}

/// What would be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    Start {
        node: NodeId,
    },
    Stop {
        node: NodeId,
    },
    /// By a task that differs; `start_first`: the old one is stopped when the new one is up.
    Replace {
        from: NodeId,
        to: NodeId,
        start_first: bool,
    },
    /// By a task that is the same.
    Move {
        from: NodeId,
        to: NodeId,
    },
    /// No task of it could start.
    Wait {
        reason: String,
    },
}

/// What would become of one place of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// Those of one number happen at the same time, those of the next when these are done.
    pub step: u32,
    /// Since the change, would tasks need no time to start and stop.
    pub after: Duration,
    pub service: ServiceId,
    pub name: String,
    pub place: Place,
    pub deed: Deed,
}

/// Collects actions from events.
#[derive(Debug)]
pub(super) struct Diary {
    start: WallTime,
    actions: Vec<Action>,
    step: u32,
    /// To be stopped after their replacement is up, which told of it.
    told: BTreeSet<TaskId>,
}

fn place(task: &Task, view: &View) -> Place {
    let global = view.service(task.service).map_or(task.slot == 0, |service| match service.spec.mode {
        ServiceMode::Global | ServiceMode::GlobalJob => true,
        ServiceMode::Replicated { .. } | ServiceMode::ReplicatedJob { .. } => false,
    });
    match task.node.filter(|_| global) {
        Some(node) => Place::Node(node),
        None => Place::Slot(task.slot),
    }
}

/// Something of it is on a node.
fn holds_node(task: &Task) -> bool {
    task.status.state >= TaskState::Assigned && task.occupies_node()
}

impl Diary {
    pub fn new(start: WallTime) -> Self {
        Self { start, actions: Vec::new(), step: 0, told: BTreeSet::new() }
    }

    /// Notes what happened at once, leading to `view`.
    pub fn note(&mut self, now: WallTime, view: &View, events: &[Event]) {
        let mut started: BTreeMap<(ServiceId, Place), Arc<Task>> = BTreeMap::new();
        let mut stopped: BTreeMap<(ServiceId, Place), Arc<Task>> = BTreeMap::new();
        for event in events {
            let (old, new) = match event {
                Event::Updated { old: Object::Task(old), new: Object::Task(new) } => (Some(old), new),
                Event::Created(Object::Task(new)) => (None, new),
                Event::Created(_) | Event::Updated { .. } | Event::Removed(_) => continue,
            };
            let key = (new.service, place(new, view));
            if holds_node(new) && !old.is_some_and(|old| holds_node(old)) {
                started.insert(key, Arc::clone(new));
            }
            if holds_node(new) && !new.is_wanted() && old.is_some_and(|old| old.is_wanted()) {
                stopped.insert(key, Arc::clone(new));
            }
        }
        let keys: BTreeSet<_> = started.keys().chain(stopped.keys()).copied().collect();
        let mut deeds = Vec::new();
        for key in keys {
            let deed = match (started.get(&key), stopped.get(&key)) {
                (Some(new), Some(old)) => change(old, new, false),
                (Some(new), None) => self.begin(view, key, new),
                (None, Some(old)) if self.told.remove(&old.id) => None,
                (None, Some(old)) => old.node.map(|node| Deed::Stop { node }),
                (None, None) => None,
            };
            deeds.extend(deed.map(|deed| (key, deed)));
        }
        self.put(now, view, deeds);
    }

    /// A task starts beside another, which it will replace, or for itself.
    fn begin(&mut self, view: &View, key: (ServiceId, Place), new: &Task) -> Option<Deed> {
        let beside = view
            .tasks_of_service(key.0)
            .filter(|task| task.id != new.id && task.is_wanted() && holds_node(task) && place(task, view) == key.1);
        match beside.max_by_key(|task| (task.meta.created.index, task.id)) {
            Some(old) => {
                self.told.insert(old.id);
                change(old, new, true)
            }
            None => new.node.map(|node| Deed::Start { node }),
        }
    }

    fn put(&mut self, now: WallTime, view: &View, deeds: Vec<((ServiceId, Place), Deed)>) {
        if deeds.is_empty() {
            return;
        }
        self.step += 1;
        let name = |id| view.service(id).map_or_else(String::new, |service| service.spec.name.clone());
        let (step, after) = (self.step, now.since(self.start));
        let action = |((service, place), deed)| Action { step, after, service, name: name(service), place, deed };
        let mut actions: Vec<Action> = deeds.into_iter().map(action).collect();
        actions.sort_by(|a, b| (&a.name, a.place).cmp(&(&b.name, b.place)));
        self.actions.extend(actions);
    }

    /// All that was noted, and what of `services` waits in the end and is told.
    pub fn end(mut self, view: &View, services: &BTreeSet<ServiceId>, is_told: impl Fn(&Task) -> bool) -> Vec<Action> {
        let waits = services.iter().flat_map(|service| view.tasks_of_service(*service));
        let waits = waits.filter(|task| task.is_wanted() && task.status.state < TaskState::Assigned && is_told(task));
        let wait = |task: &Arc<Task>| {
            let reason = if task.status.err.is_empty() { &task.status.message } else { &task.status.err };
            ((task.service, place(task, view)), Deed::Wait { reason: reason.clone() })
        };
        let deeds = waits.map(wait).collect();
        let now = self.actions.last().map_or(self.start, |last| self.start + last.after);
        self.put(now, view, deeds);
        self.actions
    }
}

fn change(old: &Task, new: &Task, start_first: bool) -> Option<Deed> {
    let (from, to) = (old.node?, new.node?);
    Some(match old.spec == new.spec && old.host_ports == new.host_ports {
        true => Deed::Move { from, to },
        false => Deed::Replace { from, to, start_first },
    })
}
