//! Whether a value is of a schema: the part of OpenAPI 2 that the Engine API's definitions use.

use super::document::Document;
use serde_json::{Map, Value};
use std::sync::Arc;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// What of a value the schema does not allow, as `place: what`.
pub struct Validation<'a> {
    document: &'a Document,
    /// Ends of the places of fields that may be there although the definition lacks them (`[]` is an item of a list);
    /// `None`: it tells nothing of what may not be there.
    beyond: Option<&'a [&'a str]>,
    pub faults: Vec<String>,
}

/// An object schema with its references and `allOf` resolved.
#[derive(Default)]
struct Shape {
    properties: Map<String, Value>,
    required: Vec<String>,
    additional: Option<Value>,
    /// Nothing is said of what is inside.
    free: bool,
}

impl<'a> Validation<'a> {
    pub fn new(document: &'a Document, beyond: Option<&'a [&'a str]>) -> Self {
        Self { document, beyond, faults: Vec::new() }
    }

    fn fault(&mut self, place: &str, what: impl std::fmt::Display) {
        self.faults.push(format!("{place}: {what}"));
    }

    fn may_be_there(&self, place: &str) -> bool {
        let mut inside = false;
        let without_numbers = place.chars().filter(|c| {
            let number = inside && *c != ']';
            inside = (inside || *c == '[') && *c != ']';
            !number
        });
        let place: String = without_numbers.collect();
        self.beyond.is_none_or(|ends| ends.iter().any(|end| place.ends_with(end)))
    }

    fn resolve(&self, schema: &Value) -> Arc<Value> {
        let mut schema = Arc::new(schema.clone());
        while let Some(name) = schema["$ref"].as_str().and_then(|text| text.strip_prefix("#/definitions/")) {
            schema = self.document.definition(name);
        }
        schema
    }

    fn gather(&self, schema: &Value, shape: &mut Shape) {
        let schema = self.resolve(schema);
        for part in schema["allOf"].as_array().into_iter().flatten() {
            self.gather(part, shape);
        }
        shape.properties.extend(schema["properties"].as_object().cloned().unwrap_or_default());
        let required = schema["required"].as_array().into_iter().flatten();
        shape.required.extend(required.filter_map(|name| name.as_str().map(str::to_owned)));
        match schema.get("additionalProperties") {
            None | Some(Value::Bool(false)) => {}
            Some(Value::Bool(true)) => shape.free = true,
            Some(other) => shape.additional = Some(other.clone()),
        }
    }

    pub fn check(&mut self, place: &str, schema: &Value, value: &Value) {
        // Beside a reference some definitions say more.
        let nullable = schema["x-nullable"] == true;
        let schema = self.resolve(schema);
        let kind = schema["type"].as_str().unwrap_or_default();
        if value.is_null() {
            if !nullable && schema["x-nullable"] != true && !kind.is_empty() {
                self.fault(place, format_args!("null, where there must be {kind}"));
            }
            return;
        }
        if let Some(words) = schema["enum"].as_array().filter(|words| !words.contains(value)) {
            self.fault(place, format_args!("{value} is none of {}", Value::from(words.clone())));
        }
        if kind.is_empty() && schema.get("properties").is_none() && !self.is_object(&schema) {
            let parts = schema["allOf"].as_array().into_iter().flatten();
            return parts.for_each(|part| self.check(place, part, value));
        }
        let fits = match kind {
            "" | "object" => return self.object(place, &schema, value),
            "array" => return self.array(place, &schema["items"], value),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            other => panic!("the validator does not know the type {other}"),
        };
        if !fits {
            return self.fault(place, format_args!("{value} is no {kind}"));
        }
        self.bounds(place, &schema, value);
    }

    /// Whether what it is made of are objects.
    fn is_object(&self, schema: &Value) -> bool {
        let parts = schema["allOf"].as_array().into_iter().flatten();
        let mut kinds = parts.map(|part| self.resolve(part));
        kinds.any(|part| part["type"] == "object" || part.get("properties").is_some() || self.is_object(&part))
    }

    fn bounds(&mut self, place: &str, schema: &Value, value: &Value) {
        let is_time = matches!(schema["format"].as_str(), Some("dateTime" | "date-time"));
        if let Some(text) = value.as_str().filter(|_| is_time)
            && OffsetDateTime::parse(text, &Rfc3339).is_err()
        {
            self.fault(place, format_args!("\"{text}\" is no time"));
        }
        if let Some(number) = value.as_f64() {
            let low = schema["minimum"].as_f64().is_some_and(|least| number < least);
            let high = schema["maximum"].as_f64().is_some_and(|most| number > most);
            if low || high {
                self.fault(place, format_args!("{value} is out of range"));
            }
        }
    }

    fn array(&mut self, place: &str, items: &Value, value: &Value) {
        let Some(values) = value.as_array() else {
            return self.fault(place, format_args!("{value} is no array"));
        };
        for (at, value) in values.iter().enumerate() {
            self.check(&format!("{place}[{at}]"), items, value);
        }
    }

    fn object(&mut self, place: &str, schema: &Value, value: &Value) {
        let Some(fields) = value.as_object() else {
            return self.fault(place, format_args!("{value} is no object"));
        };
        let mut shape = Shape::default();
        self.gather(schema, &mut shape);
        for name in shape.required.iter().filter(|name| !fields.contains_key(*name)) {
            self.fault(place, format_args!("{name} must be there"));
        }
        let says_nothing = shape.properties.is_empty() && shape.additional.is_none();
        for (name, value) in fields {
            let inner = format!("{place}.{name}");
            match (shape.properties.get(name), &shape.additional) {
                (Some(schema), _) | (None, Some(schema)) => self.check(&inner, schema, value),
                (None, None) if says_nothing || shape.free || self.may_be_there(&inner) => {}
                (None, None) => self.fault(&inner, "no such field in this version"),
            }
        }
    }
}
