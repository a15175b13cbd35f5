//! Options of commands that print logs, and lines with their task in front.

use crate::client::{Client, Query, segment};
use crate::commands::tasks::{Names, slot};
use crate::error::{CliError, Result};
use crate::json::text;
use crate::logs::{self, Reader};
use crate::units::{parse_moment, short_id};
use clap::Args;
use serde_json::Value;
use std::collections::BTreeMap;
use time::OffsetDateTime;

#[derive(Debug, Args)]
pub struct LogOptions {
    /// Go on with what is logged from now on
    #[arg(short, long)]
    pub follow: bool,
    /// Print the time of each line
    #[arg(short, long)]
    pub timestamps: bool,
    /// Print extra attributes of each line
    #[arg(long)]
    pub details: bool,
    /// Only lines from that time on (2024-01-02T13:23:37Z) or of the last so much time (42m)
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Only so many of the last lines
    #[arg(short = 'n', long, value_name = "N", default_value = "all")]
    pub tail: String,
}

impl LogOptions {
    /// Opens a log. `tty`: see [`Reader::new`].
    pub async fn open(
        &self,
        client: &Client,
        path: &str,
        details: bool,
        until: Option<&str>,
        tty: bool,
    ) -> Result<Reader> {
        let now = OffsetDateTime::now_utc();
        let since = self.since.as_deref().map(|text| parse_moment(text, now)).transpose()?;
        let until = until.map(|text| parse_moment(text, now)).transpose()?;
        let query: Query<'_> = &[
            ("stdout", Some("1")),
            ("stderr", Some("1")),
            ("follow", self.follow.then_some("1")),
            ("timestamps", self.timestamps.then_some("1")),
            ("details", details.then_some("1")),
            ("since", since.as_deref()),
            ("until", until.as_deref()),
            ("tail", Some(self.tail.as_str())),
        ];
        Ok(Reader::new(client.bytes(path, query).await?, tty))
    }
}

/// Options of the logs of services and tasks.
#[derive(Debug, Args)]
pub struct TaskLogOptions {
    #[command(flatten)]
    log: LogOptions,
    /// Lines alone, without the task in front
    #[arg(long)]
    raw: bool,
    /// Ids instead of names
    #[arg(long)]
    no_resolve: bool,
    /// Whole ids
    #[arg(long)]
    no_trunc: bool,
    /// Without the ids of tasks
    #[arg(long)]
    no_task_ids: bool,
}

impl TaskLogOptions {
    /// Prints the log of a service or of one task; `slots` is the highest slot, for the width of names.
    pub async fn print(&self, client: &Client, path: &str, slots: i64, tty: bool) -> Result<()> {
        if tty && !self.raw {
            return Err(CliError::usage("tty service logs only supported with --raw"));
        }
        let mut reader = self.log.open(client, path, !self.raw || self.log.details, None, tty).await?;
        let names = if self.no_resolve || self.raw { Names::default() } else { Names::fetch(client).await? };
        let width = slots.max(1).to_string().len();
        let mut lines = Lines { options: self, client, names, width, tasks: BTreeMap::new() };
        while let Some(record) = reader.next().await? {
            let prefixed = if tty { None } else { lines.prefixed(&record.bytes).await? };
            match prefixed {
                Some(line) => logs::write(record.output, &[&line]),
                None => logs::write(record.output, &[&record.bytes]),
            }
        }
        Ok(())
    }
}

/// What is known while lines are printed.
struct Lines<'a> {
    options: &'a TaskLogOptions,
    client: &'a Client,
    names: Names,
    /// Digits of the highest slot.
    width: usize,
    /// Tasks by id; a task that came after the log began is looked up when it first speaks.
    tasks: BTreeMap<String, Value>,
}

/// What stands in front of a line.
#[derive(Debug, PartialEq, Eq)]
struct Line<'a> {
    time: &'a str,
    details: BTreeMap<String, String>,
    message: &'a [u8],
}

impl Lines<'_> {
    /// A record as it is printed; none: as it is.
    async fn prefixed(&mut self, record: &[u8]) -> Result<Option<Vec<u8>>> {
        let options = self.options;
        if options.raw && !options.log.details {
            return Ok(None);
        }
        let line = split(record, options.log.timestamps)?;
        let mut out = Vec::with_capacity(record.len() + 64);
        if options.log.timestamps {
            out.extend_from_slice(format!("{} ", line.time).as_bytes());
        }
        let own = |key: &str| key.starts_with("com.docker.swarm.");
        let words: Vec<String> =
            line.details.iter().filter(|(key, _)| !own(key)).map(|(key, value)| format!("{key}={value}")).collect();
        if !options.raw {
            let id = line.details.get("com.docker.swarm.task.id").map_or("", String::as_str).to_owned();
            out.extend_from_slice(self.name(&id).await?.as_bytes());
            out.extend_from_slice(b"    | ");
        }
        if options.log.details && !words.is_empty() {
            out.extend_from_slice(format!("{} ", words.join(",")).as_bytes());
        }
        out.extend_from_slice(line.message);
        Ok(Some(out))
    }

    /// `web.1.abcdefghijkl@host1`.
    async fn name(&mut self, id: &str) -> Result<String> {
        if !self.tasks.contains_key(id) {
            let task = self.client.get(&format!("/tasks/{}", segment(id))).await?;
            self.tasks.insert(id.to_owned(), task);
        }
        let task = &self.tasks[id];
        let mut name = self.names.task(task);
        if !self.options.no_task_ids {
            name = format!("{name}.{}", if self.options.no_trunc { id } else { short_id(id) });
        }
        let padding = self.width.saturating_sub(slot(task).to_string().len());
        let node = self.names.node(text(task, "/NodeID"));
        Ok(format!("{name}{}@{node}", " ".repeat(padding)))
    }
}

/// Parts `[TIME ]KEY=VALUE,... MESSAGE`.
fn split(record: &[u8], timestamps: bool) -> Result<Line<'_>> {
    let bad = || CliError::usage("invalid context in log message: a line without the task it is of");
    let word = |bytes: &'_ [u8]| bytes.iter().position(|byte| *byte == b' ');
    let (mut rest, mut time) = (record, "");
    if timestamps {
        let end = word(rest).ok_or_else(bad)?;
        time = std::str::from_utf8(&rest[..end]).map_err(|_| bad())?;
        rest = &rest[end + 1..];
    }
    let end = word(rest).ok_or_else(bad)?;
    let details = std::str::from_utf8(&rest[..end]).map_err(|_| bad())?;
    let pair = |pair: &str| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let plain = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
        (plain(key), plain(value))
    };
    let details = details.split(',').filter(|pair| !pair.is_empty()).map(pair).collect();
    Ok(Line { time, details, message: &rest[end + 1..] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_parted_from_its_time_and_task() {
        let record = b"2024-05-01T10:00:00.000000000Z com.docker.swarm.task.id=t1,a=b%20c hello  world\n";
        let line = split(record, true).ok();
        let expected = Line {
            time: "2024-05-01T10:00:00.000000000Z",
            details: [("com.docker.swarm.task.id", "t1"), ("a", "b c")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            message: b"hello  world\n",
        };
        assert_eq!(line, Some(expected));
        assert!(split(b"nothing", false).is_err());
    }
}
