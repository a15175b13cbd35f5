//! Durations, sizes and times as docker reads and prints them.

use crate::error::{CliError, Result};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

/// Reads a number of things.
pub fn parse_count(text: &str) -> std::result::Result<u64, String> {
    text.parse().map_err(|_| "not a whole number of 0 or more".to_owned())
}

/// Reads a duration as Go does (`time.ParseDuration`): `1h30m`, `1.5s`, `500ms`. Nanoseconds.
pub fn parse_duration_ns(text: &str) -> std::result::Result<i64, String> {
    let bad = || format!("invalid duration \"{text}\" (such as 10s, 1m30s, 500ms)");
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Ok(0);
    }
    let mut total = 0f64;
    if rest.is_empty() {
        return Err(bad());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(bad)?;
        let number: f64 = rest[..digits].parse().map_err(|_| bad())?;
        rest = &rest[digits..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit = match &rest[..end] {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return Err(bad()),
        };
        total += number * unit;
        rest = &rest[end..];
    }
    if total > i64::MAX as f64 {
        return Err(bad());
    }
    Ok(total.round() as i64)
}

/// Prints nanoseconds as Go does: `1h0m0s`, `1m30s`, `1.5s`, `500ms`.
pub fn go_duration(ns: i64) -> String {
    let sign = if ns < 0 { "-" } else { "" };
    let ns = ns.unsigned_abs();
    let fraction = |value: u64, unit: u64| {
        let text = format!("{:.9}", (value % unit) as f64 / unit as f64);
        let text = text.trim_start_matches('0').trim_end_matches('0').trim_end_matches('.').to_owned();
        format!("{}{text}", value / unit)
    };
    let body = match ns {
        0 => "0s".to_owned(),
        1..1_000 => format!("{ns}ns"),
        1_000..1_000_000 => format!("{}µs", fraction(ns, 1_000)),
        1_000_000..1_000_000_000 => format!("{}ms", fraction(ns, 1_000_000)),
        _ => {
            let (minutes, rest) = (ns / 60_000_000_000, ns % 60_000_000_000);
            let seconds = fraction(rest, 1_000_000_000);
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{seconds}s"),
                (0, minutes) => format!("{minutes}m{seconds}s"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
            }
        }
    };
    format!("{sign}{body}")
}

/// A duration in words: `5 seconds`, `About a minute`, `3 weeks`.
pub fn human_duration(seconds: i64) -> String {
    let minutes = seconds / 60;
    let hours = (seconds + 1800) / 3600;
    match seconds {
        i64::MIN..1 => return "Less than a second".to_owned(),
        1 => return "1 second".to_owned(),
        2..60 => return format!("{seconds} seconds"),
        _ => {}
    }
    match minutes {
        1 => return "About a minute".to_owned(),
        2..60 => return format!("{minutes} minutes"),
        _ => {}
    }
    match hours {
        1 => "About an hour".to_owned(),
        ..48 => format!("{hours} hours"),
        48..336 => format!("{} days", hours / 24),
        336..1440 => format!("{} weeks", hours / 24 / 7),
        1440..17_520 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

/// Reads a time of the API.
pub fn parse_time(text: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(text, &Rfc3339).ok()
}

/// A time as Go prints it: `2024-05-01 10:00:00.5 +0000 UTC`; what is no time as it is.
pub fn go_time(text: &str) -> String {
    let Some(at) = parse_time(text) else { return text.to_owned() };
    let at = at.to_offset(time::UtcOffset::UTC);
    let whole = format!(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02}",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second()
    );
    let fraction = format!(".{:09}", at.nanosecond());
    format!("{whole}{} +0000 UTC", fraction.trim_end_matches('0').trim_end_matches('.'))
}

/// Seconds since 1970 in the zone of this machine, and the zone's short name.
fn local(seconds: i64) -> Option<(OffsetDateTime, String)> {
    // SAFETY: `tm` is plain data, for which zeros are a value.
    let mut broken_down: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to values that live here, and nothing else writes them.
    if unsafe { libc::localtime_r(&seconds, &mut broken_down) }.is_null() {
        return None;
    }
    let zone = match broken_down.tm_zone.is_null() {
        true => String::new(),
        // SAFETY: not null, and then a text of the C library's own that ends with a zero and is never freed.
        false => unsafe { std::ffi::CStr::from_ptr(broken_down.tm_zone) }.to_string_lossy().into_owned(),
    };
    let offset = time::UtcOffset::from_whole_seconds(i32::try_from(broken_down.tm_gmtoff).ok()?).ok()?;
    Some((OffsetDateTime::from_unix_timestamp(seconds).ok()?.to_offset(offset), zone))
}

/// A time of containers and images as Go prints it, in the zone of this machine: `2024-05-01 12:00:00 +0200 CEST`.
pub fn go_local_time(seconds: i64) -> String {
    let Some((at, zone)) = local(seconds) else { return String::new() };
    let form = format_description!(
        "[year]-[month]-[day] [hour]:[minute]:[second] [offset_hour sign:mandatory][offset_minute]"
    );
    at.format(&form).map(|text| format!("{text} {zone}")).unwrap_or_default()
}

/// Seconds since 1970 as RFC 3339 in the zone of this machine.
pub fn local_rfc3339(seconds: i64) -> String {
    local(seconds).and_then(|(at, _)| at.format(&Rfc3339).ok()).unwrap_or_default()
}

/// Nanoseconds since 1970 as RFC 3339 in the zone of this machine, with nine digits of the second.
pub fn event_time(ns: i128) -> String {
    let seconds = i64::try_from(ns.div_euclid(1_000_000_000)).ok();
    let Some((at, _)) = seconds.and_then(local) else { return String::new() };
    let form = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]");
    let zone = format_description!("[offset_hour sign:mandatory]:[offset_minute]");
    let zone = if at.offset().is_utc() { Ok("Z".to_owned()) } else { at.format(&zone) };
    match (at.format(&form), zone) {
        (Ok(text), Ok(zone)) => format!("{text}.{:09}{zone}", ns.rem_euclid(1_000_000_000)),
        (_, _) => String::new(),
    }
}

