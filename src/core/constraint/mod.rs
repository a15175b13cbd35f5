//! Placement constraints: `node.labels.zone==a`, `node.role!=manager` (Engine API `Placement.Constraints`).
//!
//! Parsed when a service is written, so that a wrong one is refused there, and again by the scheduler.
//! Keys are compared as they are, values without regard to ASCII case, as people know it.

use crate::model::{Node, NodeRole};
use ipnet::IpNet;
use std::fmt;
use std::net::IpAddr;

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
}

/// One parsed expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Constraint {
    key: Key,
    operator: Operator,
    value: String,
}

/// Why a text is no constraint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadConstraint {
    #[error("constraint \"{text}\": expected KEY==VALUE or KEY!=VALUE")]
    NoOperator { text: String },
    #[error("constraint \"{text}\": the value is missing")]
    NoValue { text: String },
    #[error(
        "constraint \"{text}\": unknown key \"{key}\", use node.id, node.hostname, node.ip, node.role, \
         node.platform.os, node.platform.arch, node.labels.<label> or engine.labels.<label>"
    )]
    UnknownKey { text: String, key: String },
    #[error("constraint \"{text}\": \"{value}\" is no address and no subnet")]
    BadAddress { text: String, value: String },
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

impl Constraint {
    /// Parses one expression; white space around key and value does not count.
    pub fn parse(text: &str) -> Result<Self, BadConstraint> {
        let owned = || text.chars().take(200).collect::<String>();
        let at = text.find("==").into_iter().chain(text.find("!=")).min();
        let Some(at) = at else {
            return Err(BadConstraint::NoOperator { text: owned() });
        };
        let operator = if text[at..].starts_with("==") { Operator::Equal } else { Operator::NotEqual };
        let (key, value) = (text[..at].trim(), text[at + 2..].trim());
        if key.is_empty() {
            return Err(BadConstraint::NoOperator { text: owned() });
        }
        if value.is_empty() {
            return Err(BadConstraint::NoValue { text: owned() });
        }
        let key = Key::parse(key).ok_or_else(|| BadConstraint::UnknownKey { text: owned(), key: key.to_owned() })?;
        if key == Key::Ip && parse_net(value).is_none() {
            return Err(BadConstraint::BadAddress { text: owned(), value: value.to_owned() });
        }
        Ok(Self { key, operator, value: value.to_owned() })
    }

    /// Parses all of them; the first wrong one is the error.
    pub fn parse_all<'a>(texts: impl IntoIterator<Item = &'a String>) -> Result<Vec<Self>, BadConstraint> {
        texts.into_iter().map(|text| Self::parse(text)).collect()
    }

    /// Whether the node fulfils it. What a node does not say of itself equals nothing.
    pub fn matches(&self, node: &Node) -> bool {
        let equal = self.equals(node);
        match self.operator {
            Operator::Equal => equal,
            Operator::NotEqual => !equal,
        }
    }

    fn equals(&self, node: &Node) -> bool {
        let same = |text: &str| text.eq_ignore_ascii_case(&self.value);
        let description = node.description.as_ref();
        match &self.key {
            Key::Id => same(&node.id.to_string()),
            Key::Hostname => description.is_some_and(|d| same(&d.hostname)),
            Key::Ip => match (parse_net(&self.value), node.status.addr) {
                (Some(net), Some(addr)) => net.contains(&addr),
                (Some(_) | None, _) => false,
            },
            Key::Role => same(match node.spec.role {
                NodeRole::Worker => "worker",
                NodeRole::Manager => "manager",
            }),
            Key::Os => description.is_some_and(|d| same(&d.platform.os)),
            Key::Arch => {
                description.is_some_and(|d| architecture(&d.platform.architecture) == architecture(&self.value))
            }
            Key::NodeLabel(label) => node.spec.labels.get(label).is_some_and(|value| same(value)),
            Key::EngineLabel(label) => {
                description.and_then(|d| d.engine_labels.get(label)).is_some_and(|value| same(value))
            }
        }
    }
}

impl Key {
    fn parse(text: &str) -> Option<Self> {
        let label = |prefix: &str| text.strip_prefix(prefix).filter(|label| !label.is_empty()).map(str::to_owned);
        match text {
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
        let operator = match self.operator {
            Operator::Equal => "==",
            Operator::NotEqual => "!=",
        };
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
        write!(f, "{operator}{}", self.value)
    }
}

#[cfg(test)]
mod tests;
