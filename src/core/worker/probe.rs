//! When a running container is probed, and what the outcomes say of it: one machine for Docker's health check, for
//! readiness and for liveness.
//!
//! The agent owns one per probe of a container that runs, makes the runs it asks for, and tells how they came out.
//! It never acts on a verdict: the [`Worker`](super::Worker) does.

use crate::Mono;
use crate::model::{HealthConfig, Probe};
use std::time::Duration;

/// Docker's defaults (API `HealthConfig`).
const HEALTH_INTERVAL: Duration = Duration::from_secs(30);
const HEALTH_TIMEOUT: Duration = Duration::from_secs(30);
const HEALTH_START_INTERVAL: Duration = Duration::from_secs(5);
const HEALTH_RETRIES: u32 = 3;

/// A task that starts is asked this often whether it is ready: traffic waits for the answer.
const EAGER_INTERVAL: Duration = Duration::from_secs(1);
/// And for this long: what takes a minute to start does not mind the usual interval.
const EAGER_TIME: Duration = Duration::from_secs(60);

/// Longest words kept of an outcome, in bytes: they go into the task's status among others.
const WORDS_BYTES_MAX: usize = 512;

/// What the runs so far say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: it has not succeeded yet, and not failed often enough.
    Open,
    Good,
    Bad,
}

/// How often, how long, and how many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// From the end of one run to the next.
    pub interval: Duration,
    /// Most time of a run: for whoever makes it.
    pub timeout: Duration,
    /// Failures in a row that make it bad.
    pub failures: u32,
    /// Successes in a row that make it good.
    pub successes: u32,
    /// Failures of runs begun within this time after the start do not count, until the first success.
    pub start_period: Duration,
    /// In place of `interval` until it is good for the first time, for `start_interval_for` after the start.
    pub start_interval: Duration,
    pub start_interval_for: Duration,
    /// The first run is made at once, not after the interval.
    pub at_once: bool,
}

impl Schedule {
    /// Of Docker's HEALTHCHECK. A zero is a value that was not given. Its start interval that was not given is no
    /// longer than the interval: a start period is no reason to look more rarely.
    pub fn of_health(config: &HealthConfig) -> Self {
        let given = |time: Option<Duration>| time.filter(|time| !time.is_zero());
        let interval = given(config.interval).unwrap_or(HEALTH_INTERVAL);
        let start_period = config.start_period.unwrap_or_default();
        Self {
            interval,
            timeout: given(config.timeout).unwrap_or(HEALTH_TIMEOUT),
            failures: config.retries.filter(|count| *count > 0).unwrap_or(HEALTH_RETRIES),
            successes: 1,
            start_period,
            start_interval: given(config.start_interval).unwrap_or(HEALTH_START_INTERVAL.min(interval)),
            start_interval_for: start_period,
            at_once: false,
        }
    }

    /// Of a probe that says whether a task takes traffic.
    pub fn of_readiness(probe: &Probe) -> Self {
        Self {
            start_interval: EAGER_INTERVAL.min(probe.interval),
            start_interval_for: EAGER_TIME.max(probe.start_period),
            at_once: true,
            ..Self::of_liveness(probe)
        }
    }

    /// Of a probe that says whether a task is to be replaced.
    pub fn of_liveness(probe: &Probe) -> Self {
        Self {
            interval: probe.interval,
            timeout: probe.timeout,
            failures: probe.failures.max(1),
            successes: probe.successes.max(1),
            start_period: probe.start_period,
            start_interval: probe.interval,
            start_interval_for: Duration::ZERO,
            at_once: false,
        }
    }
}

/// What can happen.
#[derive(Clone, Debug)]
pub enum ProbeInput {
    /// Time has passed.
    Tick,
    /// The run that was asked for came out, in words on what was seen.
    Ended { good: bool, words: String },
}

/// What a run has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    pub verdict: Verdict,
    /// Runs that failed one after the other and count (Docker's `FailingStreak`).
    pub failures: u32,
    /// To be told to others, in words: the verdict is new, or it stays away from good and the failures in a row are
    /// twice as many as ever since. A probe that fails for a day is told some twenty times.
    pub news: Option<String>,
}

