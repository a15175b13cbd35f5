//! `swarm system`: docker's group for what is asked of the host as a whole.

use super::unserved::Unserved;
use super::{events, info, usage};
use crate::cli::Context;
use crate::error::Result;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum SystemCommand {
    /// Print the space that is used on this host
    Df(usage::UsageArgs),
    /// Print what happens, as it happens
    Events(events::EventsArgs),
    /// Print what this host and its cluster are
    Info(info::InfoArgs),
    Prune(Unserved),
    DialStdio(Unserved),
}

pub async fn run(context: &Context, command: SystemCommand) -> Result<()> {
    match command {
        SystemCommand::Events(args) => events::run(context, args).await,
        SystemCommand::Info(args) => info::run(context, args).await,
        SystemCommand::Df(args) => usage::run(context, args).await,
        SystemCommand::Prune(args) | SystemCommand::DialStdio(args) => args.answer(context),
    }
}
