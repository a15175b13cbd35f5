//! Probes of a running container beyond Docker's health check, and how people write them.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Port of `http://` when none is written.
const HTTP_PORT: u16 = 80;

/// What a probe does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProbeAction {
    /// Runs a program in the container; exit code 0 is good.
    Exec { command: Vec<String> },
    /// GET from the container's own address; an answer of 200 to 399 is good. `host` fills the header, empty is the
    /// address.
    Http { port: u16, path: String, host: String },
    /// Connects to the container's own address.
    Tcp { port: u16 },
}

/// Beyond the API: a check that needs no tool in the image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    pub action: ProbeAction,
    /// Between two probes; default 10 s.
    pub interval: Duration,
    /// A probe that takes longer has failed; default 1 s.
    pub timeout: Duration,
    /// Failures in a row that count; default 3.
    pub failures: u32,
    /// Successes in a row that count; default 1.
    pub successes: u32,
    /// Failures within this time after the start do not count.
    pub start_period: Duration,
}

impl Probe {
    /// A probe with the default times.
    pub fn of(action: ProbeAction) -> Self {
        Self {
            action,
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(1),
            failures: 3,
            successes: 1,
            start_period: Duration::ZERO,
        }
    }
}

impl ProbeAction {
    /// As on the command line and in compose files: `http://[HOST][:PORT][/PATH]`, `tcp://:PORT` or `exec:COMMAND`,
    /// which `split` takes apart as a shell would. A host is only what the header says: it is the container that is
    /// probed.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str, split: impl Fn(&str) -> Option<Vec<String>>) -> Result<Self, String> {
        if let Some(rest) = text.strip_prefix("http://") {
            let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
            let (host, port) = host_and_port(authority)?;
            let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
            Ok(Self::Http { port: port.unwrap_or(HTTP_PORT), path, host: host.to_owned() })
        } else if let Some(rest) = text.strip_prefix("tcp://") {
            match host_and_port(rest)? {
                ("", Some(port)) => Ok(Self::Tcp { port }),
                ("", None) => Err(format!("\"{text}\" names no port: use tcp://:PORT")),
                (..) => Err(format!("\"{text}\" names a host: it is the container that is probed, use tcp://:PORT")),
            }
        } else if let Some(rest) = text.strip_prefix("exec:") {
            let command = split(rest).ok_or_else(|| format!("\"{rest}\" is no command line"))?;
            if command.is_empty() { Err("exec: names no command".to_owned()) } else { Ok(Self::Exec { command }) }
        } else if text.starts_with("https://") {
            Err("https:// is not supported: probe a port without TLS, or that it is open with tcp://:PORT".to_owned())
        } else {
            Err(format!("\"{text}\" is no probe: use http://:PORT/PATH, tcp://:PORT or exec:COMMAND"))
        }
    }
}

fn host_and_port(authority: &str) -> Result<(&str, Option<u16>), String> {
    // The colons of an IPv6 address are within brackets.
    let colon = authority.rfind(':').filter(|at| !authority[*at..].contains(']'));
    let Some(at) = colon else { return Ok((authority, None)) };
    match authority[at + 1..].parse() {
        Ok(port @ 1..) => Ok((&authority[..at], Some(port))),
        Ok(0) | Err(_) => Err(format!("\"{}\" is no port: use 1 to 65535", &authority[at + 1..])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ProbeAction, String> {
        ProbeAction::parse(text, |line| Some(line.split_whitespace().map(str::to_owned).collect()))
    }

    fn http(port: u16, path: &str, host: &str) -> Result<ProbeAction, String> {
        Ok(ProbeAction::Http { port, path: path.to_owned(), host: host.to_owned() })
    }

    #[test]
    fn probes_are_read_as_people_write_them() {
        assert_eq!(parse("http://:8080/ready?full=1"), http(8080, "/ready?full=1", ""));
        assert_eq!(parse("http://:8080"), http(8080, "/", ""));
        assert_eq!(parse("http:///ready"), http(80, "/ready", ""));
        assert_eq!(parse("http://shop.example/a:b"), http(80, "/a:b", "shop.example"));
        assert_eq!(parse("http://[::1]:81?x"), http(81, "/?x", "[::1]"));
        assert_eq!(parse("http://[::1]"), http(80, "/", "[::1]"));
        assert_eq!(parse("tcp://:5432"), Ok(ProbeAction::Tcp { port: 5432 }));
        let command = ["pg_isready", "-U", "app"].map(str::to_owned).to_vec();
        assert_eq!(parse("exec:pg_isready -U app"), Ok(ProbeAction::Exec { command }));
    }

    #[test]
    fn what_is_no_probe_is_refused_with_what_to_write() {
        for (text, words) in [
            ("8080", "use http://:PORT/PATH, tcp://:PORT or exec:COMMAND"),
            ("https://:443/", "https:// is not supported"),
            ("http://:0/", "\"0\" is no port"),
            ("http://:65536/", "is no port"),
            ("http://a:b/", "\"b\" is no port"),
            ("tcp://", "names no port"),
            ("tcp://db:5432", "names a host"),
            ("exec: ", "names no command"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(words), "{text}: {error}");
        }
        let unsplit = ProbeAction::parse("exec:'a", |_| None).expect_err("not closed");
        assert!(unsplit.contains("no command line"), "{unsplit}");
    }
}
