//! How long a container may run without a word of the daemon; only some have such a limit.
//!
//! The shim keeps it by itself: it is what stops a container on a host that is cut off while the daemon is down. What
//! has passed is not renewed any more, since the container's place may have been given to another.

use serde::{Deserialize, Serialize};

/// Times are milliseconds since the host was started, its sleep included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lease {
    pub until_boot_ms: u64,
    /// What stops the program then.
    pub signal: i32,
    /// From the signal to SIGKILL.
    pub grace_ms: u64,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    Signal(i32),
    Kill,
}

#[derive(Debug, Default)]
pub(super) struct Kept {
    lease: Option<Lease>,
    /// The program was sent the signal because of it.
    pub told: bool,
}

impl Kept {
    /// Takes a lease; never a shorter one. `false`: the last one has passed.
    pub fn renew(&mut self, now_ms: u64, lease: Lease) -> bool {
        if self.has_passed(now_ms) {
            return false;
        }
        let until_boot_ms = self.lease.map_or(0, |known| known.until_boot_ms).max(lease.until_boot_ms);
        self.lease = Some(Lease { until_boot_ms, ..lease });
        true
    }

    pub fn has_passed(&self, now_ms: u64) -> bool {
        self.lease.is_some_and(|lease| lease.until_boot_ms <= now_ms)
    }

    pub fn is_some(&self) -> bool {
        self.lease.is_some()
    }

    /// The signal once, then SIGKILL again and again until there is an end.
    pub fn due(&mut self, now_ms: u64) -> Due {
        let Some(lease) = self.lease.filter(|lease| lease.until_boot_ms <= now_ms) else { return Due::Nothing };
        if now_ms >= lease.until_boot_ms.saturating_add(lease.grace_ms) {
            return Due::Kill;
        }
        if std::mem::replace(&mut self.told, true) { Due::Nothing } else { Due::Signal(lease.signal) }
    }

    /// The program was sent this signal already, on behalf of the lease.
    pub fn has_sent(&self, signal: i32) -> bool {
        self.told && self.lease.is_some_and(|lease| lease.signal == signal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(until_boot_ms: u64) -> Lease {
        Lease { until_boot_ms, signal: libc::SIGTERM, grace_ms: 100 }
    }

    #[test]
    fn a_lease_that_is_not_renewed_ends_with_a_signal_and_then_with_a_kill() {
        let mut kept = Kept::default();
        assert_eq!(kept.due(u64::MAX), Due::Nothing, "most containers have none");
        assert!(kept.renew(0, lease(1_000)));
        assert_eq!(kept.due(999), Due::Nothing);
        assert_eq!([kept.due(1_000), kept.due(1_001)], [Due::Signal(libc::SIGTERM), Due::Nothing]);
        assert!(kept.has_sent(libc::SIGTERM) && !kept.has_sent(libc::SIGHUP));
        assert_eq!([kept.due(1_100), kept.due(5_000)], [Due::Kill, Due::Kill]);
    }

    #[test]
    fn it_is_renewed_in_time_or_not_at_all_and_never_shortened() {
        let mut kept = Kept::default();
        assert!(kept.renew(0, lease(1_000)) && kept.renew(999, lease(2_000)) && kept.renew(999, lease(1_500)));
        assert_eq!([kept.due(1_999), kept.due(2_000)], [Due::Nothing, Due::Signal(libc::SIGTERM)]);
        assert!(!kept.renew(2_000, lease(9_000)));
        assert!(kept.has_passed(2_000));
    }

    #[test]
    fn after_a_long_sleep_of_the_host_it_is_killed_at_once() {
        let mut kept = Kept::default();
        kept.renew(0, lease(1_000));
        assert_eq!(kept.due(1_000_000), Due::Kill);
    }
}
