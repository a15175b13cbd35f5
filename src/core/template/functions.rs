//! The functions of templates, and how values are printed.

use super::types::Item;
use super::{Mode, Named};
use serde_json::Value;
use std::cmp::Ordering;

/// Bytes of separators; the items themselves were there before.
const JOIN_BYTES_MAX: usize = 16 << 20;
/// Widest padding, in characters on each side; a row of a terminal is far shorter.
const PAD_MAX: usize = 1000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Json,
    Join,
    Split,
    Upper,
    Lower,
    Title,
    Pad,
    Truncate,
    Print,
    Println,
    Printf,
    Html,
    Js,
    Urlquery,
    Index,
    Slice,
    Len,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    And,
    Or,
    Not,
    /// Of the task: `env "NAME"`, `secret "FILE"`, `config "FILE"`.
    Env,
    Secret,
    Config,
    /// Of the row, as `.Label "KEY"`; no word of its own.
    Label,
}

impl Function {
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "json" => Self::Json,
            "join" => Self::Join,
            "split" => Self::Split,
            "upper" => Self::Upper,
            "lower" => Self::Lower,
            "title" => Self::Title,
            "pad" => Self::Pad,
            "truncate" => Self::Truncate,
            "print" => Self::Print,
            "println" => Self::Println,
            "printf" => Self::Printf,
            "html" => Self::Html,
            "js" => Self::Js,
            "urlquery" => Self::Urlquery,
            "index" => Self::Index,
            "slice" => Self::Slice,
            "len" => Self::Len,
            "eq" => Self::Eq,
            "ne" => Self::Ne,
            "lt" => Self::Lt,
            "le" => Self::Le,
            "gt" => Self::Gt,
            "ge" => Self::Ge,
            "and" => Self::And,
            "or" => Self::Or,
            "not" => Self::Not,
            "env" => Self::Env,
            "secret" => Self::Secret,
            "config" => Self::Config,
            _ => return None,
        })
    }
}

impl Function {
    /// What it names of the task, where it is answered by whoever renders.
    pub(super) fn looks_up(self) -> Option<Named> {
        let all = [
            (Self::Env, Named::Env),
            (Self::Secret, Named::Secret),
            (Self::Config, Named::Config),
            (Self::Label, Named::Label),
        ];
        all.into_iter().find(|(function, _)| *function == self).map(|(_, named)| named)
    }
}

/// As Go's `fmt` prints with `%v`; what is not there is `<no value>`.
pub(super) fn print(value: Option<&Value>) -> String {
    match value {
        None => "<no value>".to_owned(),
        Some(Value::Null) => "<nil>".to_owned(),
        Some(Value::Bool(value)) => value.to_string(),
        Some(Value::Number(value)) => value.to_string(),
        Some(Value::String(value)) => value.clone(),
        Some(Value::Array(items)) => {
            let items: Vec<String> = items.iter().map(|item| print(Some(item))).collect();
            format!("[{}]", items.join(" "))
        }
        Some(Value::Object(fields)) => {
            let fields: Vec<String> = fields.iter().map(|(k, v)| format!("{k}:{}", print(Some(v)))).collect();
            format!("map[{}]", fields.join(" "))
        }
    }
}

/// Go's truth: what is not the empty value of its type.
pub(super) fn is_true(item: &Item<'_>) -> bool {
    match &item.value {
        Some(Value::Object(_)) if item.of.is_some_and(super::Type::is_struct) => true,
        None | Some(Value::Null) => false,
        Some(Value::Bool(value)) => *value,
        Some(Value::Number(value)) => value.as_f64() != Some(0.0),
        Some(Value::String(value)) => !value.is_empty(),
        Some(Value::Array(items)) => !items.is_empty(),
        Some(Value::Object(fields)) => !fields.is_empty(),
    }
}

/// As Go's `fmt.Sprint`: a blank between two operands that are no text.
pub(super) fn print_all<'t>(args: &[Item<'t>], printed: impl Fn(&Item<'t>) -> String) -> String {
    let is_text = |item: &Item<'t>| matches!(item.value, Some(Value::String(_)));
    let mut out = String::new();
    for (at, item) in args.iter().enumerate() {
        if at > 0 && !is_text(item) && !is_text(&args[at - 1]) {
            out.push(' ');
        }
        out.push_str(&printed(item));
    }
    out
}

