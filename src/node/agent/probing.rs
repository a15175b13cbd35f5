//! The probes of one running container: its health check (Docker's HEALTHCHECK, `HealthConfig` in the Engine API),
//! and whether it is ready for traffic and alive. When to probe and what the outcomes mean is core's
//! [`probe`](swarm_core::worker::probe); here the runs are made, so many at a time on a node.

use super::Seen;
use super::engine::{Engine, Probed};
use crate::clock::Clock;
use std::sync::Arc;
use std::time::Duration;
use swarm_core::TaskId;
use swarm_core::model::{Health, HealthConfig, Probe, ProbeAction, TaskStatus};
use swarm_core::worker::Observation;
use swarm_core::worker::probe::{Judged, ProbeEffects, ProbeInput, Prober, Schedule, Verdict};
use tokio::sync::{Semaphore, mpsc};

/// Programs that check at once on one node: each is a process or more, and one that hangs keeps its turn until its
/// timeout. The next waits; a late run is not a failed one.
const PROGRAMS_AT_ONCE: usize = 32;
/// Connections that probe at once on one node: each is a socket, and for a moment a thread.
const CONNECTIONS_AT_ONCE: usize = 256;

/// A check that is on: none, `NONE` and kinds that nobody knows (as Docker) are off.
pub fn is_on(config: Option<&HealthConfig>) -> bool {
    config.is_some_and(|config| matches!(config.test.first().map(String::as_str), Some("CMD" | "CMD-SHELL")))
}

/// The kind of a check that is off because nobody knows it.
pub fn unknown_kind(config: &HealthConfig) -> Option<&str> {
    let kind = config.test.first().map(String::as_str).unwrap_or_default();
    Some(kind).filter(|kind| !["", "NONE", "CMD", "CMD-SHELL"].contains(kind))
}

/// The task's own values over the image's.
pub fn merge(task: Option<&HealthConfig>, image: Option<HealthConfig>) -> Option<HealthConfig> {
    let Some(own) = task else { return image };
    let base = image.unwrap_or_default();
    Some(HealthConfig {
        test: if own.test.is_empty() { base.test } else { own.test.clone() },
        interval: own.interval.or(base.interval),
        timeout: own.timeout.or(base.timeout),
        retries: own.retries.or(base.retries),
        start_period: own.start_period.or(base.start_period),
        start_interval: own.start_interval.or(base.start_interval),
    })
}

/// The turns of all probes of a node; clones are the same.
#[derive(Clone)]
pub(super) struct Turns {
    programs: Arc<Semaphore>,
    connections: Arc<Semaphore>,
}

impl Turns {
    pub fn new() -> Self {
        let turns = |count| Arc::new(Semaphore::new(count));
        Self { programs: turns(PROGRAMS_AT_ONCE), connections: turns(CONNECTIONS_AT_ONCE) }
    }
}

/// What is asked.
#[derive(Clone, Debug)]
pub(super) enum Subject {
    Health(HealthConfig),
    Readiness(Probe),
    Liveness(Probe),
}

impl Subject {
    fn schedule(&self) -> Schedule {
        match self {
            Subject::Health(config) => Schedule::of_health(config),
            Subject::Readiness(probe) => Schedule::of_readiness(probe),
            Subject::Liveness(probe) => Schedule::of_liveness(probe),
        }
    }

    /// What an earlier daemon had found of it, as far as the task's status tells.
    fn found(&self, status: &TaskStatus) -> Verdict {
        let container = status.container.as_ref();
        let good = match self {
            Subject::Health(_) => container.is_some_and(|container| container.health == Health::Healthy),
            Subject::Readiness(_) => container.is_some_and(|container| container.ready == Some(true)),
            Subject::Liveness(_) => false,
        };
        if good { Verdict::Good } else { Verdict::Open }
    }

    /// What the worker is to know of it.
    fn observation(&self, verdict: Verdict, words: String) -> Option<Observation> {
        match (self, verdict) {
            (Subject::Health(_), Verdict::Good) => Some(Observation::Health(Health::Healthy, String::new())),
            (Subject::Health(_), Verdict::Bad) => Some(Observation::Health(Health::Unhealthy, words)),
            (Subject::Readiness(_), verdict) => Some(Observation::Readiness { ready: verdict == Verdict::Good, words }),
            (Subject::Liveness(_), Verdict::Bad) => Some(Observation::NotAlive(words)),
            (Subject::Health(_), Verdict::Open) | (Subject::Liveness(_), Verdict::Open | Verdict::Good) => None,
        }
    }
}

/// One subject of one container.
pub(super) struct Watch {
    pub engine: Arc<dyn Engine>,
    pub clock: Clock,
    pub turns: Turns,
    pub task: TaskId,
    pub subject: Subject,
}

