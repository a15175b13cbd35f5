//! Names of signals, as images and users write them.

/// linux/signal.h, for the processors supported here.
const NAMES: [(&str, i32); 33] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
];

/// First and last real-time signal as the C library numbers them.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// The number of a signal: `SIGTERM`, `term`, `15`, `RTMIN+3`. Empty is SIGTERM. `None` for anything else.
pub fn signal_number(name: &str) -> Option<i32> {
    let upper = name.trim().to_ascii_uppercase();
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    if bare.is_empty() {
        return upper.is_empty().then_some(libc::SIGTERM);
    }
    if let Ok(number) = bare.parse::<i32>() {
        return (1..=RTMAX).contains(&number).then_some(number);
    }
    let real_time = |base: i32, rest: &str| {
        let offset = if rest.is_empty() { 0 } else { rest.parse::<i32>().ok()? };
        let number = base.checked_add(offset)?;
        (RTMIN..=RTMAX).contains(&number).then_some(number)
    };
    if let Some(rest) = bare.strip_prefix("RTMIN") {
        return real_time(RTMIN, rest);
    }
    if let Some(rest) = bare.strip_prefix("RTMAX") {
        return real_time(RTMAX, rest);
    }
    NAMES.iter().find(|(known, _)| *known == bare).map(|(_, number)| *number)
}

#[cfg(test)]
mod tests {
    use super::signal_number;

    #[test]
    fn names_and_numbers_are_understood() {
        for (name, number) in [
            ("", 15),
            ("SIGTERM", 15),
            ("term", 15),
            ("9", 9),
            ("SIGQUIT", 3),
            ("WINCH", 28),
            ("SIGRTMIN+3", 37),
            ("RTMAX-14", 50),
        ] {
            assert_eq!(signal_number(name), Some(number), "{name}");
        }
    }

    #[test]
    fn what_is_no_signal_is_refused() {
        for name in ["SIG", "TERMINATE", "0", "65", "-1", "RTMIN-1", "RTMAX+1"] {
            assert_eq!(signal_number(name), None, "{name}");
        }
    }
}
