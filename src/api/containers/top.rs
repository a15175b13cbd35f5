//! `GET /containers/{id}/top`: the processes of a container in the columns of ps(1).

use super::find_active;
use crate::call::{Call, Outcome, ok};
use crate::error::ApiError;
use crate::ports::ProcessRecord;
use serde_json::json;
use time::OffsetDateTime;

/// What columns are counted against.
struct Host {
    now_ms: i64,
    memory_bytes: i64,
}

/// A column: its title, and how a process fills it.
struct Column {
    title: &'static str,
    cell: fn(&ProcessRecord, &Host) -> String,
}

/// Of `ps -ef` and of `ps aux`.
const FULL: &str = "uid,pid,ppid,c,stime,tty,time,cmd";
const USER: &str = "user,pid,%cpu,%mem,vsz,rss,tty,stat,start,bsdtime,args";

pub async fn top(call: Call, id: &str) -> Outcome {
    let args = call.query.text("ps_args").to_owned();
    let columns = columns(&args)?;
    let container = find_active(&call, id).await?;
    let processes = call.ports.local.processes(&container.id).await?;
    let host = Host { now_ms: call.ports.cluster.now().0, memory_bytes: call.ports.local.info().await?.memory_bytes };
    let row = |process: &ProcessRecord| columns.iter().map(|column| (column.cell)(process, &host)).collect::<Vec<_>>();
    call.ports.local.tell(&container.id, "top", &[]);
    ok(json!({
        "Titles": columns.iter().map(|column| column.title).collect::<Vec<_>>(),
        "Processes": processes.iter().map(row).collect::<Vec<_>>(),
    }))
}

/// Reads arguments of ps(1): those that choose columns. Those that choose processes are for naught, as the container
/// chooses them.
fn columns(args: &str) -> Result<Vec<Column>, ApiError> {
    let refused = |arg: &str| {
        ApiError::bad(format!("ps_args: {arg:?} is not supported: use -ef, aux, or -o with a list of columns"))
    };
    let mut chosen: Vec<String> = Vec::new();
    let mut format = FULL;
    let mut words = args.split_whitespace();
    while let Some(word) = words.next() {
        match word {
            "-ef" | "-fe" | "-efw" | "-efww" | "-f" | "-e" | "-A" | "ax" | "-ax" | "a" | "x" | "w" | "ww" => {}
            "aux" | "-aux" | "auxw" | "auxww" | "u" | "axu" | "uax" => format = USER,
            "-o" | "o" | "-eo" | "-Ao" | "axo" | "-axo" | "--format" => {
                chosen.push(words.next().ok_or_else(|| refused(word))?.to_owned());
            }
            _ => match word.strip_prefix("-o").or_else(|| word.strip_prefix("--format=")) {
                Some(list) => chosen.push(list.trim_start_matches('=').to_owned()),
                None => return Err(refused(word)),
            },
        }
    }
    let list = if chosen.is_empty() { format.to_owned() } else { chosen.join(",") };
    let named: Result<Vec<Column>, ApiError> = list
        .split(',')
        .map(|name| column(name).ok_or_else(|| ApiError::bad(format!("ps_args: there is no column {name:?}"))))
        .collect();
    let named = named?;
    if !named.iter().any(|column| column.title == "PID") {
        return Err(ApiError::bad("Couldn't find PID field in ps output"));
    }
    Ok(named)
}

fn column(name: &str) -> Option<Column> {
    fn column(title: &'static str, cell: fn(&ProcessRecord, &Host) -> String) -> Option<Column> {
        Some(Column { title, cell })
    }
    match name {
        "pid" => column("PID", |p, _| p.pid.to_string()),
        "ppid" => column("PPID", |p, _| p.parent.to_string()),
        "pgid" | "pgrp" => column("PGID", |p, _| p.group.to_string()),
        "sid" | "sess" => column("SID", |p, _| p.session.to_string()),
        "uid" => column("UID", |p, _| p.user.clone()),
        "user" | "euser" | "uname" => column("USER", |p, _| p.user.clone()),
        "euid" => column("EUID", |p, _| p.uid.to_string()),
        "c" => column("C", |p, host| percent_of_cpu(p, host).floor().to_string()),
        "%cpu" | "pcpu" => column("%CPU", |p, host| format!("{:.1}", percent_of_cpu(p, host))),
        "%mem" | "pmem" => column("%MEM", |p, host| format!("{:.1}", percent_of_memory(p, host))),
        "vsz" | "vsize" => column("VSZ", |p, _| (p.virtual_bytes / 1024).to_string()),
        "rss" | "rssize" => column("RSS", |p, _| (p.resident_bytes / 1024).to_string()),
        "tty" | "tt" | "tname" => column("TTY", |p, _| p.terminal.clone()),
        "s" | "state" => column("S", |p, _| p.state.clone()),
        "stat" => column("STAT", |p, _| stat(p)),
        "stime" => column("STIME", start),
        "start" | "start_time" | "bsdstart" => column("START", start),
        "time" | "cputime" => column("TIME", |p, _| clock(p.cpu_ms / 1000)),
        "bsdtime" => column("TIME", |p, _| format!("{}:{:02}", p.cpu_ms / 60_000, p.cpu_ms / 1000 % 60)),
        "etime" => column("ELAPSED", |p, host| clock((host.now_ms - p.started_ms).max(0) / 1000)),
        "pri" | "priority" => column("PRI", |p, _| p.priority.to_string()),
        "ni" | "nice" => column("NI", |p, _| p.nice.to_string()),
        "nlwp" | "thcount" => column("NLWP", |p, _| p.threads.to_string()),
        "comm" | "ucmd" | "ucomm" => column("COMMAND", |p, _| p.name.clone()),
        "cmd" => column("CMD", |p, _| command(p)),
        "args" | "command" => column("COMMAND", |p, _| command(p)),
        _ => None,
    }
}

