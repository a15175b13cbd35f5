//! The clock that leases are measured by.

/// Milliseconds since the host was started, those that it slept included (clock_gettime(2), CLOCK_BOOTTIME). The same
/// for all processes of the host.
pub fn boot_ms() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one timespec, which outlives the call. It cannot fail: Linux has this clock since 2.6.39.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut now) };
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000 + u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000
}
