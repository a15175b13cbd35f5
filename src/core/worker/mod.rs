//! The agent's side of a task's life: from what is assigned and what is observed to commands and
//! statuses. Owned by the node's agent; it must never do I/O itself and never act on a task that another
//! owner (a newer assignment) has taken away.
//!
//! Order of a task: accepted, preparing, ready, starting, running, and one of the ends. A task is prepared
//! at once, started when its desired state is `Running`, and stopped when that goes beyond. Before a
//! running container is signalled its task is left out of the load balancers for [`DRAIN`].

mod lease;
pub mod probe;
mod verdict;

use crate::model::{ContainerStatus, Health, PortConfig, Task, TaskState, TaskStatus};
use crate::{Mono, TaskId, WallTime};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// From the order to stop to the stop signal: time for every node's load balancer to send new
/// connections elsewhere and for short requests to end. A push to all nodes takes some 10 ms.
pub const DRAIN: Duration = Duration::from_millis(700);

/// What can happen.
#[derive(Clone, Debug)]
pub enum Input {
    /// What the managers want here. With `complete`, tasks not named are not wanted any more.
    Assigned { complete: bool, tasks: Vec<Arc<Task>>, removed: Vec<TaskId> },
    /// What was seen of a task's container.
    Observed { task: TaskId, what: Observation },
    /// The heartbeat sent at this time was answered by a leader that a quorum follows.
    Leased { sent: Mono },
    /// Time has passed.
    Tick,
}

/// What the engine saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observation {
    /// Still preparing; words for people.
    Progress(String),
    /// Image, volumes, network and container are there. `health_checked`: it is running only when healthy.
    Prepared { container_id: String, health_checked: bool },
    /// It can't be made ready: the task is rejected.
    NotPrepared(String),
    /// Its first process runs.
    Started { pid: u32, host_ports: Vec<PortConfig> },
    /// It can't be started: the task has failed. The exit code is that of a shell where its command is the reason:
    /// 127 for one that was not found, 126 for one that cannot be run.
    NotStarted { reason: String, exit_code: Option<i32> },
    /// A verdict of the health check, with the last output when it is bad.
    Health(Health, String),
    /// A verdict of the readiness probe; while it is not ready, in words why.
    Readiness { ready: bool, words: String },
    /// The liveness probe failed often enough: in words how.
    NotAlive(String),
    /// The container's first process ended.
    Exited { code: i32, oom_killed: bool, error: String },
    /// Nothing of the task is left on this node.
    Cleaned,
    /// A container of this task was found running after a restart of the daemon.
    FoundRunning { container_id: String, pid: u32, health_checked: bool },
}

/// What the engine shall do. Each command is answered by an observation.
#[derive(Clone, Debug)]
pub enum Command {
    /// Pull, mount, attach, create: answered by `Prepared` or `NotPrepared`.
    Prepare(Arc<Task>),
    /// The preparation under way is not wanted any more: it may end at once, and answers as it would have.
    GiveUp(TaskId),
    /// Answered by `Started` or `NotStarted`; later by `Exited`. A task that needs a lease has one then: see
    /// [`Worker::lease_of`], which the engine must know before it starts anything.
    Start(TaskId),
    /// It may run until then; after that the engine stops it whatever becomes of this process. Not answered.
    Renew { task: TaskId, until: Mono },
    /// Signal, then kill after the grace period: answered by `Exited`.
    Stop { task: TaskId, grace: Duration },
    /// Remove whatever the task has on this node: answered by `Cleaned`.
    Clean(TaskId),
}

/// I/O to do.
#[derive(Debug, Default)]
pub struct Effects {
    pub commands: Vec<Command>,
    /// Statuses to report, in order.
    pub statuses: Vec<(TaskId, TaskStatus)>,
    /// When `Tick` is due next, if at all.
    pub wake_at: Option<Mono>,
}

/// Where a container is, as far as this agent knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Preparing,
    Prepared,
    Starting,
    Running,
    /// Signalled after this time.
    Draining {
        until: Mono,
    },
    Stopping,
    Ended,
    Cleaning,
}

