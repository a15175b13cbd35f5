//! `swarm task`.

use crate::cli::Context;
use crate::client::segment;
use crate::commands::common::InspectArgs;
use crate::commands::log_options::TaskLogOptions;
use crate::commands::tasks;
use crate::error::Result;
use crate::json::flag;
use crate::names::Object;
use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub enum TaskCommand {
    /// Print what is known of tasks
    Inspect(InspectArgs),
    /// Print the log of a task
    Logs(LogsArgs),
}

#[derive(Debug, Args)]
pub struct LogsArgs {
    #[command(flatten)]
    options: TaskLogOptions,
    #[arg(value_name = "TASK")]
    task: String,
}

pub async fn run(context: &Context, command: TaskCommand) -> Result<()> {
    let client = context.client().await?;
    match command {
        TaskCommand::Inspect(args) => args.run(&client, Object::Task, "/tasks").await,
        TaskCommand::Logs(args) => {
            let path = format!("/tasks/{}", segment(&args.task));
            let task = client.get(&path).await?;
            let tty = flag(&task, "/Spec/ContainerSpec/TTY");
            args.options.print(&client, &format!("{path}/logs"), tasks::slot(&task), tty).await
        }
    }
}
