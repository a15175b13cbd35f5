//! The engine of a host: containers with a life of their own. They and their shims outlive the daemon, not the host.
//!
//! What an image's containers do is in its name, so that a service decides its fate by its spec.

use crate::agent::micros;
use crate::host::description;
use crate::net::HostId;
use crate::probing::Subject;
use crate::settings::{MS, SECOND};
use crate::shim::{KILLED, Kept};
use crate::world::{Event, World};
use std::collections::BTreeMap;
use std::sync::Arc;
use swarm_core::model::Task;
use swarm_core::worker::Observation;
use swarm_core::{ServiceId, TaskId};

/// How long a container takes to warm up: health checks of 1 s that have to fail three times let it.
const WARM_US: u64 = 2_500 * MS;

/// What becomes of the containers of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Runs,
    SlowPull,
    /// Ignores the stop signal.
    Stubborn,
    /// Exits with an error after a while, always.
    Crashes,
    /// Exits with 0 after a while.
    Completes,
    /// There is no such image.
    NoImage,
    /// Its command is not in its image.
    NoCommand,
    /// Fails in every way now and then, as long as there are faults.
    Flaky,
    /// Answers no probe for some seconds now and then, as long as there are faults.
    Sick,
    /// Answers no probe in the first seconds.
    Warms,
    /// Is never ready.
    Unready,
    /// From some time on it answers no probe and goes on, if it was started while there were faults.
    Hangs,
}

