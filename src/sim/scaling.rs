//! Services that follow their load: the leader's shell of the autoscaler (`node::manager::autoscale`), what agents
//! tell it (`node::agent::loads`), and the load itself, which all tasks of a service share.

use crate::agent::micros;
use crate::leader::TermWake;
use crate::manager::{ManagerWake, Waiter};
use crate::net::HostId;
use crate::stream::{Frame, Side};
use crate::table::Source;
use crate::world::{Wake, World};
use rand::Rng;
use rand::seq::IteratorRandom;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use swarm_core::autoscale::{
    Autoscaler, Effects, Input, LOOK_EVERY, Loads, SAMPLE_EVERY, Sampling, ServiceLoad, TaskLoad,
};
use swarm_core::model::{Service, TaskState};
use swarm_core::store::{Txn, View};
use swarm_core::{Mono, ServiceId, TaskId};

/// A load is off by this much, in percent, before anything is done; and it is measured in whole milliseconds.
const TOLERANCE_PERCENT: u128 = 12;

/// What is asked of all tasks of a service together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    nano_cpus: u64,
    memory_bytes: u64,
    connections_per_s: u64,
}

/// The autoscaler of one term.
#[derive(Debug, Default)]
pub struct Scaling {
    scaler: Autoscaler,
    pub sampling: Arc<Sampling>,
    /// It waits for what it wrote.
    writes: bool,
}

/// Counters as read last.
#[derive(Debug)]
struct Reading {
    at: Mono,
    tasks: BTreeSet<TaskId>,
    counted: BTreeSet<ServiceId>,
}

/// An agent's side.
#[derive(Debug, Default)]
pub struct Sampler {
    asked: Arc<Sampling>,
    last: Option<Reading>,
    scheduled: bool,
}

impl Sampler {
    /// With the session goes what was asked in it.
    pub fn session_over(&mut self) {
        self.asked = Arc::default();
    }
}

impl World {
    /// The load of some service becomes another.
    pub fn load_changes(&mut self) {
        let view = self.check.newest().clone();
        let scaled = view.services().filter(|service| service.spec.autoscale.is_some());
        let Some(service) = scaled.choose(&mut self.rng) else { return };
        let demand = Demand {
            nano_cpus: self.rng.random_range(0..5) * 700_000_000,
            memory_bytes: self.rng.random_range(0..5) * (300 << 20),
            connections_per_s: self.rng.random_range(0..80),
        };
        self.note(&format!("the load of {} is {demand:?}", service.spec.name));
        self.demands.insert(service.id, demand);
    }

    pub fn scaling_begins(&mut self, host: HostId, number: u64) {
        if self.settings.asks.autoscale {
            self.wake_manager(host, 30, ManagerWake::Term { term: number, wake: TermWake::Scale });
        }
    }

    /// The autoscaler looks.
    pub fn scale(&mut self, host: HostId, number: u64) {
        self.wake_manager(host, micros(LOOK_EVERY), ManagerWake::Term { term: number, wake: TermWake::Scale });
        let Some(view) = self.manager(host).map(|manager| manager.store.view()) else { return };
        if self.term(host, number).is_some_and(|term| !term.scaling.writes) {
            self.scaler_input(host, number, Input::Look(view));
        }
    }

    /// A node tells of its tasks.
    pub fn loads_told(&mut self, host: HostId, number: u64, from: HostId, loads: Loads) {
        let node = self.hosts[from].node;
        // What comes while it writes is dropped, and told again.
        if self.term(host, number).is_some_and(|term| !term.scaling.writes) {
            self.scaler_input(host, number, Input::Loads { node, loads });
        }
    }

    fn scaler_input(&mut self, host: HostId, number: u64, input: Input) {
        let (now, wall) = (self.mono(host), self.wall(host));
        let Some(term) = self.term(host, number) else { return };
        let mut out = Effects::default();
        term.scaling.scaler.input(now, wall, input, &mut out);
        if let Some(sampling) = out.sampling {
            term.scaling.sampling = sampling.clone();
            for stream in term.sessions.streams() {
                self.stream_send(stream, Side::Agent, Frame::Sampling(sampling.clone()));
            }
        }
        for (service, reason) in out.decided {
            self.note(&format!("h{host} scales {service}: {reason}"));
        }
        if out.changes.is_empty() {
            return;
        }
        if let Some(term) = self.term(host, number) {
            term.scaling.writes = true;
        }
        let txn = Txn { wall, changes: out.changes, ..Txn::default() };
        self.propose_in_term(host, number, txn, Source::Scaling, Waiter::Scaling { term: number });
    }

    /// Done or not: what is not written is decided anew.
    pub fn scaling_written(&mut self, host: HostId, number: u64) {
        if let Some(term) = self.term(host, number) {
            term.scaling.writes = false;
        }
    }

