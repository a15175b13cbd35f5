//! The agent's operations on containers: one at a time for each task, each with its duration and its failures.

use crate::agent::{Seen, micros};
use crate::engine::Fate;
use crate::net::HostId;
use crate::settings::{MS, SECOND};
use crate::world::{Wake, World};
use std::sync::Arc;
use std::time::Duration;
use swarm_core::TaskId;
use swarm_core::model::Task;
use swarm_core::worker::{Command, Observation};

/// What is done.
#[derive(Clone, Debug)]
pub enum Work {
    Prepare {
        task: Arc<Task>,
        fetched: bool,
    },
    /// With its lease, if it needs one: until that moment.
    Start {
        lease: Option<u64>,
    },
    Stop {
        grace: Duration,
    },
    Clean,
}

/// An operation that waits or is under way.
#[derive(Clone, Debug)]
pub struct Operation {
    pub task: TaskId,
    pub work: Work,
    given_up: bool,
}

impl World {
    pub fn command(&mut self, host: HostId, command: Command) {
        match command {
            Command::Prepare(task) => {
                let id = task.id;
                self.operate(host, id, Work::Prepare { task, fetched: false });
            }
            Command::GiveUp(id) => self.give_up(host, id),
            Command::Start(id) => {
                let lease = self.daemon(host).and_then(|daemon| daemon.agent.worker.lease_of(id));
                let lease = lease.map(|until| self.now + self.until(host, until));
                self.operate(host, id, Work::Start { lease });
            }
            Command::Stop { task, grace } => self.operate(host, task, Work::Stop { grace }),
            Command::Clean(id) => self.operate(host, id, Work::Clean),
            // Beside whatever operation is under way.
            Command::Renew { task, until } => {
                let until = self.now + self.until(host, until);
                let slow = self.hosts[host].engine.slow && !self.calm;
                let after = if slow { self.draw(MS, 2 * SECOND) } else { self.draw(10, 2 * MS) };
                self.wake(host, after, Wake::Renew { task, until });
            }
        }
    }

    fn operate(&mut self, host: HostId, task: TaskId, work: Work) {
        let id = self.number();
        let Some(daemon) = self.daemon(host) else { return };
        daemon.agent.operations.insert(id, Operation { task, work, given_up: false });
        let gate = daemon.agent.gates.entry(task).or_default();
        gate.push_back(id);
        if gate.len() == 1 {
            self.begin_operation(host, id);
        }
    }

    /// A preparation that still fetches its image ends soon; one beyond that goes on.
    fn give_up(&mut self, host: HostId, task: TaskId) {
        let Some(daemon) = self.daemon(host) else { return };
        let found = daemon
            .agent
            .operations
            .iter_mut()
            .find(|(_, o)| o.task == task && matches!(o.work, Work::Prepare { fetched: false, .. }));
        if let Some((id, operation)) = found {
            operation.given_up = true;
            let operation = *id;
            self.wake(host, 5 * MS, Wake::Operation { operation });
        }
    }

    fn begin_operation(&mut self, host: HostId, id: u64) {
        let Some(operation) = self.daemon(host).and_then(|daemon| daemon.agent.operations.get(&id).cloned()) else {
            return;
        };
        let slow = if self.hosts[host].engine.slow && !self.calm { 2 * SECOND } else { 0 };
        let hang = if self.chance(1) && !self.calm { self.draw(5 * SECOND, 20 * SECOND) } else { 0 };
        let after = match &operation.work {
            Work::Prepare { task, .. } => {
                let fate = Fate::of(&task.spec.container.image);
                let slow_pull = if fate == Fate::SlowPull { 4 * SECOND } else { 0 };
                self.draw(5 * MS, 200 * MS) + slow_pull
            }
            Work::Start { .. } => self.draw(5 * MS, 60 * MS),
            Work::Stop { grace } => self.signal(host, operation.task, micros(*grace)),
            Work::Clean => self.draw(2 * MS, 20 * MS),
        };
        self.wake(host, after + slow + hang, Wake::Operation { operation: id });
    }

    /// An operation comes to its end, or to its second half.
    pub fn operation(&mut self, host: HostId, id: u64) {
        let Some(daemon) = self.daemon(host) else { return };
        let Some(operation) = daemon.agent.operations.get_mut(&id) else { return };
        // It waits for its turn: given up meanwhile, it ends when that comes.
        if daemon.agent.gates.get(&operation.task).and_then(|gate| gate.front()) != Some(&id) {
            return;
        }
        let given_up = operation.given_up;
        if let Work::Prepare { fetched, .. } = &mut operation.work
            && !*fetched
            && !given_up
        {
            *fetched = true;
            let after = self.draw(5 * MS, 40 * MS);
            self.wake(host, after, Wake::Operation { operation: id });
            return;
        }
        let operation = operation.clone();
        self.finish(host, id, operation);
    }

    fn finish(&mut self, host: HostId, id: u64, operation: Operation) {
        let task = operation.task;
        let what = match operation.work {
            Work::Prepare { fetched: false, .. } => Some(Observation::NotPrepared("it was given up".to_owned())),
            Work::Prepare { task, .. } => Some(self.prepare_container(host, &task)),
            Work::Start { lease } => Some(self.start_container(host, task, lease)),
            Work::Stop { .. } => None,
            Work::Clean => {
                self.remove_container(host, task);
                Some(Observation::Cleaned)
            }
        };
        let Some(daemon) = self.daemon(host) else { return };
        daemon.agent.operations.remove(&id);
        let next = daemon.agent.gates.get_mut(&task).and_then(|gate| {
            gate.pop_front();
            gate.front().copied()
        });
        match next {
            Some(next) => self.begin_operation(host, next),
            None => drop(self.daemon(host).map(|daemon| daemon.agent.gates.remove(&task))),
        }
        if let Some(what) = what {
            let after = self.draw(10, MS);
            self.wake(host, after, Wake::Seen(Seen { task, what }));
        }
    }

    /// The daemon dies: what its operations had begun happens nevertheless, or does not.
    pub fn engine_abandoned(&mut self, host: HostId) {
        let Some(daemon) = self.daemon(host) else { return };
        let first = |gate: &std::collections::VecDeque<u64>| gate.front().copied();
        let under_way: Vec<Operation> = daemon
            .agent
            .gates
            .values()
            .filter_map(|gate| daemon.agent.operations.get(&first(gate)?).cloned())
            .collect();
        for Operation { task, work, .. } in under_way {
            if self.chance(50) {
                continue;
            }
            match work {
                Work::Prepare { task, fetched: true } => drop(self.prepare_container(host, &task)),
                Work::Start { lease } => drop(self.start_container(host, task, lease)),
                Work::Clean => self.remove_container(host, task),
                Work::Prepare { fetched: false, .. } | Work::Stop { .. } => {}
            }
        }
    }
}
