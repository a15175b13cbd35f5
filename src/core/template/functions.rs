//! The functions of templates, and how values are printed.

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
    Index,
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
            "index" => Self::Index,
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
        let all = [(Self::Env, Named::Env), (Self::Secret, Named::Secret), (Self::Config, Named::Config)];
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
pub(super) fn is_true(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => false,
        Some(Value::Bool(value)) => *value,
        Some(Value::Number(value)) => value.as_f64() != Some(0.0),
        Some(Value::String(value)) => !value.is_empty(),
        Some(Value::Array(items)) => !items.is_empty(),
        Some(Value::Object(fields)) => !fields.is_empty(),
    }
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

pub(super) fn call(function: Function, args: Args<'_>, mode: Mode) -> Result<Value, String> {
    use Function as F;
    if mode == Mode::Headers {
        // A header stays what it is, whatever is done to the cells below it.
        match function {
            F::Json | F::Join | F::Split | F::Upper | F::Lower | F::Title | F::Pad | F::Truncate => {
                return Ok(arg(args, 0, "function")?.clone());
            }
            F::Index => return Ok(arg(args, 0, "index")?.clone()),
            F::Print
            | F::Println
            | F::Printf
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
            | F::Config => {}
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
        F::Print => Value::from(args.iter().map(|value| print(value.as_ref())).collect::<String>()),
        F::Println => {
            let words: Vec<String> = args.iter().map(|value| print(value.as_ref())).collect();
            Value::from(format!("{}\n", words.join(" ")))
        }
        F::Printf => Value::from(printf(&text(args, 0, "printf")?, args.get(1..).unwrap_or(&[]))?),
        F::Index => index(args)?,
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
        F::And => chosen(args, "and", false)?,
        F::Or => chosen(args, "or", true)?,
        F::Env | F::Secret | F::Config => return Err("there is no task to ask".to_owned()),
        F::Not => {
            arg(args, 0, "not")?;
            Value::Bool(!is_true(args[0].as_ref()))
        }
    })
}

/// The first argument whose truth is `wanted`, else the last.
fn chosen(args: Args<'_>, name: &str, wanted: bool) -> Result<Value, String> {
    let last = args.last().ok_or_else(|| format!("wrong number of args for {name}"))?;
    let found = args.iter().find(|value| is_true(value.as_ref()) == wanted).unwrap_or(last);
    Ok(found.clone().unwrap_or(Value::Null))
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

fn index(args: Args<'_>) -> Result<Value, String> {
    let mut at = arg(args, 0, "index")?.clone();
    for key in args.iter().skip(1) {
        let key = key.as_ref().unwrap_or(&Value::Null);
        at = match (&at, key) {
            // Go gives the empty value of the type; the maps of the API hold text.
            (Value::Object(fields), Value::String(key)) => fields.get(key).cloned().unwrap_or_else(|| Value::from("")),
            (Value::Null, _) => Value::from(""),
            (Value::Array(items), key) => {
                let position = key.as_u64().and_then(|key| usize::try_from(key).ok());
                let found = position.and_then(|position| items.get(position));
                // A value may be a secret: errors name none.
                found.cloned().ok_or("index out of range")?
            }
            (value, _) => return Err(format!("can't index {}", kind(value))),
        };
    }
    Ok(at)
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

/// `%s %v %d %q %t %%`, without widths.
fn printf(format: &str, args: Args<'_>) -> Result<String, String> {
    let mut out = String::new();
    let mut args = args.iter();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let verb = chars.next().ok_or("printf: % at the end")?;
        if verb == '%' {
            out.push('%');
            continue;
        }
        let value = args.next().ok_or("printf: more verbs than arguments")?.as_ref();
        match verb {
            's' | 'v' | 'd' | 't' => out.push_str(&print(value)),
            'q' => out.push_str(&Value::from(print(value)).to_string()),
            _ => return Err("printf: only %s %v %d %q %t and %% are supported".to_owned()),
        }
    }
    Ok(out)
}
