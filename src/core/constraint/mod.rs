//! Placement constraints: `node.labels.zone==a`, `node.role!=manager` (Engine API `Placement.Constraints`).
//!
//! Beyond the API a value may have `*` and `?` in it, and `KEY in (A, B)` and `KEY not in (A, B)` compare with several.
//! Parsed when a service is written, so that a wrong one is refused there, and again by the scheduler. Labels are
//! compared as they are; the words before them, and values, without regard to ASCII case, as people know it.

mod pattern;

use crate::model::{Node, NodeRole};
use ipnet::IpNet;
use pattern::Pattern;
use std::fmt;
use std::net::IpAddr;

/// Characters of a wrong expression that its error repeats.
const SHOWN_CHARS_MAX: usize = 200;

/// What an expression looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Key {
    Id,
    Hostname,
    Ip,
    Role,
    Os,
    Arch,
    NodeLabel(String),
    EngineLabel(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    In,
    NotIn,
}

/// One parsed expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Constraint {
    key: Key,
    operator: Operator,
    /// One for `==` and `!=`, at least one for the others.
    values: Vec<Pattern>,
}

/// Why a text is no constraint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadConstraint {
    #[error("constraint \"{text}\": expected KEY==VALUE, KEY!=VALUE, KEY in (VALUE, ...) or KEY not in (VALUE, ...)")]
    NoOperator { text: String },
    #[error("constraint \"{text}\": the value is missing")]
    NoValue { text: String },
    #[error("constraint \"{text}\": after \"in\" come values in parentheses, like (a, b)")]
    NoList { text: String },
    #[error("constraint \"{text}\": a value in parentheses is empty")]
    EmptyItem { text: String },
    #[error(
        "constraint \"{text}\": unknown key \"{key}\", use node.id, node.hostname, node.ip, node.role, \
         node.platform.os, node.platform.arch, node.labels.<label> or engine.labels.<label>"
    )]
    UnknownKey { text: String, key: String },
    #[error("constraint \"{text}\": \"{value}\" is no address and no subnet like 10.1.0.0/16")]
    BadAddress { text: String, value: String },
    #[error("constraint \"{text}\": a node is a manager or a worker, never \"{value}\"")]
    BadRole { text: String, value: String },
}

/// The name OCI image indexes use for a processor, from the name its kernel uses.
pub fn architecture(name: &str) -> String {
    match name.to_ascii_lowercase().as_str() {
        "x86_64" | "x86-64" => "amd64".to_owned(),
        "aarch64" => "arm64".to_owned(),
        "armhf" | "armv7l" | "armel" => "arm".to_owned(),
        "i386" | "i686" => "386".to_owned(),
        other => other.to_owned(),
    }
}

/// Where the key ends, the operator, and where the values begin. The operator that comes first counts.
fn split(text: &str) -> Option<(usize, Operator, usize)> {
    text.char_indices().find_map(|(at, char)| {
        let rest = &text[at..];
        if rest.starts_with("==") {
            return Some((at, Operator::Equal, at + 2));
        }
        if rest.starts_with("!=") {
            return Some((at, Operator::NotEqual, at + 2));
        }
        if !char.is_whitespace() {
            return None;
        }
        let after = |word: &str, from: &'_ str| {
            let left = from.trim_start().strip_prefix(word)?;
            let ends = left.is_empty() || left.starts_with('(') || left.starts_with(char::is_whitespace);
            ends.then_some(text.len() - left.len())
        };
        let list = after("in", rest).map(|from| (at, Operator::In, from));
        list.or_else(|| Some((at, Operator::NotIn, after("in", &text[after("not", rest)?..])?)))
    })
}

impl Constraint {
    /// Parses one expression; white space around key, operator and values does not count.
    pub fn parse(text: &str) -> Result<Self, BadConstraint> {
        let text = text.trim();
        let owned = || text.chars().take(SHOWN_CHARS_MAX).collect::<String>();
        let (key, operator, values) = match split(text) {
            Some((end, operator, from)) if end > 0 => (&text[..end], operator, text[from..].trim()),
            Some(_) | None => return Err(BadConstraint::NoOperator { text: owned() }),
        };
        let key = key.trim();
        let key = Key::parse(key).ok_or_else(|| BadConstraint::UnknownKey { text: owned(), key: key.to_owned() })?;
        if values.is_empty() {
            return Err(BadConstraint::NoValue { text: owned() });
        }
        let values: Vec<&str> = match operator {
            Operator::Equal | Operator::NotEqual => vec![values],
            Operator::In | Operator::NotIn => {
                let list = values.strip_prefix('(').and_then(|list| list.strip_suffix(')'));
                let list = list.ok_or_else(|| BadConstraint::NoList { text: owned() })?;
                list.split(',').map(str::trim).collect()
            }
        };
        for value in &values {
            check_value(&key, value, owned)?;
        }
        Ok(Self { key, operator, values: values.into_iter().map(Pattern::new).collect() })
    }

