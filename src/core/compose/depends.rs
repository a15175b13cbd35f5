//! `depends_on` of a service: a list of services, or a mapping that says how far each must be.
//!
//! Canonical is the list where it says all, else the mapping with what differs from the defaults.

use super::interpolate::join;
use super::merge;
use super::normal::Normal;
use super::parse::brief;
use super::report::Report;
use super::schema::{DEPENDENCY, Kind};
use super::service::text;
use super::stack::Context;
use super::value::{Entry, Map, Mark, Node, Pos, Value};
use crate::model::{Dependency, DependencyCondition};
use crate::spec;

const CONDITIONS: [(&str, DependencyCondition); 3] = [
    ("service_started", DependencyCondition::Started),
    ("service_healthy", DependencyCondition::Healthy),
    ("service_completed_successfully", DependencyCondition::Completed),
];

/// Brings either form into the canonical one.
pub(super) fn normal(normal: &mut Normal<'_>, node: Node, path: &str) -> Option<Node> {
    match node.value {
        Value::List(_) => normal.list(&Kind::Text, node, path),
        Value::Map(map) => {
            let mut out = Map::default();
            for entry in map.0 {
                let here = join(path, &entry.key);
                let mark = entry.node.mark;
                if entry.node.is_reset() {
                    out.put(&entry.key, entry.pos, entry.node);
                    continue;
                }
                // `web:` alone, as in a list.
                let mut member = match entry.node.is_null() {
                    true => Node::new(entry.node.pos, Value::Map(Map::default())),
                    false => normal.object(DEPENDENCY, entry.node, &here)?,
                };
                if let Some(restart) = member.get("restart").filter(|restart| restart.as_bool() == Some(true)) {
                    let words = "ignored; tasks are not restarted with those of another service";
                    normal.report.warn(restart.pos, &join(&here, "restart"), words);
                }
                if let Some(map) = member.as_map_mut() {
                    let default = |entry: &Entry| match entry.key.as_str() {
                        "condition" => matches!(entry.node.as_text(), Some("" | "service_started")),
                        "required" => entry.node.as_bool() == Some(true),
                        _ => true,
                    };
                    map.0.retain(|entry| !default(entry));
                }
                out.put(&entry.key, entry.pos, member.marked(mark));
            }
            Some(shortest(Node::new(node.pos, Value::Map(out))))
        }
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text { .. } => {
            normal.wrong(&node, path, "a list of services, or a mapping of them")
        }
    }
}

/// A list, unless something is said of one of them.
fn shortest(node: Node) -> Node {
    let Value::Map(map) = node.value else { return node };
    let bare = |entry: &Entry| entry.node.entries().is_empty() && entry.node.mark == Mark::Plain;
    let value = match map.0.iter().all(bare) {
        true => Value::List(map.0.into_iter().map(|entry| Node::text(entry.pos, entry.key)).collect()),
        false => Value::Map(map),
    };
    Node::new(node.pos, value).marked(node.mark)
}

fn mapping(node: Node) -> Node {
    let Value::List(items) = node.value else { return node };
    let mut map = Map::default();
    for item in items {
        let nothing = Node::new(item.pos, Value::Map(Map::default()));
        map.put(item.as_text().unwrap_or_default(), item.pos, nothing);
    }
    Node::new(node.pos, Value::Map(map))
}

/// Services of both files; what the later one says of a service holds.
pub(super) fn merge(base: Node, over: Node) -> Node {
    shortest(merge::named(mapping(base), mapping(over), |old, new| merge::merge(DEPENDENCY, old, new)))
}

/// The shortest form, once marks are gone from it.
pub(super) fn tidy(service: &mut Node) {
    let node = service.as_map_mut().and_then(|service| service.get_mut("depends_on"));
    if let Some(node) = node {
        let before = std::mem::replace(node, Node::new(node.pos, Value::Null));
        *node = shortest(before);
    }
}

/// The services that one can not do without, and where it says so.
pub(super) fn required(service: &Node) -> Vec<(String, Pos)> {
    let node = service.get("depends_on").map(|node| mapping(node.clone()));
    let needed = |entry: &&Entry| entry.node.get("required").and_then(Node::as_bool) != Some(false);
    let entries = node.iter().flat_map(Node::entries).filter(needed);
    entries.map(|entry| (entry.key.clone(), entry.pos)).collect()
}

/// The services that come before `key`, under their names in the cluster.
pub(super) fn dependencies(context: &mut Context<'_>, service: &Node, path: &str) -> Vec<Dependency> {
    let Some(node) = service.get("depends_on") else { return Vec::new() };
    let path = join(path, "depends_on");
    let mut found = Vec::new();
    for entry in mapping(node.clone()).entries() {
        let optional = entry.node.get("required").and_then(Node::as_bool) == Some(false);
        let Some(other) = context.root.get("services").and_then(|services| services.get(&entry.key)) else {
            if !optional {
                let message = format!("{} is not a service of the stack", brief(&entry.key));
                context.report.error(entry.pos, &path, message);
            }
            continue;
        };
        let word = text(&entry.node, "condition");
        let condition = CONDITIONS.iter().find(|(name, _)| *name == word).map(|(_, condition)| *condition);
        let condition = condition.unwrap_or_default();
        if condition == DependencyCondition::Completed && runs_for_ever(other) {
            let message = format!(
                "{} is restarted whenever it ends, so it never completes; give it deploy.mode: replicated-job",
                entry.key
            );
            context.report.warn(entry.pos, &join(&path, &entry.key), message);
        }
        found.push(Dependency { service: format!("{}_{}", context.stack, entry.key), condition, optional });
    }
    found
}

/// Neither a job nor told to stay down (docker's default in a stack is to restart).
fn runs_for_ever(service: &Node) -> bool {
    let deploy = service.get("deploy");
    let is_job = deploy.is_some_and(|deploy| text(deploy, "mode").ends_with("-job"));
    let policy = deploy.and_then(|deploy| deploy.get("restart_policy"));
    let stays_down = match policy {
        Some(policy) => !matches!(text(policy, "condition").as_str(), "" | "any"),
        None => matches!(text(service, "restart").split(':').next(), Some("no" | "on-failure")),
    };
    !is_job && !stays_down
}

/// Services that wait for each other in a circle never start.
pub(super) fn refuse_cycles(root: &Node, report: &mut Report) {
    let services = root.get("services").map_or(&[][..], Node::entries);
    let of = |name: &str| -> Vec<String> {
        let node = root.get("services").and_then(|services| services.get(name)?.get("depends_on"));
        node.map(|node| mapping(node.clone())).iter().flat_map(Node::entries).map(|entry| entry.key.clone()).collect()
    };
    // Told once, at the first service of the file that is in one.
    let found = services.iter().find_map(|entry| Some((entry, spec::cycle(&entry.key, of)?)));
    if let Some((entry, path)) = found {
        let pos = entry.node.get("depends_on").map_or(entry.pos, |node| node.pos);
        let message = format!("each waits for the next, so none starts: {} -> {}", path.join(" -> "), entry.key);
        report.error(pos, &join(&join("services", &entry.key), "depends_on"), message);
    }
}
