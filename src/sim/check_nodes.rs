//! The invariants of what is so on nodes: containers, what they were given, and what their agents say, held against
//! what the store says. Named in `check`.

use crate::check::{AS_WRITTEN, Checks, NEED_TO_KNOW, ONCE, STARTS_ONCE, UNITS, WAITS};
use crate::net::HostId;
use crate::probing::Subject;
use std::collections::{BTreeMap, BTreeSet};
use swarm_core::dispatch::Assignments;
use swarm_core::model::*;
use swarm_core::store::{Event, Object, View};
use swarm_core::{NodeId, ServiceId, TaskId};

/// What is known of a task's container.
#[derive(Debug)]
struct Run {
    host: HostId,
    runs: bool,
    lost_with_power: bool,
    /// Units of named resources it was given.
    units: BTreeMap<String, ResourceNames>,
    /// Of this service no other may run.
    once: Option<ServiceId>,
}

/// A content: its data, and whether it is a template.
type Written = (Vec<u8>, bool);

/// All that was seen of nodes.
#[derive(Debug, Default)]
pub struct OnNodes {
    runs: BTreeMap<TaskId, Run>,
    /// Contents as they were first committed.
    written: BTreeMap<(ContentId, u64), Written>,
    /// How many probes of a container were good.
    answered: BTreeMap<(TaskId, Subject), u32>,
}

impl OnNodes {
    pub fn containers(&self) -> usize {
        self.runs.len()
    }
}

fn content_of(object: &Object) -> Option<(ContentId, u64, Written)> {
    match object {
        Object::Secret(secret) => {
            let written = (secret.spec.data.expose().clone(), secret.spec.templated);
            Some((ContentId::Secret(secret.id), secret.content_version, written))
        }
        Object::Config(config) => {
            let written = (config.spec.data.clone(), config.spec.templated);
            Some((ContentId::Config(config.id), config.content_version, written))
        }
        Object::Cluster(_) | Object::Node(_) | Object::Service(_) | Object::Task(_) | Object::Network(_) => None,
    }
}

impl Checks {
    pub fn has_content(&self, content: ContentId) -> bool {
        self.newest().newest_content(content).is_some()
    }

    /// What a version is stays that.
    pub fn contents_written(&mut self, events: &[Event]) {
        for event in events {
            let (Event::Created(object) | Event::Updated { new: object, .. }) = event else { continue };
            if let Some((content, version, written)) = content_of(object) {
                self.is_as_written(content, version, written);
            }
        }
    }

    fn is_as_written(&mut self, content: ContentId, version: u64, found: Written) {
        let written = self.on_nodes.written.entry((content, version)).or_insert_with(|| found.clone());
        if *written != found {
            self.fail(AS_WRITTEN, format!("content {version} of {content}"));
        }
    }

    /// A session tells a node what it has to do.
    pub fn assigned(&mut self, view: &View, node: NodeId, assignments: &Assignments) {
        let tasks = || view.tasks_of_node(node).filter(|task| !task.status.state.is_terminal());
        let needed: BTreeSet<(ContentId, u64)> = tasks().flat_map(|task| task.spec.container.contents()).collect();
        let secrets = assignments.secrets.iter().map(|secret| (Object::Secret(secret.clone()), secret.older.len()));
        let configs = assignments.configs.iter().map(|config| (Object::Config(config.clone()), config.older.len()));
        for (object, older) in secrets.chain(configs) {
            let Some((content, version, written)) = content_of(&object) else { continue };
            if !needed.contains(&(content, version)) || older > 0 {
                self.fail(NEED_TO_KNOW, format!("content {version} and {older} older of {content} to node {node}"));
            }
            self.is_as_written(content, version, written);
        }
        if let Some(task) = assignments.tasks.iter().find(|task| task.node != Some(node)) {
            self.fail(NEED_TO_KNOW, format!("task {} to node {node}", task.id));
        }
    }

