//! Readiness and liveness: their options, and how they are told.

use crate::error::{CliError, Result};
use crate::json::{int, object, object_mut, set, set_some, text, texts};
use crate::units::{go_duration, parse_count, parse_duration_ns};
use clap::Args;
use serde_json::{Value, json};
use swarm_core::model::ProbeAction;

/// Word that removes a probe.
const NONE: &str = "none";

#[derive(Debug, Args)]
pub struct ProbeOptions {
    /// Probe that says whether a task takes traffic: http://:PORT/PATH, tcp://:PORT, exec:COMMAND (none: remove it)
    #[arg(long, value_name = "PROBE")]
    readiness: Option<String>,
    /// Time between readiness probes
    #[arg(long, value_name = "DURATION", value_parser = parse_duration_ns)]
    readiness_interval: Option<i64>,
    /// Most time of a readiness probe
    #[arg(long, value_name = "DURATION", value_parser = parse_duration_ns)]
    readiness_timeout: Option<i64>,
    /// Readiness probes in a row that must fail until a task takes no traffic any more
    #[arg(long, value_name = "N", value_parser = parse_count)]
    readiness_retries: Option<u64>,
    /// Readiness probes in a row that must succeed until a task takes traffic
    #[arg(long, value_name = "N", value_parser = parse_count)]
    readiness_successes: Option<u64>,
    /// Time after the start in which failed readiness probes do not count
    #[arg(long, value_name = "DURATION", value_parser = parse_duration_ns)]
    readiness_start_period: Option<i64>,
    /// Probe of tasks, which are replaced when it fails: http://:PORT/PATH, tcp://:PORT, exec:COMMAND (none: remove it)
    #[arg(long, value_name = "PROBE")]
    liveness: Option<String>,
    /// Time between liveness probes
    #[arg(long, value_name = "DURATION", value_parser = parse_duration_ns)]
    liveness_interval: Option<i64>,
    /// Most time of a liveness probe
    #[arg(long, value_name = "DURATION", value_parser = parse_duration_ns)]
    liveness_timeout: Option<i64>,
    /// Liveness probes in a row that must fail until a task is replaced
    #[arg(long, value_name = "N", value_parser = parse_count)]
    liveness_retries: Option<u64>,
    /// Time after the start in which failed liveness probes do not count
    #[arg(long, value_name = "DURATION", value_parser = parse_duration_ns)]
    liveness_start_period: Option<i64>,
}

