//! The files of a stack to one tree: those of the command line, what they extend and what they include.
//!
//! Owns the order of things. Called by `compose` once for a stack; `extends` and `include` are the other halves of
//! [`Reader`]. Files are read only through [`Files`], and no more of them than the bounds allow.
//!
//! A service is a pile of layers until the end: what each file says of it, and below that the services it extends.
//! Nothing of a layer is looked at before it is known what is reset and whether the service is on.

use super::include::Trail;
use super::interpolate::{Environment, expand_tree, join};
use super::marks;
use super::merge::merge;
use super::normal::normal;
use super::origin::{Origins, Surroundings};
use super::parse;
use super::profiles::Profiles;
use super::report::Report;
use super::resolve::Resolver;
use super::schema::{self, Kind};
use super::value::{Entry, Map, Mark, Node, Pos, Value};
use super::{Files, SourceFile, VERSION_DEFAULT, depends};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Most files that extends and include bring in; more are a mistake.
const FILES_BROUGHT_MAX: usize = 500;
/// Most values that services take over from those they extend, in one stack: a big one must not be copied without end.
const VALUES_BROUGHT_MAX: usize = 1_000_000;

static SERVICES: Kind = Kind::Members(&Kind::Object(schema::SERVICE));

/// Reads files and puts them together.
pub(crate) struct Reader<'a> {
    pub files: &'a dyn Files,
    pub report: &'a mut Report,
    pub origins: Origins,
    pub profiles: Profiles,
    /// What messages put before the name of a file below the stack's directory.
    prefix: String,
    /// The services of each file as they are written, by the file's number.
    pub written: Vec<Map>,
    /// Files that extends names: their numbers, by path and by the set that they are read for.
    pub extended: BTreeMap<(String, usize), Option<usize>>,
    pub sets: usize,
    files_left: usize,
    /// Whether variables are put in; in what names other files they always are.
    expand: bool,
    pub values_left: usize,
}

/// What one file, or a service it extends, says of a service.
pub(crate) struct Layer {
    /// Under this name in its own file.
    pub name: String,
    /// Of that name.
    pub pos: Pos,
    pub node: Node,
}

/// A service, and the files of the set that have something to say of it.
struct Wanted {
    name: String,
    pos: Pos,
    files: Vec<usize>,
}

/// What is in the files of a set beside their sections.
#[derive(Default)]
struct Parts {
    services: Vec<Wanted>,
    includes: Vec<Node>,
}

impl<'a> Reader<'a> {
    pub fn new(
        first: &SourceFile,
        env: &Environment,
        files: &'a dyn Files,
        expand: bool,
        report: &'a mut Report,
    ) -> Self {
        let around = Surroundings { directory: files.directory().to_owned(), env: Arc::new(env.clone()), set: 0 };
        let prefix = first.name.rfind('/').map_or("", |at| &first.name[..=at]).to_owned();
        Self {
            files,
            report,
            origins: Origins::new(around),
            profiles: Profiles::new(env),
            prefix,
            written: Vec::new(),
            extended: BTreeMap::new(),
            sets: 1,
            files_left: FILES_BROUGHT_MAX,
            expand,
            values_left: VALUES_BROUGHT_MAX,
        }
    }