#[derive(Debug)]
struct Managed {
    task: Arc<Task>,
    phase: Phase,
    status: TaskStatus,
    health_checked: bool,
    /// Why it is stopped though it is wanted: how its health check or liveness probe failed.
    condemned: Option<String>,
    /// Why it takes no traffic, once its readiness probe has said so.
    unready: Option<String>,
    /// Not assigned any more: nothing is reported, and it goes when it is clean.
    dropped: bool,
    /// Until when it may run, of a task that is to run once at most; `None` before the first word of a leader.
    lease: Option<Mono>,
    /// Its lease has passed once: it is over.
    lapsed: bool,
}

impl Managed {
    fn new(task: Arc<Task>, status: TaskStatus) -> Self {
        Self {
            task,
            phase: Phase::Ended,
            status,
            health_checked: false,
            condemned: None,
            unready: None,
            dropped: false,
            lease: None,
            lapsed: false,
        }
    }
}

/// The tasks of one node.
#[derive(Debug, Default)]
pub struct Worker {
    tasks: BTreeMap<TaskId, Managed>,
}

impl Worker {
    /// A worker that knows nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Statuses of all assigned tasks, to report when a session begins.
    pub fn statuses(&self) -> Vec<(TaskId, TaskStatus)> {
        let known = self.tasks.iter().filter(|(_, managed)| !managed.dropped);
        known.map(|(id, managed)| (*id, managed.status.clone())).collect()
    }

    /// Every task with anything on this node, those being removed included.
    pub fn known(&self) -> impl Iterator<Item = TaskId> {
        self.tasks.keys().copied()
    }

    /// Takes one input at `now`; `wall` stamps the statuses.
    pub fn input(&mut self, now: Mono, wall: WallTime, input: Input, out: &mut Effects) {
        match input {
            Input::Assigned { complete, tasks, removed } => self.assigned(now, wall, complete, tasks, &removed, out),
            Input::Observed { task, what } => self.observed(now, wall, task, what, out),
            Input::Leased { sent } => self.leased(now, wall, sent, out),
            Input::Tick => {}
        }
        self.lapse(now, wall, out);
        self.drained(now, out);
    }

    fn assigned(
        &mut self,
        now: Mono,
        wall: WallTime,
        complete: bool,
        tasks: Vec<Arc<Task>>,
        removed: &[TaskId],
        out: &mut Effects,
    ) {
        if complete {
            let wanted: std::collections::BTreeSet<TaskId> = tasks.iter().map(|task| task.id).collect();
            let gone: Vec<TaskId> = self.tasks.keys().filter(|id| !wanted.contains(id)).copied().collect();
            gone.into_iter().for_each(|id| self.drop_task(now, id, out));
        }
        removed.iter().for_each(|id| self.drop_task(now, *id, out));
        for task in tasks {
            self.assign(now, wall, task, out);
        }
    }

    fn assign(&mut self, now: Mono, wall: WallTime, task: Arc<Task>, out: &mut Effects) {
        let id = task.id;
        if let Some(managed) = self.tasks.get_mut(&id) {
            managed.dropped = false;
            managed.task = task;
            self.advance(now, wall, id, out);
            return;
        }
        if task.status.state.is_terminal() {
            return;
        }
        let status = TaskStatus { err: String::new(), ..task.status.clone() };
        self.tasks.insert(id, Managed::new(task.clone(), status));
        if has_run(&task.status) {
            // A task runs once: what ran here and is not known any more is not run again.
            let reason = "the node lost the task's container".to_owned();
            self.report(wall, id, TaskState::Failed, "started", reason, out);
            out.commands.push(Command::Clean(id));
            return;
        }
        if task.desired > TaskState::Running {
            self.report(wall, id, TaskState::Shutdown, "shut down before it was started", String::new(), out);
            out.commands.push(Command::Clean(id));
            return;
        }
        self.report(wall, id, TaskState::Accepted, "accepted", String::new(), out);
        self.set_phase(id, Phase::Preparing);
        self.report(wall, id, TaskState::Preparing, "preparing", String::new(), out);
        out.commands.push(Command::Prepare(task));
    }

    /// A task that this node had before the daemon was restarted, as last recorded, with what was found of its
    /// container: running (`FoundRunning`), ended meanwhile (`Exited`), or, for a task that had ended, nothing.
    pub fn adopt(&mut self, now: Mono, wall: WallTime, task: Arc<Task>, found: Option<Observation>, out: &mut Effects) {
        let id = task.id;
        let status = task.status.clone();
        let mut managed = Managed::new(task, status);
        managed.condemned = verdict::condemned_before(&managed.status);
        self.tasks.insert(id, managed);
        if let Some(found) = found {
            self.observed(now, wall, id, found, out);
        }
        self.drained(now, out);
    }