/// How long ago a time of the API is, in words with `ago`; empty when it is no time.
pub fn ago(text: &str, now: OffsetDateTime) -> String {
    match parse_time(text) {
        Some(at) if at.year() > 1 => format!("{} ago", human_duration((now - at).whole_seconds())),
        Some(_) | None => String::new(),
    }
}

/// `%.Ng` of C: N significant digits, no zeros at the end.
fn significant(value: f64, digits: usize) -> String {
    let magnitude = if value > 0.0 { value.log10().floor() as i32 } else { 0 };
    let decimals = usize::try_from(digits as i32 - 1 - magnitude).unwrap_or(0);
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

fn scaled(mut size: f64, base: f64, units: &[&str], digits: usize) -> String {
    let mut unit = 0;
    while size >= base && unit + 1 < units.len() {
        size /= base;
        unit += 1;
    }
    format!("{}{}", significant(size, digits), units[unit])
}

/// Bytes with decimal units and `digits` significant digits: `1.24MB`.
pub fn human_size(bytes: i64, digits: usize) -> String {
    scaled(bytes as f64, 1000.0, &["B", "kB", "MB", "GB", "TB", "PB", "EB"], digits)
}

/// Bytes with binary units: `1.944GiB`.
pub fn binary_size(bytes: i64) -> String {
    scaled(bytes as f64, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"], 4)
}

/// Reads a size of memory: a number with `b`, `k`, `m`, `g`, `t` (powers of 1024). Bytes.
pub fn parse_bytes(text: &str) -> std::result::Result<i64, String> {
    let bad = || format!("invalid size: '{text}' (such as 64m, 1.5g, 1024)");
    let lower = text.trim().to_lowercase();
    let end = lower.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(lower.len());
    let number: f64 = lower[..end].parse().map_err(|_| bad())?;
    let power = match lower[end..].trim() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 1,
        "m" | "mb" | "mib" => 2,
        "g" | "gb" | "gib" => 3,
        "t" | "tb" | "tib" => 4,
        "p" | "pb" | "pib" => 5,
        _ => return Err(bad()),
    };
    let bytes = number * 1024f64.powi(power);
    if bytes > i64::MAX as f64 { Err(bad()) } else { Ok(bytes as i64) }
}

/// Reads a number of CPUs such as `0.5`. Nano CPUs.
pub fn parse_cpus(text: &str) -> std::result::Result<i64, String> {
    let bad = || format!("invalid number of CPUs \"{text}\" (such as 0.5 or 2)");
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.chars().all(|c| c.is_ascii_digit());
    if (whole.is_empty() && part.is_empty()) || !digits(whole) || !digits(part) {
        return Err(bad());
    }
    if part.len() > 9 {
        return Err(format!("value is too precise: \"{text}\" has more than 9 decimals"));
    }
    let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| bad())? };
    let nano: i64 = format!("{part:0<9}").parse().map_err(|_| bad())?;
    whole.checked_mul(1_000_000_000).and_then(|whole| whole.checked_add(nano)).ok_or_else(bad)
}

/// A time as `--since` and `--until` take it: a date, or a duration before now. What the API takes: seconds.
pub fn parse_moment(text: &str, now: OffsetDateTime) -> Result<String> {
    let seconds = |at: OffsetDateTime| {
        let ns = at.unix_timestamp_nanos();
        format!("{}.{:09}", ns.div_euclid(1_000_000_000), ns.rem_euclid(1_000_000_000))
    };
    if let Ok(ns) = parse_duration_ns(text) {
        return Ok(seconds(now - time::Duration::nanoseconds(ns)));
    }
    let looks_unix = !text.is_empty() && text.chars().all(|c| c.is_ascii_digit() || c == '.');
    if looks_unix {
        return Ok(text.to_owned());
    }
    let (date, clock) = text.split_once(['T', ' ']).unwrap_or((text, ""));
    let has_zone = clock.contains(['Z', '+', '-']);
    let (clock, zone) = if has_zone { (clock, "") } else { (clock, "Z") };
    let clock = match clock.matches(':').count() {
        0 if clock.is_empty() => "00:00:00".to_owned(),
        1 if !has_zone => format!("{clock}:00"),
        _ => clock.to_owned(),
    };
    match OffsetDateTime::parse(&format!("{date}T{clock}{zone}"), &Rfc3339) {
        Ok(at) => Ok(seconds(at)),
        Err(_) => Err(CliError::hinted(
            format!("invalid value for time: \"{text}\""),
            "use a duration such as 10m, or a time such as 2024-01-02T13:23:37Z",
        )),
    }
}

