//! Types of what a template is given: by which name a field is reached, what it is when it is left out, how it prints.
//!
//! People write `{{.ID}}` where the JSON says `Id`, and expect `10s` where it says 10000000000: docker fills templates in
//! from Go's structs. A table of those, one struct a line, says what differs:
//!
//! `swarm.Node: ID string, ^Meta, Spec NodeSpec, ManagerStatus *ManagerStatus` - `^X` is embedded, so that its fields are
//! also the struct's; `ID [Id] string` is the field `ID` under the key `Id`; `...` at the end lets further keys be reached
//! by their own names, `-` is no field at all; a name without a dot is of the struct's own package.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::collections::BTreeMap;

/// Structs by name, and how their times are written.
#[derive(Clone, Debug)]
pub struct Types {
    structs: BTreeMap<String, Struct>,
    /// Of nanoseconds.
    pub duration: fn(i64) -> String,
    /// Of a time of the API.
    pub time: fn(&str) -> String,
}

#[derive(Clone, Debug, Default)]
struct Struct {
    fields: Vec<Field>,
    is_open: bool,
}

#[derive(Clone, Debug)]
struct Field {
    name: String,
    key: String,
    of: Type,
    is_embedded: bool,
}

/// The type of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Type {
    kind: Kind,
    /// As Go writes it.
    name: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Any,
    Text,
    Number,
    Truth,
    Bytes,
    Duration,
    Time,
    Pointer(Box<Type>),
    List(Box<Type>),
    Map(Box<Type>),
    Struct,
}

/// A value and, where it is known, its type. None: nothing is there.
#[derive(Clone, Debug)]
pub(super) struct Item<'t> {
    pub value: Option<Value>,
    pub of: Option<&'t Type>,
}

impl Item<'_> {
    pub(super) fn plain(value: Value) -> Self {
        Self { value: Some(value), of: None }
    }
}

