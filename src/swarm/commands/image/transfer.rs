//! Images to and from elsewhere: `swarm image pull`, `load`, `import`.

use super::name_and_tag;
use crate::client::{Client, Upload};
use crate::error::{CliError, Result};
use crate::json::{int, text};
use crate::progress::{Board, bar};
use crate::registry;
use crate::table::write_out;
use crate::units::human_size;
use clap::Args;
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
const BAR_WIDTH: usize = 50;

#[derive(Debug, Args)]
pub struct PullArgs {
    /// Platform, such as linux/arm64
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// Print only the image's name
    #[arg(short, long)]
    quiet: bool,
    #[arg(value_name = "NAME[:TAG|@DIGEST]")]
    image: String,
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

#[derive(Debug, Args)]
pub struct ImportArgs {
    /// Setting of the image, as a line of a Dockerfile (may be repeated)
    #[arg(short, long = "change", value_name = "CHANGE")]
    changes: Vec<String>,
    /// Message of the image's history
    #[arg(short, long, value_name = "MESSAGE")]
    message: Option<String>,
    /// The archive; - is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[arg(value_name = "NAME[:TAG]")]
    name: Option<String>,
}

pub async fn pull(client: &Client, args: PullArgs) -> Result<()> {
    let (name, tag) = match args.image.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => name_and_tag(&args.image),
    };
    let tag = tag.unwrap_or("latest");
    if !args.quiet && name_and_tag(&args.image).1.is_none() {
        write_out("Using default tag: latest\n");
    }
    let headers = registry::auth_header(&args.image)?;
    let query = [("fromImage", Some(name)), ("tag", Some(tag)), ("platform", args.platform.as_deref())];
    let lines = client.objects(Method::POST, "/images/create", &query, &headers, None).await?;
    show(lines, args.quiet).await?;
    let separator = if tag.contains(':') { "@" } else { ":" };
    write_out(&format!("{}{separator}{tag}\n", full_name(name)));
    Ok(())
}

/// With the default registry and its folder, as docker prints it.
fn full_name(name: &str) -> String {
    match name.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => name.to_owned(),
        Some(_) => format!("docker.io/{name}"),
        None => format!("docker.io/library/{name}"),
    }
}

/// Shows progress: on a terminal each layer keeps its line; elsewhere a line is printed when its words change.
async fn show(mut lines: BoxStream<'static, Result<Value>>, quiet: bool) -> Result<()> {
    let mut board = Board::new();
    let mut done = Ok(());
    loop {
        let line = match next(&mut lines).await {
            Ok(Some(line)) => line,
            Ok(None) => break,
            Err(error) => {
                done = Err(error);
                break;
            }
        };
        if quiet {
            continue;
        }
        let (id, status) = (text(&line, "/id"), text(&line, "/status"));
        let (current, total) = (int(&line, "/progressDetail/current"), int(&line, "/progressDetail/total"));
        let words =
            if id.is_empty() { format!("{status}{}", text(&line, "/stream")) } else { format!("{id}: {status}") };
        let words = words.trim_end();
        if total > 0 && board.is_live() {
            let bar = bar(current.unsigned_abs(), total.unsigned_abs(), BAR_WIDTH);
            board.set(id, &format!("{words} {bar} {}/{}", human_size(current, 4), human_size(total, 4)));
        } else if !words.is_empty() {
            board.set(if id.is_empty() { words } else { id }, words);
        }
    }
    board.finish();
    done
}

/// A file, or standard input for `-` and none, as a body.
fn upload(path: Option<&Path>) -> Result<Upload> {
    let file = match path {
        Some(path) if path != Path::new("-") => {
            let file = File::open(path).map_err(|error| CliError::file("open", path, &error))?;
            // It opens, and the fault would look like one of the connection.
            if file.metadata().is_ok_and(|found| found.is_dir()) {
                return Err(CliError::usage(format!("cannot read {}: it is a directory", path.display())));
            }
            file
        }
        Some(_) | None => {
            if std::io::IsTerminal::is_terminal(&std::io::stdin()) {
                return Err(CliError::hinted(
                    "no archive: standard input is a terminal",
                    "name a file with -i, or use < FILE",
                ));
            }
            let owned = std::io::stdin().as_fd().try_clone_to_owned();
            File::from(owned.map_err(|error| CliError::usage(format!("cannot read standard input: {error}")))?)
        }
    };
    Ok(ReaderStream::with_capacity(tokio::fs::File::from_std(file), CHUNK_BYTES).boxed())
}

pub async fn load(client: &Client, args: LoadArgs) -> Result<()> {
    let body = upload(args.input.as_deref())?;
    let headers = [("content-type", "application/x-tar".to_owned())];
    let quiet = [("quiet", Some("1"))];
    let mut lines = client.objects(Method::POST, "/images/load", &quiet, &headers, Some(body)).await?;
    while let Some(line) = next(&mut lines).await? {
        write_out(text(&line, "/stream"));
    }
    Ok(())
}

pub async fn import(client: &Client, args: ImportArgs) -> Result<()> {
    let body = upload(Some(&args.file))?;
    let (repo, tag) = args.name.as_deref().map(name_and_tag).unzip();
    let mut query = vec![("fromSrc", Some("-")), ("repo", repo), ("tag", tag.flatten())];
    query.push(("message", args.message.as_deref()));
    query.extend(args.changes.iter().map(|change| ("changes", Some(change.as_str()))));
    let headers = [("content-type", "application/x-tar".to_owned())];
    let mut lines = client.objects(Method::POST, "/images/create", &query, &headers, Some(body)).await?;
    while let Some(line) = next(&mut lines).await? {
        write_out(&format!("{}\n", text(&line, "/status")));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_its_registry_in_full() {
        assert_eq!(full_name("redis"), "docker.io/library/redis");
        assert_eq!(full_name("me/redis"), "docker.io/me/redis");
        assert_eq!(full_name("localhost/redis"), "localhost/redis");
    }
}
