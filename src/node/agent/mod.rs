//! The agent: brings about on this node what the managers assigned to it.
//!
//! One task owns the [`Worker`] and everything around it; engine operations run beside it and come back
//! as observations. It never talks to a manager of the same process but over the session, like to any
//! other. It goes on with what it has when no manager answers, and finds its containers again after a
//! restart.

pub mod engine;
mod loads;
pub mod probing;
mod record;
pub mod session;

pub use record::{RecordError, Records};
pub use session::{ClusterInfo, Introduction};

use crate::clock::Clock;
use crate::managers::Managers;
use crate::transport::Endpoint;
use engine::{Contents, Engine, EngineError, Fabric, Found, NotStarted, Prepared, Progress, Started};
use probing::{Subject, Turns};
use session::{FromSession, Report, SessionWish};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use swarm_core::TaskId;
use swarm_core::autoscale::Sampling;
use swarm_core::dispatch::Assignments;
use swarm_core::fabric::FabricState;
use swarm_core::model::TaskState;
use swarm_core::model::{HealthConfig, Task, TaskStatus};
use swarm_core::template::task::NodeFacts;
use swarm_core::worker::{Command, Effects, Input, Observation, Worker, has_run};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinHandle};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Observations of running operations that may wait for the agent.
const OBSERVATIONS: usize = 1024;
/// Preparations and starts at once: enough to keep two cores and a disk busy, few enough that the first
/// container does not wait for the last.
const OPERATIONS_AT_ONCE: usize = 8;
/// Reports under way to the leader.
const REPORTS: usize = 64;
/// Readings under way to the leader: a newer one is on its way when one is late.
const LOADS: usize = 1;
/// Statuses gathered into one report at most.
const REPORT_TASKS_MAX: usize = 1000;
/// Progress words of one pull that may wait.
const PROGRESS: usize = 8;
/// Exit code of a container that nobody saw end (as Docker's of a container that could not be watched).
const LOST_EXIT_CODE: i32 = 255;
/// After a failed attempt to bring the network to its state, the next one.
const FABRIC_RETRY: Duration = Duration::from_secs(2);

/// The parts an agent works with.
pub struct AgentParts {
    pub engine: Arc<dyn Engine>,
    pub fabric: Arc<dyn Fabric>,
    pub records: Records,
    pub endpoint: Endpoint,
    pub managers: Managers,
    pub introduction: watch::Receiver<Introduction>,
    pub clock: Clock,
}

enum Request {
    /// Stop and remove everything: the node leaves. Nothing is taken on any more.
    Clear(oneshot::Sender<()>),
}

/// Handle of a running agent.
#[derive(Clone)]
pub struct Agent {
    requests: mpsc::Sender<Request>,
    cluster: watch::Receiver<Option<ClusterInfo>>,
    connected: watch::Receiver<bool>,
    /// Whether sessions are wanted.
    sessions: Arc<watch::Sender<SessionWish>>,
    tasks: TaskTracker,
}

impl Agent {
    /// Starts the agent; it ends when `stop` is cancelled, leaving its containers as they are.
    pub async fn start(parts: AgentParts, stop: CancellationToken) -> Result<Self, RecordError> {
        let (requests, requests_seen) = mpsc::channel(4);
        let (cluster, cluster_seen) = watch::channel(None);
        let (connected, connected_seen) = watch::channel(false);
        let (observations, observed) = mpsc::channel(OBSERVATIONS);
        let (reports, reports_seen) = mpsc::channel(REPORTS);
        let (inbox, from_session) = mpsc::channel(REPORTS);
        let (fabric_state, fabric_seen) = watch::channel(None);
        let (asked, asked_seen) = watch::channel(loads::Asked::default());
        let (loads, loads_seen) = mpsc::channel(LOADS);
        let engine = parts.engine.clone();
        let (sessions, wish) = watch::channel(SessionWish::default());
        let sessions = Arc::new(sessions);
        let mut shell = Shell {
            worker: Worker::new(),
            engine: parts.engine,
            records: parts.records,
            clock: parts.clock,
            tasks: BTreeMap::new(),
            contents: Contents::default(),
            introduction: parts.introduction.clone(),
            network: FabricState::default(),
            fabric_state,
            sampling: Sampling::default(),
            asked,
            observations,
            operations: Arc::new(Semaphore::new(OPERATIONS_AT_ONCE)),
            turns: Turns::new(),
            reports,
            unsent: BTreeMap::new(),
            sequence: 0,
            connected,
            cluster,
            clearing: Vec::new(),
            leaving: false,
            sessions: sessions.clone(),
            wake_at: None,
        };
        // Before anything runs: a failure leaves nothing behind.
        shell.recover().await?;
        let tasks = TaskTracker::new();
        tasks.spawn(apply_fabric(parts.fabric.clone(), fabric_seen, stop.clone()));
        let (endpoint, managers, me, clock) = (parts.endpoint, parts.managers, parts.introduction, shell.clock.clone());
        let outgoing = session::Outgoing { reports: reports_seen, loads: loads_seen };
        let loads_run = loads::run(engine, parts.fabric, asked_seen, loads);
        tasks.spawn(stop.clone().run_until_cancelled_owned(loads_run));
        let sessions_run = session::run(endpoint, managers, clock, session::Wishes { me, wish }, outgoing, inbox);
        tasks.spawn(stop.clone().run_until_cancelled_owned(sessions_run));
        tasks.spawn(shell.run(requests_seen, observed, from_session, stop));
        tasks.close();
        Ok(Self { requests, cluster: cluster_seen, connected: connected_seen, sessions, tasks })
    }

