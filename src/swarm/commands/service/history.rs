//! `swarm service history`: the versions a service had, as `service rollback --to` takes them.

use super::{find, path};
use crate::client::Client;
use crate::commands::common::image_name;
use crate::difference::differences;
use crate::error::Result;
use crate::json::{flag, int, list, text};
use crate::table::{Output, Table};
use crate::units::{ago, ellipsis};
use clap::Args;
use serde_json::{Value, json};
use time::OffsetDateTime;

/// Characters of the changes in a table.
const CHANGES_WIDTH: usize = 60;

const VERSIONS: Table = Table {
    headers: &[("Version", "VERSION"), ("Written", "WRITTEN"), ("Image", "IMAGE"), ("Changes", "CHANGES")],
    template: "{{.Version}}\t{{.Written}}\t{{.Image}}\t{{.Changes}}",
    quiet: "Revision",
    ..Table::OURS
};

#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// Form of the output: table, "table TEMPLATE", json, or a Go template
    #[arg(long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Only the versions
    #[arg(short, long)]
    quiet: bool,
    /// All changes, and whole images
    #[arg(long)]
    no_trunc: bool,
    #[arg(value_name = "SERVICE")]
    service: String,
}

pub async fn run(client: &Client, args: HistoryArgs) -> Result<()> {
    let service = find(client, &args.service).await?;
    let versions = client.list(&format!("{}/history", path(text(&service, "/ID"))), &[]).await?;
    let rows = rows(&versions, args.no_trunc, OffsetDateTime::now_utc());
    VERSIONS.print(&rows, &Output { quiet: args.quiet, format: args.format.as_deref() })
}

/// Newest first, each told by what it changed of the one below it.
fn rows(versions: &[Value], whole: bool, now: OffsetDateTime) -> Vec<Value> {
    let before = versions.iter().skip(1).map(Some).chain([None]);
    let row = |(version, before): (&Value, Option<&Value>)| {
        let changes = before.map(|before| {
            let mut changes = differences(&before["Spec"], &version["Spec"]);
            changes.extend(content_changes(before, version));
            changes.join(", ")
        });
        let changes = changes.unwrap_or_default();
        let (revision, image) = (int(version, "/Revision"), text(version, "/Spec/TaskTemplate/ContainerSpec/Image"));
        let mark = if flag(version, "/Current") { " *" } else { "" };
        json!({
            "Revision": revision,
            "Version": format!("{revision}{mark}"),
            "Current": flag(version, "/Current"),
            "Written": ago(text(version, "/WrittenAt"), now),
            "Image": if whole { image } else { image_name(image) },
            "Changes": if whole { changes } else { ellipsis(&changes, CHANGES_WIDTH) },
        })
    };
    versions.iter().zip(before).map(row).collect()
}

/// Secrets and configs whose content is another one: `secret key: content 1 -> 2`.
fn content_changes(before: &Value, version: &Value) -> Vec<String> {
    let mut changes = Vec::new();
    for content in list(version, "/Contents") {
        for (field, kind) in [("/Secret", "secret"), ("/Config", "config")] {
            let name = text(content, field);
            let mut old = list(before, "/Contents").iter().filter(|old| !name.is_empty() && text(old, field) == name);
            if let Some(old) = old.next().filter(|old| int(old, "/Version") != int(content, "/Version")) {
                let (old, new) = (int(old, "/Version"), int(content, "/Version"));
                changes.push(format!("{kind} {name}: content {old} -> {new}"));
            }
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_tells_which_contents_changed() {
        let version =
            |key: u64| json!({"Contents": [{"Secret": "key", "Version": key}, {"Config": "key", "Version": 1}]});
        assert_eq!(content_changes(&version(1), &version(3)), ["secret key: content 1 -> 3"]);
        assert!(content_changes(&version(1), &json!({})).is_empty());
    }

    #[test]
    fn versions_stand_newest_first_with_what_they_changed() {
        let version = |revision: u64, at: &str, image: &str, replicas: u64| {
            json!({"Revision": revision, "WrittenAt": at, "Current": revision == 7, "Spec": {
                "Mode": {"Replicated": {"Replicas": replicas}}, "TaskTemplate": {"ContainerSpec": {"Image": image}}}})
        };
        let versions = [
            version(7, "2024-05-01T10:00:00Z", "web:2", 3),
            version(5, "2024-05-01T09:00:00Z", "web:2", 2),
            version(4, "2024-05-01T08:00:00Z", "web:1", 2),
        ];
        let now = crate::units::parse_time("2024-05-01T10:02:00Z").unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let table = VERSIONS.render(&rows(&versions, false, now), &Output::default()).unwrap_or_default();
        let expected = "\
VERSION   WRITTEN         IMAGE     CHANGES
7 *       2 minutes ago   web:2     replicas 2 -> 3
5         About an hour ago   web:2     image web:1 -> web:2
4         2 hours ago     web:1     \n";
        let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(squeezed(&table), squeezed(expected));
    }
}
