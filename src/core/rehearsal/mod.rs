//! What a change would lead to, told without making it.
//!
//! The change is applied to a copy of the store, and a [`Ledger`] is asked what it does about it, again and again, by a
//! clock of its own and with agents to whom nothing goes wrong: every task that gets a node comes up at once. What
//! is told is what the leader then does, as long as nothing else happens: it is decided by the same functions.
//! Called by the API for dry runs. Owns nothing, writes nothing.

mod agents;
mod diary;

pub use diary::{Action, Deed, Place};

use crate::leader::Ledger;
use crate::model::*;
use crate::store::{Conflict, Event, Object, ObjectRef, Store, Txn, View};
use crate::{ServiceId, WallTime};
use diary::Diary;
use rand::RngCore;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Turns of leader and agents at most: an update of a thousand tasks one by one takes four for each.
const TURNS_MAX: usize = 5000;
/// Steps of the leader in one turn at most; it rests after one or two.
const STEPS_MAX: usize = 50;
/// Longest wait for something to happen by itself, unless canaries wait longer to be promoted: a node that is away for a
/// day before its tasks are given up is not waited for.
const WAIT_MAX: Duration = Duration::from_secs(12 * 3600);
/// Times in a row that the leader is woken for nothing, before it is left asleep.
const IDLE_MAX: usize = 50;

/// A change that is rehearsed: made step by step, then played to its end.
#[derive(Debug)]
pub struct Rehearsal {
    store: Store,
    start: View,
    now: WallTime,
    events: Vec<Event>,
    ids: Ids,
}

/// Ids of what the rehearsal makes.
#[derive(Debug)]
struct Ids(u128);

impl RngCore for Ids {
    fn next_u32(&mut self) -> u32 {
        self.next_u64() as u32
    }

    fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(1);
        self.0 as u64
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        self.0 = self.0.wrapping_add(1);
        let id = self.0.to_be_bytes();
        bytes.iter_mut().zip(id.iter().cycle()).for_each(|(byte, id)| *byte = *id);
    }
}

/// How a service would stand in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outlook {
    /// As it would be; as it was, when it would be gone.
    pub service: Arc<Service>,
    /// Tasks that would be up, of a job those that would have completed, and how many are wanted.
    pub up: u64,
    pub wanted: u64,
    /// What its update would say.
    pub message: String,
}

/// What a change would lead to.
#[derive(Clone, Debug)]
pub struct Rehearsed {
    /// What was made, changed and removed by the change itself and is no task: each once.
    pub objects: Vec<Event>,
    /// What would become of tasks, in order.
    pub actions: Vec<Action>,
    /// Of each service that it is about, by name.
    pub services: Vec<Outlook>,
    /// It was played to the end; otherwise more of the same would follow.
    pub is_whole: bool,
    /// The state it would end with.
    pub view: View,
}

impl Rehearsal {
    /// Begins with the state `view`; ids are counted from `seed`.
    pub fn new(view: &View, now: WallTime, seed: u128) -> Self {
        let store = Store::from_view(view.clone());
        Self { store, start: view.clone(), now, events: Vec::new(), ids: Ids(seed) }
    }

    /// The state so far: the next part of the change is decided on it.
    pub fn view(&self) -> View {
        self.store.view()
    }

    /// An id for something to be made.
    pub fn id(&mut self) -> u128 {
        self.ids.0 = self.ids.0.wrapping_add(1);
        self.ids.0
    }

    /// Makes a part of the change.
    pub fn apply(&mut self, txn: &Txn) -> Result<(), Conflict> {
        let events = self.store.apply(self.store.view().index() + 1, 0, txn)?;
        self.events.extend(events);
        Ok(())
    }

