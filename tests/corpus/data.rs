//! YAML as data, so that two documents are compared by what they say and not by how they are written.
//!
//! A reader of its own, apart from the one under test: numbers and truth values as YAML 1.2 has them (`yes` and `0440`
//! are no numbers and no truth values). It is for the tests' files, which are known; what it cannot read it panics at.

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Number, Value};
use std::collections::BTreeMap;

/// The first document of `text`. The error says where it is no YAML.
pub fn read(text: &str) -> Result<Value, String> {
    let mut reader = Reader { parser: Parser::new_from_str(text), anchors: BTreeMap::new() };
    loop {
        match reader.next()? {
            Event::Nothing | Event::StreamStart | Event::DocumentStart(_) => {}
            Event::StreamEnd | Event::DocumentEnd => return Ok(Value::Null),
            event @ (Event::Alias(_)
            | Event::Scalar(..)
            | Event::SequenceStart(..)
            | Event::SequenceEnd
            | Event::MappingStart(..)
            | Event::MappingEnd) => return reader.value(event),
        }
    }
}

struct Reader<'t> {
    parser: Parser<'t, saphyr_parser::StrInput<'t>>,
    anchors: BTreeMap<usize, Value>,
}

impl<'t> Reader<'t> {
    fn next(&mut self) -> Result<Event<'t>, String> {
        match self.parser.next_event() {
            Some(Ok((event, _))) => Ok(event),
            Some(Err(error)) => Err(error.to_string()),
            None => Err("the text ends within a value".to_owned()),
        }
    }

    fn value(&mut self, event: Event<'t>) -> Result<Value, String> {
        let (anchor, value) = match event {
            Event::Scalar(text, style, anchor, _) => {
                (anchor, if style == ScalarStyle::Plain { plain(&text) } else { Value::String(text.into_owned()) })
            }
            Event::Alias(id) => return Ok(self.anchors.get(&id).cloned().unwrap_or_default()),
            Event::SequenceStart(anchor, _) => (anchor, self.list()?),
            Event::MappingStart(anchor, _) => (anchor, self.mapping()?),
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::SequenceEnd
            | Event::MappingEnd => return Err("a value is missing".to_owned()),
        };
        if anchor > 0 {
            self.anchors.insert(anchor, value.clone());
        }
        Ok(value)
    }

    fn list(&mut self) -> Result<Value, String> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                Event::SequenceEnd => return Ok(Value::Array(items)),
                event => items.push(self.value(event)?),
            }
        }
    }

    fn mapping(&mut self) -> Result<Value, String> {
        let (mut own, mut merged) = (Map::new(), Map::new());
        loop {
            let key = match self.next()? {
                Event::MappingEnd => break,
                event => self.value(event)?,
            };
            let next = self.next()?;
            let value = self.value(next)?;
            match key.as_str() {
                Some("<<") => merge(&mut merged, value),
                Some(key) => drop(own.insert(key.to_owned(), value)),
                None => drop(own.insert(key.to_string(), value)),
            }
        }
        merged.extend(own);
        Ok(Value::Object(merged))
    }
}

/// What `<<` brings: of several mappings the earlier wins.
fn merge(into: &mut Map<String, Value>, value: Value) {
    let sources = match value {
        Value::Array(sources) => sources,
        source => vec![source],
    };
    for source in sources {
        for (key, value) in source.as_object().into_iter().flatten() {
            into.entry(key).or_insert_with(|| value.clone());
        }
    }
}

fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let only = |allowed: &str| digits.chars().all(|c| c.is_ascii_digit() || allowed.contains(c));
    let starts = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    let octal = digits.len() > 1 && digits.starts_with('0') && only("");
    let number = match text.trim_start_matches('+') {
        integer if starts && only("") && !octal => integer.parse::<i64>().ok().map(Number::from),
        float if starts && digits.contains('.') && only(".eE+-") => float.parse().ok().and_then(Number::from_f64),
        _ => None,
    };
    number.map_or_else(|| Value::String(text.to_owned()), Value::Number)
}

/// Every place at which `got` is not `wanted`, as `/services/web/ports/0`; the outermost ones.
pub fn differences(wanted: &Value, got: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare(wanted, got, "", &mut found);
    found
}

fn compare(wanted: &Value, got: &Value, at: &str, found: &mut Vec<String>) {
    match (wanted, got) {
        (Value::Object(wanted), Value::Object(got)) => {
            let keys: std::collections::BTreeSet<_> = wanted.keys().chain(got.keys()).collect();
            for key in keys {
                let at = format!("{at}/{key}");
                match (wanted.get(key), got.get(key)) {
                    (Some(wanted), Some(got)) => compare(wanted, got, &at, found),
                    (Some(_), None) | (None, Some(_)) | (None, None) => found.push(at),
                }
            }
        }
        (Value::Array(wanted), Value::Array(got)) if wanted.len() == got.len() => {
            for (index, (wanted, got)) in wanted.iter().zip(got).enumerate() {
                compare(wanted, got, &format!("{at}/{index}"), found);
            }
        }
        (wanted, got) if wanted == got => {}
        _ => found.push(if at.is_empty() { "/".to_owned() } else { at.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn yaml_is_read_as_data() {
        let text = "a: &x {n: 1, f: 1.5, o: 0440, s: '1', t: true, y: yes, e: , q: \"b\\n\"}\nb: {<<: *x, n: 2}\nc: [*x, -3]\n";
        let x = json!({"n": 1, "f": 1.5, "o": "0440", "s": "1", "t": true, "y": "yes", "e": null, "q": "b\n"});
        let mut b = x.clone();
        b["n"] = json!(2);
        assert_eq!(read(text).expect("YAML"), json!({"a": x.clone(), "b": b, "c": [x, -3]}));
        assert!(read("a: [1").is_err());
    }

    #[test]
    fn differences_are_told_where_they_are() {
        let wanted = json!({"a": [1, {"b": 2}], "c": 1, "d": "1"});
        let got = json!({"a": [1, {"b": 3}], "d": 1, "e": 0});
        assert_eq!(differences(&wanted, &got), ["/a/1/b", "/c", "/d", "/e"]);
        assert_eq!(differences(&json!([1]), &json!([1, 2])), ["/"]);
        assert_eq!(differences(&wanted, &wanted.clone()), [""; 0]);
    }
}
