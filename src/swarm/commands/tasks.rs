//! Tasks as a table: for `service ps`, `stack ps`, `node ps`.

use crate::client::Client;
use crate::commands::common::{capitalized, image_name, natural};
use crate::commands::node;
use crate::config_file;
use crate::error::Result;
use crate::json::{int, list, object, text};
use crate::table::{Output, Table};
use crate::units::{self, ellipsis, short_id};
use clap::Args;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use time::OffsetDateTime;

/// Characters of an error in a table.
const ERROR_WIDTH: usize = 30;
/// Errors that are told in full below the table; more would bury it.
const WHOLE_ERRORS_MAX: usize = 10;
/// Tasks named with an error that several have.
const NAMES_MAX: usize = 3;

const TASKS: Table = Table {
    headers: &[
        ("ID", "ID"),
        ("Name", "NAME"),
        ("Image", "IMAGE"),
        ("Node", "NODE"),
        ("DesiredState", "DESIRED STATE"),
        ("CurrentState", "CURRENT STATE"),
        ("Error", "ERROR"),
        ("Ports", "PORTS"),
    ],
    template: "{{.ID}}\t{{.Name}}\t{{.Image}}\t{{.Node}}\t{{.DesiredState}}\t{{.CurrentState}}\t{{.Error}}\t{{.Ports}}",
    quiet: "ID",
    row: "*task.taskContext",
    raw: "id: {{.ID}}\nname: {{.Name}}\nimage: {{.Image}}\nnode: {{.Node}}\ndesired_state: {{.DesiredState}}\ncurrent_state: {{.CurrentState}}\nerror: {{.Error}}\nports: {{.Ports}}\n",
    configured: "tasksFormat",
};

/// Options of lists of tasks.
#[derive(Debug, Args)]
pub struct TaskListArgs {
    /// Only what matches, KEY=VALUE (may be repeated)
    #[arg(short = 'f', long = "filter", value_name = "FILTER")]
    pub filters: Vec<String>,
    /// Form of the output: table, "table TEMPLATE", json, or a Go template
    #[arg(long, value_name = "TEMPLATE")]
    pub format: Option<String>,
    /// Only the ids
    #[arg(short, long)]
    pub quiet: bool,
    /// Whole ids, images and errors
    #[arg(long)]
    pub no_trunc: bool,
    /// Ids instead of names
    #[arg(long)]
    pub no_resolve: bool,
}

/// Names of services and nodes, by id.
#[derive(Debug, Default)]
pub struct Names {
    pub services: BTreeMap<String, String>,
    pub nodes: BTreeMap<String, String>,
    /// Whether names are wanted where there are some.
    resolves: bool,
}

impl Names {
    pub async fn fetch(client: &Client) -> Result<Self> {
        let services = client.list("/services", &[]).await?;
        let pair = |service: &Value| (text(service, "/ID").to_owned(), text(service, "/Spec/Name").to_owned());
        Ok(Self { services: services.iter().map(pair).collect(), nodes: node::names(client).await?, resolves: true })
    }

    pub fn node<'a>(&'a self, id: &'a str) -> &'a str {
        self.nodes.get(id).map_or(id, String::as_str)
    }

    /// `web.3`, or `web.NODE` for a task of a global service.
    pub fn task(&self, task: &Value) -> String {
        let service = text(task, "/ServiceID");
        // Of a service that is gone the task remembers the name.
        if self.resolves
            && !self.services.contains_key(service)
            && let Some(own) = own_name(task)
        {
            return own.to_owned();
        }
        let service = self.services.get(service).map_or(service, String::as_str);
        match slot(task) {
            0 => format!("{service}.{}", text(task, "/NodeID")),
            slot => format!("{service}.{slot}"),
        }
    }
}

/// Its slot from 1; 0 for a task of a global service. In the API a replicated job's are numbered from 0, so that only
/// the task's name tells them from a global job's.
pub fn slot(task: &Value) -> i64 {
    if object(task, "/JobIteration").is_none() {
        return int(task, "/Slot");
    }
    own_name(task).and_then(|name| name.rsplit_once('.')?.1.parse().ok()).unwrap_or(0)
}

/// The task's name without its id: `web.3`.
fn own_name(task: &Value) -> Option<&str> {
    text(task, "/Name").strip_suffix(text(task, "/ID"))?.strip_suffix('.')
}

