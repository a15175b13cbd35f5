//! `swarm stack ls`, `ps`, `services`, `rm`.

use super::{LABEL_NAMESPACE, of_stack};
use crate::client::{Client, segment};
use crate::commands::common::{ListArgs, natural, tell};
use crate::commands::service::list as service_list;
use crate::commands::tasks::{self, TaskListArgs};
use crate::error::{CliError, Result};
use crate::filter;
use crate::json::{object, text};
use crate::table::{Output, Table, write_out};
use clap::Args;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// Time between two looks at the tasks of a stack that is removed.
const LOOK_PERIOD: Duration = Duration::from_millis(200);

const STACKS: Table = Table {
    headers: &[("Name", "NAME"), ("Services", "SERVICES")],
    template: "{{.Name}}\t{{.Services}}",
    quiet: "Name",
    row: "*formatter.stackContext",
    ..Table::OURS
};

#[derive(Debug, Args)]
pub struct LsArgs {
    /// Form of the output: table, "table TEMPLATE", json, or a Go template
    #[arg(long, value_name = "TEMPLATE")]
    format: Option<String>,
}

#[derive(Debug, Args)]
pub struct PsArgs {
    #[command(flatten)]
    list: TaskListArgs,
    #[arg(value_name = "STACK")]
    stack: String,
}

#[derive(Debug, Args)]
pub struct ServicesArgs {
    #[command(flatten)]
    list: ListArgs,
    #[arg(value_name = "STACK")]
    stack: String,
}

#[derive(Debug, Args)]
pub struct RemoveArgs {
    /// Do not wait until the tasks have ended
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = true,
        action = clap::ArgAction::Set)]
    detach: bool,
    #[arg(required = true, value_name = "STACK")]
    stacks: Vec<String>,
}

pub async fn ls(client: &Client, args: LsArgs) -> Result<()> {
    let filters = filter::with(&[], &[("label", LABEL_NAMESPACE)])?;
    let services = client.list("/services", &[("filters", filters.as_deref())]).await?;
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for service in &services {
        let labels = object(service, "/Spec/Labels");
        if let Some(name) = labels.and_then(|labels| labels.get(LABEL_NAMESPACE)).and_then(Value::as_str) {
            *counts.entry(name.to_owned()).or_default() += 1;
        }
    }
    let mut counts: Vec<(String, usize)> = counts.into_iter().collect();
    counts.sort_by(|(a, _), (b, _)| natural(a, b));
    let row = |(name, count): &(String, usize)| json!({ "Name": name, "Services": count.to_string() });
    let rows: Vec<Value> = counts.iter().map(row).collect();
    STACKS.print(&rows, &Output { quiet: false, format: args.format.as_deref() })
}

pub async fn ps(client: &Client, args: PsArgs) -> Result<()> {
    let label = of_stack(&args.stack);
    let filters = filter::with(&args.list.filters, &[("label", label.as_str())])?;
    let found = client.list("/tasks", &[("filters", filters.as_deref())]).await?;
    if found.is_empty() {
        return Err(CliError::usage(format!("nothing found in stack: {}", args.stack)));
    }
    tasks::print(client, found, &args.list).await
}

pub async fn services(client: &Client, args: ServicesArgs) -> Result<()> {
    let label = of_stack(&args.stack);
    let filters = filter::with(&args.list.filters, &[("label", label.as_str())])?;
    let found = service_list::fetch(client, filters.as_deref()).await?;
    if found.is_empty() {
        // As docker: no error.
        eprintln!("Nothing found in stack: {}", args.stack);
        return Ok(());
    }
    service_list::print(found, &args.list.output())
}

/// What belongs to a stack, of one kind.
struct Part {
    word: &'static str,
    path: &'static str,
    id: &'static str,
    name: &'static str,
}

/// In the order in which they can be removed: services use the others.
const PARTS: [Part; 4] = [
    Part { word: "service", path: "/services", id: "/ID", name: "/Spec/Name" },
    Part { word: "secret", path: "/secrets", id: "/ID", name: "/Spec/Name" },
    Part { word: "config", path: "/configs", id: "/ID", name: "/Spec/Name" },
    Part { word: "network", path: "/networks", id: "/Id", name: "/Name" },
];

pub async fn remove(client: &Client, args: RemoveArgs) -> Result<()> {
    let mut failures = Vec::new();
    for stack in &args.stacks {
        match remove_one(client, stack, args.detach).await {
            Ok(()) => {}
            Err(error @ CliError::Connect { .. }) => return Err(error),
            Err(error) => failures.push(error),
        }
    }
    tell(failures)
}

async fn remove_one(client: &Client, stack: &str, detach: bool) -> Result<()> {
    let label = of_stack(stack);
    let filters = filter::with(&[], &[("label", label.as_str())])?;
    let mut found = Vec::new();
    for part in &PARTS {
        found.push(client.list(part.path, &[("filters", filters.as_deref())]).await?);
    }
    if found.iter().all(Vec::is_empty) {
        // As docker: what is not there needs no removing.
        eprintln!("Nothing found in stack: {stack}");
        return Ok(());
    }
    let mut failures = Vec::new();
    for (part, objects) in PARTS.iter().zip(&mut found) {
        objects.sort_by(|a, b| natural(text(a, part.name), text(b, part.name)));
        for object in objects.iter() {
            write_out(&format!("Removing {} {}\n", part.word, text(object, part.name)));
            let path = format!("{}/{}", part.path, segment(text(object, part.id)));
            if let Err(error) = client.delete(&path, &[]).await {
                let name = text(object, part.name);
                failures.push(CliError::usage(format!("failed to remove {} {name}: {error}", part.word)));
            }
        }
    }
    if failures.is_empty() && !detach {
        wait_for_end(client, filters.as_deref()).await?;
    }
    tell(failures)
}

/// Whether no task of the stack runs any more.
async fn have_ended(client: &Client, filters: Option<&str>) -> Result<bool> {
    let tasks = client.list("/tasks", &[("filters", filters)]).await?;
    let ended = |task: &Value| {
        matches!(text(task, "/Status/State"), "complete" | "shutdown" | "failed" | "rejected" | "remove" | "orphaned")
    };
    Ok(tasks.iter().all(ended))
}

async fn wait_for_end(client: &Client, filters: Option<&str>) -> Result<()> {
    while !have_ended(client, filters).await? {
        tokio::time::sleep(LOOK_PERIOD).await;
    }
    Ok(())
}
