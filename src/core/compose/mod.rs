//! Compose files to stacks: text in, specifications out.
//!
//! Owns what the files mean; called by the command line (`swarm stack deploy`, `swarm stack config`). It opens no
//! file and reads no environment: both are handed in. A key that is not honoured is an error or a named warning,
//! never silence.
//!
//! The way of a file: `parse` (YAML with places) -> `interpolate` (variables) -> `normal` (checked, long form) ->
//! `resolve` (environment files, paths) -> `merge` (with the other files) -> `emit` (canonical text) or `stack`
//! (specifications) and `rehearse` (would an empty cluster take them).

mod container;
mod depends;
mod dotenv;
mod emit;
mod forms;
mod interpolate;
mod merge;
mod normal;
mod parse;
mod project;
mod rehearse;
mod report;
mod resolve;
mod schema;
mod service;
mod shapes;
mod shorthand;
mod stack;
#[cfg(test)]
mod tests;
mod units;
mod unserved;
mod unused;
mod value;
mod words;

pub use dotenv::{Variables, variables};
pub use report::{ComposeError, Note, Warning};
pub use stack::{Attachment, FileUse, Lookup, Stack, StackService, UnknownName};

use report::Report;
use schema::Kind;
use std::collections::BTreeMap;
use value::{Map, Node, Pos, Value};

/// Most files of one stack.
const FILES_MAX: usize = 100;

/// The version docker prints when a file has none.
const VERSION_DEFAULT: &str = "3.13";

/// Label of everything that belongs to a stack; its value is the stack's name.
pub const LABEL_NAMESPACE: &str = "com.docker.stack.namespace";
/// Label of a service: the image as the file names it.
pub const LABEL_IMAGE: &str = "com.docker.stack.image";

/// One compose file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// As the user gave it; only for messages.
    pub name: String,
    /// The YAML.
    pub text: String,
}

/// The files a compose file refers to, read by whoever may.
pub trait Files {
    /// Absolute directory that relative paths start from: that of the first compose file.
    fn directory(&self) -> &str;
    /// Content of the file at the absolute `path`; the error in words ("No such file or directory").
    fn read(&self, path: &str) -> Result<Vec<u8>, String>;
}

/// A stack, and what was said about its files.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub stack: Stack,
    pub warnings: Vec<Warning>,
}

/// The canonical text of a stack, and what was said about its files.
#[derive(Clone, Debug)]
pub struct Canonical {
    /// YAML, ends in a newline.
    pub yaml: String,
    pub warnings: Vec<Warning>,
}

/// Reads the files of a stack; later files override earlier ones. `name` is the stack's name; without it
/// `COMPOSE_PROJECT_NAME` is, or the files must have one. `env` is the caller's environment, see [`variables`]. All errors
/// of all files are returned together.
pub fn load(
    name: Option<&str>,
    files: &[SourceFile],
    env: &BTreeMap<String, String>,
    reader: &dyn Files,
) -> Result<Loaded, Vec<ComposeError>> {
    let mut report = Report::new(files.iter().map(|file| file.name.clone()).collect());
    let env = &*project::with_name(name, files, env);
    let name = name.or_else(|| project::name(env));
    let stack = document(files, env, reader, true, &mut report)
        .and_then(|root| stack::build(&root, name, env, reader, &mut report));
    let warnings = report.finish()?;
    // A reader that gave up without a word would be a bug of ours; say so instead of panicking.
    let stack = stack.ok_or_else(|| vec![incomplete(files)])?;
    Ok(Loaded { stack, warnings })
}

/// The canonical form of the merged files, as `docker stack config` prints it; ports keep their `host_ip`.
pub fn config(
    files: &[SourceFile],
    env: &BTreeMap<String, String>,
    reader: &dyn Files,
) -> Result<Canonical, Vec<ComposeError>> {
    canonical(files, env, reader, true)
}

/// As [`config`], with variables left as they are written. Where one stands for a number or a port, the file is refused.
pub fn config_uninterpolated(
    files: &[SourceFile],
    env: &BTreeMap<String, String>,
    reader: &dyn Files,
) -> Result<Canonical, Vec<ComposeError>> {
    canonical(files, env, reader, false)
}