    /// A container starts; `task` as its node knows it, which has `resources`.
    pub fn started(&mut self, host: HostId, task: &Task, resources: &Resources) {
        let id = task.id;
        if let Some(known) = self.newest().task(id) {
            let here = known.node.and_then(|node| self.hosts.get(&node).copied()) == Some(host);
            if !here || known.desired < TaskState::Running {
                self.fail(STARTS_ONCE, format!("task {id} on h{host}: it is {}", known.desired.as_str()));
            }
        }
        if let Some(run) = self.on_nodes.runs.get(&id) {
            // Lost with the power before anybody but this node knew that it had run.
            let again = run.host == host && run.lost_with_power && !self.ran(id);
            if !again {
                self.fail(STARTS_ONCE, format!("task {id}: on h{} and again on h{host}", run.host));
            }
        }
        self.has_its_units(host, task, resources);
        let once = task.spec.at_most_one.map(|_| task.service);
        let twin = self.on_nodes.runs.iter().find(|(_, run)| run.runs && run.once.is_some() && run.once == once);
        if let Some((twin, run)) = twin {
            self.fail(ONCE, format!("{}: task {twin} on h{} and {id} on h{host}", task.service_name, run.host));
        }
        let units = task.assigned_resources.clone();
        self.on_nodes.runs.insert(id, Run { host, runs: true, lost_with_power: false, units, once });
    }

    fn has_its_units(&mut self, host: HostId, task: &Task, resources: &Resources) {
        for (kind, has) in &resources.named {
            let reserved = task.spec.resources.reservations.generic.get(kind).copied().unwrap_or(0);
            let given = task.assigned_resources.get(kind).map(|units| units.names.as_slice()).unwrap_or_default();
            let own = given.iter().collect::<BTreeSet<_>>().len() as i64;
            let others = self.on_nodes.runs.values().filter(|run| run.host == host && run.runs);
            let taken = others.filter_map(|run| run.units.get(kind)).flat_map(|units| &units.names);
            let shared = taken.into_iter().find(|name| given.contains(name));
            let strange = given.iter().find(|name| !has.names.contains(name));
            if own != reserved || shared.is_some() || strange.is_some() {
                let task = task.id;
                let words =
                    format!("task {task} on h{host}: {given:?} of {kind}, {reserved} reserved, {shared:?} shared");
                self.fail(UNITS, words);
            }
        }
    }

    /// A run of a probe was good.
    pub fn answered(&mut self, task: TaskId, subject: Subject) {
        *self.on_nodes.answered.entry((task, subject)).or_insert(0) += 1;
    }

    /// A node sends new connections to it.
    pub fn takes_traffic(&mut self, task: TaskId) {
        let spec = self.newest().task(task).map(|task| task.spec.clone());
        if let Some(spec) = spec {
            self.was_good(task, &spec.container, "takes traffic");
        }
    }

    /// It was found healthy and ready as often as its spec asks.
    pub fn was_good(&mut self, task: TaskId, spec: &ContainerSpec, what: &str) {
        for subject in Subject::ALL.into_iter().filter(|subject| subject.is_waited_for(spec)) {
            let least = spec.readiness.as_ref().filter(|_| subject == Subject::Readiness).map_or(1, |p| p.successes);
            let good = self.on_nodes.answered.get(&(task, subject)).copied().unwrap_or(0);
            if good < least {
                self.fail(WAITS, format!("task {task} {what} after {good} good answers to {subject:?} of {least}"));
            }
        }
    }

    fn ran(&self, task: TaskId) -> bool {
        self.newest().task(task).is_some_and(|task| task.status.state >= TaskState::Running)
    }

    /// A container that is to be the only one of its service runs there.
    pub fn holds_one(&self, host: HostId) -> bool {
        self.on_nodes.runs.values().any(|run| run.runs && run.host == host && run.once.is_some())
    }

    pub fn runs(&self, task: TaskId) -> bool {
        self.on_nodes.runs.get(&task).is_some_and(|run| run.runs)
    }

    pub fn stopped(&mut self, task: TaskId) {
        if let Some(run) = self.on_nodes.runs.get_mut(&task) {
            run.runs = false;
        }
    }

    pub fn host_crashed(&mut self, host: HostId) {
        for run in self.on_nodes.runs.values_mut().filter(|run| run.host == host) {
            (run.runs, run.lost_with_power) = (false, true);
        }
    }
}
