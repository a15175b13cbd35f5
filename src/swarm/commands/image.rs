//! `swarm image`: the images of this host.

use crate::cli::Context;
use crate::client::{Client, Upload, image_segment};
use crate::commands::common::{InspectArgs, ListArgs, tell};
use crate::error::{CliError, Result};
use crate::filter;
use crate::json::{int, list, text, texts};
use crate::progress::{Board, bar};
use crate::registry;
use crate::table::{Table, write_out};
use crate::units::{go_time, human_duration, human_size, short_id};
use clap::{Args, Subcommand};
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use hyper::Method;
use serde_json::{Value, json};
use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio_util::io::ReaderStream;

/// Bytes of a file that are sent at a time: large enough that the copying costs little.
const CHUNK_BYTES: usize = 128 << 10;
const BAR_WIDTH: usize = 50;

#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// List the images
    #[command(visible_alias = "list")]
    Ls(LsArgs),
    /// Fetch an image from its registry
    Pull(PullArgs),
    /// Load images from an archive of "docker save" or an OCI archive
    Load(LoadArgs),
    /// Make an image from an archive of a root file system
    Import(ImportArgs),
    /// Print what is known of images
    Inspect(InspectArgs),
    /// Give an image another name
    Tag(TagArgs),
    /// Remove images
    #[command(visible_alias = "remove")]
    Rm(RemoveArgs),
}

#[derive(Debug, Args)]
pub struct LsArgs {
    #[command(flatten)]
    list: ListArgs,
    /// Also images without a name
    #[arg(short, long)]
    all: bool,
    /// Print digests
    #[arg(long)]
    digests: bool,
    /// Whole ids
    #[arg(long)]
    no_trunc: bool,
    /// Only that name, with or without a tag
    #[arg(value_name = "REPOSITORY[:TAG]")]
    name: Option<String>,
}

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
    let client = context.client().await?;
    match command {
        ImageCommand::Ls(args) => ls(&client, args).await,
        ImageCommand::Pull(args) => pull(&client, args).await,
        ImageCommand::Load(args) => load(&client, args).await,
        ImageCommand::Import(args) => import(&client, args).await,
        ImageCommand::Inspect(args) => {
            args.run_with(async |name| client.get(&format!("/images/{}/json", image_segment(&name))).await).await
        }
        ImageCommand::Tag(args) => {
            let (repo, tag) = name_and_tag(&args.name);
            let query = [("repo", Some(repo)), ("tag", tag)];
            client.post(&format!("/images/{}/tag", image_segment(&args.image)), &query, None).await.map(drop)
        }
        ImageCommand::Rm(args) => remove(&client, args).await,
    }
}

const IMAGES: Table = Table {
    headers: &[
        ("Repository", "REPOSITORY"),
        ("Tag", "TAG"),
        ("Digest", "DIGEST"),
        ("ID", "IMAGE ID"),
        ("CreatedSince", "CREATED"),
        ("CreatedAt", "CREATED AT"),
        ("Size", "SIZE"),
        ("VirtualSize", "SIZE"),
        ("SharedSize", "SHARED SIZE"),
        ("UniqueSize", "UNIQUE SIZE"),
        ("Containers", "CONTAINERS"),
    ],
    template: "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}",
    quiet: "ID",
};

const WITH_DIGESTS: Table =
    Table { template: "{{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}", ..IMAGES };

async fn ls(client: &Client, args: LsArgs) -> Result<()> {
    let own: Vec<(&str, &str)> = args.name.iter().map(|name| ("reference", name.as_str())).collect();
    let filters = filter::with(&args.list.filters, &own)?;
    let query = [("filters", filters.as_deref()), ("all", args.all.then_some("1"))];
    let mut images = client.list("/images/json", &query).await?;
    images.sort_by_key(|image| std::cmp::Reverse(int(image, "/Created")));
    let now = OffsetDateTime::now_utc();
    let mut rows: Vec<Value> = images.iter().flat_map(|image| rows(image, args.no_trunc, now)).collect();
    if args.list.quiet {
        rows.dedup_by_key(|row| text(row, "/ID").to_owned());
    }
    let table = if args.digests { &WITH_DIGESTS } else { &IMAGES };
    table.print(&rows, &args.list.output())
}