    /// Plays what follows until nothing more does.
    pub fn run(mut self) -> Rehearsed {
        let changed = self.view();
        let objects = objects(&self.start, &changed, &self.events);
        let about = touched(&changed, &objects);
        let mut touched = about.clone();
        let mut diary = Diary::new(self.now);
        diary.note(self.now, &changed, &self.events);
        let is_whole = self.play(&mut touched, &mut diary);
        let view = self.view();
        // What waited before, and is not what this is about, is no news.
        let is_news = |task: &Task| {
            about.contains(&task.service) || self.start.task(task.id).is_none_or(|old| old.node != task.node)
        };
        let actions = diary.end(&view, &touched, is_news);
        let acted: BTreeSet<ServiceId> =
            actions.iter().map(|action| action.service).chain(about.iter().copied()).collect();
        let outlook = |id: &ServiceId| outlook(view.service(*id).or_else(|| self.start.service(*id))?, &view);
        let mut services: Vec<Outlook> = acted.iter().filter_map(outlook).collect();
        services.sort_by(|a, b| a.service.spec.name.cmp(&b.service.spec.name));
        Rehearsed { objects, actions, services, is_whole, view }
    }

    /// Other services whose tasks it concerns are touched from then on.
    fn play(&mut self, touched: &mut BTreeSet<ServiceId>, diary: &mut Diary) -> bool {
        let mut ledger = Ledger::at(&self.view(), touched.clone());
        let mut idle = 0;
        for _ in 0..TURNS_MAX {
            let (events, wake_at) = self.lead(&mut ledger);
            let quiet = events.is_empty();
            touched.extend(events.iter().filter_map(|event| match event.object() {
                Object::Task(task) => Some(task.service),
                Object::Service(service) => Some(service.id),
                Object::Cluster(_) | Object::Node(_) | Object::Network(_) | Object::Secret(_) | Object::Config(_) => {
                    None
                }
            }));
            diary.note(self.now, &self.view(), &events);
            let reports = agents::reports(&self.view(), touched, self.now);
            if !reports.is_empty() {
                let txn = Txn { wall: self.now, changes: reports, ..Txn::default() };
                // Reports are of tasks that are there: they apply.
                let index = self.store.view().index() + 1;
                if let Ok(events) = self.store.apply(index, 0, &txn) {
                    diary.note(self.now, &self.view(), &events);
                }
                idle = 0;
                continue;
            }
            idle = if quiet { idle + 1 } else { 0 };
            let view = self.view();
            let is_near = |at: &WallTime| *at > self.now && at.since(self.now) <= wait_max(&view, touched);
            match wake_at.filter(|at| is_near(at) && idle < IDLE_MAX && !rests(&view, touched)) {
                Some(at) => self.now = at,
                None => return true,
            }
        }
        false
    }

    /// The leader, until it rests.
    fn lead(&mut self, ledger: &mut Ledger) -> (Vec<Event>, Option<WallTime>) {
        let (mut events, mut wake_at) = (Vec::new(), None);
        for _ in 0..STEPS_MAX {
            let result = ledger.step(&self.store.view(), self.now, &mut self.ids);
            wake_at = result.wake_at;
            if result.txns.is_empty() {
                break;
            }
            for txn in &result.txns {
                let index = self.store.view().index() + 1;
                if let Ok(new) = self.store.apply(index, 0, txn) {
                    events.extend(new);
                }
            }
        }
        (events, wake_at)
    }
}

/// What differs between the two states and is no task, in the order it was first touched.
fn objects(before: &View, after: &View, events: &[Event]) -> Vec<Event> {
    let mut seen = BTreeSet::new();
    let mut out = Vec::new();
    for event in events {
        let reference = event.object().object_ref();
        if matches!(reference, ObjectRef::Task(_)) || !seen.insert(reference) {
            continue;
        }
        match (before.object(reference), after.object(reference)) {
            (None, Some(new)) => out.push(Event::Created(new)),
            // A service that is being removed goes with its tasks.
            (Some(old), Some(new)) if is_going(&new) && !is_going(&old) => out.push(Event::Removed(old)),
            (Some(old), Some(new)) => out.push(Event::Updated { old, new }),
            (Some(old), None) => out.push(Event::Removed(old)),
            (None, None) => {}
        }
    }
    out
}

fn is_going(object: &Object) -> bool {
    match object {
        Object::Service(service) => service.removing,
        Object::Network(network) => network.removing,
        Object::Cluster(_) | Object::Node(_) | Object::Task(_) | Object::Secret(_) | Object::Config(_) => false,
    }
}

