//! `extends` of a service: another service of the same file, or of another one, lies below it (Compose specification,
//! "extends").
//!
//! Everything of that service is taken over, also what it depends on; but of its file nothing else: networks, volumes,
//! secrets and configs that it uses are to be declared by the file that extends it.

use super::interpolate::join;
use super::normal::{normal, single};
use super::origin::{Surroundings, directory, is_remote};
use super::parse::brief;
use super::read::{Layer, Reader, version};
use super::report::closest;
use super::schema::{EXTENDS, Kind};
use super::value::{Node, Pos, Value};
use std::sync::Arc;

/// Longest chain of services that extend one another; people write two or three.
const CHAIN_MAX: usize = 32;

/// What `extends` names.
struct Base {
    /// The place of `extends`.
    pos: Pos,
    service: String,
    file: Option<Node>,
}

impl Reader<'_> {
    /// What file number `file` says of its service `name`, on top of all that it extends: the lowest first.
    pub(super) fn layers(&mut self, file: usize, name: &str) -> Option<Vec<Layer>> {
        let mut layers: Vec<Layer> = Vec::new();
        let (mut file, mut name) = (file, name.to_owned());
        // Ends at a service that extends nothing, at a circle, or at CHAIN_MAX.
        loop {
            let entry = self.written.get(file)?.entry(&name)?.clone();
            let mut layer = Layer { name, pos: entry.pos, node: entry.node };
            let extends = layer.node.as_map_mut().and_then(|map| map.remove("extends")).filter(|node| !node.is_reset());
            let path = join("services", &layer.name);
            layers.push(layer);
            let Some(extends) = extends else { break };
            let base = self.base(extends, &path)?;
            file = self.base_file(&base, file, &path)?;
            name = self.base_name(&base, file, &path)?;
            self.check_chain(&layers, &base, (file, &name), &path)?;
        }
        layers.reverse();
        Some(layers)
    }

    fn base(&mut self, extends: Node, path: &str) -> Option<Base> {
        let pos = extends.pos;
        let path = join(path, "extends");
        let extends = self.expanded(extends, &path)?;
        let extends = match extends.value {
            Value::Text { .. } => single("service", extends),
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::List(_) | Value::Map(_) => {
                normal(&Kind::Object(EXTENDS), extends, &path, self.report)?
            }
        };
        let text = |key| extends.get(key).filter(|node: &&Node| !node.is_zero());
        let Some(service) = text("service").and_then(Node::as_text) else {
            self.report.error(pos, &path, "service, the name of the one that is extended, is missing");
            return None;
        };
        Some(Base { pos, service: service.to_owned(), file: text("file").cloned() })
    }

    /// The number of the file that the base is in; `from` is that of the file that names it.
    fn base_file(&mut self, base: &Base, from: usize, path: &str) -> Option<usize> {
        let Some(file) = &base.file else { return Some(from) };
        let path = join(&join(path, "extends"), "file");
        let name = file.as_text().unwrap_or_default();
        if is_remote(name) {
            let message = format!("{} is on another host, and none is asked; name a local copy", brief(name));
            self.report.error(file.pos, &path, message);
            return None;
        }
        let around = self.origins.of(file.pos).clone();
        let full = around.path(name);
        let key = (full.clone(), around.set);
        if let Some(known) = self.extended.get(&key) {
            // A file that could not be read was told of at its first use.
            return *known;
        }
        let index = self.extended_file(&full, &around, file.pos, &path);
        self.extended.insert(key, index);
        index
    }

    fn extended_file(&mut self, full: &str, from: &Surroundings, at: Pos, path: &str) -> Option<usize> {
        let source = self.fetch(full, at, path)?;
        let around = Surroundings { directory: directory(full), env: from.env.clone(), set: from.set };
        let mut root = self.parsed(&source, &Arc::new(around))?;
        version(&mut root, self.report)?;
        let index = root.pos.file;
        let services = root.as_map_mut().and_then(|map| map.remove("services"));
        match services.map(|services| services.value) {
            Some(Value::Map(services)) => {
                self.written[index] = services;
                Some(index)
            }
            Some(
                Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text { .. } | Value::List(_),
            )
            | None => {
                self.report.error(at, path, format!("{} has no services", source.name));
                None
            }
        }
    }

    fn base_name(&mut self, base: &Base, file: usize, path: &str) -> Option<String> {
        let services = self.written.get(file)?;
        if services.entry(&base.service).is_some_and(|entry| !entry.node.is_reset()) {
            return Some(base.service.clone());
        }
        let place = self.report.place(Pos { file, line: 0, column: 0 });
        let hint = match closest(&base.service, services.0.iter().map(|entry| entry.key.as_str())) {
            Some(meant) => format!("did you mean {meant}?"),
            None => "one of another file is named with file: beside service:".to_owned(),
        };
        let message = format!("{} is not a service of {place} ({hint})", brief(&base.service));
        self.report.error(base.pos, &join(path, "extends"), message);
        None
    }

    /// Refuses circles, and chains that are too long or too big.
    fn check_chain(&mut self, layers: &[Layer], base: &Base, next: (usize, &str), path: &str) -> Option<()> {
        let path = join(path, "extends");
        let (file, name) = next;
        if layers.iter().any(|layer| layer.pos.file == file && layer.name == name) {
            let named =
                |file, name: &str| format!("{} ({})", brief(name), self.report.place(Pos { file, line: 0, column: 0 }));
            let mut circle: Vec<_> = layers.iter().map(|layer| named(layer.pos.file, &layer.name)).collect();
            circle.push(named(file, name));
            let message = format!("each extends the next, in a circle: {}", circle.join(" -> "));
            self.report.error(base.pos, &path, message);
            return None;
        }
        if layers.len() >= CHAIN_MAX {
            self.report.error(base.pos, &path, format!("more than {CHAIN_MAX} services extend one another"));
            return None;
        }
        let size = self.written.get(file).and_then(|services| services.get(name)).map_or(0, Node::size);
        let Some(left) = self.values_left.checked_sub(size) else {
            self.report.error(base.pos, &path, "the services of the stack take over too much from those they extend");
            return None;
        };
        self.values_left = left;
        Some(())
    }
}