    fn drop_task(&mut self, now: Mono, id: TaskId, out: &mut Effects) {
        let Some(managed) = self.tasks.get_mut(&id) else { return };
        managed.dropped = true;
        match managed.phase {
            Phase::Ended => {
                managed.phase = Phase::Cleaning;
                out.commands.push(Command::Clean(id));
            }
            Phase::Running => managed.phase = Phase::Draining { until: now + drain_of(&managed.task) },
            Phase::Prepared => {
                managed.phase = Phase::Cleaning;
                out.commands.push(Command::Clean(id));
            }
            // The answer to the command under way decides what is left to do.
            Phase::Preparing => out.commands.push(Command::GiveUp(id)),
            Phase::Starting | Phase::Draining { .. } | Phase::Stopping | Phase::Cleaning => {}
        }
    }

    fn observed(&mut self, now: Mono, wall: WallTime, id: TaskId, what: Observation, out: &mut Effects) {
        let Some(managed) = self.tasks.get_mut(&id) else { return };
        match what {
            Observation::Progress(words) => {
                if managed.phase == Phase::Preparing {
                    self.report(wall, id, TaskState::Preparing, &words, String::new(), out);
                }
            }
            Observation::Prepared { container_id, health_checked } => {
                managed.phase = Phase::Prepared;
                managed.health_checked = health_checked;
                let health = if health_checked { Health::Starting } else { Health::None };
                let ready = managed.task.spec.container.readiness.is_some().then_some(false);
                managed.status.container =
                    Some(ContainerStatus { container_id, health, ready, ..ContainerStatus::default() });
                self.report(wall, id, TaskState::Ready, "ready", String::new(), out);
                if self.tasks.get(&id).is_some_and(|managed| managed.lapsed && !managed.dropped) {
                    self.end_lapsed(wall, id, out);
                }
                self.advance(now, wall, id, out);
            }
            Observation::NotPrepared(reason) => {
                self.end(wall, id, TaskState::Rejected, "preparing failed", reason, out)
            }
            Observation::Started { pid, host_ports } => {
                managed.status.host_ports = host_ports;
                self.started(now, wall, id, pid, out);
            }
            Observation::FoundRunning { container_id, pid, health_checked } => {
                managed.health_checked = health_checked;
                let container = managed.status.container.get_or_insert_default();
                container.container_id = container_id;
                self.started(now, wall, id, pid, out);
            }
            Observation::NotStarted { reason, exit_code } => {
                managed.status.container.get_or_insert_default().exit_code = exit_code;
                self.end(wall, id, TaskState::Failed, "starting failed", reason, out);
            }
            Observation::Health(health, words) => self.health(now, wall, id, health, &words, out),
            Observation::Readiness { ready, words } => self.readiness(wall, id, ready, &words, out),
            Observation::NotAlive(words) => self.condemn(now, wall, id, format!("not alive: {words}"), out),
            Observation::Exited { code, oom_killed, error } => self.exited(wall, id, code, oom_killed, error, out),
            Observation::Cleaned => {
                if managed.dropped {
                    self.tasks.remove(&id);
                } else {
                    managed.phase = Phase::Ended;
                    if !managed.status.state.is_terminal() {
                        // Taken away while it was made ready, and wanted again since: a task runs once.
                        let reason = "the task was taken from the node before it was started".to_owned();
                        self.report(wall, id, TaskState::Failed, "preparing", reason, out);
                    }
                }
            }
        }
    }

    fn exited(&mut self, wall: WallTime, id: TaskId, code: i32, oom: bool, error: String, out: &mut Effects) {
        let Some(managed) = self.tasks.get_mut(&id) else { return };
        let container = managed.status.container.get_or_insert_default();
        container.exit_code = Some(code);
        container.oom_killed = oom;
        container.pid = 0;
        let told = managed.dropped || managed.task.desired > TaskState::Running;
        let condemned = managed.condemned.take();
        let (state, words, reason) = if told {
            (TaskState::Shutdown, "shutdown", String::new())
        } else if managed.lapsed {
            (TaskState::Failed, "started", managed.lapse_reason())
        } else if let Some(reason) = condemned {
            (TaskState::Failed, "started", reason)
        } else if !error.is_empty() {
            (TaskState::Failed, "started", error)
        } else if code == 0 {
            (TaskState::Complete, "finished", String::new())
        } else if oom {
            let reason = format!("task: out of memory: the container was killed at its limit (exit {code})");
            (TaskState::Failed, "started", reason)
        } else {
            (TaskState::Failed, "started", format!("task: non-zero exit ({code})"))
        };
        self.end(wall, id, state, words, reason, out);
    }

