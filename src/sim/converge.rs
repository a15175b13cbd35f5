//! The end of a run: faults stop, what can be healed is, and within a bound of virtual time everything is as wanted.

use crate::check::CONVERGES;
use crate::contents::is_fillable;
use crate::engine::Fate;
use crate::manager::state_hash;
use crate::net::HostId;
use crate::places::{has_room, may_have};
use crate::probing::Subject;
use crate::settings::{MS, SECOND};
use crate::world::{Event, World};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use swarm_core::TaskId;
use swarm_core::audit::audit_settled;
use swarm_core::dependency;
use swarm_core::leader::{Scope, step};
use swarm_core::model::*;
use swarm_core::store::View;

/// Between looks at a cluster that is not there yet.
const LOOK_US: u64 = SECOND;
/// The longest update: as many slots as there may be, one at a time, each with its grace period and monitor time; and
/// what was begun before the faults stopped runs into its own deadlines first.
const BOUND_US: u64 = 400 * SECOND;

impl World {
    /// Faults stop, and all but a minority of managers and a few workers come back.
    pub fn heal(&mut self) {
        self.calm = true;
        self.healed_at = Some(self.now);
        self.note("faults stop");
        self.net.heal();
        let lost = self.choose_lost();
        for host in 0..self.hosts.len() {
            let here = &mut self.hosts[host];
            (here.disk_fails, here.sync_us, here.paused_until) = (false, (MS, 8 * MS), 0);
            (here.engine.slow, here.engine.offline, here.brittle) = (false, false, false);
            if lost.contains(&host) {
                here.stays_down = true;
                self.crash_host(host);
            } else {
                self.start_host(host);
            }
        }
        self.push(LOOK_US, Event::Look);
    }

    /// Who does not come back: fewer than half of those that may have a vote, and some workers.
    fn choose_lost(&mut self) -> BTreeSet<HostId> {
        let mut lost = BTreeSet::new();
        if self.settings.scenario.is_some() || !self.chance(40) {
            return lost;
        }
        let view = self.check.newest().clone();
        let voters: Vec<HostId> = view
            .nodes()
            .filter(|node| node.raft.is_some() || node.spec.role == NodeRole::Manager)
            .filter_map(|node| self.nodes.get(&node.id).copied())
            .collect();
        let steady =
            view.nodes().all(|node| (node.spec.role == NodeRole::Manager) == node.raft.is_some_and(|raft| raft.voter));
        let most = if steady { voters.len().saturating_sub(1) / 2 } else { 0 };
        for _ in 0..most {
            let chosen = voters[self.draw(0, voters.len() as u64) as usize];
            lost.insert(chosen);
        }
        for host in (0..self.hosts.len()).filter(|host| !voters.contains(host)) {
            if self.chance(15) {
                lost.insert(host);
            }
        }
        lost
    }

    /// Whether it is there; if not, looks again, or gives up.
    pub fn look(&mut self) {
        let reasons = self.missing();
        if reasons.is_empty() {
            self.converged = true;
            self.note("converged");
            return;
        }
        let since = self.now - self.healed_at.unwrap_or(self.now);
        if since < BOUND_US {
            self.push(LOOK_US, Event::Look);
            return;
        }
        for reason in reasons.into_iter().take(20) {
            self.check.fail(CONVERGES, reason);
        }
    }

    /// What is not as it should be.
    fn missing(&mut self) -> Vec<String> {
        let mut found = Vec::new();
        let Some((leader, view)) = self.agreed(&mut found) else { return found };
        let wall = self.leader_wall(leader);
        // On its own generator: looking must not change the run.
        let mut rng = <rand::rngs::StdRng as rand::SeedableRng>::seed_from_u64(1);
        let left: usize = step(&view, wall, &Scope::All, &mut rng).txns.iter().map(|txn| txn.changes.len()).sum();
        if left > 0 {
            found.push(format!("the leader has {left} changes to make"));
        }
        found.extend(audit_settled(&view).into_iter().map(|violation| violation.to_string()));
        self.nodes_settled(&view, &mut found);
        for service in view.services() {
            self.service_settled(&view, service, &mut found);
        }
        self.containers_settled(&view, &mut found);
        self.traffic_settled(&view, &mut found);
        found
    }

