//! How often members are probed and how long a suspect may answer.
//!
//! The goal is a dead node known to all in well under three seconds. With `n` members each probes
//! one other per period, so a dead one is probed within one or two periods whatever `n` is; then a
//! period passes until the probe has failed, then the suspicion. The suspicion must be long enough
//! for the rumour to reach the suspect and its answer to come back, which takes a number of gossip
//! rounds that grows with log n.

use std::num::{NonZeroU8, NonZeroUsize};
use std::time::Duration;

use super::codec::BODY_BYTES_MAX;

/// A member is probed every period.
pub(super) const PROBE_PERIOD: Duration = Duration::from_millis(400);
/// A member that has not answered after this is probed through others: many times the round trip
/// of a LAN, because a busy host answers late.
const PROBE_RTT: Duration = Duration::from_millis(160);
/// Members asked to probe on our behalf.
const INDIRECT_PROBES: usize = 3;
/// How often updates are pushed besides riding on probes, and to how many members.
const GOSSIP_PERIOD: Duration = Duration::from_millis(200);
const GOSSIP_MEMBERS: usize = 3;
/// Shortest suspicion: two and a half probe periods.
const SUSPICION_MIN: Duration = Duration::from_millis(1000);
/// Further suspicion per factor ten of members above ten: 1.6 s at 1,000 members.
const SUSPICION_PER_DECADE: Duration = Duration::from_millis(300);
/// How often members believed down are spoken to, so that a healed partition is noticed within
/// seconds.
const ANNOUNCE_DOWN_PERIOD: Duration = Duration::from_secs(1);
const ANNOUNCE_DOWN_MEMBERS: usize = 2;
/// How often a member without any active peer looks for one.
pub(super) const SEEK_PERIOD: Duration = Duration::from_millis(500);

/// How often a member compares what it knows with a random other's: 20 bytes when they agree.
pub(super) const SYNC_PERIOD: Duration = Duration::from_secs(2);
/// Full lists sent within [`SYNC_WINDOW`] to members that know something else. A list of 1,000
/// members has 120 packets; who gets none asks another member soon.
pub(super) const SYNC_ANSWERS_MAX: u32 = 8;
pub(super) const SYNC_WINDOW: Duration = Duration::from_secs(1);

/// A timer this late means that the process did not run, and could not hear answers either.
pub(super) const LATE: Duration = Duration::from_millis(250);
/// Highest local health score: suspicion takes at most four times as long.
const HEALTH_MAX: u32 = 3;
/// A score decreases by one after this time without trouble.
const HEALTH_RECOVERY: Duration = Duration::from_secs(5);

/// foca's settings for a cluster with this many active members, ourselves included.
pub(super) fn settings(members: usize) -> foca::Config {
    let members = members.max(1);
    foca::Config {
        probe_period: PROBE_PERIOD,
        probe_rtt: PROBE_RTT,
        num_indirect_probes: at_least_one(INDIRECT_PROBES),
        max_transmissions: transmissions(members),
        suspect_to_down_after: suspicion(members),
        // Never: a record is kept until its owner renews it or the node leaves the cluster.
        remove_down_after: None,
        max_packet_size: at_least_one(BODY_BYTES_MAX),
        notify_down_members: true,
        // Lost updates are repaired by comparing digests instead.
        periodic_announce: None,
        periodic_announce_to_down_members: Some(foca::PeriodicParams {
            frequency: ANNOUNCE_DOWN_PERIOD,
            num_members: at_least_one(ANNOUNCE_DOWN_MEMBERS),
        }),
        periodic_gossip: Some(foca::PeriodicParams {
            frequency: GOSSIP_PERIOD,
            num_members: at_least_one(GOSSIP_MEMBERS),
        }),
    }
}

fn at_least_one(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).unwrap_or(NonZeroUsize::MIN)
}

/// Times an update is passed on: four per factor ten, at least six (SWIM section 4.1).
fn transmissions(members: usize) -> NonZeroU8 {
    let count = (4.0 * ((members + 1) as f64).log10()).ceil();
    NonZeroU8::new(count.clamp(6.0, 40.0) as u8).unwrap_or(NonZeroU8::MIN)
}

/// How long a suspect may take to answer.
fn suspicion(members: usize) -> Duration {
    let decades = (members as f64 / 10.0).log10().max(0.0);
    SUSPICION_MIN + SUSPICION_PER_DECADE.mul_f64(decades)
}

/// This node's own slowness (Lifeguard's local health): while it is high, others get more time.
#[derive(Debug, Default)]
pub(super) struct LocalHealth {
    score: u32,
    last_change: crate::Mono,
}

impl LocalHealth {
    /// A timer was late, or a member we suspected turned out to live.
    pub(super) fn trouble(&mut self, now: crate::Mono) {
        self.score = (self.score + 1).min(HEALTH_MAX);
        self.last_change = now;
    }

    /// Called now and then.
    pub(super) fn rest(&mut self, now: crate::Mono) {
        if self.score > 0 && now.since(self.last_change) >= HEALTH_RECOVERY {
            self.score -= 1;
            self.last_change = now;
        }
    }

    /// How many times longer a suspicion lasts now.
    pub(super) fn factor(&self) -> u32 {
        self.score + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Mono;

    #[test]
    fn suspicion_grows_slowly_with_the_cluster() {
        assert_eq!(suspicion(3), Duration::from_millis(1000));
        assert_eq!(suspicion(10), Duration::from_millis(1000));
        assert_eq!(suspicion(100), Duration::from_millis(1300));
        assert_eq!(suspicion(1000), Duration::from_millis(1600));
    }

    #[test]
    fn updates_are_passed_on_more_often_in_larger_clusters() {
        assert_eq!(transmissions(3).get(), 6);
        assert_eq!(transmissions(1000).get(), 13);
    }

    #[test]
    fn local_health_rises_with_trouble_and_recovers_with_time() {
        let mut health = LocalHealth::default();
        for at in 0..10 {
            health.trouble(Mono(at));
        }
        assert_eq!(health.factor(), 4);
        health.rest(Mono(100));
        assert_eq!(health.factor(), 4);
        for at in 1..=3 {
            health.rest(Mono(9 + at * 5_000));
        }
        assert_eq!(health.factor(), 1);
    }
}
