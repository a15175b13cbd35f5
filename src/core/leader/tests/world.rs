//! A cluster in memory: a store, the leader's steps, and agents that do what they are told after a
//! while, fail when a test says so, and vanish with their node.

use crate::control;
use crate::leader::{Ledger, STEP_CHANGES_MAX, TXN_CHANGES_MAX};
use crate::model::*;
use crate::store::{Change, Object, Store, Txn, View};
use crate::{ClusterId, NetworkId, NodeId, SecretId, Sensitive, ServiceId, TaskId, WallTime};
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Steps until there is nothing left to do, at most: a settled cluster needs one or two.
const STEPS_MAX: usize = 50;

/// How the agents treat tasks of one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Comes up and stays.
    Runs,
    /// Runs, and is ready for traffic after this long.
    ReadyAfter(Duration),
    /// Comes up and exits with code 1 after this long.
    FailsAfter(Duration),
    /// Comes up and exits with code 0 after this long.
    CompletesAfter(Duration),
    /// Its image is missing.
    Rejected,
    /// Its command is not in its image.
    CannotStart,
}

/// Looks at a view, and panics when it should not be.
pub type Watch = Box<dyn Fn(&View)>;

pub struct World {
    pub store: Store,
    pub now: WallTime,
    pub rng: StdRng,
    ledger: Ledger,
    /// When the last step was.
    led: WallTime,
    /// Every third step is written by half: what the leader of another term wrote, or a full log.
    pub is_lossy: bool,
    steps: u32,
    index: u64,
    pub wake_at: Option<WallTime>,
    fates: BTreeMap<String, Fate>,
    /// Nodes whose agents do not answer.
    pub silent: BTreeSet<NodeId>,
    /// How long a container takes to stop.
    pub stop_time: Duration,
    told_to_stop: BTreeMap<TaskId, WallTime>,
    /// Called on each view the store goes through.
    pub watch: Option<Watch>,
}

pub fn node(id: u128) -> Node {
    Node {
        id: NodeId(id),
        meta: Meta::default(),
        spec: NodeSpec::default(),
        description: Some(NodeDescription {
            hostname: format!("host{id}"),
            platform: Platform { os: "linux".into(), architecture: "x86_64".into() },
            resources: Resources {
                nano_cpus: 4_000_000_000,
                memory_bytes: 8 << 30,
                generic: BTreeMap::new(),
                named: BTreeMap::new(),
            },
            ..NodeDescription::default()
        }),
        status: NodeStatus { state: NodeState::Ready, ..NodeStatus::default() },
        raft: None,
        certificate_role: NodeRole::Worker,
    }
}

pub fn replicated(name: &str, image: &str, replicas: u64) -> ServiceSpec {
    let container = ContainerSpec { image: image.to_owned(), ..ContainerSpec::default() };
    ServiceSpec::new(name, ServiceMode::Replicated { replicas }, container)
}

/// A reference as users write it: to the newest content.
pub fn secret_reference(id: SecretId, name: &str) -> SecretReference {
    let file = FileTarget { name: name.to_owned(), uid: "0".into(), gid: "0".into(), mode: 0o444 };
    SecretReference { id, name: name.to_owned(), file, version: 0 }
}

pub fn global(name: &str, image: &str) -> ServiceSpec {
    ServiceSpec { mode: ServiceMode::Global, ..replicated(name, image, 0) }
}

fn cluster() -> Cluster {
    Cluster::new(ClusterId(1), ClusterSpec::default(), ClusterCa::default())
}

impl World {
    /// Nodes are numbered from 1.
    pub fn new(nodes: u128) -> Self {
        let mut world = Self {
            store: Store::new(),
            now: WallTime(1_000_000),
            rng: StdRng::seed_from_u64(7),
            ledger: Ledger::default(),
            led: WallTime(0),
            is_lossy: false,
            steps: 0,
            index: 0,
            wake_at: None,
            fates: BTreeMap::new(),
            silent: BTreeSet::new(),
            stop_time: Duration::ZERO,
            told_to_stop: BTreeMap::new(),
            watch: None,
        };
        world.change(vec![Change::Create(Object::Cluster(Arc::new(cluster())))]);
        let networks = control::predefined_networks([NetworkId(1), NetworkId(2), NetworkId(3)]);
        world.change(networks.into_iter().map(|n| Change::Create(Object::Network(Arc::new(n)))).collect());
        for id in 1..=nodes {
            world.change(vec![Change::Create(node(id).into())]);
        }
        world
    }