impl Watch {
    /// Probes until it is dropped. `status` is the task's, of a container that started `age` ago.
    pub async fn run(self, status: TaskStatus, age: Duration, told: mpsc::Sender<Seen>) {
        let schedule = self.subject.schedule();
        let (timeout, found) = (schedule.timeout, self.subject.found(&status));
        self.judged(&Judged { verdict: found, failures: 0, news: None });
        let mut prober = Prober::new(self.clock.mono(), schedule, age, found);
        let mut input = ProbeInput::Tick;
        loop {
            let mut out = ProbeEffects::default();
            prober.input(self.clock.mono(), input, &mut out);
            if let Some(judged) = out.judged {
                self.judged(&judged);
                let news = judged.news.and_then(|words| self.subject.observation(judged.verdict, words));
                if let Some(what) = news
                    && told.send(Seen::Worker(self.task, what)).await.is_err()
                {
                    return;
                }
            }
            input = if out.run {
                let Some(probed) = self.probe(timeout).await else { return };
                ProbeInput::Ended { good: probed.good, words: probed.words }
            } else {
                self.clock.sleep_until(out.wake_at).await;
                ProbeInput::Tick
            };
        }
    }

    /// One run, when it is its turn. A container that is paused is not judged (as in Docker): what failed while it stood
    /// still is done again.
    async fn probe(&self, timeout: Duration) -> Option<Probed> {
        loop {
            self.engine.unpaused(self.task).await;
            let probed = self.probe_once(timeout).await?;
            if probed.good || !self.engine.unpaused(self.task).await {
                return Some(probed);
            }
        }
    }

    async fn probe_once(&self, timeout: Duration) -> Option<Probed> {
        let turns = match &self.subject {
            Subject::Health(_) => &self.turns.programs,
            Subject::Readiness(probe) | Subject::Liveness(probe) => match probe.action {
                ProbeAction::Exec { .. } => &self.turns.programs,
                ProbeAction::Http { .. } | ProbeAction::Tcp { .. } => &self.turns.connections,
            },
        };
        let _turn = turns.acquire().await.ok()?;
        Some(match &self.subject {
            Subject::Health(config) => self.engine.check_health(self.task, config.test.clone(), timeout).await,
            Subject::Readiness(probe) | Subject::Liveness(probe) => {
                self.engine.probe(self.task, probe.action.clone(), timeout).await
            }
        })
    }

    /// Inspecting a container shows each run of its health check.
    fn judged(&self, judged: &Judged) {
        let health = match (&self.subject, judged.verdict) {
            (Subject::Health(_), Verdict::Open) => Health::Starting,
            (Subject::Health(_), Verdict::Good) => Health::Healthy,
            (Subject::Health(_), Verdict::Bad) => Health::Unhealthy,
            (Subject::Readiness(_) | Subject::Liveness(_), _) => return,
        };
        self.engine.judged(self.task, health, judged.failures);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test(words: &[&str]) -> HealthConfig {
        HealthConfig { test: words.iter().map(|word| (*word).to_owned()).collect(), ..HealthConfig::default() }
    }

    #[test]
    fn a_check_is_on_when_it_says_what_to_run() {
        assert!(is_on(Some(&test(&["CMD", "a"]))) && is_on(Some(&test(&["CMD-SHELL", "a"]))));
        for off in [None, Some(test(&[])), Some(test(&[""])), Some(test(&["NONE"])), Some(test(&["ODD", "a"]))] {
            assert!(!is_on(off.as_ref()), "{off:?}");
        }
        assert_eq!(unknown_kind(&test(&["ODD", "a"])), Some("ODD"));
        assert!(["", "NONE", "CMD", "CMD-SHELL"].iter().all(|kind| unknown_kind(&test(&[kind])).is_none()));
    }

    #[test]
    fn each_field_that_the_task_does_not_give_is_the_images() {
        let second = |count| Some(Duration::from_secs(count));
        let image = HealthConfig {
            interval: second(1),
            timeout: second(2),
            retries: Some(3),
            start_period: second(4),
            start_interval: second(5),
            ..test(&["CMD", "image"])
        };
        assert_eq!(merge(None, Some(image.clone())), Some(image.clone()));
        assert_eq!(merge(None, None), None);
        let merged = |task: HealthConfig| merge(Some(&task), Some(image.clone())).expect("both give one");
        assert_eq!(merged(HealthConfig::default()), image);
        assert_eq!(merged(test(&["CMD", "own"])), HealthConfig { test: test(&["CMD", "own"]).test, ..image.clone() });
        let edits: [fn(&mut HealthConfig); 5] = [
            |c| c.interval = Some(Duration::from_secs(9)),
            |c| c.timeout = Some(Duration::from_secs(9)),
            |c| c.retries = Some(9),
            |c| c.start_period = Some(Duration::from_secs(9)),
            |c| c.start_interval = Some(Duration::from_secs(9)),
        ];
        for edit in edits {
            let (mut own, mut wanted) = (HealthConfig::default(), image.clone());
            edit(&mut own);
            edit(&mut wanted);
            assert_eq!(merged(own), wanted);
        }
        assert!(!is_on(Some(&merged(test(&["NONE"])))), "the task turns the image's off");
    }
}
