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
pub mod pin;
mod placing;
mod probes;
pub mod update;

use crate::cli::Context;
use crate::client::{Client, segment};
use crate::commands::common::{ListArgs, each, tell};
use crate::commands::tasks::{self, TaskListArgs};
use crate::commands::unserved::Unserved;
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
    Exec(Unserved),
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
    let client = async || context.client().await;
    match command {
        ServiceCommand::Exec(args) => args.answer(context),
        ServiceCommand::Create(args) => create::run(&client().await?, *args).await,
        ServiceCommand::Ls(args) => list::run(&client().await?, args).await,
        ServiceCommand::Ps(args) => ps(&client().await?, args).await,
        ServiceCommand::Inspect(args) => inspect::run(&client().await?, args).await,
        ServiceCommand::Update(args) => update::run(&client().await?, *args).await,
        ServiceCommand::Scale(args) => update::scale(&client().await?, args).await,
        ServiceCommand::Rollback(args) => update::rollback(&client().await?, args).await,
        ServiceCommand::History(args) => history::run(&client().await?, args).await,
        ServiceCommand::Promote(args) => canary::promote(&client().await?, args).await,
        ServiceCommand::Logs(args) => logs::run(&client().await?, args).await,
        ServiceCommand::Rm(args) => {
            let client = &client().await?;
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
    let (mut services, mut failures) = (Vec::new(), Vec::new());
    for name in &args.services {
        match find(client, name).await {
            Ok(service) => services.push(service),
            Err(error @ CliError::Connect { .. }) => return Err(error),
            Err(error) => failures.push(error),
        }
    }
    if services.is_empty() {
        return tell(failures);
    }
    let own: Vec<(&str, &str)> = services.iter().map(|service| ("service", text(service, "/ID"))).collect();
    let filters = filter::with(&args.list.filters, &own)?;
    let found = client.list("/tasks", &[("filters", filters.as_deref())]).await?;
    // Alone of the three lists of tasks, docker's ids are whole here when nothing else is asked for.
    let list = TaskListArgs { no_trunc: args.list.no_trunc || args.list.quiet, ..args.list };
    tasks::print(client, found, &list).await?;
    // A service can stand still without a task that says why.
    for service in services.iter().filter(|service| !text(service, "/Waiting").is_empty()) {
        eprintln!("{}: {}", text(service, "/Spec/Name"), text(service, "/Waiting"));
    }
    tell(failures)
}
