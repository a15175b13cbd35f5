//! Reads JSON objects field by field; what nobody took at the end is refused by its path.
//!
//! Names match without regard to case, as Go's decoder has it and clients rely on.

use super::fields::says_nothing;
use crate::error::ApiError;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// A JSON object being read. `finish` must be called, or an unknown field would pass unseen.
#[must_use]
#[derive(Debug)]
pub struct Object {
    path: String,
    left: Vec<(String, Value)>,
}

type Read<T> = Result<T, ApiError>;

impl Object {
    /// The body of a request.
    pub fn root(value: Value) -> Read<Self> {
        Self::at(String::new(), value)
    }

    fn at(path: String, value: Value) -> Read<Self> {
        match value {
            Value::Object(map) => Ok(Self { path, left: map.into_iter().collect() }),
            Value::Null => Ok(Self { path, left: Vec::new() }),
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                let place = if path.is_empty() { "request body" } else { &path };
                Err(ApiError::bad(format!("{place}: must be a JSON object")))
            }
        }
    }

    /// The path of a field, for messages.
    pub fn path(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    fn wrong<T>(&self, name: &str, wanted: &str) -> Read<T> {
        Err(ApiError::bad(format!("{}: must be {wanted}", self.path(name))))
    }

    /// The value of a field as it is; null when absent.
    pub fn take(&mut self, name: &str) -> Read<Value> {
        let mut found: Option<Value> = None;
        let mut differs = false;
        self.left.retain_mut(|(key, value)| {
            let hit = key.eq_ignore_ascii_case(name);
            if hit {
                // The same twice is no contradiction: some answers of ours carry two spellings.
                differs |= found.as_ref().is_some_and(|earlier| earlier != value);
                found = Some(value.take());
            }
            !hit
        });
        match differs {
            true => Err(ApiError::bad(format!("{}: given twice", self.path(name)))),
            false => Ok(found.unwrap_or_default()),
        }
    }

    pub fn opt_string(&mut self, name: &str) -> Read<Option<String>> {
        match self.take(name)? {
            Value::Null => Ok(None),
            Value::String(text) => Ok(Some(text)),
            Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => self.wrong(name, "a string"),
        }
    }

    /// Empty when absent.
    pub fn string(&mut self, name: &str) -> Read<String> {
        Ok(self.opt_string(name)?.unwrap_or_default())
    }

    pub fn opt_bool(&mut self, name: &str) -> Read<Option<bool>> {
        match self.take(name)? {
            Value::Null => Ok(None),
            Value::Bool(value) => Ok(Some(value)),
            Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
                self.wrong(name, "true or false")
            }
        }
    }

    pub fn bool(&mut self, name: &str) -> Read<bool> {
        Ok(self.opt_bool(name)?.unwrap_or_default())
    }

    pub fn opt_i64(&mut self, name: &str) -> Read<Option<i64>> {
        let value = self.take(name)?;
        if value.is_null() {
            return Ok(None);
        }
        match value.as_i64() {
            Some(number) => Ok(Some(number)),
            None => self.wrong(name, "a whole number"),
        }
    }

    pub fn i64(&mut self, name: &str) -> Read<i64> {
        Ok(self.opt_i64(name)?.unwrap_or_default())
    }

    pub fn opt_u64(&mut self, name: &str) -> Read<Option<u64>> {
        match self.opt_i64(name)? {
            None => Ok(None),
            Some(number) => match u64::try_from(number) {
                Ok(number) => Ok(Some(number)),
                Err(_) => Err(ApiError::bad(format!("{}: cannot be negative", self.path(name)))),
            },
        }
    }

    pub fn u64(&mut self, name: &str) -> Read<u64> {
        Ok(self.opt_u64(name)?.unwrap_or_default())
    }

    /// A number that fits `T`; 0 when absent.
    pub fn number<T: TryFrom<i64> + Default>(&mut self, name: &str, wanted: &str) -> Read<T> {
        let number = self.i64(name)?;
        T::try_from(number).or_else(|_| self.wrong(name, wanted))
    }

    pub fn f32(&mut self, name: &str) -> Read<f32> {
        let value = self.take(name)?;
        if value.is_null() {
            return Ok(0.0);
        }
        match value.as_f64().map(|number| number as f32).filter(|number| number.is_finite()) {
            Some(number) => Ok(number),
            None => self.wrong(name, "a number"),
        }
    }

    /// Nanoseconds.
    pub fn duration(&mut self, name: &str) -> Read<Option<Duration>> {
        Ok(self.opt_u64(name)?.map(Duration::from_nanos))
    }

    /// Empty when absent.
    pub fn strings(&mut self, name: &str) -> Read<Vec<String>> {
        match self.take(name)? {
            Value::Null => Ok(Vec::new()),
            Value::Array(items) => {
                let texts = items.into_iter().map(|item| match item {
                    Value::String(text) => Some(text),
                    Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => None,
                });
                texts.collect::<Option<_>>().map_or_else(|| self.wrong(name, "a list of strings"), Ok)
            }
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
                self.wrong(name, "a list of strings")
            }
        }
    }

    /// An object of strings; `None` when absent.
    pub fn opt_map(&mut self, name: &str) -> Read<Option<BTreeMap<String, String>>> {
        match self.take(name)? {
            Value::Null => Ok(None),
            Value::Object(map) => {
                let pairs = map.into_iter().map(|(key, value)| match value {
                    Value::String(text) => Some((key, text)),
                    Value::Null => Some((key, String::new())),
                    Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => None,
                });
                pairs
                    .collect::<Option<_>>()
                    .map_or_else(|| self.wrong(name, "an object of strings"), |map| Ok(Some(map)))
            }
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                self.wrong(name, "an object of strings")
            }
        }
    }

    pub fn map(&mut self, name: &str) -> Read<BTreeMap<String, String>> {
        Ok(self.opt_map(name)?.unwrap_or_default())
    }

    /// `None` when absent or null; an empty object is there.
    pub fn object(&mut self, name: &str) -> Read<Option<Object>> {
        match self.take(name)? {
            Value::Null => Ok(None),
            value => Ok(Some(Object::at(self.path(name), value)?)),
        }
    }

    /// Empty when absent; the paths carry the index.
    pub fn objects(&mut self, name: &str) -> Read<Vec<Object>> {
        match self.take(name)? {
            Value::Null => Ok(Vec::new()),
            Value::Array(items) => {
                let place = self.path(name);
                items.into_iter().enumerate().map(|(i, item)| Object::at(format!("{place}[{i}]"), item)).collect()
            }
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
                self.wrong(name, "a list of objects")
            }
        }
    }

    /// Takes a field whose text is one of `words`; the first stands for absent and empty.
    pub fn word<T: Copy>(&mut self, name: &str, words: &[(&str, T)]) -> Read<T> {
        let text = self.string(name)?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        match (found, words.first()) {
            (Some(value), _) => Ok(value),
            (None, Some((_, first))) if text.is_empty() => Ok(*first),
            (None, _) => {
                let known: Vec<_> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
                self.wrong(name, &format!("one of {}, not \"{text}\"", known.join(", ")))
            }
        }
    }

    /// Refuses whatever is left and says something: it would be dropped.
    pub fn finish(self) -> Read<()> {
        let path = |name: &str| self.path(name);
        match self.left.iter().find(|(_, value)| !says_nothing(value)) {
            Some((name, value)) => Err(ApiError::bad(format!("{} is not supported", deepest(path(name), value)))),
            None => Ok(()),
        }
    }
}

