//! Combines compose files, and services with those they extend: what comes later replaces or adds to what came
//! earlier, key by key (Compose specification, "Merge"; where docker differs in `docker stack`, as docker does).
//! `!override` takes the place of the earlier value, and `!reset` stays in the tree, for what else it may meet, until
//! `marks` takes it out.
//!
//! Works on trees in canonical form, so both sides have the same shape.

use super::schema::{Key, Kind, Merge};
use super::value::{Map, Mark, Node, Value};

/// Puts `over` on top of `base`; both have the shape of the mapping `keys`.
pub(crate) fn merge(keys: &[Key], base: Node, over: Node) -> Node {
    match (base.value, over.value) {
        (Value::Map(base_map), Value::Map(over_map)) => {
            Node::new(base.pos, Value::Map(members(keys, base_map, over_map)))
        }
        (base_value, Value::Null) => Node::new(base.pos, base_value),
        (_, over_value) => Node::new(over.pos, over_value),
    }
}

fn members(keys: &[Key], mut base: Map, over: Map) -> Map {
    for entry in over.0 {
        let key = keys.iter().find(|key| key.name == entry.key);
        match (base.get_mut(&entry.key), key) {
            (Some(old), Some(_)) if apart(old, &entry.node) => *old = entry.node,
            (Some(old), Some(key)) => {
                let before = std::mem::replace(old, Node::new(entry.pos, Value::Null));
                *old = value(&key.kind, key.merge, before, entry.node);
            }
            (Some(old), None) => *old = entry.node,
            (None, _) => base.0.push(entry),
        }
    }
    base
}

/// Nothing of the earlier value is left: it is taken away, or was.
fn apart(base: &Node, over: &Node) -> bool {
    base.is_reset() || over.mark != Mark::Plain
}

fn value(kind: &Kind, how: Merge, base: Node, over: Node) -> Node {
    if over.is_null() {
        return base;
    }
    match how {
        Merge::Replace => return over,
        Merge::Ports => return lists(base, over, Some(port_key)),
        Merge::By(member) => return lists(base, over, Some(|node: &Node| identity(node, member))),
        Merge::Logging => {
            let driver =
                |node: &Node| node.get("driver").filter(|n| !n.is_zero()).and_then(Node::as_text).map(str::to_owned);
            if let (Some(old), Some(new)) = (driver(&base), driver(&over))
                && old != new
            {
                return over;
            }
        }
        Merge::Deep => {}
    }
    match kind {
        Kind::Object(keys) | Kind::ObjectOrNull(keys) => merge(keys, base, over),
        Kind::Members(member) => named(base, over, |old, new| value(member, Merge::Deep, old, new)),
        Kind::ServiceNetworks => {
            named(base, over, |old, new| if new.is_null() { old } else { merge(super::schema::ATTACHMENT, old, new) })
        }
        Kind::Pairs { .. } | Kind::Options | Kind::Ulimits => named(base, over, |_, new| new),
        Kind::Texts
        | Kind::TextOrTexts
        | Kind::Scalars
        | Kind::Hosts
        | Kind::List(_)
        | Kind::EnvFile
        | Kind::FileReferences
        | Kind::Ports
        | Kind::Volumes => lists(base, over, None::<fn(&Node) -> String>),
        Kind::DependsOn => super::depends::merge(base, over),
        Kind::Build => merge(super::schema::BUILD, base, over),
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
        | Kind::External
        | Kind::FileMode
        | Kind::TextOr(_)
        | Kind::Anything => over,
    }
}

pub(super) fn named(base: Node, over: Node, combine: impl Fn(Node, Node) -> Node) -> Node {
    let (Value::Map(mut base_map), Value::Map(over_map)) = (base.value, over.value) else {
        return Node::new(over.pos, Value::Map(Map::default()));
    };
    for entry in over_map.0 {
        match base_map.get_mut(&entry.key) {
            Some(old) if apart(old, &entry.node) => *old = entry.node,
            Some(old) => {
                let before = std::mem::replace(old, Node::new(entry.pos, Value::Null));
                *old = combine(before, entry.node);
            }
            None => base_map.0.push(entry),
        }
    }
    Node::new(base.pos, Value::Map(base_map))
}

/// Appends; with `identity`, items of the later list take the place of those with the same one, and all are sorted by it.
fn lists<F: Fn(&Node) -> String>(base: Node, over: Node, identity: Option<F>) -> Node {
    let pos = base.pos;
    let (Value::List(mut items), Value::List(more)) = (base.value, over.value) else {
        return Node::new(pos, Value::List(Vec::new()));
    };
    match identity {
        None => {
            for item in more {
                if !items.iter().any(|old| old.value == item.value) {
                    items.push(item);
                }
            }
        }
        Some(identity) => {
            items.retain(|old| !more.iter().any(|new| identity(new) == identity(old)));
            items.extend(more);
            items.sort_by_key(|item| identity(item));
        }
    }
    Node::new(pos, Value::List(items))
}

fn identity(node: &Node, member: &str) -> String {
    node.get(member).and_then(Node::as_text).unwrap_or_default().to_owned()
}

/// Two entries are one when they listen at the same place; those that do not publish are told apart by their target.
fn port_key(node: &Node) -> String {
    let number = |key| node.get(key).and_then(Node::as_int).unwrap_or(0);
    let published = number("published");
    let target = if published == 0 { number("target") } else { 0 };
    let protocol = node.get("protocol").and_then(Node::as_text).unwrap_or("tcp");
    format!("{published:05} {target:05} {protocol} {}", identity(node, "host_ip"))
}
