//! The tree that a compose file is, from parsing to the final stack: every node knows where it was written.
//!
//! Owned by `compose`; nothing here knows what a key means.

/// Where something was written. Lines and columns start at 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pos {
    /// Index in the list of source files.
    pub file: usize,
    pub line: usize,
    pub column: usize,
}

/// A value with its place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub pos: Pos,
    pub mark: Mark,
    pub value: Value,
}

/// What a tag says about how a value meets what came before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mark {
    /// They are merged.
    #[default]
    Plain,
    /// `!reset`: takes it away. The value itself is null.
    Reset,
    /// `!override`: takes its place.
    Override,
}

/// What YAML can say.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// `expanded`: a variable was put in, so the text may stand for a number or a truth value.
    Text {
        text: String,
        expanded: bool,
    },
    List(Vec<Node>),
    Map(Map),
}

/// A mapping in the order it was written; keys are unique.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Map(pub Vec<Entry>);

/// One line of a mapping.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub key: String,
    pub pos: Pos,
    pub node: Node,
}

impl Map {
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.node)
    }

    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.0.iter().find(|entry| entry.key == key)
    }

    pub fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        self.0.iter_mut().find(|entry| entry.key == key).map(|entry| &mut entry.node)
    }

    /// Puts `node` under `key`, in the place of what was there.
    pub fn put(&mut self, key: &str, pos: Pos, node: Node) {
        match self.get_mut(key) {
            Some(old) => *old = node,
            None => self.0.push(Entry { key: key.to_owned(), pos, node }),
        }
    }

    pub fn remove(&mut self, key: &str) -> Option<Node> {
        let at = self.0.iter().position(|entry| entry.key == key)?;
        Some(self.0.remove(at).node)
    }
}

impl Node {
    pub fn new(pos: Pos, value: Value) -> Self {
        Self { pos, mark: Mark::Plain, value }
    }

    pub fn marked(mut self, mark: Mark) -> Self {
        self.mark = mark;
        self
    }

    /// What the tag `!reset` leaves: it stands for nothing, and takes away what it meets.
    pub fn is_reset(&self) -> bool {
        self.mark == Mark::Reset
    }

    pub fn text(pos: Pos, text: impl Into<String>) -> Self {
        Self::new(pos, Value::Text { text: text.into(), expanded: false })
    }

    pub fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Text { text, .. } => Some(text),
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::List(_) | Value::Map(_) => None,
        }
    }

    pub fn as_int(&self) -> Option<i64> {
        match self.value {
            Value::Int(value) => Some(value),
            Value::Null | Value::Bool(_) | Value::Float(_) | Value::Text { .. } | Value::List(_) | Value::Map(_) => {
                None
            }
        }
    }

    /// Integers count as numbers.
    pub fn as_float(&self) -> Option<f64> {
        match self.value {
            Value::Int(value) => Some(value as f64),
            Value::Float(value) => Some(value),
            Value::Null | Value::Bool(_) | Value::Text { .. } | Value::List(_) | Value::Map(_) => None,
        }
    }

    pub fn as_bool(&self) -> Option<bool> {
        match self.value {
            Value::Bool(value) => Some(value),
            Value::Null | Value::Int(_) | Value::Float(_) | Value::Text { .. } | Value::List(_) | Value::Map(_) => None,
        }
    }

    pub fn as_map(&self) -> Option<&Map> {
        match &self.value {
            Value::Map(map) => Some(map),
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text { .. } | Value::List(_) => {
                None
            }
        }
    }

    pub fn as_map_mut(&mut self) -> Option<&mut Map> {
        match &mut self.value {
            Value::Map(map) => Some(map),
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text { .. } | Value::List(_) => {
                None
            }
        }
    }

    /// The items of a list; of anything else none.
    pub fn items(&self) -> &[Node] {
        match &self.value {
            Value::List(items) => items,
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text { .. } | Value::Map(_) => &[],
        }
    }

    /// The member `key` of a mapping.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.as_map()?.get(key)
    }

    /// The entries of a mapping; of anything else none.
    pub fn entries(&self) -> &[Entry] {
        self.as_map().map_or(&[], |map| &map.0)
    }

    pub fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }

    /// Null, false, zero, or nothing inside: what the canonical form leaves out.
    pub fn is_zero(&self) -> bool {
        match &self.value {
            Value::Null => true,
            Value::Bool(value) => !value,
            Value::Int(value) => *value == 0,
            Value::Float(value) => *value == 0.0,
            Value::Text { text, .. } => text.is_empty(),
            Value::List(items) => items.is_empty(),
            Value::Map(map) => map.0.is_empty(),
        }
    }

    /// The same value, wherever and in whatever order it was written.
    pub fn same(&self, other: &Node) -> bool {
        let equal = match (&self.value, &other.value) {
            (Value::List(a), Value::List(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.same(b)),
            (Value::Map(a), Value::Map(b)) => {
                let in_b = |entry: &Entry| b.get(&entry.key).is_some_and(|node| node.same(&entry.node));
                a.0.len() == b.0.len() && a.0.iter().all(in_b)
            }
            (Value::Text { text: a, .. }, Value::Text { text: b, .. }) => a == b,
            (a, b) => a == b,
        };
        equal && self.mark == other.mark
    }

    /// How many values this is, with all that is in it.
    pub fn size(&self) -> usize {
        match &self.value {
            Value::List(items) => 1 + items.iter().map(Node::size).sum::<usize>(),
            Value::Map(map) => 1 + map.0.iter().map(|entry| entry.node.size()).sum::<usize>(),
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text { .. } => 1,
        }
    }

    /// The kind in words, for messages.
    pub fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "null",
            Value::Bool(_) => "a truth value",
            Value::Int(_) => "an integer",
            Value::Float(_) => "a number",
            Value::Text { .. } => "a string",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }

    /// A string or number as the text it stands for.
    pub fn scalar_text(&self) -> Option<String> {
        match &self.value {
            Value::Text { text, .. } => Some(text.clone()),
            Value::Int(value) => Some(value.to_string()),
            Value::Float(value) => Some(float_text(*value)),
            Value::Null | Value::Bool(_) | Value::List(_) | Value::Map(_) => None,
        }
    }
}

/// The shortest text that reads back as `value`; exponents from 1e21 up and below 1e-4, as docker prints them.
pub(crate) fn float_text(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() {
        return if value.is_nan() {
            "NaN"
        } else if value > 0.0 {
            "+Inf"
        } else {
            "-Inf"
        }
        .to_owned();
    }
    if size != 0.0 && !(1e-4..1e21).contains(&size) {
        let text = format!("{value:e}");
        return match text.split_once('e') {
            Some((digits, power)) => {
                let (sign, power) = power.strip_prefix('-').map_or(("+", power), |rest| ("-", rest));
                format!("{digits}e{sign}{power:0>2}")
            }
            None => text,
        };
    }
    format!("{value}")
}
