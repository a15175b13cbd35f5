//! What a compose file leaves to its surroundings: environment files, variables without a value, paths relative
//! to the file, names of external objects.
//!
//! Called by `read` for each file after `normal`, for services after those they extend are merged in. What a value
//! means depends on the file that it is written in. Reads files only through [`Files`].

use super::interpolate::join;
use super::origin::Origins;
use super::parse::brief;
use super::report::Report;
use super::value::{Map, Mark, Node, Value};
use super::{Files, words};

/// Most bytes of an environment file.
const ENV_FILE_BYTES_MAX: usize = 1024 * 1024;

pub(crate) struct Resolver<'a> {
    pub origins: &'a Origins,
    pub files: &'a dyn Files,
    pub report: &'a mut Report,
}

impl Resolver<'_> {
    /// Resolves all of a file in canonical form but its services.
    pub fn sections(&mut self, root: &mut Node) {
        let Some(root) = root.as_map_mut() else { return };
        for section in ["networks", "volumes", "secrets", "configs"] {
            let Some(members) = root.get_mut(section).and_then(Node::as_map_mut) else { continue };
            for entry in &mut members.0 {
                let path = join(section, &entry.key);
                if let Some(member) = entry.node.as_map_mut() {
                    self.external(&entry.key, member, &path);
                    self.absolute(member, "file");
                }
            }
        }
    }

    /// Resolves a service in canonical form.
    pub fn service(&mut self, service: &mut Node, path: &str) {
        if let Some(service) = service.as_map_mut() {
            self.environment(service, path);
            self.labels(service, path);
            self.mounts(service);
        }
    }

    /// The object's name is settled: `name`, else the key; what external excludes is refused.
    fn external(&mut self, key: &str, member: &mut Map, path: &str) {
        let Some(external) = member.entry("external").filter(|entry| !entry.node.is_reset()).cloned() else { return };
        let inner = external.node.get("name").cloned();
        if external.node.as_bool() == Some(false) {
            member.remove("external");
            return;
        }
        let others = ["name", "external", "x-cluster-spec", "template_driver"];
        let odd: Vec<_> = member
            .0
            .iter()
            .filter(|e| !others.contains(&e.key.as_str()) && !e.key.starts_with("x-") && !e.node.is_zero())
            .collect();
        if let Some(odd) = odd.first() {
            let message = format!("{} cannot be given for what is external: it exists already", odd.key);
            self.report.error(odd.pos, path, message);
        }
        if let Some(driver) = member.entry("template_driver").filter(|entry| !entry.node.is_zero()) {
            let message = "template_driver is ignored for what is external: it was said when that was made";
            self.report.warn(driver.pos, path, message);
        }
        if inner.is_some() && member.get("name").is_some_and(|name| !name.is_zero()) {
            self.report.error(external.pos, path, "both external.name and name are given; write only name");
        }
        let pos = external.pos;
        let name = inner.or_else(|| member.get("name").cloned()).filter(|name| !name.is_zero());
        member.put("name", pos, name.unwrap_or_else(|| Node::text(pos, key)));
        member.put("external", pos, Node::new(pos, Value::Bool(true)));
    }

    fn absolute(&self, map: &mut Map, key: &str) {
        if let Some(node) = map.get_mut(key) {
            self.absolute_text(node);
        }
    }

    fn absolute_text(&self, node: &mut Node) {
        if let Some(text) = node.as_text().filter(|text| !text.is_empty()) {
            *node = Node::text(node.pos, self.origins.of(node.pos).path(text)).marked(node.mark);
        }
    }

    fn mounts(&mut self, service: &mut Map) {
        let Some(Node { value: Value::List(mounts), .. }) = service.get_mut("volumes") else { return };
        for mount in mounts {
            if mount.get("type").and_then(Node::as_text) == Some("bind")
                && let Some(mount) = mount.as_map_mut()
            {
                self.absolute(mount, "source");
            }
        }
    }

    /// Environment files first, then what the service itself says; a name without a value takes the caller's. A name
    /// that is reset stays away, also where an environment file has it.
    fn environment(&mut self, service: &mut Map, path: &str) {
        let mut all = Map::default();
        let files = service.get("env_file").filter(|files| !files.is_reset()).cloned();
        for file in files.iter().flat_map(Node::items) {
            self.env_file(file, &join(path, "env_file"), &mut all);
        }
        let own = service.get("environment").cloned();
        for entry in own.iter().flat_map(|node| node.entries()) {
            all.put(&entry.key, entry.pos, entry.node.clone());
        }
        for entry in &mut all.0 {
            if entry.node.is_null()
                && entry.node.mark == Mark::Plain
                && let Some(value) = self.origins.of(entry.node.pos).env.get(&entry.key)
            {
                entry.node = Node::text(entry.node.pos, value.clone());
            }
        }
        // What the service resets or overrides is gone from the earlier files already; their environment files stay.
        if let Some(pos) = own.as_ref().or(files.as_ref()).map(|node| node.pos) {
            service.put("environment", pos, Node::new(pos, Value::Map(all)));
        }
    }

    /// Files of variables that a file of another directory names are named so that they are found from here; before
    /// services are merged, so that two files of one name in two directories stay two.
    pub fn settle(&self, service: &mut Node) {
        let Some(service) = service.as_map_mut() else { return };
        for key in ["env_file", "label_file"] {
            let Some(Node { value: Value::List(files), .. }) = service.get_mut(key) else { continue };
            for file in files.iter_mut().filter(|file| self.origins.is_elsewhere(file.pos)) {
                match file.as_map_mut() {
                    Some(map) => self.absolute(map, "path"),
                    None => self.absolute_text(file),
                }
            }
        }
    }

    fn env_file(&mut self, file: &Node, path: &str, all: &mut Map) {
        let around = self.origins.of(file.pos).clone();
        for (name, value) in self.pairs(file, path) {
            if let Some(value) = value.or_else(|| around.env.get(&name).cloned()) {
                all.put(&name, file.pos, Node::text(file.pos, value));
            }
        }
    }

    /// Files of labels first, then what the service itself says; nothing behind knows the files.
    fn labels(&mut self, service: &mut Map, path: &str) {
        let Some(files) = service.remove("label_file") else { return };
        let mut all = Map::default();
        for file in files.items() {
            for (name, value) in self.pairs(file, &join(path, "label_file")) {
                all.put(&name, file.pos, Node::text(file.pos, value.unwrap_or_default()));
            }
        }
        for entry in service.get("labels").map_or(&[][..], Node::entries) {
            all.put(&entry.key, entry.pos, entry.node.clone());
        }
        service.put("labels", files.pos, Node::new(files.pos, Value::Map(all)));
    }

    /// The lines of a file of `NAME=value`; what is wrong with it goes to the report.
    fn pairs(&mut self, file: &Node, path: &str) -> Vec<words::Variable> {
        let optional = file.get("required").and_then(Node::as_bool) == Some(false);
        let Some(name) = file.get("path").unwrap_or(file).as_text() else { return Vec::new() };
        let full = self.origins.of(file.pos).path(name);
        let lines = match self.files.read(&full) {
            Err(_) if optional => return Vec::new(),
            Err(why) => Err(format!("cannot read {full}: {why}")),
            Ok(bytes) if bytes.len() > ENV_FILE_BYTES_MAX => {
                Err(format!("{full} is longer than {ENV_FILE_BYTES_MAX} bytes"))
            }
            Ok(bytes) => match String::from_utf8(bytes) {
                Ok(text) => words::env_file(&text).map_err(|(line, why)| format!("{}:{line}: {why}", brief(&full))),
                Err(_) => Err(format!("{full} is no UTF-8 text")),
            },
        };
        lines.unwrap_or_else(|message| {
            self.report.error(file.pos, path, message);
            Vec::new()
        })
    }
}