/// The path down to the first part of `value` that says something.
fn deepest(path: String, value: &Value) -> String {
    match value {
        Value::Object(map) => match map.iter().find(|(_, value)| !says_nothing(value)) {
            Some((name, value)) => deepest(format!("{path}.{name}"), value),
            None => path,
        },
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_match_without_regard_to_case() {
        let mut object = Object::root(json!({"replicas": 3})).unwrap();
        assert_eq!(object.opt_u64("Replicas").unwrap(), Some(3));
        object.finish().unwrap();
    }

    #[test]
    fn a_field_nobody_reads_is_refused_with_its_path_unless_it_says_nothing() {
        let mut object = Object::root(json!({"A": {"B": null, "C": {"D": 7}}, "Zero": 0, "Off": false})).unwrap();
        let inner = object.object("A").unwrap().unwrap();
        object.finish().unwrap();
        assert_eq!(inner.finish().unwrap_err().message, "A.C.D is not supported");
    }

    #[test]
    fn a_wrong_type_is_named() {
        let mut object = Object::root(json!({"A": [{"B": "x"}]})).unwrap();
        let mut inner = object.objects("A").unwrap().remove(0);
        object.finish().unwrap();
        assert_eq!(inner.u64("B").unwrap_err().message, "A[0].B: must be a whole number");
        inner.finish().unwrap();
    }

    #[test]
    fn a_negative_amount_is_refused() {
        let mut object = Object::root(json!({"Delay": -1})).unwrap();
        assert_eq!(object.duration("Delay").unwrap_err().message, "Delay: cannot be negative");
    }
}
