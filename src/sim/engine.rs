//! The engine of a host: containers with a life of their own. They and their shims outlive the daemon, not the host.
//!
//! What an image's containers do is in its name, so that a service decides its fate by its spec.

use crate::net::HostId;
use crate::settings::{MS, SECOND};
use crate::world::{Event, World};
use std::collections::BTreeMap;
use std::sync::Arc;
use swarm_core::TaskId;
use swarm_core::model::Task;
use swarm_core::worker::Observation;

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
    /// Its health check fails now and then, as long as there are faults.
    Sick,
}

impl Fate {
    pub const ALL: [(Self, &'static str); 9] = [
        (Self::Runs, "runs"),
        (Self::SlowPull, "slow"),
        (Self::Stubborn, "stubborn"),
        (Self::Crashes, "crashes"),
        (Self::Completes, "completes"),
        (Self::NoImage, "absent"),
        (Self::NoCommand, "nocommand"),
        (Self::Flaky, "flaky"),
        (Self::Sick, "sick"),
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
            Self::Runs | Self::SlowPull | Self::Stubborn | Self::Flaky | Self::Sick => true,
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

#[derive(Debug)]
struct Container {
    fate: Fate,
    state: State,
    /// Which port numbers it was given to bind.
    task: Arc<Task>,
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
    Exit { task: TaskId, pid: u32, code: i32 },
}

impl Engine {
    /// The pid of a task's container, or the code it exited with; nothing if it never ran.
    pub fn find(&self, task: TaskId) -> Option<Result<u32, i32>> {
        match self.containers.get(&task)?.state {
            State::Created => None,
            State::Running { pid } => Some(Ok(pid)),
            State::Exited { code } => Some(Err(code)),
        }
    }

    /// Tasks that have anything here.
    pub fn tasks(&self) -> Vec<TaskId> {
        self.containers.keys().copied().collect()
    }

    pub fn running(&self) -> impl Iterator<Item = TaskId> {
        self.containers.iter().filter(|(_, c)| matches!(c.state, State::Running { .. })).map(|(id, _)| *id)
    }

    pub fn is_sick(&self, task: TaskId) -> bool {
        self.containers.get(&task).is_some_and(|container| container.fate == Fate::Sick)
    }

    /// Nothing of it is left.
    pub fn lose_power(&mut self) {
        self.containers.clear();
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
        if let Some(missing) = self.missing_contents(host, task) {
            return refused(&missing);
        }
        let container = Container { fate, state: State::Created, task: task.clone() };
        self.hosts[host].engine.containers.insert(task.id, container);
        let health_checked = task.spec.container.health_check.is_some();
        Observation::Prepared { container_id: task.id.to_string(), health_checked }
    }

    /// A secret or config the task refers to and the node does not have.
    fn missing_contents(&mut self, host: HostId, task: &Task) -> Option<String> {
        let spec = &task.spec.container;
        let agent = &self.hosts[host].daemon.as_ref()?.agent;
        let secret = spec.secrets.iter().find(|r| !agent.secrets.contains(&(r.id, r.version)));
        let config = spec.configs.iter().find(|r| !agent.configs.contains(&(r.id, r.version)));
        let name = secret.map(|r| &r.name).or(config.map(|r| &r.name))?;
        let missing = format!("{name} is not on this node");
        let wanted = agent.tasks.get(&task.id).is_some_and(|local| local.task.is_wanted());
        // What was removed meanwhile is on no node: a task of an earlier version of its service is refused then.
        let exists =
            secret.is_none_or(|r| self.check.has_secret(r.id)) && config.is_none_or(|r| self.check.has_config(r.id));
        if wanted && exists {
            self.check.fail(crate::check::CONTENTS_THERE, format!("h{host} task {}: {missing}", task.id));
        }
        Some(missing)
    }

    /// Starts a container that was made ready.
    pub fn start_container(&mut self, host: HostId, task: TaskId) -> Observation {
        let calm = self.calm;
        let Some(fate) = self.hosts[host].engine.containers.get(&task).map(|container| container.fate) else {
            return Observation::NotStarted { reason: "its container is gone".to_owned(), exit_code: None };
        };
        if fate == Fate::NoCommand || fate == Fate::Flaky && !calm && self.chance(15) {
            let reason = "executable file not found in $PATH".to_owned();
            return Observation::NotStarted { reason, exit_code: Some(127) };
        }
        let engine = &mut self.hosts[host].engine;
        engine.pids += 1;
        let pid = engine.pids;
        let mut host_ports = Vec::new();
        if let Some(container) = engine.containers.get_mut(&task) {
            container.state = State::Running { pid };
            host_ports.clone_from(&container.task.host_ports);
        }
        self.check.started(host, task);
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
            | Fate::Sick => None,
        };
        if let Some((after, code)) = ends {
            self.exit_later(host, task, pid, after, code);
        }
        Observation::Started { pid, host_ports }
    }

    fn exit_later(&mut self, host: HostId, task: TaskId, pid: u32, after: u64, code: i32) {
        let boot = self.hosts[host].boot;
        self.push(after, Event::Engine { host, boot, what: EngineEvent::Exit { task, pid, code } });
    }

    /// Sends the stop signal. Returns when the container has ended for sure.
    pub fn signal(&mut self, host: HostId, task: TaskId, grace: u64) -> u64 {
        let Some(container) = self.hosts[host].engine.containers.get(&task) else { return MS };
        let (State::Running { pid }, fate) = (container.state, container.fate) else { return MS };
        let (after, code) = match fate {
            Fate::Stubborn => (grace, 137),
            Fate::Runs
            | Fate::SlowPull
            | Fate::Crashes
            | Fate::Completes
            | Fate::NoImage
            | Fate::NoCommand
            | Fate::Flaky
            | Fate::Sick => (self.draw(5 * MS, 600 * MS).min(grace), 143),
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
        let EngineEvent::Exit { task, pid, code } = what;
        let Some(container) = self.hosts[host].engine.containers.get_mut(&task) else { return };
        if container.state != (State::Running { pid }) {
            return;
        }
        container.state = State::Exited { code };
        self.note(&format!("h{host} container {task:.8} exits {code}"));
        self.check.stopped(task);
        self.container_exited(host, task, code);
    }
}