    pub fn view(&self) -> View {
        self.store.view()
    }

    pub fn apply(&mut self, txn: &Txn) {
        self.index += 1;
        self.store.apply(self.index, 1, txn).expect("the transaction applies");
        if let Some(watch) = &self.watch {
            watch(&self.store.view());
        }
    }

    pub fn change(&mut self, changes: Vec<Change>) {
        let txn = Txn { wall: self.now, changes, ..Txn::default() };
        self.apply(&txn);
    }

    pub fn fate(&mut self, image: &str, fate: Fate) {
        self.fates.insert(image.to_owned(), fate);
    }

    /// Makes a secret, or changes its content.
    pub fn secret(&mut self, name: &str, data: &str) -> SecretId {
        let (view, data) = (self.view(), Sensitive::new(data.as_bytes().to_vec()));
        let (id, txn) = match view.secret_by_name(name) {
            Some(old) => {
                let wish = control::ContentWish { data: Some(data), ..control::ContentWish::default() };
                (old.id, control::update_secret(&view, old.id, old.meta.version, wish, self.now))
            }
            None => {
                let id = SecretId::random(&mut self.rng);
                let spec = SecretSpec { name: name.to_owned(), labels: Labels::new(), data, templated: false };
                (id, control::create_secret(&view, spec, id, self.now))
            }
        };
        self.apply(&txn.expect("a valid secret"));
        id
    }

    pub fn create(&mut self, spec: ServiceSpec) -> ServiceId {
        let id = ServiceId::random(&mut self.rng);
        let txn = control::create_service(&self.view(), spec, id, self.now).expect("a valid service");
        self.apply(&txn);
        id
    }

    pub fn update(&mut self, id: ServiceId, edit: impl FnOnce(&mut ServiceSpec)) {
        let view = self.view();
        let service = view.service(id).expect("the service");
        let mut spec = (*service.spec).clone();
        edit(&mut spec);
        let txn = control::update_service(&view, id, service.meta.version, spec, self.now).expect("a valid service");
        self.apply(&txn);
    }

    /// Writes a spec as it is, past the checks of the API.
    pub fn overwrite(&mut self, id: ServiceId, edit: impl FnOnce(&mut ServiceSpec)) {
        let mut service = (*self.service(id)).clone();
        edit(Arc::make_mut(&mut service.spec));
        self.change(vec![Change::Replace(Object::Service(Arc::new(service)))]);
    }

    pub fn rollback(&mut self, id: ServiceId) {
        let view = self.view();
        let version = view.service(id).expect("the service").meta.version;
        let txn = control::rollback_service(&view, id, version, self.now).expect("a previous spec");
        self.apply(&txn);
    }

    pub fn rollback_to(&mut self, id: ServiceId, revision: u64) -> Result<(), String> {
        let view = self.view();
        let version = view.service(id).expect("the service").meta.version;
        let txn = control::rollback_service_to(&view, id, version, revision, self.now);
        self.apply(&txn.map_err(|refusal| refusal.to_string())?);
        Ok(())
    }

    pub fn promote(&mut self, id: ServiceId) -> Result<(), String> {
        let txn = control::promote_service(&self.view(), id, self.now).map_err(|refusal| refusal.to_string())?;
        self.apply(&txn);
        Ok(())
    }

    pub fn remove(&mut self, id: ServiceId) {
        let txn = control::remove_service(&self.view(), id, self.now).expect("the service");
        self.apply(&txn);
    }

    pub fn network(&mut self, spec: NetworkSpec) -> NetworkId {
        let id = NetworkId::random(&mut self.rng);
        let txn = control::create_network(&self.view(), spec, id, self.now).expect("a valid network");
        self.apply(&txn);
        id
    }

    pub fn settings(&mut self, edit: impl FnOnce(&mut ClusterSpec)) {
        let mut cluster = (**self.view().cluster().expect("the cluster")).clone();
        edit(&mut cluster.spec);
        self.change(vec![Change::Replace(Object::Cluster(Arc::new(cluster)))]);
    }

    pub fn edit_node(&mut self, id: u128, edit: impl FnOnce(&mut Node)) {
        let mut node = (**self.view().node(NodeId(id)).expect("the node")).clone();
        edit(&mut node);
        self.change(vec![Change::Replace(node.into())]);
    }