    /// The leader and its state, when every manager that lives has the same.
    fn agreed(&mut self, found: &mut Vec<String>) -> Option<(HostId, View)> {
        let managers: Vec<HostId> = (0..self.hosts.len()).filter(|host| self.has_manager(*host)).collect();
        let leader = managers.iter().copied().find(|host| self.manager(*host).is_some_and(|m| m.term.is_some()));
        let Some(leader) = leader else {
            found.push("nobody leads".to_owned());
            return None;
        };
        let (applied, hash, view) = self.manager(leader).map(|m| (m.applied, m.hash, m.store.view()))?;
        for host in managers {
            let member = view.node(self.hosts[host].node).is_some_and(|node| node.raft.is_some());
            let Some(manager) = self.manager(host) else { continue };
            if member && (manager.applied != applied || manager.hash != hash) {
                found.push(format!("h{host} has applied {} of {applied}", manager.applied));
            } else if member && state_hash(&manager.store) != hash {
                found.push(format!("h{host}: its events do not tell all that changed"));
            }
        }
        Some((leader, view))
    }

    fn has_manager(&self, host: HostId) -> bool {
        self.hosts[host].daemon.as_ref().is_some_and(|daemon| daemon.manager.is_some())
    }

    fn nodes_settled(&self, view: &View, found: &mut Vec<String>) {
        for node in view.nodes() {
            let Some(host) = self.nodes.get(&node.id).copied() else { continue };
            let wanted = if self.hosts[host].daemon.is_some() { NodeState::Ready } else { NodeState::Down };
            if node.status.state != wanted {
                found.push(format!("h{host} is {:?} in the store", node.status.state));
            }
            let manager = node.spec.role == NodeRole::Manager;
            let is_voter = node.raft.is_some_and(|raft| raft.voter);
            let lives = self.hosts[host].daemon.is_some();
            if lives && (manager != is_voter || manager != self.has_manager(host)) {
                found.push(format!("h{host} is to be {:?}, it is {:?}", node.spec.role, node.raft));
            }
            if !manager && node.raft.is_some() {
                found.push(format!("h{host} was demoted and is still in the group"));
            }
        }
    }

    fn service_settled(&self, view: &View, service: &Service, found: &mut Vec<String>) {
        let name = &service.spec.name;
        if service.removing {
            found.push(format!("service {name} is still being removed"));
            return;
        }
        let going_on = service.update_status.as_ref().filter(|status| match status.state {
            UpdateState::Updating | UpdateState::RollbackStarted => true,
            UpdateState::Paused
            | UpdateState::Completed
            | UpdateState::RollbackPaused
            | UpdateState::RollbackCompleted => false,
        });
        let steady = |task: &Task| stays_up(view, &task.spec);
        let wanted: Vec<_> = view.tasks_of_service(service.id).filter(|task| task.is_wanted()).collect();
        let fails = wanted.iter().any(|task| !steady(task)) || !stays_up(view, &service.spec.task);
        // A failing version may be tried for ever by a policy that says so, and one without a place waits.
        let up = wanted.iter().all(|task| task.is_up());
        let held = service.canaries().is_some();
        if let Some(status) = going_on.filter(|_| !fails && up && !held) {
            found.push(format!("service {name} is {:?}", status.state));
        }
        for task in &wanted {
            if steady(task) && !is_running_or_told(view, task) {
                let status = &task.status;
                let on = task.node.and_then(|node| self.nodes.get(&node));
                found.push(format!(
                    "task {:.8} of {name} on {on:?}: {} ({})",
                    task.id,
                    status.state.as_str(),
                    status.err
                ));
            }
        }
        let has_policy =
            service.spec.task.restart.condition == RestartCondition::Any && service.spec.task.restart.max_attempts == 0;
        self.scaled_settled(view, service, found);
        // One that waits, for a person or for room, has not come to the nodes that it may be on only now.
        let waits = service.update_status.as_ref().is_some_and(|status| status.completed.is_none());
        if has_policy && !fails && !waits {
            every_node_settled(view, service, found);
        }
        job_settled(view, service, found);
        if let Some(replicas) = service.wanted_replicas() {
            let slots: BTreeSet<u64> = wanted.iter().map(|task| task.slot).collect();
            if has_policy && !fails && slots.len() as u64 != replicas {
                found.push(format!("service {name} has {} slots of {replicas}", slots.len()));
            }
        }
    }

