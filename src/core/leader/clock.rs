//! What time it is for the leader: one time that goes on from leader to leader, whatever their hosts' clocks say.
//!
//! Decisions compare it with times that earlier leaders wrote: restart and update delays, monitor periods, canaries,
//! failures that count against a node. Kept by every manager. While it follows, it hears what time the leader stamps its
//! writes with, and knows by its own monotonic clock how long ago that was; when it leads, time goes on from there.
//! From then on it follows the host's wall clock slowly, so that a wait is off by a tenth at most and time does not run
//! backward. Only what leaders stamp goes through here: what users write carries the clock of the manager they asked.
//!
//! What remains: a manager that was started and heard no leader since can not tell a clock that is ahead from time that
//! passed while nobody led. It takes its clock's word, and waits may pass early by as much as it is ahead; it never goes
//! behind what is stored. A clock that is off by [`OFF_MAX`] is taken to be right all the same: it was set, or the
//! leaders' before were wrong, and the plan bounds each wait by its own length for when time is set back.

use crate::store::View;
use crate::{Mono, WallTime};
use std::time::Duration;

/// Clocks of hosts may differ by this much: a host whose clock does not is not let in.
const OFF_MAX: Duration = Duration::from_secs(3600);
/// Of this many milliseconds that pass, one is led: time gets back to the host's clock by so much.
const SLEW: u64 = 10;
/// A manager that was started gets what was written while it was not there; after this long it has it, and what it
/// applies was just written. Where it takes longer, what it hears is late, and waits last longer by that.
const CATCH_UP: Duration = Duration::from_secs(10);

/// The leaders' time as one manager knows it.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Mono,
    /// `None`: nothing was heard.
    known: Option<Known>,
}

/// What time it was when.
#[derive(Clone, Copy, Debug)]
struct Known {
    at: Mono,
    time: WallTime,
    /// Milliseconds, less than [`SLEW`], that passed and were not led.
    rest: u64,
}

impl Known {
    /// What time it is at `now`, and by how much it may be led.
    fn on(self, now: Mono) -> (Self, Duration) {
        let passed = now.since(self.at);
        let steered = self.rest.saturating_add(now.0.saturating_sub(self.at.0));
        let known = Self { at: self.at.max(now), time: self.time + passed, rest: steered % SLEW };
        (known, Duration::from_millis(steered / SLEW))
    }
}

impl Clock {
    /// Of a manager that starts at `now`.
    pub fn new(now: Mono) -> Self {
        Self { started: now, known: None }
    }

    /// A write that the leader stamped `stamp` was applied.
    pub fn hear(&mut self, now: Mono, stamp: WallTime) {
        if now.since(self.started) < CATCH_UP {
            return;
        }
        self.known = Some(match self.known.map(|known| known.on(now)) {
            // One that took its time to get here says nothing; a leader whose time goes slowly is followed.
            Some((known, slack)) if known.time.since(stamp) < OFF_MAX => {
                Known { time: stamp.max(back(known.time, slack)), ..known }
            }
            Some(_) | None => Known { at: now, time: stamp, rest: 0 },
        });
    }

    /// It begins to lead with what is committed, as `view` has it. `own` is the host's wall clock, here and below.
    pub fn begin(&mut self, now: Mono, own: WallTime, view: &View) {
        if self.known.is_none() {
            let newest = newest(view);
            let time = if newest.since(own) < OFF_MAX { own.max(newest) } else { own };
            self.known = Some(Known { at: now, time, rest: 0 });
        }
    }

    /// The time for a leader. It does not run backward unless the host's clock was set back by [`OFF_MAX`].
    pub fn now(&mut self, now: Mono, own: WallTime) -> WallTime {
        let known = match self.known.map(|known| known.on(now)) {
            Some((known, slack)) if own.since(known.time).max(known.time.since(own)) < OFF_MAX => {
                let (least, most) = (back(known.time, slack), known.time + slack);
                Known { time: own.clamp(least, most), ..known }
            }
            Some(_) | None => Known { at: now, time: own, rest: 0 },
        };
        self.known = Some(known);
        known.time
    }
}

fn back(time: WallTime, by: Duration) -> WallTime {
    WallTime(time.0.saturating_sub(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
}

/// The newest time that a leader wrote and a decision may look at.
fn newest(view: &View) -> WallTime {
    let tasks = view.tasks().map(|task| task.meta.updated.wall);
    let canaries = view.services().filter_map(|service| service.update_status.as_ref()?.canary_since);
    tasks.chain(canaries).max().unwrap_or_default()
}
