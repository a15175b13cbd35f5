//! The canonical form of a stack as text: what `docker stack config` prints, equal as data.

use super::schema::{self, Key, Kind};
use super::value::{Map, Node, Value, float_text};

/// Removes what says nothing (null, false, 0, empty) except where the tables keep it, puts keys in the order of the
/// tables, and sorts names: two files that say the same are printed the same.
pub(crate) fn prune(keys: &[Key], node: Node) -> Node {
    let Value::Map(map) = node.value else { return node };
    let mut out = Map::default();
    for mut entry in map.0 {
        let key = keys.iter().find(|key| key.name == entry.key);
        if let Some(key) = key {
            entry.node = value(&key.kind, entry.node);
        }
        let keep = key.is_none_or(|key| key.keep && !entry.node.is_null());
        if keep || !entry.node.is_zero() {
            out.0.push(entry);
        }
    }
    out.0.sort_by_key(|entry| keys.iter().position(|key| key.name == entry.key).unwrap_or(keys.len()));
    Node::new(node.pos, Value::Map(out))
}

fn value(kind: &Kind, node: Node) -> Node {
    match kind {
        Kind::Object(keys) | Kind::ObjectOrNull(keys) | Kind::TextOr(keys) => prune(keys, node),
        Kind::Members(member) => each(node, true, |node| {
            // A network that only has a name is `{}`.
            let node = if node.is_null() { Node::new(node.pos, Value::Map(Map::default())) } else { node };
            value(member, node)
        }),
        Kind::ServiceNetworks => each(node, true, |node| prune(schema::ATTACHMENT, node)),
        Kind::Pairs { .. } | Kind::Options | Kind::Ulimits => each(node, true, |node| node),
        Kind::List(item) => items(node, |node| value(item, node)),
        Kind::Ports => items(node, |node| prune(schema::PORT, node)),
        Kind::Volumes => items(node, |node| prune(schema::MOUNT, node)),
        Kind::FileReferences => items(node, |node| prune(schema::FILE_REFERENCE, node)),
        Kind::Build => prune(schema::BUILD, node),
        Kind::Bytes if node.as_text() == Some("0") => Node::new(node.pos, Value::Null),
        Kind::Text
        | Kind::TextOrNull
        | Kind::Scalar
        | Kind::Bool
        | Kind::Int
        | Kind::Count
        | Kind::Number
        | Kind::Duration
        | Kind::Bytes
        | Kind::Size
        | Kind::Choice(_)
        | Kind::Words
        | Kind::Test
        | Kind::Texts
        | Kind::TextOrTexts
        | Kind::Scalars
        | Kind::Hosts
        | Kind::DependsOn
        | Kind::EnvFile
        | Kind::External
        | Kind::FileMode
        | Kind::Anything => node,
    }
}

fn each(node: Node, sort: bool, change: impl Fn(Node) -> Node) -> Node {
    let Value::Map(mut map) = node.value else { return node };
    for entry in &mut map.0 {
        let before = std::mem::replace(&mut entry.node, Node::new(entry.pos, Value::Null));
        entry.node = change(before);
    }
    if sort {
        map.0.sort_by(|a, b| a.key.cmp(&b.key));
    }
    Node::new(node.pos, Value::Map(map))
}

fn items(node: Node, change: impl Fn(Node) -> Node) -> Node {
    let Value::List(items) = node.value else { return node };
    Node::new(node.pos, Value::List(items.into_iter().map(change).collect()))
}

/// YAML text of a tree.
pub(crate) fn yaml(node: &Node) -> String {
    let mut out = String::new();
    block(node, 0, &mut out);
    out
}

/// Writes a mapping or list as lines at `depth`.
fn block(node: &Node, depth: usize, out: &mut String) {
    let indent = "  ".repeat(depth);
    match &node.value {
        Value::Map(map) if !map.0.is_empty() => {
            for entry in &map.0 {
                out.push_str(&indent);
                out.push_str(&quoted(&entry.key));
                out.push(':');
                after(&entry.node, depth, out);
            }
        }
        Value::List(list) if !list.is_empty() => {
            for item in list {
                out.push_str(&indent);
                out.push('-');
                let mut nested = String::new();
                if item.is_zero() || !matches!(item.value, Value::Map(_) | Value::List(_)) {
                    after(item, depth, out);
                } else {
                    block(item, depth + 1, &mut nested);
                    out.push(' ');
                    out.push_str(nested.trim_start());
                }
            }
        }
        Value::Null
        | Value::Bool(_)
        | Value::Int(_)
        | Value::Float(_)
        | Value::Text { .. }
        | Value::List(_)
        | Value::Map(_) => {
            out.push_str(&indent);
            out.push_str(&scalar(node));
            out.push('\n');
        }
    }
}

/// Writes what follows `key:` or `-`.
fn after(node: &Node, depth: usize, out: &mut String) {
    if matches!(node.value, Value::Map(_) | Value::List(_)) && !node.is_zero() {
        out.push('\n');
        block(node, depth + 1, out);
    } else {
        out.push(' ');
        out.push_str(&scalar(node));
        out.push('\n');
    }
}

fn scalar(node: &Node) -> String {
    match &node.value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Float(value) if value.is_nan() => ".nan".to_owned(),
        Value::Float(value) if value.is_infinite() => if *value > 0.0 { ".inf" } else { "-.inf" }.to_owned(),
        Value::Float(value) => float_text(*value),
        Value::Text { text, .. } => quoted(text),
        Value::List(_) => "[]".to_owned(),
        Value::Map(_) => "{}".to_owned(),
    }
}

/// A string so that every reader takes it for this string: bare when it is plainly a word or a path, else in double quotes.
fn quoted(text: &str) -> String {
    let bare = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'/');
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '_'));
    let lower = text.to_ascii_lowercase();
    let reserved = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"].contains(&lower.as_str());
    if starts && !reserved && text.bytes().all(bare) {
        return text.to_owned();
    }
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
