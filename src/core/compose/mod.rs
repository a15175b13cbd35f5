//! Compose files to stacks: text in, specifications out.
//!
//! Owns what the files mean; called by the command line (`swarm stack deploy`, `swarm stack config`). It opens no
//! file and reads no environment: both are handed in. A key that is not honoured is an error or a named warning,
//! never silence.
//!
//! The way of a file, in `read`: `parse` (YAML with places) -> `marks` (what later files take away) -> `interpolate`
//! (variables) -> `normal` (checked, long form) -> `resolve` (environment files, paths) -> `merge` (with the other files).
//! `extends` and `include` bring in more files, `profiles` leaves services out. Then `emit` (canonical text) or `stack`
//! (specifications) and `rehearse` (would an empty cluster take them).

mod container;
mod depends;
mod dotenv;
mod emit;
mod extends;
mod forms;
mod include;
mod interpolate;
mod marks;
mod merge;
mod normal;
mod origin;
mod parse;
mod profiles;
mod project;
mod read;
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

use include::Trail;
use interpolate::Environment;
use origin::Origins;
use read::Reader;
use report::Report;
use std::collections::BTreeMap;
use value::{Node, Pos};

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
    /// Absolute directory that the paths of the given files start from: that of the first. Those of files that are
    /// extended or included start from their own.
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
/// `COMPOSE_PROJECT_NAME` is, or the files must have one. `env` is the caller's environment, see [`variables`]; its
/// `COMPOSE_PROFILES` says which profiles are on (names with commas between them, `*` is all). All errors of all files are
/// returned together.
pub fn load(
    name: Option<&str>,
    files: &[SourceFile],
    env: &BTreeMap<String, String>,
    reader: &dyn Files,
) -> Result<Loaded, Vec<ComposeError>> {
    let mut report = Report::default();
    let env = &*project::with_name(name, files, env);
    let name = name.or_else(|| project::name(env));
    let stack = document(files, env, reader, true, &mut report)
        .and_then(|(root, origins)| stack::build(&root, name, &origins, reader, &mut report));
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

/// As [`config`], with variables left as they are written. Where one stands for a number or a port, the file is refused;
/// in what names other files or profiles they are put in.
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
    let mut report = Report::default();
    let root =
        document(files, &project::with_name(None, files, env), reader, expand, &mut report).map(|(root, _)| root);
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

/// The tree of all files in canonical form, and what is around each of them. `None`, or anything at all in the errors
/// of `report`: do not use it.
fn document(
    files: &[SourceFile],
    env: &Environment,
    reader: &dyn Files,
    expand: bool,
    report: &mut Report,
) -> Option<(Node, Origins)> {
    let count = files.len();
    let Some(first) = files.first().filter(|_| count <= FILES_MAX) else {
        report.error(Pos::default(), "", format!("a stack is made of 1 to {FILES_MAX} files, {count} were given"));
        return None;
    };
    let mut reader = Reader::new(first, env, reader, expand, report);
    let around = reader.origins.first.clone();
    let name = first.name.rsplit('/').next().unwrap_or_default();
    let trail = Trail::default().with(vec![around.path(name)]);
    let mut root = reader.set(files, &around, &trail)?;
    let Reader { report, origins, profiles, .. } = reader;
    if report.failed() {
        return None;
    }
    shorthand::expand(&mut root, report);
    profiles.check(&root, report);
    (!report.failed()).then_some((root, origins))
}
