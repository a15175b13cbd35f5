//! `--filter KEY=VALUE` and what the API takes.

use crate::error::{CliError, Result};
use serde_json::{Map, Value};

/// The parameter `filters` of the API: `{"name": {"web": true}}`; none when there is no filter.
pub fn encode(filters: &[String]) -> Result<Option<String>> {
    let mut out: Map<String, Value> = Map::new();
    for filter in filters {
        if filter.is_empty() {
            continue;
        }
        let Some((key, value)) = filter.split_once('=') else {
            return Err(CliError::flag(format!(
                "invalid argument \"{filter}\" for \"-f, --filter\" flag: bad format of filter (expected name=value)"
            )));
        };
        add(&mut out, key.trim().to_lowercase(), value.trim());
    }
    Ok((!out.is_empty()).then(|| Value::from(out).to_string()))
}

/// As `encode`, with filters of the command's own.
pub fn with(filters: &[String], own: &[(&str, &str)]) -> Result<Option<String>> {
    let own = own.iter().map(|(key, value)| format!("{key}={value}"));
    encode(&filters.iter().cloned().chain(own).collect::<Vec<_>>())
}

fn add(out: &mut Map<String, Value>, key: String, value: &str) {
    let values = out.entry(key).or_insert_with(|| Value::from(Map::new()));
    values[value] = Value::Bool(true);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_one_key_are_gathered() {
        let filters = ["name=a".to_owned(), "name=b".to_owned(), "label=x=y".to_owned()];
        let encoded = encode(&filters).ok().flatten().unwrap_or_default();
        assert_eq!(encoded, r#"{"label":{"x=y":true},"name":{"a":true,"b":true}}"#);
    }

    #[test]
    fn a_filter_without_a_value_is_refused() {
        let refused = encode(&["name".to_owned()]).expect_err("it says nothing");
        assert_eq!(refused.code(), 125);
        assert_eq!(encode(&[String::new()]).ok(), Some(None), "an empty word is none");
    }
}