/// Text for a page, a script, or a query.
pub(super) fn escape(function: Function, text: &str) -> String {
    let letter = |c: char| match (function, c) {
        (Function::Html, '&') => "&amp;".to_owned(),
        (Function::Html, '<') => "&lt;".to_owned(),
        (Function::Html, '>') => "&gt;".to_owned(),
        (Function::Html, '"') => "&#34;".to_owned(),
        (Function::Html, '\'') => "&#39;".to_owned(),
        (Function::Js, '\\' | '\'' | '"') => format!("\\{c}"),
        (Function::Js, '<' | '>' | '&' | '=' | '\0'..=' ') if c != ' ' => format!("\\u{:04X}", u32::from(c)),
        (Function::Urlquery, ' ') => "+".to_owned(),
        (Function::Urlquery, c) if !c.is_ascii_alphanumeric() && !"-_.~".contains(c) => {
            let mut bytes = [0; 4];
            c.encode_utf8(&mut bytes).bytes().map(|byte| format!("%{byte:02X}")).collect()
        }
        (_, c) => c.to_string(),
    };
    text.chars().map(letter).collect()
}

/// What a value is, without what it says.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nil",
        Value::Bool(_) => "a bool",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

type Args<'a> = &'a [Option<Value>];

fn arg<'a>(args: Args<'a>, at: usize, name: &str) -> Result<&'a Value, String> {
    let found = args.get(at).ok_or_else(|| format!("wrong number of args for {name}"))?;
    Ok(found.as_ref().unwrap_or(&Value::Null))
}

fn text(args: Args<'_>, at: usize, name: &str) -> Result<String, String> {
    match arg(args, at, name)? {
        Value::String(text) => Ok(text.clone()),
        Value::Null => Ok(String::new()),
        other @ (Value::Bool(_) | Value::Number(_)) => Ok(print(Some(other))),
        Value::Array(_) | Value::Object(_) => Err(format!("{name} wants a string")),
    }
}

fn count(args: Args<'_>, at: usize, name: &str) -> Result<usize, String> {
    let number = arg(args, at, name)?.as_u64().ok_or_else(|| format!("{name} wants a number"))?;
    usize::try_from(number).map_err(|_| format!("{name}: the number is too large"))
}

/// The functions that need no more than values.
pub(super) fn call(function: Function, args: Args<'_>, mode: Mode<'_>) -> Result<Value, String> {
    use Function as F;
    if matches!(mode, Mode::Headers) {
        // A header stays what it is, whatever is done to the cells below it; but it is padded like them.
        match function {
            F::Json | F::Join | F::Split | F::Upper | F::Lower | F::Title | F::Truncate | F::Index | F::Slice => {
                return Ok(arg(args, 0, "function")?.clone());
            }
            F::Pad
            | F::Print
            | F::Println
            | F::Printf
            | F::Html
            | F::Js
            | F::Urlquery
            | F::Len
            | F::Eq
            | F::Ne
            | F::Lt
            | F::Le
            | F::Gt
            | F::Ge
            | F::And
            | F::Or
            | F::Not
            | F::Env
            | F::Secret
            | F::Config
            | F::Label => {}
        }
    }
    Ok(match function {
        F::Json => Value::from(arg(args, 0, "json")?.to_string()),
        F::Join => join(args)?,
        F::Split => {
            let (whole, separator) = (text(args, 0, "split")?, text(args, 1, "split")?);
            Value::from(whole.split(&separator).map(str::to_owned).collect::<Vec<_>>())
        }
        F::Upper => Value::from(text(args, 0, "upper")?.to_uppercase()),
        F::Lower => Value::from(text(args, 0, "lower")?.to_lowercase()),
        F::Title => Value::from(title(&text(args, 0, "title")?)),
        F::Pad => pad(args)?,
        F::Truncate => {
            let width = count(args, 1, "truncate")?;
            Value::from(text(args, 0, "truncate")?.chars().take(width).collect::<String>())
        }
        F::Slice => slice(args)?,
        F::Len => Value::from(match arg(args, 0, "len")? {
            Value::String(text) => text.len(),
            Value::Array(items) => items.len(),
            Value::Object(fields) => fields.len(),
            Value::Null => 0,
            Value::Bool(_) | Value::Number(_) => return Err("len of a value that has none".to_owned()),
        }),
        F::Eq => {
            let first = arg(args, 0, "eq")?;
            arg(args, 1, "eq")?;
            Value::Bool(args.iter().skip(1).flatten().any(|other| same(first, other)))
        }
        F::Ne => Value::Bool(!same(arg(args, 0, "ne")?, arg(args, 1, "ne")?)),
        F::Lt => Value::Bool(order(args, "lt")?.is_lt()),
        F::Le => Value::Bool(order(args, "le")?.is_le()),
        F::Gt => Value::Bool(order(args, "gt")?.is_gt()),
        F::Ge => Value::Bool(order(args, "ge")?.is_ge()),
        F::Env | F::Secret | F::Config | F::Label => return Err("there is nothing to ask".to_owned()),
        F::Print | F::Println | F::Printf | F::Html | F::Js | F::Urlquery | F::Index | F::And | F::Or | F::Not => {
            return Err("wrong number of args".to_owned());
        }
    })
}

