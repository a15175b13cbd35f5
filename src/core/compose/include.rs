//! `include` at the top of a file: other compose files become part of the stack (Compose specification, "Include").
//!
//! Each item is read by itself, from its own directory and with variables of its own below the caller's, and then put
//! in. Nothing is merged: what is in two places is an error, unless it is the same in both.

use super::interpolate::{Environment, join};
use super::normal::{normal, single};
use super::origin::{Surroundings, directory, is_remote};
use super::parse::brief;
use super::read::Reader;
use super::schema::{INCLUDE, Kind};
use super::value::{Map, Node, Value};
use super::{SourceFile, Variables, variables};
use std::sync::Arc;

/// Deepest chain of files that include one another; people write one or two.
const DEPTH_MAX: usize = 16;

/// What an included file brings along.
const SECTIONS: [&str; 5] = ["networks", "volumes", "secrets", "configs", "services"];

/// The absolute paths of the files that led to an include, one list for each that was followed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trail(Vec<Vec<String>>);

impl Trail {
    pub fn with(&self, files: Vec<String>) -> Self {
        let mut longer = self.clone();
        longer.0.push(files);
        longer
    }

    fn words(&self) -> String {
        self.0.iter().filter_map(|files| files.first()).map(String::as_str).collect::<Vec<_>>().join(" -> ")
    }
}

impl Reader<'_> {
    /// Puts all that `list`, the value of `include`, names into the tree `into`. `trail`: the files that led here, the
    /// one with this list last.
    pub(super) fn include(&mut self, list: Node, around: &Arc<Surroundings>, trail: &Trail, into: &mut Node) {
        let Some(list) = self.expanded(list, "include") else { return };
        let kind = list.kind();
        let Value::List(items) = list.value else {
            return self.report.error(list.pos, "include", format!("must be a list, this is {kind}"));
        };
        for (index, item) in items.into_iter().enumerate() {
            let path = format!("include[{index}]");
            let item = match item.as_text() {
                Some(_) => single("path", item),
                None => item,
            };
            let item = normal(&Kind::Object(INCLUDE), item, &path, self.report);
            if let Some(included) = item.and_then(|item| self.included(&item, around, trail, &path)) {
                self.put_in(included, into);
            }
        }
    }

    /// The tree that one item stands for.
    fn included(&mut self, item: &Node, around: &Arc<Surroundings>, trail: &Trail, path: &str) -> Option<Node> {
        if trail.0.len() > DEPTH_MAX {
            let message = format!("files include one another more than {DEPTH_MAX} deep: {}", trail.words());
            self.report.error(item.pos, path, message);
            return None;
        }
        let mut fulls: Vec<String> = Vec::new();
        let mut sources = Vec::new();
        for file in item.get("path").map_or(&[][..], Node::items) {
            let full = self.local(file, around, &join(path, "path"))?;
            if trail.0.iter().flatten().any(|known| *known == full) {
                let message = format!("files include one another in a circle: {} -> {full}", trail.words());
                self.report.error(file.pos, path, message);
                return None;
            }
            sources.push(self.fetch(&full, file.pos, path)?);
            fulls.push(full);
        }
        let Some(first) = fulls.first() else {
            self.report.error(item.pos, path, "path, the file that is included, is missing");
            return None;
        };
        let directory = match item.get("project_directory").filter(|node| !node.is_zero()) {
            Some(node) => self.local(node, around, &join(path, "project_directory"))?,
            None => directory(first),
        };
        let env = self.variables(item, around, &directory, path)?;
        let inner = Arc::new(Surroundings { directory, env: Arc::new(env), set: self.sets });
        self.sets += 1;
        self.set(&sources, &inner, &trail.with(fulls))
    }

    /// The absolute path of a file on this host.
    fn local(&mut self, node: &Node, around: &Surroundings, path: &str) -> Option<String> {
        let name = node.as_text().unwrap_or_default();
        if is_remote(name) {
            let message = format!("{} is on another host, and none is asked; name a local copy", brief(name));
            self.report.error(node.pos, path, message);
            return None;
        }
        if name.is_empty() {
            self.report.error(node.pos, path, "the path is empty");
            return None;
        }
        Some(around.path(name))
    }

    /// The variables for an item: those of its files, else of `.env` in its directory if there is one; what is set
    /// around it goes first.
    fn variables(&mut self, item: &Node, around: &Surroundings, directory: &str, path: &str) -> Option<Environment> {
        let mut sources = Vec::new();
        let named = item.get("env_file").filter(|node| !node.is_zero());
        let (at, path) = named.map_or((item.pos, path.to_owned()), |node| (node.pos, join(path, "env_file")));
        for file in named.map_or(&[][..], Node::items) {
            let full = self.local(file, around, &path)?;
            // The way to say: none, also not .env.
            if full != "/dev/null" {
                sources.push(self.fetch(&full, file.pos, &path)?);
            }
        }
        if named.is_none() {
            let full = format!("{}/.env", directory.trim_end_matches('/'));
            let text = self.files.read(&full).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            sources.extend(text.map(|text| SourceFile { name: self.shown(&full), text }));
        }
        match variables(&sources, &around.env) {
            Ok(Variables { environment, warnings }) => {
                warnings.iter().for_each(|warning| self.report.warn(at, &path, warning.to_string()));
                Some(environment)
            }
            Err(errors) => {
                errors.iter().for_each(|error| self.report.error(at, &path, error.to_string()));
                None
            }
        }
    }

    /// Puts what `included` has into `into`.
    fn put_in(&mut self, mut included: Node, into: &mut Node) {
        if let Some(name) = included.get("name").filter(|name| !name.is_zero()) {
            let words = "ignored; the stack has the name of the file that includes this one";
            self.report.warn(name.pos, "name", words);
        }
        let Some(into) = into.as_map_mut() else { return };
        for section in SECTIONS {
            let Some(from) = included.as_map_mut().and_then(|map| map.remove(section)) else { continue };
            let pos = from.pos;
            if into.get(section).is_none() {
                into.put(section, pos, Node::new(pos, Value::Map(Map::default())));
            }
            let (Value::Map(from), Some(to)) = (from.value, into.get_mut(section).and_then(Node::as_map_mut)) else {
                continue;
            };
            for entry in from.0 {
                match to.entry(&entry.key) {
                    None => to.0.push(entry),
                    Some(there) if there.node.same(&entry.node) => {}
                    Some(there) => {
                        let message = format!(
                            "is at {} as well, and what is included is not merged; rename one of them, or name a file that changes it beside this one: path: [this, that]",
                            self.report.place(there.pos)
                        );
                        self.report.error(entry.pos, &join(section, &entry.key), message);
                    }
                }
            }
        }
    }
}
