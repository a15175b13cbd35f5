//! `swarm image ls`.

use super::name_and_tag;
use crate::client::Client;
use crate::commands::common::{ListArgs, familiar};
use crate::error::Result;
use crate::filter;
use crate::json::{int, text, texts};
use crate::table::{Output, Table};
use crate::units::{go_local_time, human_duration, human_size, short_id};
use clap::Args;
use serde_json::{Value, json};
use time::OffsetDateTime;

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

pub const IMAGES: Table = Table {
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
    template: "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{if .CreatedSince }}{{.CreatedSince}}{{else}}N/A{{end}}\t{{.Size}}",
    quiet: "ID",
    row: "*formatter.imageContext",
    raw: "repository: {{.Repository}}\ntag: {{.Tag}}\nimage_id: {{.ID}}\ncreated_at: {{.CreatedAt}}\nvirtual_size: {{.Size}}\n",
    configured: "imagesFormat",
};

const WITH_DIGESTS: Table = Table {
    template: "{{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{if .CreatedSince }}{{.CreatedSince}}{{else}}N/A{{end}}\t{{.Size}}",
    raw: "repository: {{.Repository}}\ntag: {{.Tag}}\ndigest: {{.Digest}}\nimage_id: {{.ID}}\ncreated_at: {{.CreatedAt}}\nvirtual_size: {{.Size}}\n",
    ..IMAGES
};
const NONE: &str = "<none>";

pub async fn run(client: &Client, args: LsArgs) -> Result<()> {
    let own: Vec<(&str, &str)> = args.name.iter().map(|name| ("reference", name.as_str())).collect();
    let filters = filter::with(&args.list.filters, &own)?;
    let query = [("filters", filters.as_deref()), ("all", args.all.then_some("1"))];
    let mut images = client.list("/images/json", &query).await?;
    images.sort_by_key(|image| std::cmp::Reverse(int(image, "/Created")));
    let now = OffsetDateTime::now_utc();
    let mut output = args.list.output();
    // A table of one's own gets the column that was asked for.
    let with_digest = match output.format {
        Some(format) if args.digests && format.starts_with("table ") && !format.contains("{{.Digest}}") => {
            Some(format!("{format}\t{{{{.Digest}}}}"))
        }
        Some(_) | None => None,
    };
    output.format = with_digest.as_deref().or(output.format);
    let shown = Shown {
        whole: args.no_trunc,
        digests: args.digests,
        named: output.format.is_some_and(|format| format.contains("{{.Digest}}")),
    };
    let rows: Vec<Value> = images.iter().flat_map(|image| rows(image, shown, now)).collect();
    print(&rows, args.digests, &output)
}

fn print(rows: &[Value], digests: bool, output: &Output<'_>) -> Result<()> {
    let table = if digests { &WITH_DIGESTS } else { &IMAGES };
    table.print(rows, output)
}

/// What of an image is shown.
#[derive(Clone, Copy, Debug, Default)]
struct Shown {
    whole: bool,
    /// As a column of the table.
    digests: bool,
    /// By the format.
    named: bool,
}

/// Its names: repository, tag, digest. One row for each tag; where digests are shown, with each digest of the repository.
fn names(image: &Value, shown: Shown) -> Vec<(String, String, String)> {
    let (tags, digests) = (texts(image, "/RepoTags"), texts(image, "/RepoDigests"));
    let pairs = digests.iter().filter_map(|digest| digest.split_once('@'));
    let pairs: Vec<(&str, &str)> = pairs.map(|(name, digest)| (familiar(name), digest)).collect();
    let mut out = Vec::new();
    for tag in tags.iter().filter(|tag| *tag != "<none>:<none>") {
        let (repository, tag) = name_and_tag(familiar(tag));
        let tag = tag.unwrap_or(NONE);
        let mut found = pairs.iter().filter(|(name, _)| *name == repository).peekable();
        if !(shown.digests || shown.named) || found.peek().is_none() {
            out.push((repository.to_owned(), tag.to_owned(), NONE.to_owned()));
            continue;
        }
        out.extend(found.map(|(_, digest)| (repository.to_owned(), tag.to_owned(), (*digest).to_owned())));
    }
    let named: Vec<String> = out.iter().map(|(repository, ..)| repository.clone()).collect();
    for (repository, digest) in pairs.iter().filter(|(name, _)| !named.iter().any(|known| known == name)) {
        let digest = if shown.digests { (*digest).to_owned() } else { String::new() };
        out.push(((*repository).to_owned(), NONE.to_owned(), digest));
    }
    if out.is_empty() {
        out.push((NONE.to_owned(), NONE.to_owned(), NONE.to_owned()));
    }
    out
}