impl Types {
    /// # Errors
    /// With the line that is not understood.
    pub fn parse(text: &str, duration: fn(i64) -> String, time: fn(&str) -> String) -> Result<Self, String> {
        let mut structs = BTreeMap::new();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (name, fields) = line.split_once(": ").ok_or_else(|| format!("no fields: {line}"))?;
            let package = name.split_once('.').map_or("", |(package, _)| package);
            let mut out = Struct::default();
            for field in fields.split(", ") {
                match field {
                    "..." => out.is_open = true,
                    "-" => {}
                    field => out.fields.push(parse_field(field, package).ok_or_else(|| format!("{name}: {field}"))?),
                }
            }
            structs.insert(name.to_owned(), out);
        }
        Ok(Self { structs, duration, time })
    }

    /// The type of that name.
    pub fn named(&self, name: &str) -> Option<Type> {
        self.structs.contains_key(name).then(|| Type { kind: Kind::Struct, name: name.to_owned() })
    }

    /// The field of a value of this type.
    pub(super) fn field<'t>(&'t self, of: &'t Type, value: Option<&Value>, name: &str) -> Result<Item<'t>, String> {
        match &of.kind {
            Kind::Pointer(_) if matches!(value, None | Some(Value::Null)) => {
                Err(format!("nil pointer evaluating {}.{name}", of.name))
            }
            Kind::Pointer(inner) => self.field(inner, value, name).map_err(|words| match &inner.kind {
                Kind::Struct => format!("can't evaluate field {name} in type {}", of.name),
                _ => words,
            }),
            Kind::Map(inner) => {
                let found = value.and_then(|value| value.get(name)).cloned();
                Ok(Item { value: found, of: Some(inner) })
            }
            Kind::Any => {
                let found = value.and_then(|value| value.get(name)).cloned();
                Ok(Item { value: found, of: None })
            }
            Kind::Struct => match self.find(&of.name, name) {
                Some(field) => Ok(self.value_of(field, value)),
                None if self.structs.get(&of.name).is_none_or(|known| known.is_open) => {
                    Ok(Item { value: value.and_then(|value| value.get(name)).cloned(), of: None })
                }
                None => Err(format!("can't evaluate field {name} in type {}", of.name)),
            },
            Kind::Text | Kind::Number | Kind::Truth | Kind::Bytes | Kind::Duration | Kind::Time | Kind::List(_) => {
                Err(format!("can't evaluate field {name} in type {}", of.name))
            }
        }
    }

    fn value_of<'t>(&'t self, field: &'t Field, value: Option<&Value>) -> Item<'t> {
        if field.is_embedded {
            return Item { value: value.cloned(), of: Some(&field.of) };
        }
        let found = value.and_then(|value| value.get(&field.key)).filter(|found| !found.is_null());
        Item { value: found.cloned().or_else(|| zero(&field.of)), of: Some(&field.of) }
    }

    /// A field of its own, or of what is embedded.
    fn find(&self, of: &str, name: &str) -> Option<&Field> {
        let fields = &self.structs.get(of)?.fields;
        fields.iter().find(|field| field.name == name).or_else(|| {
            let mut embedded = fields.iter().filter(|field| field.is_embedded);
            embedded.find_map(|field| self.find(field.of.name.trim_start_matches('*'), name))
        })
    }

    /// As Go's `fmt` prints it with `%v`; pointers within a struct print what they point to.
    pub(super) fn print(&self, item: &Item<'_>) -> String {
        match (item.of, &item.value) {
            (Some(of), Some(value)) => self.print_typed(of, value),
            (None, value) => super::functions::print(value.as_ref()),
            (Some(_), None) => super::functions::print(None),
        }
    }

    fn print_typed(&self, of: &Type, value: &Value) -> String {
        let plain = || super::functions::print(Some(value));
        match &of.kind {
            Kind::Any | Kind::Truth | Kind::Number => plain(),
            Kind::Text if value.is_null() => String::new(),
            Kind::Text => plain(),
            Kind::Bytes => {
                let bytes: Vec<String> = bytes(value).iter().map(u8::to_string).collect();
                format!("[{}]", bytes.join(" "))
            }
            Kind::Duration => value.as_i64().map_or_else(plain, self.duration),
            Kind::Time => value.as_str().map_or_else(plain, self.time),
            Kind::Pointer(_) if value.is_null() => "<nil>".to_owned(),
            Kind::Pointer(inner) => self.print_typed(inner, value),
            Kind::List(inner) => {
                let items = value.as_array().into_iter().flatten().map(|item| self.print_typed(inner, item));
                format!("[{}]", items.collect::<Vec<_>>().join(" "))
            }
            Kind::Map(inner) => {
                let fields = value.as_object().into_iter().flatten();
                let fields = fields.map(|(key, value)| format!("{key}:{}", self.print_typed(inner, value)));
                format!("map[{}]", fields.collect::<Vec<_>>().join(" "))
            }
            // The one struct that says itself how it prints.
            Kind::Struct if of.name == "swarm.Version" => value["Index"].as_u64().unwrap_or(0).to_string(),
            Kind::Struct => {
                let fields = self.structs.get(&of.name).map(|known| known.fields.as_slice()).unwrap_or_default();
                let printed = fields.iter().map(|field| self.print(&self.value_of(field, Some(value))));
                format!("{{{}}}", printed.collect::<Vec<_>>().join(" "))
            }
        }
    }
}

impl Type {
    /// Of what a list or map of this type holds.
    pub(super) fn inner(&self) -> Option<&Self> {
        match &self.kind {
            Kind::List(inner) | Kind::Map(inner) => Some(inner),
            Kind::Pointer(inner) => inner.inner(),
            Kind::Any
            | Kind::Text
            | Kind::Number
            | Kind::Truth
            | Kind::Bytes
            | Kind::Duration
            | Kind::Time
            | Kind::Struct => None,
        }
    }

    /// A struct is never empty, for Go.
    pub(super) fn is_struct(&self) -> bool {
        matches!(self.kind, Kind::Struct | Kind::Time)
    }

