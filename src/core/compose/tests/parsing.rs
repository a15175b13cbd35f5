//! YAML, variables, durations and sizes.

use super::super::interpolate::expand;
use super::super::{units, words};
use super::*;
use std::time::Duration;

fn expanded(text: &str) -> Result<String, String> {
    let env = [("A", "one"), ("E", "")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    expand(text, &env.into(), &mut Vec::new())
}

#[test]
fn variables_follow_the_compose_rules() {
    let cases = [
        ("$A-${A}", "one-one"),
        ("$$A $$$A", "$A $one"),
        ("${E:-d} ${E-d} ${N-d} ${N:-d}", "d  d d"),
        ("${A:+x} ${E:+x}|${E+x}|${N+x}|", "x |x||"),
        ("${N:-${A}} ${N:-${M:-deep}} ${N:-a$$b}", "one deep a$b"),
        ("${A:?no} ${E?no}|", "one |"),
        ("$N|${N}", "|"),
    ];
    for (text, wanted) in cases {
        assert_eq!(expanded(text).as_deref(), Ok(wanted), "{text}");
    }
}

#[test]
fn a_dollar_sign_that_begins_nothing_is_refused() {
    for text in ["$", "a$ b", "${", "${}", "${A", "$(x)", "${1}", "${A!x}", "$1", "${A:}", "${N:-${}"] {
        assert!(expanded(text).is_err(), "{text}");
    }
    assert!(expanded("${E:?why}").unwrap_err().ends_with("missing a value: why"));
    assert!(expanded("${N?}").unwrap_err().contains("required variable N"));
}

#[test]
fn numbers_and_truth_values_may_come_from_variables() {
    let env = [("N", "4"), ("T", "yes")].map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let text = service("tty: ${T}\ndeploy: {replicas: $N}");
    let printed = config(&sources(&[&text]), &env, &memory()).unwrap().yaml;
    assert!(printed.contains("tty: true\n") && printed.contains("replicas: 4\n"), "{printed}");
}

#[test]
fn anchors_and_merge_keys_are_resolved_and_written_keys_win() {
    let text = "x-a: &a {tty: true, user: a}\nx-b: &b {user: b, hostname: b}\nservices:\n  web:\n    <<: [*a, *b]\n    image: w\n    hostname: own\n";
    let printed = canonical(&[text]);
    assert!(
        printed.contains("tty: true") && printed.contains("user: a\n") && printed.contains("hostname: own"),
        "{printed}"
    );
}

#[test]
fn aliases_cannot_blow_a_file_up() {
    let mut text = "x-0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let refs = vec![format!("*a{}", level - 1); 10].join(", ");
        text.push_str(&format!("x-{level}: &a{level} [{refs}]\n"));
    }
    assert!(errors(&text)[0].contains("once its aliases are resolved"));
}

#[test]
fn depth_is_bounded() {
    let text = format!("x-deep: {}{}\n", "[".repeat(100), "]".repeat(100));
    assert!(errors(&text)[0].contains("nested deeper than"));
    let text = service(&format!("hostname: '{}x{}'", "${A:-".repeat(100), "}".repeat(100)));
    assert!(errors(&text)[0].contains("variables are nested deeper than"));
}

#[test]
fn durations_are_read_and_printed_as_go_does() {
    let cases = [
        ("90s", 90_000_000_000, "1m30s"),
        ("1h", 3_600_000_000_000, "1h0m0s"),
        ("1.5s", 1_500_000_000, "1.5s"),
        ("1500ms", 1_500_000_000, "1.5s"),
        ("250us", 250_000, "250µs"),
        ("7ns", 7, "7ns"),
        ("0", 0, "0s"),
        ("1h1m1s1ms", 3_661_001_000_000, "1h1m1.001s"),
    ];
    for (text, nanos, printed) in cases {
        assert_eq!(units::duration(text), Some(Duration::from_nanos(nanos)), "{text}");
        assert_eq!(units::duration_text(Duration::from_nanos(nanos)), printed);
    }
    for text in ["", "5", "s", "1x", "-1s", "1s ", "99999999999h", "1..5s"] {
        assert_eq!(units::duration(text), None, "{text}");
    }
}

#[test]
fn sizes_are_powers_of_1024() {
    let cases = [("64m", 64 << 20), ("1GiB", 1 << 30), ("1.5k", 1536), ("10", 10), ("2 kb", 2048), ("3b", 3)];
    for (text, size) in cases {
        assert_eq!(units::bytes(text), Some(size), "{text}");
    }
    for text in ["", "m", "-1", "1.5", "1x", "99999999999p"] {
        assert_eq!(units::bytes(text), None, "{text}");
    }
    assert_eq!(units::nano_cpus("0.5"), Some(500_000_000));
    assert_eq!(units::nano_cpus("-1"), None);
}

#[test]
fn words_keep_what_quotes_protect_and_refuse_open_ones() {
    assert_eq!(words::split(r#"a '' "b'c" d\"e 'f"g'"#).unwrap(), ["a", "", "b'c", "d\"e", "f\"g"]);
    for text in ["'a", "\"a", "a\\", "\"a\\"] {
        assert!(words::split(text).is_err(), "{text}");
    }
}

#[test]
fn lines_of_environment_files_are_literal() {
    let read = words::env_file("\u{feff}A=1\n # note\n\n  B='x' $Y\nC\r\nD=\n").unwrap();
    let wanted = [("A", Some("1")), ("B", Some("'x' $Y")), ("C", None), ("D", Some(""))];
    assert_eq!(read, wanted.map(|(name, value)| (name.to_owned(), value.map(str::to_owned))));
    assert_eq!(words::env_file("A=1\nno name=1\n").unwrap_err().0, 2);
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_file() {
    assert_eq!(loaded(&["\u{feff}services:\n  web:\n    image: web:1\n"]).stack.services.len(), 1);
}