/// Prints tasks, those of one slot together, the newest first.
pub async fn print(client: &Client, tasks: Vec<Value>, args: &TaskListArgs) -> Result<()> {
    let names = if args.no_resolve { Names::default() } else { Names::fetch(client).await? };
    let form = Form { whole: args.no_trunc, is_table: is_table(args.format.as_deref()) };
    let rows = rows(&tasks, &names, form, OffsetDateTime::now_utc());
    TASKS.print(&rows, &Output { quiet: args.quiet, format: args.format.as_deref() })?;
    if !args.no_trunc && !args.quiet && args.format.is_none() {
        whole_errors(&sorted(&tasks, &names)).iter().for_each(|line| eprintln!("{line}"));
    }
    Ok(())
}

/// Only a table marks the tasks of one slot: elsewhere the name is to be the name.
fn is_table(format: Option<&str>) -> bool {
    let given = format.filter(|format| !format.is_empty()).map(str::to_owned);
    given.or_else(|| config_file::format(TASKS.configured)).is_none_or(|format| format.starts_with("table"))
}

/// How rows are made.
#[derive(Clone, Copy, Debug)]
struct Form {
    whole: bool,
    is_table: bool,
}

/// What the table cuts off of the newest task of each slot: what a slot waits for is of use only as a whole.
fn whole_errors(sorted: &[(String, &Value)]) -> Vec<String> {
    let mut told: Vec<(&str, Vec<&str>)> = Vec::new();
    let mut previous = "";
    for (name, task) in sorted {
        let (is_newest, error) = (name != previous, obstacle(task));
        previous = name;
        if !is_newest || ellipsis(error, ERROR_WIDTH) == error {
            continue;
        }
        match told.iter_mut().find(|(known, _)| *known == error) {
            Some((_, names)) => names.push(name),
            None => told.push((error, vec![name])),
        }
    }
    let line = |(error, names): &(&str, Vec<&str>)| {
        let named = names.iter().take(NAMES_MAX).copied().collect::<Vec<_>>().join(", ");
        let more = names.len().saturating_sub(NAMES_MAX);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{named}{more}: {error}")
    };
    let mut lines: Vec<String> = told.iter().take(WHOLE_ERRORS_MAX).map(line).collect();
    if told.len() > WHOLE_ERRORS_MAX {
        lines.push(format!("{} more errors: --no-trunc shows them", told.len() - WHOLE_ERRORS_MAX));
    }
    lines
}

/// Tasks with their names, those of one slot together, the newest first.
fn sorted<'a>(tasks: &'a [Value], names: &Names) -> Vec<(String, &'a Value)> {
    let mut named: Vec<(String, &Value)> = tasks.iter().map(|task| (names.task(task), task)).collect();
    named.sort_by(|(a, x), (b, y)| natural(a, b).then_with(|| text(y, "/CreatedAt").cmp(text(x, "/CreatedAt"))));
    named
}

fn rows(tasks: &[Value], names: &Names, form: Form, now: OffsetDateTime) -> Vec<Value> {
    let mut previous = String::new();
    let mut rows = Vec::with_capacity(tasks.len());
    for (name, task) in sorted(tasks, names) {
        let shown = if form.is_table && name == previous { format!(" \\_ {name}") } else { name.clone() };
        rows.push(row(task, &shown, names, form.whole, now));
        previous = name;
    }
    rows
}

fn row(task: &Value, name: &str, names: &Names, whole: bool, now: OffsetDateTime) -> Value {
    let (id, image) = (text(task, "/ID"), text(task, "/Spec/ContainerSpec/Image"));
    let error = match obstacle(task) {
        "" => String::new(),
        error if whole => format!("\"{error}\""),
        error => format!("\"{}\"", ellipsis(error, ERROR_WIDTH)),
    };
    let since = units::ago(text(task, "/Status/Timestamp"), now).to_lowercase();
    json!({
        "ID": if whole { id } else { short_id(id) },
        "Name": name,
        "Image": if whole { image } else { image_name(image) },
        "Node": names.node(text(task, "/NodeID")),
        "DesiredState": capitalized(text(task, "/DesiredState")),
        "CurrentState": format!("{} {since}", capitalized(text(task, "/Status/State"))).trim_end(),
        "Error": error,
        "Ports": ports(task),
    })
}

/// What went wrong or what it waits for; of a task that is being made, how far that is.
fn obstacle(task: &Value) -> &str {
    let (state, message) = (text(task, "/Status/State"), text(task, "/Status/Message"));
    match text(task, "/Status/Err") {
        "" if matches!(state, "preparing" | "starting") && message != state => message,
        error => error,
    }
}