    /// What the leader said of the cluster; `None` before the first session.
    pub fn cluster(&self) -> watch::Receiver<Option<ClusterInfo>> {
        self.cluster.clone()
    }

    /// Whether a session with the leader is open.
    pub fn connected(&self) -> watch::Receiver<bool> {
        self.connected.clone()
    }

    /// Ends the session and opens none, or opens one again. Resolves when it has ended.
    pub async fn hold_sessions(&self, hold: bool) {
        self.sessions.send_modify(|wish| wish.hold = hold);
        if hold {
            let mut connected = self.connected.clone();
            // An error means that the agent has ended, and its session with it.
            let _ = connected.wait_for(|connected| !connected).await;
        }
    }

    /// Resolves when everything of the agent has ended after its `stop`.
    pub async fn ended(&self) {
        self.tasks.wait().await;
    }

    /// Stops and removes all tasks of this node and takes on no others; resolves when nothing is left.
    pub async fn clear(&self) {
        let (done, cleared) = oneshot::channel();
        if self.requests.send(Request::Clear(done)).await.is_ok() {
            let _ = cleared.await;
        }
    }
}

/// What the shell keeps beside the worker for a task.
struct Local {
    task: Arc<Task>,
    health: Option<HealthConfig>,
    probing: Vec<AbortHandle>,
    gate: Gate,
    /// Ends its preparation.
    given_up: CancellationToken,
}

impl Local {
    fn new(task: Arc<Task>, health: Option<HealthConfig>) -> Self {
        Self { task, health, probing: Vec::new(), gate: Gate::default(), given_up: CancellationToken::new() }
    }

    fn stop_probing(&mut self) {
        self.probing.drain(..).for_each(|probe| probe.abort());
    }
}

/// Held by each operation on a task's container: the engine does one at a time.
type Gate = Arc<tokio::sync::Mutex<()>>;

impl Drop for Local {
    fn drop(&mut self) {
        self.stop_probing();
    }
}

struct Shell {
    worker: Worker,
    engine: Arc<dyn Engine>,
    records: Records,
    clock: Clock,
    tasks: BTreeMap<TaskId, Local>,
    contents: Contents,
    introduction: watch::Receiver<Introduction>,
    network: FabricState,
    fabric_state: watch::Sender<Option<Arc<FabricState>>>,
    /// What the leader asks about, and what that means here.
    sampling: Sampling,
    asked: watch::Sender<loads::Asked>,
    observations: mpsc::Sender<Seen>,
    operations: Arc<Semaphore>,
    turns: Turns,
    reports: mpsc::Sender<Report>,
    /// The newest status of each task that is not on its way yet.
    unsent: BTreeMap<TaskId, TaskStatus>,
    sequence: u64,
    connected: watch::Sender<bool>,
    cluster: watch::Sender<Option<ClusterInfo>>,
    clearing: Vec<oneshot::Sender<()>>,
    /// The node leaves: what is still assigned to it is not for it.
    leaving: bool,
    sessions: Arc<watch::Sender<SessionWish>>,
    wake_at: Option<swarm_core::Mono>,
}

/// What an operation has to say.
enum Seen {
    Worker(TaskId, Observation),
    /// Prepared or found, with the health check in force.
    Checked(TaskId, Observation, Option<HealthConfig>),
}