    fn resolver(&mut self) -> Resolver<'_> {
        Resolver { origins: &self.origins, files: self.files, report: self.report }
    }

    /// Puts variables in. `None`: one is wrong, and the report says why.
    pub fn expanded(&mut self, mut node: Node, path: &str) -> Option<Node> {
        let before = self.report.errors();
        let around = self.origins.of(node.pos).clone();
        expand_tree(&mut node, path, &around.env, self.report);
        (self.report.errors() == before).then_some(node)
    }

    /// How messages name the file at the absolute `path`.
    pub fn shown(&self, path: &str) -> String {
        let directory = self.origins.first.directory.trim_end_matches('/');
        match path.strip_prefix(directory).and_then(|rest| rest.strip_prefix('/')) {
            Some(rest) => format!("{}{rest}", self.prefix),
            None => path.to_owned(),
        }
    }

    /// The text of a file that the value at `at` names; an error there when it cannot be had.
    pub fn fetch(&mut self, full: &str, at: Pos, path: &str) -> Option<SourceFile> {
        let Some(left) = self.files_left.checked_sub(1) else {
            let message = format!("extends and include bring in more than {FILES_BROUGHT_MAX} files");
            self.report.error(at, path, message);
            return None;
        };
        self.files_left = left;
        let text = self
            .files
            .read(full)
            .and_then(|bytes| String::from_utf8(bytes).map_err(|_| "it is no UTF-8 text".to_owned()));
        match text {
            Ok(text) => Some(SourceFile { name: self.shown(full), text }),
            Err(why) => {
                self.report.error(at, path, format!("cannot read {full}: {why}"));
                None
            }
        }
    }

    /// The tree of a file as it is written; the file's number is in its place.
    pub fn parsed(&mut self, file: &SourceFile, around: &Arc<Surroundings>) -> Option<Node> {
        let index = self.report.file(file.name.clone());
        self.origins.add(around.clone());
        self.written.push(Map::default());
        let root = parse::parse(&file.text, index, self.report)?;
        if root.as_map().is_none() {
            let message = format!("the file must be a mapping with services, this is {}", root.kind());
            self.report.error(root.pos, "", message);
            return None;
        }
        Some(root)
    }

    /// Files that override one another, and what they include, in canonical form. `trail`: the files that led here.
    /// `None`, or anything at all in the errors of the report: do not use it.
    pub fn set(&mut self, files: &[SourceFile], around: &Arc<Surroundings>, trail: &Trail) -> Option<Node> {
        let mut roots: Vec<Node> = files.iter().filter_map(|file| self.parsed(file, around)).collect();
        let mut parts = Parts::default();
        for root in &mut roots {
            self.take_apart(root, &mut parts);
        }
        marks::take_away(&mut roots.iter_mut().collect::<Vec<_>>());
        let versions: Vec<_> = roots.iter_mut().map(|root| version(root, self.report)).collect();
        if versions.contains(&None) {
            return None;
        }
        let mut merged: Option<Node> = None;
        for root in roots {
            let Some(root) = self.sections(root) else { continue };
            merged = match merged {
                None => Some(root),
                Some(base) => {
                    same_version(&base, &root, self.report);
                    Some(merge(schema::TOP, base, root))
                }
            };
        }
        let services: Vec<Entry> = parts.services.iter().filter_map(|wanted| self.service(wanted)).collect();
        let mut merged = merged?;
        let pos = merged.pos;
        if let Some(map) = merged.as_map_mut() {
            let pos = map.get("services").map_or(pos, |node| node.pos);
            map.put("services", pos, Node::new(pos, Value::Map(Map(services))));
        }
        for item in parts.includes {
            self.include(item, around, trail, &mut merged);
        }
        marks::strip(&mut merged);
        let services = merged.as_map_mut().and_then(|map| map.get_mut("services")?.as_map_mut());
        services.into_iter().flat_map(|map| &mut map.0).for_each(|service| depends::tidy(&mut service.node));
        Some(merged)
    }

    /// Takes services and includes out of a file: they have ways of their own.
    fn take_apart(&mut self, root: &mut Node, parts: &mut Parts) {
        let index = root.pos.file;
        let Some(map) = root.as_map_mut() else { return };
        if let Some(include) = map.remove("include") {
            if include.mark != Mark::Plain {
                parts.includes.clear();
            }
            parts.includes.extend((!include.is_reset()).then_some(include));
        }
        let Some(services) = map.get_mut("services") else { return };
        if services.mark != Mark::Plain {
            parts.services.clear();
        }
        let empty = Node::new(services.pos, Value::Map(Map::default()));
        match services.value {
            Value::Map(_) => {}
            Value::Null if services.is_reset() => {}
            // Wrong; told with the sections.
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text { .. } | Value::List(_) => {
                return;
            }
        }
        let Value::Map(services) = std::mem::replace(services, empty).value else { return };
        for entry in &services.0 {
            let at = parts.services.iter().position(|wanted| wanted.name == entry.key).unwrap_or_else(|| {
                parts.services.push(Wanted { name: entry.key.clone(), pos: entry.pos, files: Vec::new() });
                parts.services.len() - 1
            });
            let wanted = &mut parts.services[at];
            if entry.node.mark != Mark::Plain {
                (wanted.pos, wanted.files) = (entry.pos, Vec::new());
            }
            wanted.files.extend((!entry.node.is_reset()).then_some(index));
        }
        self.written[index] = services;
    }

    /// All of a file but services and includes, in canonical form.
    fn sections(&mut self, mut root: Node) -> Option<Node> {
        let around = self.origins.of(root.pos).clone();
        if self.expand {
            expand_tree(&mut root, "", &around.env, self.report);
        }
        let mut root = normal(&Kind::Object(schema::TOP), root, "", self.report)?;
        self.resolver().sections(&mut root);
        Some(root)
    }

    /// A service, complete. `None` when it is off, or wrong; a mark when the files take it away.
    fn service(&mut self, wanted: &Wanted) -> Option<Entry> {
        let Wanted { name, pos, files } = wanted;
        let entry = |node| Entry { key: name.clone(), pos: *pos, node };
        if files.is_empty() {
            return Some(entry(Node::new(*pos, Value::Null).marked(Mark::Reset)));
        }
        let piles: Vec<_> = files.iter().map(|file| self.layers(*file, name)).collect();
        let mut piles: Vec<Vec<Layer>> = piles.into_iter().collect::<Option<_>>()?;
        marks::take_away(&mut piles.iter_mut().flatten().map(|layer| &mut layer.node).collect::<Vec<_>>());
        let profiles = self.profiles_of(&mut piles)?;
        if !self.profiles.is_on(name, profiles) {
            return None;
        }
        let piles: Vec<_> = piles.into_iter().map(|pile| self.pile(name, pile)).collect();
        let piles: Vec<Node> = piles.into_iter().collect::<Option<_>>()?;
        piles.into_iter().reduce(|base, over| merge(schema::SERVICE, base, over)).map(entry)
    }

    /// What one file says of a service, with what it extends, in canonical form.
    fn pile(&mut self, name: &str, layers: Vec<Layer>) -> Option<Node> {
        let layers: Vec<_> = layers.into_iter().map(|layer| self.layer(layer)).collect();
        let layers: Vec<Node> = layers.into_iter().collect::<Option<_>>()?;
        let mut service = layers.into_iter().reduce(|base, over| merge(schema::SERVICE, base, over))?;
        self.resolver().service(&mut service, &join("services", name));
        Some(service)
    }

    fn layer(&mut self, layer: Layer) -> Option<Node> {
        let Layer { name, pos, mut node } = layer;
        let around = self.origins.of(pos).clone();
        if self.expand {
            expand_tree(&mut node, &join("services", &name), &around.env, self.report);
        }
        let alone = Map(vec![Entry { key: name.clone(), pos, node }]);
        let mut checked = normal(&SERVICES, Node::new(pos, Value::Map(alone)), "services", self.report)?;
        let mut service = checked.as_map_mut()?.remove(&name)?;
        self.resolver().settle(&mut service);
        Some(service)
    }
}

/// Settles the file's version: any of 3. A file without one follows the newest rules.
pub(crate) fn version(root: &mut Node, report: &mut Report) -> Option<()> {
    let pos = root.pos;
    let map = root.as_map_mut()?;
    let version = match map.get("version").filter(|node| !node.is_reset()) {
        Some(node) => known_version(node, pos, report)?,
        None => VERSION_DEFAULT.to_owned(),
    };
    map.put("version", pos, Node::text(pos, version));
    Some(())
}

fn known_version(node: &Node, root: Pos, report: &mut Report) -> Option<String> {
    let Some(text) = node.as_text() else {
        report.error(node.pos, "version", format!("must be a string (put it in quotes), this is {}", node.kind()));
        return None;
    };
    let minor = text.strip_prefix("3.").map(str::parse::<u8>);
    match (text, minor) {
        ("3" | "", _) => Some(VERSION_DEFAULT.to_owned()),
        (_, Some(Ok(_))) => Some(text.to_owned()),
        (_, Some(Err(_)) | None) => {
            let pos = if node.pos.line == 0 { root } else { node.pos };
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
