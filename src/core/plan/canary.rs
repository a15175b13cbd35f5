//! Canaries: an update that reaches a few slots and waits until it is found good, by a person or by the time that
//! passed.
//!
//! What waits is in the service's `UpdateStatus`, so that a new leader waits on. An update that is not promoted goes no
//! further whatever happens to tasks and nodes; slots added meanwhile get what ran before (`task::added`).
//!
//! How long they have been up is told by the leaders' time, which goes on from one to the next (`leader::Clock`).

use super::Plan;
use super::update::Progress;
use crate::WallTime;
use crate::model::{Service, UpdateStatus};
use std::time::Duration;

/// How many slots more the update may reach; `status` is noted how the canaries are. `away` are the slots whose nodes
/// take nothing new or are lost: a canary there is one all the same.
pub(super) fn reach(
    service: &Service,
    status: &mut UpdateStatus,
    (progress, away): (&[Progress], &[Progress]),
    is_lost: impl Fn(&Progress) -> bool,
    now: WallTime,
    plan: &mut Plan,
) -> u64 {
    let Some(most) = service.canaries() else { return u64::MAX };
    let canaries = || progress.iter().chain(away).filter(|slot| slot.is_reached(service.spec_version));
    let is_up = |slot: &&Progress| slot.is_up() && !is_lost(slot);
    let (count, up) = (canaries().count() as u64, canaries().filter(is_up).count() as u64);
    // There may be fewer than asked for.
    let others = progress.iter().filter(|slot| slot.is_waiting && !slot.is_leaving).count() as u64;
    let left = most.saturating_sub(count);
    let left = if count > 0 { left.min(others) } else { left };
    if left > 0 || up < count {
        status.canary_since = None;
        status.message = format!("canary: {up} of {} up", most.min(status.slots));
        return left;
    }
    // Later than now: the clock was set back.
    let since = status.canary_since.filter(|since| *since <= now).unwrap_or(now);
    let after = service.spec.update.as_ref().and_then(|update| update.canary_promote_after);
    if let Some(after) = after {
        let due = since + after;
        if due <= now {
            status.promote();
            return u64::MAX;
        }
        plan.wake(due);
    }
    status.canary_since = Some(since);
    status.message = waiting(&service.spec.name, count, status.slots, after);
    0
}

/// What a person can do about an update that waits.
fn waiting(name: &str, count: u64, slots: u64, after: Option<Duration>) -> String {
    let time = after.map_or(String::new(), |after| format!("{}, ", words(after)));
    format!(
        "canary: {count} of {slots} updated; waits for {time}\"swarm service promote {name}\" or \"swarm service rollback {name}\""
    )
}

/// `1h5m`, `35s`; what is below a second is left out.
fn words(time: Duration) -> String {
    let seconds = time.as_secs();
    let parts = [(seconds / 3600, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    let said: String = parts.iter().filter(|(n, _)| *n > 0).map(|(n, unit)| format!("{n}{unit}")).collect();
    if said.is_empty() { "0s".to_owned() } else { said }
}

/// The message of an update as it is told at `now`: of canaries, with how long they have been up.
pub fn update_message(service: &Service, now: WallTime) -> Option<String> {
    let status = service.update_status.as_ref()?;
    let since = status.canary_since.filter(|_| service.canaries().is_some());
    Some(match since {
        Some(since) => format!("{} (up for {})", status.message, words(now.since(since))),
        None => status.message.clone(),
    })
}