    pub fn node_state(&mut self, id: u128, state: NodeState) {
        let now = self.now;
        self.edit_node(id, |node| node.status = NodeStatus { state, since: now, ..node.status.clone() });
        match state {
            NodeState::Down => self.silent.insert(NodeId(id)),
            NodeState::Ready | NodeState::Unknown | NodeState::Disconnected => self.silent.remove(&NodeId(id)),
        };
    }

    /// What the leader does until there is nothing left to do.
    pub fn lead(&mut self) {
        for _ in 0..STEPS_MAX {
            if self.now < self.led {
                self.ledger.look();
            }
            self.led = self.now;
            self.ledger.assert_follows(&self.view());
            let full = self.ledger.anew(&self.view()).step(&self.view(), self.now, &mut self.rng.clone());
            let result = self.ledger.step(&self.view(), self.now, &mut self.rng);
            assert_eq!(result, full, "looking at what changed comes to the same as looking at everything");
            let total: usize = result.txns.iter().map(|txn| txn.changes.len()).sum();
            assert!(total <= STEP_CHANGES_MAX + TXN_CHANGES_MAX, "{total} changes in a step");
            assert!(result.txns.iter().all(|txn| txn.changes.len() <= TXN_CHANGES_MAX));
            self.wake_at = result.wake_at;
            if result.txns.is_empty() {
                return;
            }
            self.steps += 1;
            let is_lost = self.is_lossy && self.steps.is_multiple_of(3);
            let written = if is_lost { result.txns.len() / 2 } else { result.txns.len() };
            for txn in &result.txns[..written] {
                self.apply(txn);
            }
        }
        panic!("the leader does not come to rest");
    }

    /// The leader is told that a change alone does not fit into the log.
    pub fn too_large(&mut self, change: &Change) {
        assert!(self.ledger.too_large(change, 9_000_000, 8_000_000), "it is new to it");
    }

    /// One move of every agent that answers: each task one state further towards what is desired.
    pub fn agents(&mut self) -> bool {
        let view = self.view();
        let mut changes = Vec::new();
        for task in view.tasks() {
            let Some(node) = task.node else { continue };
            let state = task.status.state;
            let reachable = view.node(node).is_some() && !self.silent.contains(&node);
            if !reachable || state < TaskState::Assigned || state.is_terminal() {
                continue;
            }
            if let Some((state, err)) = self.next(task) {
                let ready = self.is_ready(task, state);
                let err = if ready == Some(false) { "not ready: no answer".into() } else { err };
                let status = TaskStatus {
                    state,
                    err,
                    timestamp: self.now,
                    message: state.as_str().into(),
                    container: Some(ContainerStatus { ready, ..ContainerStatus::default() }),
                    ..TaskStatus::default()
                };
                changes.push(Change::TaskStatus { task: task.id, status });
            }
        }
        let moved = !changes.is_empty();
        if moved {
            self.change(changes);
        }
        moved
    }

    /// That of its image with its first secret's content (`web:1 key 2`), else of its image.
    fn fate_of(&self, task: &Task) -> Fate {
        let container = &task.spec.container;
        let secret = container.secrets.first();
        let secret = secret.map(|secret| format!("{} {} {}", container.image, secret.name, secret.version));
        let special = secret.and_then(|name| self.fates.get(&name));
        special.or_else(|| self.fates.get(&container.image)).copied().unwrap_or(Fate::Runs)
    }

    /// What the readiness probe of a task that goes over to `state` says.
    fn is_ready(&self, task: &Task, state: TaskState) -> Option<bool> {
        match self.fate_of(task) {
            Fate::ReadyAfter(_) => Some(task.status.state == TaskState::Running && state == TaskState::Running),
            Fate::Runs | Fate::FailsAfter(_) | Fate::CompletesAfter(_) | Fate::Rejected | Fate::CannotStart => None,
        }
    }

