//! The agent of a node (`node::agent`): the [`Worker`], its records, and the operations on its containers.

use crate::contents::Held;
use crate::engine::Exit;
use crate::net::HostId;
use crate::operation::Operation;
use crate::probing::{Probe, Subject};
use crate::scaling::Sampler;
use crate::session::Session;
use crate::settings::{MS, SECOND};
use crate::stream::{Frame, Side};
use crate::world::{Wake, World};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use swarm_core::dispatch::Assignments;
use swarm_core::fabric::FabricState;
use swarm_core::model::{Task, TaskState, TaskStatus};
use swarm_core::worker::{Effects, Input, Observation, Worker, has_run};
use swarm_core::{Mono, TaskId};

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
    pub probes: BTreeMap<Subject, Probe>,
}

impl Local {
    fn new(task: Arc<Task>) -> Self {
        Self { task, probes: BTreeMap::new() }
    }
}

/// The agent of a running daemon.
#[derive(Default)]
pub struct Agent {
    pub worker: Worker,
    pub tasks: BTreeMap<TaskId, Local>,
    pub held: Held,
    pub network: FabricState,
    pub unsent: BTreeMap<TaskId, TaskStatus>,
    sequence: u64,
    pub session: Session,
    pub sampler: Sampler,
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
                Some(Err(exit)) if !ended => Some(exited(&exit)),
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
            agent.tasks.insert(task.id, Local::new(task.clone()));
            let mut out = Effects::default();
            let (id, began) = (task.id, task.status.timestamp);
            agent.worker.adopt(mono, wall, task, observation, &mut out);
            if running {
                let age = wall.since(began);
                self.watch(host, id, age);
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
        if let Some(daemon) = self.daemon(host) {
            daemon.agent.wake_at = out.wake_at;
        }
        if let Some(at) = out.wake_at {
            let after = self.until(host, at);
            self.wake(host, after, Wake::Worker);
        }
        for (id, status) in out.statuses {
            self.record(host, id, &status);
            let said = format!("h{host} task {id:.8} {}", status.state.as_str());
            self.note(&said);
            self.check.reported(host, id, &status);
            if let Some(daemon) = self.daemon(host) {
                let ended = daemon.agent.tasks.get_mut(&id).filter(|_| status.state.is_terminal());
                ended.into_iter().for_each(|local| local.probes.clear());
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
            self.watch(host, task, Duration::ZERO);
        }
        let now = self.now;
        let Some(daemon) = self.daemon(host) else { return };
        if cleaned && !daemon.agent.worker.statuses().iter().any(|(id, _)| *id == task) {
            daemon.agent.tasks.remove(&task);
            daemon.agent.unsent.remove(&task);
            self.hosts[host].records.remove(now, task);
        }
    }

    /// Its container runs since `age`: its end is of interest, and how it is.
    fn watch(&mut self, host: HostId, task: TaskId, age: Duration) {
        let Some(daemon) = self.daemon(host) else { return };
        daemon.agent.watching.insert(task);
        if let Some(Err(exit)) = self.hosts[host].engine.find(task) {
            self.wake(host, 20, Wake::Seen(Seen { task, what: exited(&exit) }));
        } else {
            self.begin_probes(host, task, age);
        }
    }

    /// A container ended: whoever waits for it is told, now or late.
    pub fn container_exited(&mut self, host: HostId, task: TaskId, exit: &Exit) {
        let waits = self.daemon(host).is_some_and(|daemon| daemon.agent.watching.contains(&task));
        if waits {
            let late = self.chance(5) && !self.calm;
            let after = if late { self.draw(SECOND, 5 * SECOND) } else { self.draw(MS, 30 * MS) };
            self.wake(host, after, Wake::Seen(Seen { task, what: exited(exit) }));
        }
    }

    /// What the leader wants here.
    pub fn assignments(&mut self, host: HostId, assignments: Assignments) {
        let Some(daemon) = self.daemon(host) else { return };
        let agent = &mut daemon.agent;
        agent.held.take(&assignments);
        let told = assignments.fabric.iter().flat_map(|delta| &delta.endpoints);
        let receive: Vec<TaskId> = told.filter(|(_, endpoint)| endpoint.receives).map(|(id, _)| *id).collect();
        let fits = assignments.fabric.is_none_or(|delta| agent.network.apply_delta(delta).is_ok());
        for task in &assignments.tasks {
            let known = agent.tasks.entry(task.id).or_insert_with(|| Local::new(task.clone()));
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
        receive.into_iter().for_each(|task| self.check.takes_traffic(task));
        self.contents_are_needed(host);
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

fn exited(exit: &Exit) -> Observation {
    Observation::Exited { code: exit.code, oom_killed: false, error: exit.error.clone() }
}

/// Time as microseconds of the queue.
pub fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX / 4)
}
