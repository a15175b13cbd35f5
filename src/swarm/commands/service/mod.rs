//! `swarm service`.

mod autoscale;
mod beyond;
mod canary;
pub mod converge;
pub mod create;
mod history;
mod inspect;
pub mod list;
mod lists;
mod logs;
pub mod options;
mod parse;
mod placing;
mod probes;
pub mod update;

use crate::cli::Context;
use crate::client::{Client, segment};
use crate::commands::common::{ListArgs, each};
use crate::commands::tasks::{self, TaskListArgs};
use crate::error::{CliError, Result};
use crate::filter;
use crate::json::text;
use clap::{Args, Subcommand};
use serde_json::Value;

#[derive(Debug, Subcommand)]
pub enum ServiceCommand {
    /// Create a service
    Create(Box<create::CreateArgs>),
    /// List the services
    #[command(visible_alias = "list")]
    Ls(ListArgs),
    /// List the tasks of services
    Ps(PsArgs),
    /// Print what is known of services
    Inspect(inspect::ServiceInspectArgs),
    /// Change a service
    Update(Box<update::UpdateArgs>),
    /// Set the number of tasks of services
    Scale(update::ScaleArgs),
    /// Go back to the specification before the last update, or to an earlier version
    Rollback(update::RollbackArgs),
    /// List the versions of a service
    History(history::HistoryArgs),
    /// Let an update go on that waits with its canaries
    Promote(canary::PromoteArgs),
    /// Print the log of a service or of a task
    Logs(logs::LogsArgs),
    /// Remove services
    #[command(visible_alias = "remove")]
    Rm(Names),
}

#[derive(Debug, Args)]
pub struct Names {
    #[arg(required = true, value_name = "SERVICE")]
    services: Vec<String>,
}

#[derive(Debug, Args)]
pub struct PsArgs {
    #[command(flatten)]
    list: TaskListArgs,
    #[arg(required = true, value_name = "SERVICE")]
    services: Vec<String>,
}

pub async fn run(context: &Context, command: ServiceCommand) -> Result<()> {
    let client = context.client().await?;
    match command {
        ServiceCommand::Create(args) => create::run(&client, *args).await,
        ServiceCommand::Ls(args) => list::run(&client, args).await,
        ServiceCommand::Ps(args) => ps(&client, args).await,
        ServiceCommand::Inspect(args) => inspect::run(&client, args).await,
        ServiceCommand::Update(args) => update::run(&client, *args).await,
        ServiceCommand::Scale(args) => update::scale(&client, args).await,
        ServiceCommand::Rollback(args) => update::rollback(&client, args).await,
        ServiceCommand::History(args) => history::run(&client, args).await,
        ServiceCommand::Promote(args) => canary::promote(&client, args).await,
        ServiceCommand::Logs(args) => logs::run(&client, args).await,
        ServiceCommand::Rm(args) => {
            let client = &client;
            each(&args.services, |name| async move { client.delete(&path(&name), &[]).await.map(drop) }).await
        }
    }
}

pub(super) fn path(name: &str) -> String {
    format!("/services/{}", segment(name))
}

/// The service of that name or id.
pub async fn find(client: &Client, name: &str) -> Result<Value> {
    client.get(&path(name)).await.map_err(|error| no_such(name, error))
}

fn no_such(name: &str, error: CliError) -> CliError {
    if error.is_not_found() { CliError::usage(format!("no such service: {name}")) } else { error }
}

async fn ps(client: &Client, args: PsArgs) -> Result<()> {
    let mut services = Vec::new();
    for name in &args.services {
        services.push(find(client, name).await?);
    }
    let own: Vec<(&str, &str)> = services.iter().map(|service| ("service", text(service, "/ID"))).collect();
    let filters = filter::with(&args.list.filters, &own)?;
    let found = client.list("/tasks", &[("filters", filters.as_deref())]).await?;
    tasks::print(client, found, &args.list).await?;
    // A service can stand still without a task that says why.
    for service in services.iter().filter(|service| !text(service, "/Waiting").is_empty()) {
        eprintln!("{}: {}", text(service, "/Spec/Name"), text(service, "/Waiting"));
    }
    Ok(())
}
