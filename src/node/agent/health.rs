//! The health check of one running container (Docker's HEALTHCHECK: `HealthConfig` in the Engine API).

use super::engine::Engine;
use std::sync::Arc;
use std::time::Duration;
use swarm_core::TaskId;
use swarm_core::model::{Health, HealthConfig};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

/// Docker's defaults.
const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const START_INTERVAL: Duration = Duration::from_secs(5);
const RETRIES: u32 = 3;

/// A check that is on: `None`, empty and `["NONE"]` are off.
pub fn is_on(config: Option<&HealthConfig>) -> bool {
    config.is_some_and(|config| !matches!(config.test.first().map(String::as_str), None | Some("" | "NONE")))
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

/// Probes until it is dropped, and tells each change of verdict. Failures within the start period do not count.
pub async fn watch(
    engine: Arc<dyn Engine>,
    task: TaskId,
    config: HealthConfig,
    verdicts: mpsc::Sender<(TaskId, Health, String)>,
) {
    let started = Instant::now();
    let nonzero = |given: Option<Duration>, default| given.filter(|time| !time.is_zero()).unwrap_or(default);
    let interval = nonzero(config.interval, INTERVAL);
    let timeout = nonzero(config.timeout, TIMEOUT);
    let start_period = config.start_period.unwrap_or_default();
    let start_interval = nonzero(config.start_interval, START_INTERVAL).min(interval);
    let retries = config.retries.filter(|count| *count > 0).unwrap_or(RETRIES);
    let (mut failures, mut verdict) = (0u32, Health::Starting);
    engine.judged(task, verdict, failures);
    loop {
        let starting = verdict == Health::Starting && started.elapsed() < start_period;
        sleep(if starting { start_interval } else { interval }).await;
        let probe = engine.probe(task, config.test.clone(), timeout).await;
        let next = if probe.healthy {
            failures = 0;
            Health::Healthy
        } else if verdict == Health::Starting && started.elapsed() < start_period {
            continue;
        } else {
            failures = failures.saturating_add(1);
            if failures < retries {
                engine.judged(task, verdict, failures);
                continue;
            }
            Health::Unhealthy
        };
        engine.judged(task, next, failures);
        if next != verdict {
            verdict = next;
            if verdicts.send((task, verdict, probe.output)).await.is_err() {
                return;
            }
        }
    }
}
