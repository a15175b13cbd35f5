//! Tasks that are to run once at most, also while hosts do not reach each other (`TaskSpec::at_most_one`).
//!
//! A node may run such a task for the lease, counted from when it *sent* the last heartbeat that a leader answered
//! after a quorum confirmed that it leads (Raft section 6.4). Then the task is stopped, and killed after its grace
//! period: by the shim, which needs no daemon for it. A leader lets the next task start once the node itself says that
//! the last one is over, or, of a node it has lost, when [`over_after`] has passed since.
//!
//! Why two never run. No leader grants a lease for a heartbeat sent after it lost the session, and no earlier leader
//! for one sent after the present one was elected: the quorum that confirms it shares a member with the one that
//! elected the next. So every lease a node holds ends before the time the leader counts from plus the lease. Both
//! sides measure by clocks that go on while the host sleeps; a virtual machine whose clock is stopped with it is
//! outside of what this can promise, as is a process the kernel cannot kill.

use crate::model::Task;
use std::time::Duration;

/// What `--at-most-one` without a time stands for.
pub const LEASE_DEFAULT: Duration = Duration::from_secs(30);
/// Several heartbeats of 1 s and their answers fit, so that one lost packet or a change of leader stops nothing.
pub const LEASE_MIN: Duration = Duration::from_secs(5);
/// As many heartbeats at least, where they are slower.
pub const LEASE_HEARTBEATS_MIN: u32 = 3;
/// For as long a task may have no replacement; more is a mistake in the unit.
pub const LEASE_MAX: Duration = Duration::from_secs(3600);

/// One clock may go ahead of the other by a hundredth: quartz is off by less than 0.01 %, a clock being corrected by
/// 0.05 % (adjtimex(2): 500 ppm).
const CLOCK_RATE_PARTS: u32 = 100;
/// From the moment a lease ends to the signal, and from SIGKILL to the end: the shim looks each second, on a host that
/// may be busy.
const END_MARGIN: Duration = Duration::from_secs(5);

/// Nothing of a task runs any more this long after its node could last be granted a lease.
pub fn over_after(lease: Duration, stop_grace: Duration) -> Duration {
    let known = lease + stop_grace + END_MARGIN;
    known + known / CLOCK_RATE_PARTS
}

/// As [`over_after`], of a task that has a lease and may have something on its node.
pub fn task_over_after(task: &Task) -> Option<Duration> {
    let lease = task.spec.at_most_one.filter(|_| task.occupies_node())?;
    Some(over_after(lease, task.spec.container.stop_grace()))
}