fn rows(image: &Value, shown: Shown, now: OffsetDateTime) -> Vec<Value> {
    let names = names(image, shown).into_iter();
    names.map(|(repository, tag, digest)| row(image, [&repository, &tag, &digest], shown.whole, now)).collect()
}

/// Its row in what is told of used space: by its first name alone.
pub fn usage_row(image: &Value, whole: bool, now: OffsetDateTime) -> Value {
    let tags = texts(image, "/RepoTags");
    let (repository, tag) = tags.first().map_or((NONE, None), |tag| name_and_tag(familiar(tag)));
    row(image, [repository, tag.unwrap_or(NONE), ""], whole, now)
}

fn row(image: &Value, [repository, tag, digest]: [&str; 3], whole: bool, now: OffsetDateTime) -> Value {
    let id = text(image, "/Id");
    let created = int(image, "/Created");
    let age = OffsetDateTime::from_unix_timestamp(created).map(|at| (now - at).whole_seconds()).unwrap_or(0);
    let amount = |path: &str| image.pointer(path).and_then(Value::as_i64).filter(|amount| *amount >= 0);
    let size = int(image, "/Size");
    let shared = amount("/SharedSize");
    let none = || "N/A".to_owned();
    json!({
        "Repository": repository,
        "Tag": tag,
        "Digest": digest,
        "ID": if whole { id } else { short_id(id) },
        "CreatedSince": format!("{} ago", human_duration(age)),
        "CreatedAt": go_local_time(created),
        "Size": human_size(size, 3),
        "VirtualSize": human_size(size, 4),
        "SharedSize": shared.map_or_else(none, |shared| human_size(shared, 4)),
        "UniqueSize": shared.map_or_else(none, |shared| human_size(size - shared, 4)),
        "Containers": amount("/Containers").map_or_else(none, |count| count.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_has_a_row_for_each_name() {
        let image = json!({
            "Id": "sha256:0123456789abcdef", "RepoTags": ["docker.io/library/web:1", "host:5000/web:2"],
            "RepoDigests": ["web@sha256:aa", "other@sha256:bb"], "Created": 1000, "Size": 77_823_131,
        });
        let nameless = json!({"Id": "sha256:fedcba98765432", "RepoTags": [], "Created": 1000, "Size": 12});
        let now = OffsetDateTime::UNIX_EPOCH + time::Duration::seconds(1000 + 3 * 86400);
        let all = |shown| [&image, &nameless].into_iter().flat_map(|image| rows(image, shown, now)).collect::<Vec<_>>();
        let expected = "\
REPOSITORY      TAG       IMAGE ID       CREATED      SIZE
web             1         0123456789ab   3 days ago   77.8MB
host:5000/web   2         0123456789ab   3 days ago   77.8MB
other           <none>    0123456789ab   3 days ago   77.8MB
<none>          <none>    fedcba987654   3 days ago   12B
";
        let output = Output::default();
        assert_eq!(IMAGES.render(&all(Shown::default()), &output).unwrap_or_default(), expected);
        let rows = all(Shown { digests: true, ..Shown::default() });
        let digests: Vec<&str> = rows.iter().map(|row| text(row, "/Digest")).collect();
        assert_eq!(digests, ["sha256:aa", NONE, "sha256:bb", NONE]);
    }
}
