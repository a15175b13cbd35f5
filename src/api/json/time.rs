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
    fn times_are_printed_as_go_prints_them() {
        assert_eq!(rfc3339_ms(WallTime(1_500)), "1970-01-01T00:00:01.5Z");
        assert_eq!(rfc3339_ms(WallTime(0)), ZERO_TIME);
    }
}