/// The services a change is about: those in it, those that use what is in it, and those that wait for one of these.
fn touched(view: &View, objects: &[Event]) -> BTreeSet<ServiceId> {
    let changed: BTreeSet<ObjectRef> = objects.iter().map(|event| event.object().object_ref()).collect();
    let uses = |service: &Service| {
        let container = &service.spec.task.container;
        let secrets = container.secrets.iter().map(|secret| ObjectRef::Secret(secret.id));
        let configs = container.configs.iter().map(|config| ObjectRef::Config(config.id));
        let networks = service.spec.task.networks.iter().map(|network| ObjectRef::Network(network.target));
        let own = std::iter::once(ObjectRef::Service(service.id));
        own.chain(secrets).chain(configs).chain(networks).any(|reference| changed.contains(&reference))
    };
    let mut touched: BTreeSet<ServiceId> = view.services().filter(|service| uses(service)).map(|s| s.id).collect();
    loop {
        let names: BTreeSet<&str> =
            touched.iter().filter_map(|id| view.service(*id)).map(|service| service.spec.name.as_str()).collect();
        let waits = |service: &&Arc<Service>| {
            !touched.contains(&service.id)
                && service.spec.depends_on.iter().any(|dependency| names.contains(dependency.service.as_str()))
        };
        let more: Vec<ServiceId> = view.services().filter(waits).map(|service| service.id).collect();
        if more.is_empty() {
            return touched;
        }
        touched.extend(more);
    }
}

fn wait_max(view: &View, touched: &BTreeSet<ServiceId>) -> Duration {
    let services = touched.iter().filter_map(|id| view.service(*id));
    let promoted = services.filter_map(|service| service.spec.update.as_ref()?.canary_promote_after);
    promoted.chain([WAIT_MAX]).max().unwrap_or(WAIT_MAX)
}

/// Nothing is under way any more but what a person has to end.
fn rests(view: &View, touched: &BTreeSet<ServiceId>) -> bool {
    touched.iter().filter_map(|id| view.service(*id)).all(|service| {
        let going_on = service.update_status.as_ref().is_some_and(|status| match status.state {
            UpdateState::Updating | UpdateState::RollbackStarted => true,
            UpdateState::Paused
            | UpdateState::Completed
            | UpdateState::RollbackPaused
            | UpdateState::RollbackCompleted => false,
        });
        let waits = service.canaries().is_some()
            && service.update_status.as_ref().is_some_and(|status| status.canary_since.is_some())
            && service.spec.update.as_ref().is_some_and(|update| update.canary_promote_after.is_none());
        let delayed = |task: &Arc<Task>| task.desired < TaskState::Running;
        (!going_on || waits) && !view.tasks_of_service(service.id).any(delayed)
    })
}

/// Up or, of a job, completed, and wanted.
fn counts(service: &Service, view: &View) -> (u64, u64) {
    let tasks = view.tasks_of_service(service.id);
    let Some(job) = service.job else {
        let (mut up, mut count) = (0, 0);
        for task in tasks.filter(|task| task.is_wanted()) {
            count += 1;
            up += u64::from(task.is_up());
        }
        return (up, service.wanted_replicas().unwrap_or(count));
    };
    let (mut completed, mut places) = (BTreeSet::new(), BTreeSet::new());
    for task in tasks.filter(|task| task.job_iteration == Some(job.iteration)) {
        let place = (task.slot, task.node.filter(|_| task.slot == 0));
        if task.status.state == TaskState::Complete {
            completed.insert(place);
        }
        if task.status.state == TaskState::Complete || task.is_wanted() {
            places.insert(place);
        }
    }
    let wanted = match service.spec.mode {
        ServiceMode::ReplicatedJob { total_completions, .. } => total_completions,
        ServiceMode::Replicated { .. } | ServiceMode::Global | ServiceMode::GlobalJob => places.len() as u64,
    };
    (completed.len() as u64, wanted)
}

fn outlook(service: &Arc<Service>, view: &View) -> Option<Outlook> {
    let is_there = view.service(service.id).is_some_and(|service| !service.removing);
    let (up, wanted) = if is_there { counts(service, view) } else { (0, 0) };
    let told = service.update_status.as_ref().map(|status| status.message.clone());
    let message = if is_there { told.unwrap_or_default() } else { "removed".to_owned() };
    Some(Outlook { service: Arc::clone(service), up, wanted, message })
}
