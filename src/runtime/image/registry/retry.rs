//! Which faults pass by themselves, and how long to wait for that.

use crate::image::error::{ImageError, Result};
use rand::Rng;
use std::time::Duration;

/// How often and how patiently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts in a row without any progress, the first included.
    pub attempts_max: u32,
    /// Wait after the first; doubled each time, half of it random.
    pub first_wait: Duration,
    /// No wait is longer, whatever the registry asks for.
    pub wait_max: Duration,
}

impl Default for RetryPolicy {
    /// About three seconds in all: an agent tries again anyway, with the reason on the task meanwhile.
    fn default() -> Self {
        Self { attempts_max: 5, first_wait: Duration::from_millis(200), wait_max: Duration::from_secs(20) }
    }
}

/// Attempts of one download in all, with or without progress.
pub(super) const ATTEMPTS_TOTAL_MAX: u32 = 50;

/// What an attempt failed with.
#[derive(Debug)]
pub(super) enum Fault {
    /// May work the next time; the registry may say when.
    Passing { error: ImageError, wait: Option<Duration> },
    /// Will not.
    Final(ImageError),
}

impl From<ImageError> for Fault {
    fn from(error: ImageError) -> Self {
        Fault::Final(error)
    }
}

/// Counts the attempts of one operation.
pub(super) struct Attempts<'a> {
    policy: &'a RetryPolicy,
    without_progress: u32,
    total: u32,
}

impl<'a> Attempts<'a> {
    pub(super) fn new(policy: &'a RetryPolicy) -> Self {
        Self { policy, without_progress: 0, total: 0 }
    }

    /// The last attempt brought something.
    pub(super) fn progressed(&mut self) {
        self.without_progress = 0;
    }

    /// Waits before the next attempt and gives its number, or gives up with the error.
    pub(super) async fn again(&mut self, fault: Fault, on_retry: impl FnOnce(u32, &ImageError)) -> Result<()> {
        let (error, asked) = match fault {
            Fault::Final(error) => return Err(error),
            Fault::Passing { error, wait } => (error, wait),
        };
        self.without_progress += 1;
        self.total += 1;
        if self.without_progress >= self.policy.attempts_max || self.total >= ATTEMPTS_TOTAL_MAX {
            return Err(error);
        }
        on_retry(self.total, &error);
        tokio::time::sleep(self.wait(asked)).await;
        Ok(())
    }

    fn wait(&self, asked: Option<Duration>) -> Duration {
        let doubled = self.policy.first_wait.saturating_mul(1 << (self.without_progress - 1).min(16));
        let random = rand::rng().random_range(0.5..=1.0);
        doubled.mul_f64(random).max(asked.unwrap_or_default()).min(self.policy.wait_max)
    }
}