    /// Parses all of them; the first wrong one is the error.
    pub fn parse_all<'a>(texts: impl IntoIterator<Item = &'a String>) -> Result<Vec<Self>, BadConstraint> {
        texts.into_iter().map(|text| Self::parse(text)).collect()
    }

    /// Whether the node fulfils it. What a node does not say of itself equals nothing, not even `*`.
    pub fn matches(&self, node: &Node) -> bool {
        let equal = self.equals(node);
        match self.operator {
            Operator::Equal | Operator::In => equal,
            Operator::NotEqual | Operator::NotIn => !equal,
        }
    }

    /// One of the values is the node's.
    fn equals(&self, node: &Node) -> bool {
        let same = |text: &str| self.values.iter().any(|value| value.matches(text));
        let description = node.description.as_ref();
        match &self.key {
            Key::Id => same(&node.id.to_string()),
            Key::Hostname => description.is_some_and(|d| same(&d.hostname)),
            Key::Ip => node.status.addr.is_some_and(|addr| {
                self.values.iter().filter_map(|value| parse_net(value.text())).any(|net| net.contains(&addr))
            }),
            Key::Role => same(match node.spec.role {
                NodeRole::Worker => "worker",
                NodeRole::Manager => "manager",
            }),
            Key::Os => description.is_some_and(|d| same(&d.platform.os)),
            Key::Arch => description.is_some_and(|d| {
                let name = architecture(&d.platform.architecture);
                let plain = |value: &&Pattern| !value.is_glob();
                same(&d.platform.architecture)
                    || same(&name)
                    || self.values.iter().filter(plain).any(|value| architecture(value.text()) == name)
            }),
            Key::NodeLabel(label) => node.spec.labels.get(label).is_some_and(|value| same(value)),
            Key::EngineLabel(label) => {
                description.and_then(|d| d.engine_labels.get(label)).is_some_and(|value| same(value))
            }
        }
    }
}

fn check_value(key: &Key, value: &str, text: impl Fn() -> String) -> Result<(), BadConstraint> {
    if value.is_empty() {
        return Err(BadConstraint::EmptyItem { text: text() });
    }
    if *key == Key::Ip && parse_net(value).is_none() {
        return Err(BadConstraint::BadAddress { text: text(), value: value.to_owned() });
    }
    let pattern = Pattern::new(value);
    if *key == Key::Role && !pattern.matches("manager") && !pattern.matches("worker") {
        return Err(BadConstraint::BadRole { text: text(), value: value.to_owned() });
    }
    Ok(())
}

impl Key {
    fn parse(text: &str) -> Option<Self> {
        let label = |prefix: &str| {
            let (words, label) = text.split_at_checked(prefix.len())?;
            let is_label = !label.is_empty() && !label.contains(char::is_whitespace);
            (words.eq_ignore_ascii_case(prefix) && is_label).then(|| label.to_owned())
        };
        match text.to_ascii_lowercase().as_str() {
            "node.id" => Some(Key::Id),
            "node.hostname" => Some(Key::Hostname),
            "node.ip" => Some(Key::Ip),
            "node.role" => Some(Key::Role),
            "node.platform.os" => Some(Key::Os),
            "node.platform.arch" => Some(Key::Arch),
            _ => label("node.labels.").map(Key::NodeLabel).or_else(|| label("engine.labels.").map(Key::EngineLabel)),
        }
    }
}

fn parse_net(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

impl fmt::Display for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Key::Id => write!(f, "node.id"),
            Key::Hostname => write!(f, "node.hostname"),
            Key::Ip => write!(f, "node.ip"),
            Key::Role => write!(f, "node.role"),
            Key::Os => write!(f, "node.platform.os"),
            Key::Arch => write!(f, "node.platform.arch"),
            Key::NodeLabel(label) => write!(f, "node.labels.{label}"),
            Key::EngineLabel(label) => write!(f, "engine.labels.{label}"),
        }?;
        let (before, after) = match self.operator {
            Operator::Equal => ("==", ""),
            Operator::NotEqual => ("!=", ""),
            Operator::In => (" in (", ")"),
            Operator::NotIn => (" not in (", ")"),
        };
        write!(f, "{before}")?;
        for (n, value) in self.values.iter().enumerate() {
            write!(f, "{}{value}", if n == 0 { "" } else { ", " })?;
        }
        write!(f, "{after}")
    }
}

#[cfg(test)]
mod tests;