    /// The text of bytes, which JSON holds in base64.
    pub(super) fn text_of_bytes(&self, value: &Value) -> Option<String> {
        (self.kind == Kind::Bytes).then(|| String::from_utf8_lossy(&bytes(value)).into_owned())
    }
}

fn bytes(value: &Value) -> Vec<u8> {
    value.as_str().and_then(|text| STANDARD.decode(text).ok()).unwrap_or_default()
}

/// What a field is that was left out.
pub(super) fn zero(of: &Type) -> Option<Value> {
    match of.kind {
        // Of unknown type: it is not there.
        Kind::Any => None,
        Kind::Pointer(_) | Kind::List(_) | Kind::Map(_) | Kind::Bytes => Some(Value::Null),
        Kind::Text => Some(Value::from("")),
        Kind::Number | Kind::Duration => Some(Value::from(0)),
        Kind::Truth => Some(Value::Bool(false)),
        Kind::Time => Some(Value::from("0001-01-01T00:00:00Z")),
        Kind::Struct => Some(Value::Object(serde_json::Map::new())),
    }
}

fn parse_field(text: &str, package: &str) -> Option<Field> {
    if let Some(embedded) = text.strip_prefix('^') {
        let of = parse_type(embedded, package);
        let name = of.name.trim_start_matches('*').rsplit('.').next()?.to_owned();
        return Some(Field { key: String::new(), name, of, is_embedded: true });
    }
    let (name, rest) = text.split_once(' ')?;
    let (key, of) = match rest.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
        // A list's type begins with brackets, too, but with none in them.
        Some((key, of)) if !key.is_empty() => (key, of),
        Some(_) | None => (name, rest),
    };
    Some(Field { name: name.to_owned(), key: key.to_owned(), of: parse_type(of, package), is_embedded: false })
}

fn parse_type(text: &str, package: &str) -> Type {
    let of = |inner: &str| Box::new(parse_type(inner, package));
    let typed = |kind, name: String| Type { kind, name };
    if let Some(inner) = text.strip_prefix('*') {
        let inner = of(inner);
        let name = format!("*{}", inner.name);
        return typed(Kind::Pointer(inner), name);
    }
    if let Some(inner) = text.strip_prefix("map[string]") {
        let inner = of(inner);
        let name = format!("map[string]{}", inner.name);
        return typed(Kind::Map(inner), name);
    }
    match text {
        "any" => typed(Kind::Any, "interface {}".to_owned()),
        "string" => typed(Kind::Text, text.to_owned()),
        "bool" => typed(Kind::Truth, text.to_owned()),
        "[]byte" => typed(Kind::Bytes, "[]uint8".to_owned()),
        "Duration" => typed(Kind::Duration, "time.Duration".to_owned()),
        "Time" => typed(Kind::Time, "time.Time".to_owned()),
        "int" | "int64" | "uint16" | "uint32" | "uint64" | "float32" => typed(Kind::Number, text.to_owned()),
        text if text.starts_with("[]") => {
            let inner = of(&text[2..]);
            let name = format!("[]{}", inner.name);
            typed(Kind::List(inner), name)
        }
        text if text.contains('.') => typed(Kind::Struct, text.to_owned()),
        text => typed(Kind::Struct, format!("{package}.{text}")),
    }
}

impl Types {
    /// The structs that fields are of and that the table does not have.
    pub fn unknown(&self) -> Vec<String> {
        let fields = self.structs.values().flat_map(|known| &known.fields);
        let mut out: Vec<String> = fields.filter_map(|field| self.unknown_in(&field.of)).collect();
        out.dedup();
        out
    }

    fn unknown_in(&self, of: &Type) -> Option<String> {
        match &of.kind {
            Kind::Pointer(inner) | Kind::List(inner) | Kind::Map(inner) => self.unknown_in(inner),
            Kind::Struct => (!self.structs.contains_key(&of.name)).then(|| of.name.clone()),
            Kind::Any | Kind::Text | Kind::Number | Kind::Truth | Kind::Bytes | Kind::Duration | Kind::Time => None,
        }
    }
}