impl Shell {
    async fn run(
        mut self,
        mut requests: mpsc::Receiver<Request>,
        mut observed: mpsc::Receiver<Seen>,
        mut from_session: mpsc::Receiver<FromSession>,
        stop: CancellationToken,
    ) {
        loop {
            self.send_reports();
            self.ask_for_loads();
            let wake = self.wake_at;
            let clock = self.clock.clone();
            tokio::select! {
                () = stop.cancelled() => return,
                Some(request) = requests.recv() => match request {
                    Request::Clear(done) => self.clear(done),
                },
                Some(seen) = observed.recv() => self.seen(seen),
                message = from_session.recv() => match message {
                    Some(message) => self.session(message),
                    None => return,
                },
                () = clock.sleep_until(wake), if wake.is_some() => self.input(Input::Tick),
            }
            if self.worker.statuses().is_empty() && self.tasks.is_empty() {
                for done in self.clearing.drain(..) {
                    let _ = done.send(());
                }
            }
        }
    }

    /// Finds the containers of the recorded tasks, and removes what belongs to none.
    async fn recover(&mut self) -> Result<(), RecordError> {
        let recorded = self.records.tasks()?;
        if let Some(state) = self.records.fabric() {
            self.fabric_state.send_replace(Some(Arc::new(state.clone())));
            self.network = state;
        }
        let mut known: std::collections::BTreeSet<TaskId> = recorded.iter().map(|task| task.id).collect();
        for task in recorded {
            let found = self.engine.find(task.clone()).await;
            let ended = task.status.state.is_terminal();
            let (observation, health) = match found {
                Found::Running { container_id, pid, health } => {
                    let health_checked = probing::is_on(health.as_ref());
                    (Some(Observation::FoundRunning { container_id, pid, health_checked }), health)
                }
                Found::Exited(exit) if !ended => (
                    Some(Observation::Exited { code: exit.code, oom_killed: exit.oom_killed, error: exit.error }),
                    None,
                ),
                Found::Exited(_) => (None, None),
                Found::Nothing if ended => (None, None),
                // A task runs once: its container was lost, by a reboot for example, and its exit code with it.
                Found::Nothing if has_run(&task.status) => {
                    let error = "the container was lost while the daemon was away".to_owned();
                    (Some(Observation::Exited { code: LOST_EXIT_CODE, oom_killed: false, error }), None)
                }
                // The daemon ended while it was made ready: it is made ready anew when it is assigned again. What there
                // is of it goes before its record, which alone tells of it.
                Found::Nothing => {
                    self.engine.clean(task.id).await;
                    known.remove(&task.id);
                    self.records.remove(task.id)?;
                    continue;
                }
            };
            let running = matches!(observation, Some(Observation::FoundRunning { .. }));
            self.tasks.insert(task.id, Local::new(task.clone(), health));
            let mut out = Effects::default();
            self.worker.adopt(self.clock.mono(), self.clock.wall(), task.clone(), observation, &mut out);
            if running {
                self.watch_exit(task.id);
                // Of a task that is not up yet it is when its container started; for others it does not matter.
                self.probe(task.id, self.clock.wall().since(task.status.timestamp));
            }
            self.carry_out(out);
        }
        for unknown in self.engine.tasks().await.into_iter().filter(|task| !known.contains(task)) {
            self.engine.clean(unknown).await;
        }
        Ok(())
    }

    fn input(&mut self, input: Input) {
        let mut out = Effects::default();
        self.worker.input(self.clock.mono(), self.clock.wall(), input, &mut out);
        self.carry_out(out);
    }

    fn carry_out(&mut self, out: Effects) {
        self.wake_at = out.wake_at;
        for (id, status) in out.statuses {
            self.record(id, &status);
            if status.state.is_terminal() {
                self.ended(id);
            }
            self.unsent.insert(id, status);
        }
        for command in out.commands {
            self.command(command);
        }
    }

    /// The record must be there before the container is: otherwise a crash leaves a stranger behind.
    fn record(&mut self, id: TaskId, status: &TaskStatus) {
        let Some(local) = self.tasks.get_mut(&id) else { return };
        // Words on progress are many, and worth no write to disk.
        let known = &local.task.status;
        if status.state == TaskState::Preparing && known.state == status.state && known.err == status.err {
            return;
        }
        let mut task = (*local.task).clone();
        task.status = status.clone();
        let task = Arc::new(task);
        local.task = task.clone();
        if let Err(error) = self.records.put(&task) {
            tracing::error!(task = %id, error = %crate::error::chain(&error), "a status was not recorded");
        }
    }

