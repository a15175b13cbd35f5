//! Durations and sizes as docker writes them: `1m30s`, `64m`.

use std::time::Duration;

const UNITS: [(&str, u64); 7] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// `1h30m`, `1.5s`, `500ms`, `0`. Not negative. At most 2^63 ns.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    let mut total: f64 = 0.0;
    let mut exact: u64 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
        let (number, tail) = rest.split_at(digits);
        let unit_len = tail.bytes().take_while(|b| !b.is_ascii_digit() && *b != b'.').count();
        let (unit, tail) = tail.split_at(unit_len);
        let (_, nanos) = UNITS.iter().find(|(name, _)| *name == unit)?;
        match number.parse::<u64>() {
            Ok(whole) => exact = exact.checked_add(whole.checked_mul(*nanos)?)?,
            Err(_) => total += number.parse::<f64>().ok()? * *nanos as f64,
        }
        rest = tail;
    }
    let nanos = exact.checked_add(total.round() as u64)?;
    (nanos <= i64::MAX as u64).then(|| Duration::from_nanos(nanos))
}

/// Go's way to print a duration: `1m30s`, `1.5s`, `500ms`, `0s`.
pub(crate) fn duration_text(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    if nanos == 0 {
        return "0s".to_owned();
    }
    if nanos < 1_000_000_000 {
        let (unit, size) = match nanos {
            0..1_000 => ("ns", 1),
            1_000..1_000_000 => ("µs", 1_000),
            _ => ("ms", 1_000_000),
        };
        return format!("{}{unit}", fraction(nanos, size));
    }
    let (minutes, rest) = (nanos / 60_000_000_000, nanos % 60_000_000_000);
    let seconds = fraction(rest, 1_000_000_000);
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{seconds}s"),
        (0, minutes) => format!("{minutes}m{seconds}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

fn fraction(value: u128, size: u128) -> String {
    let width = size.ilog10() as usize;
    let text = format!("{}.{:0width$}", value / size, value % size);
    if width == 0 {
        return (value / size).to_string();
    }
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// `64m`, `1.5g`, `1024`, `10kb`, `1GiB`: powers of 1024, not negative.
pub(crate) fn bytes(text: &str) -> Option<i64> {
    let text = text.trim();
    let digits = text.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start().to_ascii_lowercase();
    let power = match unit.as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 1,
        "m" | "mb" | "mib" => 2,
        "g" | "gb" | "gib" => 3,
        "t" | "tb" | "tib" => 4,
        "p" | "pb" | "pib" => 5,
        _ => return None,
    };
    let size = 1024i64.checked_pow(power)?;
    if let Ok(whole) = number.parse::<i64>() {
        return whole.checked_mul(size);
    }
    if power == 0 {
        return None;
    }
    let value = number.parse::<f64>().ok()? * size as f64;
    (value < i64::MAX as f64).then_some(value as i64)
}

/// `0.5`, `2`: thousand-millionths of a processor.
pub(crate) fn nano_cpus(text: &str) -> Option<i64> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let value = text.parse::<f64>().ok().filter(|_| plain)? * 1e9;
    (value < i64::MAX as f64).then(|| value.round() as i64)
}