    /// On hosts that live there runs what the store says, and nothing else.
    fn containers_settled(&self, view: &View, found: &mut Vec<String>) {
        for (host, here) in self.hosts.iter().enumerate().filter(|(_, here)| here.daemon.is_some()) {
            let runs: BTreeSet<TaskId> = here.engine.all_running().collect();
            let there: BTreeMap<TaskId, bool> = view
                .tasks_of_node(here.node)
                .map(|task| {
                    (task.id, task.status.state == TaskState::Running || task.status.state == TaskState::Starting)
                })
                .collect();
            for task in &runs {
                if there.get(task) != Some(&true) {
                    found.push(format!("h{host} runs {task:.8}, which the store does not say"));
                }
            }
            for (task, _) in there.iter().filter(|(id, running)| **running && !runs.contains(id)) {
                let steady = view.task(*task).is_some_and(|task| stays_up(view, &task.spec));
                if steady {
                    found.push(format!("h{host} does not run {task:.8}, which the store says"));
                }
            }
        }
    }
}

impl World {
    /// On hosts that live, new connections go to what runs and answers, and to nothing else.
    fn traffic_settled(&self, view: &View, found: &mut Vec<String>) {
        for (host, here) in self.hosts.iter().enumerate() {
            let Some(daemon) = here.daemon.as_ref().filter(|_| view.node(here.node).is_some()) else { continue };
            for (id, endpoint) in &daemon.agent.network.endpoints {
                let (Some(task), Some(on)) = (view.task(*id), self.nodes.get(&endpoint.node).copied()) else {
                    continue;
                };
                let asked = Subject::ALL.into_iter().filter(|subject| subject.is_waited_for(&task.spec.container));
                let answers = |subject| self.hosts[on].engine.answers(*id, subject, self.now);
                let runs = self.hosts[on].engine.running(*id) && task.desired == TaskState::Running;
                // What fails by itself may be about to.
                let wanted = runs && asked.into_iter().all(answers);
                if endpoint.receives != wanted && stays_up(view, &task.spec) {
                    found.push(format!(
                        "h{host} sends to {id:.8} on h{on}: {}, it answers: {wanted}",
                        endpoint.receives
                    ));
                }
            }
        }
    }
}

/// A global service is on every node that it may be on.
fn every_node_settled(view: &View, service: &Service, found: &mut Vec<String>) {
    if service.spec.mode != ServiceMode::Global || dependency::gate(view, service).is_err() {
        return;
    }
    let like = Task::new(TaskId(0), service.id, 0, Arc::new(service.spec.task.clone()));
    for node in view.nodes().filter(|node| may_have(node, &like)) {
        let is_there = |task: &Arc<Task>| task.is_wanted() && task.node == Some(node.id);
        if !view.tasks_of_service(service.id).any(is_there) {
            found.push(format!("service {} has no task on node {:.8}", service.spec.name, node.id));
        }
    }
}

/// A job that can complete has, but for what waits and says why.
fn job_settled(view: &View, service: &Service, found: &mut Vec<String>) {
    let ServiceMode::ReplicatedJob { total_completions, .. } = service.spec.mode else { return };
    let restart = &service.spec.task.restart;
    let goes_on = restart.condition == RestartCondition::OnFailure && restart.max_attempts == 0;
    let completes = Fate::of(&service.spec.task.container.image) == Fate::Completes;
    if !goes_on || !completes || !is_fillable(view, &service.spec.task.container) {
        return;
    }
    let iteration = service.job.map(|job| job.iteration);
    let tasks = || view.tasks_of_service(service.id).filter(|task| task.job_iteration == iteration);
    let done: BTreeSet<u64> =
        tasks().filter(|task| task.status.state == TaskState::Complete).map(|task| task.slot).collect();
    let waits = tasks().any(|task| task.is_wanted() && is_running_or_told(view, task));
    if (done.len() as u64) < total_completions && !waits {
        found.push(format!("job {}: {} of {total_completions} completed", service.spec.name, done.len()));
    }
}

/// A task that is made of this comes up and stays.
fn stays_up(view: &View, spec: &TaskSpec) -> bool {
    Fate::of(&spec.container.image).stays_up() && is_fillable(view, &spec.container)
}

/// It runs, or says what it waits for; on a node that is down nobody can tell.
fn is_running_or_told(view: &View, task: &Task) -> bool {
    let down = task.node.and_then(|id| view.node(id)).is_some_and(|node| node.status.state == NodeState::Down);
    // What it says has to be so.
    let wrongly = task.status.state == TaskState::Pending && has_room(view, task);
    let told = task.status.state < TaskState::Assigned && !task.status.err.is_empty() && !wrongly;
    task.status.state == TaskState::Running || told || down
}