    /// The leader asks about other services than before.
    pub fn sampling_told(&mut self, host: HostId, sampling: Arc<Sampling>) {
        let Some(daemon) = self.daemon(host) else { return };
        let sampler = &mut daemon.agent.sampler;
        sampler.asked = sampling;
        let begins = !sampler.asked.services.is_empty() && !std::mem::replace(&mut sampler.scheduled, true);
        if begins {
            self.wake(host, micros(SAMPLE_EVERY), Wake::Sample);
        }
    }

    /// Counters are read, and told as what happened since they were read last.
    pub fn sample(&mut self, host: HostId) {
        let mono = self.mono(host);
        let Some(daemon) = self.daemon(host) else { return };
        let sampler = &mut daemon.agent.sampler;
        if sampler.asked.services.is_empty() {
            (sampler.scheduled, sampler.last) = (false, None);
            return;
        }
        let asked = sampler.asked.clone();
        let running = daemon.agent.tasks.values().filter(|local| local.task.status.state == TaskState::Running);
        let running = running.filter(|local| asked.services.contains(&local.task.service));
        let of: BTreeMap<TaskId, ServiceId> = running.map(|local| (local.task.id, local.task.service)).collect();
        let now = Reading { at: mono, tasks: of.keys().copied().collect(), counted: asked.counted.clone() };
        let last = daemon.agent.sampler.last.replace(now);
        let stream = daemon.agent.session.stream();
        self.wake(host, micros(SAMPLE_EVERY), Wake::Sample);
        let (Some(last), Some(stream)) = (last, stream) else { return };
        let loads = self.loads(&last, &of, &asked, mono);
        if loads != Loads::default() {
            self.stream_send(stream, Side::Leader, Frame::Loads(loads));
        }
    }

    fn loads(&self, last: &Reading, of: &BTreeMap<TaskId, ServiceId>, asked: &Sampling, mono: Mono) -> Loads {
        let over = mono.since(last.at);
        let hosts = self.hosts.iter().filter(|host| host.daemon.is_some()).count().max(1) as u64;
        let task = |(task, service): (&TaskId, &ServiceId)| {
            let demand = self.demands.get(service).copied().unwrap_or_default();
            // All that run share the load, whatever anybody knows of them.
            let share = self.hosts.iter().map(|host| host.engine.running_of(*service)).sum::<u64>().max(1);
            let (nano_cpus, memory_bytes) = (demand.nano_cpus / share, demand.memory_bytes / share);
            last.tasks.contains(task).then_some(TaskLoad { task: *task, over, nano_cpus, memory_bytes })
        };
        let service = |service: &ServiceId| {
            let rate = self.demands.get(service).copied().unwrap_or_default().connections_per_s;
            let connections = rate * u64::try_from(over.as_millis()).unwrap_or(0) / 1_000 / hosts;
            last.counted.contains(service).then_some(ServiceLoad { service: *service, over, connections })
        };
        Loads {
            tasks: of.iter().filter_map(task).collect(),
            services: asked.counted.iter().filter_map(service).collect(),
        }
    }

    /// Once faults have stopped the load stays: in the end there are as many as it takes.
    pub fn scaled_settled(&self, view: &View, service: &Service, found: &mut Vec<String>) {
        let (Some(autoscale), Some(replicas)) = (&service.spec.autoscale, service.wanted_replicas()) else { return };
        let mut wanted = view.tasks_of_service(service.id).filter(|task| task.is_wanted()).peekable();
        let up = wanted.peek().is_some() && wanted.all(|task| task.is_up());
        let demand = self.demands.get(&service.id).copied().unwrap_or_default();
        if replicas == 0 || !up {
            return;
        }
        let resources = &service.spec.task.resources;
        let (cpus, memory) = (resources.reservations.nano_cpus, resources.reservations.memory_bytes);
        let cpus = if cpus > 0 { cpus } else { 1_000_000_000 };
        let share = |base: i64, percent: u32| u128::from(base.unsigned_abs()) * u128::from(percent) / 100;
        let targets = [
            (demand.nano_cpus, share(cpus, autoscale.cpu_percent)),
            (demand.memory_bytes, share(memory, autoscale.memory_percent)),
            (demand.connections_per_s, u128::from(autoscale.requests_per_second)),
        ];
        let targets = || targets.into_iter().filter(|(_, share)| *share > 0);
        // Too few: over the target by more than is borne. Too many: one less would be enough by as much.
        let borne = |count: u64, share: u128, percent: u128| u128::from(count) * share * percent / 100;
        let few = targets().any(|(load, share)| u128::from(load) > borne(replicas, share, 100 + TOLERANCE_PERCENT));
        let fewer = replicas.saturating_sub(1);
        let many = targets().all(|(load, share)| {
            let load = u128::from(load) + share / 50;
            load <= borne(fewer, share, 100) && load < borne(replicas, share, 100 - TOLERANCE_PERCENT)
        });
        if few && replicas < autoscale.max || many && replicas > autoscale.min {
            found.push(format!("service {} has {replicas} replicas under {demand:?}", service.spec.name));
        }
    }
}
