//! `swarm container`, and the same commands at the top: containers of this host.

pub mod list;

use super::common::InspectArgs;
use super::unserved::Unserved;
use crate::cli::Context;
use crate::client::segment;
use crate::error::Result;
use crate::names::Object;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum ContainerCommand {
    /// List the containers
    #[command(visible_aliases = ["list", "ps"])]
    Ls(list::PsArgs),
    /// Print what is known of containers
    Inspect(InspectArgs),
    Prune(Unserved),
    Update(Unserved),
    #[command(flatten)]
    Top(TopContainerCommand),
}

/// Those that docker also has at the top.
#[derive(Debug, Subcommand)]
pub enum TopContainerCommand {
    /// Print the log of a container of this host
    Logs(list::LogsArgs),
    Attach(Unserved),
    Commit(Unserved),
    Cp(Unserved),
    Create(Unserved),
    Diff(Unserved),
    Exec(Unserved),
    Export(Unserved),
    Kill(Unserved),
    Pause(Unserved),
    Port(Unserved),
    Rename(Unserved),
    Restart(Unserved),
    #[command(alias = "remove")]
    Rm(Unserved),
    Run(Unserved),
    Start(Unserved),
    Stats(Unserved),
    Stop(Unserved),
    Top(Unserved),
    Unpause(Unserved),
    Wait(Unserved),
}

pub async fn run(context: &Context, command: ContainerCommand) -> Result<()> {
    match command {
        ContainerCommand::Ls(args) => list::ps(context, args).await,
        ContainerCommand::Inspect(args) => {
            let client = context.client().await?;
            let fetch = async |name: String| client.get(&format!("/containers/{}/json", segment(&name))).await;
            args.run_with(Object::Container, fetch).await
        }
        ContainerCommand::Prune(args) | ContainerCommand::Update(args) => args.answer(context),
        ContainerCommand::Top(command) => run_top(context, command).await,
    }
}

pub async fn run_top(context: &Context, command: TopContainerCommand) -> Result<()> {
    use TopContainerCommand as C;
    match command {
        C::Logs(args) => list::logs(context, args).await,
        C::Attach(args)
        | C::Commit(args)
        | C::Cp(args)
        | C::Create(args)
        | C::Diff(args)
        | C::Exec(args)
        | C::Export(args)
        | C::Kill(args)
        | C::Pause(args)
        | C::Port(args)
        | C::Rename(args)
        | C::Restart(args)
        | C::Rm(args)
        | C::Run(args)
        | C::Start(args)
        | C::Stats(args)
        | C::Stop(args)
        | C::Top(args)
        | C::Unpause(args)
        | C::Wait(args) => args.answer(context),
    }
}
