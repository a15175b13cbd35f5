//! `swarm image`: the images of this host.

mod history;
pub mod list;
mod transfer;

use super::unserved::Unserved;
use crate::cli::Context;
use crate::client::{Client, image_segment};
use crate::commands::common::{InspectArgs, tell};
use crate::error::{CliError, Result};
use crate::json::{list as items, text};
use crate::names::Object;
use crate::table::write_out;
use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// List the images
    #[command(visible_alias = "list")]
    Ls(list::LsArgs),
    /// Print what is known of images
    Inspect(InspectArgs),
    /// Remove images
    #[command(visible_alias = "remove")]
    Rm(RemoveArgs),
    Prune(Unserved),
    #[command(flatten)]
    Top(TopImageCommand),
}

/// Those that docker also has at the top.
#[derive(Debug, Subcommand)]
pub enum TopImageCommand {
    /// Fetch an image from its registry
    Pull(transfer::PullArgs),
    /// Load images from an archive of "docker save" or an OCI archive
    Load(transfer::LoadArgs),
    /// Make an image from an archive of a root file system
    Import(transfer::ImportArgs),
    /// Give an image another name
    Tag(TagArgs),
    Build(Unserved),
    /// Print how an image came to be
    History(history::HistoryArgs),
    Push(Unserved),
    Save(Unserved),
}

#[derive(Debug, Args)]
pub struct TagArgs {
    #[arg(value_name = "IMAGE")]
    image: String,
    #[arg(value_name = "NAME[:TAG]")]
    name: String,
}

#[derive(Debug, Args)]
pub struct RemoveArgs {
    /// Also images that are in use
    #[arg(short, long)]
    force: bool,
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

pub async fn run(context: &Context, command: ImageCommand) -> Result<()> {
    match command {
        ImageCommand::Ls(args) => list::run(&context.client().await?, args).await,
        ImageCommand::Inspect(args) => {
            let client = context.client().await?;
            let fetch = async |name: String| client.get(&format!("/images/{}/json", image_segment(&name))).await;
            args.run_with(Object::Image, fetch).await
        }
        ImageCommand::Rm(args) => remove(&context.client().await?, args).await,
        ImageCommand::Prune(args) => args.answer(context),
        ImageCommand::Top(command) => run_top(context, command).await,
    }
}

async fn run_top(context: &Context, command: TopImageCommand) -> Result<()> {
    use TopImageCommand as C;
    match command {
        C::Pull(args) => transfer::pull(&context.client().await?, args).await,
        C::Load(args) => transfer::load(&context.client().await?, args).await,
        C::Import(args) => transfer::import(&context.client().await?, args).await,
        C::Tag(args) => {
            let (repo, tag) = name_and_tag(&args.name);
            let query = [("repo", Some(repo)), ("tag", tag)];
            let path = format!("/images/{}/tag", image_segment(&args.image));
            context.client().await?.post(&path, &query, None).await.map(drop)
        }
        C::History(args) => history::run(&context.client().await?, args).await,
        C::Build(args) | C::Push(args) | C::Save(args) => args.answer(context),
    }
}

/// `host:5000/redis:7` -> (`host:5000/redis`, `7`).
pub fn name_and_tag(name: &str) -> (&str, Option<&str>) {
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
        Some(_) | None => (name, None),
    }
}

async fn remove(client: &Client, args: RemoveArgs) -> Result<()> {
    let mut failures = Vec::new();
    let force = [("force", args.force.then_some("1"))];
    for image in &args.images {
        match client.delete(&format!("/images/{}", image_segment(image)), &force).await {
            Ok(removed) => {
                for line in items(&removed, "") {
                    for (key, words) in [("/Untagged", "Untagged"), ("/Deleted", "Deleted")] {
                        if !text(line, key).is_empty() {
                            write_out(&format!("{words}: {}\n", text(line, key)));
                        }
                    }
                }
            }
            Err(error @ CliError::Connect { .. }) => return Err(error),
            Err(error) => failures.push(error),
        }
    }
    tell(failures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_a_tag_after_its_last_slash_only() {
        assert_eq!(name_and_tag("host:5000/redis"), ("host:5000/redis", None));
        assert_eq!(name_and_tag("host:5000/redis:7"), ("host:5000/redis", Some("7")));
    }
}