impl Fate {
    pub const ALL: [(Self, &'static str); 12] = [
        (Self::Runs, "runs"),
        (Self::SlowPull, "slow"),
        (Self::Stubborn, "stubborn"),
        (Self::Crashes, "crashes"),
        (Self::Completes, "completes"),
        (Self::NoImage, "absent"),
        (Self::NoCommand, "nocommand"),
        (Self::Flaky, "flaky"),
        (Self::Sick, "sick"),
        (Self::Warms, "warms"),
        (Self::Unready, "unready"),
        (Self::Hangs, "hangs"),
    ];

    pub fn image(self, tag: u64) -> String {
        let name = Self::ALL.iter().find(|(fate, _)| *fate == self).map_or("runs", |(_, name)| *name);
        format!("{name}:{tag}")
    }

    pub fn of(image: &str) -> Self {
        let name = image.split(':').next().unwrap_or_default();
        Self::ALL.iter().find(|(_, known)| *known == name).map_or(Self::Runs, |(fate, _)| *fate)
    }

    /// Its tasks come up and stay, once there are no faults.
    pub fn stays_up(self) -> bool {
        match self {
            Self::Runs
            | Self::SlowPull
            | Self::Stubborn
            | Self::Flaky
            | Self::Sick
            | Self::Warms
            | Self::Unready
            | Self::Hangs => true,
            Self::Crashes | Self::Completes | Self::NoImage | Self::NoCommand => false,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Created,
    Running { pid: u32 },
    Exited { code: i32 },
}

/// How a container ended.
#[derive(Clone, Debug)]
pub struct Exit {
    pub code: i32,
    /// Why, where that was not its own doing.
    pub error: String,
}

#[derive(Debug)]
struct Container {
    fate: Fate,
    state: State,
    task: Arc<Task>,
    /// When it was started.
    since: u64,
    /// Until when it answers no probe; for ever from when it hangs.
    ill_until: u64,
    hangs_at: Option<u64>,
    shim: Kept,
}

/// The containers of one host.
#[derive(Debug, Default)]
pub struct Engine {
    containers: BTreeMap<TaskId, Container>,
    pids: u32,
    /// Operations take seconds.
    pub slow: bool,
    /// No registry answers.
    pub offline: bool,
}

/// What happens to a container by itself.
#[derive(Clone, Copy, Debug)]
pub enum EngineEvent {
    Exit {
        task: TaskId,
        pid: u32,
        code: i32,
    },
    /// Its shim looks whether its lease has passed.
    Look {
        task: TaskId,
        pid: u32,
    },
}

impl Engine {
    /// The pid of a task's container, or how it ended; nothing if it never ran.
    pub fn find(&self, task: TaskId) -> Option<Result<u32, Exit>> {
        let container = self.containers.get(&task)?;
        match container.state {
            State::Created => None,
            State::Running { pid } => Some(Ok(pid)),
            State::Exited { code } => Some(Err(container.exit(code))),
        }
    }

    /// The shim of a task's container, and the grace period in microseconds.
    pub fn shim(&mut self, task: TaskId) -> Option<(&mut Kept, u64)> {
        let container = self.containers.get_mut(&task)?;
        Some((&mut container.shim, micros(container.task.spec.container.stop_grace())))
    }

    /// Tasks that have anything here.
    pub fn tasks(&self) -> Vec<TaskId> {
        self.containers.keys().copied().collect()
    }

    pub fn running(&self, task: TaskId) -> bool {
        self.containers.get(&task).is_some_and(|container| matches!(container.state, State::Running { .. }))
    }

    /// What a probe would see at a time without faults.
    pub fn answers(&self, task: TaskId, subject: Subject, now: u64) -> bool {
        self.containers.get(&task).is_some_and(|container| container.answers(subject, now, true))
    }

    /// How many containers of a service run.
    pub fn running_of(&self, service: ServiceId) -> u64 {
        let runs = |container: &&Container| matches!(container.state, State::Running { .. });
        self.containers.values().filter(|container| container.task.service == service).filter(runs).count() as u64
    }

    pub fn all_running(&self) -> impl Iterator<Item = TaskId> {
        self.containers.iter().filter(|(_, c)| matches!(c.state, State::Running { .. })).map(|(id, _)| *id)
    }

    /// Nothing of it is left.
    pub fn lose_power(&mut self) {
        self.containers.clear();
    }
}

impl Container {
    fn exit(&self, code: i32) -> Exit {
        let error = if self.shim.told { "its lease has passed" } else { "" };
        Exit { code, error: error.to_owned() }
    }

    fn answers(&self, subject: Subject, now: u64, calm: bool) -> bool {
        let runs = matches!(self.state, State::Running { .. });
        let well = match self.fate {
            Fate::Sick => calm || self.ill_until <= now,
            Fate::Warms => now >= self.since + WARM_US,
            Fate::Unready => subject != Subject::Readiness,
            Fate::Hangs => self.hangs_at.is_none_or(|at| now < at),
            Fate::Runs
            | Fate::SlowPull
            | Fate::Stubborn
            | Fate::Crashes
            | Fate::Completes
            | Fate::NoImage
            | Fate::NoCommand
            | Fate::Flaky => true,
        };
        runs && well
    }
}

impl World {
    /// Makes a container ready, or says why not.
    pub fn prepare_container(&mut self, host: HostId, task: &Arc<Task>) -> Observation {
        let fate = Fate::of(&task.spec.container.image);
        let refused = |why: &str| Observation::NotPrepared(why.to_owned());
        let flaky = fate == Fate::Flaky && !self.calm && self.chance(20);
        if fate == Fate::NoImage {
            return refused("no such image");
        }
        if flaky || self.hosts[host].engine.offline && !self.calm {
            return refused("the registry does not answer");
        }
        if let Some(reason) = self.without_files(host, task) {
            return refused(&reason);
        }
        let (state, task) = (State::Created, task.clone());
        let container = Container {
            fate,
            state,
            task: task.clone(),
            since: 0,
            ill_until: 0,
            hangs_at: None,
            shim: Kept::default(),
        };
        self.hosts[host].engine.containers.insert(task.id, container);
        let health_checked = task.spec.container.health_check.is_some();
        Observation::Prepared { container_id: task.id.to_string(), health_checked }
    }

    /// Starts a container that was made ready.
    pub fn start_container(&mut self, host: HostId, task: TaskId, lease: Option<u64>) -> Observation {
        let calm = self.calm;
        let fate = self.hosts[host].engine.containers.get(&task).map(|container| container.fate);
        let leased = lease.is_none_or(|until| self.lease(host, task, until));
        let passed = self.hosts[host].engine.shim(task).is_some_and(|(shim, _)| shim.has_passed(self.now));
        let Some(fate) = fate.filter(|_| leased && !passed) else {
            let reason = if fate.is_none() { "its container is gone" } else { "its lease has passed" };
            return Observation::NotStarted { reason: reason.to_owned(), exit_code: None };
        };
        if fate == Fate::NoCommand || fate == Fate::Flaky && !calm && self.chance(15) {
            let reason = "executable file not found in $PATH".to_owned();
            return Observation::NotStarted { reason, exit_code: Some(127) };
        }
        let (now, hangs) = (self.now, fate == Fate::Hangs && !calm);
        let hangs_at = if hangs { Some(now + self.draw(SECOND, 15 * SECOND)) } else { None };
        let engine = &mut self.hosts[host].engine;
        engine.pids += 1;
        let pid = engine.pids;
        let mut host_ports = Vec::new();
        if let Some(container) = engine.containers.get_mut(&task) {
            container.state = State::Running { pid };
            (container.since, container.hangs_at) = (now, hangs_at);
            host_ports.clone_from(&container.task.host_ports);
            let resources = description(self.settings.asks, host).resources;
            self.check.started(host, &container.task, &resources);
        }
        self.promised(host);
        self.begin_looks(host, task, pid);
        let ends = match fate {
            Fate::Crashes => Some((self.draw(100 * MS, 8 * SECOND), 1)),
            Fate::Completes => Some((self.draw(SECOND, 8 * SECOND), 0)),
            Fate::Flaky if !calm && self.chance(40) => Some((self.draw(50 * MS, 15 * SECOND), 3)),
            Fate::Runs
            | Fate::SlowPull
            | Fate::Stubborn
            | Fate::NoImage
            | Fate::NoCommand
            | Fate::Flaky
            | Fate::Sick
            | Fate::Warms
            | Fate::Unready
            | Fate::Hangs => None,
        };
        if let Some((after, code)) = ends {
            self.exit_later(host, task, pid, after, code);
        }
        Observation::Started { pid, host_ports }
    }

    /// What a probe of a task's container sees.
    pub fn answers(&mut self, host: HostId, task: TaskId, subject: Subject) -> bool {
        let (now, calm) = (self.now, self.calm);
        let falls_ill = if self.chance(10) { self.draw(SECOND, 10 * SECOND) } else { 0 };
        let Some(container) = self.hosts[host].engine.containers.get_mut(&task) else { return false };
        if container.fate == Fate::Sick && !calm && container.ill_until <= now {
            container.ill_until = now + falls_ill;
        }
        container.answers(subject, now, calm)
    }

    pub fn exit_later(&mut self, host: HostId, task: TaskId, pid: u32, after: u64, code: i32) {
        let boot = self.hosts[host].boot;
        self.push(after, Event::Engine { host, boot, what: EngineEvent::Exit { task, pid, code } });
    }

    /// Sends the stop signal. Returns when the container has ended for sure.
    pub fn signal(&mut self, host: HostId, task: TaskId, grace: u64) -> u64 {
        let Some(container) = self.hosts[host].engine.containers.get(&task) else { return MS };
        let (State::Running { pid }, fate) = (container.state, container.fate) else { return MS };
        let (after, code) = match fate {
            Fate::Stubborn => (grace, KILLED),
            Fate::Runs
            | Fate::SlowPull
            | Fate::Crashes
            | Fate::Completes
            | Fate::NoImage
            | Fate::NoCommand
            | Fate::Flaky
            | Fate::Sick
            | Fate::Warms
            | Fate::Unready
            | Fate::Hangs => (self.draw(5 * MS, 600 * MS).min(grace), 143),
        };
        self.exit_later(host, task, pid, after, code);
        after + MS
    }

    /// Removes whatever a task has on a host.
    pub fn remove_container(&mut self, host: HostId, task: TaskId) {
        if self.hosts[host].engine.containers.remove(&task).is_some_and(|c| matches!(c.state, State::Running { .. })) {
            self.check.stopped(task);
        }
    }

    pub fn engine_event(&mut self, host: HostId, boot: u64, what: EngineEvent) {
        if self.hosts[host].boot != boot {
            return;
        }
        let (EngineEvent::Exit { task, pid, .. } | EngineEvent::Look { task, pid }) = what;
        let Some(container) = self.hosts[host].engine.containers.get_mut(&task) else { return };
        if container.state != (State::Running { pid }) {
            return;
        }
        match what {
            EngineEvent::Look { .. } => self.shim_looks(host, task, pid),
            EngineEvent::Exit { code, .. } => {
                container.state = State::Exited { code };
                let exit = container.exit(code);
                self.note(&format!("h{host} container {task:.8} exits {code}"));
                self.check.stopped(task);
                self.container_exited(host, task, &exit);
            }
        }
    }
}
