//! What differs between two specifications, in a few words, by the names of the API.
//!
//! Values of environment variables are never told: they may be passwords.

use crate::commands::common::image_name;
use crate::json::text;
use crate::units::{binary_size, ellipsis, go_duration};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Characters of one value.
const VALUE_WIDTH: usize = 40;
/// Parts of a path that say nothing to a person.
const IMPLIED: [&str; 6] = ["TaskTemplate", "ContainerSpec", "Mode", "Replicated", "ReplicatedJob", "Swarm"];
/// What there is beyond the API: absent when nothing of it is given.
const EXTENSION: &str = "Swarm";
/// Fields in nanoseconds.
const DURATIONS: [&str; 15] = [
    "Delay",
    "Monitor",
    "Window",
    "Interval",
    "Timeout",
    "StartPeriod",
    "StartInterval",
    "StopGracePeriod",
    "PromoteAfter",
    "AtMostOne",
    "RestartBackoffMax",
    "ScaleDownDelay",
    "Period",
    "HeartbeatPeriod",
    "NodeCertExpiry",
];

/// One line for each field that differs, `before` first.
pub fn differences(before: &Value, after: &Value) -> Vec<String> {
    let mut out = Vec::new();
    walk(&mut Vec::new(), before, after, &mut out);
    out
}

fn walk(path: &mut Vec<String>, before: &Value, after: &Value, out: &mut Vec<String>) {
    if before == after {
        return;
    }
    // Canaries are of an update, not of what is updated.
    if path.len() == 2 && path[0] == EXTENSION && path[1] == "Canary" {
        return;
    }
    let is_extension = path.last().is_some_and(|key| key == EXTENSION);
    let fields = |value: &Value| match value {
        Value::Null if is_extension => Some(Map::new()),
        other => other.as_object().cloned(),
    };
    let (Some(old), Some(new)) = (fields(before), fields(after)) else {
        out.push(describe(path, before, after));
        return;
    };
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let at = |object: &Map<String, Value>, key: &str| object.get(key).cloned().unwrap_or(Value::Null);
    for key in keys {
        path.push(key.clone());
        walk(path, &at(&old, key), &at(&new, key), out);
        path.pop();
    }
}

fn describe(path: &[String], before: &Value, after: &Value) -> String {
    let shown: Vec<&str> = path.iter().map(String::as_str).filter(|part| !IMPLIED.contains(part)).collect();
    let name = match shown.as_slice() {
        ["Image"] => "image".to_owned(),
        ["Replicas"] => "replicas".to_owned(),
        ["ForceUpdate"] => return "forced".to_owned(),
        parts => parts.join("."),
    };
    let field = shown.last().copied().unwrap_or_default();
    if field == "Image" {
        return images(&name, text(before, ""), text(after, ""));
    }
    match (before, after) {
        (Value::Null | Value::Array(_), Value::Null | Value::Array(_)) => lists(&name, field, before, after),
        (Value::Null, Value::Object(_)) => format!("{name} added"),
        (_, Value::Null) => format!("{name} removed"),
        (Value::Null, after) => format!("{name} {}", value(field, after)),
        (before, after) => format!("{name} {} -> {}", value(field, before), value(field, after)),
    }
}

/// Without digests, unless they alone differ.
fn images(name: &str, before: &str, after: &str) -> String {
    match (image_name(before), image_name(after)) {
        (old, new) if old != new => format!("{name} {old} -> {new}"),
        (same, _) => format!("{name} {same}, another content"),
    }
}

fn value(field: &str, value: &Value) -> String {
    let number = value.as_i64();
    match (value, number) {
        (Value::String(text), _) => ellipsis(text, VALUE_WIDTH),
        (_, Some(ns)) if DURATIONS.contains(&field) => go_duration(ns),
        (_, Some(bytes)) if field.ends_with("Bytes") => binary_size(bytes),
        (_, Some(nano)) if field == "NanoCPUs" => format!("{}", nano as f64 / 1e9),
        _ => ellipsis(&value.to_string(), VALUE_WIDTH),
    }
}

/// What a list has more and less; of objects by their name or target, of variables the names alone.
fn lists(name: &str, field: &str, before: &Value, after: &Value) -> String {
    let items = |list: &Value| -> BTreeMap<String, Value> {
        let items = list.as_array().map_or(&[][..], Vec::as_slice);
        items.iter().map(|item| (key(field, item), item.clone())).collect()
    };
    let (old, new) = (items(before), items(after));
    let mut words = Vec::new();
    words.extend(new.keys().filter(|key| !old.contains_key(*key)).map(|key| format!("+{key}")));
    words.extend(old.keys().filter(|key| !new.contains_key(*key)).map(|key| format!("-{key}")));
    words.extend(
        new.iter().filter(|(key, item)| old.get(*key).is_some_and(|old| old != *item)).map(|(key, _)| key.clone()),
    );
    if words.is_empty() { format!("{name} in another order") } else { format!("{name} {}", words.join(" ")) }
}

fn key(field: &str, item: &Value) -> String {
    if let Some(text) = item.as_str() {
        let shown = if field == "Env" { text.split('=').next().unwrap_or(text) } else { text };
        return ellipsis(shown, VALUE_WIDTH);
    }
    let names = ["/SecretName", "/ConfigName", "/Name", "/Target", "/Service", "/TargetPort"];
    let found = names.iter().filter_map(|path| item.pointer(path));
    let mut found = found.filter(|value| value.as_str().is_none_or(|text| !text.is_empty()));
    let named = found.next().map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    ellipsis(&named.unwrap_or_else(|| item.to_string()), VALUE_WIDTH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_differs_is_told_by_name() {
        let before = json!({"Mode": {"Replicated": {"Replicas": 2}}, "Labels": {"a": "1"}, "TaskTemplate": {
            "ForceUpdate": 0, "Resources": {"Limits": {}}, "Networks": [{"Target": "n1"}],
            "ContainerSpec": {"Image": "web:1@sha256:00", "Env": ["A=secret", "B=2"], "Hostname": "x"}}});
        let after = json!({"Mode": {"Replicated": {"Replicas": 5}}, "Labels": {"a": "2"}, "TaskTemplate": {
            "ForceUpdate": 1, "Resources": {"Limits": {"MemoryBytes": 67_108_864}},
            "ContainerSpec": {"Image": "web:2@sha256:11", "Env": ["A=other", "C=3"], "Healthcheck": {"Test": ["NONE"]}}},
            "UpdateConfig": {"Parallelism": 1}});
        let expected = [
            "Labels.a 1 -> 2",
            "replicas 2 -> 5",
            "Env +C -B A",
            "Healthcheck added",
            "Hostname removed",
            "image web:1 -> web:2",
            "forced",
            "Networks -n1",
            "Resources.Limits.MemoryBytes 64MiB",
            "UpdateConfig added",
        ];
        assert_eq!(differences(&before, &after), expected);
        assert!(differences(&before, &before).is_empty());
    }

    #[test]
    fn canaries_are_of_an_update_and_no_difference() {
        let before = json!({"Swarm": {"Canary": {"Tasks": 1}, "Priority": 2}});
        assert_eq!(differences(&before, &json!({})), ["Priority removed"]);
        assert!(differences(&json!({}), &json!({"Swarm": {"Canary": {"Tasks": 1}}})).is_empty());
    }

    #[test]
    fn no_value_of_a_variable_is_told() {
        let told = differences(&json!({"Env": ["TOKEN=abc"]}), &json!({"Env": ["TOKEN=def", "KEY=ghi"]}));
        assert_eq!(told, ["Env +KEY TOKEN"]);
    }
}
