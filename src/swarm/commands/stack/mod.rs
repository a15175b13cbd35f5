//! `swarm stack`.

mod list;

use crate::cli::Context;
use crate::error::Result;
use clap::Subcommand;

/// Label of everything that belongs to a stack; its value is the stack's name.
use swarm_core::compose::LABEL_NAMESPACE;

#[derive(Debug, Subcommand)]
pub enum StackCommand {
    /// List the stacks
    #[command(visible_alias = "list")]
    Ls(list::LsArgs),
    /// List the tasks of a stack
    Ps(list::PsArgs),
    /// List the services of a stack
    Services(list::ServicesArgs),
    /// Remove stacks
    #[command(visible_aliases = ["remove", "down"])]
    Rm(list::RemoveArgs),
}

pub async fn run(context: &Context, command: StackCommand) -> Result<()> {
    let client = context.client().await?;
    match command {
        StackCommand::Ls(args) => list::ls(&client, args).await,
        StackCommand::Ps(args) => list::ps(&client, args).await,
        StackCommand::Services(args) => list::services(&client, args).await,
        StackCommand::Rm(args) => list::remove(&client, args).await,
    }
}

/// `LABEL=NAME`, the filter for what belongs to a stack.
fn of_stack(name: &str) -> String {
    format!("{LABEL_NAMESPACE}={name}")
}
