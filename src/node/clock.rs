//! The clocks of this process, for the shells to hand into core.

use runtime::clock::boot_ms;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use swarm_core::leader;
use swarm_core::store::View;
use swarm_core::{Mono, WallTime};

/// A monotonic clock that began with the process and goes on while the host sleeps, and the wall clock.
#[derive(Clone, Debug)]
pub struct Clock {
    start_boot_ms: u64,
}

impl Clock {
    /// A clock that starts at a second, so that a time before the start can be told.
    pub fn new() -> Self {
        Self { start_boot_ms: boot_ms() }
    }

    /// Milliseconds since the start.
    pub fn mono(&self) -> Mono {
        Mono(boot_ms().saturating_sub(self.start_boot_ms))
    }

    /// The same moment in milliseconds since the host was started, which mean the same to every process.
    pub fn boot_ms(&self, at: Mono) -> u64 {
        self.start_boot_ms.saturating_add(at.0)
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

/// The clocks of a leader. Its wall time goes on from where the leader before it was: see [`leader::Clock`].
#[derive(Clone, Debug)]
pub struct TermClock {
    host: Clock,
    time: Arc<Mutex<leader::Clock>>,
}

impl TermClock {
    /// Of a term that begins with `time`, as this manager knows it, and what is committed.
    pub fn begin(host: Clock, mut time: leader::Clock, view: &View) -> Self {
        time.begin(host.mono(), host.wall(), view);
        Self { host, time: Arc::new(Mutex::new(time)) }
    }

    /// The host's own.
    pub fn host(&self) -> &Clock {
        &self.host
    }

    /// As [`Clock::mono`].
    pub fn mono(&self) -> Mono {
        self.host.mono()
    }

    /// What everything is stamped and compared with that this leader writes.
    pub fn wall(&self) -> WallTime {
        self.time.lock().unwrap_or_else(PoisonError::into_inner).now(self.host.mono(), self.host.wall())
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}