    fn ended(&mut self, id: TaskId) {
        if let Some(local) = self.tasks.get_mut(&id) {
            local.stop_probing();
        }
        let (engine, gate) = (self.engine.clone(), self.gate(id));
        tokio::spawn(async move {
            let _alone = gate.lock().await;
            engine.release(id).await;
        });
    }

    fn gate(&self, id: TaskId) -> Gate {
        self.tasks.get(&id).map(|local| local.gate.clone()).unwrap_or_default()
    }

    fn grace(&self, id: TaskId) -> Duration {
        self.tasks.get(&id).map(|local| local.task.spec.container.stop_grace()).unwrap_or_default()
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Prepare(task) => self.prepare(task),
            Command::GiveUp(id) => {
                if let Some(local) = self.tasks.get(&id) {
                    local.given_up.cancel();
                }
            }
            Command::Start(id) => self.start(id),
            Command::Renew { task, until } => {
                let (engine, until, grace) = (self.engine.clone(), self.clock.boot_ms(until), self.grace(task));
                tokio::spawn(async move {
                    if let Err(error) = engine.lease(task, until, grace).await {
                        tracing::warn!(%task, %error, "the lease of a task was not prolonged");
                    }
                });
            }
            Command::Stop { task, grace } => {
                let (engine, gate) = (self.engine.clone(), self.gate(task));
                // The exit itself is told by whoever waits for it.
                tokio::spawn(async move {
                    let _alone = gate.lock().await;
                    engine.stop(task, grace).await;
                });
            }
            Command::Clean(id) => {
                let (engine, observations, gate) = (self.engine.clone(), self.observations.clone(), self.gate(id));
                tokio::spawn(async move {
                    let alone = gate.lock().await;
                    engine.clean(id).await;
                    drop(alone);
                    let _ = observations.send(Seen::Worker(id, Observation::Cleaned)).await;
                });
            }
        }
    }

    fn prepare(&mut self, task: Arc<Task>) {
        let (engine, observations, operations) =
            (self.engine.clone(), self.observations.clone(), self.operations.clone());
        let (contents, gate) = (self.contents_of(&task), self.gate(task.id));
        let given_up = self.tasks.get(&task.id).map(|local| local.given_up.clone()).unwrap_or_default();
        tokio::spawn(async move {
            let id = task.id;
            let _alone = gate.lock().await;
            // No turn is held meanwhile: a registry that does not answer is nothing to tasks whose image is here.
            let (words, telling) = tell_progress(id, observations.clone());
            let fetched = engine.fetch(task.clone(), Progress { words, given_up: given_up.clone() }).await;
            let _ = telling.await;
            let result = match fetched {
                Ok(()) => match given_up.run_until_cancelled(operations.acquire()).await {
                    Some(Ok(_permit)) => engine.prepare(task, contents).await,
                    Some(Err(_)) => return,
                    None => Err(EngineError("it was given up before it was made ready".to_owned())),
                },
                Err(error) => Err(error),
            };
            let _ = observations.send(prepared(id, result)).await;
        });
    }

    fn start(&mut self, id: TaskId) {
        let (engine, observations, operations) =
            (self.engine.clone(), self.observations.clone(), self.operations.clone());
        let (gate, grace) = (self.gate(id), self.grace(id));
        let lease = self.worker.lease_of(id).map(|until| self.clock.boot_ms(until));
        tokio::spawn(async move {
            let alone = gate.lock().await;
            let Ok(permit) = operations.acquire().await else { return };
            let leased = match lease {
                Some(until) => engine.lease(id, until, grace).await,
                None => Ok(()),
            };
            let result = match leased {
                Ok(()) => engine.start(id).await,
                Err(EngineError(reason)) => Err(NotStarted { reason, exit_code: None }),
            };
            drop((permit, alone));
            let (observation, runs) = match result {
                Ok(Started { pid, host_ports }) => (Observation::Started { pid, host_ports }, true),
                Err(NotStarted { reason, exit_code }) => (Observation::NotStarted { reason, exit_code }, false),
            };
            if observations.send(Seen::Worker(id, observation)).await.is_ok() && runs {
                tell_exit(engine, observations, id).await;
            }
        });
    }

    fn watch_exit(&self, id: TaskId) {
        tokio::spawn(tell_exit(self.engine.clone(), self.observations.clone(), id));
    }

    /// Begins the probes of a container that runs since `age`.
    fn probe(&mut self, id: TaskId, age: Duration) {
        let Some(local) = self.tasks.get_mut(&id) else { return };
        let spec = &local.task.spec.container;
        let health = local.health.clone().filter(|config| probing::is_on(Some(config))).map(Subject::Health);
        let readiness = spec.readiness.clone().map(Subject::Readiness);
        let liveness = spec.liveness.clone().map(Subject::Liveness);
        for subject in [health, readiness, liveness].into_iter().flatten() {
            let (engine, clock, turns) = (self.engine.clone(), self.clock.clone(), self.turns.clone());
            let watch = probing::Watch { engine, clock, turns, task: id, subject };
            let status = local.task.status.clone();
            let probe = tokio::spawn(watch.run(status, age, self.observations.clone()));
            local.probing.push(probe.abort_handle());
        }
    }

    fn seen(&mut self, seen: Seen) {
        let (id, what) = match seen {
            Seen::Worker(id, what) => (id, what),
            Seen::Checked(id, what, health) => {
                if let Some(local) = self.tasks.get_mut(&id) {
                    local.health = health;
                }
                (id, what)
            }
        };
        let (started, cleaned) = (matches!(what, Observation::Started { .. }), what == Observation::Cleaned);
        self.input(Input::Observed { task: id, what });
        if started {
            self.probe(id, Duration::ZERO);
        }
        if cleaned && !self.worker.statuses().iter().any(|(task, _)| *task == id) {
            self.tasks.remove(&id);
            self.unsent.remove(&id);
            if let Err(error) = self.records.remove(id) {
                tracing::warn!(task = %id, error = %crate::error::chain(&error), "a record stays behind");
            }
        }
    }

    fn session(&mut self, message: FromSession) {
        match message {
            FromSession::Opened => {
                self.connected.send_replace(true);
                // Whatever was under way may be lost: everything is told again.
                self.unsent = self.worker.statuses().into_iter().collect();
            }
            FromSession::Lost => {
                self.connected.send_replace(false);
                self.sampling = Sampling::default();
            }
            FromSession::Sampling(sampling) => self.sampling = sampling,
            // Reports are told again whole with the next session; until then nothing is repeated.
            FromSession::Acked(_) => {}
            FromSession::Leased { sent } => self.input(Input::Leased { sent }),
            FromSession::Cluster(info) => {
                self.cluster.send_replace(Some(info));
            }
            FromSession::Assigned(_) if self.leaving => {}
            FromSession::Assigned(assignments) => self.assigned(*assignments),
            FromSession::Removed => {
                tracing::warn!("this node was removed from the cluster: its tasks are stopped");
                self.input(Input::Assigned { complete: true, tasks: Vec::new(), removed: Vec::new() });
            }
        }
    }

    fn assigned(&mut self, assignments: Assignments) {
        if assignments.complete {
            self.contents = Contents::default();
        }
        for secret in assignments.secrets {
            self.contents.secrets.insert((secret.id, secret.content_version), secret);
        }
        for config in assignments.configs {
            self.contents.configs.insert((config.id, config.content_version), config);
        }
        assignments.removed_secrets.iter().for_each(|id| drop(self.contents.secrets.remove(id)));
        assignments.removed_configs.iter().for_each(|id| drop(self.contents.configs.remove(id)));
        if let Some(delta) = assignments.fabric {
            match self.network.apply_delta(delta) {
                Ok(()) => {
                    let state = Arc::new(self.network.clone());
                    if let Err(error) = self.records.put_fabric(&state) {
                        tracing::warn!(error = %crate::error::chain(&error), "the network state was not recorded");
                    }
                    self.fabric_state.send_replace(Some(state));
                }
                Err(error) => {
                    tracing::error!(%error, "a change of the network does not fit; asking for all of it");
                    self.sessions.send_modify(|wish| wish.anew += 1);
                }
            }
        }
        for task in &assignments.tasks {
            let known = self.tasks.entry(task.id).or_insert_with(|| Local::new(task.clone(), None));
            // The status is the agent's own; what managers want may have changed.
            let status = known.task.status.clone();
            let mut newest = (**task).clone();
            newest.status = status;
            known.task = Arc::new(newest);
        }
        self.input(Input::Assigned {
            complete: assignments.complete,
            tasks: assignments.tasks,
            removed: assignments.removed_tasks,
        });
        // A task the worker did not take (it had ended long ago) is nothing to keep.
        let taken: std::collections::BTreeSet<TaskId> = self.worker.known().collect();
        self.tasks.retain(|id, _| taken.contains(id));
    }

    fn contents_of(&self, task: &Task) -> Contents {
        let spec = &task.spec.container;
        let secrets = spec.secrets.iter().map(|reference| (reference.id, reference.version));
        let secrets = secrets.filter_map(|key| Some((key, self.contents.secrets.get(&key)?.clone())));
        let configs = spec.configs.iter().map(|reference| (reference.id, reference.version));
        let configs = configs.filter_map(|key| Some((key, self.contents.configs.get(&key)?.clone())));
        let networks = task.attachments.iter().filter_map(|attachment| {
            Some((attachment.network, self.network.networks.get(&attachment.network)?.clone()))
        });
        let node = {
            let described = self.introduction.borrow();
            let (hostname, platform) = (described.description.hostname.clone(), described.description.platform.clone());
            NodeFacts { id: task.node, hostname, platform }
        };
        Contents { secrets: secrets.collect(), configs: configs.collect(), networks: networks.collect(), node }
    }

    /// Has those tasks looked at that run and are asked about, and the connections counted that are.
    fn ask_for_loads(&self) {
        let mut wanted = loads::Asked::default();
        if !self.sampling.services.is_empty() {
            let running = self.tasks.values().filter(|local| local.task.status.state == TaskState::Running);
            let asked = running.filter(|local| self.sampling.services.contains(&local.task.service));
            wanted.tasks = asked.map(|local| local.task.id).collect();
            wanted.counted.clone_from(&self.sampling.counted);
        }
        self.asked.send_if_modified(|held| {
            let differs = *held != wanted;
            *held = wanted;
            differs
        });
    }

    /// Hands over what is unsent as far as the session takes it.
    fn send_reports(&mut self) {
        while !self.unsent.is_empty() && *self.connected.borrow() {
            let Ok(place) = self.reports.try_reserve() else { return };
            let mut reports = Vec::new();
            while let Some(report) = self.unsent.pop_first() {
                reports.push(report);
                if reports.len() == REPORT_TASKS_MAX {
                    break;
                }
            }
            self.sequence += 1;
            place.send(Report { sequence: self.sequence, reports });
        }
    }

    fn clear(&mut self, done: oneshot::Sender<()>) {
        self.clearing.push(done);
        self.leaving = true;
        self.input(Input::Assigned { complete: true, tasks: Vec::new(), removed: Vec::new() });
    }
}

