//! How long a restart waits: the policy's delay, which doubles with each restart in a row where that is asked for.

use crate::model::{RestartPolicy, Task};
use std::time::Duration;

/// What a delay of zero doubles from: the second restart in a row of a crash loop is not at once any more.
const LEAST: Duration = Duration::from_secs(1);

/// Before the restart that is the `in_a_row`th, from 1.
pub(super) fn delay(policy: &RestartPolicy, in_a_row: u64) -> Duration {
    if policy.backoff_max.is_zero() || in_a_row <= 1 {
        return policy.delay;
    }
    let second = (policy.delay * 2).max(LEAST);
    let doublings = u32::try_from(in_a_row - 2).unwrap_or(u32::MAX);
    let factor = 2u32.checked_pow(doublings).unwrap_or(u32::MAX);
    second.saturating_mul(factor).min(longest(policy))
}

/// No delay of this policy is longer.
pub(super) fn longest(policy: &RestartPolicy) -> Duration {
    policy.delay.max(policy.backoff_max)
}

/// The task was up for longer than the longest delay: what follows it is no crash loop.
pub(super) fn is_over(policy: &RestartPolicy, task: &Task) -> bool {
    let up_for = task.up_since.zip(task.ended).map(|(up, ended)| ended.since(up));
    up_for.is_some_and(|up_for| up_for > longest(policy))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delays(delay_s: u64, backoff_max_s: u64) -> Vec<u64> {
        let policy = RestartPolicy {
            delay: Duration::from_secs(delay_s),
            backoff_max: Duration::from_secs(backoff_max_s),
            ..RestartPolicy::default()
        };
        [1, 2, 3, 4, 5, u64::MAX].into_iter().map(|n| delay(&policy, n).as_secs()).collect()
    }

    #[test]
    fn the_delay_doubles_up_to_the_maximum() {
        assert_eq!(delays(5, 60), [5, 10, 20, 40, 60, 60]);
        assert_eq!(delays(0, 5), [0, 1, 2, 4, 5, 5], "the first restart stays at once");
        assert_eq!(delays(5, 0), [5, 5, 5, 5, 5, 5], "unless it is asked for, the delay is what it is");
    }
}
