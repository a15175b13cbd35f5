//! The clocks of this process, for the shells to hand into core.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use swarm_core::{Mono, WallTime};

/// A monotonic clock that began with the process, and the wall clock.
#[derive(Clone, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that starts at a second, so that a time before the start can be told.
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }

    /// Milliseconds since the start.
    pub fn mono(&self) -> Mono {
        Mono(u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// Milliseconds since 1970.
    pub fn wall(&self) -> WallTime {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        WallTime(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    /// Sleeps until `at`; for ever when there is nothing to wait for.
    pub async fn sleep_until(&self, at: Option<Mono>) {
        match at {
            // A millisecond more: the clock counts whole ones.
            Some(at) => tokio::time::sleep(at.since(self.mono()) + Duration::from_millis(1)).await,
            None => std::future::pending().await,
        }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}
