//! `swarm stack`.

mod deploy;
mod existing;
mod files;
mod list;
mod plan;

use crate::cli::Context;
use crate::error::Result;
use clap::Subcommand;
use std::collections::BTreeMap;
use std::path::PathBuf;
use swarm_core::compose::{Canonical, LABEL_NAMESPACE, Loaded};

#[derive(Debug, Subcommand)]
pub enum StackCommand {
    /// Make a stack of compose files, or change it
    #[command(visible_alias = "up")]
    Deploy(deploy::DeployArgs),
    /// Print what deploy would do, and do nothing
    Plan(plan::PlanArgs),
    /// Print the compose files as they are understood
    Config(deploy::ConfigArgs),
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
    match command {
        StackCommand::Deploy(args) => deploy::run(context, &args).await,
        StackCommand::Plan(args) => plan::run(context, args).await,
        StackCommand::Config(args) => deploy::config(&args),
        StackCommand::Ls(args) => list::ls(&context.client().await?, args).await,
        StackCommand::Ps(args) => list::ps(&context.client().await?, args).await,
        StackCommand::Services(args) => list::services(&context.client().await?, args).await,
        StackCommand::Rm(args) => list::remove(&context.client().await?, args).await,
    }
}

/// What `swarm stack config` makes of the files in the environment `env`; the error is what it prints.
pub fn config_of(files: &[PathBuf], env: &BTreeMap<String, String>) -> std::result::Result<Canonical, String> {
    let sources = files::FileArgs::of(files).read_in(env.clone());
    sources.and_then(|sources| deploy::canonical(&sources, true)).map_err(|error| error.to_string())
}

/// The stack `name` that the files are in the environment `env`, as `swarm stack deploy` makes it; the error is what it prints.
pub fn load_of(name: &str, files: &[PathBuf], env: &BTreeMap<String, String>) -> std::result::Result<Loaded, String> {
    let sources = files::FileArgs::of(files).read_in(env.clone());
    sources.and_then(|sources| deploy::loaded(&sources, Some(name))).map_err(|error| error.to_string())
}

/// `LABEL=NAME`, the filter for what belongs to a stack.
fn of_stack(name: &str) -> String {
    format!("{LABEL_NAMESPACE}={name}")
}