fn percent_of_cpu(process: &ProcessRecord, host: &Host) -> f64 {
    let lived_ms = (host.now_ms - process.started_ms).max(1);
    process.cpu_ms as f64 * 100.0 / lived_ms as f64
}

fn percent_of_memory(process: &ProcessRecord, host: &Host) -> f64 {
    process.resident_bytes as f64 * 100.0 / host.memory_bytes.max(1) as f64
}

/// ps(1), "PROCESS STATE CODES".
fn stat(process: &ProcessRecord) -> String {
    let mut out = process.state.clone();
    match process.nice {
        ..0 => out.push('<'),
        0 => {}
        1.. => out.push('N'),
    }
    if process.session == process.pid {
        out.push('s');
    }
    if process.threads > 1 {
        out.push('l');
    }
    out
}

/// Hours and minutes in the first day, the day after that, the year after a year; in UTC.
fn start(process: &ProcessRecord, host: &Host) -> String {
    const DAY_MS: i64 = 86_400_000;
    let Ok(at) = OffsetDateTime::from_unix_timestamp(process.started_ms / 1000) else { return "?".to_owned() };
    match host.now_ms - process.started_ms {
        ..DAY_MS => format!("{:02}:{:02}", at.hour(), at.minute()),
        age if age < 365 * DAY_MS => format!("{}{:02}", &at.month().to_string()[..3], at.day()),
        _ => at.year().to_string(),
    }
}

fn clock(seconds: i64) -> String {
    let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
    let rest = format!("{hours:02}:{:02}:{:02}", seconds / 60 % 60, seconds % 60);
    if days > 0 { format!("{days}-{rest}") } else { rest }
}

/// A process without arguments, such as a zombie, in brackets.
fn command(process: &ProcessRecord) -> String {
    match process.arguments.as_slice() {
        [] => format!("[{}]", process.name),
        arguments => arguments.join(" "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn titles(args: &str) -> Vec<&'static str> {
        columns(args).map(|all| all.iter().map(|column| column.title).collect()).unwrap_or_default()
    }

    #[test]
    fn arguments_of_ps_choose_columns() {
        let full = ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"];
        assert_eq!((titles(""), titles("-ef")), (full.to_vec(), full.to_vec()));
        assert_eq!(titles("aux")[..4], ["USER", "PID", "%CPU", "%MEM"]);
        assert_eq!(titles("-o pid,comm -o rss"), ["PID", "COMMAND", "RSS"]);
        assert_eq!(titles("-opid"), ["PID"]);
        let refused = |args: &str| columns(args).err().map(|error| error.message).unwrap_or_default();
        assert!(refused("--forest").contains("\"--forest\" is not supported"));
        assert!(refused("-o pid,wchan").contains("no column \"wchan\""));
        assert_eq!(refused("-o comm"), "Couldn't find PID field in ps output");
    }

    #[test]
    fn cells_are_written_as_ps_does() {
        let process = ProcessRecord {
            pid: 7,
            session: 7,
            state: "S".into(),
            threads: 2,
            nice: 1,
            name: "web".into(),
            cpu_ms: 3_661_000,
            started_ms: 1_700_000_000_000,
            resident_bytes: 512 << 20,
            ..ProcessRecord::default()
        };
        let cell = |name: &str, later_ms: i64| {
            let host = Host { now_ms: process.started_ms + later_ms, memory_bytes: 1 << 30 };
            column(name).map(|column| (column.cell)(&process, &host)).unwrap_or_default()
        };
        assert_eq!(cell("stime", 1000), "22:13");
        assert_eq!(cell("stime", 2 * 86_400_000), "Nov14");
        assert_eq!(cell("start", 400 * 86_400_000), "2023");
        assert_eq!((cell("time", 0), cell("bsdtime", 0)), ("01:01:01".to_owned(), "61:01".to_owned()));
        assert_eq!(cell("etime", 90_000_000), "1-01:00:00");
        assert_eq!((cell("stat", 0), cell("cmd", 0)), ("SNsl".to_owned(), "[web]".to_owned()));
        assert_eq!((cell("%mem", 0), cell("%cpu", 7_322_000)), ("50.0".to_owned(), "50.0".to_owned()));
    }
}
