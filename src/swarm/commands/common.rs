//! What commands share: options of lists, names in tables, order of names.

use crate::client::{Client, segment};
use crate::error::{CliError, Result};
use crate::filter;
use crate::json::text;
use crate::names::Object;
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
    pub async fn run(&self, client: &Client, object: Object, prefix: &str) -> Result<()> {
        let fetch = async |name: String| client.get(&format!("{prefix}/{}", segment(&name))).await;
        self.run_with(object, fetch).await
    }

    pub async fn run_with(&self, object: Object, fetch: impl AsyncFn(String) -> Result<Value>) -> Result<()> {
        let (found, failures) = self.fetch(fetch).await?;
        print_objects(found, object, self.format.as_deref())?;
        tell(failures)
    }

    /// Prints the objects in words.
    pub async fn run_pretty(
        &self,
        fetch: impl AsyncFn(String) -> Result<Value>,
        words: impl AsyncFn(&Value) -> Result<String>,
    ) -> Result<()> {
        let (found, failures) = self.fetch(fetch).await?;
        for object in &found {
            write_out(&words(object).await?);
        }
        tell(failures)
    }

    /// What is found, and why the others are not.
    async fn fetch(&self, fetch: impl AsyncFn(String) -> Result<Value>) -> Result<(Vec<Value>, Vec<CliError>)> {
        let mut found = Vec::new();
        let mut failures = Vec::new();
        for name in &self.names {
            match fetch(name.clone()).await {
                Ok(object) => found.push(object),
                Err(error @ CliError::Connect { .. }) => return Err(error),
                Err(error) => failures.push(error),
            }
        }
        Ok((found, failures))
    }

    /// Whether words are wanted: docker's other way to say `--pretty`.
    pub fn is_pretty(&self) -> bool {
        self.format.as_deref() == Some("pretty")
    }
}

/// Prints objects of one kind as docker's `inspect` does.
pub fn print_objects(objects: Vec<Value>, object: Object, format: Option<&str>) -> Result<()> {
    let found: Vec<(Object, Value)> = objects.into_iter().map(|value| (object, value)).collect();
    print_found(&found, format)
}

/// Prints objects, each of its own kind.
pub fn print_found(found: &[(Object, Value)], format: Option<&str>) -> Result<()> {
    let objects = || Value::from(found.iter().map(|(_, value)| value.clone()).collect::<Vec<_>>());
    let format = match format {
        None | Some("") => {
            write_out(&format!("{}\n", pretty(&objects())?));
            return Ok(());
        }
        Some("json") => {
            write_out(&format!("{}\n", objects()));
            return Ok(());
        }
        Some(format) => format.replace("\\t", "\t").replace("\\n", "\n"),
    };
    let template = Template::for_objects(&format)
        .map_err(|fault| CliError::usage(format!("template parsing error: {}", fault.as_in_go(""))))?;
    let mut out = String::new();
    let mut failure = None;
    for (object, value) in found {
        match template.render_inspected(value, *object) {
            Ok(text) => {
                out.push_str(&text);
                out.push('\n');
            }
            Err(error) => {
                failure = Some(error);
                break;
            }
        }
    }
    // Docker ends its output with a line also when there is nothing in it.
    write_out(if out.is_empty() { "\n" } else { &out });
    failure.map_or(Ok(()), Err)
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

/// What people call an image: without the names that stand for themselves, and without its digest where there is a tag.
pub fn image_name(image: &str) -> &str {
    let (name, tagged) = match image.split_once('@') {
        Some((name, _)) => (name, name.rsplit('/').next().is_some_and(|last| last.contains(':'))),
        None => (image, true),
    };
    // A name with a digest alone keeps it: there is nothing else to tell it by.
    familiar(if tagged { name } else { image })
}

/// `docker.io/library/redis:7` is `redis:7`.
pub fn familiar(image: &str) -> &str {
    let Some(rest) = image.strip_prefix("docker.io/").or_else(|| image.strip_prefix("index.docker.io/")) else {
        return image;
    };
    rest.strip_prefix("library/").filter(|rest| !rest.contains('/')).unwrap_or(rest)
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

/// Labels of an object in words: those without a value by their names alone.
pub fn label_lines(value: &Value, path: &str) -> Vec<String> {
    let fields = crate::json::object(value, path).into_iter().flatten();
    let line = |(key, value): (&String, &Value)| match value.as_str().unwrap_or("") {
        "" => key.clone(),
        value => format!("{key}={value}"),
    };
    fields.map(line).collect()
}

/// The labels of what a row shows, for `.Label "KEY"`.
pub fn label_map(value: &Value, path: &str) -> Value {
    value.pointer(path).filter(|found| found.is_object()).cloned().unwrap_or_else(|| Value::Object(Default::default()))
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
        assert_eq!(image_name("docker.io/library/redis:7@sha256:ab"), "redis:7");
        assert_eq!(image_name("docker.io/me/x"), "me/x");
        assert_eq!(image_name("docker.io/library/a/b"), "library/a/b");
    }
}
