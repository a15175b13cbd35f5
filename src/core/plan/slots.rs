//! Tasks of a service by slot.

use super::job;
use super::start::is_stopping;
use crate::model::{Service, ServiceMode, Task, TaskState};
use crate::store::View;
use crate::{NodeId, ServiceId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a slot is: a number for replicated services, a node for global ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SlotKey {
    Number(u64),
    Node(NodeId),
}

/// The tasks of one slot that are not being removed, oldest first.
#[derive(Clone, Debug, Default)]
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

fn by_slot<'a>(service: &Service, tasks: impl Iterator<Item = &'a Arc<Task>>) -> BTreeMap<SlotKey, Slot> {
    let global = match service.spec.mode {
        ServiceMode::Global | ServiceMode::GlobalJob => true,
        ServiceMode::Replicated { .. } | ServiceMode::ReplicatedJob { .. } => false,
    };
    let iteration = job::iteration(service);
    let of_this_run = |task: &Task| iteration.is_none() || task.job_iteration == iteration;
    let tasks = tasks.filter(|task| task.desired < TaskState::Remove && of_this_run(task));
    let key = |task: &Task| match (global, task.node) {
        (true, node) => node.map(SlotKey::Node),
        (false, _) => Some(SlotKey::Number(task.slot)),
    };
    // Of tasks made at once the wanted one counts as the newer.
    let age = |task: &Task| (task.meta.created.index, task.is_wanted(), task.id);
    let mut sorted: Vec<_> = tasks.filter_map(|task| Some((key(task)?, age(task), task))).collect();
    sorted.sort_unstable_by_key(|(key, age, _)| (*key, *age));
    let slots = sorted.chunk_by(|(one, ..), (other, ..)| one == other).map(|of_slot| {
        let tasks = of_slot.iter().map(|(_, _, task)| Arc::clone(task)).collect();
        (of_slot[0].0, Slot { tasks })
    });
    slots.collect()
}

/// The tasks of a service and its slots as they were read last: the phases of one service share them until one of
/// them changes something. For views of one history.
#[derive(Debug, Default)]
pub struct Memo {
    at: Option<(u64, ServiceId)>,
    tasks: Arc<Vec<Arc<Task>>>,
    slots: Arc<BTreeMap<SlotKey, Slot>>,
}

impl Memo {
    fn read(&mut self, view: &View, service: &Service) {
        let at = Some((view.index(), service.id));
        if self.at != at {
            let tasks: Vec<Arc<Task>> = view.tasks_of_service(service.id).cloned().collect();
            let slots = Arc::new(by_slot(service, tasks.iter()));
            *self = Self { at, tasks: Arc::new(tasks), slots };
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
