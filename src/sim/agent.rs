//! The agent of a node (`node::agent`): the [`Worker`], its records, and the operations on its containers.

use crate::net::HostId;
use crate::operation::Operation;
use crate::session::Session;
use crate::settings::{MS, SECOND};
use crate::stream::{Frame, Side};
use crate::world::{Wake, World};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use swarm_core::dispatch::Assignments;
use swarm_core::fabric::FabricState;
use swarm_core::model::{Health, Task, TaskState, TaskStatus};
use swarm_core::worker::{Effects, Input, Observation, Worker, has_run};
use swarm_core::{ConfigId, Mono, SecretId, TaskId};

/// Exit code of a container that nobody saw end.
const LOST_EXIT_CODE: i32 = 255;
/// Statuses in one report at most.
const REPORT_TASKS_MAX: usize = 1000;

/// What an operation has to say.
#[derive(Debug)]
pub struct Seen {
    pub task: TaskId,
    pub what: Observation,
}

/// What the shell keeps beside the worker for a task.
#[derive(Debug)]
pub struct Local {
    pub task: Arc<Task>,
    pub health: Option<Health>,
}

/// The agent of a running daemon.
#[derive(Default)]
pub struct Agent {
    pub worker: Worker,
    pub tasks: BTreeMap<TaskId, Local>,
    /// By id and content version.
    pub secrets: BTreeSet<(SecretId, u64)>,
    pub configs: BTreeSet<(ConfigId, u64)>,
    network: FabricState,
    pub unsent: BTreeMap<TaskId, TaskStatus>,
    sequence: u64,
    pub session: Session,
    pub wake_at: Option<Mono>,
    /// Operations, and per task those that wait for their turn, the one under way first.
    pub operations: BTreeMap<u64, Operation>,
    pub gates: BTreeMap<TaskId, VecDeque<u64>>,
    /// Tasks whose container's end is waited for.
    pub watching: BTreeSet<TaskId>,
}

impl World {
    /// Finds the containers of the recorded tasks, and removes what belongs to none.
    pub fn recover_agent(&mut self, host: HostId) {
        let now = self.now;
        let recorded = self.hosts[host].records.tasks();
        let mut known: BTreeSet<TaskId> = recorded.iter().map(|task| task.id).collect();
        for task in recorded {
            let ended = task.status.state.is_terminal();
            let observation = match self.hosts[host].engine.find(task.id) {
                Some(Ok(pid)) => Some(Observation::FoundRunning {
                    container_id: task.id.to_string(),
                    pid,
                    health_checked: task.spec.container.health_check.is_some(),
                }),
                Some(Err(code)) if !ended => Some(exited(code)),
                Some(Err(_)) => None,
                None if ended => None,
                None if has_run(&task.status) => Some(Observation::Exited {
                    code: LOST_EXIT_CODE,
                    oom_killed: false,
                    error: "the container was lost while the daemon was away".to_owned(),
                }),
                None => {
                    self.remove_container(host, task.id);
                    known.remove(&task.id);
                    self.hosts[host].records.remove(now, task.id);
                    continue;
                }
            };
            let running = matches!(observation, Some(Observation::FoundRunning { .. }));
            let (mono, wall) = (self.mono(host), self.wall(host));
            let Some(daemon) = self.daemon(host) else { return };
            let agent = &mut daemon.agent;
            agent.tasks.insert(task.id, Local { task: task.clone(), health: None });
            let mut out = Effects::default();
            let id = task.id;
            agent.worker.adopt(mono, wall, task, observation, &mut out);
            if running {
                self.watch(host, id);
            }
            self.worker_out(host, out);
        }
        for unknown in self.hosts[host].engine.tasks() {
            if !known.contains(&unknown) {
                self.remove_container(host, unknown);
            }
        }
    }

    pub fn worker_input(&mut self, host: HostId, input: Input) {
        let (mono, wall) = (self.mono(host), self.wall(host));
        let Some(daemon) = self.daemon(host) else { return };
        let mut out = Effects::default();
        daemon.agent.worker.input(mono, wall, input, &mut out);
        self.worker_out(host, out);
    }

    fn worker_out(&mut self, host: HostId, out: Effects) {
        let mono = self.mono(host);
        if let Some(daemon) = self.daemon(host) {
            daemon.agent.wake_at = out.wake_at;
        }
        if let Some(at) = out.wake_at {
            let after = u64::try_from(at.since(mono).as_micros()).unwrap_or(MS);
            self.wake(host, after, Wake::Worker);
        }
        for (id, status) in out.statuses {
            self.record(host, id, &status);
            let said = format!("h{host} task {id:.8} {}", status.state.as_str());
            self.note(&said);
            self.check.reported(host, id, &status);
            if let Some(daemon) = self.daemon(host) {
                daemon.agent.unsent.insert(id, status);
            }
        }
        for command in out.commands {
            self.command(host, command);
        }
        self.send_reports(host);
    }

    /// The record is there before the container is.
    fn record(&mut self, host: HostId, id: TaskId, status: &TaskStatus) {
        let now = self.now;
        let Some(local) = self.daemon(host).and_then(|daemon| daemon.agent.tasks.get_mut(&id)) else { return };
        let known = &local.task.status;
        if status.state == TaskState::Preparing && known.state == status.state && known.err == status.err {
            return;
        }
        let task = Arc::new(Task { status: status.clone(), ..(*local.task).clone() });
        local.task = task.clone();
        self.hosts[host].records.put(now, task);
    }

