//! The probes of a running container (`node::agent::probing`): its health check, whether it is ready, whether it is
//! alive. When to probe and what the outcomes mean is core's; here a run takes its time, or too long.

use crate::agent::{Seen, micros};
use crate::net::HostId;
use crate::settings::{MS, SECOND};
use crate::world::{Wake, World};
use std::time::Duration;
use swarm_core::TaskId;
use swarm_core::model::{ContainerSpec, Health, TaskStatus};
use swarm_core::worker::Observation;
use swarm_core::worker::probe::{ProbeEffects, ProbeInput, Prober, Schedule, Verdict};

/// What is asked of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    Health,
    Readiness,
    Liveness,
}

impl Subject {
    pub const ALL: [Self; 3] = [Self::Health, Self::Readiness, Self::Liveness];

    /// How it is asked; `None` when it is not.
    fn schedule(self, spec: &ContainerSpec) -> Option<Schedule> {
        match self {
            Self::Health => spec.health_check.as_ref().map(Schedule::of_health),
            Self::Readiness => spec.readiness.as_ref().map(Schedule::of_readiness),
            Self::Liveness => spec.liveness.as_ref().map(Schedule::of_liveness),
        }
    }

    /// A task with this takes no traffic, and counts as up, only once the answer was good.
    pub fn is_waited_for(self, spec: &ContainerSpec) -> bool {
        self != Self::Liveness && self.schedule(spec).is_some()
    }

    /// What an earlier daemon had found, as far as the task's status tells.
    fn found(self, status: &TaskStatus) -> Verdict {
        let container = status.container.as_ref();
        let good = match self {
            Self::Health => container.is_some_and(|container| container.health == Health::Healthy),
            Self::Readiness => container.is_some_and(|container| container.ready == Some(true)),
            Self::Liveness => false,
        };
        if good { Verdict::Good } else { Verdict::Open }
    }

    fn observation(self, verdict: Verdict, words: String) -> Option<Observation> {
        match (self, verdict) {
            (Self::Health, Verdict::Good) => Some(Observation::Health(Health::Healthy, String::new())),
            (Self::Health, Verdict::Bad) => Some(Observation::Health(Health::Unhealthy, words)),
            (Self::Readiness, verdict) => Some(Observation::Readiness { ready: verdict == Verdict::Good, words }),
            (Self::Liveness, Verdict::Bad) => Some(Observation::NotAlive(words)),
            (Self::Health, Verdict::Open) | (Self::Liveness, Verdict::Open | Verdict::Good) => None,
        }
    }
}

/// One probe of one container of this daemon.
#[derive(Debug)]
pub struct Probe {
    prober: Prober,
    timeout_us: u64,
}

impl World {
    /// Begins the probes of a container that runs since `age`.
    pub fn begin_probes(&mut self, host: HostId, task: TaskId, age: Duration) {
        let mono = self.mono(host);
        for subject in Subject::ALL {
            let local = self.daemon(host).and_then(|daemon| daemon.agent.tasks.get_mut(&task));
            let Some(local) = local else { return };
            let Some(schedule) = subject.schedule(&local.task.spec.container) else { continue };
            let timeout_us = micros(schedule.timeout);
            let prober = Prober::new(mono, schedule, age, subject.found(&local.task.status));
            local.probes.insert(subject, Probe { prober, timeout_us });
            self.probe_input(host, task, subject, ProbeInput::Tick);
        }
    }

    pub fn probe_input(&mut self, host: HostId, task: TaskId, subject: Subject, input: ProbeInput) {
        let mono = self.mono(host);
        let local = self.daemon(host).and_then(|daemon| daemon.agent.tasks.get_mut(&task));
        let Some(probe) = local.and_then(|local| local.probes.get_mut(&subject)) else { return };
        let mut out = ProbeEffects::default();
        probe.prober.input(mono, input, &mut out);
        let timeout_us = probe.timeout_us;
        if let Some(at) = out.wake_at {
            let after = self.until(host, at);
            self.wake(host, after, Wake::Probe { task, subject, ended: None });
        }
        if out.run {
            self.probe_run(host, task, subject, timeout_us);
        }
        let news = out.judged.and_then(|judged| subject.observation(judged.verdict, judged.news?));
        if let Some(what) = news {
            self.wake(host, 20, Wake::Seen(Seen { task, what }));
        }
    }

    /// One run: what it sees is so when it ends.
    fn probe_run(&mut self, host: HostId, task: TaskId, subject: Subject, timeout_us: u64) {
        let slow = self.hosts[host].engine.slow && !self.calm;
        let takes = if slow { self.draw(50 * MS, 3 * SECOND) } else { self.draw(MS, 40 * MS) };
        let good = self.answers(host, task, subject) && takes < timeout_us;
        if good {
            self.check.answered(task, subject);
        }
        self.wake(host, takes.min(timeout_us), Wake::Probe { task, subject, ended: Some(good) });
    }

    pub fn probe_wakes(&mut self, host: HostId, task: TaskId, subject: Subject, ended: Option<bool>) {
        let input = match ended {
            None => ProbeInput::Tick,
            Some(good) => ProbeInput::Ended { good, words: if good { "200" } else { "no answer" }.to_owned() },
        };
        self.probe_input(host, task, subject, input);
    }
}