    /// The task has ended: what it held on the node is given back. Logs stay until it is removed.
    fn end(&mut self, wall: WallTime, id: TaskId, state: TaskState, words: &str, reason: String, out: &mut Effects) {
        let Some(managed) = self.tasks.get_mut(&id) else { return };
        managed.phase = if managed.dropped { Phase::Cleaning } else { Phase::Ended };
        let told = managed.task.desired > TaskState::Running;
        let (state, words, reason) = match state {
            TaskState::Rejected | TaskState::Failed if told => {
                (TaskState::Shutdown, "shut down before it was started", String::new())
            }
            state => (state, words, reason),
        };
        if managed.dropped {
            out.commands.push(Command::Clean(id));
        }
        self.report(wall, id, state, words, reason, out);
    }

    /// What the desired state asks for next.
    fn advance(&mut self, now: Mono, wall: WallTime, id: TaskId, out: &mut Effects) {
        let Some(managed) = self.tasks.get_mut(&id) else { return };
        let stop = managed.dropped || managed.task.desired > TaskState::Running;
        match managed.phase {
            Phase::Prepared if stop => {
                self.report(wall, id, TaskState::Shutdown, "shut down before it was started", String::new(), out);
                self.set_phase(id, Phase::Cleaning);
                out.commands.push(Command::Clean(id));
            }
            Phase::Prepared if managed.task.desired == TaskState::Running && managed.may_start(now) => {
                managed.phase = Phase::Starting;
                self.report(wall, id, TaskState::Starting, "starting", String::new(), out);
                out.commands.push(Command::Start(id));
            }
            Phase::Preparing if stop => out.commands.push(Command::GiveUp(id)),
            Phase::Running if stop => managed.phase = Phase::Draining { until: now + drain_of(&managed.task) },
            Phase::Prepared
            | Phase::Running
            | Phase::Preparing
            | Phase::Starting
            | Phase::Draining { .. }
            | Phase::Stopping
            | Phase::Ended
            | Phase::Cleaning => {}
        }
    }

    /// Signals the tasks whose drain is over, and says when the next one is.
    fn drained(&mut self, now: Mono, out: &mut Effects) {
        for (id, managed) in &mut self.tasks {
            let Phase::Draining { until } = managed.phase else { continue };
            if until <= now {
                managed.phase = Phase::Stopping;
                let grace = managed.task.spec.container.stop_grace();
                out.commands.push(Command::Stop { task: *id, grace });
            } else {
                out.wake_at = Some(out.wake_at.map_or(until, |at| at.min(until)));
            }
        }
    }

    fn set_phase(&mut self, id: TaskId, phase: Phase) {
        if let Some(managed) = self.tasks.get_mut(&id) {
            managed.phase = phase;
        }
    }

    /// Records and reports a status, unless the task is not ours any more. States only rise.
    fn report(&mut self, wall: WallTime, id: TaskId, state: TaskState, words: &str, reason: String, out: &mut Effects) {
        let Some(managed) = self.tasks.get_mut(&id) else { return };
        let status = &mut managed.status;
        if state < status.state {
            return;
        }
        if state > status.state {
            status.timestamp = wall;
        }
        status.state = state;
        status.message = words.to_owned();
        status.err = reason;
        status.bound();
        if !managed.dropped {
            out.statuses.push((id, managed.status.clone()));
        }
    }
}

/// Whether the container's first process has been started. A record of that counts after a restart, too.
pub fn has_run(status: &TaskStatus) -> bool {
    status.state >= TaskState::Running || status.container.as_ref().is_some_and(|container| container.pid != 0)
}

/// No drain for what nobody can connect to.
fn drain_of(task: &Task) -> Duration {
    if task.attachments.is_empty() && task.host_ports.is_empty() { Duration::ZERO } else { DRAIN }
}

#[cfg(test)]
mod tests;