/// What was given of one probe.
struct Given<'a> {
    flag: &'static str,
    section: &'static str,
    probe: Option<&'a str>,
    times: [(&'static str, Option<i64>); 3],
    counts: [(&'static str, Option<u64>); 2],
}

impl ProbeOptions {
    /// Sets what was given, and leaves the rest as it is.
    pub fn apply(&self, spec: &mut Value) -> Result<()> {
        let readiness = Given {
            flag: "--readiness",
            section: "Readiness",
            probe: self.readiness.as_deref(),
            times: [
                ("Interval", self.readiness_interval),
                ("Timeout", self.readiness_timeout),
                ("StartPeriod", self.readiness_start_period),
            ],
            counts: [("Failures", self.readiness_retries), ("Successes", self.readiness_successes)],
        };
        let liveness = Given {
            flag: "--liveness",
            section: "Liveness",
            probe: self.liveness.as_deref(),
            times: [
                ("Interval", self.liveness_interval),
                ("Timeout", self.liveness_timeout),
                ("StartPeriod", self.liveness_start_period),
            ],
            counts: [("Failures", self.liveness_retries), ("Successes", None)],
        };
        readiness.apply(spec)?;
        liveness.apply(spec)
    }
}

impl Given<'_> {
    fn apply(&self, spec: &mut Value) -> Result<()> {
        let (flag, at) = (self.flag, format!("/Swarm/{}", self.section));
        let more = self.times.iter().any(|(_, time)| time.is_some()) || self.counts.iter().any(|(_, n)| n.is_some());
        match self.probe {
            Some(NONE) if more => return Err(CliError::usage(format!("{flag} none conflicts with {flag}-* options"))),
            Some(NONE) => {
                // The object stays though it may be empty: absent, it would mean to keep what there is.
                object_mut(spec, "/Swarm").remove(self.section);
                return Ok(());
            }
            Some(probe) => {
                let split = |line: &str| super::options::split_words(line).ok();
                let action =
                    ProbeAction::parse(probe, split).map_err(|why| CliError::usage(format!("{flag}: {why}")))?;
                let (kind, value) = match action {
                    ProbeAction::Http { port, path, host } => {
                        ("HTTP", json!({ "Port": port, "Path": path, "Host": host }))
                    }
                    ProbeAction::Tcp { port } => ("TCP", json!({ "Port": port })),
                    ProbeAction::Exec { command } => ("Exec", json!({ "Command": command })),
                };
                let fields = object_mut(spec, &at);
                ["HTTP", "TCP", "Exec"].iter().for_each(|kind| drop(fields.remove(*kind)));
                fields.insert(kind.to_owned(), value);
            }
            None if more && object(spec, &at).is_none() => {
                return Err(CliError::usage(format!("{flag}-* options need {flag}: there is no probe yet")));
            }
            None => {}
        }
        for (field, time) in self.times {
            set_some(spec, &format!("{at}/{field}"), time);
        }
        for (field, count) in self.counts.iter().filter(|(_, count)| count.is_some()) {
            // A zero would stand for the default.
            let count = count.filter(|count| *count > 0);
            let count = count.ok_or_else(|| CliError::usage(format!("{flag}: at least 1 probe in a row counts")))?;
            set(spec, &format!("{at}/{field}"), count);
        }
        Ok(())
    }
}

/// `http://:8080/ready every 10s, at most 1s, 3 failures`.
pub fn words(probe: &Value) -> String {
    let what = if object(probe, "/HTTP").is_some() {
        let (host, port, path) = (text(probe, "/HTTP/Host"), int(probe, "/HTTP/Port"), text(probe, "/HTTP/Path"));
        format!("http://{host}:{port}{path}")
    } else if object(probe, "/TCP").is_some() {
        format!("tcp://:{}", int(probe, "/TCP/Port"))
    } else {
        format!("exec:{}", texts(probe, "/Exec/Command").join(" "))
    };
    let time = |field: &str| go_duration(int(probe, field));
    let plural = |count: i64, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    let failures = int(probe, "/Failures");
    let mut words =
        format!("{what} every {}, at most {}, {}", time("/Interval"), time("/Timeout"), plural(failures, "failure"));
    match int(probe, "/Successes") {
        0 | 1 => {}
        count => words += &format!(", {count} successes"),
    }
    match int(probe, "/StartPeriod") {
        0 => {}
        _ => words += &format!(", not before {}", time("/StartPeriod")),
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        options: ProbeOptions,
    }

    fn changed(spec: Value, flags: &[&str]) -> std::result::Result<Value, String> {
        let line = Line::try_parse_from(["test"].iter().chain(flags)).map_err(|error| error.to_string())?;
        let mut spec = spec;
        line.options.apply(&mut spec).map_err(|error| error.to_string())?;
        Ok(spec)
    }

    #[test]
    fn a_probe_is_set_changed_and_removed() {
        let spec = changed(json!({}), &["--readiness", "http://:8080/ready", "--readiness-interval", "2s"]);
        let spec = spec.expect("set");
        let http = json!({"HTTP": {"Port": 8080, "Path": "/ready", "Host": ""}, "Interval": 2_000_000_000});
        assert_eq!(spec, json!({"Swarm": {"Readiness": http}}));
        let spec = changed(spec, &["--readiness", "tcp://:81", "--readiness-retries", "5"]).expect("changed");
        let tcp = json!({"TCP": {"Port": 81}, "Interval": 2_000_000_000, "Failures": 5});
        assert_eq!(spec, json!({"Swarm": {"Readiness": tcp}}), "one action, and the times it had");
        let spec = changed(spec, &["--liveness", "exec:check 'a b'"]).expect("added");
        assert_eq!(spec["Swarm"]["Liveness"], json!({"Exec": {"Command": ["check", "a b"]}}));
        let spec = changed(spec, &["--readiness", "none", "--liveness", "none"]).expect("removed");
        assert_eq!(spec, json!({"Swarm": {}}), "the object says that nothing is to be kept");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let refused = |flags: &[&str]| changed(json!({}), flags).expect_err("refused");
        assert!(refused(&["--readiness-interval", "2s"]).contains("--readiness-* options need --readiness"));
        assert!(refused(&["--liveness", "8080"]).contains("--liveness: \"8080\" is no probe"));
        assert!(refused(&["--liveness", "none", "--liveness-timeout", "1s"]).contains("conflicts"));
        assert!(refused(&["--liveness", "tcp://:80", "--liveness-retries", "0"]).contains("at least 1"));
    }

    #[test]
    fn a_probe_is_told_in_words() {
        let second = 1_000_000_000i64;
        let probe = json!({"HTTP": {"Port": 8080, "Path": "/ready", "Host": ""}, "Interval": 10 * second,
            "Timeout": second, "Failures": 3, "Successes": 1, "StartPeriod": 0});
        assert_eq!(words(&probe), "http://:8080/ready every 10s, at most 1s, 3 failures");
        let probe = json!({"Exec": {"Command": ["pg_isready", "-q"]}, "Interval": second, "Timeout": second,
            "Failures": 1, "Successes": 2, "StartPeriod": 30 * second});
        assert_eq!(words(&probe), "exec:pg_isready -q every 1s, at most 1s, 1 failure, 2 successes, not before 30s");
    }
}