/// A row for each name of an image.
fn rows(image: &Value, whole: bool, now: OffsetDateTime) -> Vec<Value> {
    let tags = texts(image, "/RepoTags");
    let digests = texts(image, "/RepoDigests");
    let digest = |repository: &str| {
        let found = digests.iter().filter_map(|digest| digest.split_once('@'));
        found.filter(|(name, _)| *name == repository).map(|(_, digest)| digest.to_owned()).next()
    };
    let id = text(image, "/Id");
    let created = OffsetDateTime::from_unix_timestamp(int(image, "/Created")).ok();
    let row = |repository: &str, tag: &str| {
        json!({
            "Repository": repository,
            "Tag": tag,
            "Digest": digest(repository).unwrap_or_else(|| "<none>".to_owned()),
            "ID": if whole { id } else { short_id(id) },
            "CreatedSince": match created.filter(|at| at.unix_timestamp() > 0) {
                Some(at) => format!("{} ago", human_duration((now - at).whole_seconds())),
                None => "N/A".to_owned(),
            },
            "CreatedAt": created.and_then(|at| at.format(&Rfc3339).ok()).map(|at| go_time(&at)).unwrap_or_default(),
            "Size": human_size(int(image, "/Size"), 3),
            "VirtualSize": human_size(int(image, "/Size"), 4),
            "SharedSize": "N/A",
            "UniqueSize": "N/A",
            "Containers": match int(image, "/Containers") {
                -1 => "N/A".to_owned(),
                count => count.to_string(),
            },
        })
    };
    if tags.is_empty() {
        let repository = digests.first().and_then(|digest| digest.split('@').next()).unwrap_or("<none>");
        return vec![row(repository, "<none>")];
    }
    let split = |name: &String| {
        let (repository, tag) = name_and_tag(name);
        row(repository, tag.unwrap_or("<none>"))
    };
    tags.iter().map(split).collect()
}

/// `host:5000/redis:7` -> (`host:5000/redis`, `7`).
fn name_and_tag(name: &str) -> (&str, Option<&str>) {
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
        Some(_) | None => (name, None),
    }
}

async fn pull(client: &Client, args: PullArgs) -> Result<()> {
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

async fn load(client: &Client, args: LoadArgs) -> Result<()> {
    let body = upload(args.input.as_deref())?;
    let headers = [("content-type", "application/x-tar".to_owned())];
    let quiet = [("quiet", Some("1"))];
    let mut lines = client.objects(Method::POST, "/images/load", &quiet, &headers, Some(body)).await?;
    while let Some(line) = next(&mut lines).await? {
        write_out(text(&line, "/stream"));
    }
    Ok(())
}

async fn import(client: &Client, args: ImportArgs) -> Result<()> {
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

async fn remove(client: &Client, args: RemoveArgs) -> Result<()> {
    let mut failures = Vec::new();
    let force = [("force", args.force.then_some("1"))];
    for image in &args.images {
        match client.delete(&format!("/images/{}", image_segment(image)), &force).await {
            Ok(removed) => {
                for line in list(&removed, "") {
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
    use crate::table::Output;

    #[test]
    fn a_name_has_a_tag_after_its_last_slash_only() {
        assert_eq!(name_and_tag("host:5000/redis"), ("host:5000/redis", None));
        assert_eq!(name_and_tag("host:5000/redis:7"), ("host:5000/redis", Some("7")));
        assert_eq!(full_name("redis"), "docker.io/library/redis");
        assert_eq!(full_name("me/redis"), "docker.io/me/redis");
        assert_eq!(full_name("localhost/redis"), "localhost/redis");
    }

    #[test]
    fn an_image_has_a_row_for_each_name() {
        let image = json!({
            "Id": "sha256:0123456789abcdef", "RepoTags": ["web:1", "host:5000/web:2"],
            "RepoDigests": ["web@sha256:aa"], "Created": 1000, "Size": 77_823_131,
        });
        let nameless = json!({"Id": "sha256:fedcba98765432", "RepoTags": [], "Created": 0, "Size": 12});
        let now = OffsetDateTime::UNIX_EPOCH + time::Duration::seconds(1000 + 3 * 86400);
        let all: Vec<Value> = [&image, &nameless].into_iter().flat_map(|image| rows(image, false, now)).collect();
        let expected = "\
REPOSITORY      TAG       IMAGE ID       CREATED      SIZE
web             1         0123456789ab   3 days ago   77.8MB
host:5000/web   2         0123456789ab   3 days ago   77.8MB
<none>          <none>    fedcba987654   N/A          12B
";
        assert_eq!(IMAGES.render(&all, &Output::default()).unwrap_or_default(), expected);
    }
}