/// Passes words on until their sender is dropped.
fn tell_progress(id: TaskId, observations: mpsc::Sender<Seen>) -> (mpsc::Sender<String>, JoinHandle<()>) {
    let (sender, mut words) = mpsc::channel(PROGRESS);
    let telling = tokio::spawn(async move {
        while let Some(words) = words.recv().await {
            let _ = observations.send(Seen::Worker(id, Observation::Progress(words))).await;
        }
    });
    (sender, telling)
}

fn prepared(id: TaskId, result: Result<Prepared, EngineError>) -> Seen {
    match result {
        Ok(prepared) => {
            let health_checked = probing::is_on(prepared.health.as_ref());
            let observation = Observation::Prepared { container_id: prepared.container_id, health_checked };
            Seen::Checked(id, observation, prepared.health)
        }
        Err(error) => Seen::Worker(id, Observation::NotPrepared(error.0)),
    }
}

async fn tell_exit(engine: Arc<dyn Engine>, observations: mpsc::Sender<Seen>, id: TaskId) {
    let exit = engine.wait(id).await;
    let what = Observation::Exited { code: exit.code, oom_killed: exit.oom_killed, error: exit.error };
    let _ = observations.send(Seen::Worker(id, what)).await;
}

/// Brings the network to the newest state; what fails is tried again.
async fn apply_fabric(
    fabric: Arc<dyn Fabric>,
    mut states: watch::Receiver<Option<Arc<FabricState>>>,
    stop: CancellationToken,
) {
    let mut retry = false;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            changed = states.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(FABRIC_RETRY), if retry => {}
        }
        let Some(state) = states.borrow_and_update().clone() else { continue };
        let result = fabric.apply(state).await;
        retry = result.is_err();
        if let Err(error) = result {
            tracing::warn!(%error, "the network is not as it should be; trying again");
        }
    }
}
