//! Dockerfile instructions that change a configuration (Docker API `changes`; Dockerfile reference).

use crate::image::config::{ConfigSection, HealthSection};
use crate::image::error::{ImageError, Result};
use std::time::Duration;

/// What shell-form commands run in.
const SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// Applies one instruction, such as `CMD ["/bin/sh"]`.
pub(super) fn apply(config: &mut ConfigSection, change: &str) -> Result<()> {
    set(config, change).map_err(|reason| ImageError::BadChange { change: change.chars().take(200).collect(), reason })
}

fn set(config: &mut ConfigSection, change: &str) -> std::result::Result<(), String> {
    let change = change.trim();
    let (word, rest) = change.split_once(char::is_whitespace).unwrap_or((change, ""));
    let rest = rest.trim();
    if rest.is_empty() {
        return Err("it has no argument".into());
    }
    match word.to_ascii_uppercase().as_str() {
        "CMD" => config.cmd = command(config, rest)?,
        "ENTRYPOINT" => config.entrypoint = command(config, rest)?,
        "SHELL" => config.shell = list(rest).ok_or("it is written as a list: [\"/bin/sh\", \"-c\"]")?,
        "ENV" => {
            for (name, value) in pairs(rest)? {
                config.env.retain(|e| e.split('=').next() != Some(name.as_str()));
                config.env.push(format!("{name}={value}"));
            }
        }
        "LABEL" => config.labels.extend(pairs(rest)?),
        "USER" => config.user = one_word(rest)?,
        "WORKDIR" => config.working_dir = working_dir(&config.working_dir, &one_word(rest)?),
        "STOPSIGNAL" => config.stop_signal = one_word(rest)?,
        "EXPOSE" => {
            for port in split_words(rest)? {
                config.exposed_ports.insert(check_port(&port)?, serde_json::json!({}));
            }
        }
        "VOLUME" => {
            let paths = list(rest).map_or_else(|| split_words(rest), Ok)?;
            config.volumes.extend(paths.into_iter().map(|path| (path, serde_json::json!({}))));
        }
        "HEALTHCHECK" => config.healthcheck = Some(health(config, rest)?),
        _ => {
            let known =
                "CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, SHELL, STOPSIGNAL, USER, VOLUME and WORKDIR are";
            return Err(format!("this instruction is not supported; {known}"));
        }
    }
    Ok(())
}

/// A JSON list of strings, if it is one.
fn list(text: &str) -> Option<Vec<String>> {
    serde_json::from_str(text).ok()
}

/// The list form as it is, the shell form in the shell.
fn command(config: &ConfigSection, rest: &str) -> std::result::Result<Vec<String>, String> {
    if rest.starts_with('[') {
        return list(rest).ok_or_else(|| "the list is not valid JSON; its words need double quotes".to_owned());
    }
    let shell = if config.shell.is_empty() { SHELL.map(str::to_owned).to_vec() } else { config.shell.clone() };
    Ok(shell.into_iter().chain([rest.to_owned()]).collect())
}

fn one_word(rest: &str) -> std::result::Result<String, String> {
    match split_words(rest)?.as_slice() {
        [word] => Ok(word.clone()),
        _ => Err("it takes one argument".into()),
    }
}

fn working_dir(before: &str, path: &str) -> String {
    if path.starts_with('/') || before.is_empty() {
        return if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    }
    format!("{}/{path}", before.trim_end_matches('/'))
}

/// `80`, `80/udp`, `8000-8010/tcp`; the protocol is written out.
fn check_port(text: &str) -> std::result::Result<String, String> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    let number_ok = |p: &str| p.parse::<u16>().is_ok_and(|n| n > 0);
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    if !number_ok(first) || !number_ok(last) || !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(format!("{text:?} is not a port"));
    }
    Ok(format!("{ports}/{protocol}"))
}

/// `A=1 B="two words"`, or the old `A one value`.
fn pairs(rest: &str) -> std::result::Result<Vec<(String, String)>, String> {
    let first = rest.split_whitespace().next().unwrap_or_default();
    if !first.contains('=') {
        let (name, value) = rest.split_once(char::is_whitespace).ok_or("it is written NAME=value")?;
        return Ok(vec![(name.to_owned(), value.trim().to_owned())]);
    }
    let pair = |word: String| match word.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        Some(_) | None => Err(format!("{word:?} is not NAME=value")),
    };
    split_words(rest)?.into_iter().map(pair).collect()
}

/// Words with single and double quotes and backslashes, as in a Dockerfile.
fn split_words(text: &str) -> std::result::Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (Some('\''), c) => word.get_or_insert_default().push(c),
            (_, '\\') => word.get_or_insert_default().extend(chars.next()),
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed".into());
    }
    words.extend(word);
    Ok(words)
}

