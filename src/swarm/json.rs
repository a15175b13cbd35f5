//! Reading and writing the JSON of the Engine API by path, such as `/Spec/TaskTemplate/Resources`.
//!
//! Objects are kept as JSON, not as typed models: an update must send back what it did not touch,
//! also fields this program does not know.

use serde_json::{Map, Value, json};

/// Text at a path; empty when absent or no text.
pub fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).unwrap_or("")
}

/// Number at a path; 0 when absent.
pub fn int(value: &Value, path: &str) -> i64 {
    value.pointer(path).and_then(Value::as_i64).unwrap_or(0)
}

/// Truth at a path; false when absent.
pub fn flag(value: &Value, path: &str) -> bool {
    value.pointer(path).and_then(Value::as_bool).unwrap_or(false)
}

/// List at a path; empty when absent.
pub fn list<'a>(value: &'a Value, path: &str) -> &'a [Value] {
    value.pointer(path).and_then(Value::as_array).map(Vec::as_slice).unwrap_or(&[])
}

/// Texts of the list at a path.
pub fn texts(value: &Value, path: &str) -> Vec<String> {
    list(value, path).iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Object at a path, if there is one.
pub fn object<'a>(value: &'a Value, path: &str) -> Option<&'a Map<String, Value>> {
    value.pointer(path).and_then(Value::as_object)
}

/// The place at a path, made (with the objects on the way) when absent.
pub fn place<'a>(value: &'a mut Value, path: &str) -> &'a mut Value {
    path.split('/').skip(1).fold(value, |at, key| {
        if !at.is_object() {
            *at = json!({});
        }
        // An object by the lines above: indexing makes the key.
        &mut at[key]
    })
}

/// Sets what is at a path.
pub fn set(value: &mut Value, path: &str, new: impl Into<Value>) {
    *place(value, path) = new.into();
}

/// Sets what is at a path when there is something to set.
pub fn set_some<T: Into<Value>>(value: &mut Value, path: &str, new: Option<T>) {
    if let Some(new) = new {
        set(value, path, new);
    }
}

/// The list at a path, made when absent.
pub fn list_mut<'a>(value: &'a mut Value, path: &str) -> &'a mut Vec<Value> {
    let at = place(value, path);
    if !at.is_array() {
        *at = json!([]);
    }
    match at {
        Value::Array(items) => items,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            unreachable!("made an array above")
        }
    }
}

/// The object at a path, made when absent.
pub fn object_mut<'a>(value: &'a mut Value, path: &str) -> &'a mut Map<String, Value> {
    let at = place(value, path);
    if !at.is_object() {
        *at = json!({});
    }
    match at {
        Value::Object(fields) => fields,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            unreachable!("made an object above")
        }
    }
}

/// Drops a list that became empty.
pub fn drop_empty(value: &mut Value, path: &str) {
    let Some((parent, key)) = path.rsplit_once('/') else { return };
    let Some(Value::Object(fields)) = value.pointer_mut(parent) else { return };
    if fields.get(key).and_then(Value::as_array).is_some_and(Vec::is_empty) {
        fields.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_made_with_everything_on_the_way() {
        let mut value = Value::Null;
        set(&mut value, "/A/B/C", 1);
        list_mut(&mut value, "/A/L").push(json!("x"));
        assert_eq!(value, json!({"A": {"B": {"C": 1}, "L": ["x"]}}));
    }

    #[test]
    fn what_is_absent_reads_as_empty() {
        let value = json!({"A": null});
        assert_eq!((text(&value, "/A/B"), int(&value, "/X"), list(&value, "/A").len()), ("", 0, 0));
    }
}