/// What is to be done.
#[derive(Debug, Default)]
pub struct ProbeEffects {
    /// Make a run now, and tell how it came out.
    pub run: bool,
    pub judged: Option<Judged>,
    /// When `Tick` is due next; none while a run is under way.
    pub wake_at: Option<Mono>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Waiting { until: Mono },
    Running { since: Mono },
}

/// One probe of one container.
#[derive(Debug)]
pub struct Prober {
    schedule: Schedule,
    /// End of the start period, and of the time of the start interval.
    counts_from: Mono,
    eager_until: Mono,
    phase: Phase,
    verdict: Verdict,
    /// It has succeeded once, which ends the start period; and was good once.
    succeeded: bool,
    been_good: bool,
    /// In a row: successes, failures that count, and all failures.
    successes: u32,
    failures: u32,
    row: u32,
    /// Most failures in a row that were told of this verdict.
    told: u32,
}

impl Prober {
    /// Of a container that started `age` ago. `verdict` is open but for one that an earlier daemon watched: it goes on
    /// with what that one had found, so that nothing turns because the daemon was restarted.
    pub fn new(now: Mono, schedule: Schedule, age: Duration, verdict: Verdict) -> Self {
        let after = |time: Duration| now + time.saturating_sub(age);
        let mut prober = Self {
            counts_from: after(schedule.start_period),
            eager_until: after(schedule.start_interval_for),
            phase: Phase::Waiting { until: now },
            verdict,
            succeeded: verdict == Verdict::Good,
            been_good: verdict == Verdict::Good,
            successes: 0,
            failures: 0,
            row: 0,
            told: 0,
            schedule,
        };
        if !prober.schedule.at_once {
            prober.phase = Phase::Waiting { until: now + prober.gap(now) };
        }
        prober
    }

    pub fn input(&mut self, now: Mono, input: ProbeInput, out: &mut ProbeEffects) {
        match (input, self.phase) {
            (ProbeInput::Tick, Phase::Waiting { until }) if until <= now => {
                self.phase = Phase::Running { since: now };
                out.run = true;
            }
            (ProbeInput::Ended { good, words }, Phase::Running { since }) => {
                out.judged = Some(self.ended(since, good, &words));
                self.phase = Phase::Waiting { until: now + self.gap(now) };
            }
            // A run that nobody asked for, or a look too early.
            (ProbeInput::Tick, Phase::Waiting { .. } | Phase::Running { .. })
            | (ProbeInput::Ended { .. }, Phase::Waiting { .. }) => {}
        }
        out.wake_at = match self.phase {
            Phase::Waiting { until } => Some(until),
            Phase::Running { .. } => None,
        };
    }

    fn gap(&self, now: Mono) -> Duration {
        match !self.been_good && now < self.eager_until {
            true => self.schedule.start_interval,
            false => self.schedule.interval,
        }
    }

    fn ended(&mut self, since: Mono, good: bool, words: &str) -> Judged {
        let before = self.verdict;
        if good {
            self.succeeded = true;
            self.successes = self.successes.saturating_add(1);
            (self.failures, self.row) = (0, 0);
            if self.successes >= self.schedule.successes {
                (self.verdict, self.been_good) = (Verdict::Good, true);
            }
        } else {
            self.successes = 0;
            self.row = self.row.saturating_add(1);
            if self.succeeded || since >= self.counts_from {
                self.failures = self.failures.saturating_add(1);
            }
            if self.failures >= self.schedule.failures {
                self.verdict = Verdict::Bad;
            }
        }
        let turned = self.verdict != before;
        let lasts = self.verdict != Verdict::Good && self.row.is_power_of_two() && self.row > self.told;
        if turned || lasts {
            self.told = self.row;
        }
        let news = (turned || lasts).then(|| self.words(words));
        Judged { verdict: self.verdict, failures: self.failures, news }
    }

    /// One line: what was seen, and how often.
    fn words(&self, seen: &str) -> String {
        let mut line = seen.split_whitespace().collect::<Vec<_>>().join(" ");
        line.truncate(line.floor_char_boundary(WORDS_BYTES_MAX));
        match self.row {
            0 | 1 => line,
            row => format!("{line} ({row} in a row)"),
        }
    }
}

#[cfg(test)]
#[path = "probe_tests.rs"]
mod tests;
