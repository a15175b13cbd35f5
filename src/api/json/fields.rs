//! Builds JSON objects, leaving out what has no value.
//!
//! As text: a list of ten thousand tasks takes many times longer as a tree of values, and is never looked at again.

use serde::{Serialize, Serializer};
use serde_json::Value;
use std::collections::BTreeMap;

/// What can stand in a JSON object.
pub trait Written {
    /// Appends it as JSON.
    fn write(&self, out: &mut Vec<u8>);

    /// Null, false, 0 or empty.
    fn is_blank(&self) -> bool;
}

fn serialize(value: &impl Serialize, out: &mut Vec<u8>) {
    // Memory takes what it is given, and what is written here has no keys but strings.
    drop(serde_json::to_writer(out, value));
}

macro_rules! numbers {
    ($($number:ty)*) => {
        $(impl Written for $number {
            fn write(&self, out: &mut Vec<u8>) {
                serialize(self, out);
            }

            fn is_blank(&self) -> bool {
                *self == <$number>::default()
            }
        })*
    };
}

numbers!(bool u8 u16 u32 u64 usize i16 i32 i64 f32 f64);

impl Written for str {
    fn write(&self, out: &mut Vec<u8>) {
        serialize(&self, out);
    }

    fn is_blank(&self) -> bool {
        self.is_empty()
    }
}

impl Written for String {
    fn write(&self, out: &mut Vec<u8>) {
        self.as_str().write(out);
    }

    fn is_blank(&self) -> bool {
        self.is_empty()
    }
}

/// A label without a value is not blank, nor is an object that has it.
impl Written for Value {
    fn write(&self, out: &mut Vec<u8>) {
        serialize(self, out);
    }

    fn is_blank(&self) -> bool {
        match self {
            Value::Object(map) => map.is_empty(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => says_nothing(self),
        }
    }
}

impl<T: Written + ?Sized> Written for &T {
    fn write(&self, out: &mut Vec<u8>) {
        (**self).write(out);
    }

    fn is_blank(&self) -> bool {
        (**self).is_blank()
    }
}

impl<T: Written> Written for Option<T> {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Some(value) => value.write(out),
            None => out.extend_from_slice(b"null"),
        }
    }

    fn is_blank(&self) -> bool {
        self.as_ref().is_none_or(Written::is_blank)
    }
}

impl<T: Written> Written for [T] {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(b'[');
        for (at, value) in self.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            value.write(out);
        }
        out.push(b']');
    }

    fn is_blank(&self) -> bool {
        self.is_empty()
    }
}

impl<T: Written> Written for Vec<T> {
    fn write(&self, out: &mut Vec<u8>) {
        self.as_slice().write(out);
    }

    fn is_blank(&self) -> bool {
        self.is_empty()
    }
}

/// A JSON object in the making. Each name is set once.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    /// What stands between the braces.
    inner: Vec<u8>,
}

impl Fields {
    pub fn new() -> Self {
        Self::default()
    }

    /// Always there.
    pub fn set(mut self, name: &str, value: impl Written) -> Self {
        if !self.inner.is_empty() {
            self.inner.push(b',');
        }
        name.write(&mut self.inner);
        self.inner.push(b':');
        value.write(&mut self.inner);
        self
    }

    /// There when `Some`.
    pub fn opt(self, name: &str, value: Option<impl Written>) -> Self {
        match value {
            Some(value) => self.set(name, value),
            None => self,
        }
    }

    /// There unless it is null, false, 0 or empty. A label without a value is not empty.
    pub fn filled(self, name: &str, value: impl Written) -> Self {
        if value.is_blank() { self } else { self.set(name, value) }
    }

    pub fn is_empty(&self) -> bool {
        self.inner.is_empty()
    }
}

impl Written for Fields {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        out.extend_from_slice(&self.inner);
        out.push(b'}');
    }

    fn is_blank(&self) -> bool {
        self.is_empty()
    }
}

impl From<Fields> for Value {
    fn from(fields: Fields) -> Value {
        let mut text = Vec::with_capacity(fields.inner.len() + 2);
        fields.write(&mut text);
        // It was just written.
        serde_json::from_slice(&text).unwrap_or_default()
    }
}

/// The fields of an object; none of anything else.
impl From<Value> for Fields {
    fn from(value: Value) -> Self {
        let fields = value.as_object().into_iter().flatten();
        fields.fold(Self::new(), |object, (name, value)| object.set(name, value))
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Value::from(self.clone()).serialize(serializer)
    }
}

/// A JSON object of strings.
pub fn strings(map: &BTreeMap<String, String>) -> Fields {
    map.iter().fold(Fields::new(), |fields, (key, value)| fields.set(key, value))
}

/// Null, false, 0, and what is empty or consists of such: what a client sends for "not set".
pub fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.values().all(says_nothing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_set_is_written_and_what_is_blank_is_left_out_where_asked() {
        let fields = Fields::new()
            .set("Text", "a \"b\"\n")
            .set("Empty", "")
            .filled("No", "")
            .filled("Zero", 0)
            .filled("Off", false)
            .filled("None", Vec::<String>::new())
            .opt("Absent", None::<u64>)
            .set("List", vec![1u64, 2])
            .set("Inner", Fields::new().set("A", true))
            .filled("Labels", json!({ "a": "" }));
        let expected =
            json!({ "Text": "a \"b\"\n", "Empty": "", "List": [1, 2], "Inner": { "A": true }, "Labels": { "a": "" } });
        assert_eq!(Value::from(fields.clone()), expected);
        assert_eq!(Value::from(Fields::from(expected.clone())), expected);
        assert_eq!(Value::from(Fields::new()), json!({}));
    }
}
