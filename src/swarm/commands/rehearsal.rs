//! What a dry run tells: objects that would be made, changed and removed, and what would become of tasks.

use crate::difference::differences;
use crate::error::{CliError, Result};
use crate::json::{flag, int, list, text};
use crate::table::{Output, Table, write_out};
use crate::units::go_duration;
use clap::Args;
use serde_json::{Value, json};

/// The parameter that asks for a dry run.
pub const DRY_RUN: (&str, Option<&str>) = ("dryRun", Some("1"));

/// Exit code when there is something to do, where it was asked for.
const EXIT_CHANGES: u8 = 2;

const ACTIONS: Table = Table {
    headers: &[("Step", "STEP"), ("After", "AFTER"), ("Task", "TASK"), ("Action", "ACTION"), ("Node", "NODE")],
    template: "{{.Step}}\t{{.After}}\t{{.Task}}\t{{.Action}}\t{{.Node}}",
    quiet: "Task",
    ..Table::OURS
};

/// How the end of a dry run is told.
#[derive(Clone, Copy, Debug, Args)]
pub struct EndOptions {
    /// With a dry run: exit with code 2 when there is something to do, 0 when there is not
    #[arg(long)]
    detailed_exitcode: bool,
}

#[derive(Clone, Copy, Debug, Args)]
pub struct DryRunOptions {
    /// Print what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    end: EndOptions,
}

impl DryRunOptions {
    /// Prints the answer of a dry run.
    pub fn print(self, told: &Value) -> Result<()> {
        self.end.print(told)
    }
}

impl EndOptions {
    pub fn print(self, told: &Value) -> Result<()> {
        write_out(&page(told)?);
        if self.detailed_exitcode && has_changes(told) { Err(CliError::Exit(EXIT_CHANGES)) } else { Ok(()) }
    }
}

/// Waiting tasks alone change nothing.
fn has_changes(told: &Value) -> bool {
    let acts = |action: &&Value| text(action, "/Action") != "wait";
    list(told, "/Objects").iter().any(differs) || list(told, "/Tasks").iter().any(|action| acts(&action))
}

/// An object that is written as it is, is not changed.
fn differs(object: &Value) -> bool {
    text(object, "/Action") != "update" || flag(object, "/ContentChanged") || object["Before"] != object["After"]
}

fn page(told: &Value) -> Result<String> {
    let mut out = String::new();
    for object in list(told, "/Objects").iter().filter(|object| differs(object)) {
        out += &line(object);
    }
    let rows: Vec<Value> = list(told, "/Tasks").iter().map(row).collect();
    if !rows.is_empty() {
        out += &ACTIONS.render(&rows, &Output::default())?;
    }
    if !flag(told, "/Whole") {
        out += "and so on: more steps follow in the same way\n";
    }
    if out.is_empty() {
        return Ok("nothing would change\n".to_owned());
    }
    for service in list(told, "/Services") {
        let (name, message) = (text(service, "/Name"), text(service, "/Message"));
        let state = if flag(service, "/Job") { "completed" } else { "up" };
        let (up, wanted) = (int(service, "/Up"), int(service, "/Wanted"));
        let counts = format!("{name}: {up} of {wanted} tasks {state} in the end");
        out += &match message {
            "removed" => format!("{name}: removed in the end\n"),
            "" => format!("{counts}\n"),
            message => format!("{counts}; {message}\n"),
        };
    }
    Ok(out)
}

fn line(object: &Value) -> String {
    let (kind, name) = (text(object, "/Kind"), text(object, "/Name"));
    match text(object, "/Action") {
        "create" => format!("+ {kind} {name}\n"),
        "remove" => format!("- {kind} {name}\n"),
        _ => {
            let mut words = differences(&object["Before"], &object["After"]);
            if flag(object, "/ContentChanged") {
                words.push("content".to_owned());
            }
            let words: String = words.iter().map(|word| format!("    {word}\n")).collect();
            format!("~ {kind} {name}\n{words}")
        }
    }
}

fn row(action: &Value) -> Value {
    let slot = int(action, "/Slot");
    let place = if slot > 0 { slot.to_string() } else { text(action, "/PlaceHostname").to_owned() };
    let (from, to) = (text(action, "/FromHostname"), text(action, "/ToHostname"));
    let (words, node) = match text(action, "/Action") {
        "start" => ("start", to.to_owned()),
        "stop" => ("stop", from.to_owned()),
        "move" => ("move", format!("{from} -> {to}")),
        "wait" => ("wait", text(action, "/Reason").to_owned()),
        _ if text(action, "/Order") == "start-first" => ("replace, start first", between(from, to)),
        _ => ("replace", between(from, to)),
    };
    let waits = words == "wait";
    json!({
        "Step": if waits { "-".to_owned() } else { int(action, "/Step").to_string() },
        "After": if waits { "-".to_owned() } else { go_duration(int(action, "/After")) },
        "Task": format!("{}.{place}", text(action, "/Service")),
        "Action": words,
        "Node": node,
    })
}

fn between(from: &str, to: &str) -> String {
    if from == to { to.to_owned() } else { format!("{from} -> {to}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dry_run_tells_objects_tasks_and_the_end() {
        let spec = |image: &str| json!({"TaskTemplate": {"ContainerSpec": {"Image": image}}});
        let told = json!({"Whole": true,
            "Objects": [
                {"Action": "create", "Kind": "network", "Name": "shop_back"},
                {"Action": "update", "Kind": "service", "Name": "web", "Before": spec("web:1"), "After": spec("web:2")},
                {"Action": "update", "Kind": "config", "Name": "same", "Before": {"Name": "same"}, "After": {"Name": "same"}},
            ],
            "Tasks": [
                {"Step": 1, "After": 0, "Service": "web", "Slot": 1, "Action": "replace", "Order": "stop-first",
                    "FromHostname": "host1", "ToHostname": "host2"},
                {"Step": 2, "After": 10_000_000_000i64, "Service": "web", "Slot": 2, "Action": "start", "ToHostname": "host1"},
                {"Step": 3, "After": 0, "Service": "web", "Slot": 3, "Action": "wait", "Reason": "no suitable node"},
            ],
            "Services": [
                {"Name": "load", "Up": 5, "Wanted": 5, "Message": "", "Job": true},
                {"Name": "web", "Up": 2, "Wanted": 3, "Message": "update completed"},
            ],
        });
        let expected = "\
+ network shop_back
~ service web
    image web:1 -> web:2
STEP AFTER TASK ACTION NODE
1 0s web.1 replace host1 -> host2
2 10s web.2 start host1
- - web.3 wait no suitable node
load: 5 of 5 tasks completed in the end
web: 2 of 3 tasks up in the end; update completed
";
        let page = page(&told).unwrap_or_default();
        let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(squeezed(&page), squeezed(expected));
        assert!(has_changes(&told));
    }

    #[test]
    fn what_is_written_as_it_is_changes_nothing() {
        let object =
            json!({"Action": "update", "Kind": "service", "Name": "web", "Before": {"a": 1}, "After": {"a": 1}});
        let told = json!({"Whole": true, "Objects": [object], "Tasks": [], "Services": [{"Name": "web"}]});
        assert_eq!(page(&told).ok().as_deref(), Some("nothing would change\n"));
        assert!(!has_changes(&told));
    }
}