/// `NONE`, or options and `CMD` with a command.
fn health(config: &ConfigSection, rest: &str) -> std::result::Result<HealthSection, String> {
    let mut health = HealthSection::default();
    let mut rest = rest;
    while let Some(option) = rest.strip_prefix("--") {
        let (option, after) = option.split_once(char::is_whitespace).ok_or("it has no command")?;
        rest = after.trim_start();
        let (name, value) = option.split_once('=').ok_or_else(|| format!("--{option} has no value"))?;
        match name {
            "interval" => health.interval = nanoseconds(value)?,
            "timeout" => health.timeout = nanoseconds(value)?,
            "start-period" => health.start_period = nanoseconds(value)?,
            "start-interval" => health.start_interval = nanoseconds(value)?,
            "retries" => health.retries = value.parse().map_err(|_| "retries is not a number")?,
            _ => return Err(format!("--{name} is not known")),
        }
    }
    let (word, command) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let command = command.trim();
    health.test = match (word.to_ascii_uppercase().as_str(), command) {
        ("NONE", "") => vec!["NONE".to_owned()],
        ("CMD", "") => return Err("it has no command".into()),
        ("CMD", list_form) if list_form.starts_with('[') => {
            ["CMD".to_owned()].into_iter().chain(self::command(config, list_form)?).collect()
        }
        ("CMD", shell_form) => vec!["CMD-SHELL".to_owned(), shell_form.to_owned()],
        _ => return Err("it is written HEALTHCHECK NONE or HEALTHCHECK [options] CMD command".into()),
    };
    Ok(health)
}

/// Go's form: `1m30s`, `500ms`.
fn nanoseconds(text: &str) -> std::result::Result<u64, String> {
    let bad = || format!("{text:?} is not a duration such as 1m30s");
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
        let n: u64 = rest[..digits].parse().map_err(|_| bad())?;
        let unit_end = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |i| digits + i);
        let unit_ns: u64 = match &rest[digits..unit_end] {
            "ns" => 1,
            "us" | "µs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return Err(bad()),
        };
        total += Duration::from_nanos(n.checked_mul(unit_ns).ok_or_else(bad)?);
        rest = &rest[unit_end..];
    }
    u64::try_from(total.as_nanos()).ok().filter(|ns| *ns > 0).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(changes: &[&str]) -> ConfigSection {
        let mut config = ConfigSection::default();
        for change in changes {
            apply(&mut config, change).expect(change);
        }
        config
    }

    #[test]
    fn instructions_change_the_configuration_as_in_a_dockerfile() {
        let config = changed(&[
            r#"CMD ["/bin/sh", "-c", "a b"]"#,
            "entrypoint run it",
            r#"ENV A=1 B="two words" C=x\ y"#,
            "ENV A again and again",
            r#"LABEL "a.b"='c d'"#,
            "USER 1:2",
            "WORKDIR /srv",
            "WORKDIR app",
            "EXPOSE 80 53/UDP 8000-8010",
            r#"VOLUME ["/data"]"#,
            "STOPSIGNAL SIGQUIT",
            "HEALTHCHECK --interval=1m30s --retries=2 CMD curl -f localhost",
        ]);
        assert_eq!(config.cmd, ["/bin/sh", "-c", "a b"]);
        assert_eq!(config.entrypoint, ["/bin/sh", "-c", "run it"]);
        assert_eq!(config.env, ["B=two words", "C=x y", "A=again and again"]);
        assert_eq!(config.labels.get("a.b").map(String::as_str), Some("c d"));
        assert_eq!((config.user.as_str(), config.working_dir.as_str()), ("1:2", "/srv/app"));
        assert_eq!(config.exposed_ports.keys().collect::<Vec<_>>(), ["53/udp", "80/tcp", "8000-8010/tcp"]);
        assert!(config.volumes.contains_key("/data"));
        assert_eq!(config.stop_signal, "SIGQUIT");
        let health = config.healthcheck.expect("has one");
        assert_eq!(health.test, ["CMD-SHELL", "curl -f localhost"]);
        assert_eq!((health.interval, health.retries), (90_000_000_000, 2));
    }

    #[test]
    fn a_wrong_instruction_is_refused_with_the_reason() {
        for bad in [
            "",
            "CMD",
            "RUN ls",
            "CMD [a]",
            "ENV =x",
            "ENV \"A",
            "EXPOSE 0",
            "EXPOSE 80/http",
            "USER a b",
            "HEALTHCHECK --x=1 CMD a",
            "HEALTHCHECK CMD",
            "HEALTHCHECK --interval=1 CMD a",
        ] {
            assert!(apply(&mut ConfigSection::default(), bad).is_err(), "{bad}");
        }
    }
}
