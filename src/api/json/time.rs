//! Times in the API's forms.

use crate::error::ApiError;
use swarm_core::WallTime;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// What Go prints for "never".
pub const ZERO_TIME: &str = "0001-01-01T00:00:00Z";

/// RFC 3339 in UTC; the zero time for 0.
pub fn rfc3339_ms(time: WallTime) -> String {
    rfc3339_ns(time.0.saturating_mul(1_000_000))
}

/// RFC 3339 in UTC from nanoseconds since 1970; the zero time for 0.
pub fn rfc3339_ns(time_ns: i64) -> String {
    if time_ns == 0 {
        return ZERO_TIME.to_owned();
    }
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(time_ns)).ok();
    time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_else(|| ZERO_TIME.to_owned())
}

/// Nanoseconds since 1970 from `seconds[.fraction]` or RFC 3339; `None` for empty and 0.
pub fn parse_timestamp_ns(name: &str, text: &str) -> Result<Option<i64>, ApiError> {
    if text.is_empty() || text == "0" {
        return Ok(None);
    }
    let parsed = decimal_ns(text).or_else(|| {
        let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        i64::try_from(time.unix_timestamp_nanos()).ok()
    });
    match parsed {
        Some(time_ns) => Ok(Some(time_ns)),
        None => Err(ApiError::bad(format!("{name}: \"{text}\" is neither seconds since 1970 nor an RFC 3339 time"))),
    }
}

/// As [`parse_timestamp_ns`], and a length of time before `now` in Go's form (`1h30m`, `10s`).
pub fn parse_moment_ns(name: &str, text: &str, now: WallTime) -> Result<Option<i64>, ApiError> {
    match go_duration_ns(text) {
        Some(ago_ns) => Ok(Some(now.0.saturating_mul(1_000_000).saturating_sub(ago_ns))),
        None => parse_timestamp_ns(name, text),
    }
}

/// Go's `time.ParseDuration`, without sign; at least one unit.
fn go_duration_ns(text: &str) -> Option<i64> {
    const UNITS: [(&str, f64); 7] =
        [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 6e10), ("h", 3.6e12)];
    let (mut rest, mut total) = (text, 0.0);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let unit = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (_, length) = UNITS.iter().find(|(name, _)| *name == &tail[..unit])?;
        total += number.parse::<f64>().ok()? * length;
        rest = &tail[unit..];
    }
    // Beyond the range it saturates: longer ago than anything is.
    (!text.is_empty()).then_some(total as i64)
}

fn decimal_ns(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let whole: i64 = whole.parse().ok()?;
    let nanos: i64 = format!("{fraction:0<9}").parse().ok()?;
    whole.checked_mul(1_000_000_000)?.checked_add(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_read_in_both_forms() {
        let parse = |text| parse_timestamp_ns("since", text).unwrap();
        assert_eq!(parse("1.5"), Some(1_500_000_000));
        assert_eq!(parse("1136073600.000000001"), Some(1_136_073_600_000_000_001));
        assert_eq!(parse("1970-01-01T00:00:02Z"), Some(2_000_000_000));
        assert_eq!(parse("0"), None);
        assert!(parse_timestamp_ns("since", "yesterday").is_err());
    }

    #[test]
    fn a_moment_may_be_a_length_of_time_ago() {
        let now = WallTime(10_000_000);
        let parse = |text| parse_moment_ns("until", text, now).unwrap();
        assert_eq!(parse("10s"), Some((10_000 - 10) * 1_000_000_000));
        assert_eq!(parse("1h30m"), Some((10_000 - 5400) * 1_000_000_000));
        assert_eq!(parse("1.5s"), Some(9_998_500_000_000));
        assert_eq!(parse("7"), Some(7_000_000_000));
        assert_eq!(parse(""), None);
        for wrong in ["s", "1x", "1s2", "-1s", "yesterday"] {
            assert!(parse_moment_ns("until", wrong, now).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_are_printed_as_go_prints_them() {
        assert_eq!(rfc3339_ms(WallTime(1_500)), "1970-01-01T00:00:01.5Z");
        assert_eq!(rfc3339_ms(WallTime(0)), ZERO_TIME);
    }
}
