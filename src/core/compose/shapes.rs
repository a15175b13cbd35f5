//! Keys whose value has several written forms: brought into one.
//!
//! The other half of `normal`, which calls it. Ports and volumes have a file of their own, `forms`.

use super::interpolate::join;
use super::normal::{Normal, alone, single};
use super::schema::{self, Kind};
use super::value::{Map, Node, Pos, Value};

impl Normal<'_> {
    pub(super) fn hosts(&mut self, node: Node, path: &str) -> Option<Node> {
        let pos = node.pos;
        let mut items = Vec::new();
        match node.value {
            Value::Map(map) => {
                let mut entries = map.0;
                entries.sort_by(|a, b| a.key.cmp(&b.key));
                for entry in entries {
                    let here = join(path, &entry.key);
                    if entry.node.is_reset() {
                        let message = "one host can not be reset; give extra_hosts anew with !override";
                        self.report.error(entry.pos, &here, message);
                        return None;
                    }
                    let several = matches!(entry.node.value, Value::List(_));
                    let written = if several { entry.node } else { alone(entry.node) };
                    let here = if several { here } else { path.to_owned() };
                    let addresses = self.list(&Kind::Scalar, written, &here)?;
                    let addresses = addresses.items().iter().map(|address| address.as_text().unwrap_or_default());
                    items.extend(addresses.map(|address| host(entry.pos, &entry.key, address)));
                }
            }
            Value::List(_) => {
                for (index, item) in self.list(&Kind::Text, node, path)?.items().iter().enumerate() {
                    let text = item.as_text().unwrap_or_default();
                    match text.split_once('=').or_else(|| text.split_once(':')) {
                        Some((name, address)) => items.push(host(item.pos, name, address)),
                        None => {
                            self.report.warn(
                                item.pos,
                                &format!("{path}[{index}]"),
                                "ignored; it has no address, write NAME:ADDRESS",
                            );
                        }
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text { .. } => {
                return self.wrong(&node, path, "a list of host:address, or a mapping");
            }
        }
        Some(Node::new(pos, Value::List(items)))
    }

    pub(super) fn env_file(&mut self, node: Node, path: &str) -> Option<Node> {
        let pos = node.pos;
        let Value::List(items) = node.value else {
            return if node.as_text().is_some() {
                Some(alone(node))
            } else {
                self.wrong(&node, path, "a path or a list")
            };
        };
        let mut out = Vec::new();
        for (index, item) in items.into_iter().enumerate() {
            let here = format!("{path}[{index}]");
            if item.as_map().is_none() {
                out.push(self.text(item, &here)?);
                continue;
            }
            let mut item = self.object(schema::ENV_FILE, item, &here)?;
            // Lines are taken as they are, as docker takes them, whether that is asked for or not.
            item.as_map_mut().and_then(|map| map.remove("format"));
            let Some(file) = item.get("path").cloned() else {
                self.report.error(item.pos, &here, "path is missing");
                return None;
            };
            out.push(if item.get("required").and_then(Node::as_bool) == Some(false) { item } else { file });
        }
        Some(Node::new(pos, Value::List(out)))
    }

    pub(super) fn networks(&mut self, node: Node, path: &str) -> Option<Node> {
        let pos = node.pos;
        let Value::List(_) = node.value else {
            return self.members(&Kind::ObjectOrNull(schema::ATTACHMENT), node, path);
        };
        let names = self.list(&Kind::Text, node, path)?;
        let mut map = Map::default();
        for name in names.items() {
            map.put(name.as_text().unwrap_or_default(), name.pos, Node::new(name.pos, Value::Null));
        }
        Some(Node::new(pos, Value::Map(map)))
    }

    pub(super) fn references(&mut self, node: Node, path: &str) -> Option<Node> {
        let Value::List(items) = node.value else {
            return self.wrong(&node, path, "a list");
        };
        let mut out = Vec::new();
        for (index, item) in items.into_iter().enumerate() {
            let here = format!("{path}[{index}]");
            let item = if item.as_text().is_some() {
                single("source", item)
            } else {
                self.object(schema::FILE_REFERENCE, item, &here)?
            };
            if item.get("source").is_none_or(Node::is_zero) {
                self.report.error(item.pos, &here, "source is missing");
                return None;
            }
            out.push(item);
        }
        Some(Node::new(node.pos, Value::List(out)))
    }

    pub(super) fn ulimits(&mut self, node: Node, path: &str) -> Option<Node> {
        let Value::Map(map) = node.value else {
            return self.wrong(&node, path, "a mapping");
        };
        let mut out = Map::default();
        for entry in map.0 {
            let here = join(path, &entry.key);
            let limit = if entry.node.is_reset() {
                entry.node
            } else if entry.node.as_map().is_some() {
                let limit = self.object(schema::ULIMIT, entry.node, &here)?;
                if limit.get("soft").is_none() || limit.get("hard").is_none() {
                    self.report.error(limit.pos, &here, "both soft and hard are needed");
                    return None;
                }
                limit
            } else {
                self.integer(entry.node, &here, -1)?
            };
            out.put(&entry.key, entry.pos, limit);
        }
        Some(Node::new(node.pos, Value::Map(out)))
    }

    /// `true`, `false`, or `{name: …}`, which stays a mapping until the name of the object is settled.
    pub(super) fn external(&mut self, node: Node, path: &str) -> Option<Node> {
        if node.as_map().is_some() {
            self.report.warn(node.pos, path, "external.name is deprecated; write external: true and name: beside it");
            return self.object(schema::EXTERNAL, node, path);
        }
        self.boolean(node, path)
    }

    pub(super) fn build(&mut self, node: Node, path: &str) -> Option<Node> {
        if node.as_text().is_some() {
            return Some(single("context", node));
        }
        let Value::Map(mut map) = node.value else {
            return self.wrong(&node, path, "a string or a mapping");
        };
        // Nothing of it is used, so keys beyond those that are printed are no errors.
        map.0.retain(|entry| schema::BUILD.iter().any(|key| key.name == entry.key));
        self.object(schema::BUILD, Node::new(node.pos, Value::Map(map)), path)
    }

    pub(super) fn file_mode(&mut self, node: Node, path: &str) -> Option<Node> {
        let mode = match &node.value {
            Value::Text { text, .. } => i64::from_str_radix(text.trim_start_matches("0o"), 8).ok(),
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::List(_) | Value::Map(_) => {
                node.as_int()
            }
        };
        match mode {
            Some(mode) if (0..=0o7777).contains(&mode) => Some(Node::new(node.pos, Value::Int(mode))),
            Some(_) | None => {
                self.report.error(node.pos, path, "must be a file mode such as 0440");
                None
            }
        }
    }
}

/// One entry of extra_hosts; an address may be in brackets.
fn host(pos: Pos, name: &str, address: &str) -> Node {
    let bare = address.strip_prefix('[').and_then(|address| address.strip_suffix(']')).unwrap_or(address);
    Node::text(pos, format!("{name}:{bare}"))
}