fn same(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}

fn order(args: Args<'_>, name: &str) -> Result<Ordering, String> {
    let (a, b) = (arg(args, 0, name)?, arg(args, 1, name)?);
    let found = match (a, b) {
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        _ => a.as_f64().zip(b.as_f64()).and_then(|(a, b)| a.partial_cmp(&b)),
    };
    found.ok_or_else(|| format!("{name}: incompatible types for comparison"))
}

/// docker's for output: a list and the separator. docker's for services: the separator and the items.
fn join(args: Args<'_>) -> Result<Value, String> {
    let (separator, items): (String, Vec<String>) = match arg(args, 0, "join")? {
        Value::Array(items) => (text(args, 1, "join")?, items.iter().map(|item| print(Some(item))).collect()),
        Value::Null => (String::new(), Vec::new()),
        Value::String(separator) => (separator.clone(), args[1..].iter().map(|item| print(item.as_ref())).collect()),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => return Err("join wants a list".to_owned()),
    };
    let between = separator.len().saturating_mul(items.len());
    if between > JOIN_BYTES_MAX {
        return Err("join: the result is too long".to_owned());
    }
    Ok(Value::from(items.join(&separator)))
}

fn pad(args: Args<'_>) -> Result<Value, String> {
    let (left, right) = (count(args, 1, "pad")?, count(args, 2, "pad")?);
    if left > PAD_MAX || right > PAD_MAX {
        return Err(format!("pad: more than {PAD_MAX}"));
    }
    let text = text(args, 0, "pad")?;
    // Docker pads nothing to nothing.
    Ok(Value::from(if text.is_empty() { text } else { format!("{}{text}{}", " ".repeat(left), " ".repeat(right)) }))
}

/// None: a key that a map does not have, for which Go gives the empty value of its type.
pub(super) fn index(args: &[Item<'_>]) -> Result<Option<Value>, String> {
    let first = args.first().ok_or("wrong number of args for index")?;
    let mut at = first.value.clone();
    for key in args.iter().skip(1) {
        let key = key.value.as_ref().unwrap_or(&Value::Null);
        at = match (at, key) {
            (Some(Value::Object(fields)), Value::String(key)) => fields.get(key).cloned(),
            (None | Some(Value::Null), Value::String(_)) => None,
            (Some(Value::Array(items)), key) => {
                let position = key.as_u64().and_then(|key| usize::try_from(key).ok());
                let found = position.and_then(|position| items.get(position));
                // A value may be a secret: errors name none.
                Some(found.cloned().ok_or("index out of range")?)
            }
            (Some(value), _) if !value.is_null() => return Err(format!("can't index {}", kind(&value))),
            (_, _) => return Err("index out of range".to_owned()),
        };
    }
    Ok(at)
}

/// `slice X [FROM [TO]]`: bytes of a text, items of a list.
fn slice(args: Args<'_>) -> Result<Value, String> {
    let whole = arg(args, 0, "slice")?;
    let length = match whole {
        Value::String(text) => text.len(),
        Value::Array(items) => items.len(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
            return Err(format!("can't slice {}", kind(whole)));
        }
    };
    let bound = |at: usize, default: usize| if args.len() > at { count(args, at, "slice") } else { Ok(default) };
    let range = bound(1, 0)?..bound(2, length)?;
    match whole {
        Value::String(text) => text.get(range).map(Value::from),
        Value::Array(items) => items.get(range).map(|items| Value::from(items.to_vec())),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    }
    .ok_or_else(|| "slice: index out of range".to_owned())
}

fn title(text: &str) -> String {
    let mut start = true;
    let letter = |c: char| {
        let out = if start { c.to_uppercase().to_string() } else { c.to_string() };
        start = c.is_whitespace();
        out
    };
    text.chars().map(letter).collect()
}
