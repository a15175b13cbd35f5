//! When a certificate is valid, when it is renewed, and how a wrong clock is named.

use std::time::Duration;

use crate::WallTime;

/// How far `NotBefore` lies before the moment of issuing: an hour forgives hosts whose clocks are
/// behind the manager's.
pub const BACKDATE: Duration = Duration::from_secs(3600);
/// Renewal is spread over this part of the lifetime, so that a fleet installed in one minute does
/// not renew in one minute: one twentieth of 90 days is 4.5 days.
const RENEWAL_SPREAD_DIVISOR: u32 = 20;

/// When a certificate is valid, both ends included. X.509 keeps whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// First valid moment.
    pub not_before: WallTime,
    /// Last valid moment.
    pub not_after: WallTime,
}

impl Validity {
    /// What a certificate issued at `now` for `lifetime` gets: backdated by [`BACKDATE`].
    #[must_use]
    pub fn issued(now: WallTime, lifetime: Duration) -> Self {
        let backdate_ms = i64::try_from(BACKDATE.as_millis()).unwrap_or(i64::MAX);
        Self { not_before: WallTime(now.0.saturating_sub(backdate_ms)), not_after: now + lifetime }
    }

    fn lifetime(&self) -> Duration {
        self.not_after.since(self.not_before)
    }
}

/// A certificate that is not valid at this host's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ValidityError {
    /// Its first moment is in the future: with our backdating only a wrong clock does that.
    #[error(
        "clock skew: the certificate becomes valid {} s from now by this host's clock, so the clocks of the two hosts are at least that far apart (set the time on both, for example with chrony)",
        ahead.as_secs()
    )]
    NotYetValid {
        /// Time until it is valid.
        ahead: Duration,
    },
    /// Its last moment is past.
    #[error(
        "the certificate expired {} s ago by this host's clock (check the clocks of both hosts; if they are right, the node must join again with a token)",
        ago.as_secs()
    )]
    Expired {
        /// Time since it expired.
        ago: Duration,
    },
}

/// Whether a certificate is valid at `now`, and by how much it is not.
pub fn check_validity(validity: Validity, now: WallTime) -> Result<(), ValidityError> {
    if now < validity.not_before {
        return Err(ValidityError::NotYetValid { ahead: validity.not_before.since(now) });
    }
    if now > validity.not_after {
        return Err(ValidityError::Expired { ago: now.since(validity.not_after) });
    }
    Ok(())
}

/// Two clocks that are too far apart for one cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "clock skew: the joining host's clock is {} s {} the manager's, more than the {} s allowed (set the time on both, for example with chrony, and join again)",
    apart.as_secs(),
    if *.ahead { "ahead of" } else { "behind" },
    BACKDATE.as_secs()
)]
pub struct ClockSkew {
    /// How far the clocks are apart.
    pub apart: Duration,
    /// The joining host's clock is the later one.
    pub ahead: bool,
}

/// Compares a joining host's clock with the manager's. Beyond [`BACKDATE`] a certificate issued now
/// is not valid yet on one of the two, so the join is refused with the reason instead.
pub fn check_skew(joiner: WallTime, manager: WallTime) -> Result<(), ClockSkew> {
    let ahead = joiner > manager;
    let apart = if ahead { joiner.since(manager) } else { manager.since(joiner) };
    if apart > BACKDATE { Err(ClockSkew { apart, ahead }) } else { Ok(()) }
}

/// When to renew: half the lifetime, plus a share of a small spread chosen by `jitter`
/// (0 = none, 255 = all of it).
#[must_use]
pub fn renewal_time(validity: Validity, jitter: u8) -> WallTime {
    let lifetime = validity.lifetime();
    let spread = lifetime / RENEWAL_SPREAD_DIVISOR / u32::from(u8::MAX) * u32::from(jitter);
    validity.not_before + lifetime / 2 + spread
}

/// Whether [`renewal_time`] has come.
#[must_use]
pub fn renewal_due(validity: Validity, jitter: u8, now: WallTime) -> bool {
    now >= renewal_time(validity, jitter)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: WallTime = WallTime(1_800_000_000_000);
    const LIFETIME: Duration = Duration::from_secs(90 * 24 * 3600);

    #[test]
    fn a_new_certificate_is_valid_for_a_host_whose_clock_is_an_hour_behind() {
        let validity = Validity::issued(NOW, LIFETIME);
        assert_eq!(check_validity(validity, WallTime(NOW.0 - 3_600_000)), Ok(()));
        let error = check_validity(validity, WallTime(NOW.0 - 3_605_000)).expect_err("too early");
        assert_eq!(error, ValidityError::NotYetValid { ahead: Duration::from_secs(5) });
        assert!(error.to_string().starts_with("clock skew: the certificate becomes valid 5 s"));
    }

    #[test]
    fn clocks_more_than_an_hour_apart_are_refused_with_the_difference() {
        let other = |offset_ms: i64| WallTime(NOW.0 + offset_ms);
        assert_eq!(check_skew(other(3_600_000), NOW), Ok(()));
        assert_eq!(check_skew(other(-3_600_000), NOW), Ok(()));
        let ahead = check_skew(other(3_601_000), NOW).expect_err("too far ahead");
        assert!(ahead.to_string().contains("3601 s ahead of the manager's"), "{ahead}");
        let behind = check_skew(other(-7_200_000), NOW).expect_err("too far behind");
        assert!(behind.to_string().contains("7200 s behind the manager's"), "{behind}");
    }

    #[test]
    fn an_expired_certificate_says_for_how_long() {
        let validity = Validity::issued(NOW, LIFETIME);
        let late = NOW + LIFETIME + Duration::from_secs(9);
        assert_eq!(check_validity(validity, late), Err(ValidityError::Expired { ago: Duration::from_secs(9) }));
    }

    #[test]
    fn renewal_falls_between_half_life_and_a_twentieth_later() {
        let validity = Validity::issued(NOW, LIFETIME);
        let half = validity.not_before + (LIFETIME + BACKDATE) / 2;
        assert_eq!(renewal_time(validity, 0), half);
        assert!(renewal_time(validity, 255) <= half + LIFETIME / 19);
        assert!(!renewal_due(validity, 0, WallTime(half.0 - 1)));
        assert!(renewal_due(validity, 0, half));
    }
}
