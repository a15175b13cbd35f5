//! `swarm image`.

use crate::cli::Context;
use crate::client::{Client, Upload};
use crate::error::{CliError, Result};
use crate::json::text;
use crate::table::write_out;
use clap::{Args, Subcommand};
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use hyper::Method;
use serde_json::Value;
use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use tokio_util::io::ReaderStream;

/// Bytes of a file that are sent at a time: large enough that the copying costs little.
const CHUNK_BYTES: usize = 128 << 10;

#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// Load images from an archive of "docker save" or an OCI archive
    Load(LoadArgs),
}

#[derive(Debug, Args)]
pub struct LoadArgs {
    /// The archive [default: standard input]
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Print only what was loaded
    #[arg(short, long)]
    quiet: bool,
}

pub async fn run(context: &Context, command: ImageCommand) -> Result<()> {
    let client = context.client().await?;
    match command {
        ImageCommand::Load(args) => load(&client, args).await,
    }
}

/// A file, or standard input for `-` and none, as a body.
async fn upload(path: Option<&Path>) -> Result<Upload> {
    let file = match path {
        Some(path) if path != Path::new("-") => {
            File::open(path).map_err(|error| CliError::file("open", path, &error))?
        }
        Some(_) | None => {
            if std::io::IsTerminal::is_terminal(&std::io::stdin()) {
                return Err(CliError::usage("requested load from stdin, but stdin is empty"));
            }
            let owned = std::io::stdin().as_fd().try_clone_to_owned();
            File::from(owned.map_err(|error| CliError::usage(format!("cannot read standard input: {error}")))?)
        }
    };
    Ok(ReaderStream::with_capacity(tokio::fs::File::from_std(file), CHUNK_BYTES).boxed())
}

async fn load(client: &Client, args: LoadArgs) -> Result<()> {
    let body = upload(args.input.as_deref()).await?;
    let headers = [("content-type", "application/x-tar".to_owned())];
    let quiet = [("quiet", Some("1"))];
    let mut lines = client.objects(Method::POST, "/images/load", &quiet, &headers, Some(body)).await?;
    while let Some(line) = next(&mut lines).await? {
        write_out(text(&line, "/stream"));
    }
    Ok(())
}

/// The next line of a stream of progress; an error in it is the command's.
async fn next(lines: &mut BoxStream<'static, Result<Value>>) -> Result<Option<Value>> {
    let Some(line) = lines.next().await.transpose()? else { return Ok(None) };
    let message = match text(&line, "/errorDetail/message") {
        "" => text(&line, "/error"),
        message => message,
    };
    if message.is_empty() {
        return Ok(Some(line));
    }
    Err(CliError::Daemon { status: 500, message: message.to_owned() })
}
