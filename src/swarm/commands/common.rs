//! What commands share: options of lists, names in tables, order of names.

use crate::client::{Client, segment};
use crate::error::{CliError, Result};
use crate::filter;
use crate::json::text;
use crate::table::{Output, write_out};
use crate::template::Template;
use clap::Args;
use serde_json::Value;
use std::cmp::Ordering;
use std::future::Future;

/// Options of every list.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only what matches, KEY=VALUE (may be repeated)
    #[arg(short = 'f', long = "filter", value_name = "FILTER")]
    pub filters: Vec<String>,
    /// Form of the output: table, "table TEMPLATE", json, or a Go template
    #[arg(long, value_name = "TEMPLATE")]
    pub format: Option<String>,
    /// Only the ids
    #[arg(short, long)]
    pub quiet: bool,
}

impl ListArgs {
    pub fn output(&self) -> Output<'_> {
        Output { quiet: self.quiet, format: self.format.as_deref() }
    }

    /// The objects under a path that match.
    pub async fn fetch(&self, client: &Client, path: &str) -> Result<Vec<Value>> {
        let filters = filter::encode(&self.filters)?;
        client.list(path, &[("filters", filters.as_deref())]).await
    }
}

/// Names to inspect, and how.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// Form of the output: json or a Go template
    #[arg(short = 'f', long, value_name = "TEMPLATE")]
    pub format: Option<String>,
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,
}

impl InspectArgs {
    /// Prints the objects at `prefix/NAME`; those that are not found are named and the exit code is 1.
    pub async fn run(&self, client: &Client, prefix: &str) -> Result<()> {
        let fetch = async |name: String| client.get(&format!("{prefix}/{}", segment(&name))).await;
        self.run_with(fetch).await
    }

    pub async fn run_with(&self, fetch: impl AsyncFn(String) -> Result<Value>) -> Result<()> {
        let mut found = Vec::new();
        let mut failures = Vec::new();
        for name in &self.names {
            match fetch(name.clone()).await {
                Ok(object) => found.push(object),
                Err(error @ CliError::Connect { .. }) => return Err(error),
                Err(error) => failures.push(error),
            }
        }
        print_objects(found, self.format.as_deref())?;
        tell(failures)
    }
}

/// Prints objects as docker's `inspect` does.
pub fn print_objects(objects: Vec<Value>, format: Option<&str>) -> Result<()> {
    let out = match format {
        None | Some("") => format!("{}\n", pretty(&Value::from(objects))?),
        Some("json") => format!("{}\n", Value::from(objects)),
        Some(format) => {
            let template = Template::parse(&format.replace("\\t", "\t").replace("\\n", "\n"))?;
            let mut out = String::new();
            for object in &objects {
                out.push_str(&template.render_object(object)?);
                out.push('\n');
            }
            out
        }
    };
    write_out(&out);
    Ok(())
}

/// JSON with four blanks of indent, as docker prints it.
fn pretty(value: &Value) -> Result<String> {
    let mut out = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
    serde::Serialize::serialize(value, &mut serializer).map_err(|error| CliError::usage(error.to_string()))?;
    String::from_utf8(out).map_err(|error| CliError::usage(error.to_string()))
}

/// Does the same for each name; prints the name when done, or the error, and goes on.
pub async fn each<F: Future<Output = Result<()>>>(names: &[String], mut act: impl FnMut(String) -> F) -> Result<()> {
    let mut failures = Vec::new();
    for name in names {
        match act(name.clone()).await {
            Ok(()) => write_out(&format!("{name}\n")),
            Err(error @ CliError::Connect { .. }) => return Err(error),
            Err(error) => failures.push(error),
        }
    }
    tell(failures)
}

/// Errors of parts of the work; the last one becomes the command's.
pub fn tell(mut failures: Vec<CliError>) -> Result<()> {
    let last = failures.pop();
    for failure in failures {
        eprintln!("{failure}");
    }
    last.map_or(Ok(()), Err)
}

/// A name without its digest: what people call the image.
pub fn image_name(image: &str) -> &str {
    match image.split_once('@') {
        // A name with a digest alone keeps it: there is nothing else to tell it by.
        Some((name, _)) if name.rsplit('/').next().is_some_and(|last| last.contains(':')) => name,
        Some(_) | None => image,
    }
}

/// Order of names in which `web.2` comes before `web.10`.
pub fn natural(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a, b);
    loop {
        let (x, y) = match (left.chars().next(), right.chars().next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(x), Some(y)) => (x, y),
        };
        let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        if x.is_ascii_digit() && y.is_ascii_digit() {
            let (m, n) = (digits(left), digits(right));
            let number = |text: &str| text.trim_start_matches('0').to_owned();
            let (p, q) = (number(&left[..m]), number(&right[..n]));
            let order = p.len().cmp(&q.len()).then_with(|| p.cmp(&q));
            if order.is_ne() {
                return order;
            }
            (left, right) = (&left[m..], &right[n..]);
        } else if x == y {
            (left, right) = (&left[x.len_utf8()..], &right[y.len_utf8()..]);
        } else {
            return x.cmp(&y);
        }
    }
}

/// First letter in upper case: `running` -> `Running`.
pub fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

/// `k=v,k=v`, sorted.
pub fn labels(value: &Value, path: &str) -> String {
    let fields = crate::json::object(value, path);
    let pairs = fields.into_iter().flatten().map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or("")));
    pairs.collect::<Vec<_>>().join(",")
}

/// `KEY=VALUE` words to an object; a word without `=` has an empty value.
pub fn pairs(words: &[String]) -> serde_json::Map<String, Value> {
    let pair = |word: &String| {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        (key.to_owned(), Value::from(value))
    };
    words.iter().map(pair).collect()
}

/// The id of this node, empty outside a cluster.
pub async fn own_node(client: &Client) -> Result<String> {
    let info = client.get("/info").await?;
    Ok(text(&info, "/Swarm/NodeID").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_as_people_count() {
        let mut names = ["web.10", "web.2", "web", "api.1", "web.02x"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["api.1", "web", "web.2", "web.02x", "web.10"]);
    }

    #[test]
    fn an_image_is_called_by_its_tag() {
        assert_eq!(image_name("redis:7@sha256:ab"), "redis:7");
        assert_eq!(image_name("host:5000/redis@sha256:ab"), "host:5000/redis@sha256:ab");
        assert_eq!(image_name("redis"), "redis");
    }
}
