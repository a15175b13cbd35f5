//! Tasks of a service by slot.

use super::job;
use super::start::is_stopping;
use crate::model::{Service, ServiceMode, Task, TaskState};
use crate::store::{View, changed_tasks};
use crate::{NodeId, ServiceId, TaskId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a slot is: a number for replicated services, a node for global ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SlotKey {
    Number(u64),
    Node(NodeId),
}

/// The tasks of one slot that are not being removed, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Slot {
    pub tasks: Vec<Arc<Task>>,
}

impl Slot {
    /// Tasks that are to run, now or later.
    pub fn wanted(&self) -> impl DoubleEndedIterator<Item = &Arc<Task>> {
        self.tasks.iter().filter(|task| task.is_wanted())
    }

    pub fn has_wanted(&self) -> bool {
        self.wanted().next().is_some()
    }

    /// One of its tasks was told to stop and has not yet.
    pub fn is_stopping(&self, view: &View) -> bool {
        self.tasks.iter().any(|task| is_stopping(view, task))
    }

    /// The last one that was made.
    pub fn newest(&self) -> Option<&Arc<Task>> {
        self.tasks.last()
    }
}

/// The slots of a service. Tasks on their way out for good, and those of earlier iterations of a job, are in none.
pub(super) fn slots(view: &View, service: &Service) -> BTreeMap<SlotKey, Slot> {
    by_slot(service, view.tasks_of_service(service.id))
}

/// What of a service tells in which slot its tasks are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    service: ServiceId,
    is_global: bool,
    iteration: Option<u64>,
}

impl Shape {
    fn of(service: &Service) -> Self {
        let is_global = match service.spec.mode {
            ServiceMode::Global | ServiceMode::GlobalJob => true,
            ServiceMode::Replicated { .. } | ServiceMode::ReplicatedJob { .. } => false,
        };
        Self { service: service.id, is_global, iteration: job::iteration(service) }
    }

    fn slot(&self, task: &Task) -> Option<SlotKey> {
        let of_this_run = self.iteration.is_none() || task.job_iteration == self.iteration;
        if task.desired >= TaskState::Remove || !of_this_run {
            return None;
        }
        match self.is_global {
            true => task.node.map(SlotKey::Node),
            false => Some(SlotKey::Number(task.slot)),
        }
    }
}

/// Of tasks made at once the wanted one counts as the newer.
fn age(task: &Task) -> (u64, bool, TaskId) {
    (task.meta.created.index, task.is_wanted(), task.id)
}

fn by_slot<'a>(service: &Service, tasks: impl Iterator<Item = &'a Arc<Task>>) -> BTreeMap<SlotKey, Slot> {
    let shape = Shape::of(service);
    let mut sorted: Vec<_> = tasks.filter_map(|task| Some((shape.slot(task)?, age(task), task))).collect();
    sorted.sort_unstable_by_key(|(key, age, _)| (*key, *age));
    let slots = sorted.chunk_by(|(one, ..), (other, ..)| one == other).map(|of_slot| {
        let tasks = of_slot.iter().map(|(_, _, task)| Arc::clone(task)).collect();
        (of_slot[0].0, Slot { tasks })
    });
    slots.collect()
}

/// The tasks of a service and its slots as they were read last: the phases of one service share them, each brought to
/// what the one before it changed. For views of one history.
#[derive(Debug, Default)]
pub struct Memo {
    at: Option<(View, Shape)>,
    /// By id.
    tasks: Arc<Vec<Arc<Task>>>,
    slots: Arc<BTreeMap<SlotKey, Slot>>,
}

impl Memo {
    fn read(&mut self, view: &View, service: &Service) {
        let shape = Shape::of(service);
        match self.at.take().filter(|(_, known)| *known == shape) {
            Some((old, _)) if old.index() == view.index() => {}
            Some((old, _)) => {
                self.follow(&old, view, shape);
                // Not each time: it is what this saves.
                #[cfg(test)]
                assert!(!view.index().is_multiple_of(8) || *self.slots == slots(view, service), "as it is read");
            }
            None => {
                let tasks: Vec<Arc<Task>> = view.tasks_of_service(service.id).cloned().collect();
                self.slots = Arc::new(by_slot(service, tasks.iter()));
                self.tasks = Arc::new(tasks);
            }
        }
        self.at = Some((view.clone(), shape));
    }

    /// Goes on from `old` to `view`. Nobody else holds what it keeps, as a rule, so that nothing is copied.
    fn follow(&mut self, old: &View, view: &View, shape: Shape) {
        let (tasks, slots) = (Arc::make_mut(&mut self.tasks), Arc::make_mut(&mut self.slots));
        for change in changed_tasks(old, view) {
            let of_service = |task: &&Arc<Task>| task.service == shape.service;
            let (old, new) = (change.old.as_ref().filter(of_service), change.new.as_ref().filter(of_service));
            let Some(id) = old.or(new).map(|task| task.id) else { continue };
            match (tasks.binary_search_by_key(&id, |task| task.id), new) {
                (Ok(at), Some(new)) => tasks[at] = Arc::clone(new),
                (Ok(at), None) => drop(tasks.remove(at)),
                (Err(at), Some(new)) => tasks.insert(at, Arc::clone(new)),
                (Err(_), None) => {}
            }
            if let Some(key) = old.and_then(|task| shape.slot(task))
                && let Some(slot) = slots.get_mut(&key)
            {
                slot.tasks.retain(|task| task.id != id);
                if slot.tasks.is_empty() {
                    slots.remove(&key);
                }
            }
            if let Some((key, new)) = new.and_then(|task| Some((shape.slot(task)?, task))) {
                let slot = slots.entry(key).or_default();
                let at = slot.tasks.partition_point(|task| age(task) < age(new));
                slot.tasks.insert(at, Arc::clone(new));
            }
        }
    }

    pub(super) fn slots(&mut self, view: &View, service: &Service) -> Arc<BTreeMap<SlotKey, Slot>> {
        self.read(view, service);
        Arc::clone(&self.slots)
    }

    /// By id, ended ones included.
    pub(super) fn tasks(&mut self, view: &View, service: &Service) -> Arc<Vec<Arc<Task>>> {
        self.read(view, service);
        Arc::clone(&self.tasks)
    }
}

/// What holds the node of a task up; also of none yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ground {
    /// It has no node yet, or the node is fine.
    Firm,
    /// The node is down.
    Down,
    /// The node is being emptied, or no longer allowed for the task.
    Leaving,
    /// The node was removed.
    Gone,
}
