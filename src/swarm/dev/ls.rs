//! `swarm dev ls`: the hosts as a table, or as one JSON object a line.

use serde_json::json;

use super::Format;
use super::process::Process;
use super::state::{Host, State};

/// What a host is doing, as one word.
fn state(host: &Host) -> &'static str {
    match (host.daemon.is_some_and(Process::is_alive), host.cut) {
        (true, false) => "running",
        (true, true) => "partitioned",
        (false, _) => "down",
    }
}

/// The fields of one host, in the order they are shown.
fn fields(host: &Host) -> [(&'static str, String); 6] {
    [
        ("Index", host.index.to_string()),
        ("Namespace", host.namespace.clone()),
        ("Address", host.address.to_string()),
        ("Socket", host.socket.display().to_string()),
        ("Data", host.data_dir.display().to_string()),
        ("State", state(host).to_owned()),
    ]
}

/// The list as text, with a newline after each line.
pub(super) fn render(cluster: &State, format: Format) -> String {
    match format {
        Format::Json => cluster
            .hosts
            .iter()
            .map(|h| {
                let object = json!({
                    "Index": h.index,
                    "Namespace": h.namespace,
                    "Address": h.address,
                    "Socket": h.socket,
                    "Data": h.data_dir,
                    "State": state(h),
                });
                format!("{object}\n")
            })
            .collect(),
        Format::Table => {
            let rows: Vec<_> = cluster.hosts.iter().map(fields).collect();
            let Some(first) = rows.first() else { return String::new() };
            let head = first.each_ref().map(|(name, _)| name.to_uppercase());
            let lines: Vec<[String; 6]> =
                std::iter::once(head).chain(rows.iter().map(|r| r.each_ref().map(|(_, v)| v.clone()))).collect();
            let width = |column: usize| lines.iter().filter_map(|l| l.get(column)).map(String::len).max().unwrap_or(0);
            let widths: Vec<usize> = (0..6).map(width).collect();
            let line = |l: &[String; 6]| {
                let cells: Vec<String> = l.iter().zip(&widths).map(|(v, w)| format!("{v:w$}")).collect();
                format!("{}\n", cells.join("   ").trim_end())
            };
            lines.iter().map(line).collect()
        }
    }
}

pub(super) fn print(cluster: &State, format: Format) {
    print!("{}", render(cluster, format));
}