fn canonical(
    files: &[SourceFile],
    env: &BTreeMap<String, String>,
    reader: &dyn Files,
    expand: bool,
) -> Result<Canonical, Vec<ComposeError>> {
    let mut report = Report::new(files.iter().map(|file| file.name.clone()).collect());
    let root = document(files, &project::with_name(None, files, env), reader, expand, &mut report);
    if let Some(root) = &root {
        depends::refuse_cycles(root, &mut report);
        for found in unserved::find(root) {
            report.warn(found.pos, &found.path, format!("not honoured, and not deployed: {}", found.instead));
        }
    }
    let warnings = report.finish()?;
    let root = root.ok_or_else(|| vec![incomplete(files)])?;
    Ok(Canonical { yaml: emit::yaml(&emit::prune(schema::TOP, root)), warnings })
}

fn incomplete(files: &[SourceFile]) -> ComposeError {
    let file = files.first().map(|file| file.name.clone()).unwrap_or_default();
    let message = "the file could not be read, and no reason was found".to_owned();
    ComposeError(Note { file, line: 0, column: 0, path: String::new(), message })
}

/// The merged tree in canonical form. `None`, or anything at all in the errors of `report`: do not use it.
fn document(
    files: &[SourceFile],
    env: &BTreeMap<String, String>,
    reader: &dyn Files,
    expand: bool,
    report: &mut Report,
) -> Option<Node> {
    if files.is_empty() || files.len() > FILES_MAX {
        report.error(
            Pos::default(),
            "",
            format!("a stack is made of 1 to {FILES_MAX} files, {} were given", files.len()),
        );
        return None;
    }
    let mut merged: Option<Node> = None;
    for (index, file) in files.iter().enumerate() {
        let Some(root) = one_file(&file.text, index, env, reader, expand, report) else { continue };
        merged = match merged {
            None => Some(root),
            Some(base) => {
                same_version(&base, &root, report);
                Some(merge::merge(schema::TOP, base, root))
            }
        };
    }
    if report.failed() {
        return None;
    }
    if let Some(root) = &mut merged {
        shorthand::expand(root, report);
    }
    merged
}

fn one_file(
    text: &str,
    index: usize,
    env: &BTreeMap<String, String>,
    reader: &dyn Files,
    expand: bool,
    report: &mut Report,
) -> Option<Node> {
    let mut root = parse::parse(text, index, report)?;
    let pos = root.pos;
    let Some(map) = root.as_map_mut() else {
        report.error(pos, "", format!("the file must be a mapping with services, this is {}", root.kind()));
        return None;
    };
    let version = version(map, pos, report)?;
    map.put("version", pos, Node::text(pos, version));
    if expand {
        interpolate::expand_tree(&mut root, "", env, report);
    }
    let mut root = normal::normal(&Kind::Object(schema::TOP), root, "", report)?;
    resolve::Resolver { env, files: reader, report }.file(&mut root);
    if let Some(map) = root.as_map_mut()
        && map.get("services").is_none()
    {
        map.put("services", pos, Node::new(pos, Value::Map(Map::default())));
    }
    Some(root)
}

/// The file's version: any of 3. A file without one follows the newest rules.
fn version(map: &Map, pos: Pos, report: &mut Report) -> Option<String> {
    let Some(node) = map.get("version") else {
        return Some(VERSION_DEFAULT.to_owned());
    };
    let Some(text) = node.as_text() else {
        report.error(node.pos, "version", format!("must be a string (put it in quotes), this is {}", node.kind()));
        return None;
    };
    let minor = text.strip_prefix("3.").map(str::parse::<u8>);
    match (text, minor) {
        ("3" | "", _) => Some(VERSION_DEFAULT.to_owned()),
        (_, Some(Ok(_))) => Some(text.to_owned()),
        (_, Some(Err(_)) | None) => {
            let pos = if node.pos.line == 0 { pos } else { node.pos };
            let message = format!(
                "unsupported version \"{}\"; write the file for version 3 and remove this line",
                parse::brief(text)
            );
            report.error(pos, "version", message);
            None
        }
    }
}

fn same_version(base: &Node, over: &Node, report: &mut Report) {
    let of = |node: &Node| node.get("version").and_then(Node::as_text).unwrap_or_default().to_owned();
    if of(base) != of(over) {
        let pos = over.get("version").map_or(over.pos, |node| node.pos);
        let message = format!("the files have different versions, {} and {}; make them the same", of(base), of(over));
        report.error(pos, "version", message);
    }
}
