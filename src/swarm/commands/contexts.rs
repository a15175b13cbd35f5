//! `swarm context`: names of daemons. Not served yet; -H, SWARM_HOST and DOCKER_HOST name one.

use super::unserved::Unserved;
use crate::cli::Context;
use crate::error::Result;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum ContextCommand {
    Create(Unserved),
    Export(Unserved),
    Import(Unserved),
    Inspect(Unserved),
    #[command(alias = "list")]
    Ls(Unserved),
    #[command(alias = "remove")]
    Rm(Unserved),
    Show(Unserved),
    Update(Unserved),
    Use(Unserved),
}

pub fn run(context: &Context, command: ContextCommand) -> Result<()> {
    use ContextCommand as C;
    match command {
        C::Create(args)
        | C::Export(args)
        | C::Import(args)
        | C::Inspect(args)
        | C::Ls(args)
        | C::Rm(args)
        | C::Show(args)
        | C::Update(args)
        | C::Use(args) => args.answer(context),
    }
}
