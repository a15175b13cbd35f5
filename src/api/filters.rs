//! The `filters` parameter: `{"name": ["a", "b"]}`, or the older `{"name": {"a": true, "b": true}}`.
//! Values of one key are alternatives, keys must all hold; labels must all hold.

use crate::call::Query;
use crate::error::ApiError;
use serde_json::Value;
use std::collections::BTreeMap;

/// Parsed filters.
#[derive(Clone, Debug, Default)]
pub struct Filters(BTreeMap<String, Vec<String>>);

impl Filters {
    /// Reads the parameter; a key that is not in `known` is refused.
    pub fn read(query: &Query, known: &[&str]) -> Result<Self, ApiError> {
        let text = query.text("filters");
        if text.is_empty() {
            return Ok(Self::default());
        }
        let wrong = || ApiError::bad(format!("invalid filters: {text}"));
        let Ok(Value::Object(map)) = serde_json::from_str(text) else {
            return Err(wrong());
        };
        let mut filters = BTreeMap::new();
        for (key, value) in map {
            if !known.contains(&key.as_str()) {
                return Err(ApiError::bad(format!("invalid filter '{key}'")));
            }
            let values: Option<Vec<String>> = match value {
                Value::Array(items) => items.iter().map(|item| item.as_str().map(str::to_owned)).collect(),
                Value::Object(map) => {
                    Some(map.into_iter().filter(|(_, on)| on.as_bool() == Some(true)).map(|(value, _)| value).collect())
                }
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
            };
            filters.insert(key, values.ok_or_else(wrong)?);
        }
        Ok(Self(filters))
    }

    /// The alternatives of a key; empty when it is not filtered.
    pub fn values(&self, key: &str) -> &[String] {
        self.0.get(key).map_or(&[], Vec::as_slice)
    }

    /// The alternatives of a key, which is not filtered any more.
    pub fn take(&mut self, key: &str) -> Vec<String> {
        self.0.remove(key).unwrap_or_default()
    }

    /// Asks for other alternatives; for none: the key is not filtered.
    pub fn put(&mut self, key: &str, values: Vec<String>) {
        self.0.insert(key.to_owned(), values);
    }

    /// As the parameter is written.
    pub fn to_json(&self) -> Value {
        self.0
            .iter()
            .filter(|(_, values)| !values.is_empty())
            .map(|(key, values)| (key.as_str(), values.as_slice()))
            .collect()
    }

    /// Whether no value is asked for, or one of them satisfies `holds`.
    pub fn any(&self, key: &str, holds: impl Fn(&str) -> bool) -> bool {
        let values = self.values(key);
        values.is_empty() || values.iter().any(|value| holds(value))
    }

    /// Whether every `key` or `key=value` asked for is among the labels.
    pub fn labels(&self, key: &str, labels: &BTreeMap<String, String>) -> bool {
        self.values(key).iter().all(|wanted| match wanted.split_once('=') {
            Some((name, value)) => labels.get(name).is_some_and(|found| found == value),
            None => labels.contains_key(wanted),
        })
    }

    /// Whether none of the `key` or `key=value` asked for is among the labels.
    pub fn no_labels(&self, key: &str, labels: &BTreeMap<String, String>) -> bool {
        self.values(key).iter().all(|unwanted| match unwanted.split_once('=') {
            Some((name, value)) => labels.get(name).is_none_or(|found| found != value),
            None => !labels.contains_key(unwanted),
        })
    }

    /// A filter that is true or false; `None` when not asked for.
    pub fn flag(&self, key: &str) -> Result<Option<bool>, ApiError> {
        match self.values(key) {
            [] => Ok(None),
            [one] if matches!(one.as_str(), "1" | "true") => Ok(Some(true)),
            [one] if matches!(one.as_str(), "0" | "false") => Ok(Some(false)),
            other => Err(ApiError::bad(format!("invalid filter '{key}={}'", other.join(",")))),
        }
    }

    /// Refuses values outside `known`.
    pub fn words(&self, key: &str, known: &[&str]) -> Result<(), ApiError> {
        match self.values(key).iter().find(|value| !known.contains(&value.as_str())) {
            Some(value) => Err(ApiError::bad(format!("invalid filter '{key}={value}'"))),
            None => Ok(()),
        }
    }
}

/// Shell pattern with `*` and `?`, neither of which matches `/`.
pub fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    // `reach[i]`: the pattern so far matches the first `i` characters. Linear in both, whatever the pattern.
    let mut reach = vec![false; text.len() + 1];
    reach[0] = true;
    for symbol in pattern {
        let mut next = vec![false; text.len() + 1];
        for at in 0..=text.len() {
            let eats = |at: usize| symbol == text[at] || (matches!(symbol, '*' | '?') && text[at] != '/');
            if symbol == '*' {
                next[at] = reach[at] || (at > 0 && next[at - 1] && eats(at - 1));
            } else {
                next[at] = at > 0 && reach[at - 1] && eats(at - 1);
            }
        }
        reach = next;
    }
    reach[text.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Uri;

    fn read(filters: &str) -> Result<Filters, ApiError> {
        let encoded: String = filters.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let uri: Uri = format!("/x?filters={encoded}").parse().unwrap();
        Filters::read(&Query::parse(&uri).unwrap(), &["name", "label", "dangling"])
    }

    #[test]
    fn both_forms_are_read() {
        for text in [r#"{"name":["a","b"]}"#, r#"{"name":{"a":true,"b":true,"c":false}}"#] {
            let filters = read(text).unwrap();
            assert!(filters.any("name", |name| name == "b"), "{text}");
            assert!(!filters.any("name", |name| name == "c"), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_filter_is_refused() {
        assert_eq!(read(r#"{"nope":["a"]}"#).unwrap_err().message, "invalid filter 'nope'");
        assert!(read("[1]").is_err());
        assert!(read(r#"{"name":"a"}"#).is_err());
        assert!(read(r#"{"dangling":["maybe"]}"#).unwrap().flag("dangling").is_err());
    }

    #[test]
    fn labels_must_all_hold() {
        let labels = BTreeMap::from([("a".to_owned(), "1".to_owned()), ("b".to_owned(), String::new())]);
        assert!(read(r#"{"label":["a=1","b"]}"#).unwrap().labels("label", &labels));
        assert!(!read(r#"{"label":["a=1","c"]}"#).unwrap().labels("label", &labels));
        assert!(!read(r#"{"label":["a=2"]}"#).unwrap().labels("label", &labels));
        assert!(read(r#"{"label":["a=2","c"]}"#).unwrap().no_labels("label", &labels));
        assert!(!read(r#"{"label":["a=2","b"]}"#).unwrap().no_labels("label", &labels));
    }

    #[test]
    fn a_star_stops_at_a_slash() {
        assert!(glob("redis*", "redis:7"));
        assert!(glob("*/app:?", "my/app:1"));
        assert!(!glob("*", "my/app"));
        assert!(!glob("red", "redis"));
    }
}