    fn next(&mut self, task: &Task) -> Option<(TaskState, String)> {
        let fate = self.fate_of(task);
        let state = task.status.state;
        let fine = |state| Some((state, String::new()));
        if task.desired >= TaskState::Shutdown {
            let told = *self.told_to_stop.entry(task.id).or_insert(self.now);
            let stopped = state < TaskState::Running || self.now.since(told) >= self.stop_time;
            return if stopped { fine(TaskState::Shutdown) } else { None };
        }
        let up_for = task.up_since.map(|up| self.now.since(up)).unwrap_or_default();
        match state {
            TaskState::Assigned => fine(TaskState::Preparing),
            TaskState::Preparing if fate == Fate::Rejected => {
                Some((TaskState::Rejected, format!("no such image: {}", task.spec.container.image)))
            }
            TaskState::Preparing => fine(TaskState::Ready),
            TaskState::Ready if task.desired == TaskState::Running && fate == Fate::CannotStart => {
                Some((TaskState::Failed, "executable file not found in $PATH".into()))
            }
            TaskState::Ready if task.desired == TaskState::Running => fine(TaskState::Running),
            TaskState::Running => match fate {
                Fate::ReadyAfter(after) if !task.is_up() && self.now.since(task.status.timestamp) >= after => {
                    fine(TaskState::Running)
                }
                Fate::Runs if !task.is_up() => fine(TaskState::Running),
                Fate::FailsAfter(after) if up_for >= after => Some((TaskState::Failed, "exit code 1".into())),
                Fate::CompletesAfter(after) if up_for >= after => fine(TaskState::Complete),
                Fate::Runs
                | Fate::ReadyAfter(_)
                | Fate::Rejected
                | Fate::CannotStart
                | Fate::FailsAfter(_)
                | Fate::CompletesAfter(_) => None,
            },
            _ => None,
        }
    }

    /// Leader and agents in turns until both rest, without time passing.
    pub fn settle(&mut self) {
        for _ in 0..1000 {
            self.lead();
            if !self.agents() {
                return;
            }
        }
        panic!("the cluster does not come to rest");
    }

    /// When something happens next by itself.
    fn next_event(&self) -> Option<WallTime> {
        let view = self.view();
        let of_task = |task: &Arc<Task>| {
            let silent = task.node.is_none_or(|node| self.silent.contains(&node));
            if silent || task.status.state != TaskState::Running {
                return None;
            }
            if let Some(told) = self.told_to_stop.get(&task.id) {
                return Some(*told + self.stop_time);
            }
            match self.fate_of(task) {
                Fate::FailsAfter(after) | Fate::CompletesAfter(after) => task.up_since.map(|up| up + after),
                Fate::ReadyAfter(after) => (!task.is_up()).then_some(task.status.timestamp + after),
                Fate::Runs | Fate::Rejected | Fate::CannotStart => None,
            }
        };
        view.tasks().filter_map(of_task).chain(self.wake_at).filter(|at| *at > self.now).min()
    }

    /// Lets time pass, from one event to the next; returns when `until` holds, at the latest after `limit`.
    pub fn wait(&mut self, limit: Duration, until: impl Fn(&View) -> bool) -> bool {
        let end = self.now + limit;
        loop {
            self.settle();
            if until(&self.view()) {
                return true;
            }
            if self.now >= end {
                return false;
            }
            self.now = self.next_event().map_or(end, |at| at.min(end));
        }
    }

    pub fn pass(&mut self, time: Duration) {
        self.wait(time, |_| false);
    }

    pub fn service(&self, id: ServiceId) -> Arc<Service> {
        Arc::clone(self.view().service(id).expect("the service"))
    }

    /// By slot, then by when they were made.
    pub fn tasks(&self, id: ServiceId) -> Vec<Arc<Task>> {
        let mut tasks: Vec<Arc<Task>> = self.view().tasks_of_service(id).cloned().collect();
        tasks.sort_by_key(|task| (task.slot, task.meta.created.index, task.is_wanted(), task.id));
        tasks
    }

    pub fn running(&self, id: ServiceId) -> Vec<Arc<Task>> {
        let runs = |task: &Arc<Task>| task.status.state == TaskState::Running && task.is_wanted();
        self.tasks(id).into_iter().filter(runs).collect()
    }

    /// Running tasks per node, of nodes that have any.
    pub fn spread(&self, id: ServiceId) -> BTreeMap<u128, usize> {
        let mut spread = BTreeMap::new();
        for task in self.running(id) {
            *spread.entry(task.node.expect("a node").0).or_default() += 1;
        }
        spread
    }

    pub fn update_state(&self, id: ServiceId) -> Option<(UpdateState, String)> {
        self.service(id).update_status.as_ref().map(|status| (status.state, status.message.clone()))
    }
}