/// Ports of the task alone, on its node.
fn ports(task: &Value) -> String {
    let port = |port: &Value| {
        let (published, target) = (int(port, "/PublishedPort"), int(port, "/TargetPort"));
        let host = match text(port, "/HostIP") {
            "" => "*",
            host => host,
        };
        format!("{host}:{published}->{target}/{}", text(port, "/Protocol"))
    };
    list(task, "/Status/PortStatus/Ports").iter().map(port).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn task(id: &str, slot: i64, created: &str, state: &str, error: &str) -> Value {
        json!({
            "ID": format!("{id}23456789012345678901234"), "ServiceID": "s1", "NodeID": "n1", "Slot": slot,
            "CreatedAt": created, "DesiredState": if state == "running" { "running" } else { "shutdown" },
            "Spec": {"ContainerSpec": {"Image": "web:2@sha256:00"}},
            "Status": {"State": state, "Timestamp": "2024-05-01T10:00:00.5Z", "Err": error},
        })
    }

    #[test]
    fn a_job_s_slots_are_counted_from_one_like_those_of_a_service() {
        let job = |name: &str| json!({"ID": "x", "Name": name, "JobIteration": {"Index": 0}});
        assert_eq!(slot(&job("work.1.x")), 1);
        assert_eq!(slot(&job("work.n1.x")), 0, "a global job has none");
        assert_eq!(slot(&json!({"Slot": 3})), 3);
    }

    #[test]
    fn an_error_that_is_cut_is_told_in_full_once_and_not_of_what_is_over() {
        let names = Names { services: [("s1".to_owned(), "web".to_owned())].into(), ..Names::default() };
        let full = "no node fits: 3 lack memory (want 2 GiB, free 0.4, 0.9, 1.1)";
        let waits = |slot, error: &str| task("a", slot, "2024-05-01T09:00:00Z", "pending", error);
        let mut tasks: Vec<Value> = (1..=5).map(|slot| waits(slot, full)).collect();
        tasks.push(waits(6, "short"));
        tasks.push(waits(7, "waits for web.1.0123456789 to stop, 5 s at the most"));
        tasks.push(task("b", 1, "2024-05-01T08:00:00Z", "failed", "an error of long ago that nobody waits for"));
        let lines = whole_errors(&sorted(&tasks, &names));
        assert_eq!(
            lines,
            [
                format!("web.1, web.2, web.3 and 2 more: {full}"),
                "web.7: waits for web.1.0123456789 to stop, 5 s at the most".to_owned()
            ]
        );
        let many: Vec<Value> =
            (1..=12).map(|slot| waits(slot, &format!("the image of task {slot} is nowhere to be found"))).collect();
        let lines = whole_errors(&sorted(&many, &names));
        assert_eq!(lines.last().map(String::as_str), Some("2 more errors: --no-trunc shows them"));
    }

    #[test]
    fn a_task_of_a_service_that_is_gone_keeps_its_name() {
        let task = json!({"ID": "x", "Name": "web.3.x", "ServiceID": "s9", "Slot": 3});
        let names = Names { resolves: true, ..Names::default() };
        assert_eq!(names.task(&task), "web.3");
        assert_eq!(Names::default().task(&task), "s9.3", "when ids are asked for");
    }

    #[test]
    fn tasks_of_a_slot_stand_under_the_newest_one() {
        let names = Names {
            services: [("s1".to_owned(), "shop_web".to_owned())].into(),
            nodes: [("n1".to_owned(), "host1".to_owned())].into(),
            ..Names::default()
        };
        let now = OffsetDateTime::UNIX_EPOCH + Duration::from_secs(1_714_557_600 + 125);
        let tasks = vec![
            task("c", 10, "2024-05-01T09:00:00Z", "running", ""),
            task("a", 2, "2024-05-01T08:00:00Z", "failed", "task: non-zero exit (137): out of memory"),
            task("b", 2, "2024-05-01T09:30:00Z", "running", ""),
        ];
        let rows = rows(&tasks, &names, Form { whole: false, is_table: true }, now);
        let table = TASKS.render(&rows, &Output::default()).unwrap_or_default();
        let expected = "\
ID             NAME             IMAGE     NODE      DESIRED STATE   CURRENT STATE           ERROR                              PORTS
b23456789012   shop_web.2       web:2     host1     Running         Running 2 minutes ago                                      \n\
a23456789012    \\_ shop_web.2   web:2     host1     Shutdown        Failed 2 minutes ago    \"task: non-zero exit (137): ou…\"   \n\
c23456789012   shop_web.10      web:2     host1     Running         Running 2 minutes ago                                      \n";
        assert_eq!(table, expected);
    }
}
