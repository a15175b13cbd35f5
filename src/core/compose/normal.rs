//! Checks a tree against the tables of `schema` and brings every value into its long form.
//!
//! Called by `compose` for each file, after variables are put in and before files are merged.

use super::interpolate::join;
use super::parse::brief;
use super::report::{Report, closest};
use super::schema::{Key, Kind, Standing};
use super::value::{Entry, Map, Node, Pos, Value};
use super::{forms, units, words};

/// Brings `node` into the form of `kind`. `None`: it is wrong, and `report` says why.
pub(crate) fn normal(kind: &Kind, node: Node, path: &str, report: &mut Report) -> Option<Node> {
    Normal { report }.value(kind, node, path)
}

pub(crate) struct Normal<'r> {
    pub report: &'r mut Report,
}

impl Normal<'_> {
    pub fn wrong(&mut self, node: &Node, path: &str, wanted: &str) -> Option<Node> {
        self.report.error(node.pos, path, format!("must be {wanted}, this is {}", node.kind()));
        None
    }

    /// What is reset stays as it is: it is not looked at.
    pub fn value(&mut self, kind: &Kind, node: Node, path: &str) -> Option<Node> {
        let mark = node.mark;
        if node.is_reset() { Some(node) } else { self.shape(kind, node, path).map(|node| node.marked(mark)) }
    }

    fn shape(&mut self, kind: &Kind, node: Node, path: &str) -> Option<Node> {
        match kind {
            Kind::Text => self.text(node, path),
            Kind::TextOrNull if node.is_null() => Some(node),
            Kind::TextOrNull => self.text(node, path),
            Kind::Scalar => self.scalar(node, path),
            Kind::Bool => self.boolean(node, path),
            Kind::Int => self.integer(node, path, i64::MIN),
            Kind::Count => self.integer(node, path, 0),
            Kind::Number => self.number(node, path),
            Kind::Duration => self.duration(node, path),
            Kind::Bytes => self.bytes(node, path).map(|(pos, size)| Node::text(pos, size.to_string())),
            Kind::Size => self.bytes(node, path).map(|(pos, size)| Node::new(pos, Value::Int(size))),
            Kind::Choice(words) => self.choice(words, node, path),
            Kind::Words => self.command(node, path),
            Kind::Test => self.test(node, path),
            Kind::Texts => self.list(&Kind::Text, node, path),
            Kind::TextOrTexts if node.as_text().is_some() => Some(alone(node)),
            Kind::TextOrTexts => self.list(&Kind::Text, node, path),
            Kind::Scalars => self.list(&Kind::Scalar, node, path),
            Kind::Pairs { nulls } => self.pairs(*nulls, true, node, path),
            Kind::Options => self.options(node, path),
            Kind::Hosts => self.hosts(node, path),
            Kind::Object(keys) => self.object(keys, node, path),
            Kind::TextOr(_) if node.as_text().is_some() => Some(node),
            Kind::TextOr(keys) => self.object(keys, node, path),
            Kind::ObjectOrNull(_) if node.is_null() => Some(node),
            Kind::ObjectOrNull(keys) => self.object(keys, node, path),
            Kind::List(item) => self.list(item, node, path),
            Kind::Members(member) => self.members(member, node, path),
            Kind::DependsOn => super::depends::normal(self, node, path),
            Kind::EnvFile => self.env_file(node, path),
            Kind::Ports => forms::ports(self, node, path),
            Kind::Volumes => forms::volumes(self, node, path),
            Kind::ServiceNetworks => self.networks(node, path),
            Kind::FileReferences => self.references(node, path),
            Kind::Ulimits => self.ulimits(node, path),
            Kind::External => self.external(node, path),
            Kind::Build => self.build(node, path),
            Kind::FileMode => self.file_mode(node, path),
            Kind::Anything => Some(node),
        }
    }

    pub(super) fn text(&mut self, node: Node, path: &str) -> Option<Node> {
        if node.as_text().is_some() {
            return Some(node);
        }
        let quote = matches!(node.value, Value::Int(_) | Value::Float(_) | Value::Bool(_));
        self.wrong(&node, path, if quote { "a string (put it in quotes)" } else { "a string" })
    }

    pub(super) fn scalar(&mut self, node: Node, path: &str) -> Option<Node> {
        match node.scalar_text() {
            Some(text) => Some(Node::text(node.pos, text)),
            None => self.wrong(&node, path, "a string or a number"),
        }
    }

    pub(super) fn boolean(&mut self, node: Node, path: &str) -> Option<Node> {
        let value = match &node.value {
            Value::Bool(value) => Some(*value),
            Value::Text { text, .. } => match text.to_ascii_lowercase().as_str() {
                "y" | "yes" | "true" | "on" => Some(true),
                "n" | "no" | "false" | "off" => Some(false),
                _ => None,
            },
            Value::Null | Value::Int(_) | Value::Float(_) | Value::List(_) | Value::Map(_) => None,
        };
        match value {
            Some(value) => Some(Node::new(node.pos, Value::Bool(value))),
            None => self.wrong(&node, path, "true or false"),
        }
    }

    pub(super) fn integer(&mut self, node: Node, path: &str, least: i64) -> Option<Node> {
        let value = match &node.value {
            Value::Int(value) => Some(*value),
            Value::Float(value) if value.fract() == 0.0 && value.abs() < 9e15 => Some(*value as i64),
            Value::Text { text, .. } => text.parse().ok(),
            Value::Null | Value::Bool(_) | Value::Float(_) | Value::List(_) | Value::Map(_) => None,
        };
        match value {
            Some(value) if value >= least => Some(Node::new(node.pos, Value::Int(value))),
            Some(value) => {
                self.report.error(node.pos, path, format!("must be at least {least}, this is {value}"));
                None
            }
            None => self.wrong(&node, path, "an integer"),
        }
    }

    fn number(&mut self, node: Node, path: &str) -> Option<Node> {
        let value = match &node.value {
            Value::Text { text, .. } => text.parse::<f64>().ok(),
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::List(_) | Value::Map(_) => {
                node.as_float()
            }
        };
        match value.filter(|value| value.is_finite()) {
            Some(value) => Some(Node::new(node.pos, Value::Float(value))),
            None => self.wrong(&node, path, "a number"),
        }
    }

    fn duration(&mut self, node: Node, path: &str) -> Option<Node> {
        let Some(text) = node.as_text() else {
            return self.wrong(&node, path, "a duration such as 1m30s");
        };
        match units::duration(text) {
            Some(value) => Some(Node::text(node.pos, units::duration_text(value))),
            None => {
                let message = format!("\"{}\" is no duration; write it as 1m30s or 500ms", brief(text));
                self.report.error(node.pos, path, message);
                None
            }
        }
    }

    fn bytes(&mut self, node: Node, path: &str) -> Option<(Pos, i64)> {
        let text = node.scalar_text();
        let size = text.as_deref().and_then(units::bytes);
        if size.is_none() {
            let written = text.map_or_else(|| node.kind().to_owned(), |text| format!("\"{}\"", brief(&text)));
            self.report.error(node.pos, path, format!("must be a size such as 64m or 2g, this is {written}"));
        }
        size.map(|size| (node.pos, size))
    }

    fn choice(&mut self, words: &[&str], node: Node, path: &str) -> Option<Node> {
        let node = self.text(node, path)?;
        let text = node.as_text().unwrap_or_default();
        if text.is_empty() || words.contains(&text) {
            return Some(node);
        }
        let message = format!("must be one of {}, this is \"{}\"", words.join(", "), brief(text));
        self.report.error(node.pos, path, message);
        None
    }

    fn command(&mut self, node: Node, path: &str) -> Option<Node> {
        let Some(text) = node.as_text() else {
            return if node.is_null() { Some(node) } else { self.list(&Kind::Text, node, path) };
        };
        match words::split(text) {
            Ok(words) => {
                let words = words.into_iter().map(|word| Node::text(node.pos, word)).collect();
                Some(Node::new(node.pos, Value::List(words)))
            }
            Err(why) => {
                self.report.error(node.pos, path, format!("cannot be split into words: {why}; write it as a list"));
                None
            }
        }
    }

    fn test(&mut self, node: Node, path: &str) -> Option<Node> {
        if node.as_text().is_some() {
            let pos = node.pos;
            return Some(Node::new(pos, Value::List(vec![Node::text(pos, "CMD-SHELL"), node])));
        }
        self.list(&Kind::Text, node, path)
    }

    pub fn list(&mut self, item: &Kind, node: Node, path: &str) -> Option<Node> {
        let Value::List(items) = node.value else {
            return self.wrong(&node, path, "a list");
        };
        let items = items.into_iter().enumerate();
        let items: Vec<_> = items.map(|(index, node)| self.value(item, node, &format!("{path}[{index}]"))).collect();
        Some(Node::new(node.pos, Value::List(items.into_iter().collect::<Option<_>>()?)))
    }

    /// `nulls`: a key without a value stays null. `truths`: true and false are taken, as the words they are.
    fn pairs(&mut self, nulls: bool, truths: bool, node: Node, path: &str) -> Option<Node> {
        let mut map = Map::default();
        match node.value {
            Value::Map(written) => {
                for entry in written.0 {
                    let value = if entry.node.is_reset() {
                        entry.node
                    } else if entry.node.is_null() {
                        if nulls { entry.node } else { Node::text(entry.node.pos, "") }
                    } else if let Some(text) = entry.node.scalar_text() {
                        Node::text(entry.node.pos, text)
                    } else if let Some(truth) = entry.node.as_bool().filter(|_| truths) {
                        Node::text(entry.node.pos, truth.to_string())
                    } else {
                        let path = join(path, &entry.key);
                        let wanted = match truths {
                            true => "a string, a number, true, false or null",
                            false => "a string, a number or null (put it in quotes)",
                        };
                        self.wrong(&entry.node, &path, wanted)?
                    };
                    map.put(&entry.key, entry.pos, value);
                }
            }
            Value::List(items) => {
                for (index, item) in items.into_iter().enumerate() {
                    let item = self.text(item, &format!("{path}[{index}]"))?;
                    let text = item.as_text().unwrap_or_default();
                    let (key, value) = match text.split_once('=') {
                        Some((key, value)) => (key, Node::text(item.pos, value)),
                        None if nulls => (text, Node::new(item.pos, Value::Null)),
                        None => (text, Node::text(item.pos, "")),
                    };
                    map.put(key, item.pos, value);
                }
            }
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text { .. } => {
                return self.wrong(&node, path, "a mapping or a list of KEY=value");
            }
        }
        Some(Node::new(node.pos, Value::Map(map)))
    }

    fn options(&mut self, node: Node, path: &str) -> Option<Node> {
        if node.as_map().is_none() {
            return self.wrong(&node, path, "a mapping");
        }
        self.pairs(false, false, node, path)
    }

    /// A mapping with the keys of a table; `x-…` is kept as it is.
    pub fn object(&mut self, keys: &[Key], node: Node, path: &str) -> Option<Node> {
        let Value::Map(map) = node.value else {
            return self.wrong(&node, path, "a mapping");
        };
        let mut out = Map::default();
        let mut good = true;
        for entry in map.0 {
            let here = join(path, &entry.key);
            match self.member(keys, entry.node, &entry.key, entry.pos, &here) {
                Some(node) => out.0.push(Entry { key: entry.key, pos: entry.pos, node }),
                None => good = false,
            }
        }
        good.then(|| Node::new(node.pos, Value::Map(out)))
    }

    fn member(&mut self, keys: &[Key], node: Node, name: &str, pos: Pos, path: &str) -> Option<Node> {
        let Some(key) = keys.iter().find(|key| key.name == name) else {
            if name.starts_with("x-") {
                return Some(node);
            }
            self.unknown(keys, name, pos, path);
            return None;
        };
        if node.is_reset() {
            return Some(node);
        }
        let is_fine = node.as_text().is_some_and(|text| key.fine.contains(&text));
        match key.standing {
            Standing::Honoured => {}
            Standing::Ignored(_) | Standing::Refused(_) if is_fine => {}
            Standing::Ignored(instead) => self.report.warn(pos, path, instead),
            Standing::Refused(instead) => {
                self.report.error(pos, path, format!("not honoured: {}", instead.trim_start_matches("not honoured; ")));
                return None;
            }
        }
        self.value(&key.kind, node, path)
    }

    fn unknown(&mut self, keys: &[Key], name: &str, pos: Pos, path: &str) {
        let names = keys.iter().filter(|key| !matches!(key.standing, Standing::Refused(_))).map(|key| key.name);
        // A word of several, as `cpu` of `cpu_percent`, is no slip of the keyboard.
        let longer = names.clone().find(|known| known.strip_prefix(name).is_some_and(|rest| rest.starts_with('_')));
        let message = match closest(name, names).or(longer) {
            Some(meant) => format!("unknown key (did you mean {meant}?)"),
            None => "unknown key; remove it, or begin its name with x-".to_owned(),
        };
        self.report.error(pos, path, message);
    }

    pub(super) fn members(&mut self, member: &Kind, node: Node, path: &str) -> Option<Node> {
        let Value::Map(map) = node.value else {
            return self.wrong(&node, path, "a mapping");
        };
        let mut out = Map::default();
        let mut good = true;
        for entry in map.0 {
            let here = join(path, &entry.key);
            let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
            if entry.key.is_empty() || !entry.key.bytes().all(fine) {
                self.report.error(entry.pos, &here, "a name has only letters, digits, dot, dash and underscore");
                good = false;
                continue;
            }
            match self.value(member, entry.node, &here) {
                Some(node) => out.0.push(Entry { key: entry.key, pos: entry.pos, node }),
                None => good = false,
            }
        }
        good.then(|| Node::new(node.pos, Value::Map(out)))
    }
}

/// A list of one.
pub(crate) fn alone(node: Node) -> Node {
    Node::new(node.pos, Value::List(vec![node]))
}

/// A mapping of one.
pub(crate) fn single(key: &str, node: Node) -> Node {
    let pos = node.pos;
    Node::new(pos, Value::Map(Map(vec![Entry { key: key.to_owned(), pos, node }])))
}