/// The first 12 characters of an id, without the name of its digest.
pub fn short_id(id: &str) -> &str {
    let id = id.split_once(':').map_or(id, |(_, hex)| hex);
    id.get(..12).unwrap_or(id)
}

/// A text of at most `width` characters, cut with `…`.
pub fn ellipsis(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{kept}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_and_print_as_in_go() {
        for (text, ns) in
            [("10s", 10_000_000_000), ("1m30s", 90_000_000_000), ("500ms", 500_000_000), ("1.5h", 5_400_000_000_000)]
        {
            assert_eq!(parse_duration_ns(text), Ok(ns), "{text}");
        }
        for bad in ["", "10", "s", "5x", "1..2s"] {
            assert!(parse_duration_ns(bad).is_err(), "{bad}");
        }
        for (ns, text) in [
            (0, "0s"),
            (5_000_000_000, "5s"),
            (90_000_000_000, "1m30s"),
            (3_600_000_000_000, "1h0m0s"),
            (1_500_000_000, "1.5s"),
            (500_000_000, "500ms"),
            (1_500, "1.5µs"),
        ] {
            assert_eq!(go_duration(ns), text);
        }
    }

    #[test]
    fn durations_in_words() {
        for (seconds, words) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (130, "2 minutes"),
            (3600, "About an hour"),
            (7200, "2 hours"),
            (3 * 86400, "3 days"),
            (15 * 86400, "2 weeks"),
            (90 * 86400, "3 months"),
            (800 * 86400, "2 years"),
        ] {
            assert_eq!(human_duration(seconds), words);
        }
    }

    #[test]
    fn times_print_as_in_go() {
        assert_eq!(go_time("2024-05-01T10:00:00.5Z"), "2024-05-01 10:00:00.5 +0000 UTC");
        assert_eq!(go_time("2024-05-01T12:00:00+02:00"), "2024-05-01 10:00:00 +0000 UTC");
    }

    #[test]
    fn local_times_say_their_zone() {
        // Whatever the zone is here, it is the same moment.
        let text = go_local_time(1_714_557_600);
        let form = format_description!(
            "[year]-[month]-[day] [hour]:[minute]:[second] [offset_hour sign:mandatory][offset_minute]"
        );
        let words: Vec<&str> = text.split(' ').collect();
        let read = OffsetDateTime::parse(&words[..3].join(" "), &form);
        assert_eq!(read.map(OffsetDateTime::unix_timestamp), Ok(1_714_557_600), "{text}");
        let event = event_time(1_714_557_600_000_000_042);
        assert!(event.contains(".000000042"), "{event}");
        assert_eq!(parse_time(&event).map(OffsetDateTime::unix_timestamp), Some(1_714_557_600));
    }

    #[test]
    fn sizes_read_and_print() {
        assert_eq!(human_size(1_240_000, 3), "1.24MB");
        assert_eq!(human_size(77_823_131, 3), "77.8MB");
        assert_eq!(human_size(999, 3), "999B");
        assert_eq!(binary_size(2_087_000_000), "1.944GiB");
        assert_eq!(parse_bytes("64m"), Ok(64 << 20));
        assert_eq!(parse_bytes("1.5GiB"), Ok(3 << 29));
        assert!(parse_bytes("x").is_err() && parse_bytes("1z").is_err());
    }

    #[test]
    fn cpus_are_exact() {
        assert_eq!(parse_cpus("0.5"), Ok(500_000_000));
        assert_eq!(parse_cpus("1.234567891"), Ok(1_234_567_891));
        assert!(parse_cpus("-1").is_err() && parse_cpus("").is_err() && parse_cpus("0.1234567891").is_err());
    }

    #[test]
    fn a_moment_is_a_time_or_a_duration_before_now() {
        let now = OffsetDateTime::UNIX_EPOCH + time::Duration::seconds(1000);
        assert_eq!(parse_moment("10s", now).ok().as_deref(), Some("990.000000000"));
        assert_eq!(parse_moment("1970-01-01T00:01:00Z", now).ok().as_deref(), Some("60.000000000"));
        assert_eq!(parse_moment("1970-01-02", now).ok().as_deref(), Some("86400.000000000"));
        assert!(parse_moment("yesterday", now).is_err());
    }
}