    pub fn worker_tick(&mut self, host: HostId) {
        let mono = self.mono(host);
        let due = self.daemon(host).is_some_and(|daemon| daemon.agent.wake_at.is_some_and(|at| at <= mono));
        if due {
            self.worker_input(host, Input::Tick);
        }
    }

    pub fn seen(&mut self, host: HostId, seen: Seen) {
        let Seen { task, what } = seen;
        let (started, cleaned) = (matches!(what, Observation::Started { .. }), what == Observation::Cleaned);
        self.worker_input(host, Input::Observed { task, what });
        if started {
            self.watch(host, task);
        }
        let now = self.now;
        let Some(daemon) = self.daemon(host) else { return };
        if cleaned && !daemon.agent.worker.statuses().iter().any(|(id, _)| *id == task) {
            daemon.agent.tasks.remove(&task);
            daemon.agent.unsent.remove(&task);
            self.hosts[host].records.remove(now, task);
        }
    }

    /// Its container runs: its end and its health are of interest.
    fn watch(&mut self, host: HostId, task: TaskId) {
        let Some(daemon) = self.daemon(host) else { return };
        daemon.agent.watching.insert(task);
        let checked = daemon.agent.tasks.get(&task).is_some_and(|t| t.task.spec.container.health_check.is_some());
        if let Some(Err(code)) = self.hosts[host].engine.find(task) {
            self.wake(host, 20, Wake::Seen(Seen { task, what: exited(code) }));
        } else if checked {
            let after = self.draw(300 * MS, 2 * SECOND);
            self.wake(host, after, Wake::Health { task });
        }
    }

    /// A container ended: whoever waits for it is told, now or late.
    pub fn container_exited(&mut self, host: HostId, task: TaskId, code: i32) {
        let waits = self.daemon(host).is_some_and(|daemon| daemon.agent.watching.contains(&task));
        if waits {
            let late = self.chance(5) && !self.calm;
            let after = if late { self.draw(SECOND, 5 * SECOND) } else { self.draw(MS, 30 * MS) };
            self.wake(host, after, Wake::Seen(Seen { task, what: exited(code) }));
        }
    }

    pub fn health_check(&mut self, host: HostId, task: TaskId) {
        if self.hosts[host].engine.find(task).is_none_or(|found| found.is_err()) {
            return;
        }
        let sick = self.hosts[host].engine.is_sick(task) && !self.calm;
        let health = if sick && self.chance(30) { Health::Unhealthy } else { Health::Healthy };
        let Some(local) = self.daemon(host).and_then(|daemon| daemon.agent.tasks.get_mut(&task)) else { return };
        if local.health.replace(health) != Some(health) {
            let words = if health == Health::Unhealthy { "the check failed" } else { "" };
            self.worker_input(host, Input::Observed { task, what: Observation::Health(health, words.to_owned()) });
        }
        if sick {
            self.wake(host, 2 * SECOND, Wake::Health { task });
        }
    }

    /// What the leader wants here.
    pub fn assignments(&mut self, host: HostId, assignments: Assignments) {
        let Some(daemon) = self.daemon(host) else { return };
        let agent = &mut daemon.agent;
        if assignments.complete {
            agent.secrets.clear();
            agent.configs.clear();
        }
        agent.secrets.extend(assignments.secrets.iter().map(|secret| (secret.id, secret.content_version)));
        agent.configs.extend(assignments.configs.iter().map(|config| (config.id, config.content_version)));
        agent.secrets.retain(|id| !assignments.removed_secrets.contains(id));
        agent.configs.retain(|id| !assignments.removed_configs.contains(id));
        let fits = assignments.fabric.is_none_or(|delta| agent.network.apply_delta(delta).is_ok());
        for task in &assignments.tasks {
            let known = agent.tasks.entry(task.id).or_insert_with(|| Local { task: task.clone(), health: None });
            let status = known.task.status.clone();
            known.task = Arc::new(Task { status, ..(**task).clone() });
        }
        let Assignments { complete, tasks, removed_tasks: removed, .. } = assignments;
        self.worker_input(host, Input::Assigned { complete, tasks, removed });
        let Some(daemon) = self.daemon(host) else { return };
        let taken: BTreeSet<TaskId> = daemon.agent.worker.known().collect();
        daemon.agent.tasks.retain(|id, _| taken.contains(id));
        if !fits {
            self.check.fail(crate::check::FABRIC_FITS, format!("h{host}"));
        }
    }

    /// The node was removed from the cluster: its tasks are stopped.
    pub fn node_removed(&mut self, host: HostId) {
        self.worker_input(host, Input::Assigned { complete: true, tasks: Vec::new(), removed: Vec::new() });
    }

    /// Hands over what is unsent, as far as a session takes it.
    pub fn send_reports(&mut self, host: HostId) {
        let Some(daemon) = self.daemon(host) else { return };
        let Some(stream) = daemon.agent.session.stream() else { return };
        let mut frames = Vec::new();
        while !daemon.agent.unsent.is_empty() {
            let mut reports = Vec::new();
            while let Some(report) = daemon.agent.unsent.pop_first() {
                reports.push(report);
                if reports.len() == REPORT_TASKS_MAX {
                    break;
                }
            }
            daemon.agent.sequence += 1;
            frames.push(Frame::Reports { sequence: daemon.agent.sequence, reports });
        }
        for frame in frames {
            self.stream_send(stream, Side::Leader, frame);
        }
    }
}

pub fn exited(code: i32) -> Observation {
    Observation::Exited { code, oom_killed: false, error: String::new() }
}

/// Time as microseconds of the queue.
pub fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX / 4)
}
